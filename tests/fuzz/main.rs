//! Damaged bytes for every reader of outside bytes, and damaged files for everything that is saved: what cannot be read
//! is a typed error, whatever the damage. Each target runs in a process of its own, with 2 GiB of address space.
//!
//! `.ci/fuzz` runs it for as long as one likes. An input that panics, ends its process or does not end within 5 s is
//! written to `target/fuzz-failures`; `.ci/fuzz --replay FOLDER` reads it again. All inputs follow from the name of the
//! target, the seed and their number (but for the ids of weights in bundles, which are random).
#![cfg(all(unix, feature = "flex", feature = "parquet", feature = "safetensors", feature = "download"))]

mod binary;
mod damage;
mod damaged_files;
mod forms;
mod json;
mod runner;
mod samples;
mod tables;
mod target;
mod text;
mod training;

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use runner::Report;
use target::TARGETS;

fn summary(reports: &[Report]) -> String {
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    format!(
        "{{\"inputs\":{},\"panics\":{},\"aborts\":{},\"hangs\":{}}}",
        sum(Report::inputs),
        sum(|report| report.panics),
        sum(|report| report.aborts),
        sum(|report| report.hangs)
    )
}

#[test]
fn a_few_inputs_of_every_target_are_told() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.0).collect();
    let reports = runner::run_all(&names, 1, 300, Duration::from_secs(3600));
    println!("{}", summary(&reports));
    for report in &reports {
        assert_eq!((report.inputs(), report.failed()), (300, 0), "{report}");
    }
}

#[test]
#[ignore = "long; .ci/fuzz runs it"]
fn long() {
    let number = |name: &str, default: u64| {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number")))
    };
    let wanted = env::var("RECSYS_FUZZ_TARGETS").unwrap_or_default();
    let mut names: Vec<&str> = wanted.split_whitespace().collect();
    if names.is_empty() {
        names = TARGETS.iter().map(|target| target.0).collect();
    }
    if let Some(unknown) = names.iter().find(|name| TARGETS.iter().all(|target| target.0 != **name)) {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.0).collect();
        panic!("{unknown} is none of {}", known.join(", "));
    }
    let time = Duration::from_secs(number("RECSYS_FUZZ_SECONDS", 60));
    let reports = runner::run_all(&names, number("RECSYS_FUZZ_SEED", 1), u64::MAX, time);
    let mut lines: Vec<String> = reports.iter().map(Report::to_string).collect();
    lines.push(summary(&reports));
    if let Some(path) = env::var_os("RECSYS_FUZZ_SUMMARY") {
        fs::write(path, lines.join("\n") + "\n").expect("the summary can be written");
    }
    assert_eq!(reports.iter().map(Report::failed).sum::<u64>(), 0, "inputs that were not told");
}

#[test]
#[ignore = "the child process of the others"]
fn child() {
    if env::var_os(runner::JOB).is_some() {
        runner::child();
    }
}

#[test]
#[ignore = "reads an input again: .ci/fuzz --replay FOLDER"]
fn replay() {
    if let Some(folder) = env::var_os("RECSYS_FUZZ_REPLAY") {
        match runner::replay(Path::new(&folder)) {
            Ok(()) => println!("accepted"),
            Err(error) => println!("refused: {error}"),
        }
    }
}
