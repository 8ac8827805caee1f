//! Parquet files, folders of them and Arrow record batches as interactions.

mod cells;
mod check;
mod convert;
mod file;
mod folder;
mod lists;
mod row_reader;
mod stamps;
mod thrift;
mod unroll;
mod write;

use std::path::Path;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

pub(crate) use cells::{is_uuid, plain, shown};
use convert::{Kept, Problem};
pub(crate) use file::{Batches, ParquetFile};
pub(crate) use folder::{Part, parts};
pub(crate) use lists::Lists;
use row_reader::RowReader;
pub use write::{to_record_batches, write_parquet};

use super::column_map::Layout;
use super::rows::DatasetBuilder;
use super::{ColumnMap, Dataset, Texts};
use crate::error::{Error, Location, Result};

/// What the files are called in errors.
const FORMAT: &str = "Parquet";

/// What is read, for errors.
const CODECS: &str = "no compression, or Snappy, gzip, LZ4 or Zstandard";

/// Rows that are read, or written, at once.
const BATCH_LEN: usize = 1 << 16;

/// What the texts of a column may take in a batch, in bytes, if it gives each row its longest.
const MAX_TEXTS: usize = 1 << 29;

/// Reads interactions from a Parquet file, or from the files of a folder, row group by row group, only the columns that
/// are wanted. Users and items get ids in the order of their first row.
///
/// # Columns
/// The settings of a [`ColumnMap`] mean what they mean for text, and texts are read as those of a text file. Beside
/// them, and whether or not they are dictionary-encoded,
///
/// - keys may be whole numbers of any width; floats and decimals that are whole (`7.0` is the key 7; floats only as
///   far as all whole numbers are floats: 2⁵³ for those of 64 bits); and bytes that are UTF-8. Declared text, they may
///   also be values of a fixed size, which become lower-case hexadecimal digits, those of a UUID in groups
///   (`123e4567-e89b-12d3-a456-426614174000`).
/// - values may be numbers, decimals and booleans (1 and 0).
/// - times may be whole numbers, also as floats or decimals, which are counts of [`ColumnMap::time_unit`]; and dates and
///   time stamps of any unit, which are converted to it. A time between two counts is an error. A zone does not matter:
///   time stamps are UTC. Those of 96 bits, as old Spark and Impala wrote, must lie in the years 1678 to 2261.
///
/// A null is a missing value, as an empty text is. A type of [events](ColumnMap::events) may also be a whole number.
///
/// # Lists
/// A column of lists of items gives a row for each item. The columns of values and times then hold lists, too, of the
/// same lengths, or one value for all items. Without a time column the time of a row is the place of the item among all
/// those of its user in all files, from 0 on. A null in a list is a missing value; [`Dataset::n_skipped`] counts lists that
/// are null or empty.
///
/// # Folders
/// Of a folder all files are read that lie below it and are called `*.parquet`, `*.parq` or `*.pq`, in the order of their
/// paths. What begins with `.`, or with `_` and has no `=`, is left out. Each file is taken for itself: its columns may
/// have another order and other types, and it may be without rows. A folder called `name=value` gives the files in it a
/// column of texts, behind their own, if they have none of this name; `%2F` in it is `/`, and
/// `__HIVE_DEFAULT_PARTITION__` a missing value.
///
/// # Compression
/// None, Snappy, gzip and LZ4, and with the Cargo feature `zstd` Zstandard, which polars writes unless told otherwise.
///
/// # Damage
/// Sizes that a file states are compared with its bytes before the decoder makes room for them. On some damaged
/// files the decoder panics. The panic is caught and given back as an error; but the panic hook runs, and a program
/// built with `panic = "abort"` ends.
///
/// # Errors
/// A file that cannot be opened, is damaged or no Parquet file; a folder without a file; no row; another compression,
/// and Zstandard without its feature; a column that is missing, or of another type; a missing value, unless
/// [left out](ColumnMap::skip_missing); a value that does not fit; lists of different lengths in a row. Each names the
/// file, and the row and column where there is one.
pub fn read_parquet(path: impl AsRef<Path>, columns: &ColumnMap) -> Result<Dataset> {
    let path = path.as_ref();
    let mut all = None;
    for part in parts(path)? {
        let file = ParquetFile::open(&part)?;
        let layout = layout(columns, file.schema(), &file.place())?;
        let rows = all.get_or_insert_with(|| DatasetBuilder::new(&layout));
        read_file(file, layout, rows)?;
    }
    match all {
        Some(rows) => rows.finish(Location::file(path)),
        None => Err(Error::input(Location::file(path), "at least one file", "none")),
    }
}

fn read_file(file: ParquetFile, layout: Layout, rows: &mut DatasetBuilder) -> Result<()> {
    let (place, wanted, layout) = (file.place(), layout.wanted(), layout.project());
    let mut reader = RowReader::new(&layout, place);
    file.batches(wanted)?.try_for_each(|batch| reader.append(&batch?, rows))
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
    let mut rows = DatasetBuilder::new(&layout);
    let mut reader = RowReader::new(&layout, Location::memory());
    for batch in batches {
        if batch.schema() != schema {
            let found = format!("{:?}", batch.schema());
            let expected = format!("the schema of the first batch, {schema:?}");
            return Err(Error::input(reader.next_place(), expected, found));
        }
        reader.append(&batch, &mut rows)?;
    }
    rows.finish(Location::memory())
}

fn layout(columns: &ColumnMap, schema: &Schema, place: &Location) -> Result<Layout> {
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    columns.resolve(Some(&names), names.len(), place)
}

/// The keys of a column, as texts. It stands at `place`, below `n_before` rows.
///
/// # Errors
/// A column of another type; a null, or a key that is not whole, with its row.
pub(crate) fn key_texts(column: &ArrayRef, is_uuid: bool, place: &Location, n_before: u64) -> Result<Texts> {
    let error = |(row, mismatch): cells::Misfit| mismatch.at(place.clone().line(n_before + row as u64 + 1));
    let wrong_type = || {
        let expected = "a column of texts or whole numbers";
        Error::input(place.clone(), expected, column.data_type().to_string())
    };
    let cells = cells::Cells::of(column, is_uuid).map_err(error)?.ok_or_else(wrong_type)?;
    if let Some(row) = column.logical_nulls().and_then(|nulls| nulls.iter().position(|is_valid| !is_valid)) {
        return Err(error((row, super::fields::Mismatch::new("a key", "null".to_owned()))));
    }
    let mut texts = Texts::default();
    convert::texts(&cells, &Kept::All(column.len()), &mut texts).map_err(|problem| match problem {
        Problem::Type => wrong_type(),
        Problem::Cell(misfit) => error(misfit),
    })?;
    Ok(texts)
}
