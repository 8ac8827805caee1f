use std::borrow::Cow;

use super::source_column::{SourceColumn, Wanted};
use super::table::Table;
use crate::data::{Key, Vocab, natural_number};
use crate::error::{Error, Location, Result};

/// What tables say of the keys of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<T> {
    /// What is known of each key.
    pub table: T,
    /// The number of keys without a row.
    pub n_without_row: usize,
    /// The number of rows that were left out because the data set does not have their keys.
    pub n_left_out: u64,
}

/// Rows of tables, found by the keys of a vocabulary.
pub(super) struct KeyedRows<'a> {
    /// The column of the keys.
    key: &'a str,
    vocab: &'a Vocab,
    has_row: Vec<bool>,
    n_left_out: u64,
    /// The first row that was left out: where it stands, and its key.
    left_out: Option<(Location, String)>,
}

impl<'a> KeyedRows<'a> {
    pub(super) fn new(key: &'a str, vocab: &'a Vocab) -> Self {
        Self { key, vocab, has_row: vec![false; vocab.len()], n_left_out: 0, left_out: None }
    }

    /// Gives `add` the rows of each table that have a key of the vocabulary.
    ///
    /// # Errors
    /// Those of the tables and of `add`; no column of keys; a key that is missing, comes twice or is no whole number in a column of
    /// numbers, with its row; rows of which
    /// none has a key of the vocabulary, unless that is empty.
    pub(super) fn read(
        mut self,
        tables: impl IntoIterator<Item = Result<Table>>,
        mut add: impl FnMut(&FoundRows<'_>) -> Result<()>,
    ) -> Result<Self> {
        for table in tables {
            let table = table?;
            let rows = self.find(&table)?;
            add(&FoundRows { table: &table, rows })?;
        }
        self.check()?;
        Ok(self)
    }

    fn find(&mut self, table: &Table) -> Result<Vec<(usize, usize)>> {
        let keys = SourceColumn::find(table, self.key, Wanted::Values, None)?;
        let mut rows = Vec::new();
        for row in 0..keys.n_rows() {
            // A number with a fraction is no key, and one from 2^53 on may stand for several.
            keys.category(row)?;
            let Some(key) = keys.written(row) else { return Err(keys.error(row, "a key", "nothing")) };
            let Some(id) = self.vocab.id(&*key) else {
                self.n_left_out += 1;
                self.left_out.get_or_insert_with(|| (keys.place(row), key.into_owned()));
                continue;
            };
            if std::mem::replace(&mut self.has_row[id as usize], true) {
                return Err(keys.error(row, "a key that did not come before", format!("{key:?}")));
            }
            rows.push((row, id as usize));
        }
        Ok(rows)
    }

    /// Whether some row has a key of the vocabulary, or need not.
    fn check(&self) -> Result<()> {
        let Some(known) = self.vocab.key(0) else { return Ok(()) };
        match &self.left_out {
            _ if self.has_row.contains(&true) => Ok(()),
            None => Err(Error::input(Location::memory(), "at least one row", "none")),
            Some((place, key)) => {
                let known = match known {
                    Key::Int(known) => known.to_string(),
                    Key::Text(known) => format!("{known:?}"),
                };
                let expected = format!("keys of the data set, such as {known}");
                let found = format!("none in {} rows, but such as {key:?}", self.n_left_out);
                Err(Error::input(place.clone(), expected, found))
            }
        }
    }

    pub(super) fn known<T>(self, table: T) -> Known<T> {
        let n_without_row = self.has_row.iter().filter(|has_row| !**has_row).count();
        Known { table, n_without_row, n_left_out: self.n_left_out }
    }
}

/// Rows of a table, each with the id of its key.
pub(super) struct FoundRows<'t> {
    table: &'t Table,
    rows: Vec<(usize, usize)>,
}

impl FoundRows<'_> {
    /// Writes the values of a column, if one is named, to `texts` by id; a missing one is empty.
    pub(super) fn texts(&self, name: Option<&str>, texts: &mut [String]) -> Result<()> {
        let Some(name) = name else { return Ok(()) };
        let column = SourceColumn::find(self.table, name, Wanted::Values, None)?;
        for &(row, id) in &self.rows {
            texts[id] = column.written(row).unwrap_or_default().into_owned();
        }
        Ok(())
    }

    /// Writes the whole numbers of a column, if one is named, to `numbers` by id.
    pub(super) fn whole_numbers<N: TryFrom<u64>>(
        &self,
        name: Option<&str>,
        expected: &str,
        numbers: &mut [Option<N>],
    ) -> Result<()> {
        let Some(name) = name else { return Ok(()) };
        let column = SourceColumn::find(self.table, name, Wanted::Values, None)?;
        for &(row, id) in &self.rows {
            let Some(text) = column.written(row) else { continue };
            let number = natural_number(&text).and_then(|number| N::try_from(number).ok());
            let number = number.ok_or_else(|| column.error(row, expected, format!("{text:?}")))?;
            numbers[id] = Some(number);
        }
        Ok(())
    }

    /// Gives `add` the id and the list of each row of a column, if one is named.
    pub(super) fn lists(
        &self,
        name: Option<&str>,
        separator: Option<&str>,
        mut add: impl FnMut(usize, Vec<Cow<'_, str>>),
    ) -> Result<()> {
        let Some(name) = name else { return Ok(()) };
        let column = SourceColumn::find(self.table, name, Wanted::Lists, separator)?;
        self.rows.iter().for_each(|&(row, id)| add(id, column.written_list(row)));
        Ok(())
    }
}
