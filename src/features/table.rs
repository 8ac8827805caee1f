use std::ops::Range;

use crate::data::Texts;
use crate::error::{Error, ErrorKind, Location, Result};

/// Raw records: columns by name, as they come from a file or a request, before any encoding. One request is a table
/// of one row; a file is many tables, one after another.
///
/// ```
/// use recsys::features::{Column, Table};
///
/// let request = Table::default()
///     .with_column("user", Column::ints([17]))?
///     .with_column("city", Column::texts([None]))?
///     .with_column("watched", Column::int_lists([vec![3, 1, 4]]))?;
/// assert_eq!(request.n_rows(), 1);
/// assert!(request.column("city").is_some_and(|city| city.is_missing(0)));
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: Vec<(String, Column)>,
    /// Where the records come from.
    origin: Location,
    lines: Lines,
}

/// The line, or the row, of the origin where each row stands.
#[derive(Clone, Debug, PartialEq)]
enum Lines {
    /// One behind another, behind so many.
    After(u64),
    Each(Vec<u64>),
}

impl Default for Lines {
    fn default() -> Self {
        Self::After(0)
    }
}

impl Table {
    /// An empty table of what stands in `origin` behind row `n_before`.
    #[cfg(feature = "parquet")]
    pub(super) fn after(origin: Location, n_before: u64) -> Self {
        Self { columns: Vec::new(), origin, lines: Lines::After(n_before) }
    }

    /// An empty table of what stands in these lines of `origin`.
    pub(super) fn at_lines(origin: Location, lines: Vec<u64>) -> Self {
        Self { columns: Vec::new(), origin, lines: Lines::Each(lines) }
    }

    /// With one more column.
    ///
    /// # Errors
    /// Another number of rows than the columns before, or a name that one of them has.
    pub fn with_column(mut self, name: impl Into<String>, column: Column) -> Result<Self> {
        let name = name.into();
        if self.column(&name).is_some() {
            return Err(Error::config("Table::column", "a name that no other column has", name));
        }
        if !self.columns.is_empty() && column.len() != self.n_rows() {
            let (what, expected, found) = ("number of rows of a column", self.n_rows(), column.len());
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        self.columns.push((name, column));
        Ok(self)
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.len())
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(other, _)| other == name).map(|(_, column)| column)
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// These rows, in this order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, rows: &[usize]) -> Self {
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), column.select(rows))).collect();
        let lines = Lines::Each(rows.iter().map(|&row| self.line(row)).collect());
        Self { columns, origin: self.origin.clone(), lines }
    }

    fn line(&self, row: usize) -> u64 {
        match &self.lines {
            Lines::After(before) => before + row as u64 + 1,
            Lines::Each(lines) => lines[row],
        }
    }

    /// Where the table comes from.
    pub(super) fn origin(&self) -> Location {
        self.origin.clone()
    }

    /// Where a row comes from.
    pub(super) fn place(&self, row: usize) -> Location {
        self.origin.clone().line(self.line(row))
    }
}

/// The values of a column of a [`Table`]: whole numbers, numbers, texts, or lists of one of these; any may be missing.
///
/// A text that reads as a number will do where a number is wanted, as will `true` and `false` (1 and 0; also `True`,
/// `TRUE`, …), and a text such as `42` is the same category as the whole number 42, as the number 42.0 is, so that a text
/// file and a typed one give the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    values: Values,
    /// In a column of lists, where the list of each row stands among the values.
    lists: Option<Vec<Range<usize>>>,
    /// Whether each row is missing; empty where none is.
    missing: Vec<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Ints(Vec<i64>),
    Numbers(Vec<f64>),
    Texts(Texts),
}

impl Column {
    /// Whole numbers: `Column::ints([1, 2])`, `Column::ints([Some(1), None])`.
    pub fn ints(values: impl IntoIterator<Item = impl Into<Option<i64>>>) -> Self {
        let (values, missing) = with_missing(values);
        Self::new(Values::Ints(values), None, missing)
    }

    /// Numbers.
    ///
    /// # Errors
    /// A number that is not finite, with its row: a missing number is `None`, not NaN.
    pub fn numbers(values: impl IntoIterator<Item = impl Into<Option<f64>>>) -> Result<Self> {
        let (values, missing) = with_missing(values);
        Self::new(Values::Numbers(values), None, missing).finite(row_of_memory)
    }

    /// Texts.
    pub fn texts<'t>(values: impl IntoIterator<Item = impl Into<Option<&'t str>>>) -> Self {
        let (values, missing) = with_missing(values);
        Self::new(Values::Texts(texts(values)), None, missing)
    }

    /// Lists that are parts of one sequence, `elements`, and may overlap: rows that look back on the same past share
    /// it.
    ///
    /// # Errors
    /// Elements that are lists or missing; a part that reaches beyond them, with its row.
    pub fn lists(
        elements: Self,
        parts: impl IntoIterator<Item = impl Into<Option<Range<usize>>>>,
    ) -> Result<Self> {
        if elements.lists.is_some() || !elements.missing.is_empty() {
            return Err(Error::config("Column::elements", "values, none of them missing", "others"));
        }
        let (parts, missing): (Vec<Range<usize>>, _) = with_missing(parts);
        let bound = elements.len();
        if let Some(row) = parts.iter().position(|part| part.start > part.end || part.end > bound) {
            let (expected, found) = (format!("a part of 0..{bound}"), format!("{:?}", parts[row]));
            return Err(Error::input(row_of_memory(row), expected, found));
        }
        Ok(Self::new(elements.values, Some(parts), missing))
    }

    /// Lists of whole numbers.
    pub fn int_lists(lists: impl IntoIterator<Item = impl Into<Option<Vec<i64>>>>) -> Self {
        let (elements, parts, missing) = flatten(lists);
        Self::new(Values::Ints(elements), Some(parts), missing)
    }

    /// Lists of numbers.
    ///
    /// # Errors
    /// A number that is not finite, with its row.
    pub fn number_lists(lists: impl IntoIterator<Item = impl Into<Option<Vec<f64>>>>) -> Result<Self> {
        let (elements, parts, missing) = flatten(lists);
        Self::new(Values::Numbers(elements), Some(parts), missing).finite(row_of_memory)
    }

    /// Lists of texts.
    pub fn text_lists<'t>(lists: impl IntoIterator<Item = impl Into<Option<Vec<&'t str>>>>) -> Self {
        let (elements, parts, missing) = flatten(lists);
        Self::new(Values::Texts(texts(elements)), Some(parts), missing)
    }

    /// Lists are in bounds, and `missing` has as many entries as there are rows.
    pub(super) fn new(values: Values, lists: Option<Vec<Range<usize>>>, mut missing: Vec<bool>) -> Self {
        if !missing.contains(&true) {
            missing.clear();
        }
        Self { values, lists, missing }
    }

    /// The column, if its numbers are finite; `place` says where a row comes from.
    pub(super) fn finite(self, place: impl Fn(usize) -> Location) -> Result<Self> {
        let Values::Numbers(numbers) = &self.values else { return Ok(self) };
        let wrong = |list: Range<usize>| numbers[list].iter().find(|number| !number.is_finite());
        if wrong(0..numbers.len()).is_none() {
            return Ok(self);
        }
        let list = |row: usize| self.lists.as_ref().map_or(row..row + 1, |lists| lists[row].clone());
        match (0..self.len()).find_map(|row| Some((row, wrong(list(row))?))) {
            Some((row, number)) => Err(Error::input(place(row), "a finite number", number.to_string())),
            None => Ok(self),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match (&self.lists, &self.values) {
            (Some(lists), _) => lists.len(),
            (None, Values::Ints(values)) => values.len(),
            (None, Values::Numbers(values)) => values.len(),
            (None, Values::Texts(values)) => values.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the value of a row is missing.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn is_missing(&self, row: usize) -> bool {
        assert!(row < self.len(), "row {row} of {}", self.len());
        !self.missing.is_empty() && self.missing[row]
    }

    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// In a column of lists, where the list of each row stands among the values.
    pub(super) fn parts(&self) -> Option<&[Range<usize>]> {
        self.lists.as_deref()
    }

    /// What the column holds, for messages.
    pub(super) fn description(&self) -> &'static str {
        match (&self.values, &self.lists) {
            (Values::Ints(_), None) => "whole numbers",
            (Values::Numbers(_), None) => "numbers",
            (Values::Texts(_), None) => "texts",
            (Values::Ints(_), Some(_)) => "lists of whole numbers",
            (Values::Numbers(_), Some(_)) => "lists of numbers",
            (Values::Texts(_), Some(_)) => "lists of texts",
        }
    }

    fn select(&self, rows: &[usize]) -> Self {
        let missing = rows.iter().map(|&row| self.is_missing(row)).collect();
        if let Some(lists) = &self.lists {
            let lists = rows.iter().map(|&row| lists[row].clone()).collect();
            return Self::new(self.values.clone(), Some(lists), missing);
        }
        let values = match &self.values {
            Values::Ints(values) => Values::Ints(rows.iter().map(|&row| values[row]).collect()),
            Values::Numbers(values) => Values::Numbers(rows.iter().map(|&row| values[row]).collect()),
            Values::Texts(values) => Values::Texts(texts(rows.iter().map(|&row| values.get(row)))),
        };
        Self::new(values, None, missing)
    }
}

fn row_of_memory(row: usize) -> Location {
    Location::memory().line(row as u64 + 1)
}

/// The values, with defaults for those that are missing, and which these are.
fn with_missing<T: Default>(values: impl IntoIterator<Item = impl Into<Option<T>>>) -> (Vec<T>, Vec<bool>) {
    let values = values.into_iter().map(Into::into);
    values.map(|value| (value.is_none(), value.unwrap_or_default())).map(|(is, value)| (value, is)).unzip()
}

fn texts<'t>(values: impl IntoIterator<Item = &'t str>) -> Texts {
    let mut texts = Texts::default();
    values.into_iter().for_each(|text| texts.push(text));
    texts
}

/// Lists one behind another, where each stands, and which are missing.
fn flatten<T>(
    lists: impl IntoIterator<Item = impl Into<Option<Vec<T>>>>,
) -> (Vec<T>, Vec<Range<usize>>, Vec<bool>) {
    let (lists, missing) = with_missing(lists);
    let (mut elements, mut parts) = (Vec::new(), Vec::new());
    for list in lists {
        let start = elements.len();
        elements.extend(list);
        parts.push(start..elements.len());
    }
    (elements, parts, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::default()
            .with_column("n", Column::ints([Some(1), None, Some(3)]))
            .and_then(|table| table.with_column("x", Column::numbers([0.5, 1.5, 2.5])?))
            .and_then(|table| table.with_column("t", Column::texts(["a", "bc", ""])))
            .and_then(|table| table.with_column("l", Column::text_lists([vec!["u"], vec![], vec!["v", "w"]])))
            .unwrap()
    }

    #[test]
    fn a_selection_is_the_same_rows() {
        let (selected, table) = (table().select(&[2, 0]), table());
        assert_eq!(selected.names().collect::<Vec<_>>(), ["n", "x", "t", "l"]);
        assert_eq!(selected.column("n"), Some(&Column::ints([3, 1])));
        assert_eq!(selected.column("x"), Some(&Column::numbers([2.5, 0.5]).unwrap()));
        assert_eq!(selected.column("t"), Some(&Column::texts(["", "a"])));
        assert_eq!(selected.column("l").unwrap().parts(), Some(&[1..3, 0..1][..]));
        assert_eq!((selected.place(0), selected.place(1)), (table.place(2), table.place(0)));
        assert!(table.select(&[1]).column("n").unwrap().is_missing(0));
    }

    #[test]
    fn lists_may_be_parts_of_one_sequence() {
        let shared = Column::lists(Column::ints([1, 2, 3]), [Some(0..2), None, Some(1..3)]).unwrap();
        assert_eq!((shared.len(), shared.is_missing(1), shared.is_missing(2)), (3, true, false));
        let plain = Column::int_lists([vec![1, 2], vec![3]]);
        assert_eq!(plain, Column::lists(Column::ints([1, 2, 3]), [0..2, 2..3]).unwrap());
        assert!(Column::lists(plain, [0..1, 1..2]).is_err());
        assert!(Column::lists(Column::ints([Some(1), None]), [0..1, 1..2]).is_err());
        let error = Column::lists(Column::ints([1]), [0..1, 1..2]).unwrap_err();
        assert_eq!(error.to_string(), "input, line 2: expected a part of 0..1, found 1..2");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = Column::numbers([Some(1.0), None, Some(f64::NAN)]).unwrap_err();
        assert_eq!(error.to_string(), "input, line 3: expected a finite number, found NaN");
        let error = Column::number_lists([vec![1.0], vec![2.0, f64::INFINITY]]).unwrap_err();
        assert_eq!(error.to_string(), "input, line 2: expected a finite number, found inf");
        assert!(table().with_column("n", Column::ints([1, 2, 3])).is_err());
        let error = table().with_column("m", Column::ints([1])).unwrap_err();
        assert_eq!(error.to_string(), "number of rows of a column: expected 3, found 1");
    }
}
