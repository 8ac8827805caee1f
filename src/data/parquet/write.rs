use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;

use super::BATCH_LEN;
use crate::data::{Dataset, Key, Vocab};
use crate::disk;
use crate::error::Result;

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

#[cfg(test)]
mod tests {
    use super::super::{read_parquet, read_record_batches};
    use super::*;
    use crate::data::{ColumnMap, SyntheticConfig};

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
