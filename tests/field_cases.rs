//! What people bring, in small: each case was a report of rows lost without a word, of memory, of a misleading message or
//! of a form that was not read. The files of `tests/data/field_cases` are made by hand.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use recsys::data::ItemListReader;
use recsys::features::{Column, DelimitedTables, FeatureEncoder, ItemFeatures, JsonTables, Schema, Table};
use recsys::metrics::{DatasetFacts, Experiment, HeldOut, evaluate};
use recsys::models::recall::PopularityRecaller;
use recsys::prelude::*;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/field_cases").join(name)
}

fn columns() -> ColumnMap {
    ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp")
}

fn csv(columns: ColumnMap, text: &str) -> Result<Dataset> {
    DelimitedReader::new(columns).read_from(text.as_bytes())
}

fn json(columns: ColumnMap, text: &str) -> Result<Dataset> {
    JsonLinesReader::new(columns).read_from(text.as_bytes())
}

fn tables(reader: &DelimitedTables, text: &str, columns: &[&str]) -> Result<Vec<Table>> {
    reader.read_from(text.as_bytes(), columns)?.collect()
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("nothing was refused"),
        Err(error) => error.to_string(),
    }
}

/// The message without the folder of the file.
fn short(error: String) -> String {
    let start = error
        .find(".csv")
        .or_else(|| error.find(".tsv"))
        .map_or(0, |end| error[..end].rfind('/').map_or(0, |at| at + 1));
    error[start..].to_owned()
}

mod silent_loss {
    use super::*;

    #[test]
    fn a_first_line_longer_than_a_block_is_an_error() {
        let long = format!("userId,movieId,rating,timestamp\n1,2,3,{}\n", "9".repeat(5 << 20));
        let text = long + &"7,8,9,10\n".repeat(1000);
        let expected = "input, line 2: expected lines of at most 4194304 bytes, found a longer one";
        assert_eq!(message(csv(columns(), &text)), expected);
        // A quotation mark somewhere before sends the rest the general way.
        let quoted = text.replacen("userId", "\"userId\"", 1);
        assert_eq!(message(csv(columns(), &quoted)), expected);
        assert_eq!(message(tables(&DelimitedTables::default(), &text, &["rating"])), expected);
        let object = format!("{{\"userId\": 1, \"x\": \"{}\"}}\n", "x".repeat(5 << 20));
        let found = message(json(ColumnMap::new("userId", "movieId"), &format!("\n{object}")));
        assert_eq!(found, expected);
        let list =
            DelimitedReader::item_lists().read_from(format!("1 2\n{}", "3 ".repeat(3 << 20)).as_bytes());
        assert_eq!(message(list), expected);
    }

    #[test]
    fn records_of_several_lines_are_read_across_blocks() {
        let note = "\"two\nlines, \"\"quoted\"\"\"";
        let row = |row: usize| {
            format!(
                "{},{},4.5,{row},{}\n",
                row % 977,
                row % 89,
                if row.is_multiple_of(3) { note } else { "x" }
            )
        };
        let n_rows = 400_000;
        let text = (0..n_rows)
            .map(row)
            .fold("userId,movieId,rating,timestamp,note\n".to_owned(), |text, row| text + &row);
        assert!(text.len() > 9 << 20);
        let data = csv(columns(), &text).unwrap();
        let times: Vec<i64> = (0..n_rows as i64).collect();
        assert!(data.interactions().timestamps() == times);
        let n_lines = text.lines().count();
        let found = message(csv(columns(), &format!("{text}1,2,3,4,\"5\"6\n")));
        assert!(
            found.starts_with(&format!("input, line {}: expected a delimiter or the end", n_lines + 1)),
            "{found}"
        );
        let found = message(csv(columns(), &format!("{text}1,2,3,4,\"5\n")));
        let expected = format!(
            "input, line {}: expected a quotation mark that closes the field, found none",
            n_lines + 1
        );
        assert_eq!(found, expected);
        // A mark that none closes takes all that follows.
        let found = message(csv(
            columns(),
            &format!("userId,movieId,rating,timestamp,note\n1,2,3,4,\"5\n{}", "1,2,3,4,5\n".repeat(1 << 20)),
        ));
        assert!(found.starts_with("input, line 2: expected a record of at most 4194304 bytes"), "{found}");
    }

    #[test]
    fn text_behind_a_closing_quotation_mark_is_an_error() {
        let expected = "stray-quote.tsv, line 2: expected a delimiter or the end of the line behind the quotation mark \
                        that closes a field (or a reader `without_quoting`), found \"Great Hill\"";
        let reader =
            DelimitedReader::new(ColumnMap::new("user", "item").text_users().text_items()).delimiter("\t");
        assert_eq!(short(message(reader.read(case("stray-quote.tsv")))), expected);
        let data = reader.without_quoting().read(case("stray-quote.tsv")).unwrap();
        assert_eq!(data.interactions().len(), 5);

        let reader = DelimitedTables::default().delimiter(b'\t');
        let read = |reader: &DelimitedTables| -> Result<Vec<Table>> {
            reader.read(case("stray-quote.tsv"), &["title"])?.collect()
        };
        assert_eq!(short(message(read(&reader))), expected);
        let titles = read(&reader.without_quoting()).unwrap();
        let expected = ["\"Deep Sea", "Plain", "Plain", "\"Great Hill", "Plain"];
        assert_eq!(titles[0].column("title"), Some(&Column::texts(expected)));
    }

    #[test]
    fn carriage_returns_alone_end_lines() {
        let data = DelimitedReader::new(columns()).read(case("cr-only.csv")).unwrap();
        assert_eq!(data.interactions().timestamps(), [100, 200, 300]);
        let read = DelimitedTables::default().read(case("cr-only.csv"), &["movieId"]).unwrap();
        let found: Vec<Table> = read.collect::<Result<_>>().unwrap();
        assert_eq!(found[0].column("movieId"), Some(&Column::texts(["10", "11", "12"])));
    }

    #[test]
    fn a_header_without_rows_is_an_error() {
        let expected = "input: expected at least one row, found the end of the file";
        for text in [
            "userId,movieId,rating,timestamp\n",
            "userId,movieId,rating,timestamp",
            "\"userId\",movieId,rating,timestamp\r\n\r\n",
        ] {
            assert_eq!(message(csv(columns(), text)), expected);
            assert_eq!(message(tables(&DelimitedTables::default(), text, &["movieId"])), expected);
        }
        assert_eq!(message(json(columns(), "\n")), expected);
    }

    #[test]
    fn an_empty_key_is_no_user() {
        let texts = columns().text_users();
        let found = message(DelimitedReader::new(texts.clone()).read(case("empty-user-ids.csv")));
        assert_eq!(short(found), "empty-user-ids.csv, line 2, column userId: expected a key, found \"\"");
        let skipping = DelimitedReader::new(texts.skip_missing()).read(case("empty-user-ids.csv")).unwrap();
        let n_rows = fs::read_to_string(case("empty-user-ids.csv")).unwrap().lines().count() - 1;
        assert_eq!(skipping.interactions().len() + skipping.n_skipped() as usize, n_rows);
        assert!(skipping.n_skipped() > 0 && skipping.users().id("").is_none());
        let object = r#"{"userId": "", "movieId": 1}"#;
        let found = message(json(ColumnMap::new("userId", "movieId").text_users(), object));
        assert_eq!(found, "input, line 1, column userId: expected a key, found \"\"");
    }

    #[test]
    fn lists_of_items_are_not_read_as_their_first() {
        let text = "1 10 11 12 13\n2 11 14 15 16\n";
        let pairs = DelimitedReader::new(ColumnMap::new(1, 2)).without_header().delimiter(" ");
        let found = message(pairs.read_from(text.as_bytes()));
        assert!(
            found.starts_with("input, line 1: expected 2 columns (more: ColumnMap::n_columns;"),
            "{found}"
        );
        assert!(found.contains("DelimitedReader::item_lists"), "{found}");
        let lists: ItemListReader = DelimitedReader::item_lists();
        let ordered = lists.read_from(text.as_bytes()).unwrap();
        assert_eq!(ordered.interactions().timestamps(), [0, 1, 2, 3, 0, 1, 2, 3]);
        let unordered = lists.unordered().read_from(text.as_bytes()).unwrap();
        assert_eq!((unordered.interactions().len(), unordered.interactions().timestamps()[7]), (8, 0));
    }

    /// 200 users, 60 of whom have three rows, and the others two.
    fn mostly_short() -> Interactions {
        let row = |(user, item): (u32, u32)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp: i64::from(item),
        };
        let rows =
            (0..260u32).flat_map(|user| (0..if user < 60 { 3 } else { 3 - 1 }).map(move |item| (user, item)));
        Interactions::from_rows(260, 3, rows.map(row)).unwrap()
    }

    #[test]
    fn a_report_says_what_the_split_dropped_and_who_has_no_history_or_answer() {
        let experiment = |rows: &Interactions| Experiment {
            protocol: "leave one out".into(),
            dataset: DatasetFacts::new("made up", rows),
            model: "popularity".into(),
            loss: None,
            seed: 1,
        };
        let rows = mostly_short();
        let split = Split::leave_one_out(&rows);
        let held_out = HeldOut::test(&split).unwrap();
        let evaluation = evaluate(&PopularityRecaller::fit(&split.train), &held_out, &[1]).unwrap();
        let report = evaluation.report(experiment(&rows)).unwrap();
        assert!(report.to_string().contains("400 of 580 rows"), "{report}");
        let saved = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&saved["dropped_rows"]["number"], &saved["dropped_rows"]["of"]),
            (&400.into(), &580.into())
        );

        // Users whose first row is behind the cut have no history.
        let row = |user, item, timestamp| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        };
        let late = (1..53).map(|user| row(user, 1, 9));
        let rows = Interactions::from_rows(
            80,
            2,
            (0..80)
                .filter(|user| !(1..53).contains(user))
                .map(|user| row(user, 0, 1))
                .chain(late)
                .chain((53..80).map(|user| row(user, 1, 9))),
        )
        .unwrap();
        let split = Split::at_times(&rows, 5, 5).unwrap();
        let held_out = HeldOut::test(&split).unwrap();
        let evaluation = evaluate(&PopularityRecaller::fit(&split.train), &held_out, &[1]).unwrap();
        assert_eq!(evaluation.users_without_history(), Some(52));
        assert!(
            evaluation
                .report(experiment(&rows))
                .unwrap()
                .to_string()
                .contains("52 of 79 users have no history")
        );
    }

    #[test]
    fn the_share_of_unseen_values_is_told() {
        let schema = Schema::from_json(
            r#"{"fields": [{"name": "user", "kind": {"categorical": {"vocabulary": {}}}},
                           {"name": "item", "kind": {"categorical": {"vocabulary": {}}}}],
                "labels": [{"column": "label"}]}"#,
        )
        .unwrap();
        let read = |name| DelimitedTables::default().read(case(name), &schema.columns()).unwrap();
        let encoder = FeatureEncoder::fit(schema.clone(), read("oov-train.csv")).unwrap();
        let table = read("oov-test.csv").next().unwrap().unwrap();
        let shares = encoder.unseen(&encoder.encode(&table).unwrap()).unwrap();
        let user = shares.iter().find(|share| share.field == "user").unwrap();
        assert_eq!((user.n_unseen, user.n_values), (table.n_rows(), table.n_rows()));
    }
}

mod memory {
    use super::*;

    fn gzip_of(byte: u8, len: u64) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::copy(&mut std::io::repeat(byte).take(len), &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    type ReadAny = fn(&mut (dyn Read + Send)) -> Result<()>;

    /// All readers of text, and what they need before the line.
    const READERS: [(&str, &str, ReadAny); 6] = [
        ("a row", "userId,movieId,rating,timestamp\n", |text| {
            DelimitedReader::new(columns()).read_from(text).map(drop)
        }),
        ("a record", "\"userId\",movieId,rating,timestamp\n\"", |text| {
            DelimitedReader::new(columns()).read_from(text).map(drop)
        }),
        ("a table", "a,b\n", |text| {
            DelimitedTables::default().read_from(text, &["a"])?.try_for_each(|table| table.map(drop))
        }),
        ("a quoted table", "a,b\n\"", |text| {
            DelimitedTables::default().read_from(text, &["a"])?.try_for_each(|table| table.map(drop))
        }),
        ("an object", "{\"userId\": \"", |text| JsonLinesReader::new(columns()).read_from(text).map(drop)),
        ("a table of objects", "{\"a\": \"", |text| {
            JsonTables::default().read_from(text, &["a"])?.try_for_each(|table| table.map(drop))
        }),
    ];

    const JOB: &str = "RECSYS_FIELD_CASES_JOB";

    /// The most memory that this process has held, in bytes.
    #[cfg(target_os = "linux")]
    fn peak() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// The child process of the next test: reads a line of 1 GiB, plain and gzip, and says what it took.
    #[test]
    #[ignore = "the child process of another test"]
    #[cfg(target_os = "linux")]
    fn child() {
        let Ok(job) = std::env::var(JOB) else { return };
        let (_, before, read) = READERS[job.parse::<usize>().unwrap()];
        let start = peak();
        let mut plain = before.as_bytes().chain(std::io::repeat(b'x').take(1 << 30));
        let plain = message(read(&mut plain));
        let zipped = fs::read(std::env::var("RECSYS_FIELD_CASES_BOMB").unwrap()).unwrap();
        let mut head = GzEncoder::new(Vec::new(), Compression::fast());
        head.write_all(before.as_bytes()).unwrap();
        // A gzip file may have several members.
        let head = head.finish().unwrap();
        let zipped = message(read(&mut head.chain(&zipped[..])));
        println!(
            "TOOK {} {} {}",
            peak() - start,
            plain.contains("at most 4194304"),
            zipped.contains("at most 4194304")
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_line_of_a_gigabyte_is_an_error_within_64_megabytes() {
        let folder = tempfile::tempdir().unwrap();
        let bomb = folder.path().join("bomb.gz");
        fs::write(&bomb, gzip_of(b'x', 1 << 30)).unwrap();
        for (job, (name, _, _)) in READERS.iter().enumerate() {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture", "memory::child"])
                .env(JOB, job.to_string())
                .env("RECSYS_FIELD_CASES_BOMB", &bomb)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let took = text
                .lines()
                .find_map(|line| line.split_once("TOOK "))
                .unwrap_or_else(|| panic!("{name}: {text}"))
                .1;
            let words: Vec<&str> = took.split(' ').collect();
            assert_eq!(words[1..], ["true", "true"], "{name}: {text}");
            assert!(words[0].parse::<u64>().unwrap() < 64 << 20, "{name}: {took} bytes");
        }
    }

    #[test]
    fn excerpts_in_messages_are_cut_and_escaped() {
        let key = format!("\u{1b}[31m{}", "x".repeat(100_000));
        let found = message(csv(ColumnMap::new("u", "i"), &format!("u,i\n{key},1\n")));
        assert!(found.len() < 1000 && !found.contains('\u{1b}') && found.contains("\\u{1b}[31m"), "{found}");
        let found = message(json(
            ColumnMap::new("u", "i"),
            &format!("{{\"u\": \"{}\", \"i\": 1}}\n", "y".repeat(100_000)),
        ));
        assert!(found.len() < 1000, "{found}");
    }
}

mod formats {
    use super::*;

    fn times(column: ColumnMap, times: &[&str]) -> Result<Vec<i64>> {
        let rows =
            times.iter().enumerate().map(|(row, time)| format!("{row};7;{time}\n")).collect::<String>();
        let reader = DelimitedReader::new(column).delimiter(";");
        Ok(reader.read_from(format!("u;i;t\n{rows}").as_bytes())?.interactions().timestamps().to_vec())
    }

    fn timed() -> ColumnMap {
        ColumnMap::new("u", "i").timestamp("t")
    }

    #[test]
    fn times_in_the_forms_of_spark_pandas_amazon_and_yelp() {
        let noon = 1_704_283_200;
        let forms = [
            "1704283200",
            "1704283200.0",
            "1.7042832e9",
            "2024-01-03T12:00:00Z",
            "2024-01-03 12:00:00",
            "2024-01-03T14:00:00+02:00",
            "2024-01-03 12:00:00.000 UTC",
        ];
        assert_eq!(times(timed(), &forms).unwrap(), vec![noon; forms.len()]);
        assert_eq!(times(timed(), &["2024-01-03"]).unwrap(), [noon - 12 * 3600]);
        let millis = timed().time_unit(TimeUnit::Milliseconds);
        let forms = ["1704283200123", "2024-01-03T12:00:00.123Z"];
        assert_eq!(times(millis, &forms).unwrap(), vec![noon * 1000 + 123; 2]);
        let found = message(times(timed(), &["2024-01-03T12:00:00.123Z"]));
        assert!(found.starts_with("input, line 2, column t: expected a time in whole seconds"), "{found}");
        assert_eq!(times(timed().datetime("%m %d, %Y"), &["01 3, 2024"]).unwrap(), [noon - 12 * 3600]);
        let found = message(times(timed().datetime("%Y"), &["noon"]));
        assert_eq!(found, "input, line 2, column t: expected a time of the form \"%Y\", found \"noon\"");
        let object = r#"{"u": 1, "i": 2, "t": "2024-01-03T12:00:00Z"}"#;
        assert_eq!(json(timed(), object).unwrap().interactions().timestamps(), [noon]);
    }

    #[test]
    fn json_lines_of_amazon_and_yelp() {
        let amazon = r#"{"reviewerID": "A2X", "asin": "0151004714", "overall": 5.0, "reviewText": "Good \"book\"", "unixReviewTime": 1353612262}"#;
        let columns = ColumnMap::new("reviewerID", "asin").value("overall").timestamp("unixReviewTime");
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        zipped.write_all(amazon.as_bytes()).unwrap();
        let reader = JsonLinesReader::new(columns.text_users().text_items());
        let data = reader.read_from(&zipped.finish().unwrap()[..]).unwrap();
        assert_eq!(data, reader.read_from(amazon.as_bytes()).unwrap());
        assert_eq!(
            (data.items().key(0), data.interactions().timestamps()),
            (Some(Key::Text("0151004714")), &[1_353_612_262][..])
        );

        let yelp = r#"{"review_id": "x", "user": {"id": "u1"}, "business_id": "b1", "stars": 3.0, "date": "2018-07-07 22:09:11"}"#;
        let columns = ColumnMap::new("user.id", "business_id").value("stars").timestamp("date");
        let data = json(columns.text_users().text_items(), yelp).unwrap();
        assert_eq!(data.interactions().timestamps(), [1_531_001_351]);
        let business = r#"{"business_id": "b1", "categories": ["Food", "Bars"], "attributes": {"WiFi": "free"}, "stars": 4.5}"#;
        let tables = JsonTables::default().lists(["categories"]);
        let table =
            tables.read_from(business.as_bytes(), &["attributes.WiFi", "categories", "stars"]).unwrap();
        let table = table.collect::<Result<Vec<_>>>().unwrap().remove(0);
        assert_eq!(table.column("categories"), Some(&Column::text_lists([vec!["Food", "Bars"]])));
        assert_eq!(table.column("attributes.WiFi"), Some(&Column::texts(["free"])));
    }

    #[test]
    fn atomic_files_of_recbole() {
        let text = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t50\t4.0\t978300760.0\n";
        let columns = ColumnMap::new("user_id", "item_id").value("rating").timestamp("timestamp");
        let reader = DelimitedReader::new(columns).delimiter("\t");
        let data = reader.read_from(text.as_bytes()).unwrap();
        assert_eq!((data.users().id(7), data.interactions().timestamps()), (Some(0), &[978_300_760][..]));
        let tables = tables(&DelimitedTables::default().delimiter(b'\t'), text, &["item_id"]).unwrap();
        assert_eq!(tables[0].column("item_id"), Some(&Column::texts(["50"])));
    }

    #[test]
    fn escapes_and_missing_words_of_spark_and_hive() {
        let text = "u,i,title\na,x,\"say \\\"hi\\\"\"\nb,\\N,plain\n\\N,x,plain\n";
        let columns = || ColumnMap::new("u", "i").text_users().text_items().missing_words(["\\N"]);
        let reader = |columns| DelimitedReader::new(columns).escape(b'\\');
        let found = message(reader(columns()).read_from(text.as_bytes()));
        assert_eq!(found, "input, line 3, column i: expected a key, found \"\\\\N\"");
        let data = reader(columns().skip_missing()).read_from(text.as_bytes()).unwrap();
        assert_eq!((data.interactions().len(), data.n_skipped()), (1, 2));
        let spark = DelimitedTables::default().escape(b'\\').missing_words(["\\N"]);
        let tables = tables(&spark, text, &["title", "i"]).unwrap();
        assert_eq!(tables[0].column("title"), Some(&Column::texts(["say \"hi\"", "plain", "plain"])));
        assert_eq!(tables[0].column("i"), Some(&Column::texts([Some("x"), None, Some("x")])));
    }

    #[test]
    fn events_and_truth_values_are_values() {
        let columns = ColumnMap::new("u", "i").value("v");
        let text = "u,i,v\n1,1,True\n1,2,false\n1,3,0.5\n";
        assert_eq!(csv(columns.clone(), text).unwrap().interactions().values(), [1.0, 0.0, 0.5]);
        let columns = columns.events([("view", 1.0), ("transaction", 4.0)]);
        let text = "u,i,v\n1,1,view\n1,2,transaction\n";
        assert_eq!(csv(columns.clone(), text).unwrap().interactions().values(), [1.0, 4.0]);
        let found = message(csv(columns, "u,i,v\n1,1,addtocart\n"));
        assert_eq!(
            found,
            "input, line 2, column v: expected an event of ColumnMap::events: view, transaction, found \"addtocart\""
        );
    }

    #[test]
    fn ids_that_pandas_made_floats_are_whole_numbers() {
        let data = csv(ColumnMap::new("u", "i"), "u,i\n7.0,50\n7,51.0\n").unwrap();
        assert_eq!((data.n_users(), data.users().id(7), data.items().id(51)), (1, Some(0), Some(1)));
        let found = message(csv(ColumnMap::new("u", "i"), "u,i\n7.5,50\n"));
        assert_eq!(
            found,
            "input, line 2, column u: expected a whole number (or a column declared text), found \"7.5\""
        );
    }

    #[test]
    fn words_of_every_script_stay_whole() {
        let words = |texts: &[&str]| ItemFeatures::words(texts);
        let decomposed = words(&["Am\u{e9}lie", "AME\u{301}LIE", "ame\u{301}lie"]);
        assert_eq!((decomposed.n_features(), decomposed.get(ItemId(1))), (1, Some(&[0][..])));
        // "Hindi language", two words; "Thai" and "language".
        assert_eq!(words(&["हिन्दी भाषा"]).n_features(), 2);
        assert_eq!(words(&["ภาษาไทย"]).n_features(), 2);
    }
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array,
        ListArray, StringArray,
    };
    use arrow::datatypes::Int64Type;
    use arrow::record_batch::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;
    use recsys::data::read_parquet;

    use super::*;

    fn write(path: &Path, compression: Compression, columns: Vec<(&str, ArrayRef)>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        );
        let batch = batch.unwrap();
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    /// The data set of a file with the columns `u`, `i` and `t`.
    fn read(columns: &ColumnMap, compression: Compression, of: [ArrayRef; 3]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let [u, i, t] = of;
        write(&path, compression, vec![("u", u), ("i", i), ("t", t)]);
        read_parquet(&path, columns)
    }

    fn timed() -> ColumnMap {
        ColumnMap::new("u", "i").timestamp("t")
    }

    #[test]
    fn ids_are_floats_decimals_and_bytes_and_times_are_days() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![19_725, 0]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![7.0, 9.0]));
        let decimals = Decimal128Array::from(vec![5000, 5100]).with_precision_and_scale(10, 2).unwrap();
        for compression in [Compression::SNAPPY, Compression::LZ4_RAW, Compression::UNCOMPRESSED] {
            let data = read(
                &timed(),
                compression,
                [Arc::clone(&floats), Arc::new(decimals.clone()), Arc::clone(&days)],
            )
            .unwrap();
            assert_eq!((data.users().id(9), data.items().id(51)), (Some(1), Some(1)));
            assert_eq!(data.interactions().timestamps(), [19_725 * 86_400, 0]);
        }
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"u1"[..], "é".as_bytes()]));
        let fixed: ArrayRef =
            Arc::new(FixedSizeBinaryArray::try_from_iter([[0xab, 1], [0xcd, 2]].iter()).unwrap());
        let texts = timed().text_users().text_items();
        let data = read(&texts, Compression::SNAPPY, [bytes, fixed, days]).unwrap();
        assert_eq!((data.users().id("é"), data.items().id("cd02")), (Some(1), Some(1)));
        let halves: ArrayRef = Arc::new(Float64Array::from(vec![7.0, 9.5]));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let found = message(read(&timed(), Compression::SNAPPY, [halves, Arc::clone(&ints), ints]));
        assert!(
            found.contains("x.parquet, line 2, column u: expected a whole number")
                && found.ends_with("found 9.5"),
            "{found}"
        );
    }

    #[test]
    fn lists_of_one_users_items_are_rows() {
        let lists = [Some(vec![Some(10), Some(11), Some(12)]), Some(vec![]), Some(vec![Some(11)])];
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let users: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 1]));
        let data =
            read(&ColumnMap::new("u", "i"), Compression::SNAPPY, [Arc::clone(&users), lists, users]).unwrap();
        assert_eq!((data.interactions().timestamps(), data.n_skipped()), (&[0, 1, 2, 3][..], 1));
    }

    #[test]
    fn folders_of_parts_are_one_table() {
        let folder = tempfile::tempdir().unwrap();
        let part = |name: &str, users: Vec<i64>| {
            let column: ArrayRef = Arc::new(Int64Array::from(users));
            write(
                &folder.path().join(name),
                Compression::SNAPPY,
                vec![("u", Arc::clone(&column)), ("i", column)],
            );
        };
        part("day=2024-01-03/part-00000.snappy.parquet", vec![1, 2]);
        part("day=2024-01-04/part-00000.snappy.parquet", vec![3]);
        part("day=2024-01-05/part-00000.snappy.parquet", vec![]);
        fs::write(folder.path().join("_SUCCESS"), "").unwrap();
        let data = read_parquet(folder.path(), &ColumnMap::new("u", "i").timestamp("day")).unwrap();
        assert_eq!(data.interactions().timestamps(), [1_704_240_000, 1_704_240_000, 1_704_326_400]);
    }

    #[test]
    fn what_is_no_parquet_file_is_said_exactly() {
        let empty: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        let found =
            message(read(&timed(), Compression::SNAPPY, [Arc::clone(&empty), Arc::clone(&empty), empty]));
        assert!(
            found.ends_with("x.parquet: expected at least one row, found the end of the file"),
            "{found}"
        );
        let folder = tempfile::tempdir().unwrap();
        let found = message(read_parquet(folder.path(), &timed()));
        assert!(found.contains("expected a folder of files named *.parquet"), "{found}");
        let path = folder.path().join("ratings.csv");
        fs::write(&path, "u,i,t\n1,2,3\n").unwrap();
        let found = message(read_parquet(&path, &timed()));
        assert!(found.contains("ratings.csv: expected a Parquet file"), "{found}");
    }
}
