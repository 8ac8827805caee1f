use std::io::Read;
use std::path::Path;

use super::table::{Column, Table, Values};
use crate::data::Texts;
use crate::data::delimited::CsvRecords;
use crate::data::source::{self, Bytes, Origin};
use crate::error::{Error, Location, Result};

/// Rows of a table.
const CHUNK_LEN: usize = 1 << 16;

/// Reads CSV and other delimited text as [`Table`]s of at most 65,536 rows, so that a file may be larger than memory.
///
/// All columns are texts: what wants a number reads it from the text, and says in which line it is none. An empty
/// field is a missing value. Fields may stand between quotation marks (RFC 4180) unless told otherwise; a quoted field
/// must fit in memory. Blank lines are skipped; a file may be gzip-compressed.
///
/// ```
/// use recsys::features::DelimitedTables;
///
/// let text = "user,item,price\n7,ring,9.5\n8,\"cup, blue\",\n";
/// let tables = DelimitedTables::default().read_from(text.as_bytes(), &["item", "price"])?;
/// let tables: Vec<_> = tables.collect::<Result<_, _>>()?;
/// assert_eq!((tables.len(), tables[0].n_rows()), (1, 2));
/// assert!(tables[0].column("price").is_some_and(|price| price.is_missing(1)));
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelimitedTables {
    delimiter: u8,
    quoting: bool,
    names: Option<Vec<String>>,
}

impl Default for DelimitedTables {
    /// CSV: comma-separated, with a header.
    fn default() -> Self {
        Self { delimiter: b',', quoting: true, names: None }
    }
}

impl DelimitedTables {
    /// With another character between fields: a line end or a quotation mark will not do.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Quotation marks are characters like any other.
    pub fn without_quoting(mut self) -> Self {
        self.quoting = false;
        self
    }

    /// The first line is data; these are the names of all columns.
    pub fn without_header<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The tables of a file, with these columns.
    ///
    /// # Errors
    /// A file that cannot be opened; no header; a column that is missing, or two of its name; and, table by table,
    /// damaged compression, a quotation mark that none closes, a line with another number of fields, or text
    /// that is not UTF-8. Each names the file, and line and column where there is one.
    pub fn read<S: AsRef<str>>(&self, path: impl AsRef<Path>, columns: &[S]) -> Result<TextTables<'static>> {
        let (bytes, origin) = source::open(path.as_ref())?;
        self.tables(bytes, origin, columns)
    }

    /// The tables of a stream, plain or gzip, with these columns.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from<'r, S: AsRef<str>>(
        &self,
        reader: impl Read + Send + 'r,
        columns: &[S],
    ) -> Result<TextTables<'r>> {
        let (bytes, origin) = source::open_stream(reader)?;
        self.tables(bytes, origin, columns)
    }

    fn tables<'r, S: AsRef<str>>(
        &self,
        bytes: Box<Bytes<'r>>,
        origin: Origin,
        columns: &[S],
    ) -> Result<TextTables<'r>> {
        if b"\r\n\"".contains(&self.delimiter) {
            let found = format!("{:?}", char::from(self.delimiter));
            return Err(Error::config("DelimitedTables::delimiter", "no line end, no quotation mark", found));
        }
        let mut records = Records::new(bytes, origin, self);
        let names = match &self.names {
            Some(names) => names.clone(),
            None => records.header()?,
        };
        let columns = columns
            .iter()
            .map(|column| Ok((column.as_ref().to_owned(), records.locate(column.as_ref(), &names)?)))
            .collect::<Result<_>>()?;
        Ok(TextTables { records: Some(records), columns, n_columns: names.len() })
    }
}

/// The records of a text, without blank ones.
struct Records<'r> {
    all: CsvRecords<Box<Bytes<'r>>>,
    origin: Origin,
}

impl<'r> Records<'r> {
    fn new(bytes: Box<Bytes<'r>>, origin: Origin, format: &DelimitedTables) -> Self {
        Self { all: CsvRecords::new(bytes, format.delimiter, format.quoting, 0), origin }
    }

    /// Reads the next one; `false` at the end.
    fn next(&mut self) -> Result<bool> {
        loop {
            let more = self.all.next(&self.origin)?;
            if !more || self.n_fields() > 1 || !self.field(0).is_empty() {
                return Ok(more);
            }
        }
    }

    fn n_fields(&self) -> usize {
        self.all.record().len()
    }

    /// A field of the record, without the carriage return of a line end.
    fn field(&self, index: usize) -> &[u8] {
        let field = self.all.record().get(index).unwrap_or_default();
        match field {
            [field @ .., b'\r'] if index + 1 == self.n_fields() => field,
            _ => field,
        }
    }

    fn place(&self) -> Location {
        self.origin.location().line(self.all.line())
    }

    fn text(&self, index: usize, column: &str) -> Result<&str> {
        let field = self.field(index);
        std::str::from_utf8(field).map_err(|_| {
            Error::input(self.place().column(column), "UTF-8 text", format!("\"{}\"", field.escape_ascii()))
        })
    }

    fn header(&mut self) -> Result<Vec<String>> {
        if !self.next()? {
            return Err(Error::input(self.origin.location().line(1), "a header line", "the end of the file"));
        }
        let name = |index| Ok(self.text(index, &(index + 1).to_string())?.trim().to_owned());
        (0..self.n_fields()).map(name).collect()
    }

    /// The place of a column among those of these names.
    fn locate(&self, column: &str, names: &[String]) -> Result<usize> {
        let mut places = (0..names.len()).filter(|&index| names[index] == column);
        let found = match (places.next(), places.next()) {
            (Some(index), None) => return Ok(index),
            (None, _) => names.join(", "),
            (Some(first), Some(second)) => format!("two, in columns {} and {}", first + 1, second + 1),
        };
        let expected = format!("one column named {column:?}");
        Err(Error::input(self.origin.location().column(column), expected, found))
    }
}

/// The tables of a text, as [`DelimitedTables`] reads them.
pub struct TextTables<'r> {
    /// `None` after the end or an error.
    records: Option<Records<'r>>,
    /// Name and place of each column that is read.
    columns: Vec<(String, usize)>,
    /// The number of columns of the text.
    n_columns: usize,
}

impl TextTables<'_> {
    /// The next rows, and whether there may be more behind them.
    fn chunk(&self, records: &mut Records<'_>) -> Result<(Table, bool)> {
        let mut columns = vec![(Texts::default(), Vec::new()); self.columns.len()];
        let (mut lines, mut more) = (Vec::new(), true);
        while lines.len() < CHUNK_LEN {
            more = records.next()?;
            if !more {
                break;
            }
            if records.n_fields() != self.n_columns {
                let expected = format!("{} fields", self.n_columns);
                return Err(Error::input(records.place(), expected, records.n_fields().to_string()));
            }
            for ((texts, missing), (name, index)) in columns.iter_mut().zip(&self.columns) {
                let text = records.text(*index, name)?;
                missing.push(text.is_empty());
                texts.push(text);
            }
            lines.push(records.all.line());
        }
        let mut table = Table::at_lines(records.origin.location(), lines);
        for ((texts, missing), (name, _)) in columns.into_iter().zip(&self.columns) {
            table = table.with_column(name, Column::new(Values::Texts(texts), None, missing))?;
        }
        Ok((table, more))
    }
}

impl Iterator for TextTables<'_> {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Result<Table>> {
        let mut records = self.records.take()?;
        match self.chunk(&mut records) {
            Ok((table, more)) => {
                let empty = table.n_rows() == 0;
                self.records = more.then_some(records);
                (!empty).then_some(Ok(table))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(tables: &DelimitedTables, text: &str, columns: &[&str]) -> Result<Vec<Table>> {
        tables.read_from(text.as_bytes(), columns)?.collect()
    }

    fn error(tables: &DelimitedTables, text: &str) -> String {
        read(tables, text, &["a", "b"]).unwrap_err().to_string()
    }

    #[test]
    fn columns_are_read_by_name() {
        let csv = DelimitedTables::default();
        let text = "\u{feff}a,x, b \r\n1,2,\"u, \"\"v\"\"\"\r\n\r\n,3,w\n";
        let found = read(&csv, text, &["b", "a"]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].names().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(found[0].column("b"), Some(&Column::texts(["u, \"v\"", "w"])));
        assert_eq!(found[0].column("a"), Some(&Column::texts([Some("1"), None])));
        assert_eq!((found[0].place(0).line, found[0].place(1).line), (Some(2), Some(4)));
        let plain = DelimitedTables::default().delimiter(b'\t').without_quoting().without_header(["a", "b"]);
        let found = read(&plain, "\"1\t\n2\t\"3\"", &["a", "b"]).unwrap();
        assert_eq!(found[0].column("a"), Some(&Column::texts(["\"1", "2"])));
        assert_eq!(found[0].column("b"), Some(&Column::texts([None, Some("\"3\"")])));
        assert!(read(&csv, "a,b\n", &["a"]).unwrap().is_empty());
    }

    #[test]
    fn long_texts_come_in_chunks() {
        let n_rows = 2 * CHUNK_LEN + 1;
        let mut text = String::from("a,b\n");
        (0..n_rows).for_each(|row| text.push_str(&format!("{row},x\n")));
        let tables = read(&DelimitedTables::default(), &text, &["a"]).unwrap();
        assert_eq!(tables.iter().map(Table::n_rows).collect::<Vec<_>>(), [CHUNK_LEN, CHUNK_LEN, 1]);
        assert_eq!(tables[2].column("a"), Some(&Column::texts([(n_rows - 1).to_string().as_str()])));
        assert_eq!(tables[2].place(0).line, Some(n_rows as u64 + 1));
        let exact = text.lines().take(CHUNK_LEN + 1).collect::<Vec<_>>().join("\n");
        assert_eq!(read(&DelimitedTables::default(), &exact, &["a"]).unwrap().len(), 1);
    }

    #[test]
    fn bad_lines_are_named() {
        let csv = DelimitedTables::default();
        assert_eq!(error(&csv, ""), "input, line 1: expected a header line, found the end of the file");
        assert_eq!(error(&csv, "a,c\n"), "input, column b: expected one column named \"b\", found a, c");
        assert_eq!(
            error(&csv, "b,a,b\n"),
            "input, column b: expected one column named \"b\", found two, in columns 1 and 3"
        );
        assert_eq!(error(&csv, "a,b\n1,2\n\n1,2,3\n"), "input, line 4: expected 2 fields, found 3");
        assert_eq!(
            error(&csv, "a,b\n\n1,2\n\"3,4\n5,6\n"),
            "input, line 4: expected a quotation mark that closes the field, found none"
        );
        let tables = csv.read_from(&b"a,b\n\"1\n\",2\n1,\xff\n"[..], &["a", "b"]).unwrap();
        let found = tables.collect::<Result<Vec<_>>>().unwrap_err().to_string();
        assert_eq!(found, "input, line 4, column b: expected UTF-8 text, found \"\\xff\"");
        assert!(error(&csv.clone().delimiter(b'"'), "a\"b").starts_with("DelimitedTables::delimiter"));
        assert!(csv.read("no/such/file", &["a"]).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "a,b\n1\n").unwrap();
        let found = csv.read(&path, &["a"]).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(found.ends_with("a.csv, line 2: expected 2 fields, found 1"), "{found}");
        std::fs::write(&path, b"\x1f\x8b\x08\0").unwrap();
        assert!(csv.read(&path, &["a"]).is_err());
    }

    #[test]
    fn after_an_error_there_is_no_more() {
        let csv = DelimitedTables::default();
        let mut tables = csv.read_from(&b"a\n1,2\n3\n"[..], &["a"]).unwrap();
        assert!(tables.next().is_some_and(|table| table.is_err()) && tables.next().is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'"'), Just(b'a'), any::<u8>()], 0..200)) {
            for format in [DelimitedTables::default(), DelimitedTables::default().without_quoting()] {
                if let Ok(tables) = format.read_from(&bytes[..], &["a"]) {
                    tables.for_each(drop);
                }
            }
        }
    }
}
