//! Every fused operation, forward and backward, beside the same composed of Burn's operations.
//!
//! `cargo bench --bench fused_operations -- cross_entropy`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use recsys::burn::tensor::{Device, Int, Tensor, TensorData};
use recsys::kernels::composed;
use recsys::losses::SharedCandidates;
use recsys::rng::Rng;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D: usize = 64;

fn normal<const R: usize>(shape: [usize; R], std: f64, rng: &mut Rng) -> Tensor<R> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (std * rng.normal()) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn ids(n: usize, bound: usize, rng: &mut Rng) -> Tensor<1, Int> {
    let ids: Vec<i64> = (0..n).map(|_| rng.below(bound) as i64).collect();
    Tensor::from_data(TensorData::new(ids, [n]), &Device::flex().autodiff())
}

/// Times a loss and its gradients, fused and composed.
fn both(c: &mut Criterion, name: &str, loss: impl Fn() -> Tensor<1>) {
    let mut group = c.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    group.bench_function("fused", |b| b.iter(|| black_box(loss().backward())));
    group.bench_function("composed", |b| b.iter(|| composed(|| black_box(loss().backward()))));
    group.finish();
}

fn cross_entropy(c: &mut Criterion) {
    let rng = &mut Rng::new(1);
    for (name, n, m) in
        [("full_6400x3417", 6_400, 3_417), ("in_batch_1024", 1_024, 1_024), ("in_batch_2048", 2_048, 2_048)]
    {
        let (rows, items) = (normal([n, D], 0.3, rng), normal([m, D], 0.3, rng));
        let columns = ids(n, m, rng);
        both(c, &format!("cross_entropy/{name}"), || {
            SharedCandidates::new(items.clone()).cross_entropy(rows.clone(), columns.clone())
        });
    }
}

criterion_group!(benches, cross_entropy);
criterion_main!(benches);
