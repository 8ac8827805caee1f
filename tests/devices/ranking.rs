//! Ranking models: two epochs with dropout, the probabilities of rows, and the scores of one user's candidates.

use burn::tensor::Device;
use recsys::features::{CandidateRows, EncodedRow, EncodedRows, FeatureSpace};
use recsys::layers::{AttentionWeights, Cross, HiddenNorm, MlpConfig};
use recsys::models::ranking::{
    BstConfig, DcnConfig, DeepFmConfig, DinConfig, EsmmConfig, FeatureRanker, FinalMlpConfig, FmConfig,
    InteractionMlpConfig, LogisticConfig, MmoeConfig, PleConfig, WideDeepConfig,
};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{RankingBatches, RankingConfig, Trainer, TrainingConfig, predict};

use super::others::agree;

const N_USERS: u32 = 20;
const N_ITEMS: u32 = 30;

/// Rows of a user, an item, a list of tags (of which there may be none), a vector and a history.
fn rows(n: u32, n_labels: usize) -> EncodedRows {
    let space = FeatureSpace::default()
        .with_field("user", N_USERS as usize)
        .and_then(|space| space.with_field("item", N_ITEMS as usize))
        .and_then(|space| space.with_field("tags", 7))
        .and_then(|space| space.with_vectors("text", 3))
        .and_then(|space| space.with_history("liked", "item", 5))
        .unwrap();
    let rng = &mut Rng::new(1);
    let mut rows = EncodedRows::new(space, n_labels);
    for row in 0..n {
        let (user, item) = (row % N_USERS, row % N_ITEMS);
        let liked: Vec<u32> =
            (0..rng.below(6)).map(|_| N_USERS + rng.below(N_ITEMS as usize) as u32).collect();
        let history = rows.push_events(&liked).unwrap();
        let tags: Vec<(u32, f32)> = (0..row % 3).map(|tag| (N_USERS + N_ITEMS + tag, 0.5)).collect();
        let bags: [&[(u32, f32)]; 3] = [&[(user, 1.0)], &[(N_USERS + item, 1.0)], &tags];
        let vectors: [f32; 3] = std::array::from_fn(|_| rng.normal() as f32);
        let labels: Vec<f32> =
            (0..n_labels as u32).map(|label| f32::from((user + item) % (2 + label) == 0)).collect();
        rows.push(EncodedRow { bags: &bags, vectors: &vectors, history, labels: &labels, group: user })
            .unwrap();
    }
    rows
}

fn ranker<C: RankingConfig>(config: &C, n_labels: usize) {
    let rows = rows(160, n_labels);
    let run = |device: &Device| {
        let training = TrainingConfig::default().with_epochs(2).with_learning_rate(3e-3).with_progress(false);
        let batches = RankingBatches::new(rows.clone(), 32, 2).unwrap();
        let model = config.init(rows.space(), 1, device).unwrap();
        let fitted = Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap();
        let losses = fitted.history.epochs.iter().map(|epoch| epoch.loss as f32).collect();
        let probabilities = predict(&fitted.model, &rows).unwrap();
        let users = rows.select(&(0..=N_USERS as usize).collect::<Vec<_>>());
        let items = rows.select(&(0..N_ITEMS as usize).collect::<Vec<_>>());
        let ranker =
            FeatureRanker::new(fitted.model, CandidateRows::new(users, items, &["user", "text"]).unwrap())
                .unwrap();
        let ids: Vec<ItemId> = (0..N_ITEMS).map(ItemId).collect();
        let query = Query::new(&ids[3..9]).with_user(UserId(4));
        let requests = [(Query::default(), &ids[2..5]), (query.clone(), &ids[..])];
        let of_many = ranker.score_batch(&requests).unwrap().concat();
        vec![
            ("the losses of the epochs", losses),
            ("the probabilities of rows", probabilities),
            ("the scores of one user's candidates", ranker.score(&query, &ids).unwrap()),
            ("the scores of two users' candidates", of_many),
        ]
    };
    agree(C::NAME, run);
}

fn mlp(d_output: usize) -> MlpConfig {
    MlpConfig::new(d_output).with_hidden([12]).with_dropout(0.1)
}

#[test]
fn linear_models_and_factorization_machines() {
    ranker(&LogisticConfig::default(), 1);
    ranker(&FmConfig::default(), 1);
    ranker(&WideDeepConfig { mlp: mlp(1), ..WideDeepConfig::default() }, 1);
    ranker(&DeepFmConfig { mlp: mlp(1), dropout: 0.1, ..DeepFmConfig::default() }, 1);
}

#[test]
fn cross_networks() {
    for cross in [Cross::Vector, Cross::Matrix, Cross::LowRank { rank: 4 }] {
        ranker(&DcnConfig { cross, mlp: mlp(8), dropout: 0.1, ..DcnConfig::default() }, 1);
    }
}

#[test]
fn interest_in_a_history() {
    let base = DinConfig { mlp: mlp(8), dropout: 0.1, ..DinConfig::default() };
    ranker(&base, 1);
    ranker(
        &DinConfig { weights: AttentionWeights::Softmax, cross: Some((Cross::Matrix, 2)), ..base.clone() },
        1,
    );
    ranker(&DinConfig { positions: true, fm: true, ..base.with_dice() }, 1);
    ranker(&BstConfig { mlp: mlp(1), dropout: 0.1, ..BstConfig::default() }, 1);
}

#[test]
fn perceptrons() {
    ranker(&DeepFmConfig { mlp: mlp(1).with_norm(HiddenNorm::Layer), ..DeepFmConfig::default() }, 1);
    ranker(&InteractionMlpConfig::default(), 1);
    ranker(&FinalMlpConfig::default(), 1);
}

#[test]
fn models_of_two_labels() {
    ranker(&MmoeConfig::default(), 2);
    ranker(&PleConfig::default(), 2);
    ranker(&EsmmConfig::default(), 2);
}
