//! Training steps beside PyTorch's, by turns, as a table of medians and ratios.
//!
//! ```text
//! RECSYS_PYTHON=python3 cargo bench --bench versus_pytorch [-- WORKLOAD …]
//! ```
//! A workload is an id of the `training_step` bench; `full_softmax`, the loss alone; `large_tables_dense`,
//! where PyTorch's tables are dense and ours are not; or `sasrec_…_unpadded`. `RECSYS_THREADS` sets the threads of
//! everybody (default 2), `RECSYS_ROUNDS` the turns (default 5), `RECSYS_SECONDS` the length of a turn (default 2).
//!
//! Four processes take turns: ours with mimalloc, ours with the system's allocator, PyTorch as it is
//! installed, and PyTorch with glibc told to keep large buffers, which a user can do by hand.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

mod workloads;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A process that answers `WORKLOAD N_STEPS` with the milliseconds of each step.
struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn spawn(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = process.stdin.take().expect("stdin is piped");
        let output = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Self { process, input, output }
    }

    fn times(&mut self, workload: &str, n_steps: usize) -> Vec<f64> {
        writeln!(self.input, "{workload} {n_steps}").expect("the server listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the server answers");
        let times: Vec<f64> =
            line.split_whitespace().map(|time| time.parse().expect("milliseconds")).collect();
        assert_eq!(times.len(), n_steps, "{workload}: {line}");
        times
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() {
    if env::args().any(|argument| argument == "serve") {
        return workloads::serve();
    }
    let number = |name, default| env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let threads = number("RECSYS_THREADS", 2.0) as usize;
    let (rounds, seconds) = (number("RECSYS_ROUNDS", 5.0) as usize, number("RECSYS_SECONDS", 2.0));
    let asked: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let names: Vec<&str> = ["full_softmax"]
        .into_iter()
        .chain(workloads::NAMES)
        .chain(workloads::RANKING_NAMES)
        .chain(["large_tables_dense"])
        .chain(["sasrec_bce_l50_unpadded", "sasrec_full_l50_unpadded"])
        .chain(["sasrec_bce_l200_unpadded", "sasrec_full_l200_unpadded"])
        .filter(|name| asked.is_empty() || asked.iter().any(|asked| asked == name))
        .collect();

    let mut servers = servers(threads);
    println!("{threads} threads, medians of {rounds} turns of {seconds} s, milliseconds");
    println!(
        "| workload | recsys, mimalloc | recsys, system allocator | PyTorch | PyTorch, tuned | PyTorch / recsys | tuned / recsys |"
    );
    println!("|---|---|---|---|---|---|---|");
    for name in names {
        let medians = by_turns(&mut servers, name, rounds, seconds);
        let ratio =
            |peer: Option<&f64>| peer.map_or("–".to_owned(), |peer| format!("{:.2}", peer / medians[0]));
        let columns = medians
            .iter()
            .map(|median| format!("{median:.2}"))
            .chain((medians.len()..4).map(|_| "–".to_owned()));
        println!(
            "| {name} | {} | {} | {} |",
            columns.collect::<Vec<_>>().join(" | "),
            ratio(medians.get(2)),
            ratio(medians.get(3))
        );
    }
}

/// Ours twice and, if `RECSYS_PYTHON` names it, PyTorch twice.
fn servers(threads: usize) -> Vec<Server> {
    let ours = |command: &mut Command| {
        Server::spawn(command.arg("serve").env("RAYON_NUM_THREADS", threads.to_string()))
    };
    let mut servers = vec![
        ours(&mut Command::new(env::current_exe().expect("this program has a path"))),
        ours(
            Command::new(env!("CARGO"))
                .args(["bench", "--quiet", "--bench", "system_allocator", "--"])
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        ),
    ];
    if let Ok(python) = env::var("RECSYS_PYTHON") {
        let peer = || {
            let mut command = Command::new(&python);
            command
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pytorch_peer.py"))
                .arg(threads.to_string());
            command
        };
        servers.push(Server::spawn(&mut peer()));
        servers.push(Server::spawn(
            peer()
                .env("MALLOC_MMAP_MAX_", "0")
                .env("MALLOC_TRIM_THRESHOLD_", "68719476736")
                .env("MALLOC_TOP_PAD_", "67108864"),
        ));
    }
    servers
}

/// The median time of each server's steps.
fn by_turns(servers: &mut [Server], name: &str, rounds: usize, seconds: f64) -> Vec<f64> {
    let mut times = vec![Vec::new(); servers.len()];
    let steps: Vec<usize> = servers
        .iter_mut()
        .map(|server| {
            let warm = median(server.times(name, 5));
            ((1e3 * seconds / warm) as usize).clamp(3, 2_000)
        })
        .collect();
    for _ in 0..rounds {
        for (i, server) in servers.iter_mut().enumerate() {
            // The threads of the one before spin for a while after their last step.
            thread::sleep(Duration::from_millis(300));
            times[i].extend(server.times(name, steps[i]));
        }
    }
    times.into_iter().map(median).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
