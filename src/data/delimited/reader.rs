use std::io::Read;
use std::path::Path;

use super::item_lists::ItemListReader;
use super::lines::DelimitedLines;
use super::records::{Format, Record, Records};
use crate::data::Dataset;
use crate::data::column_map::{ColumnMap, Layout};
use crate::data::fields::Encoding;
use crate::data::rows::DatasetBuilder;
use crate::data::source::{self, Bytes, Origin};
use crate::data::text::{Blocks, LineReader, Start};
use crate::error::{Error, Result};

/// Reads interactions from delimited text: CSV, TSV, the `::` of MovieLens, the atomic files of RecBole, …
///
/// Users and items get ids in the order of their first row, whatever the number of threads. Gzip files
/// are recognised by their content, and so are zip archives of one file (feature `download`). Lines end with a line
/// feed, a carriage return, or both. Empty lines are skipped; every row must have as many fields as the first.
/// A file without a row is an error. Numbers may stand between spaces; text keys are taken as they stand.
///
/// The text is read in blocks of 4 MiB, cut between records and parsed on all threads, each line by a fast path for plain
/// digits or, failing that, by a general one of the same grammar.
///
/// Memory: n rows become columns of 20 n bytes. Reading takes about 25 MB besides these and the
/// vocabularies, however long the file (measured: 423 MB at the peak for 20 million rows of 535 MB, of
/// which the columns are 400 MB). A line may have 4 MiB, and so may a record of several lines.
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
///
/// The `.inter` file of RecBole, whose header gives a type behind each name
/// ([`ItemColumns`](crate::features::ItemColumns) reads the `.item` file beside it):
///
/// ```
/// use recsys::data::{ColumnMap, DelimitedReader};
///
/// let text = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t50\t4.5\t978300760.0\n";
/// let columns = ColumnMap::new("user_id", "item_id").value("rating").timestamp("timestamp");
/// let ratings = DelimitedReader::new(columns).delimiter("\t").read_from(text.as_bytes())?;
/// assert_eq!(ratings.interactions().timestamps(), [978300760]);
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
        Self { columns, format: Format::default(), header: true, encoding: Encoding::Utf8, member: None }
    }

    /// A reader of lines that are a user and the items of that user.
    pub fn item_lists() -> ItemListReader {
        ItemListReader::default()
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

    /// This character takes its meaning from the quotation mark, delimiter, line end or escape character that follows it,
    /// within quotation marks or not; before any other it is a character like any other, so that the `\N` of Hive stays.
    /// Needs a delimiter of one byte.
    pub fn escape(mut self, escape: u8) -> Self {
        self.format.escape = Some(escape);
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
    /// A file that cannot be opened or is damaged; no row; a header without a wanted column, or
    /// with two of its name; a quotation mark that none closes, or one with text behind it; a line of more than 4 MiB; a row
    /// with a wrong number of fields; a key, value or time that is none; a value that is not finite; a time before 1970 or
    /// between two counts of its unit; a text in another encoding. Each names the file, and the line and column where there
    /// is one.
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
        self.format.check(["DelimitedReader::delimiter", "DelimitedReader::escape"])
    }

    fn read_bytes(&self, bytes: &mut Bytes<'_>, origin: &Origin) -> Result<Dataset> {
        let mut blocks = Blocks::new(bytes, origin);
        let mut block = Vec::new();
        blocks.next(&mut block)?.check(origin, 0)?;
        let (layout, start) = self.layout(&block, origin)?;
        block.drain(..start.bytes);
        let parser = DelimitedLines { layout: &layout, format: &self.format, encoding: self.encoding };
        let mut rows = DatasetBuilder::new(&layout);
        LineReader::new(parser, &layout, origin, start.lines).read(&mut blocks, block, &mut rows)?;
        rows.finish(origin.location())
    }

    /// Finds the columns, and where the data begins, from the first record.
    fn layout(&self, block: &[u8], origin: &Origin) -> Result<(Layout, Start)> {
        let mut first = Record::default();
        let mut records = Records::new(block, &self.format, 0, origin);
        if !records.next(&mut first)? {
            let expected = if self.header { "a header line" } else { "at least one row" };
            return Err(Error::input(origin.location().line(1), expected, "the end of the file"));
        }
        let place = records.place(&first);
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
