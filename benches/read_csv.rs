//! From a CSV file of ratings to a leave-one-out split, beside polars: both read
//! `userId,movieId,rating,timestamp`, give dense ids to users and items, sort stably by user and time, and
//! split; on two threads each, in turn, three times, each run in a process of its own.
//!
//! `cargo bench --bench read_csv -- [ROWS [FILE]]` (20,000,000 rows; the file is made if it is not there).
//! polars runs if the environment variable `RECSYS_PYTHON` names a Python that has it.

mod readers;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use readers::{compare, peak_megabytes};
use recsys::prelude::*;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [mode, file] = &args[..]
        && mode == "--measure"
    {
        println!("{}", measure(Path::new(file))?);
        return Ok(());
    }
    let n_rows: usize = args.first().map_or(Ok(20_000_000), |rows| rows.parse())?;
    let default = || std::env::temp_dir().join(format!("recsys-ratings-{n_rows}.csv"));
    let file = args.get(1).map_or_else(default, PathBuf::from);
    if !file.exists() {
        make(n_rows, &file)?;
    }
    println!("{}: {n_rows} rows, {} MB", file.display(), fs::metadata(&file)?.len() / 1_000_000);

    let counts = ["rows", "users", "items", "train", "validation", "test"];
    let fields = ["seconds", "read", "encode", "sort", "split", "read_megabytes", "megabytes"];
    compare(&file, "polars_pipeline.py", &counts, &fields)?;
    Ok(())
}

/// The work itself, in seconds by step, with the sizes of what comes out.
fn measure(file: &Path) -> Result<Value> {
    let start = Instant::now();
    let columns = ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp");
    let data = DelimitedReader::new(columns).read(file)?;
    let read = start.elapsed();
    let read_peak = peak_megabytes();
    let sequences = Sequences::new(data.interactions());
    let sorted = start.elapsed();
    let split = Split::leave_one_out(data.interactions());
    let done = start.elapsed();
    Ok(json!({
        "seconds": done.as_secs_f64(),
        "read": read.as_secs_f64(),
        "sort": (sorted - read).as_secs_f64(),
        "split": (done - sorted).as_secs_f64(),
        "read_megabytes": read_peak,
        "megabytes": peak_megabytes(),
        "rows": data.interactions().len(),
        "users": sequences.n_users(),
        "items": data.n_items(),
        "train": split.train.len(),
        "validation": split.validation.len(),
        "test": split.test.len(),
    }))
}

/// Writes a table of the proportions of MovieLens 20M.
fn make(n_rows: usize, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (n_users, n_items) = ((n_rows / 144).max(10), (n_rows / 748).clamp(300, 27_000));
    println!("making {}", file.display());
    let data = SyntheticConfig::new(n_users, n_items, n_rows, 42).generate()?;
    let mut out = BufWriter::new(File::create(file)?);
    writeln!(out, "userId,movieId,rating,timestamp")?;
    for row in data.interactions().iter() {
        writeln!(out, "{},{},{:.1},{}", row.user.0 + 1, row.item.0 + 1, row.value, row.timestamp)?;
    }
    Ok(out.flush()?)
}
