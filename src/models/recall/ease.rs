//! EASE, the embarrassingly shallow autoencoder: Steck 2019, "Embarrassingly shallow autoencoders for sparse data".
//!
//! The item-item matrix B that minimises ‖X − XB‖² + λ‖B‖² subject to diag(B) = 0 (equations 2 and 3), with X the 0-1
//! matrix of users and items, has a closed form (equation 8): with P = (XᵀX + λI)⁻¹,
//!
//! - B_ij = −P_ij / P_jj for i ≠ j, and 0 for i = j;
//! - score(i) = Σ B_ji over the distinct items j of the history.
//!
//! Deviations: of each row of B only the weights of greatest magnitude are kept; as a setting, item j of the history
//! counts 2^(−a_j / half-life), with a_j the number of items that came after j.

use serde::{Deserialize, Serialize};

use crate::data::{Incidence, Interactions, ItemSimilarities, SparseAccumulator, check_half_life};
use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::kernels::SymmetricMatrix;
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::TopK;

/// The settings of an [`EaseRecaller`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `l2` | 1,000 | > 0 | λ: more trusts only what many users support |
/// | `n_neighbours` | 500 | ≥ 1 | weights kept of each row of B; more costs memory and time |
/// | `half_life` | 5 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
/// | `max_items` | 20,000 | ≥ 1 | refuses a larger catalogue: fitting takes 4 n² bytes and n³ operations |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EaseConfig {
    /// λ, the weight of the squared norm of B.
    pub l2: f32,
    /// The weights kept of each row of B, by magnitude.
    pub n_neighbours: usize,
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
    /// The largest catalogue that is fitted.
    pub max_items: usize,
}

impl Default for EaseConfig {
    fn default() -> Self {
        Self { l2: 1_000.0, n_neighbours: 500, half_life: Some(5.0), max_items: 20_000 }
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
        check_half_life("EaseConfig::half_life", self.half_life)
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
pub struct EaseRecaller(ItemSimilarities);

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
                counts.map(|(other, n)| (other.index(), n)).chain([(item, l2)]).collect::<Vec<_>>()
            },
        );
        // Beside the matrix nothing large is held.
        drop(chosen);
        let Some(p) = gram.inverse() else {
            return Err(Error::config("EaseConfig::l2", "enough that XᵀX + λI can be inverted", config.l2));
        };
        let diagonal: Vec<f64> = (0..n_items).map(|item| p.get(item, item)).collect();
        let weights = ItemSimilarities::compute(n_items, config.half_life, |row, _| {
            let weight = |item: ItemId| (-p.get(row.index(), item.index()) / diagonal[item.index()]) as f32;
            let mut largest = TopK::new(config.n_neighbours);
            for item in (0..n_items as u32).map(ItemId).filter(|&item| item != row) {
                largest.push(item, weight(item).abs());
            }
            let largest = largest.into_sorted().into_iter().filter(|&(_, magnitude)| magnitude > 0.0);
            largest.map(|(item, _)| (item, weight(item))).collect()
        });
        Ok(Self(weights))
    }

    /// The `k` admissible items that `item` alone predicts most, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        self.0.nearest(item, k, filter)
    }
}

impl Recaller for EaseRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.0.n_items())?;
        Ok(self.0.recall(query.history(), k, query.filter()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::Interaction;
    use crate::ids::UserId;

    const N_ITEMS: usize = 6;

    fn table(rows: &[(u32, u32)]) -> Interactions {
        let row = |&(user, item): &(u32, u32)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp: 0,
        };
        Interactions::from_rows(8, N_ITEMS, rows.iter().map(row)).unwrap()
    }

    /// Row by row, zeros included.
    fn weights(rows: &[(u32, u32)], config: &EaseConfig) -> [[f64; N_ITEMS]; N_ITEMS] {
        let ease = EaseRecaller::fit(&table(rows), config).unwrap();
        let mut b = [[0.0; N_ITEMS]; N_ITEMS];
        for (item, row) in (0..).map(ItemId).zip(&mut b) {
            for other in ease.similar_items(item, N_ITEMS, &ItemFilter::all()).unwrap() {
                row[other.item.index()] = other.score.into();
            }
        }
        b
    }

    fn config(l2: f32) -> EaseConfig {
        EaseConfig { l2, n_neighbours: N_ITEMS, half_life: None, max_items: N_ITEMS }
    }

    proptest! {
        /// Where the objective is least, its gradient Xᵀ(XB − X) + λB is 0 off the diagonal, which is 0 itself.
        #[test]
        fn the_gradient_vanishes_off_the_diagonal(
            rows in prop::collection::vec((0u32..8, 0u32..N_ITEMS as u32), 0..40),
            l2 in 0.5f32..20.0,
        ) {
            let b = weights(&rows, &config(l2));
            let has = |user, item: usize| f64::from(u8::from(rows.contains(&(user, item as u32))));
            for (i, j) in (0..N_ITEMS * N_ITEMS).map(|place| (place / N_ITEMS, place % N_ITEMS)) {
                if i == j {
                    prop_assert_eq!(b[i][j], 0.0);
                    continue;
                }
                let error = |user| (0..N_ITEMS).map(|k| has(user, k) * b[k][j]).sum::<f64>() - has(user, j);
                let gradient = (0..8).map(|user| has(user, i) * error(user)).sum::<f64>();
                prop_assert!((gradient + f64::from(l2) * b[i][j]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn the_largest_weights_are_kept_whatever_their_sign() {
        // Items 0 and 1 go together; of those who chose 2 or 3, nobody chose both, and all chose 4.
        let rows =
            [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 4), (3, 2), (3, 4), (4, 3), (4, 4), (5, 3), (5, 4)];
        let all = weights(&rows, &config(1.0));
        assert!(all[2][3] < 0.0 && all[2][4] > all[2][3].abs(), "{:?}", all[2]);
        let kept = weights(&rows, &EaseConfig { n_neighbours: 1, ..config(1.0) });
        assert_eq!((kept[2][4], kept[2][3]), (all[2][4], 0.0));
        let kept = weights(&rows, &EaseConfig { n_neighbours: 2, ..config(1.0) });
        assert_eq!((kept[2][4], kept[2][3]), (all[2][4], all[2][3]));
        assert_eq!(all[5], [0.0; N_ITEMS], "nobody chose item 5");
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let refused = |config: EaseConfig| EaseRecaller::fit(&table(&[]), &config).unwrap_err().to_string();
        let error = refused(EaseConfig { max_items: 5, ..config(1.0) });
        let expected = "at least the 6 items of the catalogue (4 n² bytes)";
        assert_eq!(error, format!("EaseConfig::max_items: expected {expected}, found 5"));
        assert!(refused(EaseConfig { max_items: 0, ..config(1.0) }).contains("max_items"));
        assert!(refused(EaseConfig { n_neighbours: 0, ..config(1.0) }).contains("n_neighbours"));
        for l2 in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(refused(config(l2)).contains("EaseConfig::l2"), "{l2}");
        }
        let error = EaseRecaller::fit(&table(&[(0, 0), (0, 1)]), &config(1e-30)).unwrap_err().to_string();
        assert!(error.contains("can be inverted"), "{error}");
    }

    #[test]
    fn comes_back_from_json() {
        let ease = EaseRecaller::fit(&table(&[(0, 0), (0, 1), (1, 1), (1, 2)]), &config(2.0)).unwrap();
        let json = serde_json::to_string(&ease).unwrap();
        assert_eq!(serde_json::from_str::<EaseRecaller>(&json).unwrap(), ease);
        assert!(serde_json::from_str::<EaseRecaller>(&json.replace("\"items\":[1", "\"items\":[7")).is_err());
    }
}
