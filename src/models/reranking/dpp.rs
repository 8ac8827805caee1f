//! The most probable list of a determinantal point process, greedily: Chen, Zhang & Zhou 2018, "Fast greedy MAP
//! inference for determinantal point process to improve recommendation diversity", algorithm 1.
//!
//! The list R is to maximise θ Σ_{i ∈ R} r(i) + (1 − θ) log det S_R (their equation 15), where r is the score, normalised
//! within the list from 0 to 1, and S_ij = (1 + cos(v_i, v_j)) / 2. As log det S_{R ∪ i} − log det S_R = log d_i², the
//! next item is arg max θ r(i) + (1 − θ) log d_i². The d_i² are kept up by the incremental Cholesky factorisation: with
//! the item j chosen last, e_i = (S_ji − ⟨c_j, c_i⟩) / d_j, c_i ← [c_i, e_i], d_i² ← d_i² − e_i². So k items of n cost
//! n k inner products of vectors and n k² / 2 multiplications.
//!
//! Deviations: the factorisation is of S, not of the kernel that holds the scores too (the two differ by a scaling of
//! rows and columns); and where d_i² has fallen to 10⁻⁵, item i lies in the span of the list, adds nothing to it, and
//! counts as 10⁻⁵, where the authors stop. So the list is filled by score.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::ItemVectors;
use crate::kernels::inner_products;
use crate::pipeline::{
    Candidate, GreedyObjective, Query, Reranker, check_ranked, relevance, select_greedily,
};

/// The smallest volume that an item can add, above the rounding of float32.
const MIN_RESIDUAL: f32 = 1e-5;

/// Shows relevant items whose vectors span a large volume: diversity of the list as a whole, where
/// [`Mmr`](crate::models::reranking::Mmr) looks at the nearest item only.
///
/// θ = 1 leaves the order of scores; a θ of 0 maximises the volume alone. Candidates keep their scores.
///
/// ```
/// use recsys::features::ItemVectors;
/// use recsys::models::reranking::Dpp;
/// use recsys::prelude::*;
///
/// let vectors = ItemVectors::new(2, vec![1.0, 0.0,  2.0, 0.1,  0.0, 1.0])?;
/// let ranked = [(0, 0.9), (1, 0.8), (2, 0.5)].map(|(item, score)| Candidate::new(ItemId(item), score));
/// let shown = Dpp::new(0.7, vectors)?.rerank(&Query::default(), ranked.to_vec(), 2)?;
/// assert_eq!(shown.iter().map(|candidate| candidate.item.0).collect::<Vec<_>>(), [0, 2], "1 is much like 0");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Dpp {
    theta: f32,
    /// Of length 1, or 0.
    vectors: ItemVectors,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    theta: f32,
    vectors: ItemVectors,
}

impl Dpp {
    /// Compares items by the cosines of these vectors, with the weight θ of relevance.
    ///
    /// # Errors
    /// A θ outside [0, 1].
    pub fn new(theta: f32, vectors: ItemVectors) -> Result<Self> {
        if !(0.0..=1.0).contains(&theta) {
            return Err(Error::config("Dpp::theta", "a number from 0 to 1", theta));
        }
        Ok(Self { theta, vectors: vectors.l2_normalized() })
    }
}

impl Reranker for Dpp {
    fn rerank(&self, _: &Query<'_>, ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        check_ranked(&ranked, self.vectors.n_items())?;
        let objective = Volume {
            theta: self.theta,
            relevance: relevance(&ranked),
            rows: self.vectors.gather(ranked.iter().map(|candidate| candidate.item)),
            dim: self.vectors.dim(),
            residuals: vec![1.0; ranked.len()],
            factors: Vec::new(),
        };
        Ok(select_greedily(ranked, k, objective))
    }
}

/// The state of one list.
struct Volume {
    theta: f32,
    relevance: Vec<f32>,
    /// The candidates' vectors, `[n, dim]`.
    rows: Vec<f32>,
    dim: usize,
    /// d² of each candidate.
    residuals: Vec<f32>,
    /// The vectors c of all candidates: one row of n numbers for each item of the list.
    factors: Vec<Vec<f32>>,
}

impl GreedyObjective for Volume {
    fn gain(&self, candidate: usize) -> f32 {
        let residual = self.residuals[candidate].max(MIN_RESIDUAL);
        self.theta * self.relevance[candidate] + (1.0 - self.theta) * residual.ln()
    }

    fn choose(&mut self, candidate: usize) {
        let residual = self.residuals[candidate];
        if residual <= MIN_RESIDUAL {
            return;
        }
        let mut row = vec![0.0; self.residuals.len()];
        inner_products(&self.rows, &self.rows[candidate * self.dim..][..self.dim], &mut row);
        row.iter_mut().for_each(|cosine| *cosine = (1.0 + *cosine) / 2.0);
        for factor in &self.factors {
            let own = factor[candidate];
            row.iter_mut().zip(factor).for_each(|(sum, &other)| *sum -= own * other);
        }
        let scale = residual.sqrt();
        for (e, residual) in row.iter_mut().zip(&mut self.residuals) {
            *e /= scale;
            *residual -= *e * *e;
        }
        self.factors.push(row);
    }
}

impl TryFrom<Saved> for Dpp {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        Self::new(saved.theta, saved.vectors)
    }
}

impl From<Dpp> for Saved {
    fn from(dpp: Dpp) -> Self {
        Self { theta: dpp.theta, vectors: dpp.vectors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ItemId;
    use crate::rng::Rng;

    fn order(reranker: &Dpp, scores: &[f32], k: usize) -> Vec<usize> {
        let ranked = (0..).zip(scores).map(|(item, &score)| Candidate::new(ItemId(item), score));
        let shown = reranker.rerank(&Query::default(), ranked.collect(), k).unwrap();
        shown.iter().map(|candidate| candidate.item.index()).collect()
    }

    /// By Gaussian elimination in float64.
    fn determinant(mut matrix: Vec<Vec<f64>>) -> f64 {
        let mut product = 1.0;
        for pivot in 0..matrix.len() {
            let largest = (pivot..matrix.len())
                .max_by(|&a, &b| matrix[a][pivot].abs().total_cmp(&matrix[b][pivot].abs()))
                .unwrap();
            if largest != pivot {
                matrix.swap(pivot, largest);
                product = -product;
            }
            product *= matrix[pivot][pivot];
            for row in pivot + 1..matrix.len() {
                let factor = matrix[row][pivot] / matrix[pivot][pivot];
                let above = matrix[pivot].clone();
                matrix[row].iter_mut().zip(above).for_each(|(x, above)| *x -= factor * above);
            }
        }
        product
    }

    /// The determinant of every longer list anew.
    fn by_definition(theta: f64, rows: &[f32], dim: usize, scores: &[f32], k: usize) -> Vec<usize> {
        let unit: Vec<Vec<f64>> = rows
            .chunks(dim)
            .map(|row| {
                let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                row.iter().map(|&x| f64::from(x) / length).collect()
            })
            .collect();
        let similarity =
            |a: usize, b: usize| (1.0 + unit[a].iter().zip(&unit[b]).map(|(x, y)| x * y).sum::<f64>()) / 2.0;
        let min = scores.iter().copied().fold(f32::INFINITY, f32::min);
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut list: Vec<usize> = Vec::new();
        while list.len() < k {
            let value = |&i: &usize| {
                let longer: Vec<usize> = list.iter().copied().chain([i]).collect();
                let gram =
                    longer.iter().map(|&a| longer.iter().map(|&b| similarity(a, b)).collect()).collect();
                let relevance: f64 =
                    longer.iter().map(|&i| f64::from(scores[i] - min) / f64::from(max - min)).sum();
                theta * relevance + (1.0 - theta) * determinant(gram).ln()
            };
            let left = (0..scores.len()).filter(|i| !list.contains(i));
            let best = left.max_by(|a, b| value(a).total_cmp(&value(b))).unwrap();
            list.push(best);
        }
        list
    }

    #[test]
    fn equals_the_definition() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (n, dim, k) = (20, 12, 8);
            let rows: Vec<f32> = (0..n * dim).map(|_| rng.normal() as f32).collect();
            let scores: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
            let theta = 0.1 + 0.8 * rng.uniform_f32();
            let dpp = Dpp::new(theta, ItemVectors::new(dim, rows.clone()).unwrap()).unwrap();
            assert_eq!(
                order(&dpp, &scores, k),
                by_definition(theta.into(), &rows, dim, &scores, k),
                "{seed}"
            );
        }
    }

    #[test]
    fn relevance_alone_leaves_the_order_of_scores() {
        let twins = ItemVectors::new(1, vec![1.0; 4]).unwrap();
        for theta in [1.0, 0.5] {
            let dpp = Dpp::new(theta, twins.clone()).unwrap();
            assert_eq!(
                order(&dpp, &[0.3, 0.1, 0.2, 0.9], 9),
                [3, 0, 2, 1],
                "what adds nothing follows by score"
            );
        }
    }

    #[test]
    fn bad_input_is_named() {
        let vectors = || ItemVectors::new(1, vec![1.0, 2.0]).unwrap();
        for theta in [-0.1, 1.1, f32::NAN] {
            let error = Dpp::new(theta, vectors()).unwrap_err().to_string();
            assert_eq!(error, format!("Dpp::theta: expected a number from 0 to 1, found {theta}"));
        }
        let dpp = Dpp::new(0.5, vectors()).unwrap();
        let json = serde_json::to_string(&dpp).unwrap();
        assert_eq!(serde_json::from_str::<Dpp>(&json).unwrap(), dpp);
        assert!(serde_json::from_str::<Dpp>(&json.replace("0.5", "1.5")).is_err());
    }
}
