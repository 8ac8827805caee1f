//! In what order? A query, its candidates, and the three stages that narrow, score and order them.

mod candidate;
mod channel;
mod exhaustive;
mod fusion;
mod fusion_method;
mod greedy;
mod normalization;
#[allow(clippy::module_inception, reason = "the folder is named for what it leads to")]
mod pipeline;
mod pool;
mod query;
mod query_encoder;
mod ranked;
mod stage;
mod stages;
mod trace;

pub use candidate::{Candidate, ChannelScore, ChannelScores};
pub use channel::{Channel, ChannelConfig};
pub use exhaustive::ExhaustiveRecaller;
pub use fusion::Fusion;
pub use fusion_method::FusionMethod;
pub(crate) use greedy::{GreedyObjective, select_greedily};
pub use pipeline::{Answer, Pipeline, PipelineBuilder, StageReport};
pub(crate) use pool::Pool;
pub use query::Query;
pub use query_encoder::{EmbeddingModel, QueryEncoder};
pub(crate) use ranked::{check_ranked, relevance};
pub use stage::StageOutcome;
pub(crate) use stage::Work;
pub use stages::{AnyStage, Ranker, Recaller, Reranker};
pub use trace::{ExplainedItem, Explanation, Fate, Inspection, Place, StageOrder, Trace};
