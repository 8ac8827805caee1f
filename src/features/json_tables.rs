use std::io::Read;
use std::path::Path;

use super::text_tables::{TextColumn, TextRows, TextTables};
use crate::data::json_lines::{Paths, Token, number_text};
use crate::data::source::{self, Bytes, Origin};
use crate::data::text::Lines;
use crate::error::{Error, Result};

/// Reads JSON lines, an object on each, as [`Table`](super::Table)s of at most 65,536 rows, so that a file may be larger than memory.
///
/// Columns are named by paths, as those of a [`JsonLinesReader`](crate::data::JsonLinesReader): `business.city` is the
/// member `city` of the member `business`. All values are texts, as those of
/// [`DelimitedTables`](super::DelimitedTables): what wants a number reads it from the text. A number is the text that stands
/// in the file, a whole one in digits (`7.0` is `7`), a truth value `true` or `false`. An absent member, `null` and an empty
/// text are missing. Columns that hold arrays must be declared [lists](Self::lists), whose columns are lists of texts.
///
/// ```
/// use recsys::features::{Column, JsonTables};
///
/// let text = r#"{"asin": "B01", "price": 9.5, "details": {"tags": ["ring", "gold"]}}
/// {"asin": "B02", "price": null}"#;
/// let tables = JsonTables::default()
///     .lists(["details.tags"])
///     .read_from(text.as_bytes(), &["asin", "price", "details.tags"])?;
/// let tables: Vec<_> = tables.collect::<Result<_, _>>()?;
/// assert_eq!(tables[0].column("price"), Some(&Column::texts([Some("9.5"), None])));
/// assert_eq!(tables[0].column("details.tags"), Some(&Column::text_lists([Some(vec!["ring", "gold"]), None])));
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonTables {
    lists: Vec<String>,
}

impl JsonTables {
    /// The paths of the columns that hold arrays of texts, numbers or truth values.
    pub fn lists<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.lists = paths.into_iter().map(Into::into).collect();
        self
    }

    /// The tables of a file, plain or gzip, with these columns.
    ///
    /// # Errors
    /// A file that cannot be opened; a path that stands twice, or leads through another one; and, table by table, damaged
    /// compression, no row at all, a line that is no JSON object, is not UTF-8 or longer than 4 MiB, an object in the place of
    /// a value, an array in that of a text or the reverse, nothing within an array. Each names the file, and the line and path
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
        let paths = Paths::new(columns)?;
        let column =
            |path: &S| (path.as_ref().to_owned(), self.lists.iter().any(|list| list == path.as_ref()));
        let columns: Vec<(String, bool)> = columns.iter().map(column).collect();
        let names = columns.iter().map(|(path, _)| path.clone()).collect();
        let lines = Lines::new(bytes, 0, origin.clone());
        Ok(TextTables::new(Objects { lines, line: Vec::new(), paths, names }, columns, origin))
    }
}

/// The objects of a text, one after another.
struct Objects<'r> {
    lines: Lines<Box<Bytes<'r>>>,
    /// Memory for a line.
    line: Vec<u8>,
    paths: Paths,
    /// The paths as they were given.
    names: Vec<String>,
}

impl TextRows for Objects<'_> {
    fn next(&mut self, columns: &mut [TextColumn]) -> Result<Option<u64>> {
        loop {
            self.line.clear();
            if self.lines.next(&mut self.line)?.is_none() {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let place = || self.lines.origin().location().line(self.lines.n_lines());
        let line = self.line.trim_ascii_end();
        let found = || format!("\"{}\"", line.escape_ascii());
        let line = std::str::from_utf8(line).map_err(|_| Error::input(place(), "UTF-8 text", found()))?;
        let mut found = Vec::new();
        self.paths.find(line, &mut found).map_err(|mismatch| mismatch.at(place()))?;
        for ((column, name), value) in columns.iter_mut().zip(&self.names).zip(found) {
            let token = Token::of(value);
            let added = if column.is_list() { add_list(column, &token) } else { add(column, &token) };
            added.map_err(|(expected, found)| Error::input(place().column(name), expected, found))?;
        }
        Ok(Some(self.lines.n_lines()))
    }
}

/// Appends the value of a row; says what is wrong with it.
fn add(column: &mut TextColumn, value: &Token<'_>) -> Result<(), (&'static str, String)> {
    match value {
        Token::Missing => column.push(""),
        Token::Bool(text) => column.push(text),
        Token::Text(text) => column.push(text),
        Token::Number(number) => column.push(&number_text(number)),
        Token::Array(_) | Token::Object | Token::Broken => {
            let expected = "a text, a number or a truth value (or a column declared `lists`)";
            return Err((expected, value.description()));
        }
    }
    Ok(())
}

/// Appends the list of a row; says what is wrong with it.
fn add_list(column: &mut TextColumn, value: &Token<'_>) -> Result<(), (&'static str, String)> {
    match value {
        Token::Missing => {}
        Token::Array(elements) => {
            for element in elements {
                match Token::parse(element) {
                    Token::Text(text) => column.push_element(&text),
                    Token::Number(number) => column.push_element(&number_text(number)),
                    Token::Bool(text) => column.push_element(text),
                    other => return Err(("an array of texts, numbers or truth values", other.description())),
                }
            }
        }
        other => return Err(("an array, for the column is declared `lists`", other.description())),
    }
    column.end_list(*value == Token::Missing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::text_tables::CHUNK_LEN;
    use super::*;
    use crate::features::{Column, Table};

    fn read(tables: &JsonTables, text: &str, columns: &[&str]) -> Result<Vec<Table>> {
        tables.read_from(text.as_bytes(), columns)?.collect()
    }

    #[test]
    fn columns_are_read_by_path() {
        let text = "{\"a\": {\"b\": 7.0}, \"l\": [1, 2.5, true, \"x\"]}\r\n \n{\"a\": null, \"l\": []}\n{\"c\": \"\\u00e9\"}";
        let tables = JsonTables::default().lists(["l"]);
        let found = read(&tables, text, &["a.b", "c", "l"]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].column("a.b"), Some(&Column::texts([Some("7"), None, None])));
        assert_eq!(found[0].column("c"), Some(&Column::texts([None, None, Some("é")])));
        let lists = [Some(vec!["1", "2.5", "true", "x"]), Some(vec![]), None];
        assert_eq!(found[0].column("l"), Some(&Column::text_lists(lists)));
        assert_eq!([0, 1, 2].map(|row| found[0].place(row).line), [Some(1), Some(3), Some(4)]);
    }

    #[test]
    fn long_files_come_in_chunks() {
        let text: String = (0..2 * CHUNK_LEN + 1).map(|row| format!("{{\"a\": {row}}}\n")).collect();
        let found = read(&JsonTables::default(), &text, &["a"]).unwrap();
        assert_eq!(found.iter().map(Table::n_rows).collect::<Vec<_>>(), [CHUNK_LEN, CHUNK_LEN, 1]);
        assert_eq!(found[2].place(0).line, Some(2 * CHUNK_LEN as u64 + 1));
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |text: &str| {
            let tables = JsonTables::default().lists(["l"]);
            read(&tables, &format!("{{\"a\": 1}}\n{text}\n"), &["a", "l"]).unwrap_err().to_string()
        };
        assert_eq!(
            error("{\"a\": {}}"),
            "input, line 2, column a: expected a text, a number or a truth value (or a column declared `lists`), found an object"
        );
        assert_eq!(
            error("{\"l\": 7}"),
            "input, line 2, column l: expected an array, for the column is declared `lists`, found 7"
        );
        assert_eq!(
            error("{\"l\": [1, null]}"),
            "input, line 2, column l: expected an array of texts, numbers or truth values, found nothing"
        );
        assert_eq!(
            error("{\"a\""),
            "input, line 2: expected a JSON object on each line, found EOF while parsing an object, at byte 4"
        );
        let empty = read(&JsonTables::default(), "\n\n", &["a"]).unwrap_err().to_string();
        assert_eq!(empty, "input: expected at least one row, found the end of the file");
        assert!(JsonTables::default().read("no/such/file", &["a"]).is_err());
        let tables = JsonTables::default().read_from(&b"{\"a\": \"\xff\"}\n"[..], &["a"]).unwrap();
        let found = tables.collect::<Result<Vec<_>>>().unwrap_err().to_string();
        assert_eq!(found, "input, line 1: expected UTF-8 text, found \"{\\\"a\\\": \\\"\\xff\\\"}\"");
    }
}
