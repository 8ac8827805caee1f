//! Maximal marginal relevance: Carbonell & Goldstein 1998, "The use of MMR, diversity-based reranking for reordering
//! documents and producing summaries".
//!
//! The next item of the list S is arg max over the others of λ r(i) − (1 − λ) max_{j ∈ S} cos(v_i, v_j) (their
//! equation in section 2), where r is the score, normalised within the list from 0 to 1. The maximum over S is kept for
//! every candidate and raised by the item chosen last, so that k items of n cost n k inner products.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::ItemVectors;
use crate::kernels::inner_products;
use crate::pipeline::{
    Candidate, GreedyObjective, Query, Reranker, check_ranked, relevance, select_greedily,
};

/// Trades relevance for diversity, item by item.
///
/// λ = 1 leaves the order of scores, λ = 0 shows whatever is least like what the list holds already. An item whose
/// vector is zero is like no other. Candidates keep their scores.
///
/// ```
/// use recsys::features::ItemVectors;
/// use recsys::models::reranking::Mmr;
/// use recsys::prelude::*;
///
/// let vectors = ItemVectors::new(2, vec![1.0, 0.0,  2.0, 0.1,  0.0, 1.0])?;
/// let ranked = [(0, 0.9), (1, 0.8), (2, 0.5)].map(|(item, score)| Candidate::new(ItemId(item), score));
/// let shown = Mmr::new(0.5, vectors)?.rerank(&Query::default(), ranked.to_vec(), 2)?;
/// assert_eq!(shown.iter().map(|candidate| candidate.item.0).collect::<Vec<_>>(), [0, 2], "1 is much like 0");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Mmr {
    lambda: f32,
    /// Of length 1, or 0.
    vectors: ItemVectors,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    lambda: f32,
    vectors: ItemVectors,
}

impl Mmr {
    /// Compares items by the cosines of these vectors, with the weight λ of relevance.
    ///
    /// # Errors
    /// A λ outside [0, 1].
    pub fn new(lambda: f32, vectors: ItemVectors) -> Result<Self> {
        if !(0.0..=1.0).contains(&lambda) {
            return Err(Error::config("Mmr::lambda", "a number from 0 to 1", lambda));
        }
        Ok(Self { lambda, vectors: vectors.l2_normalized() })
    }
}

impl Reranker for Mmr {
    fn rerank(&self, _: &Query<'_>, ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        check_ranked(&ranked, self.vectors.n_items())?;
        let objective = MarginalRelevance {
            lambda: self.lambda,
            relevance: relevance(&ranked),
            rows: self.vectors.gather(ranked.iter().map(|candidate| candidate.item)),
            dim: self.vectors.dim(),
            nearest: None,
            cosines: vec![0.0; ranked.len()],
        };
        Ok(select_greedily(ranked, k, objective))
    }
}

/// The state of one list.
struct MarginalRelevance {
    lambda: f32,
    relevance: Vec<f32>,
    /// The candidates' vectors, `[n, dim]`.
    rows: Vec<f32>,
    dim: usize,
    /// The largest cosine of each candidate with an item of the list; nothing while the list is empty.
    nearest: Option<Vec<f32>>,
    /// With the item chosen last.
    cosines: Vec<f32>,
}

impl GreedyObjective for MarginalRelevance {
    fn gain(&self, candidate: usize) -> f32 {
        let nearest = self.nearest.as_ref().map_or(0.0, |nearest| nearest[candidate]);
        self.lambda * self.relevance[candidate] - (1.0 - self.lambda) * nearest
    }

    fn choose(&mut self, candidate: usize) {
        let vector = &self.rows[candidate * self.dim..][..self.dim];
        inner_products(&self.rows, vector, &mut self.cosines);
        match &mut self.nearest {
            Some(nearest) => nearest.iter_mut().zip(&self.cosines).for_each(|(a, &b)| *a = a.max(b)),
            None => self.nearest = Some(self.cosines.clone()),
        }
    }
}

impl TryFrom<Saved> for Mmr {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        Self::new(saved.lambda, saved.vectors)
    }
}

impl From<Mmr> for Saved {
    fn from(mmr: Mmr) -> Self {
        Self { lambda: mmr.lambda, vectors: mmr.vectors }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::ItemId;
    use crate::rng::Rng;

    fn ranked(scores: &[f32]) -> Vec<Candidate> {
        (0..).zip(scores).map(|(item, &score)| Candidate::new(ItemId(item), score)).collect()
    }

    fn order(reranker: &Mmr, scores: &[f32], k: usize) -> Vec<usize> {
        let shown = reranker.rerank(&Query::default(), ranked(scores), k).unwrap();
        shown.iter().map(|candidate| candidate.item.index()).collect()
    }

    /// How much each item of a list gains less than the best one in its place: by the definition in float64, every maximum over
    /// the whole list anew.
    fn losses(lambda: f64, vectors: &[Vec<f64>], scores: &[f32], list: &[usize]) -> Vec<f64> {
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let cosine = |a: usize, b: usize| {
            let product: f64 = vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum();
            product / (length(&vectors[a]) * length(&vectors[b])).max(1e-300)
        };
        let min = scores.iter().copied().fold(f32::INFINITY, f32::min);
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let relevance = |i: usize| f64::from(scores[i] - min) / f64::from(max - min);
        let loss = |place: usize| {
            let (before, chosen) = (&list[..place], list[place]);
            let gain = |i: usize| {
                let nearest = before.iter().map(|&j| cosine(i, j)).reduce(f64::max).unwrap_or(0.0);
                lambda * relevance(i) - (1.0 - lambda) * nearest
            };
            let left = (0..scores.len()).filter(|i| !before.contains(i));
            left.map(gain).fold(f64::NEG_INFINITY, f64::max) - gain(chosen)
        };
        (0..list.len()).map(loss).collect()
    }

    proptest! {
        // In one dimension all cosines are 1 or −1, and ties are decided by rounding.
        #[test]
        fn equals_the_definition(seed in any::<u64>(), n in 2usize..30, dim in 2usize..20, lambda in 0.05f32..0.95) {
            let mut rng = Rng::new(seed);
            let values: Vec<f32> = (0..n * dim).map(|_| rng.normal() as f32).collect();
            let scores: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
            let wide: Vec<Vec<f64>> =
                values.chunks(dim).map(|row| row.iter().map(|&x| x.into()).collect()).collect();
            let mmr = Mmr::new(lambda, ItemVectors::new(dim, values).unwrap()).unwrap();
            let list = order(&mmr, &scores, n);
            prop_assert_eq!(list.iter().collect::<std::collections::BTreeSet<_>>().len(), n);
            // In float32 the better of two may stand behind the other if there is next to nothing between them.
            let losses = losses(lambda.into(), &wide, &scores, &list);
            prop_assert!(losses.iter().all(|&loss| loss < 1e-5), "{:?}", losses);
        }
    }

    #[test]
    fn the_extremes_of_lambda() {
        let vectors = || ItemVectors::new(2, vec![1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0]).unwrap();
        let relevant = Mmr::new(1.0, vectors()).unwrap();
        assert_eq!(order(&relevant, &[0.3, 0.1, 0.2, 0.9], 9), [3, 0, 2, 1]);
        // Of nothing but diversity: the first by id, then the opposite, then what is like nothing.
        let diverse = Mmr::new(0.0, vectors()).unwrap();
        assert_eq!(order(&diverse, &[0.3, 0.1, 0.2, 0.9], 9), [0, 2, 3, 1]);
    }

    #[test]
    fn bad_input_is_named() {
        let vectors = || ItemVectors::new(1, vec![1.0, 2.0]).unwrap();
        for lambda in [-0.1, 1.1, f32::NAN] {
            let error = Mmr::new(lambda, vectors()).unwrap_err().to_string();
            assert_eq!(error, format!("Mmr::lambda: expected a number from 0 to 1, found {lambda}"));
        }
        let mmr = Mmr::new(0.5, vectors()).unwrap();
        let json = serde_json::to_string(&mmr).unwrap();
        assert_eq!(serde_json::from_str::<Mmr>(&json).unwrap(), mmr);
        assert!(serde_json::from_str::<Mmr>(&json.replace("0.5", "1.5")).is_err());
    }
}
