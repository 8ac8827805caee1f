use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int64Array, StringArray, UInt64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, UInt64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::column_map::{Layout, Role};
use super::decode::decode;
use super::parquet_check::{Checked, check_footer, check_pages};
use super::rows::{DatasetBuilder, Rows};
use super::vocab_builder::Keys;
use super::{ColumnMap, Dataset, Key, Vocab};
use crate::disk;
use crate::error::{Error, ErrorKind, Location, Result};

/// What the files are called in errors.
const FORMAT: &str = "Parquet";

/// Rows that are read, or written, at once.
const BATCH_LEN: usize = 1 << 16;

/// What the texts of a column may take in a batch, in bytes, if it gives each row its longest.
const MAX_TEXTS: usize = 1 << 29;

/// Reads interactions from a Parquet file, row group by row group, only the columns that are wanted.
///
/// Keys may be columns of whole numbers or of text, dictionary-encoded or not; values may be numbers,
/// booleans or text that reads as a number; times may be whole numbers or time stamps, which count in the
/// column's own unit. Users and items get ids in the order of their first row. Compression: none, Snappy
/// or gzip, and with the Cargo feature `zstd` Zstandard, which polars writes unless told otherwise.
///
/// Sizes that a file states are compared with its bytes before the decoder makes room for them. On some damaged
/// files the decoder panics. The panic is caught and given back as an error; but the panic hook runs, and a program
/// built with `panic = "abort"` ends.
///
/// # Errors
/// A file that cannot be opened or is damaged; Zstandard without its feature; a column that is missing, or of
/// another type; a null; a value that does not fit. Each names the file, and the row and column where there is one.
pub fn read_parquet(path: impl AsRef<Path>, columns: &ColumnMap) -> Result<Dataset> {
    let path = path.as_ref();
    let place = Location::file(path);
    let file = open(path)?;
    let all = layout(columns, file.schema(), &place)?;
    let wanted = all.wanted();
    let layout = all.project();
    let mut table = Table::new(&layout, place.clone());
    read_columns(file, wanted, &place, |batch| table.append(batch))?;
    table.rows.finish(place)
}

/// A Parquet file whose footer has been read.
pub(crate) struct ParquetFile {
    file: File,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl ParquetFile {
    pub(crate) fn schema(&self) -> &Schema {
        self.builder.schema()
    }
}

/// Opens a Parquet file whose compression is compiled in.
///
/// The Arrow schema that some writers add is not read: it says nothing that the columns' own types leave open here, and
/// a few bytes of it can speak of a million columns.
pub(crate) fn open(path: &Path) -> Result<ParquetFile> {
    let place = Location::file(path);
    let file = File::open(path).map_err(Error::io(path))?;
    check_footer(&file, &place)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let own = file.try_clone().map_err(Error::io(path))?;
    let builder =
        decode(FORMAT, &place, || ParquetRecordBatchReaderBuilder::try_new_with_options(own, options))?;
    check_codecs(builder.metadata(), path)?;
    Ok(ParquetFile { file, builder })
}

/// Gives these columns of a file, in the file's order and batch by batch, to `append`.
pub(crate) fn read_columns(
    file: ParquetFile,
    columns: impl IntoIterator<Item = usize>,
    place: &Location,
    mut append: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    Batches::new(file, columns, place.clone())?.try_for_each(|batch| append(&batch?))
}

/// Some columns of a file, in the file's order and batch by batch; of the file no more is in memory than a row
/// group's part in these columns.
pub(crate) struct Batches {
    /// `None` after an error.
    reader: Option<ParquetRecordBatchReader>,
    /// What is wrong behind the row groups of the reader.
    refused: Option<Error>,
    place: Location,
    n_rows: u64,
}

impl Batches {
    pub(crate) fn new(
        file: ParquetFile,
        columns: impl IntoIterator<Item = usize>,
        place: Location,
    ) -> Result<Self> {
        let ParquetFile { file, builder } = file;
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let Checked { n_groups, refused, longest } = check_pages(&file, builder.metadata(), &mask, &place);
        let batch_len = (MAX_TEXTS / longest.max(1)).clamp(1, BATCH_LEN);
        let builder = builder.with_row_groups((0..n_groups).collect());
        let builder = builder.with_projection(mask).with_batch_size(batch_len);
        let reader = Some(decode(FORMAT, &place, || builder.build())?);
        Ok(Self { reader, refused, place, n_rows: 0 })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let mut reader = self.reader.take()?;
        let place = self.place.clone().line(self.n_rows + 1);
        let Some(batch) = decode(FORMAT, &place, || reader.next().transpose()).transpose() else {
            return self.refused.take().map(Err);
        };
        if let Ok(batch) = &batch {
            self.n_rows += batch.num_rows() as u64;
            self.reader = Some(reader);
        }
        Some(batch)
    }
}

/// Says which Cargo feature a file needs before the decoder stumbles over it.
fn check_codecs(metadata: &ParquetMetaData, path: &Path) -> Result<()> {
    let is_zstd = |column: &ColumnChunkMetaData| matches!(column.compression(), Compression::ZSTD(_));
    if cfg!(feature = "zstd") || !metadata.row_groups().iter().flat_map(|group| group.columns()).any(is_zstd)
    {
        return Ok(());
    }
    let needed_for = format!("{}: Zstandard compression", path.display()).into();
    Err(ErrorKind::FeatureDisabled { feature: "zstd", needed_for }.into())
}

/// Reads interactions from Arrow record batches of one schema, as [`read_parquet`] reads a file.
///
/// # Errors
/// As [`read_parquet`], and no batch, or batches of different schemas; rows count from 1 through all batches.
pub fn read_record_batches(
    batches: impl IntoIterator<Item = RecordBatch>,
    columns: &ColumnMap,
) -> Result<Dataset> {
    let mut batches = batches.into_iter().peekable();
    let Some(first) = batches.peek() else {
        return Err(Error::input(Location::memory(), "at least one record batch", "none"));
    };
    let schema = first.schema();
    let layout = layout(columns, &schema, &Location::memory())?;
    let mut table = Table::new(&layout, Location::memory());
    for batch in batches {
        if batch.schema() != schema {
            let place = Location::memory().line(table.n_rows + 1);
            let found = format!("{:?}", batch.schema());
            return Err(Error::input(place, format!("the schema of the first batch, {schema:?}"), found));
        }
        table.append(&batch)?;
    }
    table.rows.finish(Location::memory())
}

/// Writes interactions to a Parquet file with the columns `user`, `item` (the keys: `UInt64` or `Utf8`),
/// `value` (`Float32`) and `timestamp` (`Int64`), Snappy-compressed. The file appears whole or not at all.
///
/// # Errors
/// A file that cannot be written.
pub fn write_parquet(dataset: &Dataset, path: impl AsRef<Path>) -> Result<()> {
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    disk::write_file(path, |file| {
        let mut writer = ArrowWriter::try_new(file, schema(dataset), Some(properties)).map_err(io_error)?;
        to_record_batches(dataset).try_for_each(|batch| writer.write(&batch)).map_err(io_error)?;
        writer.close().map(|_| ()).map_err(io_error)
    })
}

/// What the file system said, if that is what went wrong.
fn io_error(error: parquet::errors::ParquetError) -> io::Error {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

/// The interactions as Arrow record batches of at most 65,536 rows, with the columns of
/// [`write_parquet`].
pub fn to_record_batches(dataset: &Dataset) -> impl Iterator<Item = RecordBatch> + '_ {
    let rows = dataset.interactions();
    let schema = schema(dataset);
    (0..rows.len()).step_by(BATCH_LEN).map(move |start| {
        let range = start..rows.len().min(start + BATCH_LEN);
        let columns: Vec<ArrayRef> = vec![
            keys(dataset.users(), rows.users()[range.clone()].iter().map(|user| user.0)),
            keys(dataset.items(), rows.items()[range.clone()].iter().map(|item| item.0)),
            Arc::new(Float32Array::from(rows.values()[range.clone()].to_vec())),
            Arc::new(Int64Array::from(rows.timestamps()[range].to_vec())),
        ];
        RecordBatch::try_new(schema.clone(), columns).expect("the columns are those of the schema")
    })
}

fn schema(dataset: &Dataset) -> Arc<Schema> {
    let key = |vocab: &Vocab| match vocab.key(0) {
        Some(Key::Text(_)) => DataType::Utf8,
        _ => DataType::UInt64,
    };
    Arc::new(Schema::new(vec![
        Field::new("user", key(dataset.users()), false),
        Field::new("item", key(dataset.items()), false),
        Field::new("value", DataType::Float32, false),
        Field::new("timestamp", DataType::Int64, false),
    ]))
}

/// The keys of these ids, all of which are in the vocabulary.
fn keys(vocab: &Vocab, ids: impl Iterator<Item = u32>) -> ArrayRef {
    let keys: Vec<Key<'_>> = ids.filter_map(|id| vocab.key(id)).collect();
    let texts: Option<Vec<&str>> = (keys.iter())
        .map(|key| match key {
            Key::Text(text) => Some(*text),
            Key::Int(_) => None,
        })
        .collect();
    let ints = keys.iter().filter_map(|key| match key {
        Key::Int(number) => Some(*number),
        Key::Text(_) => None,
    });
    match texts {
        Some(texts) => Arc::new(StringArray::from(texts)),
        None => Arc::new(UInt64Array::from_iter_values(ints)),
    }
}

fn layout(columns: &ColumnMap, schema: &Schema, place: &Location) -> Result<Layout> {
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    columns.resolve(Some(&names), names.len(), place)
}

/// A table on its way from batches to rows.
struct Table<'a> {
    layout: &'a Layout,
    place: Location,
    n_rows: u64,
    some: Rows,
    rows: DatasetBuilder,
}

impl<'a> Table<'a> {
    fn new(layout: &'a Layout, place: Location) -> Self {
        Self { layout, place, n_rows: 0, some: Rows::new(layout), rows: DatasetBuilder::new(layout) }
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        self.some.clear();
        for role in Role::ALL {
            let Some(index) = self.layout.index(role) else { continue };
            self.read_column(role, batch.column(index))?;
        }
        self.n_rows += batch.num_rows() as u64;
        self.rows.append(std::iter::once(&self.some))
    }

    fn read_column(&mut self, role: Role, column: &ArrayRef) -> Result<()> {
        let place = self.place.clone().column(self.layout.column(role));
        let at = |row: usize| place.clone().line(self.n_rows + row as u64 + 1);
        let array = Kind::of(role, self.layout).read(column, &place, self.n_rows)?;
        match role {
            Role::User => push_keys(&array, &mut self.some.users),
            Role::Item => push_keys(&array, &mut self.some.items),
            Role::Value => {
                let values = array.as_primitive::<Float32Type>().values();
                if let Some(row) = values.iter().position(|value| !value.is_finite()) {
                    let found = values[row].to_string();
                    return Err(Error::input(at(row), "a finite number", found));
                }
                self.some.values.extend_from_slice(values);
            }
            Role::Timestamp => {
                let times = array.as_primitive::<Int64Type>().values();
                if let Some(row) = times.iter().position(|&time| time < 0) {
                    return Err(Error::input(at(row), "a time of 0 or later", times[row].to_string()));
                }
                self.some.timestamps.extend_from_slice(times);
            }
        }
        Ok(())
    }
}

fn push_keys(array: &ArrayRef, keys: &mut Keys) {
    match keys {
        Keys::Int(keys) => keys.extend_from_slice(array.as_primitive::<UInt64Type>().values()),
        Keys::Text(keys) => array.as_string::<i32>().iter().flatten().for_each(|key| keys.push(key)),
    }
}

/// What a column must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Value,
    Time,
}

impl Kind {
    fn of(role: Role, layout: &Layout) -> Self {
        match role {
            Role::User if layout.reading.text_users => Self::Text,
            Role::Item if layout.reading.text_items => Self::Text,
            Role::User | Role::Item => Self::Int,
            Role::Value => Self::Value,
            Role::Timestamp => Self::Time,
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Int => "a whole number of 0 or more (or a column declared text)",
            Self::Text => "a text",
            Self::Value => "a number",
            Self::Time => "a time, as a whole number",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Int => "whole numbers (or declared text)",
            Self::Text => "texts or whole numbers",
            Self::Value => "numbers",
            Self::Time => "times: whole numbers or time stamps",
        }
    }

    /// The column as the type that rows have, without nulls. It stands at `place`, below `n_before` rows.
    pub(crate) fn read(self, column: &ArrayRef, place: &Location, n_before: u64) -> Result<ArrayRef> {
        let array = self.cast(column).ok_or_else(|| {
            let expected = format!("a column of {}", self.plural());
            Error::input(place.clone(), expected, column.data_type().to_string())
        })?;
        if let Some(row) = (0..array.len()).find(|&row| array.is_null(row)) {
            let found = match column.is_null(row) {
                true => "null".to_owned(),
                false => array_value_to_string(column, row).unwrap_or_else(|error| error.to_string()),
            };
            return Err(Error::input(place.clone().line(n_before + row as u64 + 1), self.singular(), found));
        }
        Ok(array)
    }

    /// The column as the type that rows have, null where a value does not fit; `None` for a column of a
    /// type that makes no sense here.
    fn cast(self, column: &ArrayRef) -> Option<ArrayRef> {
        let values = match column.data_type() {
            DataType::Dictionary(_, values) => values,
            plain => plain,
        };
        let text = matches!(values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let (fits, target) = match self {
            Self::Int => (values.is_integer() || text, DataType::UInt64),
            Self::Text => (values.is_integer() || text, DataType::Utf8),
            Self::Value => (values.is_numeric() || text || *values == DataType::Boolean, DataType::Float32),
            Self::Time => {
                let time = matches!(values, DataType::Timestamp(..));
                (values.is_integer() || text || time, DataType::Int64)
            }
        };
        // `safe` makes a value that does not fit null; the type pairs above are all known to the cast.
        fits.then(|| cast_with_options(column, &target, &CastOptions::default()).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, DictionaryArray, Float64Array, Int32Array, LargeStringArray, StringViewArray,
        TimestampMillisecondArray,
    };
    use arrow::datatypes::Int8Type;

    use super::*;
    use crate::data::SyntheticConfig;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    fn columns() -> ColumnMap {
        ColumnMap::new("u", "i").value("r").timestamp("t")
    }

    #[test]
    fn columns_of_many_types_are_read() {
        let read = |user: ArrayRef, item: ArrayRef, value: ArrayRef, time: ArrayRef| {
            let batch =
                batch(vec![("t", time), ("u", user), ("r", value), ("x", Arc::clone(&item)), ("i", item)]);
            read_record_batches([batch], &columns().text_items()).unwrap()
        };
        let expected = read(
            Arc::new(UInt64Array::from(vec![7, 9, 7])),
            Arc::new(StringArray::from(vec!["a", "b", "b"])),
            Arc::new(Float32Array::from(vec![1.0, 0.0, 1.0])),
            Arc::new(Int64Array::from(vec![5, 6, 7])),
        );
        assert_eq!(expected.users(), &Vocab::from_ints(vec![7, 9]).unwrap());
        assert_eq!(expected.interactions().items().iter().map(|item| item.0).collect::<Vec<_>>(), [0, 1, 1]);
        let found = read(
            Arc::new(Int32Array::from(vec![7, 9, 7])),
            Arc::new(LargeStringArray::from(vec!["a", "b", "b"])),
            Arc::new(BooleanArray::from(vec![true, false, true])),
            Arc::new(TimestampMillisecondArray::from(vec![5, 6, 7])),
        );
        assert_eq!(found, expected);
        let found = read(
            Arc::new(StringViewArray::from(vec!["7", "9", "7"])),
            Arc::new(DictionaryArray::<Int8Type>::from_iter(["a", "b", "b"])),
            Arc::new(Float64Array::from(vec![1.0, 0.0, 1.0])),
            Arc::new(StringArray::from(vec!["5", "6", "7"])),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = || -> Vec<(&str, ArrayRef)> {
            vec![
                ("u", Arc::new(Int64Array::from(vec![1, 2]))),
                ("i", Arc::new(Int64Array::from(vec![1, 2]))),
                ("r", Arc::new(Float64Array::from(vec![1.0, 2.0]))),
                ("t", Arc::new(Int64Array::from(vec![1, 2]))),
            ]
        };
        let message = |column: usize, array: ArrayRef| {
            let mut bad = good();
            bad[column].1 = array;
            read_record_batches([batch(good()), batch(bad)], &columns()).unwrap_err().to_string()
        };
        assert_eq!(
            message(0, Arc::new(Int64Array::from(vec![Some(1), None]))),
            "input, line 4, column u: expected a whole number of 0 or more (or a column declared text), found null"
        );
        assert_eq!(
            message(1, Arc::new(Int64Array::from(vec![-3, 1]))),
            "input, line 3, column i: expected a whole number of 0 or more (or a column declared text), found -3"
        );
        assert_eq!(
            message(2, Arc::new(Float64Array::from(vec![1.0, f64::NAN]))),
            "input, line 4, column r: expected a finite number, found NaN"
        );
        assert_eq!(
            message(3, Arc::new(Int64Array::from(vec![1, -1]))),
            "input, line 4, column t: expected a time of 0 or later, found -1"
        );
        assert!(
            message(3, Arc::new(Int32Array::from(vec![1, 1]))).contains("expected the schema of the first")
        );
        let mut floats = good();
        floats[0].1 = Arc::new(Float64Array::from(vec![1.0, 2.0]));
        assert_eq!(
            read_record_batches([batch(floats)], &columns()).unwrap_err().to_string(),
            "input, column u: expected a column of whole numbers (or declared text), found Float64"
        );
        assert!(read_record_batches([], &columns()).is_err());
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ratings.parquet");
        let columns = ColumnMap::new("user", "item").value("value").timestamp("timestamp");
        let ints = SyntheticConfig::new(2000, 1000, 100_000, 3).generate().unwrap();
        let text = crate::data::DelimitedReader::new(ColumnMap::new("u", "i").text_users().text_items())
            .read_from(
                "u,i
ä,1
b,2
ä,2
"
                .as_bytes(),
            )
            .unwrap();
        for (dataset, columns) in [(ints, columns.clone()), (text, columns.text_users().text_items())] {
            write_parquet(&dataset, &path).unwrap();
            let back = read_parquet(&path, &columns).unwrap();
            let rows = |dataset: &Dataset| -> Vec<(String, String, u32, i64)> {
                let key = |vocab: &Vocab, id: u32| vocab.key(id).unwrap().to_string();
                (dataset.interactions().iter())
                    .map(|row| {
                        let (user, item) =
                            (key(dataset.users(), row.user.0), key(dataset.items(), row.item.0));
                        (user, item, row.value.to_bits(), row.timestamp)
                    })
                    .collect()
            };
            assert!(rows(&back) == rows(&dataset));
            assert_eq!(read_record_batches(to_record_batches(&dataset), &columns).unwrap(), back);
        }
    }
}
