//! SLIM, sparse linear methods: Ning & Karypis 2011, "SLIM: sparse linear methods for top-n recommender systems".
//!
//! Each column w_j of the item-item matrix W minimises (equation 4)
//!
//! ½ ‖x_j − X w_j‖² + ½ β ‖w_j‖² + λ ‖w_j‖₁ subject to w_jj = 0 and, as a setting, w_j ≥ 0,
//!
//! with X the 0-1 matrix of users and items, and score(i) = Σ W_ji over the distinct items j of the history; as a setting,
//! item j counts 2^(−a_j / half-life), with a_j the number of items that came after j.
//!
//! Solved by coordinate descent on the Gram matrix G = XᵀX (the covariance updates of Friedman, Hastie & Tibshirani 2010,
//! "Regularization paths for generalized linear models via coordinate descent", section 2.2):
//! w_ij ← S(G_ij − Σ_{k≠i} G_ik w_kj, λ) / (G_ii + β), with S(x, λ) = sign(x) max(|x| − λ, 0).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, Incidence, Interactions, ItemSimilarities, SparseAccumulator, check_half_life};
use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::pipeline::{Candidate, Query, Recaller};

/// The settings of a [`SlimRecaller`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `l1` | 5 | ≥ 0 | λ: more makes fewer weights |
/// | `l2` | 1,000 | ≥ 0, some of the two above 0 | β: more makes smaller weights, and shares them among like items |
/// | `non_negative` | true | | whether an item may only speak for another; faster |
/// | `tolerance` | 0.001 | > 0 | descent ends when no weight moves by more |
/// | `max_sweeps` | 50 | ≥ 1 | … or after so many rounds over the items |
/// | `half_life` | 5 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
/// | `max_items` | 20,000 | ≥ 1 | refuses a larger catalogue: fitting holds G, up to 8 n² bytes |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlimConfig {
    /// λ, the weight of the sum of magnitudes.
    pub l1: f32,
    /// β, the weight of the sum of squares.
    pub l2: f32,
    /// Whether weights below 0 are left out.
    pub non_negative: bool,
    /// The largest move of a weight at which a column is done.
    pub tolerance: f32,
    /// The largest number of rounds over the weights of a column.
    pub max_sweeps: usize,
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
    /// The largest catalogue that is fitted.
    pub max_items: usize,
}

impl Default for SlimConfig {
    fn default() -> Self {
        Self {
            l1: 5.0,
            l2: 1_000.0,
            non_negative: true,
            tolerance: 1e-3,
            max_sweeps: 50,
            half_life: Some(5.0),
            max_items: 20_000,
        }
    }
}

impl SlimConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        for (field, penalty) in [("SlimConfig::l1", self.l1), ("SlimConfig::l2", self.l2)] {
            if !(penalty >= 0.0 && penalty.is_finite()) {
                return Err(Error::config(field, "a finite number of 0 or more", penalty));
            }
        }
        if self.l1 == 0.0 && self.l2 == 0.0 {
            return Err(Error::config("SlimConfig::l2", "above 0, or l1 above 0", 0));
        }
        if !(self.tolerance > 0.0 && self.tolerance.is_finite()) {
            return Err(Error::config("SlimConfig::tolerance", "a finite number above 0", self.tolerance));
        }
        for (field, count) in
            [("SlimConfig::max_sweeps", self.max_sweeps), ("SlimConfig::max_items", self.max_items)]
        {
            if count == 0 {
                return Err(Error::config(field, "at least 1", 0));
            }
        }
        check_half_life("SlimConfig::half_life", self.half_life)
    }
}

/// Recommends what a sparse linear model of each item predicts from the items of the history.
///
/// Fitting holds the Gram matrix, 8 bytes for each ordered pair of items that some user chose both, so at most 8 n² for n
/// items (3.2 GB for 20,000), and one column of float64 for each thread; the model keeps 8 bytes for each weight that is not
/// 0. An item to which no item of the history has a weight is no candidate.
///
/// ```
/// use recsys::models::recall::{SlimConfig, SlimRecaller};
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 3, [row(0, 0), row(0, 1), row(1, 0), row(1, 1)])?;
/// let slim = SlimRecaller::fit(&train, &SlimConfig { l1: 0.5, l2: 1.0, ..SlimConfig::default() })?;
/// let answer = slim.recall(&Query::new(&[ItemId(0)]).excluding([ItemId(0)]), 5)?;
/// assert_eq!(answer, [Candidate::new(ItemId(1), 0.5)]); // (2 − 0.5) / (2 + 1)
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlimRecaller(ItemSimilarities);

impl SlimRecaller {
    /// Descends for each item, in parallel.
    ///
    /// # Errors
    /// A setting outside its range, or more items than `max_items`.
    pub fn fit(interactions: &Interactions, config: &SlimConfig) -> Result<Self> {
        config.validate()?;
        let n_items = interactions.n_items();
        if n_items > config.max_items {
            let expected = format!("at least the {n_items} items of the catalogue (8 n² bytes)");
            return Err(Error::config("SlimConfig::max_items", expected, config.max_items));
        }
        let problem = Problem { gram: gram(interactions), config };
        let items = (0..n_items as u32).into_par_iter().map(ItemId);
        let columns: Vec<Vec<(ItemId, f32)>> =
            items.map_init(|| vec![0.0; n_items], |residual, item| problem.column(item, residual)).collect();
        let mut rows = vec![Vec::new(); n_items];
        for (item, column) in (0..).map(ItemId).zip(columns) {
            column.into_iter().for_each(|(from, weight)| rows[from.index()].push((item, weight)));
        }
        Ok(Self(ItemSimilarities::from_rows(rows, config.half_life)))
    }

    /// The `k` admissible items that `item` alone predicts most, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        self.0.nearest(item, k, filter)
    }
}

/// XᵀX, of each row what is not 0, ascending.
fn gram(interactions: &Interactions) -> Csr<ItemId, (ItemId, f32)> {
    let chosen = Incidence::new(interactions);
    let n_items = interactions.n_items();
    let row = |sums: &mut SparseAccumulator, item: u32| {
        let counts = chosen.co_occurrences(ItemId(item), |_| 1.0, sums);
        let mut row: Vec<_> = counts.map(|(other, n)| (other, n as f32)).collect();
        row.sort_unstable_by_key(|&(other, _)| other);
        row
    };
    let rows: Vec<_> =
        (0..n_items as u32).into_par_iter().map_init(|| SparseAccumulator::new(n_items), row).collect();
    Csr::from_rows(rows)
}

/// What the columns have in common.
struct Problem<'a> {
    gram: Csr<ItemId, (ItemId, f32)>,
    config: &'a SlimConfig,
}

impl Problem<'_> {
    /// The weights of w_j that are not 0, for j = `target`. `residual` is room for G_ij − Σ_k G_ik w_kj of every item i.
    fn column(&self, target: ItemId, residual: &mut [f64]) -> Vec<(ItemId, f32)> {
        let SlimConfig { l1, l2, non_negative, tolerance, max_sweeps, .. } = *self.config;
        let (l1, l2) = (f64::from(l1), f64::from(l2));
        residual.fill(0.0);
        self.gram.row(target).iter().for_each(|&(item, n)| residual[item.index()] = n.into());
        let mut weights = self.coordinates(target);
        for _ in 0..max_sweeps {
            let mut largest = 0f64;
            for (item, norm, weight) in &mut weights {
                let x = residual[item.index()] + *norm * *weight;
                let shrunk = x.signum() * (x.abs() - l1).max(0.0) / (*norm + l2);
                let new = if non_negative { shrunk.max(0.0) } else { shrunk };
                let step = new - *weight;
                if step != 0.0 {
                    let row = self.gram.row(*item);
                    row.iter().for_each(|&(other, n)| residual[other.index()] -= step * f64::from(n));
                    *weight = new;
                    largest = largest.max(step.abs());
                }
            }
            if largest <= tolerance.into() {
                break;
            }
        }
        weights
            .iter()
            .filter(|weight| weight.2 != 0.0)
            .map(|&(item, _, weight)| (item, weight as f32))
            .collect()
    }

    /// The items whose weight can leave 0, with G_ii and the weight 0. As G has no negative entry, with weights of 0 or
    /// more only those with G_ij > λ can.
    fn coordinates(&self, target: ItemId) -> Vec<(ItemId, f64, f64)> {
        let norm = |item: ItemId| {
            let row = self.gram.row(item);
            row.binary_search_by_key(&item, |&(other, _)| other).map_or(0.0, |at| f64::from(row[at].1))
        };
        let items: Vec<ItemId> = if self.config.non_negative {
            let row = self.gram.row(target).iter();
            row.filter(|&&(_, n)| n > self.config.l1).map(|&(item, _)| item).collect()
        } else {
            (0..self.gram.n_rows() as u32).map(ItemId).filter(|&item| norm(item) > 0.0).collect()
        };
        items.into_iter().filter(|&item| item != target).map(|item| (item, norm(item), 0.0)).collect()
    }
}

impl Recaller for SlimRecaller {
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

    fn config(l1: f32, l2: f32, non_negative: bool) -> SlimConfig {
        SlimConfig {
            l1,
            l2,
            non_negative,
            tolerance: 1e-7,
            max_sweeps: 10_000,
            half_life: None,
            max_items: N_ITEMS,
        }
    }

    proptest! {
        /// The optimality conditions of equation 4: with g the gradient of its smooth part, g = −λ sign(w) where w ≠ 0;
        /// elsewhere |g| ≤ λ, or g ≥ −λ where w may not be negative.
        #[test]
        fn every_column_is_optimal(
            rows in prop::collection::vec((0u32..8, 0u32..N_ITEMS as u32), 0..40),
            l1 in 0f32..1.5,
            l2 in 0.1f32..3.0,
            non_negative: bool,
        ) {
            let slim = SlimRecaller::fit(&table(&rows), &config(l1, l2, non_negative)).unwrap();
            let mut w = [[0f64; N_ITEMS]; N_ITEMS];
            for (item, row) in (0..).map(ItemId).zip(&mut w) {
                for other in slim.similar_items(item, N_ITEMS, &ItemFilter::all()).unwrap() {
                    row[other.item.index()] = other.score.into();
                }
            }
            let (l1, l2) = (f64::from(l1), f64::from(l2));
            let has = |user, item: usize| f64::from(u8::from(rows.contains(&(user, item as u32))));
            for (i, j) in (0..N_ITEMS * N_ITEMS).map(|place| (place / N_ITEMS, place % N_ITEMS)) {
                if i == j {
                    prop_assert_eq!(w[i][j], 0.0);
                    continue;
                }
                let error = |user| (0..N_ITEMS).map(|k| has(user, k) * w[k][j]).sum::<f64>() - has(user, j);
                let gradient = (0..8).map(|user| has(user, i) * error(user)).sum::<f64>() + l2 * w[i][j];
                prop_assert!(!non_negative || w[i][j] >= 0.0);
                let slack = if w[i][j] != 0.0 {
                    (gradient + l1 * w[i][j].signum()).abs()
                } else if non_negative {
                    -l1 - gradient
                } else {
                    gradient.abs() - l1
                };
                prop_assert!(slack < 1e-4, "w[{}][{}] = {}, gradient {}", i, j, w[i][j], gradient);
            }
        }
    }

    #[test]
    fn sparsity_rises_with_the_penalty() {
        let rows: Vec<(u32, u32)> =
            (0..8).flat_map(|user| [(user, user % 6), (user, user * user % 6), (user, 1)]).collect();
        let n_weights = |l1| SlimRecaller::fit(&table(&rows), &config(l1, 0.5, true)).unwrap();
        let n_weights = |l1| serde_json::to_value(n_weights(l1)).unwrap()["items"].as_array().unwrap().len();
        assert!(n_weights(0.0) > n_weights(1.0) && n_weights(1.0) > n_weights(5.0));
        assert_eq!(n_weights(8.0), 0);
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let good = || config(1.0, 1.0, true);
        let refused = |config: SlimConfig| SlimRecaller::fit(&table(&[]), &config).unwrap_err().to_string();
        let error = refused(SlimConfig { max_items: 5, ..good() });
        let expected = "at least the 6 items of the catalogue (8 n² bytes)";
        assert_eq!(error, format!("SlimConfig::max_items: expected {expected}, found 5"));
        for (field, config) in [
            ("l1", SlimConfig { l1: -1.0, ..good() }),
            ("l2", SlimConfig { l2: f32::NAN, ..good() }),
            ("l2: expected above 0, or l1 above 0", config(0.0, 0.0, true)),
            ("tolerance", SlimConfig { tolerance: 0.0, ..good() }),
            ("max_sweeps", SlimConfig { max_sweeps: 0, ..good() }),
            ("max_items", SlimConfig { max_items: 0, ..good() }),
        ] {
            assert!(refused(config).contains(field), "{field}");
        }
    }

    #[test]
    fn comes_back_from_json() {
        let slim =
            SlimRecaller::fit(&table(&[(0, 0), (0, 1), (1, 1), (1, 2)]), &config(0.1, 1.0, true)).unwrap();
        let json = serde_json::to_string(&slim).unwrap();
        assert_eq!(serde_json::from_str::<SlimRecaller>(&json).unwrap(), slim);
        assert!(serde_json::from_str::<SlimRecaller>(&json.replace("\"items\":[1", "\"items\":[7")).is_err());
    }
}
