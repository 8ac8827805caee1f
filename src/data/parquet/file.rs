//! One Parquet file, opened and read batch by batch.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{DictionaryArray, Int8Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, LogicalType};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::SchemaDescriptor;

use super::cells::uuid_field;
use super::check::{Checked, check_footer, check_pages};
use super::folder::Part;
use super::{BATCH_LEN, CODECS, FORMAT, MAX_TEXTS};
use crate::data::decode;
use crate::error::{Error, ErrorKind, Location, Result};

/// A batch may have so many values in a column of lists, if all lists are of the mean length.
const MAX_VALUES: usize = 1 << 20;

/// A Parquet file whose footer has been read.
pub(crate) struct ParquetFile {
    file: File,
    builder: ParquetRecordBatchReaderBuilder<File>,
    place: Location,
    /// The columns of the file; behind them those that the names of its folders give.
    schema: Schema,
    /// The values of the latter.
    constants: Vec<Option<String>>,
}

impl ParquetFile {
    /// Opens a part of a table.
    ///
    /// The Arrow schema that some writers add is not read: it says nothing that the columns' own types leave open here,
    /// and a few bytes of it can speak of a million columns.
    pub(crate) fn open(part: &Part) -> Result<Self> {
        let path: &Path = &part.path;
        let place = Location::file(path);
        let file = File::open(path).map_err(Error::io(path))?;
        check_footer(&file, &place)?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let own = file.try_clone().map_err(Error::io(path))?;
        let builder =
            decode(FORMAT, &place, || ParquetRecordBatchReaderBuilder::try_new_with_options(own, options))?;
        let mut fields = fields(builder.schema(), builder.parquet_schema());
        let mut constants = Vec::new();
        for (name, value) in &part.values {
            if builder.schema().index_of(name).is_err() {
                fields.push(Arc::new(Field::new(name, constant_type(), true)));
                constants.push(value.clone());
            }
        }
        Ok(Self { file, builder, place, schema: Schema::new(fields), constants })
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Where the file is.
    pub(crate) fn place(&self) -> Location {
        self.place.clone()
    }

    /// These columns, in the file's order and batch by batch.
    pub(crate) fn batches(self, columns: impl IntoIterator<Item = usize>) -> Result<Batches> {
        let Self { file, builder, place, schema, constants } = self;
        let mut columns: Vec<usize> = columns.into_iter().collect();
        columns.sort_unstable();
        columns.dedup();
        let schema = schema.project(&columns).expect("columns of this schema");
        let n_own = builder.schema().fields().len();
        let constants = columns.iter().filter_map(|column| column.checked_sub(n_own)).map(|index| {
            let value: Option<&str> = constants[index].as_deref();
            Arc::new(StringArray::from(vec![value]))
        });
        let constants = constants.collect();
        let own = columns.iter().copied().filter(|&column| column < n_own);
        let mask = ProjectionMask::roots(builder.parquet_schema(), own);
        check_codecs(builder.metadata(), &mask, &place)?;
        let Checked { n_groups, refused, longest, n_values } =
            check_pages(&file, builder.metadata(), &mask, &place);
        let most = (MAX_TEXTS / longest.max(1)).min(MAX_VALUES) / n_values.max(1);
        let builder = builder.with_row_groups((0..n_groups).collect());
        let builder = builder.with_projection(mask).with_batch_size(most.clamp(1, BATCH_LEN));
        let reader = Some(decode(FORMAT, &place, || builder.build())?);
        Ok(Batches { reader, refused, place, schema: Arc::new(schema), constants, n_rows: 0 })
    }
}

/// The columns of a file; those of UUIDs say so, as Arrow does.
fn fields(schema: &Schema, columns: &SchemaDescriptor) -> Vec<Arc<Field>> {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    for leaf in 0..columns.num_columns() {
        if columns.column(leaf).logical_type_ref() == Some(&LogicalType::Uuid) {
            let root = &mut fields[columns.get_column_root_idx(leaf)];
            *root = Arc::new(uuid_field(root));
        }
    }
    fields
}

/// The type of a column that has the same text in all rows.
fn constant_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
}

/// Says which codec, or which Cargo feature, a file needs before the decoder stumbles over it.
fn check_codecs(metadata: &ParquetMetaData, mask: &ProjectionMask, place: &Location) -> Result<()> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    for (leaf, column) in columns.filter(|(leaf, _)| mask.leaf_included(*leaf)) {
        let found = match column.compression() {
            Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::LZ4
            | Compression::LZ4_RAW => continue,
            Compression::ZSTD(_) if cfg!(feature = "zstd") => continue,
            Compression::ZSTD(_) => {
                let needed_for = format!("{place}: Zstandard compression").into();
                return Err(ErrorKind::FeatureDisabled { feature: "zstd", needed_for }.into());
            }
            Compression::BROTLI(_) => "Brotli",
            Compression::LZO => "LZO",
        };
        let place =
            place.clone().column(metadata.file_metadata().schema_descr().get_column_root(leaf).name());
        return Err(Error::input(place, CODECS, format!("{found} compression")));
    }
    Ok(())
}

/// Some columns of a file, in the file's order and batch by batch; of the file no more is in memory than a row
/// group's part in these columns.
pub(crate) struct Batches {
    /// `None` after an error.
    reader: Option<ParquetRecordBatchReader>,
    /// What is wrong behind the row groups of the reader.
    refused: Option<Error>,
    place: Location,
    schema: Arc<Schema>,
    /// The text, or the null, of each column that the names of the folders give.
    constants: Vec<Arc<StringArray>>,
    n_rows: u64,
}

impl Batches {
    /// A batch with the columns that are not in the file.
    fn complete(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let n_rows = batch.num_rows();
        let mut columns = batch.columns().to_vec();
        for value in &self.constants {
            let keys = Int8Array::from(vec![0; n_rows]);
            columns.push(Arc::new(DictionaryArray::try_new(keys, value.clone())?));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let mut reader = self.reader.take()?;
        let place = self.place.clone().line(self.n_rows + 1);
        let batch = decode(FORMAT, &place, || {
            reader.next().transpose()?.map(|batch| self.complete(&batch)).transpose()
        });
        match batch.transpose() {
            None => self.refused.take().map(Err),
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(batch)) => {
                self.n_rows += batch.num_rows() as u64;
                self.reader = Some(reader);
                Some(Ok(batch))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::super::read_parquet;
    use crate::data::{ColumnMap, Dataset, Key};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn ints(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn write(path: &Path, batch: &RecordBatch, compression: Compression) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer =
            ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    fn pairs() -> ColumnMap {
        ColumnMap::new("u", "i")
    }

    fn users(data: &Dataset) -> Vec<String> {
        data.interactions().users().iter().map(|user| data.users().key(user.0).unwrap().to_string()).collect()
    }

    fn test_file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    #[test]
    fn lz4_of_both_kinds_is_read_and_brotli_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let rows = batch(vec![("u", ints(&[7; 1000])), ("i", ints(&[5; 1000]))]);
        for codec in [Compression::LZ4, Compression::LZ4_RAW] {
            write(&path, &rows, codec);
            assert_eq!(read_parquet(&path, &pairs()).unwrap().interactions().len(), 1000, "{codec}");
        }
        let brotli = test_file("brotli.parquet");
        let columns = ColumnMap::new("user", "item");
        let error = read_parquet(&brotli, &columns).unwrap_err().to_string();
        let expected = "brotli.parquet, column item: expected no compression, or Snappy, gzip, LZ4 or Zstandard, \
                        found Brotli compression";
        assert!(error.ends_with(expected), "{error}");
        let mut bytes = std::fs::read(&brotli).unwrap();
        // The codec of the column `item`, behind its name.
        let at = bytes.windows(7).position(|part| part == b"\x04item\x15\x08").unwrap();
        bytes[at + 6] = 2 * 9;
        std::fs::write(&path, bytes).unwrap();
        let error = read_parquet(&path, &columns).unwrap_err().to_string();
        assert!(
            error.ends_with("LZ4 or Zstandard, found a column compressed by the unknown codec 9"),
            "{error}"
        );
        let plain = read_parquet(&brotli, &ColumnMap::new("user", "plain")).unwrap();
        assert_eq!(plain.items().key(2), Some(Key::Int(7)));
    }

    #[test]
    fn a_file_of_another_format_is_called_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        for (bytes, found) in [
            (&b"user,item,rating\n1,2,3\n"[..], "a file that begins with \"user,item,rating\""),
            (b"u,i\n1,2\n", "a file that begins with \"u,i\\n1,2\\n\""),
            (b"ARROW1\0\0 and so on", "an Arrow IPC (Feather) file"),
            (b"\x1f\x8b\x08", "a gzip file"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_parquet(&path, &pairs()).unwrap_err().to_string();
            let expected = "t.parquet: expected a Parquet file, which begins with \"PAR1\", found ";
            assert!(error.ends_with(&format!("{expected}{found}")), "{error}");
        }
    }

    #[test]
    fn a_folder_is_one_table() {
        let folder = tempfile::tempdir().unwrap();
        let part = |name: &str, columns: Vec<(&str, ArrayRef)>| {
            write(&folder.path().join(name), &batch(columns), Compression::SNAPPY);
        };
        let small: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        part("day=2024-01-03/b.parquet", vec![("i", ints(&[51])), ("x", ints(&[0])), ("u", ints(&[9]))]);
        part("day=2024-01-03/a.parquet", vec![("u", small), ("i", ints(&[50, 51]))]);
        part("day=2024-01-01/0.parquet", vec![("u", ints(&[])), ("i", ints(&[]))]);
        part("day=2024-01-04/c.parquet", vec![("u", ints(&[3])), ("i", ints(&[52])), ("day", ints(&[17]))]);
        std::fs::write(folder.path().join("_SUCCESS"), "").unwrap();
        let data = read_parquet(folder.path(), &pairs().timestamp("day")).unwrap();
        assert_eq!(users(&data), ["1", "2", "9", "3"]);
        let day = 1_704_240_000;
        assert_eq!(data.interactions().timestamps(), [day, day, day, 17]);
        // A column of the folders alone, and one by its number, behind those of the file.
        let days = read_parquet(folder.path(), &ColumnMap::new("day", "day2")).unwrap_err().to_string();
        assert!(days.contains("expected a column named \"day2\", found u, i, day"), "{days}");
        let path = folder.path().join("day=2024-01-03");
        assert!(
            read_parquet(&path, &pairs().timestamp("day")).is_err(),
            "the folder that is named gives no column"
        );

        part("day=__HIVE_DEFAULT_PARTITION__/d.parquet", vec![("u", ints(&[4, 5])), ("i", ints(&[52, 50]))]);
        let error = read_parquet(folder.path(), &pairs().timestamp("day")).unwrap_err().to_string();
        assert!(error.contains("d.parquet, line 1, column day: expected a time"), "{error}");
        let data = read_parquet(folder.path(), &pairs().timestamp("day").skip_missing()).unwrap();
        assert_eq!((data.interactions().len(), data.n_skipped()), (4, 2));
        part("e.parquet", vec![("u", ints(&[4, -5])), ("i", ints(&[52, 50]))]);
        let error = read_parquet(folder.path(), &pairs()).unwrap_err().to_string();
        assert!(error.contains("e.parquet, line 2, column u: expected a whole number"), "{error}");
    }

    #[test]
    fn columns_of_the_folders_may_be_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user=7/item=a%20b/t.parquet");
        write(&path, &batch(vec![("x", ints(&[1; 70_000]))]), Compression::UNCOMPRESSED);
        let data = read_parquet(folder.path(), &ColumnMap::new("user", 3).text_items()).unwrap();
        assert_eq!((data.interactions().len(), data.items().key(0)), (70_000, Some(Key::Text("a b"))));
    }

    #[test]
    fn files_without_rows_are_an_error_if_all_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, &batch(vec![("u", ints(&[])), ("i", ints(&[]))]), Compression::SNAPPY);
        for path in [&path, folder.path()] {
            let error = read_parquet(path, &pairs()).unwrap_err().to_string();
            assert!(error.ends_with("expected at least one row, found the end of the file"), "{error}");
        }
    }

    #[test]
    fn uuids_of_a_file_are_known_also_in_lists() {
        let data = read_parquet(
            test_file("uuid_int96.parquet"),
            &ColumnMap::new("user", "items").text_users().text_items().timestamp("time"),
        );
        let data = data.unwrap();
        let keys: Vec<String> = data.items().keys().map(|key| key.to_string()).collect();
        let id = |last: u8| format!("00000000-0000-0000-0000-0000000000{last:02x}");
        assert_eq!(keys, [id(1), id(171), id(2)]);
        assert_eq!(users(&data), [id(17), id(17), id(18)]);
        assert_eq!(data.interactions().timestamps(), [1_704_283_200, 1_704_283_200, 1_704_283_201]);
        let file = FixedSizeBinaryArray::try_from_iter([vec![0u8; 16]].into_iter()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, &batch(vec![("u", Arc::new(file)), ("i", ints(&[1]))]), Compression::SNAPPY);
        let data = read_parquet(&path, &pairs().text_users()).unwrap();
        assert_eq!(users(&data), ["0".repeat(32)]);
    }
}
