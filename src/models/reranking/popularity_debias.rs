//! Inverse-propensity debiasing: Steck 2011, "Item popularity and recommendation accuracy"; Yang et al. 2018,
//! "Unbiased offline recommender evaluation for missing-not-at-random implicit feedback".
//!
//! An interaction is seen with a probability that grows with the item's popularity, ∝ p(i)^γ (Yang et al., section
//! 3.3; the popularity-stratified weights of Steck, equation 5, are its inverse). Scores learnt from what was seen
//! carry that factor, so score'(i) = r(i) / p(i)^γ takes it out again, with p(i) = (n_i + 1) / (max n + 1) for the n_i
//! interactions of item i, and the score r, normalised within the list from 0 to 1.

use serde::{Deserialize, Serialize};

use crate::data::Interactions;
use crate::error::{Error, Result};
use crate::pipeline::{Candidate, Query, Reranker, check_ranked, relevance};
use crate::top_k::by_score;

/// Divides scores by a power of the item's popularity, so that the tail comes up.
///
/// γ = 0 leaves the order of scores; γ = 1 takes the whole of the popularity out. The candidates' scores become the
/// debiased ones. The last of the list has the normalised score 0 and stays the last.
///
/// ```
/// use recsys::models::reranking::PopularityDebias;
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(3, 3, [row(0, 0), row(1, 0), row(2, 0)])?;
/// let ranked = [(0, 0.9), (1, 0.8), (2, 0.1)].map(|(item, score)| Candidate::new(ItemId(item), score));
/// let shown = PopularityDebias::fit(&train, 0.5)?.rerank(&Query::default(), ranked.to_vec(), 3)?;
/// assert_eq!(shown.iter().map(|candidate| candidate.item.0).collect::<Vec<_>>(), [1, 0, 2]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct PopularityDebias {
    saved: Saved,
    /// p(i)^−γ of each item.
    inverse_propensities: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    gamma: f32,
    /// The interactions of each item.
    counts: Vec<u64>,
}

impl PopularityDebias {
    /// Counts the interactions of each item; γ is the power.
    ///
    /// # Errors
    /// A γ outside [0, 1].
    pub fn fit(interactions: &Interactions, gamma: f32) -> Result<Self> {
        let mut counts = vec![0; interactions.n_items()];
        interactions.items().iter().for_each(|item| counts[item.index()] += 1);
        Saved { gamma, counts }.try_into()
    }
}

impl Reranker for PopularityDebias {
    fn rerank(&self, _: &Query<'_>, mut ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        check_ranked(&ranked, self.inverse_propensities.len())?;
        for (relevance, candidate) in relevance(&ranked).into_iter().zip(&mut ranked) {
            candidate.score = relevance * self.inverse_propensities[candidate.item.index()];
        }
        ranked.sort_unstable_by(|a, b| by_score((a.item, a.score), (b.item, b.score)));
        ranked.truncate(k);
        Ok(ranked)
    }
}

impl TryFrom<Saved> for PopularityDebias {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        if !(0.0..=1.0).contains(&saved.gamma) {
            return Err(Error::config("PopularityDebias::gamma", "a number from 0 to 1", saved.gamma));
        }
        let smoothed = |count: u64| count as f64 + 1.0;
        let most = smoothed(saved.counts.iter().copied().max().unwrap_or(0));
        let inverse = |&count: &u64| (most / smoothed(count)).powf(saved.gamma.into()) as f32;
        let inverse_propensities = saved.counts.iter().map(inverse).collect();
        Ok(Self { saved, inverse_propensities })
    }
}

impl From<PopularityDebias> for Saved {
    fn from(debias: PopularityDebias) -> Self {
        debias.saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ItemId;

    fn debias(gamma: f32) -> Result<PopularityDebias> {
        Saved { gamma, counts: vec![15, 3, 0] }.try_into()
    }

    fn scores(gamma: f32) -> Vec<(u32, f32)> {
        let ranked = [(0, 3.0), (1, 2.0), (2, 1.0)].map(|(item, score)| Candidate::new(ItemId(item), score));
        let shown = debias(gamma).unwrap().rerank(&Query::default(), ranked.to_vec(), 9).unwrap();
        shown.iter().map(|candidate| (candidate.item.0, candidate.score)).collect()
    }

    #[test]
    fn by_hand() {
        assert_eq!(scores(0.0), [(0, 1.0), (1, 0.5), (2, 0.0)]);
        // p = 1, 1/4, 1/16.
        assert_eq!(scores(0.5), [(0, 1.0), (1, 1.0), (2, 0.0)]);
        assert_eq!(scores(1.0), [(1, 2.0), (0, 1.0), (2, 0.0)]);
    }

    #[test]
    fn bad_input_is_named() {
        for gamma in [-0.1, 1.1, f32::NAN] {
            let error = debias(gamma).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("PopularityDebias::gamma: expected a number from 0 to 1, found {gamma}")
            );
        }
        let debias = debias(0.5).unwrap();
        let json = serde_json::to_string(&debias).unwrap();
        assert_eq!(json, r#"{"gamma":0.5,"counts":[15,3,0]}"#);
        assert_eq!(serde_json::from_str::<PopularityDebias>(&json).unwrap(), debias);
        assert!(serde_json::from_str::<PopularityDebias>(&json.replace("0.5", "2")).is_err());
    }
}
