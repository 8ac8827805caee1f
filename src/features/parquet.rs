use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeListArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type};
use arrow::record_batch::RecordBatch;

use super::ItemVectors;
use super::item_vectors::zeros;
use crate::data::Vocab;
use crate::data::parquet::{ParquetFile, is_uuid, key_texts, parts};
use crate::error::{Error, Location, Result};

/// What becomes of the items of a vocabulary that a file of vectors does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingItems {
    /// The file is refused.
    Refuse,
    /// They get a vector of zeros.
    Zeros,
}

impl ItemVectors {
    /// Reads the vectors of the items of a vocabulary from a Parquet file, in which a row has an item's key and
    /// its vector, or from the files of a folder.
    ///
    /// The `key` column holds keys as those of [`read_parquet`](crate::data::read_parquet), in any order. A vector is made of the columns `vector`, side
    /// by side: a column of numbers gives one coordinate, a column of lists (of fixed or of equal size) as many as
    /// its lists have. Rows of keys that are not in `items` are passed over.
    ///
    /// # Errors
    /// As [`read_parquet`](crate::data::read_parquet); lists of different lengths, a number that is not finite as
    /// `f32`, an item that comes twice, and items that do not come at all where `missing` refuses them. Each names
    /// the file, and the row and column where there is one.
    pub fn read_parquet(
        path: impl AsRef<Path>,
        key: &str,
        vector: &[&str],
        items: &Vocab,
        missing: MissingItems,
    ) -> Result<Self> {
        let path = path.as_ref();
        let mut rows = Rows::new(key, vector, items, Location::file(path));
        for part in parts(path)? {
            let file = ParquetFile::open(&part)?;
            let names = std::iter::once(&key).chain(vector);
            let columns: Vec<usize> = names.map(|name| index_of(name, &file)).collect::<Result<_>>()?;
            rows.begin(file.place());
            file.batches(columns)?.try_for_each(|batch| rows.append(&batch?))?;
        }
        rows.place = Location::file(path);
        rows.finish(missing)
    }
}

pub(super) fn index_of(name: &str, file: &ParquetFile) -> Result<usize> {
    file.schema().index_of(name).map_err(|_| {
        let found = file.names().join(", ");
        Error::input(file.place().column(name), format!("a column named {name:?}"), found)
    })
}

/// The matrix on its way from a file's batches.
struct Rows<'a> {
    key: &'a str,
    vector: &'a [&'a str],
    items: &'a Vocab,
    /// The file that is read.
    place: Location,
    n_rows: u64,
    /// How many of them stand in the files before.
    n_before: u64,
    /// Of each of the columns `vector`; empty before the first row.
    widths: Vec<usize>,
    /// The row of each item, counted from 1 through all files; 0 before it has come.
    row_of: Vec<u64>,
    values: Vec<f32>,
}

impl<'a> Rows<'a> {
    fn new(key: &'a str, vector: &'a [&'a str], items: &'a Vocab, place: Location) -> Self {
        let row_of = vec![0; items.len()];
        let (widths, values) = (Vec::new(), Vec::new());
        Self { key, vector, items, place, n_rows: 0, n_before: 0, widths, row_of, values }
    }

    /// What comes now stands in another file.
    fn begin(&mut self, place: Location) {
        self.place = place;
        self.n_before = self.n_rows;
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let is_uuid = batch.schema_ref().field_with_name(self.key).is_ok_and(is_uuid);
        let n_above = self.n_rows - self.n_before;
        let keys = key_texts(&batch[self.key], is_uuid, &self.place.clone().column(self.key), n_above)?;
        let columns: Vec<Lists> = (self.vector.iter())
            .map(|name| Lists::read(&batch[*name], self.place.clone().column(*name)))
            .collect::<Result<_>>()?;
        if self.n_rows == 0 && batch.num_rows() > 0 {
            self.widths = columns.iter().map(Lists::first_width).collect();
            self.values = zeros(self.items.len(), self.dim(), self.place.clone())?;
        }
        for (row, key) in keys.iter().enumerate() {
            let Some(item) = self.items.id(key) else { continue };
            let line = n_above + row as u64 + 1;
            self.note(item as usize, key, line)?;
            let mut start = item as usize * self.dim();
            for (column, &width) in columns.iter().zip(&self.widths) {
                column.copy(row, &mut self.values[start..start + width], line)?;
                start += width;
            }
        }
        self.n_rows += batch.num_rows() as u64;
        Ok(())
    }

    fn dim(&self) -> usize {
        self.widths.iter().sum()
    }

    /// Notes that an item stands in this row, and in no other.
    fn note(&mut self, item: usize, key: &str, row: u64) -> Result<()> {
        match std::mem::replace(&mut self.row_of[item], self.n_before + row) {
            0 => Ok(()),
            before => {
                let found = match before.checked_sub(self.n_before) {
                    None | Some(0) => format!("{key} again, after a row of another file"),
                    Some(before) => format!("{key} again, after row {before}"),
                };
                Err(Error::input(self.place.clone().line(row).column(self.key), "distinct items", found))
            }
        }
    }

    fn finish(self, missing: MissingItems) -> Result<ItemVectors> {
        if self.n_rows == 0 {
            return Err(Error::input(self.place, "at least one row", "none"));
        }
        let absent = || (0..self.items.len()).filter(|&item| self.row_of[item] == 0);
        if let (MissingItems::Refuse, Some(first)) = (missing, absent().next()) {
            let first = self.items.key(first as u32).map(|key| key.to_string()).unwrap_or_default();
            let found = format!("none for {} of {}, the first {first}", absent().count(), self.items.len());
            return Err(Error::input(self.place.column(self.key), "a row for every item", found));
        }
        let dim = self.dim();
        ItemVectors::from_source(dim, self.values, self.place)
    }
}

/// A column of vectors: of each row a list of numbers.
struct Lists {
    lists: LargeListArray,
    place: Location,
}

impl Lists {
    /// The lists of a column; a column of numbers has lists of one.
    fn read(column: &ArrayRef, place: Location) -> Result<Self> {
        let numbers = match column.data_type() {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                field.data_type()
            }
            plain => plain,
        };
        let target = DataType::LargeList(Arc::new(Field::new_list_field(DataType::Float32, true)));
        let fits = numbers.is_numeric();
        let lists = fits.then(|| cast_with_options(column, &target, &CastOptions::default()).ok()).flatten();
        match lists {
            Some(lists) => Ok(Self { lists: lists.as_list::<i64>().clone(), place }),
            None => {
                let found = column.data_type().to_string();
                Err(Error::input(place, "a column of numbers or of lists of numbers", found))
            }
        }
    }

    /// The length of the first list; there is one.
    fn first_width(&self) -> usize {
        self.lists.value_length(0) as usize
    }

    /// Copies the list of a row, which is row `line` of the file, to `vector`.
    fn copy(&self, row: usize, vector: &mut [f32], line: u64) -> Result<()> {
        let refused = |expected: String, found: String| {
            Err(Error::input(self.place.clone().line(line), expected, found))
        };
        let bounds = self.lists.value_offsets();
        let (start, end) = (bounds[row] as usize, bounds[row + 1] as usize);
        let is_null = |nulls: &NullBuffer| (start..end).any(|at| nulls.is_null(at));
        if self.lists.is_null(row) || self.lists.values().nulls().is_some_and(is_null) {
            return refused(format!("{} numbers", vector.len()), "null".to_owned());
        }
        if end - start != vector.len() {
            return refused(format!("{} numbers, as in row 1", vector.len()), (end - start).to_string());
        }
        vector.copy_from_slice(&self.lists.values().as_primitive::<Float32Type>().values()[start..end]);
        match vector.iter().find(|value| !value.is_finite()) {
            Some(value) => refused("finite numbers".to_owned(), value.to_string()),
            None => Ok(()),
        }
    }
}
