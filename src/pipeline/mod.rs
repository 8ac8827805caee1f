//! In what order? A query, its candidates, and the three stages that narrow, score and order them.

mod candidate;
mod channel;
mod fusion;
mod fusion_method;
mod greedy;
mod normalization;
mod pool;
mod query;
mod query_encoder;
mod ranked;
mod stages;

pub use candidate::{Candidate, ChannelScore};
pub use channel::{Channel, ChannelConfig};
pub use fusion::Fusion;
pub use fusion_method::FusionMethod;
pub(crate) use greedy::{GreedyObjective, select_greedily};
pub(crate) use pool::Pool;
pub use query::Query;
pub use query_encoder::{EmbeddingModel, QueryEncoder};
pub(crate) use ranked::{check_ranked, relevance};
pub use stages::{Ranker, Recaller, Reranker};
