//! Exact search at the size of MovieLens-1M (3,700 × 64) and at 100,000 × 64, one query and batches; and
//! the graph: `cargo bench --bench index`. Set `RAYON_NUM_THREADS` for the threads of a batch.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use recsys::prelude::*;
use recsys::rng::Rng;

const DIM: usize = 64;
const K: usize = 10;
const QUERIES: usize = 1024;

fn vectors(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n * DIM).map(|_| rng.normal() as f32).collect()
}

fn exact(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exact");
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let queries = vectors(QUERIES, 1);
    let seen = ItemFilter::all().deny((0..200).map(ItemId));
    let filters = vec![&seen; QUERIES];
    for n in [3_700, 100_000] {
        let index = ExactIndex::new(Similarity::InnerProduct, DIM, vectors(n, 2)).expect("finite vectors");
        let mut rows = queries.chunks_exact(DIM).cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{n}x{DIM}/one query"), |bencher| {
            bencher
                .iter(|| index.search(black_box(rows.next().expect("endless")), K, &seen).expect("finite"));
        });
        group.throughput(Throughput::Elements(QUERIES as u64));
        group.bench_function(format!("{n}x{DIM}/batch of {QUERIES}"), |bencher| {
            bencher.iter(|| index.search_batch(black_box(&queries), K, &filters).expect("finite"));
        });
    }
}

fn hnsw(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hnsw");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let (items, queries) = (vectors(5_000, 3), vectors(QUERIES, 4));
    let config =
        HnswConfig { min_items_for_graph: 0, min_recall: 0.0, n_recall_queries: 1, ..HnswConfig::default() };
    let build = |items| HnswIndex::build(Similarity::Cosine, DIM, items, &config).expect("finite vectors");
    group.bench_function("5000x64/build", |bencher| {
        bencher.iter_batched(|| items.clone(), build, BatchSize::LargeInput);
    });
    let index = build(items.clone());
    let mut rows = queries.chunks_exact(DIM).cycle();
    let everything = ItemFilter::all();
    group.throughput(Throughput::Elements(1));
    group.bench_function("5000x64/one query", |bencher| {
        bencher
            .iter(|| index.search(black_box(rows.next().expect("endless")), K, &everything).expect("finite"));
    });
}

criterion_group!(benches, exact, hnsw);
criterion_main!(benches);
