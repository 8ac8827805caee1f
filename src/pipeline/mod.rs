//! In what order? A query, its candidates, and the three stages that narrow, score and order them.

mod candidate;
mod query;
mod query_encoder;
mod stages;

pub use candidate::{Candidate, ChannelScore};
pub use query::Query;
pub use query_encoder::{EmbeddingModel, QueryEncoder};
pub use stages::{Ranker, Recaller, Reranker};
