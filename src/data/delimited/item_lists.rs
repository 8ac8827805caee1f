use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::records::{Format, split};
use crate::data::Dataset;
use crate::data::column_map::Layout;
use crate::data::fields::{Encoding, Reading};
use crate::data::rows::DatasetBuilder;
use crate::data::source::{self, Bytes, Origin};
use crate::data::text::{self, Blocks, LineParser, LineReader, Part, Problem};
use crate::error::Result;

/// Reads interactions from lines `user item item …`, as LightGCN and its peers have them: the user's key, then the keys of
/// the items. From [`DelimitedReader::item_lists`](super::DelimitedReader::item_lists).
///
/// The value of each interaction is 1. Its time is the item's place among all items of the user in the file, from 0 on,
/// unless the lists are [unordered](Self::unordered). Keys are whole numbers unless declared text. A line may end with a
/// delimiter. A user without items has no interaction; [`Dataset::n_skipped`] counts such lines.
///
/// Gzip files and zip archives of one file are recognised, and lines end, as those of
/// [`DelimitedReader`](super::DelimitedReader).
///
/// ```
/// use recsys::data::DelimitedReader;
///
/// let lists = DelimitedReader::item_lists().read_from("7 50 51 52\n9 51\n".as_bytes())?;
/// assert_eq!((lists.n_users(), lists.n_items(), lists.interactions().len()), (2, 3, 4));
/// assert_eq!(lists.interactions().timestamps(), [0, 1, 2, 0]);
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ItemListReader {
    format: Format,
    reading: Reading,
    ordered: bool,
    encoding: Encoding,
    member: Option<String>,
}

impl Default for ItemListReader {
    /// Whole numbers, a blank between them, the oldest item first.
    fn default() -> Self {
        let format = Format { delimiter: b" ".to_vec(), quoting: false, escape: None };
        Self { format, reading: Reading::default(), ordered: true, encoding: Encoding::Utf8, member: None }
    }
}

impl ItemListReader {
    /// Keys are separated by this text of one byte or more (default a blank).
    pub fn delimiter(mut self, delimiter: &str) -> Self {
        self.format.delimiter = delimiter.as_bytes().to_vec();
        self
    }

    /// The order of the items says nothing: all times are 0.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
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

    /// How bytes stand for characters (default UTF-8).
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Which file of a zip archive to read, by its full name there; not needed if it has but one.
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be opened or is damaged; no item in the whole file; a key that is none, or is empty; a line of
    /// more than 4 MiB. Each names the file, and the line and the number of the field where there is one.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Dataset> {
        self.check()?;
        source::with_file(path.as_ref(), self.member.as_deref(), |bytes, origin| {
            self.read_bytes(bytes, origin)
        })
    }

    /// Reads a stream, plain or gzip.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from(&self, reader: impl Read + Send) -> Result<Dataset> {
        self.check()?;
        source::with_reader(reader, |bytes, origin| self.read_bytes(bytes, origin))
    }

    fn check(&self) -> Result<()> {
        self.format.check(["ItemListReader::delimiter"; 2])
    }

    fn read_bytes(&self, bytes: &mut Bytes<'_>, origin: &Origin) -> Result<Dataset> {
        let layout = Layout::item_lists(self.reading.clone(), self.ordered);
        let mut rows = DatasetBuilder::new(&layout);
        let parser = Lists { layout: &layout, delimiter: &self.format.delimiter, encoding: self.encoding };
        let lines = LineReader::new(parser, &layout, origin, 0);
        lines.read(&mut Blocks::new(bytes, origin), Vec::new(), &mut rows)?;
        rows.finish(origin.location())
    }
}

/// Reads the rows of such lines.
struct Lists<'a> {
    layout: &'a Layout,
    delimiter: &'a [u8],
    encoding: Encoding,
}

impl LineParser for Lists<'_> {
    fn parse(&self, mut text: &[u8], part: &mut Part) {
        let mut ranges = Vec::new();
        while !text.is_empty() {
            let (line, rest) = text::split_line(text);
            part.n_lines += 1;
            if let Err(problem) = self.parse_line(line, &mut ranges, part) {
                part.problem = Some(problem);
                return;
            }
            text = rest;
        }
    }
}

impl Lists<'_> {
    fn parse_line(
        &self,
        line: &[u8],
        ranges: &mut Vec<Range<usize>>,
        part: &mut Part,
    ) -> Result<(), Problem> {
        if line.is_empty() {
            return Ok(());
        }
        split(line.strip_suffix(self.delimiter).unwrap_or(line), self.delimiter, ranges);
        let decode = |index: usize| {
            let field = self.encoding.decode(&line[ranges[index].clone()]);
            field.map_err(|mismatch| Problem::Number(index + 1, mismatch))
        };
        let rows = &mut part.rows;
        let user = decode(0)?;
        let reading = &self.layout.reading;
        let user = reading.user(&user).map_err(|mismatch| Problem::Number(1, mismatch))?;
        for index in 1..ranges.len() {
            let item = decode(index)?;
            rows.items.push(reading.item(&item).map_err(|mismatch| Problem::Number(index + 1, mismatch))?);
            rows.users.push(user);
        }
        rows.n_skipped += u64::from(ranges.len() == 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Key;

    fn error(reader: &ItemListReader, text: &str) -> String {
        reader.read_from(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_place_is_the_time_through_all_lines_of_a_user() {
        let reader = ItemListReader::default();
        let text = "7 50 51 \r\n8\r\n\r\n9 51.0\r\n7 52 50";
        let data = reader.read_from(text.as_bytes()).unwrap();
        let rows = data.interactions();
        assert_eq!(rows.users().iter().map(|user| user.0).collect::<Vec<_>>(), [0, 0, 1, 0, 0]);
        assert_eq!(rows.items().iter().map(|item| item.0).collect::<Vec<_>>(), [0, 1, 1, 2, 0]);
        assert_eq!((rows.timestamps(), rows.values()), (&[0, 1, 0, 2, 3][..], &[1.0; 5][..]));
        assert_eq!((data.n_skipped(), data.users().id(8)), (1, None));
        let unordered = reader.unordered().read_from(text.as_bytes()).unwrap();
        assert_eq!(unordered.interactions().timestamps(), [0; 5]);
    }

    #[test]
    fn keys_may_be_text() {
        let reader =
            ItemListReader::default().delimiter("\t").text_users().text_items().encoding(Encoding::Latin1);
        let data = reader.read_from(&b"Ren\xe9\tthe ring\tcup\rAnn\tcup\r"[..]).unwrap();
        assert_eq!(data.users().keys().collect::<Vec<_>>(), [Key::Text("René"), Key::Text("Ann")]);
        assert_eq!(data.items().keys().collect::<Vec<_>>(), [Key::Text("the ring"), Key::Text("cup")]);
    }

    #[test]
    fn what_is_no_list_is_named() {
        let reader = ItemListReader::default();
        assert_eq!(error(&reader, ""), "input: expected at least one row, found the end of the file");
        assert_eq!(
            error(&reader, "1\n2\n"),
            "input: expected at least one row, found 2 rows that miss something"
        );
        let expected = "a whole number (or a column declared text)";
        assert_eq!(
            error(&reader, "1 2\n3 4 x"),
            format!("input, line 2, column 3: expected {expected}, found \"x\"")
        );
        assert_eq!(
            error(&reader, "1  2"),
            format!("input, line 1, column 2: expected {expected}, found \"\"")
        );
        let text = ItemListReader::default().delimiter(",").text_users().text_items();
        assert_eq!(error(&text, "a,b\n,c"), "input, line 2, column 1: expected a key, found \"\"");
        assert_eq!(error(&text, "a,b\na,,c"), "input, line 2, column 2: expected a key, found \"\"");
        assert!(error(&reader.delimiter(""), "").starts_with("ItemListReader::delimiter"));
    }
}
