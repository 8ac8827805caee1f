use super::table::{Column, Table, Values};
use crate::data::Texts;
use crate::data::source::Origin;
use crate::error::{Error, Result};

/// Rows of a table.
pub(super) const CHUNK_LEN: usize = 1 << 16;

/// What rows are read from, one after another.
pub(super) trait TextRows: Send {
    /// Appends the next row to the columns and gives its line; `None` at the end.
    fn next(&mut self, columns: &mut [TextColumn]) -> Result<Option<u64>>;
}

/// The tables of a text, as [`DelimitedTables`](super::DelimitedTables) and [`JsonTables`](super::JsonTables) read them.
pub struct TextTables<'r> {
    /// `None` after the end or an error.
    rows: Option<Box<dyn TextRows + 'r>>,
    /// The names of the columns, and whether each holds lists.
    columns: Vec<(String, bool)>,
    origin: Origin,
    any_row: bool,
}

/// A column that grows.
#[derive(Clone, Debug, Default)]
pub(super) struct TextColumn {
    texts: Texts,
    /// Where each list ends, in a column of lists.
    ends: Option<Vec<usize>>,
    missing: Vec<bool>,
}

impl TextColumn {
    fn new(is_list: bool) -> Self {
        Self { ends: is_list.then(Vec::new), ..Self::default() }
    }

    pub(super) fn is_list(&self) -> bool {
        self.ends.is_some()
    }

    /// Appends the text of a row; an empty one is missing.
    pub(super) fn push(&mut self, text: &str) {
        self.missing.push(text.is_empty());
        self.texts.push(text);
    }

    /// Appends an element to the list of the next row.
    pub(super) fn push_element(&mut self, text: &str) {
        self.texts.push(text);
    }

    /// Ends the list of a row.
    pub(super) fn end_list(&mut self, is_missing: bool) {
        self.missing.push(is_missing);
        self.ends.get_or_insert_default().push(self.texts.len());
    }

    fn finish(self) -> Column {
        let parts = self.ends.map(|ends| {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(&ends).map(|(start, &end)| start..end).collect()
        });
        Column::new(Values::Texts(self.texts), parts, self.missing)
    }
}

impl<'r> TextTables<'r> {
    pub(super) fn new(rows: impl TextRows + 'r, columns: Vec<(String, bool)>, origin: Origin) -> Self {
        Self { rows: Some(Box::new(rows)), columns, origin, any_row: false }
    }

    /// The next rows, and whether there may be more behind them.
    fn chunk(&self, rows: &mut dyn TextRows) -> Result<(Table, bool)> {
        let mut columns: Vec<TextColumn> =
            self.columns.iter().map(|(_, is_list)| TextColumn::new(*is_list)).collect();
        let mut lines = Vec::new();
        while lines.len() < CHUNK_LEN {
            match rows.next(&mut columns)? {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        let more = lines.len() == CHUNK_LEN;
        let mut table = Table::at_lines(self.origin.location(), lines);
        for (column, (name, _)) in columns.into_iter().zip(&self.columns) {
            table = table.with_column(name, column.finish())?;
        }
        Ok((table, more))
    }
}

impl Iterator for TextTables<'_> {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Result<Table>> {
        let mut rows = self.rows.take()?;
        match self.chunk(&mut *rows) {
            Ok((table, _)) if table.n_rows() == 0 => (!self.any_row).then(|| {
                Err(Error::input(self.origin.location(), "at least one row", "the end of the file"))
            }),
            Ok((table, more)) => {
                self.any_row = true;
                self.rows = more.then_some(rows);
                Some(Ok(table))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
