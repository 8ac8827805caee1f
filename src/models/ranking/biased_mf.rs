//! Matrix factorization of ratings with biases: Koren, Bell & Volinsky 2009, "Matrix factorization techniques for recommender
//! systems", equations 4 and 5; and SVD++: Koren 2008, "Factorization meets the neighborhood: a multifaceted collaborative filtering
//! model", equation 15.
//!
//! The rating of item i by user u is predicted as
//!
//! r̂_ui = μ + b_u + b_i + q_i·z_u, with z_u = p_u, or in SVD++ z_u = p_u + |N(u)|^(-1/2) Σ_(j ∈ N(u)) y_j,
//!
//! with N(u) the items that u rated. Stochastic gradient steps minimise Σ (r_ui − r̂_ui)² + λ_b (b_u² + b_i²) + λ (|q_i|² + |p_u|² +
//! Σ_(j ∈ N(u)) |y_j|²) over all ratings. Users come in random order, the ratings of one in random order one after another; the
//! y_j are moved once, when all ratings of the user have been seen, by the sum of their steps.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::data::{Csr, Interactions};
use crate::error::{Error, ErrorKind, Location, Result, check_size};
use crate::ids::{ItemId, UserId};
use crate::kernels::{Factors, check_finite, dot, vectorized};
use crate::pipeline::{Query, Ranker};
use crate::rng::Rng;

/// The settings of a [`BiasedMf`].
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `n_factors` | 200 | width of the vectors of users and items | 1 to 2²⁰ |
/// | `implicit_feedback` | false | SVD++: what a user rated counts beside how (y_j) | |
/// | `learning_rate` | 0.02 | size of a step in the first epoch | > 0 |
/// | `decay` | 0.95 | each epoch's learning rate as a share of the one before | (0, 1] |
/// | `lambda` | 0.06 | λ, regularisation of the vectors in every step | ≥ 0 |
/// | `lambda_bias` | 0.01 | λ_b, regularisation of the biases in every step | ≥ 0 |
/// | `n_epochs` | 50 | passes over all ratings | ≥ 1 |
/// | `seed` | 0 | the first vectors, and the order of the ratings | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiasedMfConfig {
    /// The width of the vectors of users and items.
    pub n_factors: usize,
    /// Whether what a user rated counts beside how (SVD++).
    pub implicit_feedback: bool,
    /// The size of a step in the first epoch.
    pub learning_rate: f32,
    /// Each epoch's learning rate as a share of the one before.
    pub decay: f32,
    /// λ, the regularisation of the vectors in every step.
    pub lambda: f32,
    /// λ_b, the regularisation of the biases in every step.
    pub lambda_bias: f32,
    /// Passes over all ratings.
    pub n_epochs: usize,
    /// Draws the first vectors, and the order of the ratings.
    pub seed: u64,
}

impl Default for BiasedMfConfig {
    fn default() -> Self {
        Self {
            n_factors: 200,
            implicit_feedback: false,
            learning_rate: 0.02,
            decay: 0.95,
            lambda: 0.06,
            lambda_bias: 0.01,
            n_epochs: 50,
            seed: 0,
        }
    }
}

impl BiasedMfConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        check_size("BiasedMfConfig::n_factors", self.n_factors)?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let found = self.learning_rate;
            return Err(Error::config("BiasedMfConfig::learning_rate", "a positive number", found));
        }
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return Err(Error::config("BiasedMfConfig::decay", "a number in (0, 1]", self.decay));
        }
        for (field, lambda) in
            [("BiasedMfConfig::lambda", self.lambda), ("BiasedMfConfig::lambda_bias", self.lambda_bias)]
        {
            if !(lambda.is_finite() && lambda >= 0.0) {
                return Err(Error::config(field, "a number of 0 or more", lambda));
            }
        }
        if self.n_epochs == 0 {
            return Err(Error::config("BiasedMfConfig::n_epochs", "at least 1", 0));
        }
        Ok(())
    }
}

/// The standard deviation of the first vectors' length.
const INITIAL_LENGTH: f64 = 0.1;

/// Predicts ratings.
///
/// As a [`Ranker`] it scores by the predicted rating, before that is brought into the range of the ratings; a user who is not known has
/// neither bias nor vector, but in SVD++ the vector that their history makes.
///
/// ```
/// use recsys::models::ranking::{BiasedMf, BiasedMfConfig};
/// use recsys::prelude::*;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let model = BiasedMf::fit(data.interactions(), &BiasedMfConfig { n_factors: 8, ..BiasedMfConfig::default() })?;
/// let rating = model.predict(UserId(3), ItemId(70))?;
/// assert!((1.0..=5.0).contains(&rating));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct BiasedMf(Saved);

/// What a model consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: BiasedMfConfig,
    /// μ.
    mean: f32,
    /// The lowest and the highest rating.
    range: [f32; 2],
    user_biases: Vec<f32>,
    item_biases: Vec<f32>,
    /// z_u.
    users: Factors,
    /// q_i.
    items: Factors,
    /// y_j, in SVD++.
    implicit: Option<Factors>,
}

/// What is being fitted, beside the model itself.
struct Fit<'a> {
    ratings: &'a Csr<UserId, (ItemId, f32)>,
    /// p_u.
    own: Factors,
    rng: Rng,
    learning_rate: f32,
}

impl BiasedMf {
    /// Fits biases and vectors of all users and items, on one thread: a step depends on those before it.
    ///
    /// # Errors
    /// A setting outside its range, no interactions, or training that leaves the finite numbers.
    pub fn fit(interactions: &Interactions, config: &BiasedMfConfig) -> Result<Self> {
        Self::fit_watched(interactions, config, |_, _| Ok(ControlFlow::Continue(())))
    }

    /// As [`fit`](Self::fit); `watch` is told after each epoch, counted from 1, how the model stands, and may end the
    /// fit there.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and whatever `watch` returns.
    pub fn fit_watched(
        interactions: &Interactions,
        config: &BiasedMfConfig,
        mut watch: impl FnMut(usize, &Self) -> Result<ControlFlow<()>>,
    ) -> Result<Self> {
        config.validate()?;
        let (n_users, n_items, dim) = (interactions.n_users(), interactions.n_items(), config.n_factors);
        if interactions.is_empty() {
            return Err(Error::input(Location::memory(), "at least one rating", "none"));
        }
        let values = interactions.values();
        let total: f64 = values.iter().map(|&value| f64::from(value)).sum();
        let mut rng = Rng::new(config.seed);
        let std = INITIAL_LENGTH / (dim as f64).sqrt();
        let mut vectors = |n_rows| Factors::normal(n_rows, dim, std, &mut rng);
        let (own, items) = (vectors(n_users), vectors(n_items));
        let implicit = config.implicit_feedback.then(|| vectors(n_items));
        let mut model = Self(Saved {
            config: config.clone(),
            mean: (total / values.len() as f64) as f32,
            range: [
                values.iter().copied().fold(f32::INFINITY, f32::min),
                values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            ],
            user_biases: vec![0.0; n_users],
            item_biases: vec![0.0; n_items],
            users: Factors::zeros(n_users, dim),
            items,
            implicit,
        });
        let ratings = &Csr::by_user(interactions, |row| (row.item, row.value));
        let mut fit = Fit { ratings, own, rng, learning_rate: config.learning_rate };
        for epoch in 1..=config.n_epochs {
            model.epoch(&mut fit);
            model.0.check_finite()?;
            if watch(epoch, &model)?.is_break() {
                break;
            }
            fit.learning_rate *= config.decay;
        }
        Ok(model)
    }

    /// All ratings once.
    fn epoch(&mut self, fit: &mut Fit<'_>) {
        let mut users: Vec<UserId> = (0..fit.ratings.n_rows() as u32).map(UserId).collect();
        fit.rng.shuffle(&mut users);
        for user in users {
            let mut ratings = fit.ratings.row(user).to_vec();
            fit.rng.shuffle(&mut ratings);
            let p = fit.own.row_mut(user.index());
            let (model, rate) = (&mut self.0, fit.learning_rate);
            vectorized(
                #[inline(always)]
                move || model.user(user, &ratings, p, rate),
            );
        }
        for (user, ratings) in fit.ratings.rows().enumerate() {
            let mut z = self.0.implicit_part(ratings.iter().map(|rating| rating.0));
            z.iter_mut().zip(fit.own.row(user)).for_each(|(z, p)| *z += p);
            self.0.users.row_mut(user).copy_from_slice(&z);
        }
    }

    /// The settings.
    pub fn config(&self) -> &BiasedMfConfig {
        &self.0.config
    }

    /// r̂_ui, brought into the range of the ratings that were learned from.
    ///
    /// # Errors
    /// A user or an item outside the range of their ids.
    pub fn predict(&self, user: UserId, item: ItemId) -> Result<f32> {
        let model = &self.0;
        check_id("user", user.0, model.users.n_rows())?;
        check_id("item", item.0, model.items.n_rows())?;
        let bias = model.user_biases[user.index()];
        let [lowest, highest] = model.range;
        Ok(model.score(bias, model.users.row(user.index()), item).clamp(lowest, highest))
    }

    /// r̂ of each of the pairs, in their order.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_all(&self, interactions: &Interactions) -> Result<Vec<f32>> {
        let pairs = interactions.users().iter().zip(interactions.items());
        pairs.map(|(&user, &item)| self.predict(user, item)).collect()
    }
}

fn check_id(what: &'static str, id: u32, bound: usize) -> Result<()> {
    if (id as usize) < bound {
        return Ok(());
    }
    Err(ErrorKind::IdOutOfRange { what, id: id.into(), bound: bound as u64 }.into())
}

impl Saved {
    /// One user's ratings, in this order; `p` is the user's own vector.
    #[inline(always)]
    fn user(&mut self, user: UserId, ratings: &[(ItemId, f32)], p: &mut [f32], rate: f32) {
        let BiasedMfConfig { lambda, lambda_bias, .. } = self.config;
        let implicit = self.implicit_part(ratings.iter().map(|rating| rating.0));
        let mut z = vec![0.0; p.len()];
        let mut gradient = vec![0.0; p.len()];
        let b_u = &mut self.user_biases[user.index()];
        for &(item, rating) in ratings {
            let (b_i, q) = (&mut self.item_biases[item.index()], self.items.row_mut(item.index()));
            z.iter_mut().zip(&*p).zip(&implicit).for_each(|((z, p), implicit)| *z = p + implicit);
            let error = rating - (self.mean + *b_u + *b_i + dot(q, &z));
            *b_u += rate * (error - lambda_bias * *b_u);
            *b_i += rate * (error - lambda_bias * *b_i);
            for (((q, p), z), gradient) in q.iter_mut().zip(&mut *p).zip(&z).zip(&mut gradient) {
                let before = *q;
                *gradient += error * before;
                *q += rate * (error * z - lambda * before);
                *p += rate * (error * before - lambda * *p);
            }
        }
        self.move_implicit(ratings, &gradient, rate);
    }

    /// The steps of y_j that the user's ratings make together, for all j the user rated.
    #[inline(always)]
    fn move_implicit(&mut self, ratings: &[(ItemId, f32)], gradient: &[f32], rate: f32) {
        let Some(implicit) = &mut self.implicit else { return };
        let n = ratings.len() as f32;
        let (step, keep) = (rate / n.sqrt(), (1.0 - rate * self.config.lambda).powf(n));
        for (item, _) in ratings {
            for (y, gradient) in implicit.row_mut(item.index()).iter_mut().zip(gradient) {
                *y = keep * *y + step * gradient;
            }
        }
    }

    /// |N|^(-1/2) Σ y_j over these items; zeros without implicit feedback.
    fn implicit_part(&self, items: impl ExactSizeIterator<Item = ItemId>) -> Vec<f32> {
        let n = items.len();
        let mut sum = match &self.implicit {
            Some(implicit) => implicit.sum_rows(items.map(ItemId::index)),
            None => vec![0.0; self.config.n_factors],
        };
        let scale = 1.0 / (n.max(1) as f32).sqrt();
        sum.iter_mut().for_each(|x| *x *= scale);
        sum
    }

    fn score(&self, user_bias: f32, z: &[f32], item: ItemId) -> f32 {
        self.mean + user_bias + self.item_biases[item.index()] + dot(z, self.items.row(item.index()))
    }

    fn check_finite(&self) -> Result<()> {
        check_finite("mean rating", &[self.mean])?;
        check_finite("user bias", &self.user_biases)?;
        check_finite("item bias", &self.item_biases)?;
        check_finite("user factor", self.users.values())?;
        check_finite("item factor", self.items.values())
    }
}

impl Ranker for BiasedMf {
    fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        let model = &self.0;
        query.check_items(model.items.n_rows())?;
        items.iter().try_for_each(|item| check_id("item", item.0, model.items.n_rows()))?;
        let known = query.user().map(UserId::index).filter(|&user| user < model.users.n_rows());
        let (bias, z) = match known {
            Some(user) => (model.user_biases[user], model.users.row(user).to_vec()),
            None => (0.0, model.implicit_part(query.history().iter().copied())),
        };
        Ok(items.iter().map(|&item| model.score(bias, &z, item)).collect())
    }
}

impl From<BiasedMf> for Saved {
    fn from(model: BiasedMf) -> Self {
        model.0
    }
}

impl TryFrom<Saved> for BiasedMf {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let config = &saved.config;
        config.validate()?;
        saved.check_finite()?;
        let [lowest, highest] = saved.range;
        if !(lowest <= highest && lowest.is_finite() && highest.is_finite()) {
            let found = format!("{lowest} and {highest}");
            return Err(Error::input(
                Location::memory().column("range"),
                "the lowest and the highest rating",
                found,
            ));
        }
        let (n_users, n_items) = (saved.user_biases.len(), saved.item_biases.len());
        saved.users.check_shape("rows and width of the vectors of users", n_users, config.n_factors)?;
        saved.items.check_shape("rows and width of the vectors of items", n_items, config.n_factors)?;
        if saved.implicit.is_some() != config.implicit_feedback {
            let found = if saved.implicit.is_some() { "some" } else { "none" };
            return Err(Error::input(
                Location::memory().column("implicit"),
                "vectors as the settings say",
                found,
            ));
        }
        if let Some(implicit) = &saved.implicit {
            implicit.check_shape(
                "rows and width of the vectors of rated items",
                n_items,
                config.n_factors,
            )?;
        }
        Ok(Self(saved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Interaction, SyntheticConfig};
    use crate::metrics::rmse;

    fn config() -> BiasedMfConfig {
        BiasedMfConfig { n_factors: 6, ..BiasedMfConfig::default() }
    }

    fn table(n_users: usize, n_items: usize, rows: &[(u32, u32, f32)]) -> Interactions {
        let row = |&(user, item, value): &(u32, u32, f32)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value,
            timestamp: 0,
        };
        Interactions::from_rows(n_users, n_items, rows.iter().map(row)).unwrap()
    }

    /// Ratings of which every third is kept back.
    fn parts(rating: impl Fn(u32, u32) -> f32) -> [Interactions; 2] {
        let pairs = (0..60u32).flat_map(|user| (0..40u32).map(move |item| (user, item)));
        let all: Vec<_> = pairs.map(|(user, item)| (user, item, rating(user, item))).collect();
        let (held_out, train): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|&(u, i, _)| (u * 7 + i * 5) % 3 == 0);
        [table(60, 40, &train), table(60, 40, &held_out)]
    }

    fn error(model: &BiasedMf, held_out: &Interactions) -> f64 {
        rmse(held_out.values(), &model.predict_all(held_out).unwrap()).unwrap()
    }

    #[test]
    fn sums_of_biases_are_found_and_then_their_products() {
        let unregularised = BiasedMfConfig {
            lambda: 0.0,
            lambda_bias: 0.0,
            learning_rate: 0.05,
            decay: 0.99,
            n_epochs: 300,
            ..config()
        };
        let [train, held_out] = parts(|user, item| 3.0 + (user % 5) as f32 * 0.3 - (item % 4) as f32 * 0.4);
        let biases = BiasedMf::fit(&train, &unregularised).unwrap();
        assert!(error(&biases, &held_out) < 0.05, "{}", error(&biases, &held_out));
        let sign = |id: u32| if id.is_multiple_of(2) { 1.0 } else { -1.0 };
        let [train, held_out] = parts(|user, item| 3.0 + sign(user) * sign(item));
        let mut last = f64::INFINITY;
        for n_epochs in [1, 20, 300] {
            let model = BiasedMf::fit(&train, &BiasedMfConfig { n_epochs, ..unregularised.clone() }).unwrap();
            let found = error(&model, &held_out);
            assert!(found < last, "{found} after {n_epochs} epochs");
            last = found;
        }
        assert!(last < 0.1, "{last}");
    }

    /// The loss of the ratings of one user, in double precision: half of what is minimised, so that its gradient is the step.
    fn loss(model: &Saved, p: &[f32], ratings: &[(ItemId, f32)]) -> f64 {
        let double = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scale = 1.0 / (ratings.len() as f64).sqrt();
        let mut z = double(p);
        for (item, _) in ratings {
            if let Some(implicit) = &model.implicit {
                z.iter_mut().zip(implicit.row(item.index())).for_each(|(z, &y)| *z += scale * f64::from(y));
            }
        }
        let [lambda, lambda_bias] = [model.config.lambda, model.config.lambda_bias].map(f64::from);
        let b_u = f64::from(model.user_biases[0]);
        let of_rating = |&(item, rating): &(ItemId, f32)| {
            let (b_i, q) =
                (f64::from(model.item_biases[item.index()]), double(model.items.row(item.index())));
            let error = f64::from(rating) - (f64::from(model.mean) + b_u + b_i + dot(&q, &z));
            let norms = dot(&q, &q) + dot(&double(p), &double(p));
            let implicit =
                model.implicit.iter().flat_map(|y| ratings.iter().map(|r| double(y.row(r.0.index()))));
            let norms = norms + implicit.map(|y| dot(&y, &y)).sum::<f64>();
            0.5 * (error * error + lambda_bias * (b_u * b_u + b_i * b_i) + lambda * norms)
        };
        ratings.iter().map(of_rating).sum()
    }

    #[test]
    fn a_small_step_follows_the_gradient_of_the_loss() {
        for implicit_feedback in [false, true] {
            let ratings = [(ItemId(0), 4.0), (ItemId(2), 1.0), (ItemId(3), 5.0)];
            let rows = ratings.map(|(item, rating)| (0, item.0, rating));
            let config = BiasedMfConfig { implicit_feedback, n_epochs: 1, ..config() };
            let mut before = BiasedMf::fit(&table(1, 4, &rows), &config).unwrap().0;
            let rng = &mut Rng::new(9);
            before.items = Factors::normal(4, 6, 0.5, rng);
            before.implicit = implicit_feedback.then(|| Factors::normal(4, 6, 0.5, rng));
            before.user_biases[0] = 0.4;
            let p: Vec<f32> = (0..6).map(|_| rng.normal() as f32).collect();
            let (mut after, mut moved) = (before.clone(), p.clone());
            const RATE: f32 = 1e-4;
            after.user(UserId(0), &ratings, &mut moved, RATE);
            /// Adds to a parameter, and gives its new value.
            type Shift = fn(&mut Saved, &mut [f32], f32) -> f32;
            let mut parameters: Vec<Shift> = vec![
                |model, _, by| {
                    model.user_biases[0] += by;
                    model.user_biases[0]
                },
                |model, _, by| {
                    model.item_biases[2] += by;
                    model.item_biases[2]
                },
                |model, _, by| {
                    model.items.row_mut(3)[1] += by;
                    model.items.row(3)[1]
                },
                |_, p, by| {
                    p[4] += by;
                    p[4]
                },
            ];
            if implicit_feedback {
                parameters.push(|model, _, by| {
                    let y = &mut model.implicit.as_mut().unwrap().row_mut(2)[5];
                    *y += by;
                    *y
                });
            }
            for (number, shift) in parameters.into_iter().enumerate() {
                let loss_at = |by: f32| {
                    let (mut model, mut p) = (before.clone(), p.clone());
                    shift(&mut model, &mut p, by);
                    loss(&model, &p, &ratings)
                };
                let expected = -(loss_at(1e-2) - loss_at(-1e-2)) / 2e-2;
                let value = |model: &Saved, p: &[f32]| shift(&mut model.clone(), &mut p.to_vec(), 0.0);
                let found = f64::from(value(&after, &moved) - value(&before, &p)) / f64::from(RATE);
                assert!(
                    (found - expected).abs() < 0.02 * expected.abs().max(1.0),
                    "{number}: {found}, {expected}"
                );
            }
        }
    }

    #[test]
    fn what_was_rated_tells_of_strangers() {
        // Whoever rates an even item likes even ones; in the histories of strangers stands no rating.
        let [train, _] = parts(|user, item| if (user + item) % 2 == 0 { 5.0 } else { 1.0 });
        let own_kind = train.retain(|row| (row.user.0 + row.item.0) % 2 == 0 || row.item.0 > 30);
        let config = BiasedMfConfig { implicit_feedback: true, lambda: 0.01, n_epochs: 200, ..config() };
        let model = BiasedMf::fit(&own_kind, &config).unwrap();
        for parity in [0, 1] {
            let history: Vec<ItemId> = (0..10).map(|n| ItemId(2 * n + parity)).collect();
            let scores =
                model.score(&Query::new(&history), &[ItemId(32 + parity), ItemId(33 - parity)]).unwrap();
            assert!(scores[0] > scores[1] + 0.5, "{parity}: {scores:?}");
        }
    }

    #[test]
    fn predictions_and_scores_agree_and_ids_are_checked() {
        let data = SyntheticConfig::new(40, 30, 500, 2).generate().unwrap();
        for implicit_feedback in [false, true] {
            let config = BiasedMfConfig { implicit_feedback, ..config() };
            let model = BiasedMf::fit(data.interactions(), &config).unwrap();
            assert_eq!(BiasedMf::fit(data.interactions(), &config).unwrap(), model);
            let items: Vec<ItemId> = (0..30).map(ItemId).collect();
            let scores = model.score(&Query::new(&[]).with_user(UserId(3)), &items).unwrap();
            for (&item, score) in items.iter().zip(scores) {
                assert_eq!(model.predict(UserId(3), item).unwrap(), score.clamp(1.0, 5.0));
            }
            let stranger = model.score(&Query::new(&[]).with_user(UserId(40)), &items).unwrap();
            assert!((stranger[4] - model.0.mean - model.0.item_biases[4]).abs() < 1e-6);
            let errors = [
                model.predict(UserId(40), ItemId(0)).unwrap_err(),
                model.predict(UserId(0), ItemId(30)).unwrap_err(),
                model.score(&Query::default(), &[ItemId(30)]).unwrap_err(),
                model.score(&Query::new(&[ItemId(30)]), &[]).unwrap_err(),
            ];
            assert!(errors.iter().all(|error| matches!(error.kind(), ErrorKind::IdOutOfRange { .. })));
        }
    }

    #[test]
    fn comes_back_from_json() {
        let rows = [(0, 0, 4.0), (1, 1, 2.0), (1, 0, 3.0)];
        let config = BiasedMfConfig { implicit_feedback: true, ..config() };
        let model = BiasedMf::fit(&table(2, 2, &rows), &config).unwrap();
        let json = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<BiasedMf>(&json).unwrap(), model);
        for (good, bad) in [
            (r#""n_factors":6"#, r#""n_factors":3"#),
            (r#""implicit_feedback":true"#, r#""implicit_feedback":false"#),
            (r#""range":[2.0,4.0]"#, r#""range":[4.0,2.0]"#),
            (r#""mean":3.0"#, r#""mean":1e39"#),
            (r#""user_biases":["#, r#""user_biases":[0.5,"#),
        ] {
            assert!(json.contains(good), "{good} in {json}");
            assert!(serde_json::from_str::<BiasedMf>(&json.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let ratings = table(2, 2, &[(0, 0, 4.0), (1, 1, 2.0)]);
        let error = |config: BiasedMfConfig| BiasedMf::fit(&ratings, &config).unwrap_err().to_string();
        for (config, expected) in [
            (BiasedMfConfig { n_factors: 0, ..config() }, "n_factors: expected 1 to 1048576, found 0"),
            (
                BiasedMfConfig { learning_rate: -1.0, ..config() },
                "learning_rate: expected a positive number, found -1",
            ),
            (BiasedMfConfig { decay: 0.0, ..config() }, "decay: expected a number in (0, 1], found 0"),
            (BiasedMfConfig { lambda: -1.0, ..config() }, "lambda: expected a number of 0 or more, found -1"),
            (
                BiasedMfConfig { lambda_bias: f32::NAN, ..config() },
                "lambda_bias: expected a number of 0 or more, found NaN",
            ),
            (BiasedMfConfig { n_epochs: 0, ..config() }, "n_epochs: expected at least 1, found 0"),
        ] {
            assert_eq!(error(config), format!("BiasedMfConfig::{expected}"));
        }
        assert!(
            error(BiasedMfConfig { learning_rate: 1e30, ..config() }).contains("expected a finite number")
        );
        let nothing = BiasedMf::fit(&table(2, 2, &[]), &config()).unwrap_err().to_string();
        assert_eq!(nothing, "input: expected at least one rating, found none");
    }
}
