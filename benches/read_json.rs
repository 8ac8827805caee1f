//! JSON lines with text keys, plain and gzip, beside polars' `scan_ndjson`: recsys reads them to a data set with dense
//! ids, polars to a frame of texts and numbers; on two threads each, in turn, three times, each run in a process of its
//! own.
//!
//! `cargo bench --bench read_json -- [ROWS [FOLDER]]` (10,000,000 rows of 1,000,000 users and 100,000 items; the files are
//! made if they are not there). polars runs if the environment variable `RECSYS_PYTHON` names a Python that has it.

mod readers;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use readers::{compare, peak_megabytes};
use recsys::prelude::*;
use recsys::rng::Rng;
use serde_json::{Value, json};

/// What a key takes beside its text, and what a row takes.
const BYTES: [usize; 2] = [32, 20];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [mode, file] = &args[..]
        && mode == "--measure"
    {
        println!("{}", measure(Path::new(file))?);
        return Ok(());
    }
    let n_rows: usize = args.first().map_or(Ok(10_000_000), |rows| rows.parse())?;
    let folder = args.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let plain = folder.join(format!("recsys-events-{n_rows}.jsonl"));
    let gzip = plain.with_extension("jsonl.gz");
    if !plain.exists() {
        println!("making {}", plain.display());
        make(n_rows, BufWriter::new(File::create(&plain)?))?;
    }
    if !gzip.exists() {
        println!("making {}", gzip.display());
        make(n_rows, GzEncoder::new(BufWriter::new(File::create(&gzip)?), Compression::default()))?;
    }
    for file in [plain, gzip] {
        println!("{}: {n_rows} rows, {} MB", file.display(), fs::metadata(&file)?.len() / 1_000_000);
        let seconds = compare(&file, "polars_ndjson.py", &["rows"], &["seconds", "megabytes", "bound"])?;
        println!("recsys: {:.2} million rows a second", n_rows as f64 / seconds / 1e6);
    }
    Ok(())
}

/// Reads a file; `bound` is what rows and distinct keys may take.
fn measure(file: &Path) -> Result<Value> {
    let before = peak_megabytes().unwrap_or_default();
    let start = Instant::now();
    let columns = ColumnMap::new("user_id", "item.id").value("rating").timestamp("ts");
    let data = JsonLinesReader::new(columns.text_users().text_items()).read(file)?;
    let seconds = start.elapsed().as_secs_f64();
    let key = |key: Key<'_>| key.to_string().len() + BYTES[0];
    let bound = data.users().keys().chain(data.items().keys()).map(key).sum::<usize>()
        + BYTES[1] * data.interactions().len();
    Ok(json!({
        "seconds": seconds,
        "megabytes": peak_megabytes().map(|peak| peak - before),
        "bound": bound as f64 / 1e6,
        "rows": data.interactions().len(),
        "users": data.n_users(),
        "items": data.n_items(),
    }))
}

/// Writes events as logs have them, some members of which nobody wants.
fn make(n_rows: usize, mut out: impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let (n_users, n_items) = ((n_rows / 10).max(10), (n_rows / 100).max(10));
    let mut rng = Rng::new(42);
    for row in 0..n_rows {
        let user = rng.below(n_users) as u64;
        // The square of a uniform number: some items are popular.
        let item = (rng.below(n_items) * rng.below(n_items) / n_items) as u64;
        let (rating, time) = (1 + rng.below(9), 1_600_000_000 + row);
        writeln!(
            out,
            "{{\"user_id\": \"A{:09X}\", \"item\": {{\"id\": \"B{item:08}\", \"shop\": {}}}, \"rating\": {:.1}, \
             \"verified\": true, \"ts\": {time}}}",
            user * 2_654_435_761 % 0xFFFF_FFFF,
            item % 97,
            rating as f32 / 2.0,
        )?;
    }
    Ok(out.flush()?)
}
