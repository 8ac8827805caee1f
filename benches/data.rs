//! How fast are generation, views, sequences, filters and splits?
//!
//! `RECSYS_BENCH_ROWS` sets the number of rows (default 1,000,000): `cargo bench --bench data`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use recsys::prelude::*;
use recsys::rng::Rng;

fn rows() -> usize {
    std::env::var("RECSYS_BENCH_ROWS").map_or(1_000_000, |rows| rows.parse().expect("a number of rows"))
}

/// As many rows per user and per item as MovieLens 20M has.
fn config() -> SyntheticConfig {
    SyntheticConfig::new(rows() / 144 + 1, rows() / 750 + 1_000, rows(), 1)
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("data");
    group.sample_size(10).throughput(Throughput::Elements(rows() as u64));
    group.bench_function("synthetic", |b| b.iter(|| config().generate().unwrap()));

    let dataset = config().generate().unwrap();
    let by_user_and_time = dataset.interactions();
    let mut order: Vec<usize> = (0..by_user_and_time.len()).collect();
    Rng::new(1).shuffle(&mut order);
    let shuffled = by_user_and_time.select(&order);
    for (name, table) in [("by_user_and_time", by_user_and_time), ("shuffled", &shuffled)] {
        group.bench_function(format!("items_of_users/{name}"), |b| {
            b.iter(|| Csr::by_user(black_box(table), |row| row.item))
        });
        group.bench_function(format!("users_of_items/{name}"), |b| {
            b.iter(|| Csr::by_item(black_box(table), |row| row.user))
        });
        group.bench_function(format!("sequences/{name}"), |b| b.iter(|| Sequences::new(black_box(table))));
        group.bench_function(format!("leave_one_out/{name}"), |b| {
            b.iter(|| Split::leave_one_out(black_box(table)))
        });
        group.bench_function(format!("k_core/{name}"), |b| {
            b.iter_batched(
                || table.clone(),
                |table| table.min_value(4.0).k_core(20, 20),
                BatchSize::LargeInput,
            )
        });
        group.bench_function(format!("deduplicate/{name}"), |b| {
            b.iter_batched(|| table.clone(), |table| table.deduplicate(Keep::Last), BatchSize::LargeInput)
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
