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
        let expected = (user, format!("film {}", n % 7), (n % 10) as f32 / 2.0, 1000 * n);
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
