//! A reader beside polars: each run in a process of its own, on two threads, in turn, three times.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const THREADS: &str = "2";
const ROUNDS: usize = 3;

/// Runs this bench with `--measure FILE`, and `benches/SCRIPT FILE` if the environment variable `RECSYS_PYTHON` names a
/// Python that has polars. Both print a JSON object, and must agree on its `counts`; the medians of `fields`, `seconds`
/// and `megabytes` among them, are printed. Gives the median of our seconds.
pub fn compare(file: &Path, script: &str, counts: &[&str], fields: &[&str]) -> Result<f64> {
    let this = std::env::current_exe()?;
    let python = std::env::var_os("RECSYS_PYTHON");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(script);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(run(Command::new(&this).arg("--measure").arg(file))?);
        if let Some(python) = &python {
            theirs.push(run(Command::new(python).arg(&script).arg(file))?);
        }
    }
    print("recsys", &ours, fields);
    let seconds = median(&ours, "seconds").unwrap_or(f64::NAN);
    if theirs.is_empty() {
        println!("polars: not run, RECSYS_PYTHON is not set");
        return Ok(seconds);
    }
    print("polars", &theirs, fields);
    for &count in counts {
        assert_eq!(ours[0][count], theirs[0][count], "the two disagree on {count}");
    }
    let ratio = |field| median(&ours, field).zip(median(&theirs, field)).map_or(f64::NAN, |(a, b)| a / b);
    println!("recsys / polars: {:.2} of the time, {:.2} of the memory", ratio("seconds"), ratio("megabytes"));
    Ok(seconds)
}

fn run(command: &mut Command) -> Result<Value> {
    let output = command.env("RAYON_NUM_THREADS", THREADS).env("POLARS_MAX_THREADS", THREADS).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn median(runs: &[Value], field: &str) -> Option<f64> {
    let mut numbers: Vec<f64> = runs.iter().filter_map(|run| run[field].as_f64()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

fn print(name: &str, runs: &[Value], fields: &[&str]) {
    print!("{name}:");
    for field in fields {
        if let Some(median) = median(runs, field) {
            print!(" {field} {median:.2}");
        }
    }
    println!();
}

/// The most memory that this process has held so far, where the system says so.
pub fn peak_megabytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}
