use std::ops::Range;
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

/// Some columns of a Parquet file as [`Table`]s of at most 65,536 rows, read row group by row group, so that a file
/// may be larger than memory.
///
/// Columns may hold whole numbers, booleans (0 and 1), dates and times (counted in the column's own unit), numbers,
/// decimals, texts, dictionaries of these, or lists of them. A null is a missing value.
pub struct ParquetTables {
    /// `None` after an error.
    batches: Option<Batches>,
    place: Location,
    n_before: u64,
}

impl ParquetTables {
    /// The tables of a file, with these columns; each table is `Err` where the file has
    ///
    /// - a damaged row group,
    /// - a column of another type,
    /// - a number that is not finite, a whole number of 2⁶³ or more, or a null within a list.
    ///
    /// Each error names the file, and the row and column where there is one.
    ///
    /// # Errors
    /// A file that cannot be opened or is damaged; Zstandard without its feature; a column that is missing.
    pub fn open<S: AsRef<str>>(path: impl AsRef<Path>, columns: &[S]) -> Result<Self> {
        let path = path.as_ref();
        let place = Location::file(path);
        let file = open(path)?;
        let wanted: Vec<usize> = (columns.iter())
            .map(|name| index_of(name.as_ref(), file.schema(), &place))
            .collect::<Result<_>>()?;
        let batches = Some(Batches::new(file, wanted, place.clone())?);
        Ok(Self { batches, place, n_before: 0 })
    }
}

impl Iterator for ParquetTables {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Result<Table>> {
        let mut batches = self.batches.take()?;
        let table = batches
            .next()?
            .and_then(|batch| from_batch(&batch, Table::after(self.place.clone(), self.n_before)));
        if let Ok(table) = &table {
            self.n_before += table.n_rows() as u64;
            self.batches = Some(batches);
        }
        Some(table)
    }
}

/// The table of an Arrow record batch, whose columns may be those of [`ParquetTables`].
///
/// # Errors
/// A column of another type; two columns of one name; a number that is not finite, a whole number of 2⁶³ or more, a
/// null within a list, with its row and column.
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
            let bounds = lists.as_list::<i64>().value_offsets();
            let part = |row: usize| {
                let [start, end] = [bounds[row] as usize, bounds[row + 1] as usize];
                if lists.is_null(row) { start..start } else { start..end }
            };
            let parts: Vec<Range<usize>> = (0..lists.len()).map(part).collect();
            let elements = lists.as_list::<i64>().values();
            let has_null = |row: &usize| parts[*row].clone().any(|at| elements.is_null(at));
            if let Some(row) = (0..lists.len()).find(|row| elements.null_count() > 0 && has_null(row)) {
                let expected = "a list without nulls, of whole numbers below 2^63 if of whole numbers";
                return Err(self.error(row, expected, shown(array, row)));
            }
            Column::new(values(elements, &target), Some(parts), missing(&lists))
        };
        column.finite(|row| self.table.place(row).column(self.name))
    }

    /// The column as another type.
    fn cast(&self, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
        let cast = cast_with_options(array, target, &CastOptions::default());
        let cast = cast.map_err(|_| self.wrong_type(array))?;
        // A value that is out of range becomes null. A column without a type has nulls that no bit says.
        let nulls = array.logical_nulls();
        let was_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        match (0..cast.len()).find(|&row| cast.is_null(row) && !was_null(row)) {
            Some(row) => Err(self.error(row, "a whole number below 2^63", shown(array, row))),
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
}

fn shown(array: &ArrayRef, row: usize) -> String {
    array_value_to_string(array, row).unwrap_or_else(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeListArray, Float32Array,
        Int32Array, ListArray, NullArray, StringArray, StructArray, UInt64Array,
    };
    use arrow::datatypes::{Float64Type, Int8Type, Int16Type, UInt64Type};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::features::{DelimitedTables, FeatureEncoder, FieldKind, Ids, Numeric, Pooling, Schema};

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    fn column(array: impl Array + 'static) -> Result<Column> {
        let table = table_from_record_batch(&batch(vec![("c", Arc::new(array))]))?;
        Ok(table.column("c").unwrap().clone())
    }

    #[test]
    fn columns_of_many_types_are_read() {
        assert_eq!(column(Int32Array::from(vec![Some(1), None])).unwrap(), Column::ints([Some(1), None]));
        assert_eq!(column(UInt64Array::from(vec![3])).unwrap(), Column::ints([3]));
        assert_eq!(column(BooleanArray::from(vec![true, false])).unwrap(), Column::ints([1, 0]));
        assert_eq!(column(Date32Array::from(vec![365])).unwrap(), Column::ints([365]));
        let floats = Column::numbers([Some(0.5), None]).unwrap();
        assert_eq!(column(Float32Array::from(vec![Some(0.5), None])).unwrap(), floats);
        let decimals = Decimal128Array::from(vec![125]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(column(decimals).unwrap(), Column::numbers([1.25]).unwrap());
        assert_eq!(column(NullArray::new(2)).unwrap(), Column::texts([None::<&str>, None]));
        let texts = Column::texts([Some("a"), None, Some("a")]);
        assert_eq!(column(StringArray::from(vec![Some("a"), None, Some("a")])).unwrap(), texts);
        let dictionary: DictionaryArray<Int8Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
        assert_eq!(column(dictionary).unwrap(), texts);
        let rows = vec![Some(vec![Some(1), Some(2)]), None, Some(vec![])];
        let lists = ListArray::from_iter_primitive::<Int16Type, _, _>(rows.clone());
        assert_eq!(column(lists).unwrap(), Column::int_lists([Some(vec![1, 2]), None, Some(vec![])]));
        let lists = ListArray::from_iter_primitive::<Int16Type, _, _>(rows).slice(1, 2);
        assert_eq!(column(lists).unwrap().len(), 2);
        let pairs = vec![Some(vec![Some(1.0), Some(2.0)])];
        let pairs = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(pairs, 2);
        assert_eq!(column(pairs).unwrap(), Column::number_lists([vec![1.0, 2.0]]).unwrap());
    }

    #[test]
    fn values_that_have_no_place_in_a_table_are_named() {
        let message = |found: Result<Column>| found.unwrap_err().to_string();
        assert_eq!(
            message(column(UInt64Array::from(vec![1, u64::MAX]))),
            "input, line 2, column c: expected a whole number below 2^63, found 18446744073709551615"
        );
        assert_eq!(
            message(column(Float32Array::from(vec![Some(1.0), None, Some(f32::NAN)]))),
            "input, line 3, column c: expected a finite number, found NaN"
        );
        let lists = vec![Some(vec![Some(1.0)]), Some(vec![Some(1.0), Some(f64::INFINITY)])];
        let found = message(column(ListArray::from_iter_primitive::<Float64Type, _, _>(lists)));
        assert_eq!(found, "input, line 2, column c: expected a finite number, found inf");
        for lists in [vec![Some(1), None], vec![Some(u64::MAX)]] {
            let lists = vec![None, Some(lists)];
            let found = message(column(ListArray::from_iter_primitive::<UInt64Type, _, _>(lists)));
            assert!(found.starts_with("input, line 2, column c: expected a list without nulls"), "{found}");
        }
        let inner: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let found = message(column(StructArray::try_from(vec![("x", inner)]).unwrap()));
        assert!(
            found.starts_with("input, column c: expected a column of numbers, texts, or lists"),
            "{found}"
        );
    }

    /// A file of row groups of 1,000 rows with the columns `item`, `x` and `genres`.
    fn write(path: &Path, n_rows: usize) {
        let rows = || 0..n_rows as i32;
        let lists = rows().map(|row| (row % 3 > 0).then(|| (0..row % 3).map(|n| Some(i64::from(n)))));
        let batch = batch(vec![
            ("item", Arc::new(StringArray::from_iter(rows().map(|row| Some(format!("{}", row % 7)))))),
            ("x", Arc::new(Float32Array::from_iter(rows().map(|row| (row % 5 > 0).then_some(row as f32))))),
            ("genres", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ]);
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
        let mut writer =
            ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn schema() -> Schema {
        let genres = FieldKind::MultiValued {
            ids: Ids::default(),
            pooling: Pooling::Mean,
            separator: Some("|".to_owned()),
        };
        Schema::default()
            .with_field("item", Ids::default())
            .with_field("x", Numeric::Standardized)
            .with_field("genres", genres)
            .with_group("item")
    }

    #[test]
    fn a_file_and_the_same_rows_as_text_are_encoded_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let n_rows = 70_000;
        write(&path, n_rows);
        let tables = || ParquetTables::open(&path, &schema().columns()).unwrap();
        let encoder = FeatureEncoder::fit(schema(), tables()).unwrap();
        let rows: Vec<_> = tables().map(|table| encoder.encode(&table.unwrap()).unwrap()).collect();
        assert!(rows.len() > 1);
        let mut text = String::from("item,x,genres\n");
        for row in 0..n_rows {
            let x = if row % 5 > 0 { row.to_string() } else { String::new() };
            text.push_str(&format!("{},{x},{}\n", row % 7, ["", "0", "0|1"][row % 3]));
        }
        let read = || DelimitedTables::default().read_from(text.as_bytes(), &schema().columns()).unwrap();
        let of_text = FeatureEncoder::fit(schema(), read()).unwrap();
        assert_eq!(of_text, encoder);
        let of_text: Vec<_> = read().map(|table| of_text.encode(&table.unwrap()).unwrap()).collect();
        assert!(rows == of_text, "the rows differ");
    }

    #[test]
    fn a_schema_that_the_file_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, 10);
        let error = ParquetTables::open(&path, &["item", "price"]).err().unwrap().to_string();
        assert!(
            error.ends_with("column price: expected a column named \"price\", found item, x, genres"),
            "{error}"
        );
        let error = |field: &str, kind: FieldKind| {
            let schema = Schema::default().with_field(field, kind);
            let tables = ParquetTables::open(&path, &schema.columns()).unwrap();
            FeatureEncoder::fit(schema, tables).unwrap_err().to_string()
        };
        let found = error("genres", Numeric::Standardized.into());
        assert!(found.contains("t.parquet, column genres: expected a column of numbers"), "{found}");
        assert!(found.ends_with("found lists of whole numbers"), "{found}");
        let found = error("x", Ids::default().into());
        assert!(
            found.ends_with("column x: expected a column of whole numbers or texts, found numbers"),
            "{found}"
        );
    }

    #[test]
    fn a_damaged_row_group_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, 70_000);
        let mut bytes = fs::read(&path).unwrap();
        let n = bytes.len();
        bytes[n * 9 / 20..n / 2].fill(0xff);
        fs::write(&path, bytes).unwrap();
        let mut tables = ParquetTables::open(&path, &schema().columns()).unwrap();
        let error = tables.find_map(Result::err).unwrap().to_string();
        assert!(error.contains("t.parquet, line ") && error.contains("a complete Parquet file"), "{error}");
        assert!(tables.next().is_none());
    }
}
