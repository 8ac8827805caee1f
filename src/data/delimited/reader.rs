use std::io::{Cursor, Read};
use std::path::Path;

use super::blocks::Blocks;
use super::fields::{self, Encoding};
use super::lines::{LineParser, Part, Problem};
use super::records::{Format, Record, Records, Start};
use crate::data::Dataset;
use crate::data::column_map::{ColumnMap, Layout};
use crate::data::rows::{DatasetBuilder, Rows};
use crate::data::source::{self, Bytes, Origin};
use crate::error::{Error, Result};

/// Reads interactions from delimited text: CSV, TSV, the `::` of MovieLens, …
///
/// Users and items get ids in the order of their first row, whatever the number of threads. Gzip files
/// are recognised by their content, and so are zip archives of one file (feature `download`). Blank
/// lines are skipped; lines end with a line feed, or carriage return and line feed; every row must have
/// as many fields as the first. Numbers may stand between spaces; text keys are taken as they stand.
///
/// The text is read in blocks of 4 MiB and parsed on all threads, each line by a fast path for plain
/// digits or, failing that, by a general one. From the first block on that holds a quotation mark, the
/// rest is read record by record on one thread.
///
/// Memory: n rows become columns of 20 n bytes. Reading takes about 25 MB besides these and the
/// vocabularies, however long the file (measured: 423 MB at the peak for 20 million rows of 535 MB, of
/// which the columns are 400 MB). A quoted field must fit in memory.
///
/// ```
/// use recsys::data::{ColumnMap, DelimitedReader};
///
/// let text = "userId,movieId,rating,timestamp\n7,50,4.5,978300760\n9,50,3,978302109\n";
/// let columns = ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp");
/// let ratings = DelimitedReader::new(columns).read_from(text.as_bytes())?;
/// assert_eq!((ratings.n_users(), ratings.n_items()), (2, 1));
/// assert_eq!(ratings.interactions().values(), [4.5, 3.0]);
/// assert_eq!(ratings.users().id(9), Some(1));
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DelimitedReader {
    columns: ColumnMap,
    format: Format,
    header: bool,
    encoding: Encoding,
    member: Option<String>,
}

impl DelimitedReader {
    /// A reader of these columns from CSV: comma-separated, with a header, quoted as in RFC 4180, in UTF-8.
    pub fn new(columns: ColumnMap) -> Self {
        let format = Format { delimiter: b",".to_vec(), quoting: true };
        Self { columns, format, header: true, encoding: Encoding::Utf8, member: None }
    }

    /// Fields are separated by this text of one byte or more (default `,`). Quotation marks have a meaning
    /// only beside a delimiter of one byte.
    pub fn delimiter(mut self, delimiter: &str) -> Self {
        self.format.delimiter = delimiter.as_bytes().to_vec();
        self
    }

    /// The first line is data; columns are given by number.
    pub fn without_header(mut self) -> Self {
        self.header = false;
        self
    }

    /// Quotation marks are characters like any other.
    pub fn without_quoting(mut self) -> Self {
        self.format.quoting = false;
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
    /// A file that cannot be opened or is damaged; no line at all; a header without a wanted column, or
    /// with two of its name; a quotation mark that none closes; a row with a wrong number of fields; a key,
    /// value or time that is none; a value that is not finite; a negative time; a text key in another
    /// encoding. Each names the file, and the line and column where there is one.
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
        let delimiter = &self.format.delimiter;
        let special: &[u8] = if self.format.quoting { b"\r\n\"" } else { b"\r\n" };
        if delimiter.is_empty() || delimiter.iter().any(|byte| special.contains(byte)) {
            let expected = "one byte or more, no line end and no quotation mark";
            let found = format!("{:?}", String::from_utf8_lossy(delimiter));
            return Err(Error::config("DelimitedReader::delimiter", expected, found));
        }
        Ok(())
    }

    fn read_bytes(&self, bytes: &mut Bytes<'_>, origin: &Origin) -> Result<Dataset> {
        let mut blocks = Blocks::new(bytes, origin);
        let (mut block, mut next) = (Vec::new(), Vec::new());
        blocks.next(&mut block)?;
        let (layout, start) = self.layout(&block, origin)?;
        block.drain(..start.bytes);
        let mut table =
            Table { reader: self, layout: &layout, origin, lines: start.lines, parts: Vec::new() };
        let mut rows = DatasetBuilder::new(&layout);
        while !block.is_empty() {
            if self.is_quoted(&block) {
                let (rest, bytes) = blocks.into_rest();
                table
                    .read_records(&mut Cursor::new(block).chain(Cursor::new(rest)).chain(bytes), &mut rows)?;
                break;
            }
            let (more, read) = rayon::join(|| blocks.next(&mut next), || table.read_lines(&block, &mut rows));
            read.and(more)?;
            std::mem::swap(&mut block, &mut next);
        }
        rows.finish()
    }

    /// Whether a quotation mark in this text has a meaning.
    fn is_quoted(&self, text: &[u8]) -> bool {
        self.format.quoting && self.format.delimiter.len() == 1 && text.contains(&b'"')
    }

    /// Finds the columns, and where the data begins, from the first record.
    fn layout(&self, mut block: &[u8], origin: &Origin) -> Result<(Layout, Start)> {
        let mut first = Record::default();
        let mut records = Records::new(&mut block, &self.format, 0, origin);
        if !records.next(&mut first)? {
            let expected = if self.header { "a header line" } else { "at least one row" };
            return Err(Error::input(origin.location().line(1), expected, "the end of the file"));
        }
        let place = origin.location().line(first.line);
        if !self.header {
            return Ok((self.columns.resolve(None, first.len(), &place)?, Start::default()));
        }
        let names = (first.iter().enumerate())
            .map(|(index, name)| match self.encoding.decode(name) {
                Ok(name) => Ok(name.trim().to_owned()),
                Err(mismatch) => Err(mismatch.at(place.clone().column((index + 1).to_string()))),
            })
            .collect::<Result<Vec<String>>>()?;
        Ok((self.columns.resolve(Some(&names), names.len(), &place)?, records.consumed()))
    }
}

/// A table on its way from text to rows.
struct Table<'a> {
    reader: &'a DelimitedReader,
    layout: &'a Layout,
    origin: &'a Origin,
    /// The number of lines read.
    lines: u64,
    /// Kept from one block to the next, for its memory.
    parts: Vec<Part>,
}

impl Table<'_> {
    /// Reads whole lines without quotation marks.
    fn read_lines(&mut self, text: &[u8], rows: &mut DatasetBuilder) -> Result<()> {
        let DelimitedReader { format, encoding, .. } = self.reader;
        let parser = LineParser { layout: self.layout, delimiter: &format.delimiter, encoding: *encoding };
        parser.parse(text, &mut self.parts);
        for part in &mut self.parts {
            self.lines += part.n_lines;
            if let Some(problem) = part.problem.take() {
                return Err(problem.at(self.origin.location().line(self.lines), self.layout));
            }
        }
        rows.append(self.parts.iter().map(|part| &part.rows))
    }

    /// Reads any text, record by record.
    fn read_records(&self, text: &mut Bytes<'_>, rows: &mut DatasetBuilder) -> Result<()> {
        const RECORDS_AT_ONCE: usize = 1 << 16;
        let mut records = Records::new(text, &self.reader.format, self.lines, self.origin);
        let (mut record, mut some) = (Record::default(), Rows::new(self.layout));
        loop {
            some.clear();
            let mut more = true;
            for _ in 0..RECORDS_AT_ONCE {
                more = records.next(&mut record)?;
                if !more {
                    break;
                }
                self.read_record(&record, &mut some)
                    .map_err(|problem| problem.at(self.origin.location().line(record.line), self.layout))?;
            }
            rows.append(std::iter::once(&some))?;
            if !more {
                return Ok(());
            }
        }
    }

    fn read_record(&self, record: &Record, rows: &mut Rows) -> Result<(), Problem> {
        if record.len() != self.layout.roles.len() {
            return Err(Problem::Width(record.len()));
        }
        fields::push_row(self.layout, self.reader.encoding, |index| record.field(index), rows)
            .map_err(|(role, mismatch)| Problem::Field(role, mismatch))
    }
}
