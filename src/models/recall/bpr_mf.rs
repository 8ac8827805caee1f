//! Matrix factorization by Bayesian personalised ranking: Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009, "BPR:
//! Bayesian personalized ranking from implicit feedback".
//!
//! With x̂_ui = b_i + p_u·q_i it maximises (section 4.1, BPR-OPT), over all triples of a user, an item i they met and an item j
//! they did not,
//!
//! Σ_(u, i, j) ln σ(x̂_ui − x̂_uj) − λ |Θ|²
//!
//! by stochastic gradient steps on triples drawn at random with replacement (LearnBPR, figure 4; the gradients of section 4.3.1): a row of
//! the interactions, and an item j from a uniform distribution. The paper's factorization has no item bias b_i; here the first thing that is
//! learned is popularity.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, Interactions};
use crate::error::{Error, Result, check_size};
use crate::ids::{ItemFilter, ItemId, UserId};
use crate::kernels::{Factors, check_finite, dot, vectorized};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::rng::Rng;
use crate::samplers::{DrawContext, NegativeSampler, UniformSampler};
use crate::top_k::best_admitted;

/// The settings of a [`BprMf`].
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `n_factors` | 64 | width of the vectors of users and items | 1 to 2²⁰ |
/// | `learning_rate` | 0.05 | size of a step | > 0 |
/// | `lambda` | 0.01 | λ, strength of the regularisation in every step | ≥ 0 |
/// | `n_epochs` | 30 | as many steps as there are interactions, so many times | ≥ 1 |
/// | `seed` | 0 | the first vectors, the order of steps, the negatives | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BprMfConfig {
    /// The width of the vectors of users and items.
    pub n_factors: usize,
    /// The size of a step.
    pub learning_rate: f32,
    /// λ, the strength of the regularisation in every step.
    pub lambda: f32,
    /// As many steps as there are interactions, so many times.
    pub n_epochs: usize,
    /// Draws the first vectors, the order of steps, and the negatives.
    pub seed: u64,
}

impl Default for BprMfConfig {
    fn default() -> Self {
        Self { n_factors: 64, learning_rate: 0.05, lambda: 0.01, n_epochs: 30, seed: 0 }
    }
}

impl BprMfConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        check_size("BprMfConfig::n_factors", self.n_factors)?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::config("BprMfConfig::learning_rate", "a positive number", self.learning_rate));
        }
        if !(self.lambda.is_finite() && self.lambda >= 0.0) {
            return Err(Error::config("BprMfConfig::lambda", "a number of 0 or more", self.lambda));
        }
        if self.n_epochs == 0 {
            return Err(Error::config("BprMfConfig::n_epochs", "at least 1", 0));
        }
        Ok(())
    }
}

/// The standard deviation of the first factors.
const INITIAL_STD: f64 = 0.1;

/// Passes over the history of somebody new.
const FOLD_IN_EPOCHS: usize = 30;

/// The streams of a seed.
const VECTORS: u64 = 0;
const STEPS: u64 = 1;
const FOLD_IN: u64 = 2;

/// Recommends the items that, by what was learned, the user prefers to most others.
///
/// A user of the training data is answered by the vector fitted then, whatever the query's history. For anybody else a vector
/// is fitted to the history by 30 passes of the same steps with the items fixed; its negatives are drawn from
/// the seed, so that the same items always get the same answer. Whoever is unknown and has no history gets no candidates.
///
/// ```
/// use recsys::models::recall::{BprMf, BprMfConfig};
/// use recsys::prelude::*;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let config = BprMfConfig { n_factors: 16, n_epochs: 5, ..BprMfConfig::default() };
/// let bpr = BprMf::fit(data.interactions(), &config)?;
/// let answer = bpr.recall(&Query::new(&[]).with_user(UserId(5)), 10)?;
/// assert_eq!(answer.len(), 10);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct BprMf {
    config: BprMfConfig,
    users: Factors,
    items: Factors,
    biases: Vec<f32>,
    /// Whether the training data had a row of the user.
    is_known: Vec<bool>,
    negatives: UniformSampler,
}

/// What a saved model consists of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: BprMfConfig,
    users: Factors,
    items: Factors,
    biases: Vec<f32>,
    is_known: Vec<bool>,
}

impl BprMf {
    /// Fits the vectors of all users and items, on one thread: a step depends on those before it.
    ///
    /// # Errors
    /// A setting outside its range, or training that leaves the finite numbers.
    pub fn fit(interactions: &Interactions, config: &BprMfConfig) -> Result<Self> {
        Self::fit_watched(interactions, config, |_, _| Ok(ControlFlow::Continue(())))
    }

    /// As [`fit`](Self::fit); `watch` is told after each epoch, counted from 1, how the model stands, and may end the
    /// fit there.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and whatever `watch` returns.
    pub fn fit_watched(
        interactions: &Interactions,
        config: &BprMfConfig,
        mut watch: impl FnMut(usize, &Self) -> Result<ControlFlow<()>>,
    ) -> Result<Self> {
        config.validate()?;
        let (n_users, n_items) = (interactions.n_users(), interactions.n_items());
        let seen = Csr::by_user(interactions, |row| row.item).sorted();
        let rng = &mut Rng::stream(config.seed, &[VECTORS]);
        let mut model = Self {
            users: Factors::normal(n_users, config.n_factors, INITIAL_STD, rng),
            items: Factors::normal(n_items, config.n_factors, INITIAL_STD, rng),
            biases: vec![0.0; n_items],
            is_known: seen.rows().map(|items| !items.is_empty()).collect(),
            negatives: UniformSampler::new(n_items)?,
            config: config.clone(),
        };
        let rng = &mut Rng::stream(config.seed, &[STEPS]);
        for epoch in 1..=config.n_epochs {
            model.epoch(interactions, &seen, rng);
            check_finite("user factor", model.users.values())?;
            check_finite("item factor", model.items.values())?;
            if watch(epoch, &model)?.is_break() {
                break;
            }
        }
        Ok(model)
    }

    fn epoch(&mut self, interactions: &Interactions, seen: &Csr<UserId, ItemId>, rng: &mut Rng) {
        vectorized(
            #[inline(always)]
            move || {
                for _ in 0..interactions.len() {
                    let row = rng.below(interactions.len());
                    let (user, positive) = (interactions.users()[row], interactions.items()[row]);
                    let negative = self.negatives.draw_unseen(DrawContext::default(), seen.row(user), rng);
                    self.step(user, positive, negative);
                }
            },
        );
    }

    /// One gradient step on a triple; none where both items are the same, as of a user who has met them all.
    #[inline(always)]
    fn step(&mut self, user: UserId, positive: ItemId, negative: ItemId) {
        let BprMfConfig { n_factors: dim, learning_rate, lambda, .. } = self.config;
        let (i, j) = (positive.index(), negative.index());
        let row = |item: usize| item * dim..(item + 1) * dim;
        let Ok([q_i, q_j]) = self.items.values_mut().get_disjoint_mut([row(i), row(j)]) else { return };
        let p = self.users.row_mut(user.index());
        let slope = slope(self.biases[i] - self.biases[j] + dot(p, q_i) - dot(p, q_j));
        for ((p, q_i), q_j) in p.iter_mut().zip(q_i).zip(q_j) {
            let before = (*p, *q_i, *q_j);
            *p += learning_rate * (slope * (before.1 - before.2) - lambda * before.0);
            *q_i += learning_rate * (slope * before.0 - lambda * before.1);
            *q_j += learning_rate * (-slope * before.0 - lambda * before.2);
        }
        self.biases[i] += learning_rate * (slope - lambda * self.biases[i]);
        self.biases[j] += learning_rate * (-slope - lambda * self.biases[j]);
    }

    /// The settings.
    pub fn config(&self) -> &BprMfConfig {
        &self.config
    }

    /// The vectors of the users, row by row: `n_users` × `n_factors` numbers.
    pub fn user_factors(&self) -> &[f32] {
        self.users.values()
    }

    /// The vectors of the items, row by row: `n_items` × `n_factors` numbers.
    pub fn item_factors(&self) -> &[f32] {
        self.items.values()
    }

    /// b_i of each item.
    pub fn item_biases(&self) -> &[f32] {
        &self.biases
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

    /// The vector of somebody with this history: the steps of the fit, on this vector alone.
    fn fold_in(&self, history: &[ItemId]) -> Vec<f32> {
        let BprMfConfig { n_factors, learning_rate, lambda, seed, .. } = self.config;
        let mut seen = history.to_vec();
        seen.sort_unstable();
        seen.dedup();
        let mut p = vec![0.0; n_factors];
        let mut rng = Rng::stream(seed, &[FOLD_IN]);
        for _ in 0..FOLD_IN_EPOCHS {
            for &positive in &seen {
                let negative = self.negatives.draw_unseen(DrawContext::default(), &seen, &mut rng);
                let (i, j) = (positive.index(), negative.index());
                let (q_i, q_j) = (self.items.row(i), self.items.row(j));
                let slope = slope(self.biases[i] - self.biases[j] + dot(&p, q_i) - dot(&p, q_j));
                for ((p, q_i), q_j) in p.iter_mut().zip(q_i).zip(q_j) {
                    *p += learning_rate * (slope * (q_i - q_j) - lambda * *p);
                }
            }
        }
        p
    }

    /// The vector of the query's user, if it holds anything to make one of.
    fn vector(&self, query: &Query<'_>) -> Option<Vec<f32>> {
        match query.user().map(UserId::index) {
            Some(user) if self.is_known.get(user) == Some(&true) => Some(self.users.row(user).to_vec()),
            _ if query.history().is_empty() => None,
            _ => Some(self.fold_in(query.history())),
        }
    }
}

/// 1 − σ(x), the slope of ln σ at x.
#[inline(always)]
fn slope(x: f32) -> f32 {
    1.0 / (1.0 + x.exp())
}

fn candidates(found: Vec<(ItemId, f32)>) -> Vec<Candidate> {
    found.into_iter().map(|(item, score)| Candidate::new(item, score)).collect()
}

impl Recaller for BprMf {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.items.n_rows())?;
        let Some(p) = self.vector(query) else { return Ok(Vec::new()) };
        let mut scores = self.items.products(&p);
        scores.iter_mut().zip(&self.biases).for_each(|(score, bias)| *score += bias);
        Ok(candidates(best_admitted(&scores, k, query.filter())?))
    }

    fn recall_batch(&self, queries: &[Query<'_>], k: usize) -> Result<Vec<Vec<Candidate>>> {
        queries.par_iter().map(|query| self.recall(query, k)).collect()
    }
}

impl From<BprMf> for Saved {
    fn from(model: BprMf) -> Self {
        let BprMf { config, users, items, biases, is_known, .. } = model;
        Self { config, users, items, biases, is_known }
    }
}

impl TryFrom<Saved> for BprMf {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { config, users, items, biases, is_known } = saved;
        config.validate()?;
        users.check_shape("rows and width of the vectors of users", is_known.len(), config.n_factors)?;
        items.check_shape("rows and width of the vectors of items", biases.len(), config.n_factors)?;
        check_finite("item bias", &biases)?;
        let negatives = UniformSampler::new(biases.len())?;
        Ok(Self { config, users, items, biases, is_known, negatives })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Interaction, SyntheticConfig};

    fn config() -> BprMfConfig {
        BprMfConfig { n_factors: 8, ..BprMfConfig::default() }
    }

    fn table(n_users: u32, n_items: u32, met: impl Fn(u32, u32) -> bool) -> Interactions {
        let pairs = (0..n_users).flat_map(|user| (0..n_items).map(move |item| (user, item)));
        let rows = pairs.filter(|&(user, item)| met(user, item)).map(|(user, item)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp: 0,
        });
        Interactions::from_rows(n_users as usize, n_items as usize, rows).unwrap()
    }

    #[test]
    fn a_step_is_the_gradient_of_the_log_likelihood() {
        let mut model = BprMf::fit(&table(2, 4, |user, item| user == item), &config()).unwrap();
        model.biases = vec![0.3, -0.2, 0.1, 0.0];
        let (user, i, j) = (UserId(1), ItemId(1), ItemId(3));
        // ln σ(x̂_ui − x̂_uj) − λ/2 (|p|² + |q_i|² + |q_j|² + b_i² + b_j²), in double precision.
        let objective = |model: &BprMf| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let (p, q_i, q_j) = (model.users.row(1), model.items.row(1), model.items.row(3));
            let (b_i, b_j) = (f64::from(model.biases[1]), f64::from(model.biases[3]));
            let x = b_i - b_j + dot(p, q_i) - dot(p, q_j);
            let norm = dot(p, p) + dot(q_i, q_i) + dot(q_j, q_j) + b_i * b_i + b_j * b_j;
            -(1.0 + (-x).exp()).ln() - 0.5 * f64::from(model.config.lambda) * norm
        };
        let before = model.clone();
        model.config.learning_rate = 1e-3;
        model.step(user, i, j);
        type Parameter = fn(&mut BprMf) -> &mut f32;
        let parameters: [Parameter; 5] = [
            |model| &mut model.users.row_mut(1)[2],
            |model| &mut model.items.row_mut(1)[5],
            |model| &mut model.items.row_mut(3)[0],
            |model| &mut model.biases[1],
            |model| &mut model.biases[3],
        ];
        for parameter in parameters {
            let shifted = |by: f32| {
                let mut model = before.clone();
                *parameter(&mut model) += by;
                objective(&model)
            };
            let expected = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            let found = f64::from(*parameter(&mut model) - *parameter(&mut before.clone())) / 1e-3;
            assert!((found - expected).abs() < 1e-3, "{found}, {expected}");
        }
        assert_eq!(model.users.row(0), before.users.row(0), "another user");
        assert_eq!(model.items.row(2), before.items.row(2), "another item");
    }

    #[test]
    fn people_get_what_is_liked_by_their_like() {
        let interactions = table(40, 12, |user, item| (user + item) % 2 == 0 && (user * 7 + item) % 5 > 0);
        let model = BprMf::fit(&interactions, &BprMfConfig { n_epochs: 60, ..config() }).unwrap();
        for user in 0..40 {
            let answer = model.recall(&Query::new(&[]).with_user(UserId(user)), 5).unwrap();
            assert!(answer.iter().all(|candidate| candidate.item.0 % 2 == user % 2), "{user}: {answer:?}");
        }
        for history in [[ItemId(0), ItemId(4)], [ItemId(3), ItemId(9)]] {
            let query = Query::new(&history).excluding(history);
            let answer = model.recall(&query, 4).unwrap();
            assert!(answer.iter().all(|candidate| candidate.item.0 % 2 == history[0].0 % 2), "{answer:?}");
            let reversed = [history[1], history[0]];
            let other = model.recall(&Query::new(&reversed).excluding(history), 4).unwrap();
            assert_eq!(other, answer, "the order of the history matters");
            let similar = model.similar_items(history[0], 5, &ItemFilter::all()).unwrap();
            assert!(similar.iter().all(|candidate| candidate.item.0 % 2 == history[0].0 % 2), "{similar:?}");
        }
        assert!(model.recall(&Query::default(), 4).unwrap().is_empty());
    }

    #[test]
    fn a_seed_fixes_the_model() {
        let data = SyntheticConfig::new(50, 40, 600, 3).generate().unwrap();
        let fit =
            |seed| BprMf::fit(data.interactions(), &BprMfConfig { seed, n_epochs: 3, ..config() }).unwrap();
        assert_eq!(fit(1), fit(1));
        assert_ne!(fit(1).items, fit(2).items);
    }

    #[test]
    fn comes_back_from_json() {
        let model = BprMf::fit(&table(2, 4, |user, item| user == item), &config()).unwrap();
        let json = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<BprMf>(&json).unwrap(), model);
        for (good, bad) in [
            (r#""n_factors":8"#, r#""n_factors":4"#),
            (r#""is_known":[true,true]"#, r#""is_known":[true]"#),
            (r#""biases":["#, r#""biases":[0.5,"#),
        ] {
            assert!(json.contains(good), "{good}");
            assert!(serde_json::from_str::<BprMf>(&json.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let interactions = table(3, 9, |user, item| item % 3 == user);
        let error = |config: BprMfConfig| BprMf::fit(&interactions, &config).unwrap_err().to_string();
        for (config, expected) in [
            (BprMfConfig { n_factors: 0, ..config() }, "n_factors: expected 1 to 1048576, found 0"),
            (
                BprMfConfig { learning_rate: 0.0, ..config() },
                "learning_rate: expected a positive number, found 0",
            ),
            (BprMfConfig { lambda: -1.0, ..config() }, "lambda: expected a number of 0 or more, found -1"),
            (BprMfConfig { n_epochs: 0, ..config() }, "n_epochs: expected at least 1, found 0"),
        ] {
            assert_eq!(error(config), format!("BprMfConfig::{expected}"));
        }
        let diverging = BprMfConfig { learning_rate: 1e30, ..config() };
        assert!(error(diverging).contains("expected a finite number"));
        // A user who met everything teaches nothing, and nothing fails.
        let full = BprMf::fit(&table(1, 3, |_, _| true), &config()).unwrap();
        assert_eq!(full.recall(&Query::new(&[]).with_user(UserId(0)), 9).unwrap().len(), 3);
    }
}
