//! What re-rankers do with the list they are given.

use crate::error::{ErrorKind, Result};
use crate::pipeline::Candidate;
use crate::pipeline::normalization::min_max;

/// Checks that the candidates are of a catalogue of `n_items` and have finite scores: what a re-ranker does first.
pub(crate) fn check_ranked(ranked: &[Candidate], n_items: usize) -> Result<()> {
    for (index, Candidate { item, score, .. }) in ranked.iter().enumerate() {
        if item.index() >= n_items {
            let (id, bound) = (item.0.into(), n_items as u64);
            return Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into());
        }
        if !score.is_finite() {
            let value = f64::from(*score);
            return Err(ErrorKind::NonFinite { what: "score of a candidate", index, value }.into());
        }
    }
    Ok(())
}

/// The scores, normalised within the list: 1 for the best, 0 for the worst, 1 for all where all are equal. So the
/// settings of a re-ranker mean the same whatever the scale of the ranking stage.
pub(crate) fn relevance(ranked: &[Candidate]) -> Vec<f32> {
    min_max(&ranked.iter().map(|candidate| candidate.score).collect::<Vec<f32>>())
}
