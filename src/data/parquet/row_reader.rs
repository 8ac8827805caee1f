//! From batches to rows.

use arrow::array::Array;
use arrow::buffer::NullBuffer;
use arrow::record_batch::RecordBatch;

use super::BATCH_LEN;
use super::cells::{Cells, is_uuid};
use super::convert::{Kept, Problem, ints, texts, times, values};
use super::lists::elements;
use super::unroll::{Columns, Unrolled};
use crate::data::column_map::{Layout, Role};
use crate::data::fields::Mismatch;
use crate::data::rows::{DatasetBuilder, Rows};
use crate::data::vocab_builder::Keys;
use crate::error::{Error, Location, Result};

/// Reads the batches of a file.
pub(super) struct RowReader<'a> {
    layout: &'a Layout,
    place: Location,
    /// The rows of the file that were read.
    n_rows: u64,
    /// Whether the column of each role holds UUIDs.
    uuids: [bool; Role::COUNT],
    /// Lists without an item that are not counted yet.
    n_empty: u64,
    some: Rows,
}

/// The cells of the columns, by role.
type AllCells = [Option<Cells>; Role::COUNT];

/// Rows of a batch, and places in the lists there.
type Places = [(usize, usize)];

impl<'a> RowReader<'a> {
    pub(super) fn new(layout: &'a Layout, place: Location) -> Self {
        let uuids = [false; Role::COUNT];
        Self { layout, place, n_rows: 0, uuids, n_empty: 0, some: Rows::new(layout) }
    }

    /// Where the next row stands.
    pub(super) fn next_place(&self) -> Location {
        self.place.clone().line(self.n_rows + 1)
    }

    pub(super) fn append(&mut self, batch: &RecordBatch, rows: &mut DatasetBuilder) -> Result<()> {
        let schema = batch.schema_ref();
        let layout = self.layout;
        self.uuids = Role::ALL.map(|role| layout.index(role).is_some_and(|at| is_uuid(schema.field(at))));
        for start in (0..batch.num_rows()).step_by(BATCH_LEN) {
            let part = batch.slice(start, BATCH_LEN.min(batch.num_rows() - start));
            let columns = Role::ALL.map(|role| layout.index(role).map(|at| part.column(at).clone()));
            match Unrolled::of(&columns) {
                None => self.read(&columns, None, part.num_rows(), rows)?,
                Some(lists) => self.unroll(&lists, rows)?,
            }
            self.n_rows += part.num_rows() as u64;
        }
        Ok(())
    }

    /// Reads a row for each item of lists.
    fn unroll(&mut self, lists: &Unrolled, rows: &mut DatasetBuilder) -> Result<()> {
        let most = lists.most();
        let mut places = Vec::new();
        for row in 0..lists.len() {
            let n_items =
                lists.n_items(row).map_err(|(role, mismatch)| self.error(role, None, row, mismatch))?;
            self.n_empty += u64::from(n_items == 0);
            for item in 0..n_items {
                places.push((row, item));
                if places.len() == most {
                    self.read_items(lists, &places, rows)?;
                    places.clear();
                }
            }
        }
        self.read_items(lists, &places, rows)
    }

    fn read_items(&mut self, lists: &Unrolled, places: &Places, rows: &mut DatasetBuilder) -> Result<()> {
        let columns = lists.columns(places).map_err(|error| {
            Error::input(self.next_place(), "columns of values, or of lists of values", error.to_string())
        })?;
        self.read(&columns, Some(places), places.len(), rows)
    }

    /// Reads rows that stand one behind another, or at `places`.
    fn read(
        &mut self,
        columns: &Columns,
        places: Option<&Places>,
        n_rows: usize,
        rows: &mut DatasetBuilder,
    ) -> Result<()> {
        self.some.clear();
        let mut all = [const { None }; Role::COUNT];
        for role in Role::ALL {
            let Some(column) = &columns[role as usize] else { continue };
            let cells = Cells::of(column, self.uuids[role as usize]);
            let cells = cells.map_err(|(row, mismatch)| self.error(role, places, row, mismatch))?;
            all[role as usize] = Some(cells.ok_or_else(|| self.wrong_type(role, column))?);
        }
        let kept = self.kept(&all, places, n_rows)?;
        self.some.n_skipped += std::mem::take(&mut self.n_empty);
        self.some.has_lists = places.is_some();
        for role in Role::ALL {
            let (Some(cells), Some(column)) = (&all[role as usize], &columns[role as usize]) else {
                continue;
            };
            self.push(role, cells, &kept).map_err(|problem| match problem {
                Problem::Type => self.wrong_type(role, column),
                Problem::Cell((row, mismatch)) => self.error(role, places, row, mismatch),
            })?;
        }
        rows.append(std::iter::once(&self.some))
    }

    /// The rows that miss nothing. The others are counted, or the first one is an error.
    fn kept(&mut self, all: &AllCells, places: Option<&Places>, n_rows: usize) -> Result<Kept> {
        let reading = &self.layout.reading;
        let present = |cells: &Option<Cells>| cells.as_ref().and_then(|cells| cells.present(reading));
        let present: Vec<Option<NullBuffer>> = all.iter().map(present).collect();
        let whole = present.iter().fold(None, |whole, some| NullBuffer::union(whole.as_ref(), some.as_ref()));
        let Some(whole) = whole else { return Ok(Kept::All(n_rows)) };
        if reading.skip_missing {
            self.some.n_skipped += whole.null_count() as u64;
            return Ok(Kept::Only(whole.valid_indices().collect()));
        }
        let row = whole.iter().position(|is_whole| !is_whole).unwrap_or_default();
        let misses = |role: &Role| present[*role as usize].as_ref().is_some_and(|some| some.is_null(row));
        let role = Role::ALL.into_iter().find(misses).unwrap_or(Role::User);
        let found = all[role as usize].as_ref().map_or_else(String::new, |cells| cells.shown(row));
        Err(self.error(role, places, row, Mismatch::new(reading.expected(role), found)))
    }

    fn push(&mut self, role: Role, cells: &Cells, rows: &Kept) -> Result<(), Problem> {
        let reading = &self.layout.reading;
        let keys = match role {
            Role::User => &mut self.some.users,
            Role::Item => &mut self.some.items,
            Role::Value => return values(cells, rows, reading, &mut self.some.values),
            Role::Timestamp => return times(cells, rows, &reading.times, &mut self.some.timestamps),
        };
        match keys {
            Keys::Int(keys) => ints(cells, rows, keys),
            Keys::Text(keys) => texts(cells, rows, keys),
        }
    }

    fn error(&self, role: Role, places: Option<&Places>, row: usize, mismatch: Mismatch) -> Error {
        let row = places.map_or(row, |places| places[row].0);
        let line = self.n_rows + row as u64 + 1;
        mismatch.at(self.place.clone().line(line).column(self.layout.column(role)))
    }

    fn wrong_type(&self, role: Role, column: &dyn Array) -> Error {
        let reading = &self.layout.reading;
        let expected = match role {
            Role::User if reading.text_users => "a column of texts or whole numbers",
            Role::Item if reading.text_items => "a column of texts or whole numbers, or of lists of them",
            Role::User => "a column of whole numbers (or declared text)",
            Role::Item => "a column of whole numbers (or declared text), or of lists of them",
            Role::Value if reading.events.is_some() => "a column of types of events",
            Role::Value => "a column of numbers",
            Role::Timestamp => "a column of times: whole numbers, dates or time stamps",
        };
        let found = column.data_type().to_string();
        let hint = if elements(column.data_type()).is_some() {
            " (lists stand beside lists of items only)"
        } else {
            ""
        };
        Error::input(self.place.clone().column(self.layout.column(role)), expected, found + hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Int8Type, Int64Type, Schema, i256};

    use super::super::read_record_batches;
    use crate::data::{ColumnMap, Dataset, Key, TimeUnit, Vocab};

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    fn columns() -> ColumnMap {
        ColumnMap::new("u", "i").value("r").timestamp("t")
    }

    /// Rows with these columns, and good ones for the others.
    fn read_with(columns: &ColumnMap, others: &[(&str, ArrayRef)]) -> crate::error::Result<Dataset> {
        let n = others[0].1.len() as i64;
        let ints = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(1..=n)) };
        let all = ["u", "i", "r", "t"].map(|name| {
            let other = others.iter().find(|(other, _)| *other == name);
            (name, other.map_or_else(ints, |(_, array)| array.clone()))
        });
        read_record_batches([batch(all.to_vec())], columns)
    }

    fn error(columns: &ColumnMap, name: &str, array: impl Array + 'static) -> String {
        read_with(columns, &[(name, Arc::new(array))]).unwrap_err().to_string()
    }

    fn users(columns: &ColumnMap, array: impl Array + 'static) -> Vec<String> {
        let data = read_with(columns, &[("u", Arc::new(array))]).unwrap();
        data.users().keys().map(|key| key.to_string()).collect()
    }

    fn times(columns: &ColumnMap, array: impl Array + 'static) -> Vec<i64> {
        read_with(columns, &[("t", Arc::new(array))]).unwrap().interactions().timestamps().to_vec()
    }

    fn values(columns: &ColumnMap, array: impl Array + 'static) -> Vec<f32> {
        read_with(columns, &[("r", Arc::new(array))]).unwrap().interactions().values().to_vec()
    }

    #[test]
    fn columns_of_many_types_are_read() {
        let read = |user: ArrayRef, item: ArrayRef, value: ArrayRef, time: ArrayRef| {
            let batch =
                batch(vec![("t", time), ("u", user), ("r", value), ("x", Arc::clone(&item)), ("i", item)]);
            let columns = columns().text_items().time_unit(TimeUnit::Milliseconds);
            read_record_batches([batch], &columns).unwrap()
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
            Arc::new(StringViewArray::from(vec!["7", "9.0", " 7"])),
            Arc::new(DictionaryArray::<Int8Type>::from_iter(["a", "b", "b"])),
            Arc::new(StringArray::from(vec!["true", "0", "1e0"])),
            Arc::new(StringArray::from(vec!["5", "6.0", "1970-01-01T00:00:00.007Z"])),
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
        let key = "expected a whole number (or a column declared text), found";
        assert_eq!(
            message(0, Arc::new(Int64Array::from(vec![Some(1), None]))),
            format!("input, line 4, column u: {key} null")
        );
        assert_eq!(
            message(1, Arc::new(Int64Array::from(vec![-3, 1]))),
            format!("input, line 3, column i: {key} -3")
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
        for (name, array, expected) in [
            (
                "u",
                Arc::new(BooleanArray::from(vec![true])) as ArrayRef,
                "whole numbers (or declared text), found Boolean",
            ),
            ("u", Arc::new(Date32Array::from(vec![1])), "whole numbers (or declared text), found Date32"),
            ("r", Arc::new(Date32Array::from(vec![1])), "numbers, found Date32"),
            (
                "t",
                Arc::new(BooleanArray::from(vec![true])),
                "times: whole numbers, dates or time stamps, found Boolean",
            ),
            ("t", Arc::new(Time64MicrosecondArray::from(vec![1])), "dates or time stamps, found Time64(µs)"),
        ] {
            let error = read_with(&columns(), &[(name, array)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("input, column {name}: expected a column of ")), "{error}");
            assert!(error.ends_with(expected), "{error}");
        }
        assert!(read_record_batches([], &columns()).is_err());
        let none = read_record_batches([batch(good()).slice(0, 0)], &columns()).unwrap_err().to_string();
        assert_eq!(none, "input: expected at least one row, found the end of the file");
    }

    #[test]
    fn floats_and_decimals_that_are_whole_are_keys() {
        let texts = columns().text_users();
        let decimal128 = |scale: i8, values: Vec<i128>| {
            Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap()
        };
        let huge = Decimal256Array::from(vec![i256::from_i128(7) * i256::from_i128(10).wrapping_pow(40)]);
        let huge = huge.with_precision_and_scale(76, 40).unwrap();
        for columns in [&columns(), &texts] {
            assert_eq!(
                users(columns, Float64Array::from(vec![7.0, 9_007_199_254_740_991.0])),
                ["7", "9007199254740991"]
            );
            assert_eq!(users(columns, Float32Array::from(vec![7.0, -0.0])), ["7", "0"]);
            let halves =
                arrow::compute::cast(&Float32Array::from(vec![7.0, 9.0]), &DataType::Float16).unwrap();
            assert_eq!(users(columns, halves.as_primitive::<Float16Type>().clone()), ["7", "9"]);
            assert_eq!(users(columns, decimal128(2, vec![700, 0])), ["7", "0"]);
            assert_eq!(users(columns, decimal128(0, vec![7])), ["7"]);
            assert_eq!(users(columns, decimal128(-2, vec![7])), ["700"]);
            assert_eq!(users(columns, huge.clone()), ["7"]);
            let small = Decimal32Array::from(vec![70]).with_precision_and_scale(5, 1).unwrap();
            assert_eq!(users(columns, small), ["7"]);
            let mid = Decimal64Array::from(vec![70]).with_precision_and_scale(5, 1).unwrap();
            assert_eq!(users(columns, mid), ["7"]);
            let whole = "input, line 2, column u: expected a whole number";
            let found = error(columns, "u", Float64Array::from(vec![7.0, 7.5]));
            assert!(found.starts_with(whole) && found.ends_with("found 7.5"), "{found}");
            let found = error(columns, "u", decimal128(2, vec![700, 725]));
            assert!(found.starts_with(whole) && found.contains("7.25"), "{found}");
        }
        assert_eq!(
            error(&columns(), "u", Float64Array::from(vec![9_007_199_254_740_992.0])),
            "input, line 1, column u: expected a whole number below 2^53, up to which such floats hold all, \
             found 9007199254740992"
        );
        assert!(error(&texts, "u", Float32Array::from(vec![16_777_216.0])).contains("below 2^24"));
        assert_eq!(users(&texts, decimal128(0, vec![-7])), ["-7"]);
        assert!(error(&columns(), "u", Float64Array::from(vec![-7.0])).ends_with("found -7"));
        assert_eq!(users(&texts, decimal128(0, vec![10i128.pow(30)])), [format!("1{}", "0".repeat(30))]);
    }

    #[test]
    fn bytes_are_texts() {
        let texts = columns().text_users();
        let bytes: Vec<&[u8]> = vec!["7".as_bytes(), "9".as_bytes()];
        for columns in [&columns(), &texts] {
            assert_eq!(users(columns, BinaryArray::from(bytes.clone())), ["7", "9"]);
            assert_eq!(users(columns, LargeBinaryArray::from(bytes.clone())), ["7", "9"]);
            assert_eq!(users(columns, BinaryViewArray::from(bytes.clone())), ["7", "9"]);
            let keys = Int8Array::from(vec![1, 0]);
            let dictionary = DictionaryArray::new(keys, Arc::new(BinaryArray::from(bytes.clone())));
            assert_eq!(users(columns, dictionary), ["9", "7"]);
        }
        assert_eq!(
            error(&texts, "u", BinaryArray::from(vec![b"ok", &b"\xff"[..]])),
            "input, line 2, column u: expected UTF-8 text, found \"\\xff\""
        );
        let fixed = |values: Vec<&[u8]>| FixedSizeBinaryArray::try_from(values).unwrap();
        assert_eq!(users(&texts, fixed(vec![&[0, 0xab], &[0x10, 9]])), ["00ab", "1009"]);
        let keys = DictionaryArray::new(Int8Array::from(vec![0, 0]), Arc::new(fixed(vec![&[0xff]])));
        assert_eq!(users(&texts, keys), ["ff"]);
        let found = error(&columns(), "u", fixed(vec![&[0, 7]]));
        assert_eq!(
            found,
            "input, column u: expected a column of whole numbers (or declared text), found FixedSizeBinary(2)"
        );

        let id: Vec<u8> = (0..16).collect();
        let uuids: ArrayRef = Arc::new(fixed(vec![&id]));
        let uuid = super::super::cells::uuid_field(&Field::new("u", uuids.data_type().clone(), true));
        let item = Field::new("i", DataType::Int64, true);
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![uuid, item])), vec![uuids, one]).unwrap();
        let data = read_record_batches([rows], &ColumnMap::new("u", "i").text_users()).unwrap();
        assert_eq!(data.users().key(0), Some(Key::Text("00010203-0405-0607-0809-0a0b0c0d0e0f")));
    }

    #[test]
    fn dates_and_time_stamps_are_counts_of_the_unit() {
        let unit = |unit| columns().time_unit(unit);
        let seconds = columns();
        assert_eq!(times(&seconds, Date32Array::from(vec![0, 19_725])), [0, 1_704_240_000]);
        assert_eq!(times(&seconds, Date64Array::from(vec![1_704_240_000_000])), [1_704_240_000]);
        assert_eq!(times(&seconds, TimestampSecondArray::from(vec![5])), [5]);
        assert_eq!(times(&seconds, TimestampNanosecondArray::from(vec![5_000_000_000])), [5]);
        let zoned = TimestampMicrosecondArray::from(vec![1_704_283_200_000_000]).with_timezone("+02:30");
        assert_eq!(times(&seconds, zoned), [1_704_283_200]);
        let nanos = unit(TimeUnit::Nanoseconds);
        assert_eq!(times(&nanos, TimestampMillisecondArray::from(vec![5])), [5_000_000]);
        assert_eq!(times(&unit(TimeUnit::Milliseconds), Date32Array::from(vec![1])), [86_400_000]);
        for numbers in [
            Arc::new(Float64Array::from(vec![1_704_283_200.0])) as ArrayRef,
            Arc::new(Decimal128Array::from(vec![17_042_832_000]).with_precision_and_scale(20, 1).unwrap()),
            Arc::new(UInt32Array::from(vec![1_704_283_200])),
        ] {
            assert_eq!(
                read_with(&seconds, &[("t", numbers)]).unwrap().interactions().timestamps(),
                [1_704_283_200]
            );
        }
        assert_eq!(
            error(&seconds, "t", TimestampMillisecondArray::from(vec![0, 1_704_283_200_250])),
            "input, line 2, column t: expected a time in whole seconds (or a finer ColumnMap::time_unit), \
             found 2024-01-03T12:00:00.250"
        );
        assert_eq!(
            error(&seconds, "t", Date32Array::from(vec![-1])),
            "input, line 1, column t: expected a time of 0 or later, found 1969-12-31"
        );
        let negative = error(&seconds, "t", TimestampMillisecondArray::from(vec![-1]));
        assert!(negative.contains("a time in whole seconds"), "{negative}");
        let late = error(&nanos, "t", TimestampSecondArray::from(vec![i64::MAX]));
        assert!(late.contains("expected a time below 2^63"), "{late}");
        for number in [1.5, f64::NAN, f64::INFINITY, 1e19, -1.0] {
            let found = error(&seconds, "t", Float64Array::from(vec![number]));
            assert!(found.starts_with("input, line 1, column t: expected a time"), "{found}");
        }
        let form = columns().datetime("%Y%m%d");
        assert_eq!(times(&form, Int32Array::from(vec![20_240_103])), [1_704_240_000]);
        assert_eq!(times(&form, Date32Array::from(vec![19_725])), [1_704_240_000]);
    }

    #[test]
    fn events_may_be_texts_or_whole_numbers() {
        let named = columns().events([("view", 1.0), ("buy", 5.0)]);
        assert_eq!(values(&named, StringArray::from(vec!["buy", " view"])), [5.0, 1.0]);
        assert_eq!(values(&named, BinaryArray::from(vec![&b"buy"[..]])), [5.0]);
        let numbered = columns().events([("1", 1.0), ("2", 5.0)]);
        assert_eq!(values(&numbered, Int8Array::from(vec![2, 1])), [5.0, 1.0]);
        assert_eq!(values(&numbered, Float64Array::from(vec![2.0])), [5.0]);
        let found = error(&named, "r", StringArray::from(vec!["sell"]));
        assert!(
            found.ends_with("expected an event of ColumnMap::events: view, buy, found \"sell\""),
            "{found}"
        );
        let decimal = Decimal128Array::from(vec![125]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(values(&columns(), decimal), [1.25]);
    }

    #[test]
    fn rows_that_miss_something_are_left_out_and_counted() {
        let all: Vec<(&str, ArrayRef)> = vec![
            (
                "u",
                Arc::new(StringArray::from(vec![
                    Some("a"),
                    Some(" "),
                    Some("c"),
                    Some("NA"),
                    Some("e"),
                    Some("f"),
                ])),
            ),
            (
                "i",
                Arc::new(Float64Array::from(vec![
                    Some(1.0),
                    Some(2.0),
                    None,
                    Some(4.0),
                    Some(5.0),
                    Some(6.0),
                ])),
            ),
            ("r", Arc::new(Float32Array::from(vec![1.0, f32::NAN, 3.0, 4.0, f32::NAN, 6.0]))),
            ("t", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5, -1]))),
        ];
        let strict = columns().text_users();
        assert_eq!(
            read_with(&strict, &all).unwrap_err().to_string(),
            "input, line 2, column u: expected a key, found \" \""
        );
        let data = read_with(&strict.skip_missing().missing_words(["NA", "nan", "-1"]), &all).unwrap();
        assert_eq!((data.n_skipped(), data.interactions().len()), (5, 1));
        assert_eq!(data.users().key(0), Some(Key::Text("a")));
        let of_words = columns().text_users().missing_words(["NA"]).skip_missing();
        let found = read_with(&of_words, &all).unwrap_err().to_string();
        assert_eq!(found, "input, line 5, column r: expected a finite number, found NaN");
        let none = NullArray::new(2);
        assert!(
            error(&columns(), "u", none.clone()).ends_with(
                "line 1, column u: expected a whole number (or a column declared text), found null"
            )
        );
        let found = error(&columns().skip_missing(), "u", none);
        assert_eq!(found, "input: expected at least one row, found 2 rows that miss something");
    }

    /// Lists of items of three users, two of them without an item.
    fn lists() -> ListArray {
        ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(50), Some(51)]),
            None,
            Some(vec![]),
            Some(vec![Some(51), Some(50), Some(52)]),
        ])
    }

    fn rows(data: &Dataset) -> Vec<(String, String, f32, i64)> {
        let key = |vocab: &Vocab, id: u32| vocab.key(id).unwrap().to_string();
        let row = |row: crate::data::Interaction| {
            (key(data.users(), row.user.0), key(data.items(), row.item.0), row.value, row.timestamp)
        };
        data.interactions().iter().map(row).collect()
    }

    fn row(user: &str, item: &str, value: f32, time: i64) -> (String, String, f32, i64) {
        (user.to_owned(), item.to_owned(), value, time)
    }

    #[test]
    fn lists_of_items_become_rows() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "a"]));
        let of = |items: ArrayRef| batch(vec![("u", texts.clone()), ("i", items)]);
        let pairs = ColumnMap::new("u", "i").text_users();
        let data = read_record_batches([of(Arc::new(lists()))], &pairs).unwrap();
        let expected = [("50", 0), ("51", 1), ("51", 2), ("50", 3), ("52", 4)]
            .map(|(item, time)| row("a", item, 1.0, time));
        assert_eq!((rows(&data), data.n_skipped()), (expected.to_vec(), 2));
        let inner = |field: Field| Arc::new(field);
        let item = || inner(Field::new_list_field(DataType::Int64, true));
        for other in
            [DataType::LargeList(item()), DataType::ListView(item()), DataType::LargeListView(item())]
        {
            let items = arrow::compute::cast(&lists(), &other).unwrap();
            assert_eq!(read_record_batches([of(items)], &pairs).unwrap(), data, "{other}");
        }
        let halves = of(Arc::new(lists()));
        let halves = [halves.slice(0, 3), halves.slice(3, 1)];
        assert_eq!(read_record_batches(halves, &pairs).unwrap(), data);
        let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
            [Some(vec![Some(5), Some(6)]), None, Some(vec![Some(6), Some(7)]), None],
            2,
        );
        let data = read_record_batches([of(Arc::new(fixed))], &pairs).unwrap();
        assert_eq!((data.interactions().len(), data.n_skipped()), (4, 2));
        assert_eq!(data.users().keys().map(|key| key.to_string()).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn values_and_times_beside_lists_are_lists_or_repeated() {
        let lists_of = |lists: [Option<Vec<f32>>; 4]| -> ArrayRef {
            let lists = lists.map(|list| list.map(|list| list.into_iter().map(Some).collect::<Vec<_>>()));
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists))
        };
        let ratings = lists_of([Some(vec![1.0, 2.0]), None, Some(vec![]), Some(vec![3.0, 4.0, 5.0])]);
        let items: ArrayRef = Arc::new(lists());
        let data = read_with(&columns(), &[("i", items.clone()), ("r", ratings)]).unwrap();
        assert_eq!(
            rows(&data),
            [
                row("1", "50", 1.0, 1),
                row("1", "51", 2.0, 1),
                row("4", "51", 3.0, 4),
                row("4", "50", 4.0, 4),
                row("4", "52", 5.0, 4)
            ]
        );
        let short = lists_of([Some(vec![1.0, 2.0]), None, None, Some(vec![3.0, 4.0])]);
        assert_eq!(
            read_with(&columns(), &[("i", items.clone()), ("r", short)]).unwrap_err().to_string(),
            "input, line 4, column r: expected 3 values, one for each item, found 2"
        );
        let without = lists_of([None, None, None, Some(vec![3.0, 4.0, 5.0])]);
        let with = [("i", items), ("r", without)];
        assert_eq!(
            read_with(&columns(), &with).unwrap_err().to_string(),
            "input, line 1, column r: expected a number, found null"
        );
        let data = read_with(&columns().skip_missing(), &with).unwrap();
        assert_eq!((data.interactions().len(), data.n_skipped()), (3, 4));
        let alone: ArrayRef = Arc::new(lists());
        let found = read_with(&columns(), &[("r", alone.clone())]).unwrap_err().to_string();
        assert!(found.ends_with("(lists stand beside lists of items only)"), "{found}");
        assert!(read_with(&columns(), &[("u", alone.clone()), ("i", alone)]).is_err());
    }

    #[test]
    fn an_element_of_a_list_that_is_missing_or_wrong_has_its_row() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(50)]),
            Some(vec![Some(51), None, Some(-1)]),
        ]);
        let pairs = ColumnMap::new("u", "i");
        let rows = batch(vec![("u", Arc::new(Int64Array::from(vec![1, 2]))), ("i", Arc::new(lists))]);
        let message =
            |columns: &ColumnMap| read_record_batches([rows.clone()], columns).unwrap_err().to_string();
        let key = "input, line 2, column i: expected a whole number (or a column declared text), found";
        assert_eq!(message(&pairs), format!("{key} null"));
        assert_eq!(message(&pairs.clone().skip_missing()), format!("{key} -1"));
        let data = read_record_batches([rows], &pairs.skip_missing().missing_words(["-1"])).unwrap();
        assert_eq!((data.interactions().len(), data.n_skipped()), (2, 2));
    }

    #[test]
    fn long_lists_are_cut_and_long_keys_beside_them_fewer_at_once() {
        let n = 70_000;
        let items = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some((0..n).map(Some)),
            Some((0..3).map(Some)),
        ]);
        let names: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 14), "y".to_owned()]));
        let rows = batch(vec![("u", names), ("i", Arc::new(items))]);
        let data = read_record_batches([rows], &ColumnMap::new("u", "i").text_users()).unwrap();
        assert_eq!((data.interactions().len(), data.n_users()), (n as usize + 3, 2));
        assert_eq!(data.interactions().timestamps()[n as usize - 1..], [n - 1, 0, 1, 2]);
    }
}
