//! Every fused operation, forward and backward, beside the same composed of Burn's operations.
//!
//! `cargo bench --bench fused_operations [-- cross_entropy]`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use recsys::burn;
use recsys::burn::module::{Module, Param};
use recsys::burn::tensor::{Device, Int, Tensor, TensorData};
use recsys::kernels::composed;
use recsys::layers::{
    Activation, Embedding, Init, LayerNorm, Linear, MultiHot, MultiHotEmbedding, SequenceLayout, TableUpdate,
    causal_attention, dropout, dropout_add, l2_normalize, sequence_embedding,
};
use recsys::losses::{SharedCandidates, binary_cross_entropy, candidate_logits};
use recsys::rng::Rng;
use recsys::training::{Stepper, TrainingConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D: usize = 64;
/// The rows of a batch of 128 histories of 50 items.
const ROWS: usize = 6_400;
const N_ITEMS: usize = 3_417;

fn device() -> Device {
    Device::flex().autodiff()
}

fn normal<const R: usize>(shape: [usize; R], std: f64) -> Tensor<R> {
    let mut rng = Rng::new(shape.iter().sum::<usize>() as u64);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (std * rng.normal()) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &device()).require_grad()
}

fn ids(n: usize, bound: usize) -> Vec<u32> {
    let mut rng = Rng::new((n + bound) as u64);
    (0..n).map(|_| rng.below(bound) as u32).collect()
}

fn id_tensor(ids: &[u32]) -> Tensor<1, Int> {
    recsys::layers::id_tensor(ids, &device())
}

/// Times `run` fused and composed.
fn both(c: &mut Criterion, name: &str, mut run: impl FnMut()) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    group.bench_function("fused", |b| b.iter(&mut run));
    group.bench_function("composed", |b| b.iter(|| composed(&mut run)));
    group.finish();
}

/// Times the forward and backward pass of the sum of an output.
fn both_ways<const R: usize>(c: &mut Criterion, name: &str, output: impl Fn(&mut Rng) -> Tensor<R>) {
    let mut rng = Rng::new(1);
    both(c, name, || {
        black_box(output(&mut rng).sum().backward());
    });
}

fn losses(c: &mut Criterion) {
    for (name, n, m) in
        [("full_6400x3417", ROWS, N_ITEMS), ("in_batch_1024", 1_024, 1_024), ("in_batch_2048", 2_048, 2_048)]
    {
        let (rows, items) = (normal([n, D], 0.3), normal([m, D], 0.3));
        let columns = id_tensor(&ids(n, m));
        both_ways(c, &format!("cross_entropy/{name}"), |_| {
            SharedCandidates::new(items.clone()).cross_entropy(rows.clone(), columns.clone())
        });
    }
    let (rows, items) = (normal([ROWS, D], 0.3), normal([N_ITEMS, D], 0.3));
    let candidates = id_tensor(&ids(2 * ROWS, N_ITEMS)).reshape([ROWS, 2]);
    both_ways(c, "candidate_bce/6400x2", |_| {
        binary_cross_entropy(candidate_logits(rows.clone(), items.clone(), candidates.clone()))
    });
}

fn rowwise(c: &mut Criterion) {
    let (x, residual) = (normal([ROWS, D], 1.0), normal([ROWS, D], 2.0));
    both_ways(c, "dropout/6400x64", |rng| dropout(x.clone(), 0.2, Some(rng)));
    both_ways(c, "dropout_add/6400x64", |rng| dropout_add(x.clone(), residual.clone(), 0.2, Some(rng)));
    both_ways(c, "l2_normalize/6400x64", |_| l2_normalize(x.clone()));
    let norm = LayerNorm::new(D, &device());
    both_ways(c, "layer_norm/6400x64", |_| norm.forward(x.clone()));
    let linear = Linear::new(D, D, &mut Rng::new(2), &device());
    both_ways(c, "linear/6400x64x64", |_| linear.forward(x.clone()));
    for (name, activation) in [("relu", Activation::Relu), ("gelu", Activation::Gelu)] {
        both_ways(c, &format!("linear_{name}/6400x64x64"), |_| {
            linear.forward_activated(x.clone(), activation)
        });
    }
}

fn sequences(c: &mut Criterion) {
    for len in [50, 200] {
        let layout = SequenceLayout::new([len; 128]);
        let n = layout.n_rows();
        let qkv = normal([n, 3 * D], 1.0);
        both_ways(c, &format!("attention/128x{len}"), |rng| {
            causal_attention(qkv.clone(), &layout, 2, 0.2, Some(rng))
        });
        let (items, positions, ids) = (normal([N_ITEMS, D], 1.0), normal([len, D], 1.0), ids(n, N_ITEMS));
        both_ways(c, &format!("sequence_embedding/128x{len}"), |rng| {
            sequence_embedding(items.clone(), positions.clone(), &ids, &layout, 0.2, Some(rng))
        });
    }
}

fn embeddings(c: &mut Criterion) {
    let rng = &mut Rng::new(3);
    let init = Init::Normal { std: 0.1 };
    let table = Embedding::new([6_040, D], init, TableUpdate::Dense, rng, &device());
    let users = ids(1_024, 6_040);
    both_ways(c, "embedding/1024_of_6040", |_| table.forward(&users));
    let categories = [0, 5, 11];
    let multi_hot = |item| MultiHot { cold: false, categories: &categories[..1 + item % 3] };
    let items: Vec<_> = (0..N_ITEMS).map(multi_hot).collect();
    let bags = MultiHotEmbedding::new(18, &items, D, init, TableUpdate::Dense, rng, &device());
    let items = ids(3_200, N_ITEMS);
    both_ways(c, "multi_hot_embedding/3200", |_| bags.forward(&items));
}

/// A module that is nothing but a table.
#[derive(Module, Debug)]
struct Table {
    rows: Embedding,
    other: Param<Tensor<1>>,
}

/// Whole steps whose loss costs next to nothing.
fn optimizers(c: &mut Criterion) {
    for (name, n, update) in [
        ("dense_adam_step/10000x64", 10_000, TableUpdate::Dense),
        ("lazy_adam_step/434000x64", 434_000, TableUpdate::Sparse),
    ] {
        let ids = ids(1_024, n);
        let mut stepper = None;
        both(c, name, || {
            let make = || {
                let rng = &mut Rng::new(4);
                let rows = Embedding::new([n, D], Init::Normal { std: 0.1 }, update, rng, &Device::flex());
                let table = Table { rows, other: Init::Constant(0.0).param([1], rng, &Device::flex()) };
                Stepper::new(table, &TrainingConfig::default()).expect("valid settings")
            };
            let before = stepper.take().unwrap_or_else(make);
            let (after, _) =
                before.step(1.0, |table: &Table| table.rows.forward(&ids).sum() + table.other.val());
            stepper = Some(after);
        });
    }
}

criterion_group!(benches, losses, rowwise, sequences, embeddings, optimizers);
criterion_main!(benches);
