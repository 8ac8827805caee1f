//! What a reader makes of bad input: an error that says where, what was expected and what was found; never
//! a panic.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use recsys::features::{EncodedRows, FeatureSpace, ItemFeatures, TextEncoder, TextEncoderConfig};
use recsys::prelude::*;
use recsys::samplers::RankingNegatives;
use recsys::training::TrainingConfig;

fn columns() -> ColumnMap {
    ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp")
}

/// Writes `bytes` to a file of this name and gives the error of reading it, without the folder's name.
fn error_of(name: &str, bytes: &[u8], reader: &DelimitedReader) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    without_folder(&reader.read(&path).unwrap_err(), folder.path())
}

fn without_folder(error: &Error, folder: &Path) -> String {
    error.to_string().replace(&format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR), "")
}

fn csv_error(text: &str) -> String {
    error_of("r.csv", text.as_bytes(), &DelimitedReader::new(columns()))
}

const HEADER: &str = "userId,movieId,rating,timestamp\n";

fn row_error(row: &str) -> String {
    let plain = csv_error(&format!("{HEADER}1,2,3.5,4\n\n{row}\n5,6,7,8\n"));
    // A quotation mark in an earlier row sends the rest down the general path.
    let quoted = csv_error(&format!("{HEADER}\"1\",2,3.5,4\n\n{row}\n5,6,7,8\n"));
    assert_eq!(plain, quoted, "the fast and the general path disagree");
    plain
}

#[test]
fn a_missing_file() {
    let error = DelimitedReader::new(columns()).read("no/such/file.csv").unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Io { path, .. } if path == Path::new("no/such/file.csv")),
        "{error}"
    );
    let error = MovieLens::Ml1m.read("no/such/folder").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { path, .. } if path.ends_with("ratings.dat")), "{error}");
}

#[test]
fn an_empty_file() {
    assert_eq!(csv_error(""), "r.csv, line 1: expected a header line, found the end of the file");
    assert_eq!(csv_error("\n\r\n"), "r.csv, line 1: expected a header line, found the end of the file");
    let reader = DelimitedReader::new(ColumnMap::new(1, 2)).without_header();
    assert_eq!(
        error_of("r", b"", &reader),
        "r, line 1: expected at least one row, found the end of the file"
    );
    assert_eq!(csv_error(HEADER), "r.csv: expected at least one row, found the end of the file");
}

#[test]
fn a_missing_or_doubled_column() {
    assert_eq!(
        csv_error("userId,movieId,timestamp\n1,2,3\n"),
        "r.csv, line 1, column rating: expected a column named \"rating\", found userId, movieId, timestamp"
    );
    assert_eq!(
        csv_error("\nuserId,movieId,rating,timestamp,rating\n1,2,3,4,5\n"),
        "r.csv, line 2, column rating: expected one column named \"rating\", found two, in columns 3 and 5"
    );
    let reader = DelimitedReader::new(ColumnMap::new(1, 4)).without_header();
    assert_eq!(
        error_of("r", b"1,2,3\n", &reader),
        "r, line 1, column 4: expected at least 4 columns, found 3"
    );
}

#[test]
fn a_header_in_the_middle() {
    assert_eq!(
        row_error(HEADER.trim_end()),
        "r.csv, line 4, column userId: expected a whole number (or a column declared text), found \"userId\""
    );
}

#[test]
fn a_wrong_number_of_fields() {
    assert_eq!(row_error("1,2,3"), "r.csv, line 4: expected 4 fields, found 3");
    assert_eq!(row_error("1,2,3,4,5"), "r.csv, line 4: expected 4 fields, found 5");
    assert_eq!(row_error("1"), "r.csv, line 4: expected 4 fields, found 1");
}

#[test]
fn a_key_that_is_no_number() {
    let expected = "a whole number (or a column declared text)";
    for key in ["x7", "-7", "7.5", "", "18446744073709551616"] {
        let error = row_error(&format!("{key},2,3,4"));
        assert_eq!(error, format!("r.csv, line 4, column userId: expected {expected}, found {key:?}"));
    }
    assert!(row_error("1,ÿ,3,4").starts_with("r.csv, line 4, column movieId: expected a whole number"));
}

#[test]
fn a_value_that_is_none() {
    for value in ["NaN", "inf", "-Infinity", "1e39"] {
        let error = row_error(&format!("1,2,{value},4"));
        assert_eq!(error, format!("r.csv, line 4, column rating: expected a finite number, found {value:?}"));
    }
    for value in ["", "good", "1,5"] {
        assert!(row_error(&format!("1,2,{value},4")).starts_with("r.csv, line 4"), "{value}");
    }
}

#[test]
fn a_time_that_is_none() {
    let error = row_error("1,2,3,-4");
    assert_eq!(error, "r.csv, line 4, column timestamp: expected a time of 0 or later, found \"-4\"");
    let error = row_error("1,2,3,9223372036854775808");
    assert_eq!(
        error,
        "r.csv, line 4, column timestamp: expected a time below 2^63, found \"9223372036854775808\""
    );
    for time in ["", "2020-02-30", "1.5"] {
        let error = row_error(&format!("1,2,3,{time}"));
        let expected = "a time, as a whole number or an ISO 8601 date";
        assert_eq!(error, format!("r.csv, line 4, column timestamp: expected {expected}, found {time:?}"));
    }
}

#[test]
fn another_encoding() {
    let reader = DelimitedReader::new(columns().text_users());
    let text = [HEADER.as_bytes(), b"Ren\xe9,2,3,4\n"].concat();
    assert_eq!(
        error_of("r.csv", &text, &reader),
        "r.csv, line 2, column userId: expected UTF-8 text, found \"Ren\\xe9\""
    );
    assert_eq!(
        error_of("r.csv", b"user\xe9,movieId\n", &reader),
        "r.csv, line 1, column 1: expected UTF-8 text, found \"user\\xe9\""
    );
    let data = reader.encoding(Encoding::Latin1).read_from(&text[..]).unwrap();
    assert_eq!(data.users().key(0), Some(Key::Text("René")));
}

#[test]
fn a_line_without_end() {
    let reader = DelimitedReader::new(ColumnMap::new(1, 2)).without_header();
    let error = error_of("r", &b"1".repeat(5 << 20), &reader);
    assert_eq!(error, "r, line 1: expected lines of at most 4194304 bytes, found a longer one");
}

#[test]
fn a_delimiter_that_is_none() {
    for delimiter in ["", "\n", "a\"", "\r\n"] {
        let error = DelimitedReader::new(columns()).delimiter(delimiter).read("r.csv").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidConfig { .. }), "{error}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn long_table() -> String {
    let rows = (0..20_000).map(|row| format!("{},{},3.5,{}\n", row % 97, row % 89, row * 7919 % 10_007));
    HEADER.to_owned() + &rows.collect::<String>()
}

#[test]
fn a_truncated_gzip_file() {
    let bytes = gzip(long_table().as_bytes());
    let reader = DelimitedReader::new(columns());
    assert_eq!(reader.read_from(&bytes[..]).unwrap().interactions().len(), 20_000);
    for cut in [bytes.len() - 1, bytes.len() / 2, 12] {
        let error = error_of("r.csv.gz", &bytes[..cut], &reader);
        assert!(error.starts_with("r.csv.gz: expected a complete gzip file, found "), "{error}");
    }
    let mut bad = bytes.clone();
    let last = bad.len() - 6;
    bad[last] ^= 1;
    let error = error_of("r.csv.gz", &bad, &reader);
    assert!(error.starts_with("r.csv.gz: expected a complete gzip file, found "), "{error}");
}

#[cfg(feature = "download")]
fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[cfg(feature = "download")]
#[test]
fn a_zip_archive() {
    let reader = DelimitedReader::new(columns());
    let table = long_table();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.zip");
    let two = zipped(&[("a/r.csv", table.as_bytes()), ("b.txt", b"nothing")]);

    fs::write(&path, zipped(&[("r.csv", table.as_bytes())])).unwrap();
    assert_eq!(reader.read(&path).unwrap().interactions().len(), 20_000);
    fs::write(&path, &two).unwrap();
    assert_eq!(reader.clone().member("a/r.csv").read(&path).unwrap().interactions().len(), 20_000);
    assert_eq!(
        without_folder(&reader.read(&path).unwrap_err(), folder.path()),
        "r.zip: expected an archive of one file, or the name of the member to read, found [a/r.csv, b.txt]"
    );
    assert_eq!(
        without_folder(&reader.clone().member("r.csv").read(&path).unwrap_err(), folder.path()),
        "r.zip: expected one member named r.csv, found [a/r.csv, b.txt]"
    );
    for cut in [two.len() - 1, two.len() / 2, 10] {
        let error = error_of("r.zip", &two[..cut], &reader);
        assert!(error.starts_with("r.zip: expected a complete zip file, found "), "{error}");
    }
    let error = reader.read_from(&two[..]).unwrap_err().to_string();
    assert!(error.starts_with("input: expected text or gzip"), "{error}");
}

#[cfg(not(feature = "download"))]
#[test]
fn a_zip_archive_needs_the_feature() {
    let error = error_of("r.zip", b"PK\x03\x04", &DelimitedReader::new(columns()));
    assert_eq!(error, "r.zip: reading a zip archive needs the Cargo feature `download` of recsys");
}

/// A small MovieLens 1M in a folder of its own, with one file replaced.
fn movielens(file: &str, bytes: &[u8]) -> (tempfile::TempDir, Result<Dataset>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ratings.dat"), "1::10::5::100\n2::20::3::200\n").unwrap();
    fs::write(
        folder.path().join("movies.dat"),
        b"10::Caf\xe9 (1995)::Drama|War\n20::Up::Comedy\n30::None::War\n",
    )
    .unwrap();
    fs::write(folder.path().join("users.dat"), "1::F::1::10::48067\n2::M::56::16::70072\n").unwrap();
    if !file.is_empty() {
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    let read = MovieLens::Ml1m.read(folder.path());
    (folder, read)
}

fn movielens_error(file: &str, text: &str) -> String {
    let (folder, read) = movielens(file, text.as_bytes());
    without_folder(&read.unwrap_err(), folder.path())
}

#[test]
fn bad_item_and_user_tables() {
    let data = movielens("", b"").1.unwrap();
    assert_eq!(data.item_table().unwrap().titles(), ["Café (1995)", "Up"]);
    assert_eq!(data.item_table().unwrap().years(), [Some(1995), None]);
    assert_eq!(
        movielens_error("movies.dat", "10::A::Drama\n20::B::Drama|Heist\n"),
        "movies.dat, line 2, column genres: expected a genre of MovieLens, found \"Heist\""
    );
    assert_eq!(
        movielens_error("movies.dat", "10::A::Drama|Drama\n20::B::War\n"),
        "movies.dat, line 1, column genres: expected distinct genres, found Drama again"
    );
    assert_eq!(
        movielens_error("movies.dat", "10::A::Drama\n"),
        "movies.dat: expected a row of key 20, which has a rating, found none"
    );
    assert_eq!(
        movielens_error("movies.dat", "10::A::Drama\n10::B::War\n"),
        "movies.dat, line 2, column movieId: expected a key that did not come before, found \"10\""
    );
    assert_eq!(movielens_error("movies.dat", "10::A\n"), "movies.dat, line 1: expected 3 fields, found 2");
    assert_eq!(
        movielens_error("users.dat", "1::F::young::10::48067\n"),
        "users.dat, line 1, column Age: expected a whole number (or a column declared text), found \"young\""
    );
}

#[cfg(feature = "parquet")]
mod parquet {
    use super::*;
    use recsys::data::read_parquet;

    fn fixture() -> Vec<u8> {
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pyarrow.parquet")).unwrap()
    }

    fn fixture_columns() -> ColumnMap {
        ColumnMap::new("user", "item").value("rating").timestamp("time").text_items()
    }

    fn read(bytes: &[u8]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.parquet");
        fs::write(&path, bytes).unwrap();
        read_parquet(&path, &fixture_columns())
    }

    #[test]
    fn a_truncated_parquet_file() {
        let bytes = fixture();
        for cut in [bytes.len() - 1, bytes.len() / 2, 4, 0] {
            let error = read(&bytes[..cut]).unwrap_err().to_string();
            assert!(error.contains("r.parquet: expected a complete Parquet file, found "), "{error}");
        }
        let error = read_parquet("no/such/file.parquet", &fixture_columns()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
            let mut bytes = fixture();
            for (place, byte) in damage {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes);
        }
    }
}

/// Text that looks like a table, more or less.
fn tables() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        4 => "[0-9]{1,4}",
        1 => "[0-9]{1,3}\\.[0-9]{0,3}",
        1 => "[-+ ]?[0-9a-z\"]{0,22}",
        1 => "\"[0-9a-z,\n\"]{0,5}\"",
    ];
    let row =
        (prop::collection::vec(field, 4..=4), prop_oneof![9 => Just("\n"), 1 => Just("\r\n"), 1 => Just("")])
            .prop_map(|(fields, end)| fields.join(",") + end);
    let table =
        prop::collection::vec(row, 0..8).prop_map(|rows| (HEADER.to_owned() + &rows.concat()).into_bytes());
    prop_oneof![4 => table, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn readers() -> Vec<DelimitedReader> {
    let numbered = ColumnMap::new(1, 2).value(3).timestamp(4);
    vec![
        DelimitedReader::new(columns()),
        DelimitedReader::new(columns().text_users().text_items()),
        DelimitedReader::new(numbered.clone()).without_header().without_quoting(),
        DelimitedReader::new(numbered.clone().text_users()).without_header().delimiter("::"),
        DelimitedReader::new(numbered.text_items()).without_header().encoding(Encoding::Latin1),
    ]
}

#[cfg(feature = "download")]
fn some_file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(bytes in tables()) {
        for reader in readers() {
            let _ = reader.read_from(&bytes[..]);
        }
    }

    #[test]
    fn no_gzip_makes_a_reader_panic(bytes in tables(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = gzip(&bytes);
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let _ = DelimitedReader::new(columns()).read_from(&bytes[..]);
        let _ = DelimitedReader::new(columns()).read_from(&bytes[..at]);
    }

    #[cfg(feature = "download")]
    #[test]
    fn no_zip_makes_a_reader_panic(bytes in tables(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = zipped(&[("r.csv", &bytes)]);
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let (_folder, path) = some_file("r.zip", &bytes);
        let _ = DelimitedReader::new(columns()).read(&path);
        let (_folder, path) = some_file("r.zip", &bytes[..at]);
        let _ = DelimitedReader::new(columns()).read(&path);
    }

    #[test]
    fn no_movielens_table_makes_a_reader_panic(
        file in prop_oneof![Just("ratings.dat"), Just("movies.dat"), Just("users.dat")],
        text in prop_oneof![
            "([0-9]{1,2}(::[A-Za-z0-9|()]{0,8}){2}\n){0,3}",
            "([0-9]{1,2}(::[A-Z0-9]{0,3}){4}\n){0,3}",
            "([0-9]{1,2}::[0-9]{1,2}::[0-9]::[0-9]{1,6}\n){0,3}",
        ],
        noise in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let _ = movielens(file, &[text.as_bytes(), &noise].concat());
    }

    /// A row that is quoted throughout sends all that follows down the general path.
    #[test]
    fn the_fast_and_the_general_path_agree(
        rows in prop::collection::vec(
            ("[0-9]{1,3}|[0-9]{17,20}", "[0-9]{1,3}| 7", "[0-9](\\.[0-9]{0,12})?|1e3|-2", "[0-9]{1,19}", "\r?\n{1,2}"),
            1..40,
        ),
        text_keys: bool,
    ) {
        let map = if text_keys { columns().text_users().text_items() } else { columns() };
        let reader = DelimitedReader::new(map);
        let body: String = rows.iter().map(|(u, i, v, t, end)| format!("{u},{i},{v},{t}{end}")).collect();
        let read = |first: &str| {
            let text = format!("{HEADER}{first}{body}");
            reader.read_from(text.as_bytes()).map_err(|error| error.to_string())
        };
        prop_assert_eq!(read("1,2,3,4\n"), read("\"1\",\"2\",\"3\",\"4\"\n"));
    }
}

#[test]
fn a_quotation_mark_that_none_closes_is_told() {
    for rest in ["", "1,2,3.5,4\n", &"1,2,3.5,4\n".repeat(1 << 19)] {
        let error = csv_error(&format!("userId,movieId,rating,timestamp,\"note\n{rest}"));
        assert_eq!(error, "r.csv, line 1: expected a quotation mark that closes the field, found none");
    }
    let row = csv_error(&format!("{HEADER}1,2,3.5,4\n1,2,3.5,\"4\n5,6,3.5,8\n"));
    assert_eq!(row, "r.csv, line 3: expected a quotation mark that closes the field, found none");
    let closed = "userId,movieId,rating,\"time\nstamp\"\n1,2,3.5,4\n";
    let columns = ColumnMap::new("userId", "movieId").value("rating").timestamp("time\nstamp");
    assert_eq!(DelimitedReader::new(columns).read_from(closed.as_bytes()).unwrap().interactions().len(), 1);
}

fn told<T>(result: Result<T>, begin: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{begin}: no error")).to_string();
    assert!(error.starts_with(begin), "{error}");
}

#[test]
fn numbers_at_the_end_of_their_range_are_errors() {
    let none = || Interactions::from_rows(2, 3, []).unwrap();
    let space = || FeatureSpace::default().with_field("item", 3).unwrap();
    told(Interactions::from_rows(usize::MAX, 1, []), "Interactions::n_users");
    told(space().with_field("user", usize::MAX), "FeatureSpace::n_ids");
    told(space().with_vectors("text", usize::MAX), "FeatureSpace::dim");
    told(ItemFeatures::new(usize::MAX, [[0]]), "ItemFeatures::n_features");
    told(RankingNegatives::new(&none(), usize::MAX), "RankingNegatives::n_negatives");
    told(TrainingConfig::default().with_epochs(usize::MAX).validate(), "TrainingConfig::epochs");
    let labels = EncodedRows::new(space(), 0).with_labels(1 << 63, vec![1.0]);
    told(labels, "number of labels of all rows");
    let forged = r#"{"space":{"fields":[],"vectors":[],"history":null},"n_labels":9223372036854775808,
        "starts":[0],"ids":[],"weights":[],"vectors":[],"events":[],"histories":[],"labels":[],"groups":[0,0]}"#;
    assert!(serde_json::from_str::<EncodedRows>(forged).is_err());

    let mut rows = EncodedRows::default();
    rows.append(&EncodedRows::default()).unwrap();
    assert_eq!(rows, EncodedRows::new(FeatureSpace::default(), 0));
    let terms = TextEncoderConfig { min_chars: usize::MAX, max_chars: usize::MAX, ..Default::default() };
    assert_eq!(TextEncoder::fit(terms, &["a word", "another"]).unwrap().encode("a word").len(), 128);
}

#[test]
#[cfg(feature = "flex")]
fn no_table_has_more_rows_than_there_are_ids() {
    use recsys::models::recall::{SasrecConfig, TwoTowerConfig};
    let device = Device::flex();
    told(SasrecConfig::default().init(usize::MAX, 0, &device), "Sasrec::n_items");
    let towers = TwoTowerConfig { user_embedding: true, ..TwoTowerConfig::default() };
    told(towers.init(usize::MAX, &ItemFeatures::none(3), 0, &device), "TwoTower::n_users");
}

/// The message of an error, which is short and has no control characters.
fn short<T>(result: Result<T>) -> String {
    let error = result.err().expect("an error");
    let message = error.to_string();
    assert!(message.chars().count() < 2000 && !message.contains(char::is_control), "{} bytes", message.len());
    assert!(format!("{error:?}").len() < 10_000);
    message
}

#[test]
fn no_message_grows_with_its_file() {
    let long = "x\u{1b}[31m\0".repeat(500_000);
    let reader = DelimitedReader::new(columns());
    let found = short(reader.read_from(format!("{long},\"a\nb\"\n1,2\n").as_bytes()));
    assert!(found.contains("found x\\u{1b}[31m\\0x") && found.contains("characters left out"), "{found}");
    short(reader.read_from(format!("{HEADER}{long},2,3,4\n").as_bytes()));
    short(DelimitedReader::new(ColumnMap::new(long.as_str(), "b")).read_from("a,b\n1,2\n".as_bytes()));
    short(reader.read("no\nsuch\u{1b}[2Jfile"));
    let names: Vec<String> = (0..200_000).map(|n| format!("\u{7}column{n}")).collect();
    short(reader.read_from(format!("{}\n", names.join(",")).as_bytes()));
    let json = format!("{{\"fields\": [], \"{}\": 1}}", "key".repeat(1_000_000));
    short(recsys::features::Schema::from_json(&json));
    let json = format!("{{\"fields\": [{{\"name\": \"x\", \"kind\": \"{}\"}}]}}", "k".repeat(1_000_000));
    short(recsys::features::Schema::from_json(&json));
}

#[cfg(feature = "download")]
#[test]
fn a_zip_of_thousands_of_members_makes_a_short_message() {
    let names: Vec<String> = (0..5000).map(|n| format!("{}\u{1b}{n}", "m".repeat(200))).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"1,2"[..])).collect();
    let (_folder, path) = some_file("r.zip", &zipped(&members));
    let found = short(DelimitedReader::new(columns()).read(&path));
    assert!(found.contains("an archive of one file") && found.contains("characters left out"), "{found}");
}

#[test]
fn sizes_that_a_file_states_are_not_believed() {
    use recsys::features::{FeatureEncoder, Ids, ItemVectors, Libfm, Schema, Table};
    let item_vectors = |dim: u64| format!("{{\"dim\": {dim}, \"values\": []}}");
    assert!(serde_json::from_str::<ItemVectors>(&item_vectors(1 << 60)).is_err());
    assert!(serde_json::from_str::<ItemVectors>(&item_vectors(1 << 20)).is_ok());

    let libfm = Libfm::fit_from("1 4294967295:1\n0 4294967294:1 0:2\n".as_bytes()).unwrap();
    assert_eq!((libfm.space().n_ids(), libfm.space().n_fields()), (4, 2));

    // As many buckets as there are ids; they cost what the data fill.
    let hashed = |n_fields: u32, n_buckets| {
        (0..n_fields).fold(Schema::default(), |schema, n| {
            schema.with_field(format!("c{n}"), Ids::Hashing { n_buckets })
        })
    };
    let table = Table::default().with_column("c0", recsys::features::Column::ints([7, 8, 7])).unwrap();
    let encoder = FeatureEncoder::fit(hashed(1, u32::MAX - 1), [Ok(&table)]).unwrap();
    assert_eq!(encoder.space().n_ids(), u32::MAX as usize);
    told(FeatureEncoder::fit(hashed(2, u32::MAX), [Ok(&table)]), "Schema::fields");
    told(FeatureEncoder::fit(hashed(1000, u32::MAX), [Ok(&table)]), "Schema::fields");
    assert!(FeatureEncoder::fit(hashed(1, 10_000_000), [Ok(&table)]).is_ok());
}

#[test]
fn npy_headers_are_not_believed() {
    use recsys::features::ItemVectors;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.npy");
    let read = |header: &str| {
        let length = (header.len() as u32).to_le_bytes();
        fs::write(&path, [b"\x93NUMPY\x02\0", &length[..], header.as_bytes(), &[0; 64]].concat()).unwrap();
        short(ItemVectors::read_npy(&path))
    };
    let shape = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape})}}");
    for wide in [
        "1152921504606846976, 1",
        "1152921504606846976, 16",
        "4294967296, 4294967296",
        "0, 4611686018427387904",
    ] {
        read(&shape(wide));
    }
    read(&shape(&format!("{}, 1", "9".repeat(5_000_000))));
    read(&"\u{1b}".repeat(5000));
}

#[cfg(feature = "flex")]
#[test]
fn no_setting_makes_weights_that_no_machine_holds() {
    use recsys::layers::{Cross, HistoryEncoderConfig, MlpConfig, Pooling};
    use recsys::models::ranking::{BstConfig, DcnConfig, DeepFmConfig, FmConfig, MmoeConfig, PleConfig};
    use recsys::models::recall::{IalsConfig, SasrecConfig, TwoTowerConfig};
    use recsys::training::RankingConfig;
    let (device, wide) = (Device::flex(), 1 << 20);
    told(
        SasrecConfig { d_model: wide, n_heads: 1, ..Default::default() }.validate(),
        "CausalSelfAttentionConfig::d_model",
    );
    told(SasrecConfig { n_blocks: usize::MAX, ..Default::default() }.validate(), "SasrecConfig::n_blocks");
    told(SasrecConfig::default().init(u32::MAX as usize, 0, &device), "SasrecConfig::d_model");
    told(IalsConfig { n_factors: wide, ..Default::default() }.validate(), "IalsConfig::n_factors");
    let items = ItemFeatures::none(3);
    let towers = |history| TwoTowerConfig { history, ..Default::default() }.init(1, &items, 0, &device);
    let blocks =
        HistoryEncoderConfig::Transformer { n_blocks: usize::MAX, n_heads: 1, pooling: Pooling::Mean };
    told(towers(blocks), "HistoryEncoderConfig::n_blocks");
    told(towers(HistoryEncoderConfig::Gru { d_state: wide }), "HistoryEncoderConfig::d_state");
    told(towers(Pooling::Recency { n_scales: wide }.into()), "Pooling::n_scales");
    let space = FeatureSpace::default().with_field("item", 3).unwrap();
    let space = space.with_history("seen", "item", wide).unwrap();
    let init = |error: Option<Error>| Err::<(), _>(error.expect("an error"));
    let mlp = MlpConfig::new(1).with_hidden([wide, wide]);
    told(
        init(DeepFmConfig { mlp, ..Default::default() }.init(&space, 0, &device).err()),
        "MlpConfig::d_hidden",
    );
    let large = FeatureSpace::default().with_field("item", u32::MAX as usize).unwrap();
    told(init(FmConfig::default().init(&large, 0, &device).err()), "FieldEmbedding::d");
    let cross = DcnConfig { n_cross: usize::MAX, cross: Cross::Vector, ..Default::default() };
    told(init(cross.init(&space, 0, &device).err()), "CrossNetwork::n_layers");
    told(
        init(BstConfig { n_blocks: usize::MAX, ..Default::default() }.init(&space, 0, &device).err()),
        "BstConfig::n_blocks",
    );
    let wide_bst = BstConfig { d_embedding: wide, ..Default::default() };
    told(init(wide_bst.init(&space, 0, &device).err()), "FeatureSpace::max_len");
    told(
        init(MmoeConfig { n_experts: wide, ..Default::default() }.init(&space, 0, &device).err()),
        "MmoeConfig::n_experts",
    );
    told(
        init(PleConfig { n_levels: wide, ..Default::default() }.init(&space, 0, &device).err()),
        "PleConfig::n_levels",
    );
    told(
        init(PleConfig { n_labels: wide, ..Default::default() }.init(&space, 0, &device).err()),
        "RankingSpec::n_labels",
    );
}
