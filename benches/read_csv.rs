//! From a CSV file of ratings to a leave-one-out split, beside polars: both read
//! `userId,movieId,rating,timestamp`, give dense ids to users and items, sort stably by user and time, and
//! split; on two threads each, in turn, three times, each run in a process of its own.
//!
//! `cargo bench --bench read_csv -- [ROWS [FILE]]` (20,000,000 rows; the file is made if it is not there).
//! polars runs if the environment variable `RECSYS_PYTHON` names a Python that has it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use recsys::prelude::*;
use serde_json::{Value, json};

const THREADS: &str = "2";
const ROUNDS: usize = 3;

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

    let this = std::env::current_exe()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/polars_pipeline.py");
    let python = std::env::var_os("RECSYS_PYTHON");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(run(Command::new(&this).arg("--measure").arg(&file))?);
        if let Some(python) = &python {
            theirs.push(run(Command::new(python).arg(&script).arg(&file))?);
        }
    }
    let (seconds, megabytes) = report("recsys", &ours);
    if python.is_none() {
        println!("polars: not run, RECSYS_PYTHON is not set");
        return Ok(());
    }
    let (their_seconds, their_megabytes) = report("polars", &theirs);
    for count in ["rows", "users", "items", "train", "validation", "test"] {
        assert_eq!(ours[0][count], theirs[0][count], "the two disagree on {count}");
    }
    println!(
        "recsys / polars: {:.2} of the time, {:.2} of the memory",
        seconds / their_seconds,
        megabytes / their_megabytes
    );
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

/// The most memory that this process has held so far, where the system says so.
fn peak_megabytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

fn run(command: &mut Command) -> Result<Value, Box<dyn std::error::Error>> {
    let output = command.env("RAYON_NUM_THREADS", THREADS).env("POLARS_MAX_THREADS", THREADS).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Prints the medians, and gives those of seconds and memory.
fn report(name: &str, runs: &[Value]) -> (f64, f64) {
    let median = |field: &str| {
        let mut numbers: Vec<f64> = runs.iter().filter_map(|run| run[field].as_f64()).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied()
    };
    print!("{name}:");
    for field in ["seconds", "read", "encode", "sort", "split", "read_megabytes", "megabytes"] {
        if let Some(median) = median(field) {
            print!(" {field} {median:.2}");
        }
    }
    println!();
    (median("seconds").unwrap_or(f64::NAN), median("megabytes").unwrap_or(f64::NAN))
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
