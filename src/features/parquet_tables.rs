use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;

use super::parquet::index_of;
use super::table::{Column, Table, Values};
use crate::data::Texts;
use crate::data::parquet::{Batches, open};
use crate::error::{Error, Location, Result};

/// Reads these columns of a Parquet file as [`Table`]s of at most 65,536 rows, row group by row group, so that a file
/// may be larger than memory.
///
/// Columns may hold whole numbers, booleans (0 and 1), dates and times (counted in the column's own unit), numbers,
/// decimals, texts, dictionaries of these, or lists of them. A null is a missing value.
///
/// # Errors
/// A file that cannot be opened or is damaged; Zstandard without its feature; a column that is missing; and, table by
/// table, a row group that is damaged, a column of another type, a number that is not finite or, among whole numbers,
/// not below 2⁶³, a null within a list. Each names the file, and the row and column where there is one.
pub fn read_parquet_tables<S: AsRef<str>>(
    path: impl AsRef<Path>,
    columns: &[S],
) -> Result<impl Iterator<Item = Result<Table>> + Send + use<S>> {
    let path = path.as_ref();
    let place = Location::file(path);
    let file = open(path)?;
    let wanted: Vec<usize> = (columns.iter())
        .map(|name| index_of(name.as_ref(), file.schema(), &place))
        .collect::<Result<_>>()?;
    let mut n_before = 0;
    let mut batches = Batches::new(file, wanted, place.clone())?;
    let mut failed = false;
    Ok(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let table = batches.next()?.and_then(|batch| {
            let table = from_batch(&batch, Table::after(place.clone(), n_before))?;
            n_before += batch.num_rows() as u64;
            Ok(table)
        });
        failed = table.is_err();
        Some(table)
    }))
}

/// The table of an Arrow record batch, whose columns may be those of [`read_parquet_tables`].
///
/// # Errors
/// As [`read_parquet_tables`], and two columns of one name.
pub fn table_from_record_batch(batch: &RecordBatch) -> Result<Table> {
    from_batch(batch, Table::default())
}

/// The columns of a batch as those of `table`, which is empty.
fn from_batch(batch: &RecordBatch, table: Table) -> Result<Table> {
    let empty = table.clone();
    let schema = batch.schema();
    schema.fields().iter().zip(batch.columns()).try_fold(table, |table, (field, array)| {
        table.with_column(field.name(), Reader { table: &empty, name: field.name() }.read(array)?)
    })
}

/// Reads a column that has this name in a table.
struct Reader<'a> {
    table: &'a Table,
    name: &'a str,
}

impl Reader<'_> {
    fn read(&self, array: &ArrayRef) -> Result<Column> {
        let elements = match array.data_type() {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::ListView(field)
            | DataType::LargeListView(field) => Some(field.data_type()),
            _ => None,
        };
        let Some(target) = target(elements.unwrap_or(array.data_type())) else {
            return Err(self.wrong_type(array));
        };
        let missing = |array: &ArrayRef| (0..array.len()).map(|row| array.is_null(row)).collect();
        let column = if elements.is_none() {
            let cast = self.cast(array, &target)?;
            Column::new(values(&cast, &target), None, missing(&cast))
        } else {
            let field = Field::new_list_field(target.clone(), true);
            let lists = self.cast(array, &DataType::LargeList(Arc::new(field)))?;
            let parts: Vec<_> = (lists.as_list::<i64>().value_offsets().windows(2))
                .map(|bounds| bounds[0] as usize..bounds[1] as usize)
                .collect();
            let elements = lists.as_list::<i64>().values();
            if elements.null_count() > 0 {
                let is_null = |at: &usize| elements.is_null(*at);
                let within = |row: &usize| lists.is_valid(*row) && parts[*row].clone().any(|at| is_null(&at));
                if let Some(row) = (0..lists.len()).find(within) {
                    return Err(self.error(row, "lists of values that are in range and not null", "another"));
                }
            }
            Column::new(values(elements, &target), Some(parts), missing(&lists))
        };
        column.finite(self.table).map_err(|error| self.in_column(error))
    }

    /// The column as another type.
    fn cast(&self, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
        let cast = cast_with_options(array, target, &CastOptions::default());
        let cast = cast.map_err(|_| self.wrong_type(array))?;
        // A value that is out of range becomes null.
        match (0..cast.len()).find(|&row| cast.is_null(row) && array.is_valid(row)) {
            Some(row) => {
                let found = array_value_to_string(array, row).unwrap_or_else(|error| error.to_string());
                Err(self.error(row, "a whole number below 2^63", found))
            }
            None => Ok(cast),
        }
    }

    fn wrong_type(&self, array: &ArrayRef) -> Error {
        let place = self.table.origin().column(self.name);
        Error::input(place, "a column of numbers, texts, or lists of them", array.data_type().to_string())
    }

    fn error(&self, row: usize, expected: &'static str, found: impl Into<String>) -> Error {
        Error::input(self.table.place(row).column(self.name), expected, found)
    }

    fn in_column(&self, error: Error) -> Error {
        error.in_column(self.name)
    }
}

/// The type of the values of a column of such values; `None` for those that have no place in a table.
fn target(values: &DataType) -> Option<DataType> {
    Some(match values {
        DataType::Dictionary(_, values) => return target(values),
        DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => DataType::Int64,
        whole if whole.is_integer() => DataType::Int64,
        number if number.is_numeric() => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::LargeUtf8,
        _ => return None,
    })
}

/// The values of an array of the type `target`; where one is null, anything.
fn values(array: &ArrayRef, target: &DataType) -> Values {
    match target {
        DataType::Int64 => Values::Ints(array.as_primitive::<Int64Type>().values().to_vec()),
        DataType::Float64 => {
            let numbers = array.as_primitive::<Float64Type>().iter();
            Values::Numbers(numbers.map(Option::unwrap_or_default).collect())
        }
        _ => {
            let mut texts = Texts::default();
            array.as_string::<i64>().iter().for_each(|text| texts.push(text.unwrap_or_default()));
            Values::Texts(texts)
        }
    }
}
