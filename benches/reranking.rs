//! The list to show, 50 of 500 candidates, on one thread: `cargo bench --bench reranking`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use recsys::features::ItemVectors;
use recsys::models::reranking::{
    Calibration, CalibrationConfig, Cap, Dpp, Mmr, PopularityDebias, Rules, RulesConfig,
};
use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
use recsys::prelude::*;
use recsys::rng::Rng;

const N_ITEMS: usize = 3_700;
const N: usize = 500;
const K: usize = 50;

/// Items in a random order, the best first.
fn candidates(seed: u64) -> Vec<Candidate> {
    let mut items: Vec<u32> = (0..N_ITEMS as u32).collect();
    Rng::new(seed).shuffle(&mut items);
    let score = |place: usize| 1.0 - place as f32 / N as f32;
    items
        .into_iter()
        .take(N)
        .enumerate()
        .map(|(place, item)| Candidate::new(ItemId(item), score(place)))
        .collect()
}

fn vectors(dim: usize) -> ItemVectors {
    let mut rng = Rng::new(1);
    ItemVectors::new(dim, (0..N_ITEMS * dim).map(|_| rng.normal() as f32).collect()).expect("finite vectors")
}

/// One to three of 18 genres, as in MovieLens.
fn genres() -> ItemFeatures {
    let mut rng = Rng::new(2);
    let genres = (0..N_ITEMS).map(|_| {
        let mut genres: Vec<u32> = (0..=rng.below(3)).map(|_| rng.below(18) as u32).collect();
        genres.sort_unstable();
        genres.dedup();
        genres
    });
    ItemFeatures::new(18, genres).expect("genres below 18")
}

fn rerankers() -> Vec<(String, Box<dyn Reranker>)> {
    let row = |item| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp: 0 };
    let train = Interactions::from_rows(1, N_ITEMS, (0..N_ITEMS as u32).map(row)).expect("good rows");
    let caps = vec![Cap { keys: genres(), limit: 10 }];
    let rules = RulesConfig { hide_history: true, caps, ..RulesConfig::default() };
    let mut rerankers: Vec<(String, Box<dyn Reranker>)> = Vec::new();
    for dim in [18, 64, 128] {
        rerankers.push((format!("mmr/{dim}"), Box::new(Mmr::new(0.7, vectors(dim)).expect("good settings"))));
        rerankers.push((format!("dpp/{dim}"), Box::new(Dpp::new(0.7, vectors(dim)).expect("good settings"))));
    }
    let calibration = Calibration::new(CalibrationConfig::default(), genres()).expect("good settings");
    rerankers.push(("calibration".into(), Box::new(calibration)));
    rerankers.push(("rules".into(), Box::new(Rules::new(rules, N_ITEMS).expect("good rules"))));
    let debias = PopularityDebias::fit(&train, 0.5).expect("good settings");
    rerankers.push(("popularity_debias".into(), Box::new(debias)));
    rerankers
}

fn reranking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("{N} to {K}"));
    group.sample_size(50).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let history: Vec<ItemId> = (0..100).map(|item| ItemId(item * 7)).collect();
    let query = Query::new(&history);
    let ranked = candidates(3);
    for (name, reranker) in rerankers() {
        group.bench_function(name, |bencher| {
            let rerank = |ranked| reranker.rerank(black_box(&query), ranked, K).expect("a good list");
            bencher.iter_batched(|| ranked.clone(), rerank, BatchSize::SmallInput);
        });
    }
}

/// Answers every query with the same list.
#[derive(Debug)]
struct Fixed(Vec<Candidate>);

impl Recaller for Fixed {
    fn recall(&self, _: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        Ok(self.0.iter().take(k).cloned().collect())
    }
}

fn fusion(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fusion");
    group.sample_size(50).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    let channel = |seed| {
        let config = ChannelConfig::new(format!("channel {seed}"), N);
        Channel::new(config, Box::new(Fixed(candidates(seed))))
    };
    for method in [FusionMethod::default(), FusionMethod::MinMax] {
        let fusion = Fusion::new(method, (0..5).map(channel).collect()).expect("good channels");
        group.bench_function(format!("five channels of {N} to 1000/{method:?}"), |bencher| {
            bencher.iter(|| fusion.recall(black_box(&Query::default()), 1_000).expect("a good query"));
        });
    }
}

criterion_group!(benches, reranking, fusion);
criterion_main!(benches);
