//! A ranker's score and that of the stages before it, added up: stacking (Wolpert 1992, "Stacked generalization"), with the
//! weights of a conditional logit (McFadden 1974, "Conditional logit analysis of qualitative choice behavior").
//!
//! A recaller knows what a ranker is not told: which channels named a candidate, and how high. A ranker that replaces the
//! score throws that away and may fall below the order it was given. The blended score of a candidate i is
//!
//! s'(i) = w_s s(i) + w_r r(i)
//!
//! with s the score that the stages before gave it and r the ranker's. The weights maximise Σ_q ln P(i_q) over questions q
//! whose relevant item i_q reached the stage, where P(i) = exp s'(i) / Σ_j exp s'(j) over the candidates j of the question. With
//! them s' is a logit, so that a blend is a fit score for a blend behind it.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::metrics::{HeldOut, HeldOutUser};
use crate::pipeline::{Candidate, Pipeline, Query, Ranker, Reranker};
use crate::top_k::by_score;

/// The most steps of Newton's method; a handful is enough.
const MAX_STEPS: usize = 50;

/// The ridge of the standardised weights, in questions: it only decides where two scores tell the same.
const RIDGE: f64 = 1e-3;

/// The weights of a [`Blend`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `score` | 1 | weight w_s of the score of the stages before | finite |
/// | `ranker` | 1 | weight w_r of the ranker's score | finite |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlendWeights {
    /// The weight of the score of the stages before.
    pub score: f32,
    /// The weight of the ranker's score.
    pub ranker: f32,
}

impl Default for BlendWeights {
    fn default() -> Self {
        Self { score: 1.0, ranker: 1.0 }
    }
}

impl BlendWeights {
    /// Checks the weights.
    ///
    /// # Errors
    /// One that is not finite.
    pub fn validate(&self) -> Result<()> {
        for (field, weight) in [("BlendWeights::score", self.score), ("BlendWeights::ranker", self.ranker)] {
            if !weight.is_finite() {
                return Err(Error::config(field, "a finite number", weight));
            }
        }
        Ok(())
    }
}

/// Scores candidates by a ranker and by what they scored before.
///
/// ```
/// use recsys::models::reranking::{Blend, BlendWeights};
/// use recsys::prelude::*;
///
/// /// Items of a large number first.
/// #[derive(Debug)]
/// struct LargeFirst;
///
/// impl Ranker for LargeFirst {
///     fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
///         Ok(items.iter().map(|item| item.0 as f32).collect())
///     }
/// }
///
/// let recalled = [(0, 9.0), (1, 4.0), (3, 1.0)].map(|(item, score)| Candidate::new(ItemId(item), score));
/// let blend = Blend::new(LargeFirst, BlendWeights { score: 1.0, ranker: 4.0 })?;
/// let ranked = blend.rerank(&Query::default(), recalled.to_vec(), 2)?;
/// assert_eq!(ranked.iter().map(|item| (item.item.0, item.score)).collect::<Vec<_>>(), [(3, 13.0), (0, 9.0)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Blend<R> {
    ranker: R,
    weights: BlendWeights,
}

impl<R: Ranker> Blend<R> {
    /// Blends with these weights.
    ///
    /// # Errors
    /// A weight that is not finite.
    pub fn new(ranker: R, weights: BlendWeights) -> Result<Self> {
        weights.validate()?;
        Ok(Self { ranker, weights })
    }

    /// Finds the weights by the questions of `held_out`, whose candidates are the answers of `before`: the pipeline up to
    /// this stage. Let the questions be such that neither a recaller nor the ranker was trained on what is relevant there; else
    /// the weight of whichever was is too large.
    ///
    /// Newton's method on a concave function of two weights: the same questions give the same weights, whatever the number of
    /// threads.
    ///
    /// # Errors
    /// A request that fails, scores that are not finite, or no question with a relevant item and another one among the
    /// candidates.
    pub fn fit(ranker: R, before: &Pipeline, held_out: &HeldOut) -> Result<Self> {
        let ask = |user: &HeldOutUser| Choice::ask(&ranker, before, user);
        let choices: Vec<Option<Choice>> = held_out.users().par_iter().map(ask).collect::<Result<_>>()?;
        let choices: Vec<Choice> = choices.into_iter().flatten().collect();
        if choices.is_empty() {
            let expected = "a question with a relevant item and another one among the candidates";
            return Err(Error::input(Location::memory(), expected, "none"));
        }
        let [score, ranker_weight] = maximize(&choices).map(|weight| weight as f32);
        Self::new(ranker, BlendWeights { score, ranker: ranker_weight })
    }

    /// The weights.
    pub fn weights(&self) -> BlendWeights {
        self.weights
    }

    /// The ranker.
    pub fn ranker(&self) -> &R {
        &self.ranker
    }
}

impl<R: Ranker + 'static> Reranker for Blend<R> {
    fn rerank(&self, query: &Query<'_>, mut ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        let scores = scores(&self.ranker, query, &ranked)?;
        for (candidate, [before, ranker]) in ranked.iter_mut().zip(scores) {
            candidate.score = self.weights.score * before + self.weights.ranker * ranker;
        }
        ranked.sort_unstable_by(|a, b| by_score((a.item, a.score), (b.item, b.score)));
        ranked.truncate(k);
        Ok(ranked)
    }
}

/// The score before and the ranker's score of each candidate.
fn scores(ranker: &impl Ranker, query: &Query<'_>, ranked: &[Candidate]) -> Result<Vec<[f32; 2]>> {
    let scores = ranker.score_candidates(query, ranked)?;
    let (expected, found) = (ranked.len(), scores.len());
    if expected != found {
        return Err(ErrorKind::LengthMismatch { what: "number of scores", expected, found }.into());
    }
    let scores: Vec<[f32; 2]> =
        ranked.iter().zip(scores).map(|(candidate, score)| [candidate.score, score]).collect();
    match scores.iter().position(|pair| pair.iter().any(|score| !score.is_finite())) {
        Some(index) => {
            let [before, own] = scores[index];
            let value = f64::from(if before.is_finite() { own } else { before });
            Err(ErrorKind::NonFinite { what: "score of a candidate", index, value }.into())
        }
        None => Ok(scores),
    }
}

/// A question whose relevant item reached the stage.
struct Choice {
    /// Of every candidate.
    scores: Vec<[f32; 2]>,
    /// The places of the relevant ones.
    chosen: Vec<usize>,
}

impl Choice {
    fn ask(ranker: &impl Ranker, before: &Pipeline, user: &HeldOutUser) -> Result<Option<Self>> {
        let candidates = before.recommend(&user.query())?.items;
        let is_relevant = |candidate: &Candidate| user.relevant.binary_search(&candidate.item).is_ok();
        let chosen: Vec<usize> = (0..candidates.len()).filter(|&at| is_relevant(&candidates[at])).collect();
        if chosen.is_empty() || chosen.len() == candidates.len() {
            return Ok(None);
        }
        Ok(Some(Self { scores: scores(ranker, &user.query(), &candidates)?, chosen }))
    }

    /// The mean of ln P over the chosen, its gradient and its Hessian (without the sign), with scores divided by `scale`.
    fn objective(&self, weights: [f64; 2], scale: [f64; 2]) -> Objective {
        let x = |at: usize| [0, 1].map(|side| f64::from(self.scores[at][side]) / scale[side]);
        let logit = |at: usize| x(at)[0] * weights[0] + x(at)[1] * weights[1];
        let logits: Vec<f64> = (0..self.scores.len()).map(logit).collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut first, mut second) = (0.0, [0.0; 2], [0.0; 3]);
        for (at, logit) in logits.iter().enumerate() {
            let (p, [a, b]) = ((logit - max).exp(), x(at));
            sum += p;
            first = [first[0] + p * a, first[1] + p * b];
            second = [second[0] + p * a * a, second[1] + p * a * b, second[2] + p * b * b];
        }
        let [a, b] = first.map(|value| value / sum);
        let mean = |value: &dyn Fn(usize) -> f64| {
            self.chosen.iter().map(|&at| value(at)).sum::<f64>() / self.chosen.len() as f64
        };
        Objective {
            value: mean(&|at| logits[at]) - max - sum.ln(),
            gradient: [mean(&|at| x(at)[0]) - a, mean(&|at| x(at)[1]) - b],
            curvature: [second[0] / sum - a * a, second[1] / sum - a * b, second[2] / sum - b * b],
        }
    }

    /// Σ (x − mean)² of the candidates' scores, a part of what tells their scale.
    fn spread(&self) -> [f64; 2] {
        [0, 1].map(|side| {
            let values = || self.scores.iter().map(|pair| f64::from(pair[side]));
            let mean = values().sum::<f64>() / self.scores.len() as f64;
            values().map(|value| (value - mean).powi(2)).sum()
        })
    }
}

/// A concave function at a point: its value, its gradient, and minus its second derivatives (aa, ab, bb).
#[derive(Clone, Copy, Default)]
struct Objective {
    value: f64,
    gradient: [f64; 2],
    curvature: [f64; 3],
}

impl Objective {
    /// Of all questions with the ridge, summed in their order.
    fn of(choices: &[Choice], weights: [f64; 2], scale: [f64; 2]) -> Self {
        let parts: Vec<Self> = choices.par_iter().map(|choice| choice.objective(weights, scale)).collect();
        let [a, b] = weights;
        let mut sum = Self {
            value: -RIDGE * (a * a + b * b) / 2.0,
            gradient: [-RIDGE * a, -RIDGE * b],
            curvature: [RIDGE, 0.0, RIDGE],
        };
        for Self { value, gradient, curvature } in parts {
            sum.value += value;
            sum.gradient.iter_mut().zip(gradient).for_each(|(sum, part)| *sum += part);
            sum.curvature.iter_mut().zip(curvature).for_each(|(sum, part)| *sum += part);
        }
        sum
    }

    /// Newton's step: the gradient, divided by the curvature.
    fn step(&self) -> [f64; 2] {
        let ([a, b, c], [x, y]) = (self.curvature, self.gradient);
        let determinant = a * c - b * b;
        [(c * x - b * y) / determinant, (a * y - b * x) / determinant]
    }
}

/// The weights of the largest likelihood.
fn maximize(choices: &[Choice]) -> [f64; 2] {
    let n: f64 = choices.iter().map(|choice| choice.scores.len() as f64).sum();
    let scale =
        choices.iter().map(Choice::spread).fold([0.0; 2], |sum, part| [sum[0] + part[0], sum[1] + part[1]]);
    let scale = scale.map(|sum| if sum > 0.0 { (sum / n).sqrt() } else { 1.0 });
    let mut weights = [0.0; 2];
    let mut found = Objective::of(choices, weights, scale);
    for _ in 0..MAX_STEPS {
        let mut step = found.step();
        let mut next = Objective::of(choices, [weights[0] + step[0], weights[1] + step[1]], scale);
        // A whole step may overshoot; half of it, and so on, does not.
        while next.value < found.value && step.iter().any(|part| part.abs() > 1e-9) {
            step = step.map(|part| part / 2.0);
            next = Objective::of(choices, [weights[0] + step[0], weights[1] + step[1]], scale);
        }
        if next.value <= found.value {
            break;
        }
        weights = [weights[0] + step[0], weights[1] + step[1]];
        let is_done = next.value - found.value < 1e-9 * choices.len() as f64;
        found = next;
        if is_done {
            break;
        }
    }
    [weights[0] / scale[0], weights[1] / scale[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ItemId;
    use crate::ids::UserId;
    use crate::pipeline::Recaller;
    use crate::rng::Rng;

    const N_ITEMS: u32 = 30;

    /// Scores that depend on the user, the item and a seed, from −1 to 1.
    fn noise(seed: u64, user: u32, item: u32) -> f64 {
        2.0 * Rng::stream(seed, &[user.into(), item.into()]).uniform() - 1.0
    }

    #[derive(Debug)]
    struct Noise(u64);

    impl Recaller for Noise {
        fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            let score = |item| (ItemId(item), noise(self.0, query.user().unwrap().0, item) as f32);
            let mut scored: Vec<_> = (0..N_ITEMS).map(score).collect();
            scored.sort_by(|a, b| by_score(*a, *b));
            Ok(scored.into_iter().take(k).map(Candidate::from).collect())
        }
    }

    impl Ranker for Noise {
        fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
            let user = query.user().map_or(0, |user| user.0);
            Ok(items.iter().map(|item| noise(self.0, user, item.0) as f32).collect())
        }
    }

    fn before() -> Pipeline {
        let method = crate::pipeline::FusionMethod::MinMax;
        Pipeline::recall("noise", Noise(1), N_ITEMS as usize).fuse(method, N_ITEMS as usize).build().unwrap()
    }

    /// Users who choose by 3 times the recaller's fused score and 2 times the ranker's: the conditional logit's own model.
    fn held_out(users: std::ops::Range<u32>) -> HeldOut {
        let choose = |user: u32| {
            let query = Query::default().with_user(UserId(user));
            let candidates = before().recommend(&query).unwrap().items;
            let mut rng = Rng::stream(9, &[user.into()]);
            // The maximum of a logit and Gumbel noise is a draw from the softmax.
            let worth = |candidate: &Candidate| {
                let logit = 3.0 * f64::from(candidate.score) + 2.0 * noise(2, user, candidate.item.0);
                logit - (-rng.uniform().max(1e-300).ln()).ln()
            };
            let worths: Vec<f64> = candidates.iter().map(worth).collect();
            let best = (0..worths.len()).max_by(|&a, &b| worths[a].total_cmp(&worths[b])).unwrap();
            let relevant = vec![candidates[best].item];
            HeldOutUser { user: UserId(user), history: vec![], seen: vec![], relevant }
        };
        HeldOut::new("test", "nothing", N_ITEMS as usize, users.map(choose).collect()).unwrap()
    }

    #[test]
    fn the_weights_of_those_who_chose_are_found() {
        let BlendWeights { score, ranker } =
            Blend::fit(Noise(2), &before(), &held_out(0..4_000)).unwrap().weights();
        assert!((score - 3.0).abs() < 0.2 && (ranker - 2.0).abs() < 0.2, "{score} and {ranker}");
    }

    #[test]
    fn the_gradient_is_that_of_the_value_and_0_at_the_end() {
        let choices: Vec<Choice> = held_out(0..60)
            .users()
            .iter()
            .map(|user| Choice::ask(&Noise(2), &before(), user).unwrap().unwrap())
            .collect();
        let (scale, at, h) = ([0.7, 1.3], [0.4, -0.9], 1e-5);
        let value = |weights| Objective::of(&choices, weights, scale).value;
        let found = Objective::of(&choices, at, scale);
        let slope = [0, 1].map(|side| {
            let moved = |by: f64| [0, 1].map(|other| at[other] + if other == side { by } else { 0.0 });
            (value(moved(h)) - value(moved(-h))) / (2.0 * h)
        });
        for side in 0..2 {
            assert!((found.gradient[side] - slope[side]).abs() < 1e-4, "{slope:?}");
        }
        let best = maximize(&choices);
        let rest = Objective::of(&choices, best, [1.0; 2]).gradient;
        assert!(rest.iter().all(|part| part.abs() < 0.02), "{rest:?}");
    }

    #[test]
    fn neither_the_scale_of_a_ranker_nor_the_number_of_threads_matters() {
        #[derive(Debug)]
        struct Scaled(f32);
        impl Ranker for Scaled {
            fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
                Ok(Noise(2).score(query, items)?.iter().map(|score| self.0 * score + 5.0).collect())
            }
        }
        let on = |threads, scale| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Blend::fit(Scaled(scale), &before(), &held_out(0..200))).unwrap().weights()
        };
        assert_eq!(on(1, 1.0), on(3, 1.0));
        let (own, scaled) = (on(2, 1.0), on(2, 64.0));
        assert!((own.score - scaled.score).abs() < 1e-3 && (own.ranker - 64.0 * scaled.ranker).abs() < 1e-2);
    }

    #[test]
    fn a_ranker_that_says_nothing_leaves_the_order() {
        #[derive(Debug)]
        struct Silent;
        impl Ranker for Silent {
            fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
                Ok(vec![0.0; items.len()])
            }
        }
        let blend = Blend::fit(Silent, &before(), &held_out(0..300)).unwrap();
        assert!(blend.weights().score > 0.0 && blend.weights().ranker == 0.0);
        let query = Query::default().with_user(UserId(5));
        let candidates = before().recommend(&query).unwrap().items;
        let items = |list: &[Candidate]| list.iter().map(|candidate| candidate.item).collect::<Vec<_>>();
        let blended = blend.rerank(&query, candidates.clone(), 10).unwrap();
        assert_eq!(items(&blended), items(&candidates)[..10]);
        assert_eq!(blended[0].channels, candidates[0].channels);
    }

    #[test]
    fn bad_input_is_named() {
        let weights = BlendWeights { ranker: f32::NAN, ..BlendWeights::default() };
        let error = Blend::new(Noise(1), weights).unwrap_err().to_string();
        assert_eq!(error, "BlendWeights::ranker: expected a finite number, found NaN");
        let nobody = HeldOut::new("test", "nothing", 30, vec![]).unwrap();
        let error = Blend::fit(Noise(1), &before(), &nobody).unwrap_err().to_string();
        assert!(error.starts_with("input: expected a question with a relevant item"), "{error}");
        let infinite = vec![Candidate::new(ItemId(0), f32::INFINITY)];
        let blend = Blend::new(Noise(1), BlendWeights::default()).unwrap();
        assert!(blend.rerank(&Query::default(), infinite, 1).is_err());
    }
}
