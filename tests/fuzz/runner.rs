//! Runs a target in processes of their own, so that an input that ends the process, or never ends, costs that input
//! alone.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use recsys::rng::Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::target::{self, Input, Target};

/// What a child is to do, as JSON.
pub const JOB: &str = "RECSYS_FUZZ_JOB";

/// The address space of a child, in KiB.
const MEMORY: u64 = 2 << 20;
/// An input that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Making seeds may take longer.
const BEGINNING: Duration = Duration::from_secs(100);
/// As many inputs are kept for each place of a panic.
const KEPT: usize = 3;
/// As many aborts, or hangs, end the run of a target: each costs a new process.
const MAX_LOST: u64 = 300;

/// A child's work on a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    pub target: String,
    pub seed: u64,
    /// The number of the first input.
    pub first: u64,
    /// How many inputs, at most.
    pub n_inputs: u64,
    pub milliseconds: u64,
    /// For the target's files and this job's.
    pub folder: PathBuf,
    /// Only writes the first input to the folder of failures, for this reason.
    pub keep: Option<String>,
    /// Not damaged seeds but a file, with the number of a setting.
    pub file: Option<(usize, PathBuf)>,
}

/// What a child says of its work, before each input: its number and what the inputs before came to.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    at: u64,
    accepted: u64,
    refused: u64,
    panics: u64,
}

/// Before the first input.
const NOT_BEGUN: u64 = u64::MAX;

impl Progress {
    const LEN: usize = 32;

    fn write(self, file: &File) {
        let words = [self.at, self.accepted, self.refused, self.panics];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.write_all_at(&bytes, 0).expect("the scratch folder can be written");
    }

    fn read(file: &File) -> Self {
        let mut bytes = [0; Self::LEN];
        file.read_exact_at(&mut bytes, 0).expect("the scratch folder can be read");
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[8 * at + byte]));
        Self { at: word(0), accepted: word(1), refused: word(2), panics: word(3) }
    }
}

/// What the inputs of a target came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub target: String,
    pub accepted: u64,
    pub refused: u64,
    pub panics: u64,
    pub aborts: u64,
    pub hangs: u64,
    seconds: f64,
    /// Places and reasons, how often, and where one such input is kept.
    pub failures: BTreeMap<String, (u64, String)>,
}

impl Report {
    pub fn inputs(&self) -> u64 {
        self.accepted + self.refused + self.failed()
    }

    pub fn failed(&self) -> u64 {
        self.panics + self.aborts + self.hangs
    }

    fn note(&mut self, reason: String, kept: String) {
        self.failures.entry(reason).or_insert((0, kept)).0 += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, accepted, refused, panics, aborts, hangs, seconds, .. } = self;
        let (inputs, rate) = (self.inputs(), self.inputs() as f64 / seconds.max(1e-3));
        write!(f, "{target:<20} {inputs:>9} inputs {accepted:>8} accepted {refused:>9} refused")?;
        write!(f, " {panics:>6} panics {aborts:>4} aborts {hangs:>3} hangs {rate:>8.0} inputs/s")?;
        for (reason, (n, kept)) in &self.failures {
            write!(f, "\n    {n} × {reason}\n        {kept}")?;
        }
        Ok(())
    }
}

/// The folder of inputs that were not told.
fn failures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz-failures")
}

/// A folder in memory where there is one.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a scratch folder")
}

fn progress_file(folder: &Path) -> File {
    let path = folder.join("progress");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("a scratch file")
}

/// The input of this number.
fn input(target: &dyn Target, job: &Job, number: u64) -> Input {
    if let Some((variant, path)) = &job.file {
        return Input::bytes(*variant, fs::read(path).expect("a file that is there"));
    }
    let name = job.target.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    target.input(&mut Rng::stream(job.seed, &[name, number]))
}

/// The process that runs inputs.
pub fn child() {
    let job: Job = serde_json::from_str(&env::var(JOB).expect("the parent says what to do")).expect("a job");
    let files = job.folder.join("files");
    fs::create_dir_all(&files).expect("the scratch folder can be written");
    // Within the pool, so that no work is handed from thread to thread.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| {
        let target = target::make(&job.target, &files);
        match &job.keep {
            Some(reason) => keep(target.as_ref(), &job, job.first, reason),
            None => run_inputs(target.as_ref(), &job),
        }
    });
}

fn run_inputs(target: &dyn Target, job: &Job) {
    let last_panic = quiet_panics();
    let file = progress_file(&job.folder);
    let end = Instant::now() + Duration::from_millis(job.milliseconds);
    let mut progress = Progress::default();
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for number in job.first..job.first.saturating_add(job.n_inputs) {
        progress.at = number;
        progress.write(&file);
        if Instant::now() > end {
            break;
        }
        let input = input(target, job, number);
        match catch_unwind(AssertUnwindSafe(|| target.read(&input))) {
            Ok(Ok(())) => progress.accepted += 1,
            Ok(Err(error)) => {
                assert!(!error.is_empty());
                progress.refused += 1;
            }
            Err(_) => {
                progress.panics += 1;
                let panic = last_panic.lock().expect("no panic there").take();
                let reason =
                    panic.map_or_else(|| "a panic without a place".to_owned(), |panic| panic.reason());
                let n_kept = kept.entry(reason.clone()).or_default();
                *n_kept += 1;
                if *n_kept <= KEPT {
                    keep(target, job, number, &reason);
                }
                note_panic(job, number, &reason);
            }
        }
        progress.at = number + 1;
    }
    progress.write(&file);
}

/// The latest panic: place, message and the calls that led there.
struct Panic {
    what: String,
    calls: Backtrace,
}

impl Panic {
    /// Where it was, and in which functions.
    fn reason(&self) -> String {
        format!("{} {}", self.what, innermost(&self.calls.to_string()))
    }
}

/// Panics say nothing; the latest is kept.
fn quiet_panics() -> &'static Mutex<Option<Panic>> {
    static LAST: Mutex<Option<Panic>> = Mutex::new(None);
    std::panic::set_hook(Box::new(|info| {
        let message = without_numbers(info.payload_as_str().unwrap_or("no message"));
        let place = info.location().map(|place| place.to_string()).unwrap_or_default();
        let what = format!("panic at {}: {message}", short(&place));
        *LAST.lock().expect("no panic here") = Some(Panic { what, calls: Backtrace::force_capture() });
    }));
    &LAST
}

/// A place without the folders of registries.
fn short(place: &str) -> &str {
    let start = place.rfind("/library/").or_else(|| {
        place.find("index.crates.io-").and_then(|at| place[at..].find('/').map(|slash| at + slash))
    });
    place[start.map_or(0, |start| start + 1)..].trim()
}

/// The start of a message in one line, so that messages of one kind are one.
fn without_numbers(message: &str) -> String {
    let mut short = String::new();
    for c in message.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
        if !(c == '#' && short.ends_with('#')) {
            short.push(if c == '\n' { ' ' } else { c });
        }
    }
    short.chars().take(110).collect()
}

/// The innermost functions of a backtrace: of any crate but the standard library, and of this one.
fn innermost(calls: &str) -> String {
    const STANDARD: [&str; 7] = ["std::", "core::", "alloc::", "__", "rust_", "fuzz::", "rayon"];
    // `  12: crate::function`
    let numbered = calls.lines().filter_map(|line| line.trim().split_once(": "));
    let names = || numbered.clone().filter(|(number, _)| number.parse::<u32>().is_ok()).map(|(_, name)| name);
    let starts = |name: &str, with: &str| name.trim_start_matches('<').starts_with(with);
    let any = names().find(|name| !STANDARD.iter().any(|with| starts(name, with)));
    let ours = names().find(|name| starts(name, "recsys::")).filter(|name| Some(*name) != any);
    let functions: Vec<String> = any.into_iter().chain(ours).map(|name| format!("in {name}")).collect();
    functions.join(" ")
}

/// What a process that ended itself said before.
fn abort_reason(errors: &str, status: ExitStatus) -> String {
    let says = |line: &&str| line.contains("memory allocation") || line.contains("overflow");
    let first = errors.lines().find(says).or_else(|| errors.lines().find(|line| !line.trim().is_empty()));
    format!("{status}: {} {}", without_numbers(first.unwrap_or_default()), innermost(errors))
}

fn note_panic(job: &Job, number: u64, reason: &str) {
    let path = job.folder.join("panics");
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a scratch file");
    writeln!(file, "{number}\t{reason}").expect("the scratch folder can be written");
}

fn kept_at(job: &Job, number: u64) -> PathBuf {
    failures().join(format!("{}-{}-{number}", job.target, job.seed))
}

/// Writes an input and what it did to the folder of failures.
fn keep(target: &dyn Target, job: &Job, number: u64, reason: &str) {
    let input = input(target, job, number);
    let folder = kept_at(job, number);
    let _ = fs::remove_dir_all(&folder);
    for (name, bytes) in target.whole(&input) {
        crate::forms::write_file(&folder.join("files"), &name, &bytes);
    }
    let about = json!({
        "target": job.target, "seed": job.seed, "number": number, "variant": input.variant, "reason": reason,
    });
    fs::write(folder.join("about.json"), format!("{about:#}")).expect("the folder can be written");
}

/// Reads an input that was kept, in this process; what it comes to.
pub fn replay(kept: &Path) -> Result<(), String> {
    let about = fs::read(kept.join("about.json")).expect("a folder of target/fuzz-failures");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    println!("{about:#}");
    let folder = scratch();
    let target = target::make(about["target"].as_str().expect("a name"), folder.path());
    let variant = about["variant"].as_u64().expect("a number") as usize;
    let files = crate::forms::files(&kept.join("files")).into_iter().collect();
    target.read(&target.again(variant, files))
}

fn spawn(job: &Job) -> Child {
    let errors = File::create(job.folder.join("errors")).expect("a scratch file");
    Command::new("sh")
        .args(["-c", &format!("ulimit -c 0; ulimit -v {MEMORY}; exec \"$0\" \"$@\"")])
        .arg(env::current_exe().expect("a running program has a path"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(JOB, serde_json::to_string(job).expect("JSON"))
        .env("RAYON_NUM_THREADS", "1")
        .env("MALLOC_ARENA_MAX", "2")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .expect("the test can run itself")
}

/// How a child ended.
enum End {
    Done,
    Hang,
    Abort(String),
}

fn watch(mut child: Child, folder: &Path) -> End {
    let file = progress_file(folder);
    let (mut at, mut since) = (NOT_BEGUN, Instant::now());
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            let errors = fs::read_to_string(folder.join("errors")).unwrap_or_default();
            return if status.success() { End::Done } else { End::Abort(abort_reason(&errors, status)) };
        }
        let now = Progress::read(&file).at;
        if now != at {
            (at, since) = (now, Instant::now());
        }
        if since.elapsed() > if at == NOT_BEGUN { BEGINNING } else { PATIENCE } {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
            return End::Hang;
        }
        thread::sleep(Duration::from_millis(4));
    }
}

/// Runs inputs of a target from number 0 on, until there were so many or the time is over.
pub fn run(target: &str, seed: u64, n_inputs: u64, time: Duration, folder: &Path) -> Report {
    let job =
        Job { target: target.to_owned(), seed, n_inputs, folder: folder.join(target), ..Job::default() };
    run_job(job, time)
}

/// Reads a file as an input of a target.
pub fn read_file(target: &str, variant: usize, file: &Path, folder: &Path) -> Report {
    let (target, folder) = (target.to_owned(), folder.join(target));
    let file = Some((variant, file.to_path_buf()));
    run_job(Job { target, n_inputs: 1, folder, file, ..Job::default() }, BEGINNING)
}

fn run_job(mut job: Job, time: Duration) -> Report {
    fs::create_dir_all(&job.folder).expect("the scratch folder can be written");
    let (start, n_inputs) = (Instant::now(), job.n_inputs);
    let mut report = Report { target: job.target.clone(), ..Report::default() };
    loop {
        let left = time.saturating_sub(start.elapsed());
        job.milliseconds = left.as_millis() as u64;
        job.n_inputs = n_inputs - job.first;
        if left.is_zero() || job.n_inputs == 0 || report.aborts + report.hangs >= MAX_LOST {
            break;
        }
        let file = progress_file(&job.folder);
        Progress { at: NOT_BEGUN, ..Progress::default() }.write(&file);
        let end = watch(spawn(&job), &job.folder);
        let progress = Progress::read(&file);
        assert!(progress.at != NOT_BEGUN, "{} did not begin: {}", job.target, errors(&job.folder));
        report.accepted += progress.accepted;
        report.refused += progress.refused;
        report.panics += progress.panics;
        let reason = match end {
            End::Done => break,
            End::Hang => {
                report.hangs += 1;
                format!("no end within {} s", PATIENCE.as_secs())
            }
            End::Abort(reason) => {
                report.aborts += 1;
                reason
            }
        };
        if report.failures.get(&reason).is_none_or(|(n, _)| *n < KEPT as u64) {
            keep_lost(&job, progress.at, &reason);
        }
        report.note(reason, kept_at(&job, progress.at).display().to_string());
        job.first = progress.at + 1;
    }
    for line in fs::read_to_string(job.folder.join("panics")).unwrap_or_default().lines() {
        let (number, reason) = line.split_once('\t').unwrap_or_default();
        let kept = kept_at(&job, number.parse().unwrap_or_default());
        report.note(reason.to_owned(), kept.display().to_string());
    }
    report.seconds = start.elapsed().as_secs_f64();
    report
}

fn errors(folder: &Path) -> String {
    fs::read_to_string(folder.join("errors")).unwrap_or_default()
}

/// Has the input that ended a child kept by another.
fn keep_lost(job: &Job, number: u64, reason: &str) {
    let job = Job { first: number, keep: Some(reason.to_owned()), ..job.clone() };
    let kept = spawn(&job).wait().expect("it is our child");
    assert!(kept.success(), "{}", errors(&job.folder));
}

/// Runs targets, as many at a time as there are processors; the time of each by its share.
pub fn run_all(names: &[&str], seed: u64, n_inputs: u64, time: Duration) -> Vec<Report> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from).min(names.len());
    let share = |name: &str| target::TARGETS.iter().find(|known| known.0 == name).map_or(1, |known| known.1);
    let shares: u32 = names.iter().map(|name| share(name)).sum();
    // Those that take longest first.
    let mut due = names.to_vec();
    due.sort_by_key(|name| share(name));
    let (due, done) = (Mutex::new(due), Mutex::new(Vec::new()));
    let folder = scratch();
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while let Some(name) = { due.lock().expect("no panic").pop() } {
                    let time = time * n_threads as u32 * share(name) / shares;
                    let report = run(name, seed, n_inputs, time, folder.path());
                    println!("{report}");
                    done.lock().expect("no panic").push(report);
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|report| names.iter().position(|name| *name == report.target));
    done
}
