//! What a Parquet file says of its own sizes, compared with its bytes before the decoder believes it.
//!
//! The decoder (the `parquet` crate) makes room for as many children, values and bytes as a footer or a page header
//! speaks of, and follows a schema as deep as it goes; what then fails is not an error but the end of the process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::Page;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::stamps::check_stamps;
use super::thrift::{Element, Flaw, PageHeader, varint, walk_footer, walk_page_header};
use super::{CODECS, FORMAT};
use crate::data::decode;
use crate::error::{Error, Location, Result};

/// Lists and structs may be nested so deep in a schema.
const MAX_DEPTH: usize = 100;

/// The names of the groups around all columns may need so many bytes: each column keeps a copy.
const MAX_PATHS: i64 = 1 << 28;

/// A column of lists may have so many values in a row group, and beside them [`MAX_PER_BYTE`] for each byte of its
/// pages: only lists of one repeated value, which are made of next to nothing, have more.
const MIN_LIST_VALUES: i64 = 1 << 24;
const MAX_PER_BYTE: i64 = 1024;

/// The widest number is a decimal of 32 bytes.
const MAX_WIDTH: i32 = 64;

/// The bytes from which a page header is read at first; only long statistics need more.
const HEADER_WINDOW: u64 = 4096;

/// The encodings of texts that say how many there are: by lengths, and by common beginnings.
const COUNTED: [i64; 2] = [Encoding::DELTA_LENGTH_BYTE_ARRAY as i64, Encoding::DELTA_BYTE_ARRAY as i64];

type Walked<T> = std::result::Result<T, Flaw>;

/// How files of other formats begin.
const OTHERS: [(&[u8], &str); 7] = [
    (b"ARROW1", "an Arrow IPC (Feather) file"),
    (b"\xff\xff\xff\xff", "an Arrow IPC stream"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"PK\x03\x04", "a zip archive"),
];

/// Refuses a file of another format.
fn check_format(start: &[u8], place: &Location) -> Result<()> {
    if start.is_empty() || start.starts_with(b"PAR1") || start.starts_with(b"PARE") {
        return Ok(());
    }
    let found = match OTHERS.iter().find(|(begins, _)| start.starts_with(begins)) {
        Some((_, format)) => (*format).to_owned(),
        None => format!("a file that begins with \"{}\"", start.escape_ascii()),
    };
    Err(Error::input(place.clone(), "a Parquet file, which begins with \"PAR1\"", found))
}

/// Refuses a file of another format, or one whose footer is longer than the file, is encrypted, or speaks of more than
/// it holds.
pub(super) fn check_footer(file: &File, place: &Location) -> Result<()> {
    let io = || Error::io(place.file.clone().unwrap_or_default());
    let length = file.metadata().map_err(io())?.len();
    check_format(&read(file, 0, length.min(16)).map_err(io())?, place)?;
    let wrong = |found: &str| Error::input(place.clone(), format!("a complete {FORMAT} file"), found);
    if length < 12 {
        return Err(wrong(&format!("{length} bytes")));
    }
    let tail = read(file, length - 8, 8).map_err(io())?;
    match &tail[4..] {
        b"PAR1" => {}
        b"PARE" => {
            let expected = format!("a {FORMAT} file that is not encrypted");
            return Err(Error::input(place.clone(), expected, "an encrypted footer"));
        }
        _ => return Err(wrong("no footer at the end")),
    }
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if footer > length - 8 {
        return Err(wrong(&format!("a footer of {footer} bytes in a file of {length}")));
    }
    let footer = read(file, length - 8 - footer, footer).map_err(io())?;
    walk_footer(&footer).and_then(|schema| check_tree(&schema)).map_err(|flaw| match flaw {
        Flaw::Short => wrong("a footer that ends too early"),
        Flaw::Wrong(found) => wrong(&format!("a footer with {found}")),
        Flaw::Codec(codec) => {
            Error::input(place.clone(), CODECS, format!("a column compressed by the unknown codec {codec}"))
        }
    })
}

fn read(mut file: &File, start: u64, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

/// Refuses elements that do not make one tree, or one that is too deep.
fn check_tree(schema: &[Element]) -> Walked<()> {
    let wrong = |what: String| Err(Flaw::Wrong(what));
    // Of each group that is open: how many of its children are still to come, and the length of its path.
    let mut open: Vec<(i64, i64)> = Vec::new();
    let mut paths = 0;
    for (index, element) in schema.iter().enumerate() {
        while open.last().is_some_and(|group| group.0 == 0) {
            open.pop();
        }
        let above = match open.last_mut() {
            Some((left, path)) => {
                *left -= 1;
                *path
            }
            None if index == 0 => 0,
            None => return wrong("a schema of several trees".to_owned()),
        };
        let left = schema.len() - index - 1;
        if element.n_children < 0 || element.n_children as usize > left {
            return wrong(format!("a group of {} columns where {left} follow", element.n_children));
        }
        // A name takes more than its bytes.
        let path = above + element.name_len + 48;
        paths += path;
        open.push((element.n_children, path));
        if open.len() > MAX_DEPTH {
            return wrong(format!("a schema of more than {MAX_DEPTH} levels"));
        }
        if paths > MAX_PATHS {
            return wrong("too long names of groups around too many columns".to_owned());
        }
    }
    match open.iter().any(|group| group.0 > 0) {
        true => wrong("a group of more columns than follow".to_owned()),
        false => Ok(()),
    }
}

/// What the row groups of a file may be believed.
pub(super) struct Checked {
    /// So many row groups, the first, are sound.
    pub(super) n_groups: usize,
    /// What is wrong with the next one.
    pub(super) refused: Option<Error>,
    /// The length in bytes of the longest text that stands once in the file and may be that of many rows.
    pub(super) longest: usize,
    /// The values that a row has in the mean, of the row group and the column of lists where these are most.
    pub(super) n_values: usize,
}

/// Looks for a row group whose columns, those of `mask`, lie outside the file, or whose pages speak of more than their
/// bytes can hold.
pub(super) fn check_pages(
    file: &File,
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
    place: &Location,
) -> Checked {
    let mut checked = Checked { n_groups: 0, refused: None, longest: 0, n_values: 1 };
    let mut n_rows = 0_u64;
    for group in metadata.row_groups() {
        match check_group(file, group, mask, &place.clone().line(n_rows.saturating_add(1))) {
            Ok((longest, n_values)) => {
                checked.longest = checked.longest.max(longest);
                checked.n_values = checked.n_values.max(n_values);
            }
            Err(error) => {
                checked.refused = Some(error);
                break;
            }
        }
        checked.n_groups += 1;
        n_rows = n_rows.saturating_add_signed(group.num_rows());
    }
    checked
}

fn check_group(
    file: &File,
    group: &RowGroupMetaData,
    mask: &ProjectionMask,
    place: &Location,
) -> Result<(usize, usize)> {
    let length = file.metadata().map_err(Error::io(place.file.clone().unwrap_or_default()))?.len();
    let (mut longest, mut n_values) = (0, 1);
    for (leaf, column) in group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf)) {
        let place = place.clone().column(group.schema_descr().get_column_root(leaf).name());
        let chunk = Chunk { file, length, column, n_rows: group.num_rows() };
        let counted = chunk.check().map_err(|flaw| refused(flaw, place.clone()))?;
        longest = longest.max(chunk.check_texts(counted, &place)?);
        if column.column_type() == Type::INT96 {
            check_stamps(chunk.own_file(&place)?, column, group.num_rows() as usize, &place)?;
        }
        n_values = n_values.max(column.num_values() as usize / (group.num_rows() as usize).max(1));
    }
    Ok((longest, n_values))
}

fn refused(flaw: Flaw, place: Location) -> Error {
    let found = match flaw {
        Flaw::Short => "a page that ends too early".to_owned(),
        Flaw::Wrong(found) => found,
        Flaw::Codec(codec) => format!("the codec {codec}"),
    };
    Error::input(place, format!("a complete {FORMAT} file"), found)
}

/// A column's part in a row group.
struct Chunk<'a> {
    file: &'a File,
    /// Of the file, in bytes.
    length: u64,
    column: &'a ColumnChunkMetaData,
    n_rows: i64,
}

impl Chunk<'_> {
    /// Whether pages count their texts themselves.
    fn check(&self) -> Walked<bool> {
        let column = self.column;
        let wrong = |what: String| Err(Flaw::Wrong(what));
        if self.n_rows < 0 || column.num_values() < 0 {
            return wrong("a negative number of rows".to_owned());
        }
        if column.column_type() == Type::FIXED_LEN_BYTE_ARRAY {
            let width = column.column_descr().type_length();
            if !(0..=MAX_WIDTH).contains(&width) {
                return wrong(format!("values of {width} bytes"));
            }
        }
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let part = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
        let part = part.and_then(|(start, n)| Some((start, start.checked_add(n)?)));
        let Some((mut at, end)) = part.filter(|part| part.1 <= self.length) else {
            let n = column.compressed_size();
            return wrong(format!("{n} bytes from byte {start} of a file of {}", self.length));
        };
        let (mut n_values, mut n_bytes, mut counted) = (0_i64, 0_i64, false);
        while at < end {
            let page = self.page_header(at, end)?;
            at += page.length as u64;
            check_page(&page, column.compression(), end.saturating_sub(at))?;
            at += page.compressed as u64;
            n_values += if page.is_dictionary { 0 } else { page.n_values };
            n_bytes += page.uncompressed.max(page.compressed);
            counted |= COUNTED.contains(&page.encoding);
        }
        if n_values < self.n_rows {
            return wrong(format!("{n_values} values of {} rows", self.n_rows));
        }
        let bound = MIN_LIST_VALUES.saturating_add(n_bytes.saturating_mul(MAX_PER_BYTE));
        match column.column_descr().max_rep_level() > 0 && n_values > bound {
            true => wrong(format!("lists of {n_values} values in {n_bytes} bytes")),
            false => Ok(counted),
        }
    }

    /// The header of the page at this byte.
    fn page_header(&self, at: u64, end: u64) -> Walked<PageHeader> {
        let mut window = HEADER_WINDOW;
        loop {
            let bytes = read(self.file, at, window.min(end - at)).map_err(|_| Flaw::Short)?;
            match walk_page_header(&bytes) {
                Err(Flaw::Short) if window < end - at => window *= 8,
                header => return header,
            }
        }
    }

    /// Looks at the unpacked pages that say how many texts they hold, or may give one text to many rows: gives the
    /// length of the longest such text, in bytes.
    fn check_texts(&self, counted: bool, place: &Location) -> Result<usize> {
        if !matches!(self.column.column_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY) {
            return Ok(0);
        }
        let (file, n_rows) = (self.own_file(place)?, self.n_rows as usize);
        let mut pages = decode(FORMAT, place, || SerializedPageReader::new(file, self.column, n_rows, None))?;
        let mut longest = 0;
        while let Some(page) = decode(FORMAT, place, || pages.next().transpose())? {
            if let Page::DictionaryPage { buf, .. } = &page {
                longest = longest.max(self.longest_text(buf));
            } else if let Err(flaw) = self.check_counts(&page) {
                return Err(refused(flaw, place.clone()));
            }
            if !counted {
                break;
            }
        }
        Ok(longest)
    }

    /// The length of the longest text of a dictionary.
    fn longest_text(&self, dictionary: &[u8]) -> usize {
        match self.column.column_type() {
            Type::FIXED_LEN_BYTE_ARRAY => self.column.column_descr().type_length() as usize,
            _ => longest_text(dictionary),
        }
    }

    /// The file, to be read by another.
    fn own_file(&self, place: &Location) -> Result<Arc<File>> {
        self.file.try_clone().map(Arc::new).map_err(Error::io(place.file.clone().unwrap_or_default()))
    }

    /// Refuses a page whose texts are more than its values.
    fn check_counts(&self, page: &Page) -> Walked<()> {
        let n_blocks = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            _ => return Ok(()),
        };
        let mut bytes = self.values(page).ok_or(Flaw::Short)?;
        for _ in 0..n_blocks {
            bytes = skip_differences(bytes, page.num_values().into())?;
        }
        Ok(())
    }

    /// What follows the levels of a data page.
    fn values<'p>(&self, page: &'p Page) -> Option<&'p [u8]> {
        let column = self.column.column_descr();
        match page {
            Page::DataPage { buf, num_values, rep_level_encoding, def_level_encoding, .. } => {
                let levels = [
                    (column.max_rep_level(), rep_level_encoding),
                    (column.max_def_level(), def_level_encoding),
                ];
                levels.iter().filter(|level| level.0 > 0).try_fold(&buf[..], |bytes, (max, encoding)| {
                    let n_bits = u64::from(max.ilog2() + 1) * u64::from(*num_values);
                    let length = match encoding {
                        Encoding::RLE => u64::from(u32::from_le_bytes(*bytes.first_chunk()?)) + 4,
                        _ => n_bits.div_ceil(8),
                    };
                    bytes.get(usize::try_from(length).ok()?..)
                })
            }
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
                buf.get(def_levels_byte_len.checked_add(*rep_levels_byte_len)? as usize..)
            }
            Page::DictionaryPage { .. } => None,
        }
    }
}

/// The length of the longest of texts that stand one behind another, each behind its length.
fn longest_text(mut bytes: &[u8]) -> usize {
    let mut longest = 0;
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = rest.len().min(u32::from_le_bytes(*length) as usize);
        longest = longest.max(length);
        bytes = &rest[length..];
    }
    longest
}

/// Passes over numbers that are packed as differences; they must be no more than `most`.
fn skip_differences(bytes: &[u8], most: u64) -> Walked<&[u8]> {
    let mut rest = bytes;
    let number = |rest: &mut &[u8]| {
        let (value, length) = varint(rest)?;
        *rest = &rest[length..];
        Ok(value)
    };
    let (block, n_parts, count) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
    number(&mut rest)?;
    if count > most {
        return Err(Flaw::Wrong(format!("{count} texts in a page of {most}")));
    }
    let part = block.checked_div(n_parts).ok_or_else(|| Flaw::Wrong("blocks of no parts".to_owned()))?;
    let n_parts = usize::try_from(n_parts).map_err(|_| Flaw::Short)?;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        number(&mut rest)?;
        let (widths, parts) = rest.split_at_checked(n_parts).ok_or(Flaw::Short)?;
        rest = parts;
        for &width in widths.iter() {
            let n_bytes =
                if left == 0 { Some(0) } else { part.checked_mul(width.into()).map(|bits| bits / 8) };
            let n_bytes = n_bytes.and_then(|n| usize::try_from(n).ok());
            rest = n_bytes.and_then(|n| rest.get(n..)).ok_or(Flaw::Short)?;
            left = left.saturating_sub(part);
        }
    }
    Ok(rest)
}

/// Refuses a page that is longer than what is left of its column, or says it unpacks to more than its codec can make.
fn check_page(page: &PageHeader, codec: Compression, left: u64) -> Walked<()> {
    let PageHeader { compressed, uncompressed, n_values, .. } = *page;
    let wrong = |what: String| Err(Flaw::Wrong(what));
    if compressed < 0 || uncompressed < 0 || n_values < 0 || compressed as u64 > left {
        return wrong(format!("a page of {compressed} bytes where {left} follow"));
    }
    let unpacked = match expansion(codec) {
        None => compressed,
        Some(most) if uncompressed > compressed.saturating_mul(most) => {
            return wrong(format!("a page of {compressed} bytes that unpacks to {uncompressed}"));
        }
        Some(_) => uncompressed,
    };
    match page.is_dictionary && n_values > unpacked {
        true => wrong(format!("a dictionary of {n_values} values in {unpacked} bytes")),
        false => Ok(()),
    }
}

/// How many bytes a codec makes of one at most; `None` if it makes none.
fn expansion(codec: Compression) -> Option<i64> {
    match codec {
        Compression::UNCOMPRESSED => None,
        // Three bytes copy 64.
        Compression::SNAPPY => Some(22),
        // A byte copies 255 more.
        Compression::LZ4 | Compression::LZ4_RAW => Some(256),
        // Two bits copy 258 bytes.
        Compression::GZIP(_) => Some(1032),
        // A block of 128 KiB needs four bytes.
        _ => Some(1 << 15),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, StringArray};
    use arrow::record_batch::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::{FileMetaData, ParquetMetaDataWriter};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::super::{ParquetFile, Part};
    use super::*;

    /// A whole number as Thrift writes it.
    fn int(value: i64) -> Vec<u8> {
        varint(((value << 1) ^ (value >> 63)) as u64)
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn part(path: &std::path::Path) -> Part {
        Part { path: path.to_path_buf(), values: Vec::new() }
    }

    /// The rows of each batch of the first column.
    fn read(bytes: &[u8]) -> Result<Vec<usize>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        std::fs::write(&path, bytes).unwrap();
        ParquetFile::open(&part(&path))?.batches([0])?.map(|batch| Ok(batch?.num_rows())).collect()
    }

    fn refused(bytes: &[u8], found: &str) {
        let error = read(bytes).expect_err(found).to_string();
        assert!(error.contains("t.parquet") && error.contains(found), "{error}");
    }

    fn with_footer(footer: &[u8]) -> Vec<u8> {
        [b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
    }

    /// A file without rows and with this schema, as groups of so many children.
    fn with_schema(children: &[i64]) -> Vec<u8> {
        let mut footer = [&[0x15, 2, 0x19, 0xfc][..], &varint(children.len() as u64)].concat();
        for &n in children {
            match n {
                0 => footer.extend([0x15, 4, 0x25, 0, 0x18, 1, b'x', 0]),
                _ => footer.extend([&[0x35, 0, 0x18, 1, b'x', 0x15][..], &int(n), &[0]].concat()),
            }
        }
        footer.extend([0x16, 0, 0x19, 0x0c, 0]);
        with_footer(&footer)
    }

    #[test]
    fn a_schema_is_a_tree_of_the_elements_that_are_there() {
        assert!(read(&with_schema(&[1, 0])).unwrap().is_empty());
        assert!(read(&with_schema(&[2, 1, 0, 0])).unwrap().is_empty());
        refused(&with_schema(&[i64::from(i32::MAX), 0]), "a group of 2147483647 columns where 1 follow");
        refused(&with_schema(&[1, i64::from(i32::MAX), 0]), "a group of 2147483647 columns where 1 follow");
        refused(&with_schema(&[2, 1, 0]), "more columns than follow");
        refused(&with_schema(&[1, -1]), "a group of -1 columns");
        refused(&with_schema(&[1, 1 << 32]), "a number of 32 bits that is 4294967296");
        refused(&with_schema(&[1, 0, 0]), "several trees");
        let nested = |depth| [vec![1; depth], vec![0]].concat();
        assert!(read(&with_schema(&nested(MAX_DEPTH - 1))).is_ok());
        for depth in [MAX_DEPTH, 10_000, 1_000_000] {
            refused(&with_schema(&nested(depth)), "a schema of more than 100 levels");
        }
    }

    #[test]
    fn a_footer_is_walked_only_as_far_as_its_bytes_go() {
        // Booleans without bytes, before and within other lists; an own type for a known field.
        let many = varint(i32::MAX as u64);
        refused(&with_footer(&[&[0x09, 100, 0xf1][..], &many, &[0]].concat()), "a list of booleans");
        refused(&with_footer(&[&[0x09, 100, 0x19, 0xf2][..], &many, &[0]].concat()), "a list of booleans");
        refused(&with_footer(&[&[0x0b, 100][..], &many, &[0x13, 0]].concat()), "a list of booleans");
        refused(&with_footer(&[0x1c, 0x15, 2, 0]), "a field 1 of the type 12");
        refused(&with_footer(&[&[0x29, 0xfc][..], &many].concat()), "a footer that ends too early");
        refused(&with_footer(&[&[0x09, 100][..], &[0x19; 100_000]].concat()), "nested more than 64 deep");
        refused(&with_footer(&[&[0x0c, 100][..], &[0x1c; 100_000]].concat()), "nested more than 64 deep");
        refused(
            &with_footer(&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            "ten bytes",
        );
        refused(b"PAR1\xff\xff\xff\x7fPAR1", "a footer of 2147483647 bytes in a file of 12");
        refused(b"PAR1\0\0\0\0PARE", "expected a Parquet file that is not encrypted");
        refused(b"PAR1", "4 bytes");
    }

    /// A file whose only column has this type and these pages.
    fn with_pages(column: &str, codec: Compression, n_rows: i64, pages: &[u8]) -> Vec<u8> {
        with_chunk(column, codec, n_rows, pages, [4, pages.len() as i64])
    }

    /// A file that says where the pages of its only column lie.
    fn with_chunk(column: &str, codec: Compression, n_rows: i64, pages: &[u8], part: [i64; 2]) -> Vec<u8> {
        let root = parse_message_type(&format!("message m {{ {column} }}")).unwrap();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
        let chunk = ColumnChunkMetaData::builder(schema.column(0))
            .set_compression(codec)
            .set_num_values(n_rows)
            .set_total_compressed_size(part[1])
            .set_data_page_offset(part[0])
            .build()
            .unwrap();
        let group = RowGroupMetaData::builder(schema.clone()).set_num_rows(n_rows);
        let group = group.add_column_metadata(chunk).build().unwrap();
        let metadata = FileMetaData::new(1, n_rows, None, None, schema, None);
        let mut bytes = [b"PAR1", pages].concat();
        let metadata = ParquetMetaData::new(metadata, vec![group]);
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &metadata).finish().unwrap();
        bytes.extend(footer);
        bytes
    }

    /// A page of an encoding that says it unpacks to `size` bytes and has `n` values.
    fn page(dictionary: bool, encoding: Encoding, size: i64, n: i64, body: &[u8]) -> Vec<u8> {
        let (kind, id) = if dictionary { (2, 0x4c) } else { (0, 0x2c) };
        let levels = if dictionary { &[][..] } else { &[0x15, 6, 0x15, 6] };
        let fields = [int(kind), int(size), int(body.len() as i64)].map(|n| [&[0x15][..], &n].concat());
        let counts = [int(n), int(encoding as i64)].map(|n| [&[0x15][..], &n].concat());
        [&fields.concat()[..], &[id], &counts.concat(), levels, &[0, 0], body].concat()
    }

    const PLAIN: Compression = Compression::UNCOMPRESSED;

    #[test]
    fn a_page_says_no_more_than_its_bytes_can_hold() {
        let numbers = "required int64 x;";
        let one = page(false, Encoding::PLAIN, 8, 1, &7_i64.to_le_bytes());
        assert_eq!(read(&with_pages(numbers, PLAIN, 1, &one)).unwrap(), [1]);
        let huge = i64::from(i32::MAX);
        let codecs = [Compression::SNAPPY, Compression::GZIP(Default::default())];
        for codec in codecs {
            let page = page(false, Encoding::PLAIN, huge, 1, &[0; 8]);
            refused(&with_pages(numbers, codec, 1, &page), "a page of 8 bytes that unpacks to 2147483647");
        }
        let dictionary = page(true, Encoding::PLAIN, 8, huge, &[0; 8]);
        refused(&with_pages(numbers, PLAIN, 1, &dictionary), "a dictionary of 2147483647 values in 8 bytes");
        let list = page(false, Encoding::RLE_DICTIONARY, 8, huge, &[0; 8]);
        refused(&with_pages("repeated int64 x;", PLAIN, 1, &list), "lists of 2147483647 values");
        refused(&with_pages(numbers, PLAIN, 1, &one[..one.len() - 1]), "a page of 8 bytes where 7 follow");
        refused(&with_pages(numbers, PLAIN, 1, &one[..5]), "a page that ends too early");
        let booleans = [&[0x09, 100, 0xf1][..], &varint(i32::MAX as u64), &[0]].concat();
        refused(&with_pages(numbers, PLAIN, 1, &booleans), "a list of booleans");
        let wide = "required fixed_len_byte_array(2147483647) x;";
        refused(&with_pages(wide, PLAIN, 1, &one), "values of 2147483647 bytes");
        for part in [[4, 1 << 40], [1 << 40, 8], [-4, 8], [4, -8], [i64::MAX, i64::MAX]] {
            refused(&with_chunk(numbers, PLAIN, 1, &one, part), "of a file of");
        }
        refused(&with_pages(numbers, PLAIN, -1, &one), "a negative number of rows");
        refused(&with_pages(numbers, PLAIN, 1, &[]), "0 values of 1 rows");
        refused(&with_pages(numbers, PLAIN, 1 << 40, &one), "1 values of 1099511627776 rows");
    }

    #[test]
    fn texts_that_a_page_counts_itself_are_no_more_than_its_values() {
        let texts = "required binary x (UTF8);";
        let block = |count: u64| [varint(128), varint(4), varint(count), vec![0]].concat();
        for (encoding, body) in [
            (Encoding::DELTA_LENGTH_BYTE_ARRAY, block(1 << 40)),
            (Encoding::DELTA_BYTE_ARRAY, block(1 << 40)),
            (Encoding::DELTA_BYTE_ARRAY, [block(1), block(1 << 40)].concat()),
        ] {
            let page = page(false, encoding, body.len() as i64, 3, &body);
            refused(&with_pages(texts, PLAIN, 3, &page), "1099511627776 texts in a page of 3");
        }
    }

    #[test]
    fn a_long_text_of_many_rows_is_read_in_small_batches() {
        let text = vec![b'a'; 1 << 20];
        let dictionary = [&(text.len() as u32).to_le_bytes()[..], &text].concat();
        let dictionary = page(true, Encoding::PLAIN, dictionary.len() as i64, 1, &dictionary);
        let rows = [&[1][..], &varint(600 << 1), &[0]].concat();
        let rows = page(false, Encoding::RLE_DICTIONARY, rows.len() as i64, 600, &rows);
        let file = with_pages("required binary x (UTF8);", PLAIN, 600, &[dictionary, rows].concat());
        assert_eq!(read(&file).unwrap(), [512, 88]);
    }

    #[test]
    fn long_lists_are_read_in_small_batches() {
        use arrow::array::{FixedSizeBinaryArray, ListArray};
        use arrow::datatypes::Int64Type;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let write = |column: ArrayRef| {
            let rows = RecordBatch::try_from_iter([("x", column)]).unwrap();
            let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
            let batches = ParquetFile::open(&part(&path)).unwrap().batches([0]).unwrap();
            batches.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>()
        };
        let lists = (0..3000).map(|_| Some((0..1000).map(Some)));
        let lists = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        assert_eq!(write(lists), [1048, 1048, 904]);
        // A dictionary of values of a fixed size has no lengths.
        let ids = (0..5000).map(|n: u32| [[0xff; 12].as_slice(), &n.to_le_bytes()].concat());
        let ids = Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap());
        assert_eq!(write(ids), [5000]);
    }

    #[test]
    fn honest_files_of_every_encoding_are_read() {
        let texts = (0..5000).map(|row| (row % 7 > 0).then(|| "long".repeat(row % 30) + &row.to_string()));
        let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
        let rows = RecordBatch::try_from_iter_with_nullable([("x", texts, true)]).unwrap();
        let encodings = [Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY];
        let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
        for (encoding, version) in encodings.into_iter().flat_map(|e| versions.map(|version| (e, version))) {
            for dictionary in [false, true] {
                let properties = WriterProperties::builder()
                    .set_writer_version(version)
                    .set_encoding(encoding)
                    .set_dictionary_enabled(dictionary)
                    .set_compression(Compression::SNAPPY)
                    .set_data_page_row_count_limit(999)
                    .set_write_batch_size(100)
                    .build();
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("t.parquet");
                let file = File::create(&path).unwrap();
                let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
                writer.write(&rows).unwrap();
                writer.close().unwrap();
                let batches = ParquetFile::open(&part(&path)).unwrap().batches([0]).unwrap();
                let found: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
                assert_eq!(found.len(), 1);
                assert!(found[0].column(0).to_data() == rows.column(0).to_data(), "{encoding} {version:?}");
            }
        }
    }
}
