//! Readers of text.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use recsys::features::{DelimitedTables, Libfm};
use recsys::prelude::*;
use recsys::rng::Rng;

use crate::damage::{damaged, one_in};
use crate::target::{Input, Reader, Target, Told, damaged_seed, on_disk, told};

const RATINGS: &str = "userId,movieId,rating,timestamp\n1,10,3.5,964982703\n2,20,5,964982931\n\n1,30,0.5,0\n";
const NOTES: &str = "userId,movieId,rating,timestamp,note\r\n1,10,3.5,4,a\r\n7,11,2e0,5,bc\r\n1,12,1,6,\r\n";
const QUOTED: &str = "\"userId\",movieId,\"rating\",timestamp\n\"1\",10,\"3.5\",4\n2,\"20\",5,\"6\"\n";
const MULTILINE: &str =
    "note,userId,movieId,rating,timestamp\n\"a \"\"b\"\"\nc,d\",1,2,3,4\n\"\",5,6,7,8\ne,5,9,1,9\n";
const BARE: &str = "1::10::5::100\n2::20::3::200\n1::20::4::300\n";
const TEXTS: &str = "userId,movieId,rating,timestamp\nRené,ring,3,4\nß,\"cup, blue\",5,6\n";

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

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

/// A reader of interactions from a stream, then with the same settings from a file.
fn interactions(folder: &Path, file: &str, all: Vec<(DelimitedReader, &[&str])>) -> Reader {
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
                true => reader.read_from(bytes),
                false => reader.read(on_disk(file, bytes)),
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

fn gzipped(bytes: &[u8]) -> Vec<u8> {
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

pub fn tables(folder: &Path) -> Box<dyn Target> {
    let formats = [
        DelimitedTables::default(),
        DelimitedTables::default().without_quoting(),
        DelimitedTables::default().delimiter(b'\t').without_header(["userId", "movieId"]),
    ];
    let csv = [texts(&[RATINGS, NOTES, QUOTED, MULTILINE, TEXTS]), vec![gzipped(TEXTS.as_bytes())]].concat();
    let seeds = vec![csv, texts(&[RATINGS, NOTES]), texts(&["1\t2\n3\t4\n", "\"a\tb\"\t\r\n"])];
    let read = move |variant: usize, bytes: &[u8], file: &Path| {
        let format = &formats[variant % 3];
        let columns = ["movieId", "userId"];
        let tables = match variant / 3 {
            0 => told(format.read_from(bytes, &columns))?,
            _ => told(format.read(on_disk(file, bytes), &columns))?,
        };
        for table in tables {
            let table = told(table)?;
            let column = table.column("userId").expect("a column that was asked for");
            assert_eq!(column.len(), table.n_rows());
            let _ = (column.is_missing(0), table.select(&[0, table.n_rows() - 1]));
        }
        Ok(())
    };
    Box::new(Reader {
        seeds,
        n_variants: 6,
        file: folder.join("t.csv"),
        damage: damaged_seed,
        read: Box::new(read),
    })
}

pub fn libfm(folder: &Path) -> Box<dyn Target> {
    let rows = "1 7:1 20:0.5\n-1 7:1 30:-2e0 3:10\n\n0.5 20:1\n";
    let fitted = Libfm::fit_from(rows.as_bytes()).expect("a good text");
    let read = move |variant: usize, bytes: &[u8], file: &Path| match variant {
        0 => told(fitted.read_from(bytes).map(drop)),
        1 => told(fitted.read(on_disk(file, bytes)).map(drop)),
        2 => told(Libfm::fit_from(bytes).and_then(|libfm| libfm.read_from(bytes)).map(drop)),
        _ => told(Libfm::fit(on_disk(file, bytes)).map(drop)),
    };
    Box::new(Reader {
        seeds: vec![[texts(&[rows, "1\n", "0 4294967295:1 0:3\n"]), vec![gzipped(rows.as_bytes())]].concat()],
        n_variants: 4,
        file: folder.join("rows.libfm"),
        damage: damaged_seed,
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
