use std::fmt::Debug;

use crate::error::Result;
use crate::pipeline::Query;

/// Turns queries into vectors; an item's score is the inner product of its vector with the query's.
pub trait QueryEncoder: Debug + Send + Sync + 'static {
    /// The width of a vector.
    fn dim(&self) -> usize;

    /// Whether the query holds anything to encode: a history, or a user the encoder knows.
    fn can_encode(&self, query: &Query<'_>) -> bool;

    /// One vector per query, row-major: `queries.len()` × [`dim`](Self::dim) numbers.
    ///
    /// # Errors
    /// An item or a user of a query that is outside the encoder's range.
    fn encode(&self, queries: &[&Query<'_>]) -> Result<Vec<f32>>;
}

/// A query encoder and the vectors of the items that its vectors are to be compared with.
pub trait EmbeddingModel: QueryEncoder {
    /// The number of items it knows.
    fn n_items(&self) -> usize;

    /// The vectors of all items in the order of their ids, row-major: `n_items` × [`dim`](QueryEncoder::dim)
    /// numbers, for a [`VectorIndex`](crate::index::VectorIndex).
    ///
    /// # Errors
    /// A device that fails to give its numbers back.
    fn item_vectors(&self) -> Result<Vec<f32>>;
}
