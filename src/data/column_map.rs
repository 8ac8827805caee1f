use std::fmt;

use crate::error::{Error, Location, Result};

/// A column of a table, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// The name that the header gives it.
    Name(String),
    /// Its number, counted from 1 as in error messages.
    Number(usize),
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Column {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Column {
    fn from(number: usize) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Which columns of a table hold the user, the item, the value and the time of an interaction.
///
/// Keys are whole numbers (`u64`) unless declared text; a key that is no number is then an error, so
/// that the type of a vocabulary never depends on the data. A missing value column means 1, a missing
/// time column 0, which leaves the rows in file order when they are sorted by time.
///
/// ```
/// use recsys::data::ColumnMap;
///
/// let ratings = ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp");
/// let purchases = ColumnMap::new(1, 3).text_users().text_items();
/// # let _ = (ratings, purchases);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMap {
    columns: [Option<Column>; Role::COUNT],
    text_users: bool,
    text_items: bool,
}

impl ColumnMap {
    /// The columns of the user's and the item's key.
    pub fn new(user: impl Into<Column>, item: impl Into<Column>) -> Self {
        let columns = [Some(user.into()), Some(item.into()), None, None];
        Self { columns, text_users: false, text_items: false }
    }

    /// The column of the value: a rating, a count, …
    pub fn value(mut self, column: impl Into<Column>) -> Self {
        self.columns[Role::Value as usize] = Some(column.into());
        self
    }

    /// The column of the time: a whole number of 0 or more.
    pub fn timestamp(mut self, column: impl Into<Column>) -> Self {
        self.columns[Role::Timestamp as usize] = Some(column.into());
        self
    }

    /// User keys are text, taken as they stand.
    pub fn text_users(mut self) -> Self {
        self.text_users = true;
        self
    }

    /// Item keys are text, taken as they stand.
    pub fn text_items(mut self) -> Self {
        self.text_items = true;
        self
    }

    /// Finds the columns in a table with this header (`None`: it has none) and this many columns.
    pub(super) fn resolve(
        &self,
        header: Option<&[String]>,
        n_columns: usize,
        at: &Location,
    ) -> Result<Layout> {
        let mut layout = Layout {
            roles: vec![None; n_columns],
            columns: [const { None }; Role::COUNT],
            text_users: self.text_users,
            text_items: self.text_items,
        };
        for role in Role::ALL {
            let Some(column) = &self.columns[role as usize] else { continue };
            let index = locate(column, header, n_columns, at)?;
            if let Some(other) = layout.roles[index] {
                let field = "ColumnMap";
                return Err(Error::config(
                    field,
                    "a column of its own for each role",
                    format!("column {column} as {} and {}", other.name(), role.name()),
                ));
            }
            layout.roles[index] = Some(role);
            layout.columns[role as usize] = Some((index, column.to_string()));
        }
        Ok(layout)
    }
}

fn locate(column: &Column, header: Option<&[String]>, n_columns: usize, at: &Location) -> Result<usize> {
    let name = match column {
        Column::Number(0) => return Err(Error::config("Column::Number", "a number of 1 or more", 0)),
        Column::Number(number) if *number <= n_columns => return Ok(number - 1),
        Column::Number(number) => {
            let expected = format!("at least {number} columns");
            return Err(Error::input(at.clone().column(number.to_string()), expected, n_columns.to_string()));
        }
        Column::Name(name) => name,
    };
    let Some(header) = header else {
        return Err(Error::config(
            "Column",
            "a column number, as the table has no header",
            format!("{name:?}"),
        ));
    };
    let mut places = (0..header.len()).filter(|&index| header[index] == *name);
    match (places.next(), places.next()) {
        (Some(index), None) => Ok(index),
        (None, _) => {
            let found = header.join(", ");
            Err(Error::input(at.clone().column(name), format!("a column named {name:?}"), found))
        }
        (Some(first), Some(second)) => {
            let found = format!("two, in columns {} and {}", first + 1, second + 1);
            Err(Error::input(at.clone().column(name), format!("one column named {name:?}"), found))
        }
    }
}

/// What a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Item,
    Value,
    Timestamp,
}

impl Role {
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: [Self; Self::COUNT] = [Self::User, Self::Item, Self::Value, Self::Timestamp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Item => "item",
            Self::Value => "value",
            Self::Timestamp => "timestamp",
        }
    }
}

/// A [`ColumnMap`] found in a particular table.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The meaning of each column; `None` for one that is not wanted.
    pub(super) roles: Vec<Option<Role>>,
    /// The index and the given name of the column with each role.
    columns: [Option<(usize, String)>; Role::COUNT],
    pub(super) text_users: bool,
    pub(super) text_items: bool,
}

impl Layout {
    /// The indices of the columns that are wanted, ascending.
    #[cfg(feature = "parquet")]
    pub(super) fn wanted(&self) -> Vec<usize> {
        (0..self.roles.len()).filter(|&index| self.roles[index].is_some()).collect()
    }

    /// The layout of the table that has the wanted columns only.
    #[cfg(feature = "parquet")]
    pub(super) fn project(mut self) -> Self {
        let wanted = self.wanted();
        for (index, _) in self.columns.iter_mut().flatten() {
            *index = wanted.partition_point(|&before| before < *index);
        }
        self.roles.retain(Option::is_some);
        self
    }

    /// The index of the column with this role, where there is one.
    pub(super) fn index(&self, role: Role) -> Option<usize> {
        self.columns[role as usize].as_ref().map(|(index, _)| *index)
    }

    /// The column with this role as the user named it.
    pub(super) fn column(&self, role: Role) -> &str {
        self.columns[role as usize].as_ref().map_or(role.name(), |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(map: &ColumnMap, header: &[&str]) -> Result<Layout> {
        let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
        map.resolve(Some(&header), header.len(), &Location::memory().line(1))
    }

    #[test]
    fn columns_are_found_by_name_and_by_number() {
        let layout =
            resolve(&ColumnMap::new("u", 1).value(String::from("r")), &["i", "x", "r", "u"]).unwrap();
        assert_eq!(layout.roles, [Some(Role::Item), None, Some(Role::Value), Some(Role::User)]);
        assert_eq!((layout.index(Role::User), layout.index(Role::Timestamp)), (Some(3), None));
        assert_eq!((layout.column(Role::Item), layout.column(Role::Timestamp)), ("1", "timestamp"));
    }

    #[test]
    fn what_cannot_be_found_is_named() {
        let message = |map: ColumnMap, header: &[&str]| resolve(&map, header).unwrap_err().to_string();
        assert_eq!(
            message(ColumnMap::new("u", "z"), &["u", "i"]),
            "input, line 1, column z: expected a column named \"z\", found u, i"
        );
        assert_eq!(
            message(ColumnMap::new("u", "i"), &["u", "i", "u"]),
            "input, line 1, column u: expected one column named \"u\", found two, in columns 1 and 3"
        );
        assert_eq!(
            message(ColumnMap::new("u", 5), &["u", "i"]),
            "input, line 1, column 5: expected at least 5 columns, found 2"
        );
        assert_eq!(
            message(ColumnMap::new("u", 1), &["u", "i"]),
            "ColumnMap: expected a column of its own for each role, found column 1 as user and item"
        );
        assert_eq!(
            message(ColumnMap::new(0, 1), &["u"]),
            "Column::Number: expected a number of 1 or more, found 0"
        );
        let error = ColumnMap::new("u", 1).resolve(None, 2, &Location::memory()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Column: expected a column number, as the table has no header, found \"u\""
        );
    }
}
