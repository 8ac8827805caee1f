use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::{ItemId, UserId};

/// What happened: one row per event, as four columns of equal length (20 bytes a row).
///
/// Checked once, at construction: every id is below its bound, every value finite, every time
/// non-negative. Row order is kept: it is what breaks ties of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub struct Interactions {
    columns: Columns,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Columns {
    n_users: usize,
    n_items: usize,
    users: Vec<UserId>,
    items: Vec<ItemId>,
    values: Vec<f32>,
    timestamps: Vec<i64>,
}

/// One row of [`Interactions`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interaction {
    /// Who.
    pub user: UserId,
    /// What.
    pub item: ItemId,
    /// How much: a rating, a count, or 1 where only the event is known.
    pub value: f32,
    /// When: seconds since 1970-01-01 UTC, or any other non-negative clock.
    pub timestamp: i64,
}

impl Interactions {
    /// Joins four columns into a table over `n_users` users and `n_items` items.
    ///
    /// # Errors
    /// Columns of different lengths, an id outside its range, a value that is not finite, a negative
    /// time; each names the row (counted from 1).
    pub fn new(
        n_users: usize,
        n_items: usize,
        users: Vec<UserId>,
        items: Vec<ItemId>,
        values: Vec<f32>,
        timestamps: Vec<i64>,
    ) -> Result<Self> {
        Columns { n_users, n_items, users, items, values, timestamps }.try_into()
    }

    /// The rows as a table over `n_users` users and `n_items` items.
    ///
    /// # Errors
    /// As [`Interactions::new`].
    pub fn from_rows(
        n_users: usize,
        n_items: usize,
        rows: impl IntoIterator<Item = Interaction>,
    ) -> Result<Self> {
        let mut columns = Columns {
            n_users,
            n_items,
            users: Vec::new(),
            items: Vec::new(),
            values: Vec::new(),
            timestamps: Vec::new(),
        };
        for row in rows {
            columns.users.push(row.user);
            columns.items.push(row.item);
            columns.values.push(row.value);
            columns.timestamps.push(row.timestamp);
        }
        columns.try_into()
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.columns.users.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of user ids; some may have no row.
    pub fn n_users(&self) -> usize {
        self.columns.n_users
    }

    /// The number of item ids; some may have no row.
    pub fn n_items(&self) -> usize {
        self.columns.n_items
    }

    /// The user column.
    pub fn users(&self) -> &[UserId] {
        &self.columns.users
    }

    /// The item column.
    pub fn items(&self) -> &[ItemId] {
        &self.columns.items
    }

    /// The value column.
    pub fn values(&self) -> &[f32] {
        &self.columns.values
    }

    /// The time column.
    pub fn timestamps(&self) -> &[i64] {
        &self.columns.timestamps
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If `row` is not below [`len`](Self::len).
    pub fn row(&self, row: usize) -> Interaction {
        let columns = &self.columns;
        Interaction {
            user: columns.users[row],
            item: columns.items[row],
            value: columns.values[row],
            timestamp: columns.timestamps[row],
        }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Interaction> + '_ {
        (0..self.len()).map(|row| self.row(row))
    }

    /// The rows of these numbers, in this order, over the same ids.
    ///
    /// # Panics
    /// If a number is not below [`len`](Self::len).
    pub fn select(&self, rows: &[usize]) -> Self {
        fn gather<T: Copy>(column: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| column[row]).collect()
        }
        let columns = &self.columns;
        Self {
            columns: Columns {
                n_users: columns.n_users,
                n_items: columns.n_items,
                users: gather(&columns.users, rows),
                items: gather(&columns.items, rows),
                values: gather(&columns.values, rows),
                timestamps: gather(&columns.timestamps, rows),
            },
        }
    }
}

impl TryFrom<Columns> for Interactions {
    type Error = Error;

    fn try_from(columns: Columns) -> Result<Self> {
        let rows = columns.users.len();
        for (what, found) in [
            ("length of the item column", columns.items.len()),
            ("length of the value column", columns.values.len()),
            ("length of the timestamp column", columns.timestamps.len()),
        ] {
            if found != rows {
                return Err(ErrorKind::LengthMismatch { what, expected: rows, found }.into());
            }
        }
        let invalid = |row: usize, column: &str, expected: String, found: String| {
            Error::input(Location::memory().line(row as u64 + 1).column(column), expected, found)
        };
        let below = |bound: usize| format!("an id below {bound}");
        if let Some(row) = columns.users.iter().position(|user| user.index() >= columns.n_users) {
            return Err(invalid(row, "user", below(columns.n_users), columns.users[row].to_string()));
        }
        if let Some(row) = columns.items.iter().position(|item| item.index() >= columns.n_items) {
            return Err(invalid(row, "item", below(columns.n_items), columns.items[row].to_string()));
        }
        if let Some(row) = columns.values.iter().position(|value| !value.is_finite()) {
            return Err(invalid(row, "value", "a finite number".into(), columns.values[row].to_string()));
        }
        if let Some(row) = columns.timestamps.iter().position(|&time| time < 0) {
            let found = columns.timestamps[row].to_string();
            return Err(invalid(row, "timestamp", "a time of 0 or later".into(), found));
        }
        Ok(Self { columns })
    }
}

impl From<Interactions> for Columns {
    fn from(interactions: Interactions) -> Self {
        interactions.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        Columns {
            n_users: 2,
            n_items: 3,
            users: vec![UserId(0), UserId(1)],
            items: vec![ItemId(2), ItemId(0)],
            values: vec![4.0, 5.0],
            timestamps: vec![7, 0],
        }
    }

    #[test]
    fn rows_come_back_as_they_went_in() {
        let table = Interactions::try_from(columns()).unwrap();
        assert_eq!(Interactions::from_rows(2, 3, table.iter()).unwrap(), table);
        assert_eq!(table.select(&[1]).row(0), table.row(1));
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Interactions>(&json).unwrap(), table);
        assert!(serde_json::from_str::<Interactions>(&json.replace("4.0", "null")).is_err());
    }

    #[test]
    fn bad_columns_name_the_row_and_the_column() {
        let spoil = |spoil: fn(&mut Columns)| {
            let mut columns = columns();
            spoil(&mut columns);
            Interactions::try_from(columns).unwrap_err().to_string()
        };
        assert_eq!(
            spoil(|c| c.users[1] = UserId(2)),
            "input, line 2, column user: expected an id below 2, found 2"
        );
        assert_eq!(
            spoil(|c| c.items[0] = ItemId(3)),
            "input, line 1, column item: expected an id below 3, found 3"
        );
        assert_eq!(
            spoil(|c| c.values[1] = f32::NAN),
            "input, line 2, column value: expected a finite number, found NaN"
        );
        assert_eq!(
            spoil(|c| c.timestamps[0] = -1),
            "input, line 1, column timestamp: expected a time of 0 or later, found -1"
        );
        assert_eq!(spoil(|c| c.values.truncate(1)), "length of the value column: expected 2, found 1");
    }
}
