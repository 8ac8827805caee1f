//! Calibrated recommendations: Steck 2018, "Calibrated recommendations".
//!
//! With the distribution p(g | i) of item i over its keys g (each of its keys alike), the history H of the user has the
//! distribution p(g | u), the mean of p(g | i) over H (equation 2), and a list I has q(g | I), the mean over I
//! (equation 3). With q̃ = (1 − α) q + α p, so that no share is 0 (equation 5), the list is to maximise
//! (1 − λ) Σ_{i ∈ I} r(i) − λ KL(p ‖ q̃(I)) (equations 4 and 6), which is done greedily.
//!
//! Deviations: scores r are normalised within the list from 0 to 1, so that λ does not depend on their scale; and items
//! without a key count neither in p nor in q.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::ItemFeatures;
use crate::ids::ItemId;
use crate::pipeline::{
    Candidate, GreedyObjective, Query, Reranker, check_ranked, relevance, select_greedily,
};

/// The settings of a [`Calibration`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `lambda` | 0.5 | weight λ of the distance between list and history | [0, 1] |
/// | `alpha` | 0.01 | share α of the history's distribution that is mixed into the list's | (0, 1) |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationConfig {
    /// The weight of the distance between list and history.
    pub lambda: f64,
    /// The share of the history's distribution that is mixed into the list's.
    pub alpha: f64,
}

impl Default for CalibrationConfig {
    fn default() -> Self {
        Self { lambda: 0.5, alpha: 0.01 }
    }
}

impl CalibrationConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.lambda) {
            return Err(Error::config("CalibrationConfig::lambda", "a number from 0 to 1", self.lambda));
        }
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return Err(Error::config("CalibrationConfig::alpha", "a number between 0 and 1", self.alpha));
        }
        Ok(())
    }
}

/// Shows each of the user's interests in proportion: who watched seven romances and three thrillers gets a list of
/// about that mixture.
///
/// Where the history is empty, or nothing is known of its items, the order is that of the scores. Candidates keep
/// their scores.
///
/// ```
/// use recsys::models::reranking::{Calibration, CalibrationConfig};
/// use recsys::prelude::*;
///
/// let genres = ItemFeatures::new(2, [[0], [1], [0], [0], [1]])?;
/// let calibration = Calibration::new(CalibrationConfig::default(), genres)?;
/// let ranked = [(2, 0.9), (3, 0.8), (4, 0.7)].map(|(item, score)| Candidate::new(ItemId(item), score));
/// let shown = calibration.rerank(&Query::new(&[ItemId(0), ItemId(1)]), ranked.to_vec(), 2)?;
/// assert_eq!(shown.iter().map(|candidate| candidate.item.0).collect::<Vec<_>>(), [2, 4], "one of each genre");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Calibration {
    config: CalibrationConfig,
    keys: ItemFeatures,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: CalibrationConfig,
    keys: ItemFeatures,
}

impl Calibration {
    /// Calibrates by the categories of the items: genres, or any other keys.
    ///
    /// # Errors
    /// A setting outside its range, or an item that has a category twice.
    pub fn new(config: CalibrationConfig, keys: ItemFeatures) -> Result<Self> {
        config.validate()?;
        keys.check_distinct()?;
        Ok(Self { config, keys: keys.without_vectors() })
    }

    fn keys(&self, item: ItemId) -> &[u32] {
        self.keys.get(item).unwrap_or_default()
    }

    /// p(g | u) of the keys of the history, by key; nothing where nothing is known.
    fn interests(&self, history: &[ItemId]) -> Vec<(u32, f64)> {
        let known: Vec<&[u32]> =
            history.iter().map(|&item| self.keys(item)).filter(|keys| !keys.is_empty()).collect();
        let mut shares: Vec<(u32, f64)> =
            known.iter().flat_map(|keys| keys.iter().map(|&key| (key, share(keys)))).collect();
        shares.sort_by_key(|&(key, _)| key);
        let sum = |of_key: &[(u32, f64)]| of_key.iter().map(|(_, share)| share).sum::<f64>();
        let mean = |of_key: &[(u32, f64)]| (of_key[0].0, sum(of_key) / known.len() as f64);
        shares.chunk_by(|a, b| a.0 == b.0).map(mean).collect()
    }
}

impl Reranker for Calibration {
    fn rerank(&self, query: &Query<'_>, ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.keys.n_items())?;
        check_ranked(&ranked, self.keys.n_items())?;
        let interests = self.interests(query.history());
        let mut objective = Calibrated {
            config: self.config,
            shown: vec![0.0; interests.len()],
            interests,
            n_shown: 0.0,
            relevance: relevance(&ranked),
            keys: ranked.iter().map(|candidate| self.keys(candidate.item)).collect(),
            divergences: [0.0; 2],
        };
        objective.update_divergences();
        Ok(select_greedily(ranked, k, objective))
    }
}

/// p(g | i) of each key g of an item.
fn share(keys: &[u32]) -> f64 {
    1.0 / keys.len() as f64
}

fn has_keys(keys: &[u32]) -> f64 {
    f64::from(u8::from(!keys.is_empty()))
}

/// The state of one list.
struct Calibrated<'a> {
    config: CalibrationConfig,
    /// p(g | u) of each key g of the history, by key.
    interests: Vec<(u32, f64)>,
    /// Σ p(g | i) over the list, of the same keys.
    shown: Vec<f64>,
    /// The items of the list that have a key.
    n_shown: f64,
    relevance: Vec<f32>,
    /// The keys of each candidate.
    keys: Vec<&'a [u32]>,
    /// KL(p ‖ q̃) of the list as it is, and with one more item that has none of the keys of the history.
    divergences: [f64; 2],
}

impl Calibrated<'_> {
    /// Where the keys of an item stand among those of the history.
    fn places(&self, keys: &[u32]) -> impl Iterator<Item = usize> {
        keys.iter().filter_map(|key| self.interests.binary_search_by_key(key, |&(key, _)| key).ok())
    }

    /// What a key adds to KL(p ‖ q̃) where q = `sum` / `n_items`.
    fn part(&self, place: usize, sum: f64, n_items: f64) -> f64 {
        let (p, alpha) = (self.interests[place].1, self.config.alpha);
        let q = if n_items > 0.0 { sum / n_items } else { 0.0 };
        p * (p / ((1.0 - alpha) * q + alpha * p)).ln()
    }

    fn update_divergences(&mut self) {
        let divergence = |n_items| {
            let part = |(place, &sum): (usize, &f64)| self.part(place, sum, n_items);
            self.shown.iter().enumerate().map(part).sum()
        };
        self.divergences = [divergence(self.n_shown), divergence(self.n_shown + 1.0)];
    }

    /// KL(p ‖ q̃) of the list with one more item of these keys.
    fn divergence_with(&self, keys: &[u32]) -> f64 {
        let n_items = self.n_shown + has_keys(keys);
        let change = |place: usize| {
            let sum = self.shown[place];
            self.part(place, sum + share(keys), n_items) - self.part(place, sum, n_items)
        };
        self.divergences[usize::from(!keys.is_empty())] + self.places(keys).map(change).sum::<f64>()
    }
}

impl GreedyObjective for Calibrated<'_> {
    fn gain(&self, candidate: usize) -> f32 {
        let lambda = self.config.lambda;
        let relevance = f64::from(self.relevance[candidate]);
        ((1.0 - lambda) * relevance - lambda * self.divergence_with(self.keys[candidate])) as f32
    }

    fn choose(&mut self, candidate: usize) {
        let keys = self.keys[candidate];
        let places: Vec<usize> = self.places(keys).collect();
        places.into_iter().for_each(|place| self.shown[place] += share(keys));
        self.n_shown += has_keys(keys);
        self.update_divergences();
    }
}

impl TryFrom<Saved> for Calibration {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        Self::new(saved.config, saved.keys)
    }
}

impl From<Calibration> for Saved {
    fn from(calibration: Calibration) -> Self {
        Self { config: calibration.config, keys: calibration.keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn ranked(scores: &[f32]) -> Vec<Candidate> {
        (0..).zip(scores).map(|(item, &score)| Candidate::new(ItemId(item), score)).collect()
    }

    fn order(calibration: &Calibration, history: &[ItemId], scores: &[f32], k: usize) -> Vec<usize> {
        let shown = calibration.rerank(&Query::new(history), ranked(scores), k).unwrap();
        shown.iter().map(|candidate| candidate.item.index()).collect()
    }

    fn distribution(lists: &[&[u32]], n_keys: usize) -> Vec<f64> {
        let known: Vec<_> = lists.iter().filter(|keys| !keys.is_empty()).collect();
        let of = |key: u32| {
            let sum: f64 =
                known.iter().filter(|keys| keys.contains(&key)).map(|keys| 1.0 / keys.len() as f64).sum();
            if known.is_empty() { 0.0 } else { sum / known.len() as f64 }
        };
        (0..n_keys as u32).map(of).collect()
    }

    /// The definition, with the divergence of every longer list anew.
    fn by_definition(
        CalibrationConfig { lambda, alpha }: CalibrationConfig,
        keys: &[Vec<u32>],
        history: &[ItemId],
        scores: &[f32],
        k: usize,
    ) -> Vec<usize> {
        let lists = |items: &[usize]| items.iter().map(|&i| keys[i].as_slice()).collect::<Vec<_>>();
        let p = distribution(&lists(&history.iter().map(|item| item.index()).collect::<Vec<_>>()), 4);
        let min = scores.iter().copied().fold(f32::INFINITY, f32::min);
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut list: Vec<usize> = Vec::new();
        while list.len() < k {
            let value = |&i: &usize| {
                let longer: Vec<usize> = list.iter().copied().chain([i]).collect();
                let relevance: f64 =
                    longer.iter().map(|&i| f64::from(scores[i] - min) / f64::from(max - min)).sum();
                let q = distribution(&lists(&longer), 4);
                let divergence: f64 = p
                    .iter()
                    .zip(q)
                    .filter(|(p, _)| **p > 0.0)
                    .map(|(p, q)| p * (p / ((1.0 - alpha) * q + alpha * p)).ln())
                    .sum();
                (1.0 - lambda) * relevance - lambda * divergence
            };
            let left = (0..scores.len()).filter(|i| !list.contains(i));
            list.push(left.max_by(|a, b| value(a).total_cmp(&value(b))).unwrap());
        }
        list
    }

    #[test]
    fn equals_the_definition() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let keys: Vec<Vec<u32>> =
                (0..20).map(|_| (0..4).filter(|_| rng.uniform() < 0.4).collect()).collect();
            let scores: Vec<f32> = (0..12).map(|_| rng.normal() as f32).collect();
            let history: Vec<ItemId> = (0..5).map(|_| ItemId(rng.below(20) as u32)).collect();
            let config = CalibrationConfig { lambda: 0.1 + 0.8 * rng.uniform(), alpha: 0.01 };
            let calibration = Calibration::new(config, ItemFeatures::new(4, &keys).unwrap()).unwrap();
            let expected = by_definition(config, &keys, &history, &scores, 6);
            assert_eq!(order(&calibration, &history, &scores, 6), expected, "seed {seed}");
        }
    }

    #[test]
    fn a_list_has_the_mixture_of_the_history() {
        // Items 0 to 19 are of the key 0, items 20 to 39 of the key 1, and score less.
        let keys = ItemFeatures::new(2, (0..40).map(|item| [u32::from(item >= 20)])).unwrap();
        let scores: Vec<f32> = (0..40).map(|item| -(item as f32)).collect();
        let history: Vec<ItemId> = (0..7).chain(20..23).map(ItemId).collect();
        let config = CalibrationConfig { lambda: 0.99, ..CalibrationConfig::default() };
        let calibration = Calibration::new(config, keys).unwrap();
        let shown = order(&calibration, &history, &scores, 10);
        assert_eq!(shown.iter().filter(|&&item| item < 20).count(), 7);
        let by_score: Vec<usize> = (0..10).collect();
        assert_eq!(order(&calibration, &[], &scores, 10), by_score, "of somebody new nothing is known");
    }

    #[test]
    fn bad_input_is_named() {
        let keys = || ItemFeatures::new(2, [[0], [1]]).unwrap();
        let new = |lambda, alpha| Calibration::new(CalibrationConfig { lambda, alpha }, keys());
        for (lambda, alpha) in
            [(-0.1, 0.1), (1.1, 0.1), (f64::NAN, 0.1), (0.5, 0.0), (0.5, 1.0), (0.5, f64::NAN)]
        {
            assert!(new(lambda, alpha).unwrap_err().to_string().starts_with("CalibrationConfig::"));
        }
        let twice = ItemFeatures::new(2, [[0, 0]]).unwrap();
        assert!(Calibration::new(CalibrationConfig::default(), twice).is_err());
        let calibration = new(0.5, 0.25).unwrap();
        let strange = calibration.rerank(&Query::new(&[ItemId(2)]), vec![], 1).unwrap_err();
        assert_eq!(strange.to_string(), "item id 2 is not below 2");
        let json = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
        assert!(serde_json::from_str::<Calibration>(&json.replace("0.25", "1.5")).is_err());
    }
}
