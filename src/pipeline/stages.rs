use std::any::{Any, type_name};
use std::fmt::Debug;
use std::sync::Arc;

use crate::error::Result;
use crate::ids::ItemId;
use crate::pipeline::{Candidate, Query};

/// What a part of a pipeline is, whatever it does: it can be shown, asked from several threads, and known again by its type,
/// which is how a pipeline is saved. Every such type is one.
pub trait AnyStage: Debug + Send + Sync {
    /// The value, to be known again by its type.
    fn as_any(&self) -> &dyn Any;

    /// The name of the type, for messages.
    fn type_name(&self) -> &'static str;
}

impl<T: Any + Debug + Send + Sync> AnyStage for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        type_name::<T>()
    }
}

/// The recall stage (= retrieval, candidate generation): narrows the catalogue to candidates.
pub trait Recaller: AnyStage {
    /// At most `k` distinct candidates that the query's filter admits, best first.
    ///
    /// Fewer than `k` come back only when no more items are admissible or known to the recaller.
    ///
    /// # Errors
    /// An id in the query that is outside the catalogue, or a score that is not finite.
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>>;

    /// The answers to many queries, row by row equal to [`recall`](Self::recall) up to the rounding of a
    /// batched matrix product; models override it with one batched pass.
    ///
    /// # Errors
    /// As [`recall`](Self::recall), for the first query that fails.
    fn recall_batch(&self, queries: &[Query<'_>], k: usize) -> Result<Vec<Vec<Candidate>>> {
        queries.iter().map(|query| self.recall(query, k)).collect()
    }
}

/// The ranking stage: scores candidates. The pipeline sorts.
pub trait Ranker: AnyStage {
    /// One finite score per item, in the order of `items`; higher is better.
    ///
    /// # Errors
    /// An id that is outside the catalogue.
    fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>>;

    /// One finite score per candidate, in their order: what a pipeline asks for. Rankers override it that read what the
    /// recall channels said of a candidate; others score its item.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn score_candidates(&self, query: &Query<'_>, candidates: &[Candidate]) -> Result<Vec<f32>> {
        let items: Vec<ItemId> = candidates.iter().map(|candidate| candidate.item).collect();
        self.score(query, &items)
    }

    /// The scores of many requests, each as [`score`](Self::score) gives them up to rounding; models override it with one
    /// pass.
    ///
    /// # Errors
    /// As [`score`](Self::score), for the first request that fails.
    fn score_batch(&self, requests: &[(Query<'_>, &[ItemId])]) -> Result<Vec<Vec<f32>>> {
        requests.iter().map(|(query, items)| self.score(query, items)).collect()
    }
}

/// A ranker that several stages, or pipelines, share.
impl<R: Ranker + ?Sized + 'static> Ranker for Arc<R> {
    fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        self.as_ref().score(query, items)
    }

    fn score_candidates(&self, query: &Query<'_>, candidates: &[Candidate]) -> Result<Vec<f32>> {
        self.as_ref().score_candidates(query, candidates)
    }

    fn score_batch(&self, requests: &[(Query<'_>, &[ItemId])]) -> Result<Vec<Vec<f32>>> {
        self.as_ref().score_batch(requests)
    }
}

/// The re-ranking stage: orders the list to show, looking at the list as a whole.
pub trait Reranker: AnyStage {
    /// At most `k` of the `ranked` candidates, in the order to show them.
    ///
    /// # Errors
    /// An id that is outside the catalogue.
    fn rerank(&self, query: &Query<'_>, ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>>;
}
