use std::io::Read;
use std::path::Path;

use super::text_tables::{TextColumn, TextRows, TextTables};
use crate::data::delimited::{Format, Record, Records};
use crate::data::find_column;
use crate::data::source::{self, Bytes, Origin};
use crate::error::{Error, Location, Result};

/// Reads CSV and other delimited text as [`Table`](super::Table)s of at most 65,536 rows, so that a file may be larger than memory.
///
/// All columns are texts: what wants a number reads it from the text, and says in which line it is none. An empty
/// field is a missing value. Quotation marks, line ends, escape characters and headers mean what they mean to a
/// [`DelimitedReader`](crate::data::DelimitedReader), and a record may have 4 MiB. A file without a row is an error; it
/// may be gzip-compressed.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelimitedTables {
    format: Format,
    names: Option<Vec<String>>,
    missing_words: Vec<String>,
}

impl DelimitedTables {
    /// With another character between fields (default a comma).
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = vec![delimiter];
        self
    }

    /// Quotation marks are characters like any other.
    pub fn without_quoting(mut self) -> Self {
        self.format.quoting = false;
        self
    }

    /// With an escape character, as [`DelimitedReader::escape`](crate::data::DelimitedReader::escape).
    pub fn escape(mut self, escape: u8) -> Self {
        self.format.escape = Some(escape);
        self
    }

    /// The first line is data; these are the names of all columns.
    pub fn without_header<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Words that stand for a missing value, as `NA`, `null` and `\\N`: as an empty field does.
    pub fn missing_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.missing_words = words.into_iter().map(Into::into).collect();
        self
    }

    /// The tables of a file, with these columns.
    ///
    /// # Errors
    /// A file that cannot be opened; no header; a column that is missing, or two of its name; and, table by table,
    /// damaged compression, no row at all, a quotation mark that none closes, or one with text behind it, a record of more
    /// than 4 MiB, a line with another number of fields, or text that is not UTF-8. Each names the file, and line and column
    /// where there is one.
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
        self.format.check(["DelimitedTables::delimiter", "DelimitedTables::escape"])?;
        let mut records = Records::new(bytes, &self.format, 0, &origin);
        let (names, place) = match &self.names {
            Some(names) => (names.clone(), origin.location()),
            None => header(&mut records, &origin)?,
        };
        let locate = |column: &S| {
            let index = find_column(column.as_ref(), &names, &place)?;
            Ok((column.as_ref().to_owned(), index))
        };
        let wanted: Vec<(String, usize)> = columns.iter().map(locate).collect::<Result<_>>()?;
        let columns = wanted.iter().map(|(name, _)| (name.clone(), false)).collect();
        let (n_columns, missing_words) = (names.len(), self.missing_words.clone());
        let rows = DelimitedRows { records, record: Record::default(), wanted, n_columns, missing_words };
        Ok(TextTables::new(rows, columns, origin))
    }
}

/// The names of the columns, and where they stand.
fn header(records: &mut Records<Box<Bytes<'_>>>, origin: &Origin) -> Result<(Vec<String>, Location)> {
    let mut record = Record::default();
    if !records.next(&mut record)? {
        return Err(Error::input(origin.location().line(1), "a header line", "the end of the file"));
    }
    let place = records.place(&record);
    let name = |(index, field): (usize, &[u8])| -> Result<String> {
        Ok(text(field, || place.clone().column((index + 1).to_string()))?.trim().to_owned())
    };
    let names = (0..).zip(record.iter()).map(name).collect::<Result<_>>()?;
    Ok((names, place))
}

fn text(field: &[u8], place: impl Fn() -> Location) -> Result<&str> {
    let found = || format!("\"{}\"", field.escape_ascii());
    std::str::from_utf8(field).map_err(|_| Error::input(place(), "UTF-8 text", found()))
}

/// The records of a text, one after another.
struct DelimitedRows<'r> {
    records: Records<Box<Bytes<'r>>>,
    /// Memory for a record.
    record: Record,
    /// Name and place of each column that is read.
    wanted: Vec<(String, usize)>,
    /// The number of columns of the text.
    n_columns: usize,
    missing_words: Vec<String>,
}

impl TextRows for DelimitedRows<'_> {
    fn next(&mut self, columns: &mut [TextColumn]) -> Result<Option<u64>> {
        let Self { records, record, wanted, n_columns, missing_words } = self;
        if !records.next(record)? {
            return Ok(None);
        }
        if record.len() != *n_columns {
            let expected = format!("{n_columns} fields");
            return Err(Error::input(records.place(record), expected, record.len().to_string()));
        }
        for (column, (name, index)) in columns.iter_mut().zip(&*wanted) {
            let text = text(record.field(*index), || records.place(record).column(name))?;
            column.push(if missing_words.iter().any(|word| word == text) { "" } else { text });
        }
        Ok(Some(record.line()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text_tables::CHUNK_LEN;
    use super::*;
    use crate::features::{Column, Table};

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
        let found = read(&csv, "a,b\n", &["a"]).unwrap_err().to_string();
        assert_eq!(found, "input: expected at least one row, found the end of the file");
        let spark = DelimitedTables::default().escape(b'\\').missing_words(["NA", "\\N"]);
        let found = read(&spark, "a:token,b\n\"\\\"x\\\"\",\\N\nNA,NA \n", &["a", "b"]).unwrap();
        assert_eq!(found[0].column("a"), Some(&Column::texts([Some("\"x\""), None])));
        assert_eq!(found[0].column("b"), Some(&Column::texts([None, Some("NA ")])));
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
        assert_eq!(
            error(&csv, "a,c\n"),
            "input, line 1, column b: expected a column named \"b\", found a, c"
        );
        assert_eq!(
            error(&csv, "b,a,b\n"),
            "input, line 1, column b: expected one column named \"b\", found two, in columns 1 and 3"
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
