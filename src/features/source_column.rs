use std::borrow::Cow;

use super::id_encoder::Key;
use super::table::{Column, Table, Values};
use crate::data::number;
use crate::error::{Error, Location, Result};

/// A column of a table as something reads it that wants values of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceColumn<'a> {
    table: &'a Table,
    column: &'a Column,
    name: &'a str,
    separator: Option<&'a str>,
}

/// What is wanted of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Numbers,
    Categories,
    Texts,
    CategoryLists,
    NumberLists,
    /// Values of any type.
    Values,
    /// Lists of any type.
    Lists,
}

impl Wanted {
    fn description(self) -> &'static str {
        match self {
            Self::Numbers => "a column of numbers, or of texts that are numbers",
            Self::Categories => "a column of whole numbers or texts",
            Self::Texts => "a column of texts",
            Self::CategoryLists => {
                "a column of lists of whole numbers or texts, or of texts with a separator in the schema"
            }
            Self::NumberLists => "a column of lists of numbers, or of texts with a separator in the schema",
            Self::Values => "a column of values, not of lists",
            Self::Lists => "a column of lists, or of texts with a separator",
        }
    }

    fn accepts(self, column: &Column, separator: Option<&str>) -> bool {
        let (values, lists) = (column.values(), column.parts().is_some());
        let joined = matches!(values, Values::Texts(_)) && !lists && separator.is_some();
        match self {
            Self::Numbers | Self::Categories | Self::Values => !lists,
            Self::Texts => !lists && matches!(values, Values::Texts(_)),
            Self::CategoryLists | Self::NumberLists | Self::Lists => lists || joined,
        }
    }
}

impl<'a> SourceColumn<'a> {
    /// # Errors
    /// No column of this name, or one of another type.
    pub(super) fn find(
        table: &'a Table,
        name: &'a str,
        wanted: Wanted,
        separator: Option<&'a str>,
    ) -> Result<Self> {
        let place = || table.origin().column(name);
        let Some(column) = table.column(name) else {
            let found = table.names().collect::<Vec<_>>().join(", ");
            return Err(Error::input(place(), format!("a column named {name:?}"), found));
        };
        if !wanted.accepts(column, separator) {
            return Err(Error::input(place(), wanted.description(), column.description()));
        }
        Ok(Self { table, column, name, separator })
    }

    pub(super) fn n_rows(&self) -> usize {
        self.column.len()
    }

    pub(super) fn column(&self) -> &'a Column {
        self.column
    }

    pub(super) fn is_missing(&self, row: usize) -> bool {
        self.column.is_missing(row)
    }

    /// Where the value of a row stands.
    pub(super) fn place(&self, row: usize) -> Location {
        self.table.place(row).column(self.name)
    }

    /// The error of a row.
    pub(super) fn error(&self, row: usize, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::input(self.place(row), expected.into(), found)
    }

    /// The category of a row, unless it is missing.
    ///
    /// # Errors
    /// A number that is not whole.
    #[inline]
    pub(super) fn category(&self, row: usize) -> Result<Option<Key<'a>>> {
        if self.is_missing(row) { Ok(None) } else { self.key(row, row).map(Some) }
    }

    /// The number of a row, unless it is missing.
    ///
    /// # Errors
    /// A text that is no finite number.
    #[inline]
    pub(super) fn number(&self, row: usize) -> Result<Option<f64>> {
        if self.is_missing(row) { Ok(None) } else { self.value(row, row).map(Some) }
    }

    /// The text of a row, unless it is missing.
    pub(super) fn text(&self, row: usize) -> Option<&'a str> {
        match self.column.values() {
            Values::Texts(texts) if !self.is_missing(row) => Some(texts.get(row)),
            _ => None,
        }
    }

    /// The value of a row as it is written (a whole number in digits), unless it is missing or blank.
    pub(super) fn written(&self, row: usize) -> Option<Cow<'a, str>> {
        let value = (!self.is_missing(row)).then(|| self.written_at(row));
        value.filter(|text| !text.trim().is_empty())
    }

    /// The elements of the list of a row as they are written, but those that are empty.
    pub(super) fn written_list(&self, row: usize) -> Vec<Cow<'a, str>> {
        match self.column.parts() {
            Some(parts) => {
                parts[row].clone().map(|at| self.written_at(at)).filter(|text| !text.is_empty()).collect()
            }
            None => self.tokens(row).map(Cow::from).collect(),
        }
    }

    fn written_at(&self, at: usize) -> Cow<'a, str> {
        match self.column.values() {
            Values::Ints(ints) => ints[at].to_string().into(),
            Values::Numbers(numbers) => numbers[at].to_string().into(),
            Values::Texts(texts) => texts.get(at).into(),
        }
    }

    /// Replaces `keys` by the categories in the list of a row.
    ///
    /// # Errors
    /// A number that is not whole.
    pub(super) fn categories(&self, row: usize, keys: &mut Vec<Key<'a>>) -> Result<()> {
        keys.clear();
        match self.column.parts() {
            Some(parts) => parts[row].clone().try_for_each(|at| self.key(row, at).map(|key| keys.push(key))),
            None => {
                keys.extend(self.tokens(row).map(Key::from));
                Ok(())
            }
        }
    }

    /// Replaces `numbers` by the numbers in the list of a row.
    ///
    /// # Errors
    /// A text that is no finite number.
    pub(super) fn numbers(&self, row: usize, numbers: &mut Vec<f64>) -> Result<()> {
        numbers.clear();
        match self.column.parts() {
            Some(parts) => {
                for at in parts[row].clone() {
                    numbers.push(self.value(row, at)?);
                }
            }
            None => {
                for token in self.tokens(row) {
                    numbers.push(self.parse(row, token)?);
                }
            }
        }
        Ok(())
    }

    /// What stands between the separators of a text; a missing one has none.
    fn tokens(&self, row: usize) -> impl Iterator<Item = &'a str> {
        let text = self.text(row).unwrap_or_default();
        self.separator
            .into_iter()
            .flat_map(move |separator| text.split(separator))
            .filter(|token| !token.is_empty())
    }

    /// The category at a place among the values, of a row.
    ///
    /// # Errors
    /// A number that is not whole.
    #[inline]
    pub(super) fn key(&self, row: usize, at: usize) -> Result<Key<'a>> {
        match self.column.values() {
            Values::Ints(ints) => Ok(Key::Int(ints[at])),
            Values::Texts(texts) => Ok(texts.get(at).into()),
            Values::Numbers(numbers) => self.whole(row, numbers[at]),
        }
    }

    /// The category of a number. From 2^53 on it may stand for others, too.
    fn whole(&self, row: usize, number: f64) -> Result<Key<'a>> {
        match number.fract() == 0.0 && number.abs() < 2f64.powi(53) {
            true => Ok(Key::Int(number as i64)),
            false => Err(self.error(row, "a whole number below 2^53, or a text", number.to_string())),
        }
    }

    #[inline]
    fn value(&self, row: usize, at: usize) -> Result<f64> {
        match self.column.values() {
            Values::Ints(ints) => Ok(ints[at] as f64),
            Values::Numbers(numbers) => Ok(numbers[at]),
            Values::Texts(texts) => self.parse(row, texts.get(at)),
        }
    }

    fn parse(&self, row: usize, text: &str) -> Result<f64> {
        match number::<f64>(text) {
            Some(number) if number.is_finite() => Ok(number),
            Some(_) => Err(self.error(row, "a finite number", Key::Text(text).to_string())),
            None => Err(self.error(row, "a number", Key::Text(text).to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FeatureEncoder, FieldKind, Ids, Pooling, Schema};

    fn table(column: Column) -> Table {
        Table::default().with_column("c", column).unwrap()
    }

    fn fit(kind: impl Into<FieldKind>, column: Column) -> Result<FeatureEncoder> {
        FeatureEncoder::fit(Schema::default().with_field("c", kind), [Ok(table(column))])
    }

    fn numbers(numbers: &[Option<f64>]) -> Column {
        Column::numbers(numbers.iter().copied()).unwrap()
    }

    fn lists(last: f64) -> Column {
        Column::number_lists([vec![1.0, 2.0], vec![last]]).unwrap()
    }

    #[test]
    fn numbers_that_are_whole_are_categories() {
        let ints = Column::ints([Some(7), None, Some(-3)]);
        let floats = numbers(&[Some(7.0), None, Some(-3.0)]);
        let encoder = fit(Ids::default(), ints.clone()).unwrap();
        assert_eq!(fit(Ids::default(), floats.clone()).unwrap(), encoder);
        assert_eq!(encoder.encode(&table(floats)).unwrap(), encoder.encode(&table(ints)).unwrap());
        for (number, found) in [(7.5, "7.5"), (9_007_199_254_740_992.0, "9007199254740992")] {
            let column = numbers(&[Some(7.0), Some(number)]);
            let expected = "input, line 2, column c: expected a whole number below 2^53, or a text, found";
            for error in
                [encoder.encode(&table(column.clone())).map(drop), fit(Ids::default(), column).map(drop)]
            {
                assert_eq!(error.unwrap_err().to_string(), format!("{expected} {found}"));
            }
        }
    }

    #[test]
    fn so_are_those_of_lists() {
        let multi = || FieldKind::MultiValued { ids: Ids::default(), pooling: Pooling::Sum, separator: None };
        let encoder = fit(multi(), Column::int_lists([vec![1, 2], vec![3]])).unwrap();
        assert_eq!(fit(multi(), lists(3.0)).unwrap(), encoder);
        let history = FieldKind::History { of: "item".into(), max_len: 3, separator: None };
        let schema = Schema::default().with_field("item", Ids::default()).with_field("c", history);
        let rows = |last| table(lists(last)).with_column("item", Column::ints([1, 3])).unwrap();
        let histories = FeatureEncoder::fit(schema, [Ok(rows(3.0))]).unwrap();
        assert!(histories.encode(&rows(3.0)).is_ok());
        for error in [encoder.encode(&table(lists(3.5))), histories.encode(&rows(3.5))] {
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("input, line 2, column c") && error.ends_with("found 3.5"), "{error}");
        }
    }
}
