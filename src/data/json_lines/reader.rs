use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use serde_json::value::RawValue;

use super::objects::{Paths, Token, number_text};
use crate::data::Dataset;
use crate::data::column_map::{ColumnMap, Layout, Role};
use crate::data::fields::{self, Encoding, Mismatch};
use crate::data::rows::DatasetBuilder;
use crate::data::source::{self, Bytes, Origin};
use crate::data::text::{self, Blocks, LineParser, LineReader, Part, Problem};
use crate::error::Result;

/// Reads interactions from JSON lines: an object on each line, as Amazon, Yelp and most event logs have them.
///
/// Columns are named by paths: `reviewer.id` is the member `id` of the member `reviewer`, `a\.b` the member `a.b`. Keys,
/// values and times are texts or numbers, read as those of a [`DelimitedReader`](crate::data::DelimitedReader); whole
/// numbers are the same key as `7`, `7.0` and `"7"`. `true` and `false` are values, 1 and 0. A member that is absent or
/// `null` is missing.
///
/// An item that is an array stands for a row for each of its elements. Value and time then are arrays of the same length,
/// or hold for all; without a time column, the time is the item's place among all items of the user in the file, from 0
/// on. An empty array has no row, and [`Dataset::n_skipped`] counts it.
///
/// Users and items get ids in the order of their first row. Empty lines are skipped; a line may have 4 MiB. Gzip files and
/// zip archives of one file are recognised. The text is read in blocks of 4 MiB and parsed on all threads; n rows become
/// columns of 20 n bytes, and reading takes some 30 MB besides these and the vocabularies.
///
/// ```
/// use recsys::data::{ColumnMap, JsonLinesReader};
///
/// let text = r#"
/// {"reviewer": {"id": "A2X"}, "asin": "B01", "overall": 5.0, "unixReviewTime": 1475020800}
/// {"reviewer": {"id": "A3Y"}, "asin": "B01", "overall": 4.0, "unixReviewTime": 1475107200}
/// "#;
/// let columns = ColumnMap::new("reviewer.id", "asin").value("overall").timestamp("unixReviewTime");
/// let reviews = JsonLinesReader::new(columns.text_users().text_items()).read_from(text.as_bytes())?;
/// assert_eq!((reviews.n_users(), reviews.n_items()), (2, 1));
/// assert_eq!(reviews.interactions().values(), [5.0, 4.0]);
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonLinesReader {
    columns: ColumnMap,
    member: Option<String>,
}

impl JsonLinesReader {
    /// A reader of these columns, each named by its path.
    pub fn new(columns: ColumnMap) -> Self {
        Self { columns, member: None }
    }

    /// Which file of a zip archive to read, by its full name there; not needed if it has but one.
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A column that is named by number; a path that leads through another one; a file that cannot be opened or is damaged;
    /// no row; a line that is no JSON object, that names a wanted member twice, is not UTF-8 or longer than 4 MiB; a key, value
    /// or time that is missing or none. Each names the file, and the line and path where there is one.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Dataset> {
        source::with_file(path.as_ref(), self.member.as_deref(), |bytes, origin| {
            self.read_bytes(bytes, origin)
        })
    }

    /// Reads a stream, plain or gzip.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from(&self, reader: impl Read + Send) -> Result<Dataset> {
        source::with_reader(reader, |bytes, origin| self.read_bytes(bytes, origin))
    }

    fn read_bytes(&self, bytes: &mut Bytes<'_>, origin: &Origin) -> Result<Dataset> {
        let (layout, paths) = self.columns.resolve_paths()?;
        let parser = Objects { layout: &layout, paths: Paths::new(&paths)? };
        let mut rows = DatasetBuilder::new(&layout);
        let lines = LineReader::new(parser, &layout, origin, 0);
        lines.read(&mut Blocks::new(bytes, origin), Vec::new(), &mut rows)?;
        rows.finish(origin.location())
    }
}

/// Reads the rows of such lines.
struct Objects<'a> {
    layout: &'a Layout,
    paths: Paths,
}

impl LineParser for Objects<'_> {
    fn parse(&self, text: &[u8], part: &mut Part) {
        let (mut valid, rest) = match std::str::from_utf8(text) {
            Ok(text) => (text, None),
            Err(error) => {
                let (valid, _) = text.split_at(error.valid_up_to());
                let start = memchr::memrchr2(b'\n', b'\r', valid).map_or(0, |end| end + 1);
                (
                    std::str::from_utf8(&text[..start]).unwrap_or_default(),
                    Some(text::split_line(&text[start..]).0),
                )
            }
        };
        let mut found = Vec::new();
        while !valid.is_empty() {
            let (line, _) = text::split_line(valid.as_bytes());
            let line = &valid[..line.len()];
            part.n_lines += 1;
            if let Err(problem) = self.parse_line(line, &mut found, part) {
                part.problem = Some(problem);
                return;
            }
            valid = &valid[line.len()..];
            valid = &valid[valid.len().min(text::end_len(valid.as_bytes()))..];
        }
        if let Some(line) = rest {
            part.n_lines += 1;
            part.problem = Encoding::Utf8.decode(line).err().map(Problem::Line);
        }
    }
}

impl Objects<'_> {
    fn parse_line<'l>(
        &self,
        line: &'l str,
        found: &mut Vec<Option<&'l RawValue>>,
        part: &mut Part,
    ) -> Result<(), Problem> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.paths.find(line, found).map_err(Problem::Line)?;
        let tokens: [Token<'_>; Role::COUNT] =
            Role::ALL.map(|role| Token::of(self.layout.index(role).and_then(|index| found[index])));
        if let Token::Array(items) = &tokens[Role::Item as usize] {
            return self.parse_list(items, &tokens, part);
        }
        let field = |role, _| self.field(role, &tokens[role as usize]);
        Ok(fields::push_row(self.layout, field, &mut part.rows)?)
    }

    /// Reads a row for each of the items.
    fn parse_list(&self, items: &[&str], tokens: &[Token<'_>], part: &mut Part) -> Result<(), Problem> {
        let rows = &mut part.rows;
        rows.has_lists = true;
        rows.n_skipped += u64::from(items.is_empty());
        for role in [Role::Value, Role::Timestamp] {
            if let Token::Array(values) = &tokens[role as usize]
                && values.len() != items.len()
            {
                let expected = format!("a list of {}, as many as there are items", items.len());
                return Err(Problem::Field(role, Mismatch::new(expected, values.len().to_string())));
            }
        }
        for row in 0..items.len() {
            let field = |role, _| match (role, &tokens[role as usize]) {
                (Role::Item | Role::Value | Role::Timestamp, Token::Array(values)) => {
                    self.field(role, &Token::parse(values[row]))
                }
                (_, token) => self.field(role, token),
            };
            fields::push_row(self.layout, field, rows)?;
        }
        Ok(())
    }

    /// What a token is in a column of this role; nothing where it is missing.
    fn field<'l>(&self, role: Role, token: &Token<'l>) -> Result<Option<Cow<'l, str>>, Mismatch> {
        match token {
            Token::Missing => Ok(None),
            Token::Text(text) => Ok(Some(text.clone())),
            Token::Number(number) if matches!(role, Role::User | Role::Item) => Ok(Some(number_text(number))),
            Token::Number(number) => Ok(Some((*number).into())),
            Token::Bool(text) if matches!(role, Role::Value) => Ok(Some((*text).into())),
            other => Err(Mismatch::new(self.layout.reading.expected(role), other.description())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DelimitedReader, Key, TimeUnit};

    fn columns() -> ColumnMap {
        ColumnMap::new("u.id", "i").value("v").timestamp("t")
    }

    fn read(columns: ColumnMap, text: &str) -> Result<Dataset> {
        JsonLinesReader::new(columns).read_from(text.as_bytes())
    }

    fn error(columns: ColumnMap, text: &str) -> String {
        read(columns, text).unwrap_err().to_string()
    }

    #[test]
    fn the_same_rows_as_csv_and_as_json_are_the_same() {
        let json = r#"{"u": {"id": 7}, "i": "50", "v": 4.5, "t": "2024-01-03T12:00:00Z"}
            {"t": 1704283200.0, "v": "3", "i": 51.0, "x": [{}, "y"], "u": {"name": "\n", "id": "9"}}

            {"u": {"id": 7.0}, "i": 51, "v": true, "t": "1704283201"}"#;
        let csv = "u.id,i,v,t\n7,50,4.5,1704283200\n9,51,3,1704283200\n7,51,1,1704283201\n";
        let of_csv = DelimitedReader::new(columns()).read_from(csv.as_bytes()).unwrap();
        for json in [json.to_owned(), json.replace('\n', "\r\n"), json.replace('\n', "\r")] {
            assert_eq!(read(columns(), &json).unwrap(), of_csv);
        }
        let texts = || columns().text_users().text_items();
        let of_csv = DelimitedReader::new(texts()).read_from(csv.as_bytes()).unwrap();
        assert_eq!(read(texts(), json).unwrap(), of_csv);
        let escaped = r#"{"u": {"id": "Ren\u00e9"}, "i": "a\"b\\", "v": 1, "t": 0}"#;
        let data = read(texts(), escaped).unwrap();
        assert_eq!(
            (data.users().key(0), data.items().key(0)),
            (Some(Key::Text("René")), Some(Key::Text("a\"b\\")))
        );
    }

    #[test]
    fn what_does_not_fit_is_named_with_line_and_path() {
        let line = |u: &str, i: &str, v: &str, t: &str| {
            format!(r#"{{"u": {{"id": {u}}}, "i": {i}, "v": {v}, "t": {t}}}"#)
        };
        let good = line("1", "2", "3", "4");
        let message = |bad: String| error(columns(), &format!("{good}\n\n{bad}\n{good}\n"));
        let int = "a whole number (or a column declared text)";
        assert_eq!(
            message(line("\"x\"", "2", "3", "4")),
            format!("input, line 3, column u.id: expected {int}, found \"x\"")
        );
        assert_eq!(
            message(line("1", "null", "3", "4")),
            format!("input, line 3, column i: expected {int}, found nothing")
        );
        assert_eq!(
            message(line("1", "{}", "3", "4")),
            format!("input, line 3, column i: expected {int}, found an object")
        );
        assert_eq!(
            message(line("true", "2", "3", "4")),
            format!("input, line 3, column u.id: expected {int}, found true")
        );
        assert_eq!(
            message(line("1", "2", "\"good\"", "4")),
            "input, line 3, column v: expected a number, found \"good\""
        );
        assert_eq!(
            message(line("1", "2", "1e99", "4")),
            "input, line 3, column v: expected a finite number, found \"1e99\""
        );
        assert_eq!(
            message(line("1", "2", "[3]", "4")),
            "input, line 3, column v: expected a number, found an array"
        );
        assert_eq!(
            message(line("1", "2", "3", "-4")),
            "input, line 3, column t: expected a time of 0 or later, found \"-4\""
        );
        let broken = message("{\"u\": ".into());
        assert_eq!(
            broken,
            "input, line 3: expected a JSON object on each line, found EOF while parsing a value, at byte 6"
        );
        let text = [good.as_bytes(), b"\n", b"{\"x\": \"\xff\"}\n{"].concat();
        let found = JsonLinesReader::new(columns()).read_from(&text[..]).unwrap_err().to_string();
        assert!(
            found.starts_with("input, line 2: expected UTF-8 text, found \"{\\\"x\\\": \\\"\\xff"),
            "{found}"
        );
        assert_eq!(error(columns(), "\n"), "input: expected at least one row, found the end of the file");
        let array = format!("[\n{good}\n]");
        assert!(error(columns(), &array).starts_with("input, line 1: expected a JSON object on each line"));
        assert!(error(ColumnMap::new(1, "i"), &good).starts_with("Column: expected the path of a member"));
        assert!(
            error(ColumnMap::new("u", "u.id"), &good).starts_with("JSON path: expected a path of its own")
        );
    }

    #[test]
    fn arrays_of_items_are_rows() {
        let text = r#"{"u": "a", "i": ["x", "y"], "v": [1, 2], "t": 5}
            {"u": "b", "i": [], "v": [], "t": 6}
            {"u": "b", "i": ["y"], "v": 3, "t": ["1970-01-01T00:00:00.007Z"]}"#;
        let columns = || ColumnMap::new("u", "i").text_users().text_items();
        let timed = columns().value("v").timestamp("t").time_unit(TimeUnit::Milliseconds);
        let data = read(timed.clone(), text).unwrap();
        let rows = data.interactions();
        assert_eq!(
            (rows.values(), rows.timestamps(), data.n_skipped()),
            (&[1., 2., 3.][..], &[5, 5, 7][..], 1)
        );
        let data = read(columns(), &format!("{text}\n{{\"u\": \"a\", \"i\": \"z\"}}")).unwrap();
        assert_eq!(data.interactions().timestamps(), [0, 1, 0, 2]);
        let error = error(timed.clone(), &text.replace("[1, 2]", "[1]"));
        assert_eq!(
            error,
            "input, line 1, column v: expected a list of 2, as many as there are items, found 1"
        );
        let error = super::tests::error(timed, &text.replace("\"y\"]", "null]"));
        assert_eq!(error, "input, line 1, column i: expected a key, found nothing");
    }

    #[test]
    fn rows_that_miss_something_are_left_out_if_told() {
        let text = "{\"u\": 1, \"i\": 2}\n{\"u\": 1}\n{\"i\": 2}\n{\"u\": 3, \"i\": null}\n{\"u\": \"NA\", \"i\": 4}\n";
        let columns = ColumnMap::new("u", "i").skip_missing().missing_words(["NA"]);
        let data = read(columns, text).unwrap();
        assert_eq!((data.interactions().len(), data.n_skipped(), data.n_users()), (1, 4, 1));
    }
}
