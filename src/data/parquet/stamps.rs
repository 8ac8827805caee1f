//! Time stamps of 96 bits: a day, and nanoseconds of it. The decoder makes 64-bit counts of nanoseconds of them, which
//! wrap around where they are too large.

use std::fs::File;
use std::sync::Arc;

use chrono::NaiveDate;
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::Int96;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::FORMAT;
use crate::data::decode;
use crate::error::{Error, Location, Result};

/// 1970-01-01 as a Julian day.
const EPOCH: i64 = 2_440_588;

/// So many whole days before and behind it may be counted in nanoseconds.
const MOST_DAYS: i64 = i64::MAX / 86_400_000_000_000 - 1;

/// Rows that are looked at together.
const N_ROWS: usize = 1 << 14;

/// Refuses time stamps that the decoder would take for others. `place` is the first row of the column's part.
pub(super) fn check_stamps(
    file: Arc<File>,
    column: &ColumnChunkMetaData,
    n_rows: usize,
    place: &Location,
) -> Result<()> {
    let pages = decode(FORMAT, place, || SerializedPageReader::new(file, column, n_rows, None))?;
    let ColumnReader::Int96ColumnReader(mut reader) =
        get_column_reader(column.column_descr_ptr(), Box::new(pages))
    else {
        return Ok(());
    };
    let (mut stamps, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    let mut n_before = 0;
    loop {
        stamps.clear();
        levels.clear();
        repeats.clear();
        let (n_read, ..) = decode(FORMAT, place, || {
            reader.read_records(N_ROWS, Some(&mut levels), Some(&mut repeats), &mut stamps)
        })?;
        if n_read == 0 {
            return Ok(());
        }
        if let Some(index) = stamps.iter().position(|stamp| days(stamp).abs() > MOST_DAYS) {
            let row = n_before + row_of(index, column.column_descr().max_def_level(), &levels, &repeats);
            let place = place.clone().line(place.line.unwrap_or(1) + row as u64);
            return Err(Error::input(place, "a time stamp of the years 1678 to 2261", shown(&stamps[index])));
        }
        n_before += n_read;
    }
}

/// The days since 1970.
fn days(stamp: &Int96) -> i64 {
    i64::from(stamp.data()[2] as i32) - EPOCH
}

fn shown(stamp: &Int96) -> String {
    let date = i32::try_from(days(stamp)).ok().and_then(NaiveDate::from_epoch_days);
    date.map_or_else(|| format!("the day {}", days(stamp)), |date| date.to_string())
}

/// The row of a value. Of `levels`, which are empty in a column without nulls, those of values are `present`; in lists
/// each row begins with a 0 of `repeats`.
fn row_of(value: usize, present: i16, levels: &[i16], repeats: &[i16]) -> usize {
    let mut values = (0..levels.len()).filter(|&at| levels[at] == present);
    let at = if levels.is_empty() { value } else { values.nth(value).unwrap_or(value) };
    match repeats.get(..=at) {
        Some(repeats) => repeats.iter().filter(|&&repeat| repeat == 0).count().saturating_sub(1),
        None => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ColumnMap, read_parquet};

    #[test]
    fn what_nanoseconds_cannot_count_is_an_error() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/uuid_int96.parquet");
        let mut bytes = std::fs::read(path).unwrap();
        let day = |date: &str| {
            (NaiveDate::parse_from_str(date, "%F").unwrap().to_epoch_days() + EPOCH as i32).to_le_bytes()
        };
        let at = bytes.windows(4).rposition(|part| part == day("2024-01-03")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let columns = ColumnMap::new("user", "items").timestamp("time").text_users().text_items();
        let mut read = |date: &str| {
            bytes[at..at + 4].copy_from_slice(&day(date));
            std::fs::write(&path, &bytes).unwrap();
            read_parquet(&path, &columns).map(|data| data.interactions().timestamps()[2])
        };
        assert_eq!(read("2024-01-04").unwrap(), 1_704_283_201 + 86_400);
        assert_eq!(read("2261-12-31").unwrap(), 9_214_603_201);
        for date in ["9999-12-31", "1600-01-01"] {
            let error = read(date).unwrap_err().to_string();
            let expected = format!(
                "t.parquet, line 2, column time: expected a time stamp of the years 1678 to 2261, found {date}"
            );
            assert!(error.ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_value_knows_its_row() {
        assert_eq!(row_of(2, 0, &[], &[]), 2);
        assert_eq!(row_of(1, 1, &[1, 0, 0, 1], &[]), 3);
        assert_eq!(row_of(2, 2, &[2, 2, 0, 1, 2], &[0, 1, 0, 0, 1]), 2);
    }
}
