use std::ops::Range;
use std::path::{Path, PathBuf};
use std::vec;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;

use super::parquet::index_of;
use super::table::{Column, Table, Values};
use crate::data::Texts;
use crate::data::parquet::{Batches, Lists, ParquetFile, Part, is_uuid, parts, plain, shown};
use crate::error::{Error, Location, Result};

/// Some columns of a Parquet file, or of the files of a folder, as [`Table`]s of at most 65,536 rows, read row group by row
/// group, so that files may be larger than memory.
///
/// Columns may hold whole numbers, booleans (0 and 1), dates and times (counted in the column's own unit: days, …,
/// nanoseconds), numbers, decimals, texts, bytes, dictionaries of these, or lists of them. Bytes become texts: UTF-8 as
/// it stands, values of a fixed size as hexadecimal digits, those of a UUID in groups. A null is a missing value. Numbers
/// that are whole may be categories: `7.0` is the category 7.
///
/// The files of a folder, and the columns that the names of its folders give, are those of
/// [`read_parquet`](crate::data::read_parquet#folders); so is what may be compressed.
pub struct ParquetTables {
    path: PathBuf,
    columns: Vec<String>,
    /// The files that are still to come.
    parts: vec::IntoIter<Part>,
    current: Option<Current>,
    n_rows: u64,
    is_over: bool,
}

/// A file that is being read.
struct Current {
    batches: Batches,
    place: Location,
    n_before: u64,
}

impl ParquetTables {
    /// The tables of a file or a folder, with these columns; each table is `Err` where the file has
    ///
    /// - a damaged row group,
    /// - a column of another type,
    /// - a number that is not finite, a whole number of 2⁶³ or more, bytes that are not UTF-8, or a null within a list;
    ///
    /// where a later file of the folder cannot be opened; and where there is no row at all. Each error names the file,
    /// and the row and column where there is one, and is the last.
    ///
    /// # Errors
    /// A file, the first of a folder, that cannot be opened, is damaged or no Parquet file; a folder without a file; another
    /// compression, and Zstandard without its feature; a column that is missing.
    pub fn open<S: AsRef<str>>(path: impl AsRef<Path>, columns: &[S]) -> Result<Self> {
        let path = path.as_ref();
        let columns: Vec<String> = columns.iter().map(|name| name.as_ref().to_owned()).collect();
        let mut parts = parts(path)?.into_iter();
        let current = parts.next().map(|part| Current::open(&part, &columns)).transpose()?;
        Ok(Self { path: path.to_path_buf(), columns, parts, current, n_rows: 0, is_over: false })
    }

    /// The next table, if there is one.
    fn advance(&mut self) -> Result<Option<Table>> {
        loop {
            if let Some(table) = self.current.as_mut().and_then(Current::next) {
                return table.map(Some);
            }
            match self.parts.next() {
                Some(part) => self.current = Some(Current::open(&part, &self.columns)?),
                None if self.n_rows > 0 => return Ok(None),
                None => return Err(Error::input(Location::file(&self.path), "at least one row", "none")),
            }
        }
    }
}

impl Current {
    fn open(part: &Part, columns: &[String]) -> Result<Self> {
        let file = ParquetFile::open(part)?;
        let wanted = columns.iter().map(|name| index_of(name, &file)).collect::<Result<Vec<usize>>>()?;
        let place = file.place();
        Ok(Self { batches: file.batches(wanted)?, place, n_before: 0 })
    }

    fn next(&mut self) -> Option<Result<Table>> {
        let table = Table::after(self.place.clone(), self.n_before);
        let table = self.batches.next()?.and_then(|batch| from_batch(&batch, table));
        self.n_before += table.as_ref().map_or(0, |table| table.n_rows() as u64);
        Some(table)
    }
}

impl Iterator for ParquetTables {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Result<Table>> {
        if self.is_over {
            return None;
        }
        let table = self.advance().transpose();
        self.is_over = !matches!(table, Some(Ok(_)));
        if let Some(Ok(table)) = &table {
            self.n_rows += table.n_rows() as u64;
        }
        table
    }
}

/// The table of an Arrow record batch, whose columns may be those of [`ParquetTables`].
///
/// # Errors
/// A column of another type; two columns of one name; a number that is not finite, a whole number of 2⁶³ or more, bytes that
/// are not UTF-8, a null within a list, with its row and column.
pub fn table_from_record_batch(batch: &RecordBatch) -> Result<Table> {
    from_batch(batch, Table::default())
}

/// The columns of a batch as those of `table`, which is empty.
fn from_batch(batch: &RecordBatch, table: Table) -> Result<Table> {
    let empty = table.clone();
    let schema = batch.schema();
    schema.fields().iter().zip(batch.columns()).try_fold(table, |table, (field, array)| {
        let reader = Reader { table: &empty, name: field.name(), is_uuid: is_uuid(field) };
        table.with_column(field.name(), reader.read(array)?)
    })
}

/// Reads a column that has this name in a table.
struct Reader<'a> {
    table: &'a Table,
    name: &'a str,
    is_uuid: bool,
}

impl Reader<'_> {
    fn read(&self, array: &ArrayRef) -> Result<Column> {
        let column = match Lists::of(array) {
            Some(lists) => self.lists(array, &lists)?,
            None => {
                let cast = self.values(array, |row| row)?;
                Column::new(to_values(&cast), None, (0..cast.len()).map(|row| cast.is_null(row)).collect())
            }
        };
        column.finite(|row| self.place(row))
    }

    fn lists(&self, array: &ArrayRef, lists: &Lists) -> Result<Column> {
        let parts: Vec<Range<usize>> = (0..lists.len()).map(|row| lists.part(row)).collect();
        let elements = self.values(lists.elements(), |element| lists.row_of(element))?;
        let has_null = |row: &usize| parts[*row].clone().any(|at| elements.is_null(at));
        if let Some(row) = (0..lists.len()).find(|row| elements.null_count() > 0 && has_null(row)) {
            return Err(Error::input(self.place(row), "a list without nulls", shown(array, row)));
        }
        let missing = (0..lists.len()).map(|row| lists.is_null(row)).collect();
        Ok(Column::new(to_values(&elements), Some(parts), missing))
    }

    /// Values as one of the three types that tables have; `row` says where one stands.
    fn values(&self, array: &ArrayRef, row: impl Fn(usize) -> usize) -> Result<ArrayRef> {
        let array = &plain(array, self.is_uuid, |at| self.place(row(at)))?;
        let cast = target(array.data_type()).and_then(|target| cast(array, &target).ok());
        let Some(cast) = cast else {
            let (place, found) = (self.table.origin().column(self.name), array.data_type().to_string());
            return Err(Error::input(place, "a column of numbers, texts, or lists of them", found));
        };
        // A value that is out of range becomes null. A column without a type has nulls that no bit says.
        let nulls = array.logical_nulls();
        let was_null = |at| nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
        match (0..cast.len()).find(|&at| cast.is_null(at) && !was_null(at)) {
            Some(at) => Err(Error::input(self.place(row(at)), "a whole number below 2^63", shown(array, at))),
            None => Ok(cast),
        }
    }

    fn place(&self, row: usize) -> Location {
        self.table.place(row).column(self.name)
    }
}

/// The type of the values of a column of such values; `None` for those that have no place in a table.
fn target(values: &DataType) -> Option<DataType> {
    Some(match values {
        DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => DataType::Int64,
        whole if whole.is_integer() => DataType::Int64,
        number if number.is_numeric() => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::LargeUtf8,
        _ => return None,
    })
}

/// The values of an array of a type that [`target`] gives; where one is null, anything.
fn to_values(array: &ArrayRef) -> Values {
    match array.data_type() {
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
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
        FixedSizeListArray, Float32Array, Int32Array, ListArray, NullArray, StringArray, StructArray,
        UInt64Array,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Float64Type, Int8Type, Int16Type, UInt64Type};
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

    /// Two rows, with two of these elements and the rest.
    fn lists_of(elements: ArrayRef) -> ListArray {
        let field = Arc::new(Field::new_list_field(elements.data_type().clone(), true));
        ListArray::new(field, OffsetBuffer::from_lengths([2, elements.len() - 2]), elements, None)
    }

    #[test]
    fn bytes_are_texts() {
        let bytes = BinaryArray::from(vec![Some(&b"a"[..]), None, Some("é".as_bytes())]);
        assert_eq!(column(bytes).unwrap(), Column::texts([Some("a"), None, Some("é")]));
        let lists = lists_of(Arc::new(BinaryArray::from(vec![&b"a"[..], b"b", b"c"])));
        assert_eq!(column(lists).unwrap(), Column::text_lists([vec!["a", "b"], vec!["c"]]));
        let fixed = || FixedSizeBinaryArray::try_from_iter(std::iter::repeat_n([1u8, 0xab], 3)).unwrap();
        assert_eq!(column(fixed()).unwrap(), Column::texts(["01ab"; 3]));
        let lists = column(lists_of(Arc::new(fixed()))).unwrap();
        assert_eq!(lists, Column::text_lists([vec!["01ab"; 2], vec!["01ab"]]));
    }

    #[test]
    fn a_folder_is_one_table_after_another() {
        let folder = tempfile::tempdir().unwrap();
        for (name, n_rows) in [("shop=b/1.parquet", 3), ("shop=a/2.parquet", 70_000), ("shop=a/1.parquet", 0)]
        {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            write(&folder.path().join(name), n_rows);
        }
        let tables = ParquetTables::open(folder.path(), &["shop", "item"]).unwrap();
        let tables: Vec<Table> = tables.map(Result::unwrap).collect();
        assert_eq!(tables.iter().map(Table::n_rows).sum::<usize>(), 70_003);
        let last = tables.last().unwrap();
        assert_eq!(last.column("shop"), Some(&Column::texts(["b"; 3])));
        let place = last.place(2);
        assert_eq!((place.file, place.line), (Some(folder.path().join("shop=b/1.parquet")), Some(3)));
        assert!(ParquetTables::open(folder.path(), &["price"]).is_err());

        fs::write(folder.path().join("z.parquet"), "item,x").unwrap();
        let mut tables = ParquetTables::open(folder.path(), &["item"]).unwrap();
        let error = tables.find_map(Result::err).unwrap().to_string();
        assert!(error.contains("z.parquet: expected a Parquet file"), "{error}");
        assert!(tables.next().is_none());
    }

    #[test]
    fn no_row_at_all_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, 0);
        let mut tables = ParquetTables::open(&path, &["item"]).unwrap();
        let error = tables.next().unwrap().unwrap_err().to_string();
        assert!(error.ends_with("t.parquet: expected at least one row, found none"), "{error}");
        assert!(tables.next().is_none());
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
        for (list, expected) in [
            (vec![Some(1), None], "a list without nulls, found [1, ]"),
            (vec![Some(1), Some(u64::MAX)], "a whole number below 2^63, found 18446744073709551615"),
        ] {
            let lists = vec![Some(vec![Some(1)]), None, Some(list)];
            let found = message(column(ListArray::from_iter_primitive::<UInt64Type, _, _>(lists)));
            assert_eq!(found, format!("input, line 3, column c: expected {expected}"));
        }
        assert_eq!(
            message(column(BinaryArray::from(vec![&b"a"[..], b"\xff"]))),
            "input, line 2, column c: expected UTF-8 text, found \"\\xff\""
        );
        let found = message(column(lists_of(Arc::new(BinaryArray::from(vec![&b"a"[..], b"b", b"\xff"])))));
        assert!(found.starts_with("input, line 2, column c: expected UTF-8 text"), "{found}");
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
        let found = error("genres", Ids::default().into());
        assert!(
            found.ends_with(
                "column genres: expected a column of whole numbers or texts, found lists of whole numbers"
            ),
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
