//! Implicit alternating least squares: Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback
//! datasets", solved by conjugate gradients (Takács, Pilászy & Tikk 2011, "Applications of the conjugate gradient
//! method for implicit feedback collaborative filtering"), with the regularisation by frequency of Rendle, Krichene,
//! Zhang & Koren 2021, "Revisiting the performance of iALS on item recommendation benchmarks".
//!
//! With r_ui what user u did with item i (0 for nothing), the preference p_ui = 1 if r_ui > 0 and else 0, and the
//! confidence c_ui = 1 + α r_ui, it minimises (Hu et al., equation 3)
//!
//! Σ_{u, i} c_ui (p_ui − x_u·y_i)² + Σ_u λ_u |x_u|² + Σ_i λ_i |y_i|²
//!
//! by turns over all x_u with the y_i fixed and over all y_i with the x_u fixed (equations 4 and 5). The sum is over
//! all pairs, also those that never met; YᵀY makes its cost that of those that did.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, Interactions, UserItemMatrix};
use crate::error::{Error, Location, Result, check_size, check_weight};
use crate::ids::{ItemFilter, ItemId};
use crate::kernels::{Factors, LeastSquares, System, check_finite, gramian};
use crate::pipeline::{Candidate, EmbeddingModel, Query, QueryEncoder, Recaller};
use crate::rng::Rng;
use crate::top_k::best_admitted;

/// The settings of an [`Ials`].
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `n_factors` | 64 | width of the vectors of users and items | 1 to 2²⁰ |
/// | `alpha` | 5 | α, how much more a pair that met counts than one that did not | > 0 |
/// | `lambda` | 0.01 | λ, strength of the regularisation | > 0 |
/// | `frequency_exponent` | 1 | ν: λ_u = λ (Σ_i c_ui)^ν and λ_i = λ (Σ_u c_ui)^ν; 0 regularises all alike, 1 in proportion | 0 to 1 |
/// | `by_value` | false | r_ui is the sum of the values of the pair's rows (play counts, minutes), not their number | |
/// | `n_sweeps` | 15 | passes over all users and all items | ≥ 1 |
/// | `n_cg_steps` | 3 | steps of conjugate gradients for one row, from where the sweep before left it | ≥ 1 |
/// | `seed` | 0 | the first vectors of the items | |
///
/// With ν > 0 the λ_u grow with the catalogue: at ν = 1 a λ of 0.001 to 0.01 is usual, at ν = 0 one of 1 to 100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IalsConfig {
    /// The width of the vectors of users and items.
    pub n_factors: usize,
    /// α, how much more a pair that met counts than one that did not.
    pub alpha: f32,
    /// λ, the strength of the regularisation.
    pub lambda: f32,
    /// ν, how the regularisation grows with what is known of a user or an item.
    pub frequency_exponent: f32,
    /// Whether r is the sum of the values of a pair's rows in place of their number.
    pub by_value: bool,
    /// Passes over all users and all items.
    pub n_sweeps: usize,
    /// Steps of conjugate gradients for one row in one sweep.
    pub n_cg_steps: usize,
    /// Draws the first vectors of the items.
    pub seed: u64,
}

impl Default for IalsConfig {
    fn default() -> Self {
        Self {
            n_factors: 64,
            alpha: 5.0,
            lambda: 0.01,
            frequency_exponent: 1.0,
            by_value: false,
            n_sweeps: 15,
            n_cg_steps: 3,
            seed: 0,
        }
    }
}

impl IalsConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        check_size("IalsConfig::n_factors", self.n_factors)?;
        check_weight("IalsConfig::n_factors", [self.n_factors; 2])?;
        for (field, value) in [("IalsConfig::alpha", self.alpha), ("IalsConfig::lambda", self.lambda)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::config(field, "a positive number", value));
            }
        }
        if !(0.0..=1.0).contains(&self.frequency_exponent) {
            return Err(Error::config("IalsConfig::frequency_exponent", "0 to 1", self.frequency_exponent));
        }
        for (field, n) in
            [("IalsConfig::n_sweeps", self.n_sweeps), ("IalsConfig::n_cg_steps", self.n_cg_steps)]
        {
            if n == 0 {
                return Err(Error::config(field, "at least 1", n));
            }
        }
        Ok(())
    }

    /// λ (Σ c)^ν of a row that met these out of `n_others`.
    fn ridge<R>(&self, entries: &[(R, f32)], n_others: usize) -> f32 {
        let r: f32 = entries.iter().map(|entry| entry.1).sum();
        self.lambda * (n_others as f32 + self.alpha * r).powf(self.frequency_exponent)
    }

    fn system<'a, R>(&self, entries: &'a [(R, f32)], n_others: usize) -> System<'a, R> {
        System { entries, alpha: self.alpha, ridge: self.ridge(entries, n_others) }
    }
}

/// The standard deviation of a first vector's length.
const INITIAL_LENGTH: f64 = 0.1;

/// Recommends the items whose vectors have the highest inner products with the user's.
///
/// The user's vector is solved anew from the query's history (each item as often as it stands there), so that nobody
/// has to have been there when the model was fitted; a query without a known item is answered by the vector
/// that the user had then. Whoever has neither gets no candidates.
///
/// For catalogues too large to scan, an [`EmbeddingRecaller`](super::EmbeddingRecaller) serves it as an
/// [`EmbeddingModel`] over a graph.
///
/// ```
/// use recsys::models::recall::{Ials, IalsConfig};
/// use recsys::prelude::*;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let config = IalsConfig { n_factors: 16, ..IalsConfig::default() };
/// let ials = Ials::fit(data.interactions(), &config)?;
/// let history = [ItemId(3), ItemId(7)];
/// let answer = ials.recall(&Query::new(&history).excluding(history), 10)?;
/// assert_eq!(answer.len(), 10);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Ials {
    config: IalsConfig,
    /// What one row of a history counts: the mean r of a training row.
    r_of_row: f32,
    users: Factors,
    items: Factors,
    /// YᵀY of the items.
    gramian: Vec<f32>,
}

/// What a saved model consists of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: IalsConfig,
    r_of_row: f32,
    users: Factors,
    items: Factors,
}

impl Ials {
    /// Fits the vectors of all users and items.
    ///
    /// # Errors
    /// A setting outside its range; with `by_value`, a negative value; training that leaves the finite numbers.
    pub fn fit(interactions: &Interactions, config: &IalsConfig) -> Result<Self> {
        Self::fit_watched(interactions, config, |_, _| Ok(ControlFlow::Continue(())))
    }

    /// As [`fit`](Self::fit); `watch` is told after each sweep, counted from 1, how the model stands, and may end the
    /// fit there.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and whatever `watch` returns.
    pub fn fit_watched(
        interactions: &Interactions,
        config: &IalsConfig,
        mut watch: impl FnMut(usize, &Self) -> Result<ControlFlow<()>>,
    ) -> Result<Self> {
        config.validate()?;
        let matrix = observations(interactions, config)?;
        let r: f64 = matrix.by_user().entries().iter().map(|entry| f64::from(entry.1)).sum();
        let std = INITIAL_LENGTH / (config.n_factors as f64).sqrt();
        let items =
            Factors::normal(interactions.n_items(), config.n_factors, std, &mut Rng::new(config.seed));
        let mut model = Self {
            r_of_row: if r > 0.0 { (r / interactions.len() as f64) as f32 } else { 1.0 },
            users: Factors::zeros(interactions.n_users(), config.n_factors),
            gramian: gramian(&items),
            items,
            config: config.clone(),
        };
        for sweep in 1..=config.n_sweeps {
            model.sweep(&matrix)?;
            if watch(sweep, &model)?.is_break() {
                break;
            }
        }
        Ok(model)
    }

    /// All users, then all items.
    fn sweep(&mut self, matrix: &UserItemMatrix) -> Result<()> {
        let Self { config, users, items, gramian: of_items, .. } = self;
        solve_rows(users, LeastSquares::new(items, of_items), matrix.by_user(), items.n_rows(), config);
        let of_users = gramian(users);
        solve_rows(items, LeastSquares::new(users, &of_users), matrix.by_item(), users.n_rows(), config);
        *of_items = gramian(items);
        check_finite("number of the items' Gramian", of_items)
    }

    /// The settings.
    pub fn config(&self) -> &IalsConfig {
        &self.config
    }

    /// The vectors of the users as they were fitted, row by row: `n_users` × `n_factors` numbers.
    pub fn user_factors(&self) -> &[f32] {
        self.users.values()
    }

    /// The vectors of the items, row by row: `n_items` × `n_factors` numbers.
    pub fn item_factors(&self) -> &[f32] {
        self.items.values()
    }

    /// What the fit minimises (Hu et al., equation 3), of these interactions: it falls with every sweep.
    ///
    /// # Errors
    /// Interactions over other numbers of users or items; with `by_value`, a negative value.
    pub fn objective(&self, interactions: &Interactions) -> Result<f64> {
        self.users.check_shape("number of users", interactions.n_users(), self.config.n_factors)?;
        self.items.check_shape("number of items", interactions.n_items(), self.config.n_factors)?;
        let matrix = observations(interactions, &self.config)?;
        let of_user = |user: usize| {
            let (x, entries) = (self.users.row(user), matrix.by_user().row((user as u32).into()));
            let unobserved: f64 = (self.gramian.chunks_exact(x.len()).zip(x))
                .map(|(row, &x_i)| f64::from(x_i) * dot(row, x))
                .sum();
            let observed = entries.iter().map(|&(item, r)| {
                let (c, score) =
                    (1.0 + f64::from(self.config.alpha * r), dot(x, self.items.row(item.index())));
                c * (1.0 - score).powi(2) - score * score
            });
            unobserved + observed.sum::<f64>() + self.penalty(x, entries, self.items.n_rows())
        };
        let of_item = |item: usize| {
            let entries = matrix.by_item().row((item as u32).into());
            self.penalty(self.items.row(item), entries, self.users.n_rows())
        };
        let users: Vec<f64> = (0..self.users.n_rows()).into_par_iter().map(of_user).collect();
        Ok(users.iter().sum::<f64>() + (0..self.items.n_rows()).map(of_item).sum::<f64>())
    }

    fn penalty<R>(&self, x: &[f32], entries: &[(R, f32)], n_others: usize) -> f64 {
        f64::from(self.config.ridge(entries, n_others)) * dot(x, x)
    }

    /// The `k` admissible items with the highest cosines to `item`, without the item itself.
    ///
    /// # Errors
    /// An item outside the catalogue, or one among those allowed.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        Query::new(&[item]).check_items(self.items.n_rows())?;
        let scores = self.items.cosines(item.index());
        Ok(candidates(best_admitted(&scores, k, &filter.clone().deny([item]))?))
    }

    /// The vector of somebody with this history.
    fn fold_in(&self, history: &[ItemId]) -> Vec<f32> {
        let mut items = history.to_vec();
        items.sort_unstable();
        let counted = items.chunk_by(|a, b| a == b);
        let entries: Vec<_> = counted.map(|run| (run[0], run.len() as f32 * self.r_of_row)).collect();
        let system = self.config.system(&entries, self.items.n_rows());
        let fixed = LeastSquares::new(&self.items, &self.gramian);
        fixed.solve(system).unwrap_or_else(|| {
            let mut x = vec![0.0; self.config.n_factors];
            fixed.improve(&mut x, system, 2 * self.config.n_factors);
            x
        })
    }

    /// The fitted vector of the query's user, if there is one.
    fn fitted(&self, query: &Query<'_>) -> Option<&[f32]> {
        let user = query.user()?.index();
        (user < self.users.n_rows()).then(|| self.users.row(user)).filter(|x| is_known(x))
    }

    /// The vector of the query, if it holds anything to make one of.
    fn vector(&self, query: &Query<'_>) -> Result<Option<Vec<f32>>> {
        query.check_items(self.items.n_rows())?;
        if query.history().iter().any(|item| is_known(self.items.row(item.index()))) {
            return Ok(Some(self.fold_in(query.history())));
        }
        Ok(self.fitted(query).map(<[f32]>::to_vec))
    }
}

/// Whoever met nothing has a vector of zeros.
fn is_known(x: &[f32]) -> bool {
    x.iter().any(|&x| x != 0.0)
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn candidates(found: Vec<(ItemId, f32)>) -> Vec<Candidate> {
    found.into_iter().map(|(item, score)| Candidate::new(item, score)).collect()
}

/// r of all pairs that met.
fn observations(interactions: &Interactions, config: &IalsConfig) -> Result<UserItemMatrix> {
    if !config.by_value {
        return Ok(UserItemMatrix::counts(interactions));
    }
    if let Some(row) = interactions.values().iter().position(|&value| value < 0.0) {
        let place = Location::memory().line(row as u64 + 1).column("value");
        return Err(Error::input(place, "a value of 0 or more", interactions.values()[row].to_string()));
    }
    Ok(UserItemMatrix::totals(interactions))
}

/// Brings each row nearer to what its entries and the fixed table make of it; rows without entries become 0.
fn solve_rows<R, C>(
    rows: &mut Factors,
    fixed: LeastSquares<'_>,
    entries: &Csr<R, (C, f32)>,
    n_others: usize,
    config: &IalsConfig,
) where
    R: Copy + From<u32> + Into<usize> + Sync,
    C: Copy + Into<usize> + Sync,
{
    rows.values_mut().par_chunks_mut(config.n_factors).enumerate().for_each(|(row, x)| {
        let entries = entries.row(R::from(row as u32));
        if entries.is_empty() {
            x.fill(0.0);
        } else {
            fixed.improve(x, config.system(entries, n_others), config.n_cg_steps);
        }
    });
}

impl Recaller for Ials {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        match self.vector(query)? {
            Some(x) => Ok(candidates(best_admitted(&self.items.products(&x), k, query.filter())?)),
            None => Ok(Vec::new()),
        }
    }

    fn recall_batch(&self, queries: &[Query<'_>], k: usize) -> Result<Vec<Vec<Candidate>>> {
        queries.par_iter().map(|query| self.recall(query, k)).collect()
    }
}

impl QueryEncoder for Ials {
    fn dim(&self) -> usize {
        self.config.n_factors
    }

    fn can_encode(&self, query: &Query<'_>) -> bool {
        let is_fitted =
            |item: &ItemId| item.index() < self.items.n_rows() && is_known(self.items.row(item.index()));
        query.history().iter().any(is_fitted) || self.fitted(query).is_some()
    }

    fn encode(&self, queries: &[&Query<'_>]) -> Result<Vec<f32>> {
        let vector =
            |query: &&Query<'_>| Ok(self.vector(query)?.unwrap_or_else(|| vec![0.0; self.config.n_factors]));
        Ok(queries.par_iter().map(vector).collect::<Result<Vec<_>>>()?.concat())
    }
}

impl EmbeddingModel for Ials {
    fn n_items(&self) -> usize {
        self.items.n_rows()
    }

    fn item_vectors(&self) -> Result<Vec<f32>> {
        Ok(self.items.values().to_vec())
    }
}

impl From<Ials> for Saved {
    fn from(model: Ials) -> Self {
        let Ials { config, r_of_row, users, items, .. } = model;
        Self { config, r_of_row, users, items }
    }
}

impl TryFrom<Saved> for Ials {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { config, r_of_row, users, items } = saved;
        config.validate()?;
        if !(r_of_row.is_finite() && r_of_row >= 0.0) {
            let place = Location::memory().column("r_of_row");
            return Err(Error::input(place, "a number of 0 or more", r_of_row.to_string()));
        }
        users.check_shape("width of the vectors of users", users.n_rows(), config.n_factors)?;
        items.check_shape("width of the vectors of items", items.n_rows(), config.n_factors)?;
        Ok(Self { gramian: gramian(&items), config, r_of_row, users, items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Interaction, SyntheticConfig};
    use crate::error::ErrorKind;
    use crate::ids::UserId;

    fn config() -> IalsConfig {
        IalsConfig { n_factors: 12, ..IalsConfig::default() }
    }

    fn planted() -> Interactions {
        SyntheticConfig::new(120, 60, 2_000, 3).generate().unwrap().interactions().clone()
    }

    fn table(n_items: usize, rows: &[(u32, u32, f32)]) -> Interactions {
        let row = |&(user, item, value): &(u32, u32, f32)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value,
            timestamp: 0,
        };
        Interactions::from_rows(3, n_items, rows.iter().map(row)).unwrap()
    }

    /// Equation 3, pair by pair.
    fn reference_objective(model: &Ials, interactions: &Interactions) -> f64 {
        let (config, n_users, n_items) = (model.config(), interactions.n_users(), interactions.n_items());
        let mut r = vec![vec![0.0f64; n_items]; n_users];
        interactions.iter().for_each(|row| r[row.user.index()][row.item.index()] += 1.0);
        let c = |u: usize, i: usize| 1.0 + f64::from(config.alpha) * r[u][i];
        let lambda = |c: f64| f64::from(config.lambda) * c.powf(config.frequency_exponent.into());
        let mut sum = 0.0;
        for (u, r) in r.iter().enumerate() {
            for (i, &r) in r.iter().enumerate() {
                let p = if r > 0.0 { 1.0 } else { 0.0 };
                sum += c(u, i) * (p - dot(model.users.row(u), model.items.row(i))).powi(2);
            }
            let total = (0..n_items).map(|i| c(u, i)).sum();
            sum += lambda(total) * dot(model.users.row(u), model.users.row(u));
        }
        for i in 0..n_items {
            let total = (0..n_users).map(|u| c(u, i)).sum();
            sum += lambda(total) * dot(model.items.row(i), model.items.row(i));
        }
        sum
    }

    #[test]
    fn the_objective_is_equation_3_and_falls_with_every_sweep() {
        for frequency_exponent in [0.0, 0.5, 1.0] {
            let (interactions, config) = (planted(), IalsConfig { frequency_exponent, ..config() });
            let mut last = f64::INFINITY;
            Ials::fit_watched(&interactions, &config, |_, model| {
                let found = model.objective(&interactions)?;
                let expected = reference_objective(model, &interactions);
                assert!((found - expected).abs() < 1e-4 * expected, "{found}, {expected}");
                assert!(found < last, "{found} after {last}");
                last = found;
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        }
    }

    #[test]
    fn one_factor_of_one_pair_has_a_closed_form() {
        // One user, one item that met, ν = 0: x = (1 + α) y / ((1 + α) y² + λ), and y likewise; at the end x = y and
        // (1 + α) (1 − x²) = λ.
        let row = Interaction { user: UserId(0), item: ItemId(0), value: 1.0, timestamp: 0 };
        let interactions = Interactions::from_rows(1, 1, [row]).unwrap();
        let config = IalsConfig {
            n_factors: 1,
            alpha: 3.0,
            lambda: 1.0,
            frequency_exponent: 0.0,
            n_sweeps: 60,
            ..config()
        };
        let model = Ials::fit(&interactions, &config).unwrap();
        let score = model.user_factors()[0] * model.item_factors()[0];
        assert!((score - 0.75).abs() < 1e-4, "{score}");
        assert!((model.fold_in(&[ItemId(0)])[0] - model.user_factors()[0]).abs() < 1e-4);
    }

    #[test]
    fn people_get_what_is_liked_by_their_like() {
        let liked = |user: u32| {
            (0..12)
                .filter(move |item| (user + item).is_multiple_of(2) && !(user * 7 + item).is_multiple_of(5))
        };
        let rows = (0..40).flat_map(|user| {
            liked(user).map(move |item| Interaction {
                user: UserId(user),
                item: ItemId(item),
                value: 1.0,
                timestamp: 0,
            })
        });
        let interactions = Interactions::from_rows(40, 12, rows).unwrap();
        let model = Ials::fit(&interactions, &IalsConfig { n_factors: 2, ..config() }).unwrap();
        for history in [[ItemId(0), ItemId(4)], [ItemId(3), ItemId(9)]] {
            let answer = model.recall(&Query::new(&history).excluding(history), 4).unwrap();
            assert!(answer.iter().all(|candidate| candidate.item.0 % 2 == history[0].0 % 2), "{answer:?}");
            let similar = model.similar_items(history[0], 5, &ItemFilter::all()).unwrap();
            assert!(similar.iter().all(|candidate| candidate.item.0 % 2 == history[0].0 % 2), "{similar:?}");
        }
        let query = Query::new(&[]).with_user(UserId(7));
        assert!(model.recall(&query, 4).unwrap().iter().all(|candidate| candidate.item.0 % 2 == 1));
        assert!(model.recall(&Query::new(&[]), 4).unwrap().is_empty());
        let encoded = model.encode(&[&query]).unwrap();
        assert!(model.can_encode(&query) && encoded == model.users.row(7));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Ials::fit(&planted(), &config()).unwrap())
        };
        let one = fit(1);
        assert_eq!(fit(2), one);
        assert_eq!(fit(5), one);
        let other = Ials::fit(&planted(), &IalsConfig { seed: 1, ..config() }).unwrap();
        assert_ne!(other.items, one.items);
    }

    #[test]
    fn values_weigh_where_they_are_asked_for() {
        let rows = [(0, 0, 9.0), (0, 1, 1.0), (1, 1, 3.0), (2, 2, 1.0)];
        let by_value = IalsConfig { by_value: true, ..config() };
        let repeated: Vec<_> =
            rows.iter().flat_map(|&(u, i, value)| vec![(u, i, 1.0); value as usize]).collect();
        let values = Ials::fit(&table(8, &rows), &by_value).unwrap();
        let counts = Ials::fit(&table(8, &repeated), &config()).unwrap();
        assert_eq!(values.items, counts.items);
        assert_eq!((values.r_of_row, counts.r_of_row), (3.5, 1.0));
        let error = Ials::fit(&table(8, &[(0, 0, -2.0)]), &by_value).unwrap_err().to_string();
        assert_eq!(error, "input, line 1, column value: expected a value of 0 or more, found -2");
        let huge = table(8, &[(0, 0, f32::MAX), (0, 0, f32::MAX)]);
        assert!(matches!(Ials::fit(&huge, &by_value).unwrap_err().kind(), ErrorKind::NonFinite { .. }));
    }

    #[test]
    fn a_fit_can_be_ended() {
        let mut sweeps = Vec::new();
        let stopped = Ials::fit_watched(&planted(), &config(), |sweep, _| {
            sweeps.push(sweep);
            Ok(if sweep == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        assert_eq!(sweeps, [1, 2, 3]);
        let three = Ials::fit(&planted(), &IalsConfig { n_sweeps: 3, ..config() }).unwrap();
        assert_eq!(stopped.unwrap().items, three.items);
        let interrupted = Ials::fit_watched(&planted(), &config(), |_, _| Err(ErrorKind::Interrupted.into()));
        assert!(matches!(interrupted.unwrap_err().kind(), ErrorKind::Interrupted));
    }

    #[test]
    fn comes_back_from_json() {
        let model = Ials::fit(&planted(), &IalsConfig { n_factors: 3, ..config() }).unwrap();
        let json = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<Ials>(&json).unwrap(), model);
        for (good, bad) in [
            (r#""n_factors":3"#, r#""n_factors":4"#),
            (r#""alpha":5.0"#, r#""alpha":-1.0"#),
            (r#""r_of_row":1.0"#, r#""r_of_row":-1.0"#),
            (r#""dim":3"#, r#""dim":0"#),
        ] {
            assert!(json.contains(good), "{good}");
            assert!(serde_json::from_str::<Ials>(&json.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let error = |config: IalsConfig| Ials::fit(&planted(), &config).unwrap_err().to_string();
        for (config, expected) in [
            (IalsConfig { n_factors: 0, ..config() }, "n_factors: expected 1 to 1048576, found 0"),
            (IalsConfig { alpha: 0.0, ..config() }, "alpha: expected a positive number, found 0"),
            (IalsConfig { lambda: f32::NAN, ..config() }, "lambda: expected a positive number, found NaN"),
            (
                IalsConfig { frequency_exponent: 2.0, ..config() },
                "frequency_exponent: expected 0 to 1, found 2",
            ),
            (IalsConfig { n_sweeps: 0, ..config() }, "n_sweeps: expected at least 1, found 0"),
            (IalsConfig { n_cg_steps: 0, ..config() }, "n_cg_steps: expected at least 1, found 0"),
        ] {
            assert_eq!(error(config), format!("IalsConfig::{expected}"));
        }
        let model = Ials::fit(&planted(), &config()).unwrap();
        assert!(model.objective(&table(60, &[])).is_err());
        assert!(model.similar_items(ItemId(60), 3, &ItemFilter::all()).is_err());
    }
}
