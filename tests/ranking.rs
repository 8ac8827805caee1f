//! Ranking models learn what is planted, the same on every path.
#![cfg(feature = "flex")]

use recsys::error::Result;
use recsys::features::{EncodedRow, EncodedRows, FeatureSpace};
use recsys::layers::{AttentionWeights, Cross, MlpConfig, TableUpdate};
use recsys::losses::RankingLoss;
use recsys::metrics::auc;
use recsys::models::ranking::{
    DcnConfig, DcnStructure, DeepFmConfig, DinConfig, FmConfig, LogisticConfig, WideDeepConfig,
};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{
    RankingBatch, RankingBatches, RankingModel, RankingObjective, Trainable, Trainer, TrainingConfig, predict,
};

const N: u32 = 40;

/// Even users like even items, odd users odd ones; a user's history are some of the items they like.
fn checkerboard() -> [EncodedRows; 2] {
    let space = FeatureSpace::default()
        .with_field("user", N as usize)
        .and_then(|space| space.with_field("item", N as usize))
        .and_then(|space| space.with_history("liked", "item", 5))
        .unwrap();
    let mut rows = EncodedRows::new(space, 1);
    let mut pairs: Vec<(u32, u32)> = (0..N).flat_map(|user| (0..N).map(move |item| (user, item))).collect();
    Rng::new(3).shuffle(&mut pairs);
    for (user, item) in pairs {
        let liked: Vec<u32> = (0..4).map(|n| N + (user % 2 + 2 * n + 8 * (user % 3)) % N).collect();
        let history = rows.push_events(&liked).unwrap();
        let bags: [&[(u32, f32)]; 2] = [&[(user, 1.0)], &[(N + item, 1.0)]];
        let labels = [f32::from((user + item) % 2 == 0)];
        rows.push(EncodedRow { bags: &bags, history, labels: &labels, group: user, ..EncodedRow::default() })
            .unwrap();
    }
    let order: Vec<usize> = (0..rows.n_rows()).collect();
    let cut = order.len() * 7 / 10;
    [rows.select(&order[..cut]), rows.select(&order[cut..])]
}

fn fit<M: RankingModel + Trainable<Batch = RankingBatch>>(model: M, rows: &EncodedRows) -> Result<M> {
    let batches = RankingBatches::new(rows.clone(), 64, 1)?;
    let config = TrainingConfig::default().with_epochs(25).with_learning_rate(0.01).with_progress(false);
    Ok(Trainer::new(config)?.fit(model, &batches, |_| Ok(vec![]))?.model)
}

fn auc_of(model: &impl RankingModel, rows: &EncodedRows) -> f64 {
    let labels: Vec<bool> = rows.labels().iter().map(|&label| label > 0.5).collect();
    auc(&labels, &predict(model, rows).unwrap()).unwrap().unwrap()
}

fn space() -> FeatureSpace {
    checkerboard()[0].space().clone()
}

fn mlp(d_output: usize) -> MlpConfig {
    MlpConfig::new(d_output).with_hidden([16])
}

#[test]
fn what_is_planted_is_learned_where_fields_meet() {
    let [train, test] = checkerboard();
    let (space, device) = (space(), Device::flex());
    let learned = |name: &str, auc: f64| assert!(auc > 0.95, "{name}: {auc}");
    for table_update in [TableUpdate::Dense, TableUpdate::Sparse] {
        let fm = FmConfig { d_embedding: 8, table_update, ..FmConfig::default() };
        learned("FM", auc_of(&fit(fm.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
        let din = DinConfig {
            d_embedding: 8,
            attention: mlp(1),
            mlp: mlp(8),
            table_update,
            ..DinConfig::default()
        };
        learned("DIN", auc_of(&fit(din.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    }
    let deep_fm = DeepFmConfig { d_embedding: 8, mlp: mlp(1), ..DeepFmConfig::default() };
    learned("DeepFM", auc_of(&fit(deep_fm.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    let wide_deep = WideDeepConfig { d_embedding: 8, mlp: mlp(1), ..WideDeepConfig::default() };
    learned("Wide & Deep", auc_of(&fit(wide_deep.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    for cross in [Cross::Vector, Cross::Matrix, Cross::LowRank { rank: 4 }] {
        for structure in [DcnStructure::Parallel, DcnStructure::Stacked] {
            let dcn = DcnConfig { d_embedding: 8, cross, structure, mlp: mlp(8), ..DcnConfig::default() };
            let auc = auc_of(&fit(dcn.init(&space, 1, &device).unwrap(), &train).unwrap(), &test);
            learned(&format!("{cross:?} {structure:?}"), auc);
        }
    }
    let din = DinConfig {
        d_embedding: 8,
        attention: mlp(1),
        weights: AttentionWeights::Softmax,
        mlp: mlp(8),
        cross: Some((Cross::Matrix, 1)),
        ..DinConfig::default()
    };
    learned("DIN + cross", auc_of(&fit(din.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));

    let logistic = LogisticConfig::default().init(&space, 1, &device).unwrap();
    let auc = auc_of(&fit(logistic, &train).unwrap(), &test);
    assert!(auc < 0.6, "a sum over fields cannot know a checkerboard: {auc}");
}

#[test]
fn groups_of_a_positive_and_its_negatives_are_learned_from() {
    let [train, test] = checkerboard();
    let labels = train.labels();
    let of = |label: f32| (0..train.n_rows()).filter(move |&row| labels[row] == label);
    // Each positive and behind it two negatives of the same user.
    let groups: Vec<usize> = of(1.0)
        .flat_map(|row| {
            let user = train.groups()[row];
            let negatives: Vec<usize> = of(0.0).filter(|&row| train.groups()[row] == user).take(2).collect();
            if negatives.len() == 2 { vec![row, negatives[0], negatives[1]] } else { vec![] }
        })
        .collect();
    let groups = train.select(&groups);
    for loss in [RankingLoss::Bpr { n_negatives: 2 }, RankingLoss::Softmax { n_negatives: 2 }] {
        let objective = RankingObjective { loss, ..RankingObjective::default() };
        let config = FmConfig { d_embedding: 8, objective, ..FmConfig::default() };
        let model = config.init(&space(), 1, &Device::flex()).unwrap();
        let batches = RankingBatches::new(groups.clone(), 96, 1).unwrap();
        let training = || {
            let config = TrainingConfig::default().with_epochs(25).with_learning_rate(0.01);
            Trainer::new(config.with_progress(false)).unwrap()
        };
        assert!(training().fit(model.clone(), &batches, |_| Ok(vec![])).is_err(), "rows must stay together");
        let batches = batches.with_groups_of(3).unwrap();
        let model = training().fit(model, &batches, |_| Ok(vec![])).unwrap().model;
        let auc = auc_of(&model, &test);
        assert!(auc > 0.9, "{loss:?}: {auc}");
    }
}

#[test]
fn rows_of_another_space_are_refused() {
    let [train, _] = checkerboard();
    let other = FeatureSpace::default().with_field("user", 3).unwrap();
    let model = LogisticConfig::default().init(&other, 1, &Device::flex()).unwrap();
    assert!(predict(&model, &train).is_err());
    assert!(fit(model, &train).is_err());
    assert!(DinConfig::default().init(&other, 1, &Device::flex()).is_err());
}

#[test]
fn settings_out_of_range_are_errors() {
    let (space, device) = (space(), Device::flex());
    let objective = || RankingObjective { l2: -1.0, ..RankingObjective::default() };
    assert!(FmConfig { d_embedding: 0, ..FmConfig::default() }.init(&space, 1, &device).is_err());
    assert!(
        LogisticConfig { objective: objective(), ..Default::default() }.init(&space, 1, &device).is_err()
    );
    assert!(DeepFmConfig { dropout: 1.0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(DeepFmConfig { mlp: mlp(2), ..Default::default() }.init(&space, 1, &device).is_err());
    let low_rank = Cross::LowRank { rank: 0 };
    assert!(DcnConfig { cross: low_rank, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(DinConfig { attention: mlp(2), ..Default::default() }.init(&space, 1, &device).is_err());
}
