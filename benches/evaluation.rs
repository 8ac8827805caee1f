//! The cost of measuring: the bootstrap over users, and a whole evaluation around a recaller that costs
//! next to nothing.

use criterion::{Criterion, criterion_group, criterion_main};
use recsys::metrics::{HeldOut, estimate_means, evaluate};
use recsys::models::recall::PopularityRecaller;
use recsys::prelude::*;
use recsys::rng::Rng;

const N_USERS: usize = 6_000;
const N_ITEMS: usize = 3_500;

/// 10 metrics of 6,000 users, 1,000 resamples.
fn bootstrap(criterion: &mut Criterion) {
    let mut rng = Rng::new(1);
    let columns: Vec<Vec<f64>> = (0..10).map(|_| (0..N_USERS).map(|_| rng.uniform()).collect()).collect();
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    criterion.bench_function("bootstrap, 6,000 users x 10 metrics", |bencher| {
        bencher.iter(|| estimate_means(&columns, 1));
    });
}

/// `per_user` random interactions of every user.
fn interactions(per_user: usize, rng: &mut Rng) -> Interactions {
    let rows = (0..N_USERS * per_user).map(|row| Interaction {
        user: UserId((row / per_user) as u32),
        // The product of two uniform numbers crowds at the small ids.
        item: ItemId((rng.uniform() * rng.uniform() * N_ITEMS as f64) as u32),
        value: 1.0,
        timestamp: row as i64,
    });
    Interactions::from_rows(N_USERS, N_ITEMS, rows).expect("ids are in range")
}

/// 6,000 questions against 3,500 items, 200 candidates each.
fn evaluation(criterion: &mut Criterion) {
    let mut rng = Rng::new(1);
    let [train, validation, test] = [95, 1, 1].map(|per_user| interactions(per_user, &mut rng));
    let split = Split { train, validation, test, dropped: None };
    let held_out = HeldOut::validation(&split).expect("the parts fit");
    let popularity = PopularityRecaller::fit(&split.train);
    criterion.bench_function("evaluate popularity, 6,000 users, k 200", |bencher| {
        bencher.iter(|| evaluate(&popularity, &held_out, &[10, 100, 200]));
    });
}

criterion_group!(benches, bootstrap, evaluation);
criterion_main!(benches);
