use std::fmt::Debug;

use crate::error::Result;
use crate::pipeline::Query;

/// Turns queries into vectors; an item's score is the inner product of its vector with the query's.
pub trait QueryEncoder: Debug + Send + Sync {
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
