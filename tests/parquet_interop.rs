//! Parquet files of this crate in pyarrow and polars, and files of pyarrow here.
#![cfg(feature = "parquet")]

use std::path::Path;
use std::process::Command;

use recsys::data::{read_parquet, write_parquet};
use recsys::prelude::*;

fn row(data: &Dataset, row: Interaction) -> (String, String, f32, i64) {
    let (user, item) = (data.users().key(row.user.0).unwrap(), data.items().key(row.item.0).unwrap());
    (user.to_string(), item.to_string(), row.value, row.timestamp)
}

/// `tests/data/make_pyarrow.py` says what the file holds.
#[test]
fn a_file_of_pyarrow_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pyarrow.parquet");
    let columns = ColumnMap::new("user", "item").value("rating").timestamp("time").text_items();
    let data = read_parquet(path, &columns).unwrap();
    assert_eq!((data.interactions().len(), data.n_users(), data.n_items()), (60, 6, 7));
    for (n, found) in (0..60).zip(data.interactions().iter()) {
        let user = (n * n % 11 + (1_i64 << 40)).to_string();
        let expected = (user, format!("film {}", n % 7), (n % 10) as f32 / 2.0, n);
        assert_eq!(row(&data, found), expected);
    }
}

#[test]
#[ignore = "needs a Python with pyarrow and polars: set RECSYS_PYTHON to it"]
fn pyarrow_and_polars_read_what_is_written_here_and_the_reverse() {
    let python =
        std::env::var_os("RECSYS_PYTHON").expect("RECSYS_PYTHON names a Python with pyarrow and polars");
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours.parquet"), folder.path().join("theirs.parquet"));
    let text: String = (0..100_000_u64)
        .map(|n| format!("{},Bücher {},{},{}\n", n * n % 1009, n % 313, n as f64 / 8.0, 7 * n))
        .collect();
    let columns = ColumnMap::new(1, 2).value(3).timestamp(4).text_items();
    let data = DelimitedReader::new(columns).without_header().read_from(text.as_bytes()).unwrap();
    write_parquet(&data, &ours).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet_interop.py");
    let output = Command::new(python).arg(script).args([&ours, &theirs]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut n_rows = 0;
    for (line, found) in String::from_utf8(output.stdout).unwrap().lines().zip(data.interactions().iter()) {
        let (user, item, value, time): (u64, String, f32, i64) = serde_json::from_str(line).unwrap();
        assert_eq!(row(&data, found), (user.to_string(), item, value, time));
        n_rows += 1;
    }
    assert_eq!(n_rows, data.interactions().len());

    let columns = ColumnMap::new("user", "item").value("value").timestamp("timestamp").text_items();
    assert!(read_parquet(&theirs, &columns).unwrap() == data);
}

/// Users, items, ratings and seconds of the rows that `tests/parquet_types.py` writes; `day` gives the start of the day.
fn expected(time: impl Fn(i64) -> i64) -> Vec<(i64, i64, f32, i64)> {
    (0..1000).map(|n| (n * n % 101, n % 31, (n % 10) as f32 / 2.0, time(n))).collect()
}

/// 2024-01-01.
const START: i64 = 1_704_067_200;

fn seconds(n: i64) -> i64 {
    START + n
}

fn day(n: i64) -> i64 {
    START + n / 100 * 86_400
}

/// The rows of a data set, whose items may be called `film 7`.
fn rows(data: &Dataset) -> Vec<(i64, i64, f32, i64)> {
    let number = |key: String| key.trim_start_matches("film ").parse::<i64>().unwrap();
    let rows = data.interactions().iter().map(|found| row(data, found));
    rows.map(|(user, item, value, time)| (number(user), number(item), value, time)).collect()
}

fn sorted(mut rows: Vec<(i64, i64, f32, i64)>) -> Vec<(i64, i64, f32, i64)> {
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    rows
}

#[test]
#[ignore = "needs a Python with pandas, polars and pyarrow: set RECSYS_PYTHON to it"]
fn types_and_folders_of_pandas_polars_and_pyarrow_are_read() {
    let python = std::env::var_os("RECSYS_PYTHON").expect("RECSYS_PYTHON names a Python with these packages");
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet_types.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str, columns: &ColumnMap| read_parquet(folder.path().join(name), columns);

    let columns = ColumnMap::new("user", "item").value("rating").timestamp("time").text_items();
    let error = read("pandas.parquet", &columns).unwrap_err().to_string();
    assert!(error.contains("line 4, column user: expected a whole number"), "{error}");
    let data = read("pandas.parquet", &columns.clone().skip_missing()).unwrap();
    let with_user: Vec<_> =
        (0..).zip(expected(seconds)).filter(|(n, _)| n % 7 != 3).map(|(_, row)| row).collect();
    assert_eq!((rows(&data), data.n_skipped()), (with_user, 143));

    let data = read("pyarrow.parquet", &columns).unwrap();
    assert_eq!(rows(&data), expected(day));
    let data = read("int96.parquet", &ColumnMap::new("user", "item").timestamp("time")).unwrap();
    let without_rating = |(user, item, _, time): (i64, i64, f32, i64)| (user, item, 1.0, time);
    assert_eq!(rows(&data), expected(seconds).into_iter().map(without_rating).collect::<Vec<_>>());

    // The rows of a user one behind another, each with its place as time.
    let data = read("polars.parquet", &ColumnMap::new("user", "items").value("ratings")).unwrap();
    let mut of_users = vec![Vec::new(); 101];
    for (user, item, rating, _) in expected(seconds) {
        let place = of_users[user as usize].len() as i64;
        of_users[user as usize].push((user, item, rating, place));
    }
    assert_eq!(sorted(rows(&data)), sorted(of_users.concat()));
    assert_eq!(data.interactions().timestamps()[..2], [0, 1]);

    let days = ColumnMap::new("user", "item").timestamp("day");
    let by_day = sorted(expected(day).into_iter().map(without_rating).collect());
    for name in ["dataset", "polars_dataset"] {
        assert_eq!(sorted(rows(&read(name, &days).unwrap())), by_day, "{name}");
    }
    let shops = ColumnMap::new("shop", "item").text_users().skip_missing();
    let data = read("dataset", &shops).unwrap();
    assert_eq!((data.n_skipped(), data.interactions().len()), (200, 800));
    assert!((1..5).all(|n| data.users().id(format!("é/{n} %").as_str()).is_some()), "{:?}", data.users());
}

/// What polars writes by default is read with the Cargo feature `zstd`, and without it the error names the
/// feature.
#[test]
fn a_file_of_polars_needs_zstd() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/polars_zstd.parquet");
    let read = read_parquet(&path, &ColumnMap::new("user", "item").value("value").timestamp("timestamp"));
    if cfg!(feature = "zstd") {
        let data = read.unwrap();
        assert_eq!(data.items().keys().map(|key| key.to_string()).collect::<Vec<_>>(), ["5", "6", "7"]);
        assert_eq!(data.interactions().values(), [1.0, 2.0, 3.0]);
    } else {
        let error = read.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::FeatureDisabled { feature: "zstd", .. }), "{error}");
    }
}
