//! SASRec as one channel among others.

use recsys::losses::RetrievalLoss;
use recsys::models::recall::SasrecConfig;
use recsys::prelude::*;
use recsys::training::{LearningRateSchedule, RetrievalBatches, TrainingConfig};

use super::Prepared;

/// Its settings.
pub fn config(data: &Prepared) -> SasrecConfig {
    SasrecConfig {
        max_len: if data.is_small() { 50 } else { 100 },
        dropout: 0.2,
        loss: RetrievalLoss::FullSoftmax,
        ..SasrecConfig::default()
    }
}

/// How it is trained.
pub fn training(data: &Prepared) -> TrainingConfig {
    TrainingConfig::default()
        .with_epochs(if data.is_small() { 40 } else { 30 })
        .with_learning_rate(3e-3)
        .with_schedule(LearningRateSchedule::CosineDecay { warmup_steps: 0 })
        .with_patience(10)
}

/// What it is trained on.
pub fn batches(data: &Prepared, config: &SasrecConfig, seed: u64) -> Result<RetrievalBatches> {
    RetrievalBatches::new(&data.split.train, config.loss, config.max_len)?
        .with_batch_size(if data.is_small() { 32 } else { 128 })
        .map(|batches| batches.with_unseen_negatives().with_seed(seed))
}
