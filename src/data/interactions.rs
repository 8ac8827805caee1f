use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result, check_id_count};
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Columns of different lengths, 2^32 rows, users or items or more, an id outside its range, a value that
    /// is not finite, a negative time; each names the row (counted from 1).
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

    /// The rows for which `keep` is true, in their order, over the same ids.
    pub fn retain(self, mut keep: impl FnMut(Interaction) -> bool) -> Self {
        self.retain_where(|table, row| keep(table.row(row)))
    }

    /// The rows for whose number `keep` is true, in their order, over the same ids.
    pub(super) fn retain_rows(self, mut keep: impl FnMut(usize) -> bool) -> Self {
        self.retain_where(|_, row| keep(row))
    }

    /// Moves the rows to keep to the front of the columns, so that no second table is needed.
    fn retain_where(mut self, mut keep: impl FnMut(&Self, usize) -> bool) -> Self {
        let mut kept = 0;
        for row in 0..self.len() {
            if keep(&self, row) {
                self.columns.users[kept] = self.columns.users[row];
                self.columns.items[kept] = self.columns.items[row];
                self.columns.values[kept] = self.columns.values[row];
                self.columns.timestamps[kept] = self.columns.timestamps[row];
                kept += 1;
            }
        }
        fn shorten<T>(column: &mut Vec<T>, rows: usize) {
            column.truncate(rows);
            column.shrink_to_fit();
        }
        shorten(&mut self.columns.users, kept);
        shorten(&mut self.columns.items, kept);
        shorten(&mut self.columns.values, kept);
        shorten(&mut self.columns.timestamps, kept);
        self
    }

    /// A copy of the rows for whose number `keep` is true, in their order, over the same ids.
    pub(super) fn rows_where(&self, keep: impl Fn(usize) -> bool) -> Self {
        let n_rows = (0..self.len()).filter(|&row| keep(row)).count();
        let gather = Gather { keep, n_rows };
        let columns = &self.columns;
        Self {
            columns: Columns {
                n_users: columns.n_users,
                n_items: columns.n_items,
                users: gather.of(&columns.users),
                items: gather.of(&columns.items),
                values: gather.of(&columns.values),
                timestamps: gather.of(&columns.timestamps),
            },
        }
    }

    /// These rows, then those of another table, over the ids of both.
    pub(super) fn followed_by(&self, next: &Self) -> Self {
        let (first, next) = (&self.columns, &next.columns);
        Self {
            columns: Columns {
                n_users: first.n_users.max(next.n_users),
                n_items: first.n_items.max(next.n_items),
                users: [&first.users[..], &next.users].concat(),
                items: [&first.items[..], &next.items].concat(),
                values: [&first.values[..], &next.values].concat(),
                timestamps: [&first.timestamps[..], &next.timestamps].concat(),
            },
        }
    }

    /// The same rows over new ids without gaps, and the old id of each new one, ascending.
    pub(super) fn compact(mut self) -> (Self, Vec<UserId>, Vec<ItemId>) {
        let columns = &mut self.columns;
        let users = close_gaps(columns.n_users, &mut columns.users);
        let items = close_gaps(columns.n_items, &mut columns.items);
        (columns.n_users, columns.n_items) = (users.len(), items.len());
        (self, users, items)
    }
}

/// Copies some of the elements of columns of equal length.
struct Gather<F> {
    keep: F,
    n_rows: usize,
}

impl<F: Fn(usize) -> bool> Gather<F> {
    fn of<T: Copy>(&self, column: &[T]) -> Vec<T> {
        let mut kept = Vec::with_capacity(self.n_rows);
        kept.extend(column.iter().enumerate().filter(|&(row, _)| (self.keep)(row)).map(|(_, &value)| value));
        kept
    }
}

/// Renumbers the ids of a column from 0 without gaps, in their order; returns the old id of each new one.
fn close_gaps<T: Copy + From<u32> + Into<usize>>(n_ids: usize, column: &mut [T]) -> Vec<T> {
    const UNUSED: u32 = u32::MAX;
    let mut new_ids = vec![UNUSED; n_ids];
    for &id in column.iter() {
        new_ids[id.into()] = 0;
    }
    let used: Vec<usize> = (0..n_ids).filter(|&id| new_ids[id] != UNUSED).collect();
    for (new, &old) in used.iter().enumerate() {
        new_ids[old] = new as u32;
    }
    for id in column {
        *id = new_ids[(*id).into()].into();
    }
    used.into_iter().map(|id| T::from(id as u32)).collect()
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
        if u32::try_from(rows).is_err() {
            return Err(Error::input(Location::memory(), "fewer than 2^32 rows", rows.to_string()));
        }
        check_id_count("Interactions::n_users", columns.n_users)?;
        check_id_count("Interactions::n_items", columns.n_items)?;
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
