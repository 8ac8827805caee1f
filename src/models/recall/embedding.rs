//! Retrieval by vectors: a query encoder, and an index over the item vectors it was trained with.

use crate::error::{ErrorKind, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::index::{ExactIndex, Similarity, VectorIndex};
use crate::pipeline::{Candidate, EmbeddingModel, Query, QueryEncoder, Recaller};

/// The name of the channel that candidates of the fallback carry.
pub const FALLBACK_CHANNEL: &str = "fallback";

/// Encodes a query and searches the index for the items nearest to it.
///
/// A query that the encoder can make nothing of (nobody known, an empty history) goes to the fallback,
/// and every candidate of the answer then says so: [`FALLBACK_CHANNEL`] stands among its
/// [channels](Candidate::channels).
#[derive(Debug)]
pub struct EmbeddingRecaller<E> {
    encoder: E,
    index: Box<dyn VectorIndex>,
    fallback: Box<dyn Recaller>,
}

impl<E: QueryEncoder> EmbeddingRecaller<E> {
    /// Joins an encoder, an index over the vectors of all items, and what answers for strangers.
    ///
    /// # Errors
    /// An encoder and an index of different widths.
    pub fn new(encoder: E, index: Box<dyn VectorIndex>, fallback: Box<dyn Recaller>) -> Result<Self> {
        if encoder.dim() != index.dim() {
            let what = "width of the query vectors and of the index";
            return Err(
                ErrorKind::LengthMismatch { what, expected: index.dim(), found: encoder.dim() }.into()
            );
        }
        Ok(Self { encoder, index, fallback })
    }

    /// The encoder.
    pub fn encoder(&self) -> &E {
        &self.encoder
    }

    /// The index.
    pub fn index(&self) -> &dyn VectorIndex {
        self.index.as_ref()
    }

    /// What answers for strangers.
    pub fn fallback(&self) -> &dyn Recaller {
        self.fallback.as_ref()
    }

    fn ask_fallback(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        let answer = self.fallback.recall(query, k)?;
        let told = |(rank, candidate): (u32, Candidate)| candidate.from_channel(FALLBACK_CHANNEL, rank);
        Ok((1..).zip(answer).map(told).collect())
    }

    /// The `k` admissible items whose vectors are nearest to that of `item`, without the item itself.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        let vector = self.index.vector(item)?;
        Ok(candidates(self.index.search(&vector, k, &filter.clone().deny([item]))?))
    }
}

impl<M: EmbeddingModel> EmbeddingRecaller<M> {
    /// A model with an exact index over its item vectors: the highest inner products of the whole catalogue.
    ///
    /// # Errors
    /// Item vectors that cannot be read or are not finite.
    pub fn exact(model: M, fallback: Box<dyn Recaller>) -> Result<Self> {
        let index = ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors()?)?;
        Self::new(model, Box::new(index), fallback)
    }
}

fn candidates(found: Vec<(ItemId, f32)>) -> Vec<Candidate> {
    found.into_iter().map(|(item, score)| Candidate::new(item, score)).collect()
}

impl<E: QueryEncoder> Recaller for EmbeddingRecaller<E> {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.index.len())?;
        if !self.encoder.can_encode(query) {
            return self.ask_fallback(query, k);
        }
        let vector = self.encoder.encode(&[query])?;
        Ok(candidates(self.index.search(&vector, k, query.filter())?))
    }

    fn recall_batch(&self, queries: &[Query<'_>], k: usize) -> Result<Vec<Vec<Candidate>>> {
        queries.iter().try_for_each(|query| query.check_items(self.index.len()))?;
        let known: Vec<&Query<'_>> = queries.iter().filter(|query| self.encoder.can_encode(query)).collect();
        let filters: Vec<&ItemFilter> = known.iter().map(|query| query.filter()).collect();
        let vectors = self.encoder.encode(&known)?;
        let mut found = self.index.search_batch(&vectors, k, &filters)?.into_iter().map(candidates);
        let mut answer = |query| {
            if self.encoder.can_encode(query) {
                Ok(found.next().unwrap_or_default())
            } else {
                self.ask_fallback(query, k)
            }
        };
        queries.iter().map(&mut answer).collect()
    }
}
