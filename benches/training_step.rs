//! Whole training steps: loss, gradients, optimizer.
//!
//! ```text
//! cargo bench --bench training_step
//! ```
//! `benches/README.md` says how to run the same sizes in PyTorch.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

mod workloads;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn training_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("training_step");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for name in workloads::NAMES.into_iter().chain(workloads::RANKING_NAMES).chain(workloads::DEEP_FM_NAMES) {
        // Made when it is first run, so that a filter leaves the others' tables alone.
        let mut step = None;
        group.bench_function(name, |b| b.iter(step.get_or_insert_with(|| workloads::named(name))));
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
