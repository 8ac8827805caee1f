use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pipeline::Candidate;
use crate::pipeline::normalization::{min_max, z_score_above_lowest};

/// What a channel's answer adds to the fused scores of its candidates, before the channel's weight.
///
/// A candidate that a channel does not name gets 0 from it, which is never more than what it gives to those that
/// it names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FusionMethod {
    /// 1 / (k + r) for the candidate at rank r, counted from 1 (Cormack, Clarke & Büttcher 2009, "Reciprocal rank
    /// fusion outperforms Condorcet and individual rank learning methods"): scores do not matter, only their
    /// order. The authors take k = 60; a smaller k lets the first ranks count for more.
    ReciprocalRank {
        /// How slowly the worth of a rank falls; a finite number of 0 or more.
        k: f32,
    },
    /// (s − min) / (max − min) over the scores of the answer (CombSUM of Fox & Shaw 1994, "Combination of multiple
    /// searches", normalised as by Lee 1997): 1 for the best, 0 for the last, 1 for all where all are equal.
    MinMax,
    /// (s − min) / σ over the scores of the answer: the z-score (Renda & Straccia 2003, "Web metasearch: rank vs.
    /// score based rank aggregation methods"), less that of the last, so that a candidate the channel does not name
    /// counts as its last. 1 for all where all are equal.
    ZScore,
}

impl Default for FusionMethod {
    /// Reciprocal ranks with k = 60.
    fn default() -> Self {
        Self::ReciprocalRank { k: 60.0 }
    }
}

impl FusionMethod {
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::ReciprocalRank { k } if !(k.is_finite() && k >= 0.0) => {
                Err(Error::config("FusionMethod::ReciprocalRank::k", "a finite number of 0 or more", k))
            }
            _ => Ok(()),
        }
    }

    /// What each candidate of an answer, best first, gets.
    pub(super) fn parts(self, answer: &[Candidate]) -> Vec<f32> {
        let scores = || answer.iter().map(|candidate| candidate.score).collect::<Vec<f32>>();
        match self {
            Self::ReciprocalRank { k } => (1..=answer.len()).map(|rank| 1.0 / (k + rank as f32)).collect(),
            Self::MinMax => min_max(&scores()),
            Self::ZScore => z_score_above_lowest(&scores()),
        }
    }
}
