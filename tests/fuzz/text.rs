//! Readers of interactions from text.

use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use recsys::data::ItemListReader;
use recsys::prelude::*;
use recsys::rng::Rng;

use crate::damage::{damaged, one_in};
use crate::target::{Input, Reader, Target, Told, damaged_seed, on_disk, told};

pub const RATINGS: &str =
    "userId,movieId,rating,timestamp\n1,10,3.5,964982703\n2,20,5,964982931\n\n1,30,0.5,0\n";
pub const NOTES: &str =
    "userId,movieId,rating,timestamp,note\r\n1,10,3.5,4,a\r\n7,11,2e0,5,bc\r\n1,12,1,6,\r\n";
pub const QUOTED: &str = "\"userId\",movieId,\"rating\",timestamp\n\"1\",10,\"3.5\",4\n2,\"20\",5,\"6\"\n";
pub const MULTILINE: &str =
    "note,userId,movieId,rating,timestamp\n\"a \"\"b\"\"\nc,d\",1,2,3,4\n\"\",5,6,7,8\ne,5,9,1,9\n";
const BARE: &str = "1::10::5::100\n2::20::3::200\n1::20::4::300\n";
pub const TEXTS: &str = "userId,movieId,rating,timestamp\nRené,ring,3,4\nß,\"cup, blue\",5,6\n";

fn columns() -> ColumnMap {
    ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp")
}

/// Settings, and texts that suit them.
fn readers() -> Vec<(DelimitedReader, &'static [&'static str])> {
    let numbered = ColumnMap::new(1, 2).value(3).timestamp(4);
    let bare = || DelimitedReader::new(numbered.clone()).without_header();
    vec![
        (DelimitedReader::new(columns()), &[RATINGS, NOTES]),
        (DelimitedReader::new(columns().text_users().text_items()), &[RATINGS, NOTES, TEXTS]),
        (DelimitedReader::new(columns().text_items()).encoding(Encoding::Latin1), &[NOTES, RATINGS]),
        (bare().without_quoting(), &["1,2,3,4\n7,8,9.5,10\n", "1,2,3,4"]),
        (bare().delimiter("::"), &[BARE]),
        (DelimitedReader::new(ColumnMap::new(2, 1)).delimiter("\t"), &["a\tb\n1\t2\n3\t4\n"]),
    ]
}

/// Settings and texts of which some fields are quoted.
fn quoted_readers() -> Vec<(DelimitedReader, &'static [&'static str])> {
    let numbered = ColumnMap::new(2, 1).text_items();
    vec![
        (DelimitedReader::new(columns()), &[QUOTED, MULTILINE]),
        (DelimitedReader::new(columns().text_users().text_items()), &[QUOTED, MULTILINE, TEXTS]),
        (
            DelimitedReader::new(numbered).without_header().encoding(Encoding::Latin1),
            &["\"\u{e9}\"\"\",1\nb,\"2\"\n"],
        ),
    ]
}

/// Settings with an escape character, and texts of which some lines end with a carriage return.
fn escaped_readers() -> Vec<(DelimitedReader, &'static [&'static str])> {
    const HIVE: &str = "userId,movieId,rating,timestamp\r1,a\\,b,3,4\r2,\\N,5,6\r";
    const SPARK: &str =
        "userId,movieId,rating,timestamp\n1,\"a \\\"b\\\", c\",3,4\r\n2,x\\\\,5,6\r3,\\\ny,7,8\n";
    let escaped = |columns| DelimitedReader::new(columns).escape(b'\\');
    vec![
        (escaped(columns().text_items()), &[HIVE, SPARK]),
        (escaped(columns().text_items()).without_quoting(), &[HIVE, SPARK]),
        (
            escaped(columns().text_users()).delimiter("\t").encoding(Encoding::Latin1),
            &["userId\tmovieId\trating\ttimestamp\r\u{e9}\\\t\t1\t2\t3\r"],
        ),
        (DelimitedReader::new(columns()), &["userId,movieId,rating,timestamp\r1,2,3,4\r\r5,6,7,8", RATINGS]),
    ]
}

/// Settings of times, events and missing values.
fn value_readers() -> Vec<(DelimitedReader, &'static [&'static str])> {
    const ISO: &str = "userId,movieId,rating,timestamp\n1.0,2,True,2024-01-03T12:00:00.25Z\n3,4e0,0.5,2024-01-03 14:00+02:00\n\
                       5,6,FALSE,1704283200.0\n";
    const DATES: &str = "userId,movieId,rating,timestamp\n1,2,3,\"09 13, 2014\"\n4,5,6,\"12 1, 2015\"\n";
    const CLOCK: &str = "userId,movieId,rating,timestamp\n1,2,3,03/Jan/2024:14:30:00.5 +0230\n";
    const EVENTS: &str = "userId,movieId,rating,timestamp\n1,2,view,3\n4,5, buy ,6\n";
    const GAPS: &str = "userId,movieId,rating,timestamp\n1,2,NA,3\n,5,6,7\n8,9,1,\\N\n1,2,3,4\n";
    let of = |columns: ColumnMap| DelimitedReader::new(columns);
    vec![
        (of(columns().time_unit(TimeUnit::Milliseconds)), &[ISO, RATINGS]),
        (of(columns().time_unit(TimeUnit::Nanoseconds)), &[ISO, RATINGS]),
        (of(columns().datetime("%m %d, %Y")), &[DATES]),
        (of(columns().datetime("%d/%b/%Y:%H:%M:%S%.f %z").time_unit(TimeUnit::Microseconds)), &[CLOCK]),
        (of(columns().events([("view", 1.0), ("buy", 5.0)])), &[EVENTS]),
        (of(columns().missing_words(["NA", "\\N"]).skip_missing()), &[GAPS, RATINGS]),
        (of(columns().missing_words(["NA"]).skip_missing().text_users().text_items()), &[GAPS, TEXTS]),
    ]
}

/// Settings of lists of items.
fn list_readers() -> Vec<(ItemListReader, &'static [&'static str])> {
    let lists = DelimitedReader::item_lists;
    vec![
        (lists(), &["0 10 11 12 \n1 10\n2\n0 13\n"]),
        (lists().unordered().text_users().delimiter("\t"), &["a\t1\t2\r\nb c\t3\r\n"]),
        (lists().text_items().delimiter(", ").encoding(Encoding::Latin1), &["1, \u{e9}, b\r2, c"]),
    ]
}

/// Settings and objects that suit them.
fn json_readers() -> Vec<(JsonLinesReader, &'static [&'static str])> {
    const AMAZON: &str = "{\"reviewer\": {\"id\": \"A2X\"}, \"asin\": \"B01\", \"overall\": 5.0, \"at\": 1475020800}\n\n\
                          {\"x\": [{}, null], \"asin\": \"Ren\\u00e9\", \"reviewer\": {\"id\": 7}, \"overall\": \"4\", \"at\": \"2024-01-03\"}\n";
    const LISTS: &str = "{\"u\": 1, \"i\": [2, 3.0, \"4\"], \"v\": [1, true, 0.5], \"t\": 5}\n\
                         {\"u\": 2, \"i\": [], \"v\": [], \"t\": 1}\n{\"u\": 2, \"i\": 4, \"v\": 1, \"t\": 2}\n";
    const EVENTS: &str = "{\"u\": \"a\", \"i\": \"b\", \"v\": \"view\", \"t\": \"01 3, 2024\"}\r\n{\"u\": \"NA\", \"i\": null, \"v\": \"buy\"}\r\n";
    let of = |columns: ColumnMap| JsonLinesReader::new(columns);
    let short = || ColumnMap::new("u", "i");
    let events = short().text_users().text_items().value("v").events([("view", 1.0), ("buy", 5.0)]);
    let amazon = ColumnMap::new("reviewer.id", "asin").value("overall").timestamp("at");
    vec![
        (of(amazon.text_users().text_items()), &[AMAZON]),
        (of(short().value("v").timestamp("t").time_unit(TimeUnit::Milliseconds)), &[LISTS]),
        (of(short()), &[LISTS]),
        (of(events.timestamp("t").datetime("%m %d, %Y").missing_words(["NA"]).skip_missing()), &[EVENTS]),
    ]
}

/// A reader of interactions.
trait ReadRows: Debug {
    fn of_bytes(&self, bytes: &[u8]) -> Result<Dataset>;
    fn of_file(&self, file: &Path) -> Result<Dataset>;
}

macro_rules! read_rows {
    ($($reader:ty),*) => {$(
        impl ReadRows for $reader {
            fn of_bytes(&self, bytes: &[u8]) -> Result<Dataset> {
                self.read_from(bytes)
            }

            fn of_file(&self, file: &Path) -> Result<Dataset> {
                self.read(file)
            }
        }
    )*};
}

read_rows!(DelimitedReader, ItemListReader, JsonLinesReader);

pub fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

/// A reader of interactions from a stream, then with the same settings from a file.
fn interactions<R: ReadRows + 'static>(folder: &Path, file: &str, all: Vec<(R, &[&str])>) -> Reader {
    for (reader, seeds) in &all {
        assert!(
            seeds.iter().any(|seed| reader.of_bytes(seed.as_bytes()).is_ok()),
            "no seed suits {reader:?}"
        );
    }
    let (readers, seeds): (Vec<_>, Vec<_>) =
        all.into_iter().map(|(reader, seeds)| (reader, texts(seeds))).unzip();
    Reader {
        seeds,
        n_variants: 2 * readers.len(),
        file: folder.join(file),
        damage: damaged_seed,
        read: Box::new(move |variant, bytes, file| {
            let reader = &readers[variant % readers.len()];
            let read = match variant < readers.len() {
                true => reader.of_bytes(bytes),
                false => reader.of_file(on_disk(file, bytes)),
            };
            told(read.map(drop))
        }),
    }
}

pub fn csv(folder: &Path) -> Box<dyn Target> {
    Box::new(interactions(folder, "r.csv", readers()))
}

pub fn csv_quoted(folder: &Path) -> Box<dyn Target> {
    Box::new(interactions(folder, "r.csv", quoted_readers()))
}

pub fn csv_escaped(folder: &Path) -> Box<dyn Target> {
    Box::new(interactions(folder, "r.csv", escaped_readers()))
}

pub fn csv_values(folder: &Path) -> Box<dyn Target> {
    Box::new(interactions(folder, "r.csv", value_readers()))
}

pub fn item_lists(folder: &Path) -> Box<dyn Target> {
    Box::new(interactions(folder, "lists.txt", list_readers()))
}

/// A damaged line of objects, or any other damage, at times packed.
pub fn damaged_objects(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if one_in(rng, 10) {
        return damaged_packed(rng, seeds, gzipped);
    }
    if one_in(rng, 2) {
        return damaged_seed(rng, seeds);
    }
    let seed = &seeds[rng.below(seeds.len())];
    let mut lines: Vec<Vec<u8>> = seed.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = rng.below(lines.len());
    lines[at] = damaged(rng, &lines[at], seeds);
    lines.join(&b'\n')
}

pub fn json_lines(folder: &Path) -> Box<dyn Target> {
    Box::new(Reader { damage: damaged_objects, ..interactions(folder, "r.jsonl", json_readers()) })
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// A damaged text that is packed well, or one that is packed and then damaged.
fn damaged_packed(rng: &mut Rng, seeds: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    if one_in(rng, 3) {
        return pack(&damaged_seed(rng, seeds));
    }
    let packed = pack(&seeds[rng.below(seeds.len())]);
    let others = [pack(&seeds[rng.below(seeds.len())])];
    damaged(rng, &packed, &others)
}

pub fn gzip(folder: &Path) -> Box<dyn Target> {
    let damage = |rng: &mut Rng, seeds: &[Vec<u8>]| damaged_packed(rng, seeds, gzipped);
    let all = [readers(), quoted_readers()].concat();
    Box::new(Reader { damage, ..interactions(folder, "r.csv.gz", all) })
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut write = |name: &str, bytes: &[u8], method| {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file(name, options)?;
        writer.write_all(bytes)
    };
    write("r.csv", bytes, zip::CompressionMethod::Deflated).expect("memory can be written");
    if bytes.len().is_multiple_of(2) {
        write("b/other.csv", bytes, zip::CompressionMethod::Stored).expect("memory can be written");
    }
    writer.finish().expect("memory can be written").into_inner()
}

pub fn zip(folder: &Path) -> Box<dyn Target> {
    let damage = |rng: &mut Rng, seeds: &[Vec<u8>]| damaged_packed(rng, seeds, zipped);
    let read = |variant: usize, bytes: &[u8], file: &Path| {
        let reader = DelimitedReader::new(columns().text_items());
        let reader = if variant == 0 { reader } else { reader.member("r.csv") };
        told(reader.read(on_disk(file, bytes)).map(drop))
    };
    Box::new(Reader {
        seeds: vec![texts(&[RATINGS, NOTES, QUOTED])],
        n_variants: 2,
        file: folder.join("r.zip"),
        damage,
        read: Box::new(read),
    })
}

/// The files of a small release of each layout.
const MOVIELENS: [(MovieLens, &[(&str, &str)]); 4] = [
    (
        MovieLens::Ml100k,
        &[
            ("u.data", "1\t10\t5\t100\n2\t20\t3\t200\n"),
            (
                "u.item",
                "10|Caf\u{e9} (1995)|01-Jan-1995||http://x|0|1\n20|Up|||http://y|1|0\n30|None|||z|0|0\n",
            ),
            ("u.genre", "unknown|0\nAction|1\n"),
            ("u.user", "1|24|M|technician|85711\n2|53|F|other|94043\n"),
            ("u1.base", "1\t10\t5\t100\n"),
            ("u1.test", "2\t20\t3\t200\n"),
        ],
    ),
    (
        MovieLens::Ml1m,
        &[
            ("ratings.dat", "1::10::5::100\n2::20::3::200\n"),
            ("movies.dat", "10::Cafe (1995)::Drama|War\n20::Up::Comedy\n30::None::War\n"),
            ("users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n"),
        ],
    ),
    (
        MovieLens::Ml10m,
        &[
            ("ratings.dat", "1::10::5::100\n2::20::3.5::200\n"),
            ("movies.dat", "10::A: B (1995)::Drama|IMAX\n20::Up (2009)::(no genres listed)\n"),
        ],
    ),
    (
        MovieLens::Ml25m,
        &[
            ("ratings.csv", "userId,movieId,rating,timestamp\n1,10,5.0,100\n2,20,3.5,200\n"),
            ("movies.csv", "movieId,title,genres\n10,\"A, \"\"b\"\" (1995)\",Drama|War\n20,Up,Comedy\n"),
        ],
    ),
];

/// MovieLens in folders, of which one file is damaged. A variant is a file of a release.
struct Folders {
    folder: std::path::PathBuf,
    /// Release, name and content of each file.
    files: Vec<(MovieLens, &'static str, Vec<u8>)>,
}

pub fn movielens(folder: &Path) -> Box<dyn Target> {
    let mut files = Vec::new();
    for (release, of_release) in MOVIELENS {
        let here = folder.join(release.folder());
        fs::create_dir_all(&here).expect("the scratch folder can be written");
        for (name, text) in of_release {
            // Latin-1 where the release has it; only U+00E9 lies outside ASCII.
            let bytes = text.chars().map(|c| c as u8).collect::<Vec<u8>>();
            fs::write(here.join(name), &bytes).expect("the scratch folder can be written");
            files.push((release, *name, bytes));
        }
    }
    Box::new(Folders { folder: folder.to_path_buf(), files })
}

impl Target for Folders {
    fn input(&self, rng: &mut Rng) -> Input {
        let variant = rng.below(self.files.len());
        Input::bytes(variant, damaged_seed(rng, &[self.files[variant].2.clone()]))
    }

    fn read(&self, input: &Input) -> Told {
        let (release, name, good) = &self.files[input.variant];
        let folder = self.folder.join(release.folder());
        fs::write(folder.join(name), input.of_reader()).expect("the scratch folder can be written");
        let read = match name.starts_with("u1") {
            true => MovieLens::read_fold(&folder, 1).map(drop),
            false => release.read(&folder).map(drop),
        };
        fs::write(folder.join(name), good).expect("the scratch folder can be written");
        told(read)
    }
}
