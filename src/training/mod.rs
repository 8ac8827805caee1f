//! How do we fit? A module that yields a loss, and the trainer that lowers it.

mod retrieval_batches;
mod trainable;

pub use retrieval_batches::{RetrievalBatch, RetrievalBatches};
pub use trainable::{BatchSource, Trainable};
