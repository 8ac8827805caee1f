use super::id_encoder::Key;
use super::table::{Column, Table, Values};
use crate::error::{Error, Result};

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
        }
    }

    fn accepts(self, column: &Column, separator: Option<&str>) -> bool {
        let (values, lists) = (column.values(), column.parts().is_some());
        let joined = matches!(values, Values::Texts(_)) && !lists && separator.is_some();
        let categories = !matches!(values, Values::Numbers(_));
        match self {
            Self::Numbers => !lists,
            Self::Categories => !lists && categories,
            Self::Texts => !lists && matches!(values, Values::Texts(_)),
            Self::CategoryLists => (lists && categories) || joined,
            Self::NumberLists => lists || joined,
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

    /// The error of a row.
    pub(super) fn error(&self, row: usize, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::input(self.table.place(row).column(self.name), expected.into(), found)
    }

    /// The category of a row, unless it is missing.
    #[inline]
    pub(super) fn category(&self, row: usize) -> Option<Key<'a>> {
        if self.is_missing(row) { None } else { Some(self.key(row)) }
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

    /// Replaces `keys` by the categories in the list of a row.
    pub(super) fn categories(&self, row: usize, keys: &mut Vec<Key<'a>>) {
        keys.clear();
        match self.column.parts() {
            Some(parts) => keys.extend(parts[row].clone().map(|at| self.key(at))),
            None => keys.extend(self.tokens(row).map(Key::from)),
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

    /// The category at a place among the values, which are no numbers of fractions.
    #[inline]
    pub(super) fn key(&self, at: usize) -> Key<'a> {
        match self.column.values() {
            Values::Ints(ints) => Key::Int(ints[at]),
            Values::Texts(texts) => texts.get(at).into(),
            Values::Numbers(_) => unreachable!("categories are not wanted of numbers"),
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
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) => Err(self.error(row, "a finite number", Key::Text(text).to_string())),
            Err(_) => Err(self.error(row, "a number", Key::Text(text).to_string())),
        }
    }
}
