use std::fmt;

use super::fields::Reading;
use super::times::TimeUnit;
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

/// Which columns of a table hold the user, the item, the value and the time of an interaction, and how they are read.
///
/// Keys are whole numbers (`u64`, also written as `7.0`) unless declared text; a key that is no number is then an error,
/// so that the type of a vocabulary never depends on the data. A missing value column means 1, a missing
/// time column 0, which leaves the rows in file order when they are sorted by time. A field that is empty, or blank, is
/// an error unless rows that miss something are [left out](Self::skip_missing).
///
/// Values are numbers, `true` and `false` (1 and 0; also `True`, `TRUE`, …), or [types of events](Self::events).
///
/// Times are whole numbers (also `1704283200.0`, `1.7042832e9`), counts of the [unit](Self::time_unit), or dates and
/// times of ISO 8601: `2024-01-03`, `2024-01-03T12:00:00Z`, `2024-01-03 14:00:00.5+02:00`. Without a zone they are UTC.
///
/// Columns are named as in the header; the types that headers of RecBole have, as in `user_id:token`, may be left out.
///
/// ```
/// use recsys::data::{ColumnMap, TimeUnit};
///
/// let ratings = ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp");
/// let purchases = ColumnMap::new(1, 3).text_users().text_items();
/// let clicks = ColumnMap::new("visitor", "item")
///     .value("event")
///     .events([("view", 1.0), ("purchase", 5.0)])
///     .timestamp("at")
///     .time_unit(TimeUnit::Milliseconds);
/// # let _ = (ratings, purchases, clicks);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnMap {
    columns: [Option<Column>; Role::COUNT],
    n_columns: Option<usize>,
    pub(super) reading: Reading,
}

impl ColumnMap {
    /// The columns of the user's and the item's key.
    pub fn new(user: impl Into<Column>, item: impl Into<Column>) -> Self {
        let columns = [Some(user.into()), Some(item.into()), None, None];
        Self { columns, n_columns: None, reading: Reading::default() }
    }

    /// The column of the value: a rating, a count, the type of an event, …
    pub fn value(mut self, column: impl Into<Column>) -> Self {
        self.columns[Role::Value as usize] = Some(column.into());
        self
    }

    /// The column of the time, 1970 or later.
    pub fn timestamp(mut self, column: impl Into<Column>) -> Self {
        self.columns[Role::Timestamp as usize] = Some(column.into());
        self
    }

    /// User keys are text, taken as they stand.
    pub fn text_users(mut self) -> Self {
        self.reading.text_users = true;
        self
    }

    /// Item keys are text, taken as they stand.
    pub fn text_items(mut self) -> Self {
        self.reading.text_items = true;
        self
    }

    /// The unit of the data set's times (default seconds). Numbers in the column are counts of it; dates, and time
    /// stamps of Parquet, which have a unit of their own, are converted. A time between two counts is an error, so that
    /// rows never lose their order.
    pub fn time_unit(mut self, unit: TimeUnit) -> Self {
        self.reading.times.unit = unit;
        self
    }

    /// Times are texts of this form, in the letters of `strftime`
    /// ([chrono's table](https://docs.rs/chrono/latest/chrono/format/strftime/)): `"%m %d, %Y"` reads `09 13, 2014`.
    /// What the form leaves out is midnight and UTC.
    pub fn datetime(mut self, format: impl Into<String>) -> Self {
        self.reading.times.format = Some(format.into());
        self
    }

    /// The value column holds types of events, which stand for these values. Any other type is an error; one of no
    /// interest gets a value of its own, to be left out with
    /// [`Interactions::min_value`](crate::data::Interactions::min_value).
    pub fn events<S: Into<String>>(mut self, values: impl IntoIterator<Item = (S, f32)>) -> Self {
        self.reading.events = Some(values.into_iter().map(|(event, value)| (event.into(), value)).collect());
        self
    }

    /// Words that stand for a missing value, as `NA`, `null` and `\\N`: as an empty field does.
    pub fn missing_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.reading.missing_words = words.into_iter().map(Into::into).collect();
        self
    }

    /// Rows without a user, an item, a value or a time are left out, of the columns that are named;
    /// [`Dataset::n_skipped`](crate::data::Dataset::n_skipped) says how many.
    pub fn skip_missing(mut self) -> Self {
        self.reading.skip_missing = true;
        self
    }

    /// The number of columns of a table without a header. It must be given where only users and items are named and
    /// more columns stand behind them, for such lines may be lists of items
    /// ([`DelimitedReader::item_lists`](crate::data::DelimitedReader::item_lists)).
    pub fn n_columns(mut self, n: usize) -> Self {
        self.n_columns = Some(n);
        self
    }

    /// Whether the settings make sense, whatever the table.
    pub(super) fn check(&self) -> Result<()> {
        self.reading.times.check()?;
        match self.reading.events.iter().flatten().find(|(_, value)| !value.is_finite()) {
            Some((event, value)) => {
                Err(Error::config("ColumnMap::events", "finite values", format!("{value} for {event:?}")))
            }
            None => Ok(()),
        }
    }

    /// Finds the columns in a table with this header (`None`: it has none) and this many columns.
    pub(super) fn resolve(
        &self,
        header: Option<&[String]>,
        n_columns: usize,
        at: &Location,
    ) -> Result<Layout> {
        self.check()?;
        if let Some(expected) = self.n_columns.filter(|&expected| expected != n_columns) {
            return Err(Error::input(at.clone(), format!("{expected} columns"), n_columns.to_string()));
        }
        let mut layout = Layout {
            roles: vec![None; n_columns],
            columns: [const { None }; Role::COUNT],
            reading: self.reading.clone(),
            time_is_place: false,
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
        if header.is_none() && self.n_columns.is_none() {
            self.check_width(&layout, at)?;
        }
        Ok(layout)
    }

    /// The layout of objects whose members are named by paths, and the paths.
    pub(super) fn resolve_paths(&self) -> Result<(Layout, Vec<String>)> {
        let paths = (self.columns.iter().flatten())
            .map(|column| match column {
                Column::Name(path) => Ok(path.clone()),
                Column::Number(number) => Err(Error::config("Column", "the path of a member", number)),
            })
            .collect::<Result<Vec<String>>>()?;
        Ok((self.resolve(Some(&paths), paths.len(), &Location::memory())?, paths))
    }

    /// Refuses lines that may be lists of items.
    fn check_width(&self, layout: &Layout, at: &Location) -> Result<()> {
        let width = layout.roles.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if layout.roles.iter().flatten().count() > 2 || layout.roles.len() == width {
            return Ok(());
        }
        let expected = format!(
            "{width} columns (more: ColumnMap::n_columns; a user and a list of items: DelimitedReader::item_lists)"
        );
        Err(Error::input(at.clone(), expected, layout.roles.len().to_string()))
    }
}

/// The index of a column in a table with this header.
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
    find_column(name, header, at)
}

/// The types that a header of RecBole gives behind the names of columns.
const TYPES: [&str; 4] = ["token", "token_seq", "float", "float_seq"];

/// The index of the one column that has this name in a header, or has it but for its type.
pub(crate) fn find_column(name: &str, header: &[String], at: &Location) -> Result<usize> {
    let untyped =
        |own: &str| own.rsplit_once(':').is_some_and(|(own, kind)| own == name && TYPES.contains(&kind));
    let places = |is_it: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..header.len()).filter(|&index| is_it(&header[index])).collect()
    };
    let mut found = places(&|own| own == name);
    if found.is_empty() {
        found = places(&untyped);
    }
    let [expected, found] = match found[..] {
        [index] => return Ok(index),
        [] => [format!("a column named {name:?}"), header.join(", ")],
        [first, second, ..] => {
            let found = format!("two, in columns {} and {}", first + 1, second + 1);
            [format!("one column named {name:?}"), found]
        }
    };
    Err(Error::input(at.clone().column(name), expected, found))
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
    pub(super) reading: Reading,
    /// Whether the time of a row is its place among the rows of its user.
    pub(super) time_is_place: bool,
}

impl Layout {
    /// The layout of lists of items.
    pub(super) fn item_lists(reading: Reading, time_is_place: bool) -> Self {
        let roles = [Role::User, Role::Item];
        let mut columns = [const { None }; Role::COUNT];
        for (index, role) in roles.into_iter().enumerate() {
            columns[role as usize] = Some((index, role.name().to_owned()));
        }
        Self { roles: roles.map(Some).to_vec(), columns, reading, time_is_place }
    }

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
    fn types_of_a_header_may_be_left_out() {
        let header = ["user_id:token", "tags:token_seq", "a:b", "a", "a:float"];
        let layout =
            resolve(&ColumnMap::new("user_id", "tags:token_seq").value("a").timestamp("a:b"), &header)
                .unwrap();
        let indices = Role::ALL.map(|role| layout.index(role));
        assert_eq!(indices, [Some(0), Some(1), Some(3), Some(2)]);
        let error = resolve(&ColumnMap::new("u", "user_id"), &["u:token", "u:float", "user_id"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input, line 1, column u: expected one column named \"u\", found two, in columns 1 and 2"
        );
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
        assert_eq!(
            message(ColumnMap::new("u", "i").value("v").events([("buy", f32::NAN)]), &["u", "i", "v"]),
            "ColumnMap::events: expected finite values, found NaN for \"buy\""
        );
    }

    #[test]
    fn columns_behind_users_and_items_are_not_lost_unseen() {
        let resolve = |map: &ColumnMap, width| map.resolve(None, width, &Location::memory().line(1));
        let error = resolve(&ColumnMap::new(1, 2), 5).unwrap_err().to_string();
        assert_eq!(
            error,
            "input, line 1: expected 2 columns (more: ColumnMap::n_columns; a user and a list of items: \
             DelimitedReader::item_lists), found 5"
        );
        for (map, width) in [
            (ColumnMap::new(1, 2), 2),
            (ColumnMap::new(3, 1), 3),
            (ColumnMap::new(1, 2).n_columns(5), 5),
            (ColumnMap::new(1, 2).value(3), 5),
        ] {
            assert!(resolve(&map, width).is_ok(), "{map:?}");
        }
        let error = resolve(&ColumnMap::new(1, 2).n_columns(4), 5).unwrap_err().to_string();
        assert_eq!(error, "input, line 1: expected 4 columns, found 5");
    }
}
