//! One request of the ranking stage: 1,000 candidates of one user, who has 50 past items.
//!
//! ```text
//! cargo bench --bench ranking_request
//! ```

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use recsys::burn::tensor::Device;
use recsys::features::{CandidateRows, EncodedRow, EncodedRows, FeatureSpace};
use recsys::layers::Cross;
use recsys::models::ranking::{DcnConfig, DeepFmConfig, DinConfig, FeatureRanker};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::RankingConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_USERS: usize = 6_040;
const N_ITEMS: usize = 3_706;
const N_CANDIDATES: usize = 1_000;
const N_HISTORY: usize = 50;

/// The fields of a user, then those of an item, and how many ids each has.
const USER_FIELDS: [(&str, usize); 5] =
    [("user", N_USERS), ("gender", 2), ("age", 7), ("occupation", 21), ("zip", 3_439)];
const ITEM_FIELDS: [(&str, usize); 3] = [("item", N_ITEMS), ("genres", 18), ("year", 81)];

fn space() -> Result<FeatureSpace> {
    let mut fields = USER_FIELDS.into_iter().chain(ITEM_FIELDS);
    let space =
        fields.try_fold(FeatureSpace::default(), |space, (name, n_ids)| space.with_field(name, n_ids));
    space?.with_history("watched", "item", N_HISTORY)
}

/// Rows of random ids, the item's field counting up.
fn rows(n: usize, rng: &mut Rng) -> Result<EncodedRows> {
    let space = space()?;
    let mut rows = EncodedRows::new(space.clone(), 0);
    for row in 0..n {
        let bags: Vec<Vec<(u32, f32)>> = (0..space.n_fields())
            .map(|field| {
                let ids = space.ids(field);
                let id = if ids.len() == N_ITEMS { row % N_ITEMS } else { rng.below(ids.len()) };
                vec![(ids.start + id as u32, 1.0)]
            })
            .collect();
        let bags: Vec<&[(u32, f32)]> = bags.iter().map(Vec::as_slice).collect();
        rows.push(EncodedRow { bags: &bags, ..EncodedRow::default() })?;
    }
    Ok(rows)
}

/// Scores the candidates of another user at each call.
fn requests<C: RankingConfig<Model: 'static>>(config: &C) -> Result<Box<dyn FnMut()>> {
    let rng = &mut Rng::new(1);
    let model = config.init(&space()?, 1, &Device::flex())?;
    let user_fields = USER_FIELDS.map(|(name, _)| name);
    let ranker = FeatureRanker::new(
        model,
        CandidateRows::new(rows(N_USERS + 1, rng)?, rows(N_ITEMS, rng)?, &user_fields)?,
    )?;
    let mut items = |n: usize| -> Vec<ItemId> { (0..n).map(|_| ItemId(rng.below(N_ITEMS) as u32)).collect() };
    let (history, candidates) = (items(N_HISTORY), items(N_CANDIDATES));
    let mut user = 0;
    Ok(Box::new(move || {
        user = (user + 1) % N_USERS;
        let query = Query::new(&history).with_user(UserId(user as u32));
        ranker.score(&query, &candidates).expect("a valid request");
    }))
}

fn ranking_request(c: &mut Criterion) {
    let mut group = c.benchmark_group("ranking_request");
    group.sample_size(50).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    let dcn_v2 = DcnConfig { cross: Cross::Matrix, ..DcnConfig::default() };
    for (name, request) in [
        ("deep_fm", requests(&DeepFmConfig::default())),
        ("dcn_v2", requests(&dcn_v2)),
        ("din", requests(&DinConfig::default())),
    ] {
        let mut request = request.expect("valid settings");
        group.bench_function(name, |b| b.iter(&mut request));
    }
    group.finish();
}

criterion_group!(benches, ranking_request);
criterion_main!(benches);
