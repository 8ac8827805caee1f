//! Items that nobody has met yet: what content is worth on MovieLens 1M.
//!
//! A tenth of the films is held out of training, with all their ratings. A two-tower that knows ids alone is compared
//! with one that knows titles, years and genres too:
//!
//! ```text
//! RECSYS_DATA_DIR=… cargo test --release --test cold_items -- --ignored --nocapture
//! ```
//!
//! `COLD_EPOCHS` (10) and `COLD_SEED` (1) change how long and on what chance.
#![cfg(feature = "flex")]

use recsys::features::{TextEncoder, TextEncoderConfig};
use recsys::losses::RetrievalLoss;
use recsys::metrics::{Estimate, Evaluation, HeldOut, HeldOutUser, RankingMetric, estimate_means, evaluate};
use recsys::models::recall::{EmbeddingRecaller, PopularityRecaller, TwoTower, TwoTowerConfig};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::samplers::PopularitySampler;
use recsys::training::{LearningRateSchedule, Optimizer, RetrievalBatches, Trainer, TrainingConfig};

const K: usize = 100;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Ratings of at least 4, users with at least 5 of them.
fn data() -> Dataset {
    let folder = MovieLens::Ml1m.find(None).expect("ml-1m in $RECSYS_DATA_DIR");
    let data = MovieLens::Ml1m.read(folder).unwrap();
    data.filter(|rows| rows.min_value(4.0).min_per_user(5)).unwrap().compact()
}

/// A tenth of the items.
fn hold_out(n_items: usize, seed: u64) -> Vec<bool> {
    let mut items: Vec<usize> = (0..n_items).collect();
    Rng::stream(seed, &[9]).shuffle(&mut items);
    let mut held_out = vec![false; n_items];
    items[..n_items / 10].iter().for_each(|&item| held_out[item] = true);
    held_out
}

/// The items before each interaction that `asks`, without those held out, and the item then met. What was seen is
/// masked, held out or not.
fn questions(data: &Dataset, cold: &[bool], asks: impl Fn(usize, &[ItemId]) -> bool) -> HeldOut {
    let mut questions = Vec::new();
    for (user, items) in Sequences::new(data.interactions()).iter() {
        for t in (1..items.len()).filter(|&t| asks(t, items)) {
            let seen = items[..t].to_vec();
            let history = seen.iter().copied().filter(|item| !cold[item.index()]).collect();
            questions.push(HeldOutUser { user, history, seen, relevant: vec![items[t]] });
        }
    }
    HeldOut::new("items met next", "items seen before", data.n_items(), questions).unwrap()
}

/// Trained on these interactions; items without any are no negatives.
fn fit(
    train: &Interactions,
    features: &ItemFeatures,
    id_dropout: f64,
    seed: u64,
) -> EmbeddingRecaller<TwoTower> {
    let loss = RetrievalLoss::SampledSoftmax { n_negatives: 512, log_q: false };
    let config = TwoTowerConfig { loss, id_dropout, ..TwoTowerConfig::default() };
    let model = config.init(train.n_users(), features, seed, &Device::flex()).unwrap();
    let mut counts = vec![0; train.n_items()];
    train.items().iter().for_each(|item| counts[item.index()] += 1);
    let batches = RetrievalBatches::new(train, loss, config.max_len).unwrap().with_seed(seed);
    let batches = batches.with_sampler(PopularitySampler::new(&counts, 0.0).unwrap()).unwrap();
    let training = TrainingConfig::default()
        .with_epochs(setting("COLD_EPOCHS", 10) as usize)
        .with_optimizer(Optimizer::adamw(0.01))
        .with_learning_rate(1e-3)
        .with_schedule(LearningRateSchedule::LinearDecay { warmup_steps: 100 })
        .with_seed(seed);
    let model = Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap().model;
    EmbeddingRecaller::exact(model, Box::new(PopularityRecaller::fit(train))).unwrap()
}

fn recall(recaller: &dyn Recaller, questions: &HeldOut) -> Estimate {
    let evaluation: Evaluation = evaluate(recaller, questions, &[K]).unwrap();
    let values = evaluation.values(RankingMetric::Recall, K).unwrap();
    estimate_means(&[values], 1).unwrap().remove(0)
}

#[test]
#[ignore = "trains two models on MovieLens 1M"]
fn content_finds_what_ids_cannot_and_costs_the_others_nothing() {
    let (data, seed) = (data(), setting("COLD_SEED", 1));
    let cold = hold_out(data.n_items(), seed);
    let train = Split::leave_one_out(data.interactions()).train.retain(|row| !cold[row.item.index()]);
    let table = data.item_table().unwrap();
    let (_, text) = TextEncoder::fit_items(TextEncoderConfig::default(), table, None).unwrap();
    let known = ItemFeatures::genres(table).with_vectors(text).unwrap().with_cold(&train).unwrap();
    let ids = fit(&train, &ItemFeatures::none(data.n_items()), 0.0, seed);
    let content = fit(&train, &known, 0.1, seed);

    let of_cold = questions(&data, &cold, |t, items| cold[items[t].index()]);
    let of_warm = questions(&data, &cold, |t, items| t + 1 == items.len() && !cold[items[t].index()]);
    println!("recall@{K}, seed {seed}:");
    let [cold_ids, cold_content, warm_ids, warm_content] = [
        ("cold, by ids", &ids, &of_cold),
        ("cold, by content", &content, &of_cold),
        ("warm, by ids", &ids, &of_warm),
        ("warm, by content", &content, &of_warm),
    ]
    .map(|(name, recaller, questions)| {
        let estimate = recall(recaller, questions);
        println!("{name}: {estimate:?} of {} questions", questions.users().len());
        estimate
    });
    println!("cold, content against ids: {:.1} times", cold_content.value / cold_ids.value);
    assert!(cold_content.value >= 5.0 * cold_ids.value);
    assert!(warm_content.value >= warm_ids.interval.unwrap().low);
}
