//! EASE, the embarrassingly shallow autoencoder: Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
//!
//! The item-item matrix B that minimises ‖X − XB‖² + λ‖B‖² subject to diag(B) = 0 (equations 2 and 3), with X the 0-1
//! matrix of users and items, has a closed form (equation 8): with P = (XᵀX + λI)⁻¹,
//!
//! - B_ij = −P_ij / P_jj for i ≠ j, and 0 for i = j;
//! - score(i) = Σ B_ji over the distinct items j of the history.
//!
//! Deviation: of each row of B only the weights of greatest magnitude are kept.

use serde::{Deserialize, Serialize};

use crate::data::{Incidence, Interactions, ItemSimilarities, SparseAccumulator, recency_weights};
use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::kernels::SymmetricMatrix;
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::TopK;

/// The settings of an [`EaseRecaller`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `l2` | 500 | > 0 | λ: more trusts only what many users support |
/// | `n_neighbours` | 1,000 | ≥ 1 | weights kept of each row of B; more costs memory and time |
/// | `max_items` | 20,000 | ≥ 1 | refuses a larger catalogue: fitting takes 4 n² bytes and n³ operations |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EaseConfig {
    /// λ, the weight of the squared norm of B.
    pub l2: f32,
    /// The weights kept of each row of B, by magnitude.
    pub n_neighbours: usize,
    /// The largest catalogue that is fitted.
    pub max_items: usize,
}

impl Default for EaseConfig {
    fn default() -> Self {
        Self { l2: 500.0, n_neighbours: 1_000, max_items: 20_000 }
    }
}

impl EaseConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if !(self.l2 > 0.0 && self.l2.is_finite()) {
            return Err(Error::config("EaseConfig::l2", "a finite number above 0", self.l2));
        }
        for (field, count) in
            [("EaseConfig::n_neighbours", self.n_neighbours), ("EaseConfig::max_items", self.max_items)]
        {
            if count == 0 {
                return Err(Error::config(field, "at least 1", 0));
            }
        }
        Ok(())
    }
}

/// Recommends what a linear model of all items predicts from the items of the history.
///
/// Fitting holds one triangle of an n × n matrix in float64, 4 n² bytes for n items (1.6 GB for 20,000), and takes n³
/// floating-point operations; the model keeps 8 bytes for each weight. The same interactions give the same model to the bit
/// on any number of threads. An item to which no item of the history has a weight is no candidate.
///
/// ```
/// use recsys::models::recall::{EaseConfig, EaseRecaller};
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 3, [row(0, 0), row(0, 1), row(1, 0), row(1, 1)])?;
/// let ease = EaseRecaller::fit(&train, &EaseConfig { l2: 1.0, ..EaseConfig::default() })?;
/// let answer = ease.recall(&Query::new(&[ItemId(0)]).excluding([ItemId(0)]), 5)?;
/// assert_eq!(answer[0].item, ItemId(1));
/// assert!((answer[0].score - 2.0 / 3.0).abs() < 1e-6); // P = [3 2; 2 3]⁻¹
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EaseRecaller {
    weights: ItemSimilarities,
}

impl EaseRecaller {
    /// Solves for B.
    ///
    /// # Errors
    /// A setting outside its range, more items than `max_items`, or an XᵀX + λI that is singular to the precision of float64.
    pub fn fit(interactions: &Interactions, config: &EaseConfig) -> Result<Self> {
        config.validate()?;
        let n_items = interactions.n_items();
        if n_items > config.max_items {
            let expected = format!("at least the {n_items} items of the catalogue (4 n² bytes)");
            return Err(Error::config("EaseConfig::max_items", expected, config.max_items));
        }
        let chosen = Incidence::new(interactions);
        let l2 = f64::from(config.l2);
        let gram = SymmetricMatrix::from_sparse_rows(
            n_items,
            || SparseAccumulator::new(n_items),
            |item, sums| {
                let counts = chosen.co_occurrences(ItemId(item as u32), |_| 1.0, sums);
                let counts = counts.map(|(other, n)| (other.index(), if other.index() == item { n + l2 } else { n }));
                counts.collect::<Vec<_>>()
            },
        );
        let Some(p) = gram.inverse() else {
            return Err(Error::config("EaseConfig::l2", "enough that XᵀX + λI can be inverted", config.l2));
        };
        let weights = ItemSimilarities::compute(n_items, |row, _| {
            let weight = |item: ItemId| (-p.get(row.index(), item.index()) / p.get(item.index(), item.index())) as f32;
            let mut largest = TopK::new(config.n_neighbours);
            for item in (0..n_items as u32).map(ItemId).filter(|&item| item != row) {
                largest.push(item, weight(item).abs());
            }
            let largest = largest.into_sorted().into_iter().filter(|&(_, magnitude)| magnitude > 0.0);
            largest.map(|(item, _)| (item, weight(item))).collect()
        });
        Ok(Self { weights })
    }

    /// The `k` admissible items that `item` alone predicts most, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        Ok(self.weights.nearest(item, k, filter)?.into_iter().map(Candidate::from).collect())
    }
}

impl Recaller for EaseRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.weights.n_items())?;
        let history = recency_weights(query.history(), None);
        Ok(self.weights.top_k(&history, k, query.filter()).into_iter().map(Candidate::from).collect())
    }
}
