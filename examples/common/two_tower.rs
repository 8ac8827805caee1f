//! The two-tower model as the examples train it.

use recsys::features::ItemFeatures;
use recsys::losses::RetrievalLoss;
use recsys::models::recall::{TwoTower, TwoTowerConfig};
use recsys::prelude::*;
use recsys::training::{LearningRateSchedule, Optimizer, RetrievalBatches, TrainingConfig};

use super::Prepared;

/// What it minimises where nothing else is asked for.
pub const LOSS: RetrievalLoss = RetrievalLoss::SampledSoftmax { n_negatives: 512, log_q: false };

/// How it is trained.
pub fn training(data: &Prepared) -> TrainingConfig {
    TrainingConfig::default()
        .with_epochs(if data.is_small() { 30 } else { 10 })
        .with_optimizer(Optimizer::adamw(0.01))
        .with_learning_rate(1e-3)
        .with_schedule(LearningRateSchedule::LinearDecay { warmup_steps: 100 })
        .with_patience(5)
}

fn config(loss: RetrievalLoss) -> TwoTowerConfig {
    TwoTowerConfig { loss, ..TwoTowerConfig::default() }
}

/// Fresh weights.
pub fn model(data: &Prepared, loss: RetrievalLoss, seed: u64, device: &Device) -> Result<TwoTower> {
    let features = match data.dataset.item_table() {
        Some(table) => ItemFeatures::genres(table),
        None => ItemFeatures::none(data.dataset.n_items()),
    };
    config(loss).init(data.dataset.n_users(), &features, seed, device)
}

/// What it is trained on.
pub fn batches(data: &Prepared, loss: RetrievalLoss, seed: u64) -> Result<RetrievalBatches> {
    Ok(RetrievalBatches::new(&data.split.train, loss, config(loss).max_len)?.with_seed(seed))
}
