//! How do we fit? A module that yields a loss, and the trainer that lowers it.

mod adam;
mod checkpoint;
mod clipping;
mod config;
mod fusion_weights;
mod history;
mod mining;
mod negative_stages;
mod optimizer;
mod plateau;
mod plot;
mod prefetch;
mod progress;
mod ranking_batches;
mod ranking_examples;
mod ranking_model;
mod retrieval_batches;
mod row_optimizer;
mod row_scorer;
mod schedule;
mod stepper;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod trainable;
mod trainer;
mod weight_average;
mod weights;

pub use config::TrainingConfig;
pub use fusion_weights::FusionWeightsConfig;
pub use history::{EpochSummary, History};
pub use optimizer::{AdamConfig, Optimizer};
pub use plateau::Plateau;
pub use ranking_batches::{RankingBatch, RankingBatches};
pub use ranking_examples::{RankingExamples, RankingExamplesConfig, Stratum};
pub use ranking_model::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec, predict};
pub(crate) use retrieval_batches::check_retrieval_batches;
pub use retrieval_batches::{RetrievalBatch, RetrievalBatches, Windows};
pub use row_optimizer::RowOptimizer;
pub use row_scorer::RowScorer;
pub use schedule::LearningRateSchedule;
pub use stepper::Stepper;
pub use trainable::{BatchSource, Trainable};
pub use trainer::{Fitted, Trainer};
pub(crate) use weights::{weights_from_bytes, weights_to_bytes};
