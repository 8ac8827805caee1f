//! The training steps that `training_step`, `versus_pytorch` and `pytorch_peer.py` time: the same sizes,
//! initialisation and random ids everywhere. A step is loss, gradients and optimizer.

use std::io::{self, BufRead, Write};
use std::time::Instant;

mod ranking;
mod sasrec;
mod two_tower;

use recsys::burn::tensor::{Device, Int, Tensor, TensorData};
use recsys::layers::TableUpdate;
use recsys::losses::SharedCandidates;
use recsys::rng::Rng;

/// The ids of the `training_step` bench.
#[allow(dead_code, reason = "a server is told the names")]
pub const NAMES: [&str; 7] = [
    "two_tower_b1024",
    "two_tower_b2048",
    "sasrec_bce_l50",
    "sasrec_full_l50",
    "sasrec_bce_l200",
    "sasrec_full_l200",
    "large_tables",
];

/// A DeepFM of ever more ids, of which a batch names at most 32,768: what a step of it costs, whatever the table.
#[allow(dead_code, reason = "of the `training_step` bench alone")]
pub const DEEP_FM_NAMES: [&str; 3] = ["deep_fm_50k_ids", "deep_fm_500k_ids", "deep_fm_5m_ids"];

/// Ranking models, of batches of 4,096.
#[allow(dead_code, reason = "a server is told the names")]
pub const RANKING_NAMES: [&str; 3] = ["deep_fm", "dcn_v2", "din"];

const D: usize = 64;
const N_ITEMS: usize = 3_417;
const DROPOUT: f64 = 0.2;

/// The workload of this name on the CPU: each call is a step. The batches are drawn beforehand, and come round
/// again.
#[allow(dead_code, reason = "not every bench is of the CPU")]
pub fn named(name: &str) -> Box<dyn FnMut()> {
    on(&Device::flex(), name)
}

/// The workload of this name on a device, where a step may be no more than queued when the call returns.
pub fn on(device: &Device, name: &str) -> Box<dyn FnMut()> {
    let two_tower =
        |n_users, n_items, batch, update| two_tower::steps(n_users, n_items, batch, update, device);
    match name {
        "deep_fm_50k_ids" => ranking::deep_fm_of(50_000, device),
        "deep_fm_500k_ids" => ranking::deep_fm_of(500_000, device),
        "deep_fm_5m_ids" => ranking::deep_fm_of(5_000_000, device),
        "deep_fm" => ranking::deep_fm(device),
        "dcn_v2" => ranking::dcn_v2(device),
        "din" => ranking::din(device),
        "full_softmax" => full_softmax(device),
        "two_tower_b1024" => two_tower(6_040, 3_706, 1_024, TableUpdate::Dense),
        "two_tower_b2048" => two_tower(6_040, 3_706, 2_048, TableUpdate::Dense),
        "large_tables" | "large_tables_dense" => two_tower(100_000, 434_000, 1_024, TableUpdate::Sparse),
        _ => {
            let sizes = sasrec::Sizes::named(name).unwrap_or_else(|| panic!("no workload {name}"));
            sasrec::steps(sizes, device)
        }
    }
}

/// Answers every line `WORKLOAD N_STEPS` of standard input with the milliseconds of each step.
#[allow(dead_code, reason = "not every bench serves")]
pub fn serve() {
    let mut current: Option<(String, Box<dyn FnMut()>)> = None;
    for line in io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let (name, n_steps) = line.split_once(' ').expect("a workload and a number");
        if current.as_ref().is_none_or(|(current, _)| current != name) {
            drop(current.take());
            current = Some((name.to_owned(), named(name)));
        }
        let (_, step) = current.as_mut().expect("just set");
        let times: Vec<String> = (0..n_steps.trim().parse().expect("a number of steps"))
            .map(|_| {
                let start = Instant::now();
                step();
                format!("{:.4}", 1e3 * start.elapsed().as_secs_f64())
            })
            .collect();
        println!("{}", times.join(" "));
        io::stdout().flush().expect("somebody reads");
    }
}

/// The loss and gradients of 6,400 rows against the catalogue.
fn full_softmax(device: &Device) -> Box<dyn FnMut()> {
    const N: usize = 6_400;
    let device = device.clone().autodiff();
    let rng = &mut Rng::new(1);
    let mut vectors = |n: usize| {
        let values: Vec<f32> = (0..n * D).map(|_| 0.3 * rng.normal() as f32).collect();
        Tensor::<2>::from_data(TensorData::new(values, [n, D]), &device).require_grad()
    };
    let (rows, items) = (vectors(N), vectors(N_ITEMS));
    let columns: Vec<i64> = (0..N).map(|_| rng.below(N_ITEMS) as i64).collect();
    let columns = Tensor::<1, Int>::from_data(TensorData::new(columns, [N]), &device);
    Box::new(move || {
        let loss = SharedCandidates::new(items.clone()).cross_entropy(rows.clone(), columns.clone());
        let gradients = loss.backward();
        assert!(rows.grad(&gradients).is_some() && items.grad(&gradients).is_some());
    })
}
