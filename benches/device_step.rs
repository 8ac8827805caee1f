//! Steps per second on a device, for sequences of length 200 and batches from 128 to 1,024, for two towers and for
//! ranking models; beside PyTorch, by turns.
//!
//! ```text
//! RECSYS_PYTHON=python3 cargo bench --features wgpu --bench device_step -- --device wgpu
//! ```
//! Without `RECSYS_PYTHON` PyTorch is left out. Steps are queued one behind another and awaited at the end, as in training.

#[path = "../examples/common/device.rs"]
mod device;
mod workloads;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use clap::Parser;
use device::DeviceName;
use recsys::prelude::Device;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Where ours runs.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// Where PyTorch runs [default: cpu beside cpu, else cuda]
    #[arg(long)]
    torch_device: Option<String>,
    /// The batches of sequences.
    #[arg(long, value_delimiter = ',', default_value = "128,256,512,1024")]
    batch: Vec<usize>,
    /// The workloads [default: sequences with both losses, with each batch, two towers and ranking models]
    workloads: Vec<String>,
    /// Steps in a turn [default: about two seconds of them]
    #[arg(long)]
    steps: Option<usize>,
    /// Turns, of which the median counts.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    #[arg(long, hide = true)]
    bench: bool,
}

/// Seconds that some steps take, all together.
trait Side {
    fn seconds(&mut self, workload: &str, n_steps: usize) -> f64;
}

struct Ours {
    device: Device,
    current: Option<(String, Box<dyn FnMut()>)>,
}

impl Side for Ours {
    fn seconds(&mut self, workload: &str, n_steps: usize) -> f64 {
        if self.current.as_ref().is_none_or(|(name, _)| name != workload) {
            self.current = None;
            self.current = Some((workload.to_owned(), workloads::on(&self.device, workload)));
        }
        let (_, step) = self.current.as_mut().expect("just set");
        self.device.sync().expect("the device works");
        let start = Instant::now();
        (0..n_steps).for_each(|_| step());
        self.device.sync().expect("the device works");
        start.elapsed().as_secs_f64()
    }
}

struct PyTorch {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl PyTorch {
    /// If `RECSYS_PYTHON` names an interpreter.
    fn spawn(device: &str) -> Option<Self> {
        let python = env::var("RECSYS_PYTHON").ok()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut process = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pytorch_peer.py"))
            .args([&threads.to_string(), device])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{python}: {error}"));
        let input = process.stdin.take().expect("stdin is piped");
        let output = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Some(Self { process, input, output })
    }
}

impl Side for PyTorch {
    fn seconds(&mut self, workload: &str, n_steps: usize) -> f64 {
        writeln!(self.input, "{workload} {n_steps}").expect("PyTorch listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("PyTorch answers");
        assert!(!line.is_empty(), "PyTorch ended at {workload}");
        line.split_whitespace().map(|time| time.parse::<f64>().expect("milliseconds") / 1e3).sum()
    }
}

impl Drop for PyTorch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() {
    let args = Args::parse();
    let device = args.device.device().unwrap_or_else(|reason| panic!("{:?}: {reason}", args.device));
    let beside = if args.device == DeviceName::Cpu { "cpu" } else { "cuda" };
    let torch_device = args.torch_device.as_deref().unwrap_or(beside);
    let mut ours = Ours { device, current: None };
    let mut torch = PyTorch::spawn(torch_device);

    println!("recsys on {:?}, PyTorch on {torch_device}; medians of {} turns", args.device, args.turns);
    println!(
        "| workload | recsys, ms a step | steps a second | PyTorch, ms a step | steps a second | ratio |"
    );
    println!("|---|---|---|---|---|---|");
    let workloads = if args.workloads.is_empty() { default_workloads(&args.batch) } else { args.workloads };
    for workload in workloads {
        let mut sides: Vec<&mut dyn Side> = vec![&mut ours];
        sides.extend(torch.as_mut().map(|torch| torch as &mut dyn Side));
        let seconds = by_turns(&mut sides, &workload, args.steps, args.turns);
        let columns = |seconds: f64| format!("{:.2} | {:.1}", 1e3 * seconds, 1.0 / seconds);
        let (peer, ratio) = match seconds.get(1) {
            Some(&peer) => (columns(peer), format!("{:.2}", peer / seconds[0])),
            None => ("– | –".to_owned(), "–".to_owned()),
        };
        println!("| {workload} | {} | {peer} | {ratio} |", columns(seconds[0]));
    }
}

fn default_workloads(batches: &[usize]) -> Vec<String> {
    let sequences = |loss| batches.iter().map(move |batch| format!("sasrec_{loss}_l200_b{batch}"));
    let others = ["two_tower_b1024"].into_iter().chain(workloads::RANKING_NAMES).map(str::to_owned);
    sequences("bce").chain(sequences("full")).chain(others).collect()
}

/// The median time of a step on each side.
fn by_turns(sides: &mut [&mut dyn Side], workload: &str, n_steps: Option<usize>, turns: usize) -> Vec<f64> {
    // The first steps compile the device's kernels.
    let n_steps: Vec<usize> = sides
        .iter_mut()
        .map(|side| {
            n_steps.unwrap_or_else(|| {
                side.seconds(workload, 2);
                (2.0 / side.seconds(workload, 3) * 3.0).clamp(3.0, 2_000.0) as usize
            })
        })
        .collect();
    let mut times = vec![Vec::new(); sides.len()];
    for _ in 0..turns.max(1) {
        for (i, side) in sides.iter_mut().enumerate() {
            times[i].push(side.seconds(workload, n_steps[i]) / n_steps[i] as f64);
        }
    }
    times.into_iter().map(median).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
