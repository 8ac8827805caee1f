use rayon::prelude::*;

use crate::error::Result;
use crate::features::{CandidateRows, EncodedRows};
use crate::ids::ItemId;
use crate::pipeline::{Candidate, Query, Ranker};
use crate::training::RowScorer;

/// Rows that are worth a part of their own.
const LEAST_ROWS: usize = 32;

/// A [`RowScorer`] behind the [`Ranker`] trait: it knows the fields of every user and item, encoded as its training
/// data were, and scores a user's candidates in one pass.
///
/// Scores are logits of the first label. A user who is not known is answered as the row behind those of all users says:
/// encode it from missing or unseen values. Where the rows have fields for recall channels
/// ([`CandidateRows::with_channels`]), a pipeline's candidates bring what the channels said of them; items that are scored without
/// are items that no channel named.
#[derive(Debug)]
pub struct FeatureRanker<M> {
    model: M,
    known: CandidateRows,
}

impl<M: RowScorer> FeatureRanker<M> {
    /// Joins a model with what is known of users and items, in the model's space.
    ///
    /// # Errors
    /// Rows of another space.
    pub fn new(model: M, known: CandidateRows) -> Result<Self> {
        known.of(None, &[], &[])?.check_space(model.space())?;
        Ok(Self { model, known })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// What is known of users and items.
    pub fn known(&self) -> &CandidateRows {
        &self.known
    }

    /// The rows that the model scores for these candidates of a query.
    ///
    /// # Errors
    /// An id outside the catalogue; a user that is none of those known.
    pub fn rows(&self, query: &Query<'_>, candidates: &[Candidate]) -> Result<EncodedRows> {
        query.check_items(self.known.n_items())?;
        self.known.of_candidates(query.user(), query.history(), candidates)
    }

    /// The scores of candidates that stand for rows, on the CPU in parts.
    fn score_parts<T: Sync>(
        &self,
        candidates: &[T],
        rows: impl Fn(&[T]) -> Result<EncodedRows> + Sync,
    ) -> Result<Vec<f32>> {
        let score = |candidates: &[T]| self.model.score_rows(&rows(candidates)?);
        // At least in two parts, for a lone request to have two cores; the same parts on any machine, for the same bits.
        let n_at_once = self.model.n_rows_at_once();
        match n_at_once.map(|n| n.min(candidates.len().div_ceil(2).max(LEAST_ROWS))) {
            Some(n) if n < candidates.len() => {
                let scores: Vec<Vec<f32>> = candidates.par_chunks(n).map(score).collect::<Result<_>>()?;
                Ok(scores.concat())
            }
            _ => score(candidates),
        }
    }

    fn rows_of_items(&self, query: &Query<'_>, items: &[ItemId]) -> Result<EncodedRows> {
        query.check_items(self.known.n_items())?;
        self.known.of(query.user(), query.history(), items)
    }
}

impl<M: RowScorer> Ranker for FeatureRanker<M> {
    fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        self.score_parts(items, |items| self.rows_of_items(query, items))
    }

    fn score_candidates(&self, query: &Query<'_>, candidates: &[Candidate]) -> Result<Vec<f32>> {
        self.score_parts(candidates, |candidates| self.rows(query, candidates))
    }

    /// On the CPU request beside request, elsewhere all rows in one pass.
    fn score_batch(&self, requests: &[(Query<'_>, &[ItemId])]) -> Result<Vec<Vec<f32>>> {
        if self.model.n_rows_at_once().is_some() {
            return requests.par_iter().map(|(query, items)| self.score(query, items)).collect();
        }
        let mut rows = EncodedRows::new(self.model.space().clone(), 0);
        for (query, items) in requests {
            rows.append(&self.rows_of_items(query, items)?)?;
        }
        let mut scores = self.model.score_rows(&rows)?.into_iter();
        Ok(requests.iter().map(|(_, items)| scores.by_ref().take(items.len()).collect()).collect())
    }
}
