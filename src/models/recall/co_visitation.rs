//! Co-visitation: which items follow each other closely in the histories. The counts of Davidson et al. 2010, "The YouTube
//! video recommendation system" (section 3.1), c_ij / f(v_i, v_j), with weights that fall with the distance in the
//! history and with the time between.
//!
//! For each place p of item a in a user's history, and each place q of another item b with d = |q − p| ≤ window and
//! Δt ≤ `max_gap`,
//!
//! - c_ab += 2^(−(d − 1) / `distance_half_life`) · 2^(−Δt / `time_half_life`), times `backward` if q < p;
//! - sim(a, b) = c_ab / (n_a^(1−α) n_b^α), with n the number of an item's interactions;
//! - score(b) = Σ 2^(−age_a / `half_life`) sim(a, b) over the distinct items a of the history.

use serde::{Deserialize, Serialize};

use crate::data::{Interactions, ItemSimilarities, Sequences, SparseAccumulator, check_half_life};
use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId, UserId};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::TopK;

/// The settings of a [`CoVisitationRecaller`]. Times are in the units of the time stamps: seconds, mostly.
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `n_neighbours` | 500 | ≥ 1 | similarities kept for each item; more costs memory and time |
/// | `window` | 20 | ≥ 1 | in places of the history: which items count as visited together |
/// | `max_gap` | none | ≥ 0 | longest time between two visits that count together |
/// | `distance_half_life` | 5 | > 0 | in places: distant visits count less; none: all of the window alike |
/// | `time_half_life` | none | > 0 | visits long apart count less |
/// | `backward` | 0.25 | ≥ 0 | weight of an item that came before, beside 1 for one that came after |
/// | `popularity_exponent` | 0.5 | 0..=1 | α: more favours the tail, less what is popular |
/// | `half_life` | 3 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoVisitationConfig {
    /// The similarities kept for each item.
    pub n_neighbours: usize,
    /// The greatest distance, in places of the history, of two visits that count together.
    pub window: usize,
    /// The longest time between two visits that count together.
    pub max_gap: Option<u64>,
    /// The distance, beyond that of neighbours, at which two visits count half.
    pub distance_half_life: Option<f32>,
    /// The time between two visits at which they count half.
    pub time_half_life: Option<f32>,
    /// The weight of an item that came before the other.
    pub backward: f32,
    /// α, the share of the norm that falls to the recommended item.
    pub popularity_exponent: f32,
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
}

impl Default for CoVisitationConfig {
    fn default() -> Self {
        Self {
            n_neighbours: 500,
            window: 20,
            max_gap: None,
            distance_half_life: Some(5.0),
            time_half_life: None,
            backward: 0.25,
            popularity_exponent: 0.5,
            half_life: Some(3.0),
        }
    }
}

impl CoVisitationConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        for (field, count) in [
            ("CoVisitationConfig::n_neighbours", self.n_neighbours),
            ("CoVisitationConfig::window", self.window),
        ] {
            if count == 0 {
                return Err(Error::config(field, "at least 1", 0));
            }
        }
        check_half_life("CoVisitationConfig::distance_half_life", self.distance_half_life)?;
        check_half_life("CoVisitationConfig::time_half_life", self.time_half_life)?;
        if !(self.backward >= 0.0 && self.backward.is_finite()) {
            return Err(Error::config(
                "CoVisitationConfig::backward",
                "a finite number of 0 or more",
                self.backward,
            ));
        }
        if !(0.0..=1.0).contains(&self.popularity_exponent) {
            let field = "CoVisitationConfig::popularity_exponent";
            return Err(Error::config(field, "a number in 0..=1", self.popularity_exponent));
        }
        check_half_life("CoVisitationConfig::half_life", self.half_life)
    }

    /// The weight of two visits at a distance of at least 1 and with this time between.
    fn weight(&self, distance: usize, gap: u64) -> f64 {
        let decay = |x: f64, half_life: Option<f32>| {
            half_life.map_or(1.0, |half_life| (-x / f64::from(half_life)).exp2())
        };
        decay((distance - 1) as f64, self.distance_half_life) * decay(gap as f64, self.time_half_life)
    }
}

/// Recommends what others visited close to the items of the history, soonest after the last of them.
///
/// Where an item-based model asks who chose both items at any time, this one asks what came next; so it needs
/// interactions with times. An item that was never visited close to one of the history is no candidate.
///
/// Fitting takes time for each interaction and place of the window. Beside the interactions (20 bytes each) it holds one
/// row of sums for each thread, 8 bytes an item, and 8 bytes for each similarity kept; never all pairs of items.
///
/// ```
/// use recsys::models::recall::{CoVisitationConfig, CoVisitationRecaller};
/// use recsys::prelude::*;
///
/// let visit = |item, timestamp| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp };
/// let train = Interactions::from_rows(1, 3, [visit(0, 10), visit(1, 20), visit(2, 30)])?;
/// let co_visitation = CoVisitationRecaller::fit(&train, &CoVisitationConfig::default())?;
/// let next = co_visitation.similar_items(ItemId(1), 5, &ItemFilter::all())?;
/// assert_eq!(next, [Candidate::new(ItemId(2), 1.0), Candidate::new(ItemId(0), 0.25)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoVisitationRecaller(ItemSimilarities);

impl CoVisitationRecaller {
    /// Weighs the visits near to those of each item.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn fit(interactions: &Interactions, config: &CoVisitationConfig) -> Result<Self> {
        config.validate()?;
        let histories = Sequences::new(interactions);
        let mut places = vec![Vec::new(); interactions.n_items()];
        for (user, items) in histories.iter() {
            items.iter().enumerate().for_each(|(place, item)| places[item.index()].push((user, place)));
        }
        let norms = |exponent: f32| -> Vec<f64> {
            places.iter().map(|places| (places.len() as f64).powf(f64::from(exponent))).collect()
        };
        let (of, towards) = (norms(1.0 - config.popularity_exponent), norms(config.popularity_exponent));
        let similarities =
            ItemSimilarities::compute(interactions.n_items(), config.half_life, |item, sums| {
                for &(user, place) in &places[item.index()] {
                    add_visits_near(&histories, user, place, config, sums);
                }
                let mut top = TopK::new(config.n_neighbours);
                for (other, weight) in sums.drain().map(|(other, weight)| (ItemId(other), weight)) {
                    top.push(other, (weight / (of[item.index()] * towards[other.index()])) as f32);
                }
                top.into_sorted()
            });
        Ok(Self(similarities))
    }

    /// The `k` admissible items most visited close to `item`, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        self.0.nearest(item, k, filter)
    }
}

/// Adds the weights of the other items near one place of a user's history.
fn add_visits_near(
    histories: &Sequences,
    user: UserId,
    place: usize,
    config: &CoVisitationConfig,
    sums: &mut SparseAccumulator,
) {
    let (items, times) = (histories.items(user), histories.timestamps(user));
    let last = place.saturating_add(config.window).min(items.len() - 1);
    for other in place.saturating_sub(config.window)..=last {
        let gap = times[other].abs_diff(times[place]);
        if items[other] == items[place] || config.max_gap.is_some_and(|max_gap| gap > max_gap) {
            continue;
        }
        let direction = if other < place { f64::from(config.backward) } else { 1.0 };
        let weight = direction * config.weight(other.abs_diff(place), gap);
        if weight > 0.0 {
            sums.add(items[other].0, weight);
        }
    }
}

impl Recaller for CoVisitationRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.0.n_items())?;
        Ok(self.0.recall(query.history(), k, query.filter()))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use proptest::prelude::*;

    use super::*;
    use crate::data::Interaction;

    fn table(rows: &[(u32, u32, i64)]) -> Interactions {
        let rows = rows.iter().map(|&(user, item, timestamp)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        });
        Interactions::from_rows(4, 5, rows).unwrap()
    }

    /// Every visit of the whole history counts 1, in both directions, and nothing is divided by popularity.
    fn plain() -> CoVisitationConfig {
        CoVisitationConfig {
            n_neighbours: 9,
            window: 99,
            max_gap: None,
            distance_half_life: None,
            time_half_life: None,
            backward: 1.0,
            popularity_exponent: 0.5,
            half_life: None,
        }
    }

    /// User 0 visits 0, 1, 0, 2 and user 1 visits 1, 3.
    const ROWS: [(u32, u32, i64); 6] = [(0, 2, 70), (0, 0, 10), (0, 1, 20), (0, 0, 40), (1, 1, 5), (1, 3, 6)];

    /// c_ab by item b: the similarities of `item`, times the norm.
    fn weights(config: &CoVisitationConfig, item: u32) -> Vec<f32> {
        let fitted = CoVisitationRecaller::fit(&table(&ROWS), config).unwrap();
        let counts = [2f32, 2.0, 1.0, 1.0, 0.0];
        let mut weights = vec![0.0; 5];
        for Candidate { item: other, score, .. } in
            fitted.similar_items(ItemId(item), 9, &ItemFilter::all()).unwrap()
        {
            let alpha = config.popularity_exponent;
            weights[other.index()] =
                score * counts[item as usize].powf(1.0 - alpha) * counts[other.index()].powf(alpha);
        }
        weights
    }

    #[test]
    fn each_setting_by_hand() {
        let near = |found: Vec<f32>, expected: [f32; 5]| {
            found.iter().zip(expected).for_each(|(&a, b)| assert_relative_eq!(a, b, epsilon = 1e-6));
        };
        near(weights(&plain(), 0), [0.0, 2.0, 2.0, 0.0, 0.0]);
        near(weights(&plain(), 1), [2.0, 0.0, 1.0, 1.0, 0.0]);
        near(weights(&plain(), 4), [0.0; 5]);
        near(weights(&CoVisitationConfig { window: 1, ..plain() }, 0), [0.0, 2.0, 1.0, 0.0, 0.0]);
        near(weights(&CoVisitationConfig { max_gap: Some(29), ..plain() }, 0), [0.0, 2.0, 0.0, 0.0, 0.0]);
        near(weights(&CoVisitationConfig { max_gap: Some(30), ..plain() }, 0), [0.0, 2.0, 1.0, 0.0, 0.0]);
        near(weights(&CoVisitationConfig { backward: 0.25, ..plain() }, 0), [0.0, 1.25, 2.0, 0.0, 0.0]);
        near(weights(&CoVisitationConfig { backward: 0.0, ..plain() }, 2), [0.0; 5]);
        let near_in_place = CoVisitationConfig { distance_half_life: Some(1.0), ..plain() };
        near(weights(&near_in_place, 0), [0.0, 2.0, 0.25 + 1.0, 0.0, 0.0]);
        let near_in_time = CoVisitationConfig { time_half_life: Some(10.0), ..plain() };
        near(weights(&near_in_time, 0), [0.0, 0.5 + 0.25, 1.0 / 64.0 + 0.125, 0.0, 0.0]);
        near(
            weights(&CoVisitationConfig { popularity_exponent: 0.0, ..plain() }, 1),
            [2.0, 0.0, 1.0, 1.0, 0.0],
        );
    }

    #[test]
    fn the_newest_items_lead() {
        let config = CoVisitationConfig { half_life: Some(1.0), popularity_exponent: 0.0, ..plain() };
        let fitted = CoVisitationRecaller::fit(&table(&ROWS), &config).unwrap();
        let query = [3, 0].map(ItemId);
        let answer = fitted.recall(&Query::new(&query), 9).unwrap();
        // 0 leads to 1 and 2 with 2 / 2 each, 3 to 1 with 1 / 1, which counts half.
        assert_eq!(answer, [Candidate::new(ItemId(1), 1.5), Candidate::new(ItemId(2), 1.0)]);
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let refused = |config: CoVisitationConfig| {
            CoVisitationRecaller::fit(&table(&[]), &config).unwrap_err().to_string()
        };
        let error = refused(CoVisitationConfig { window: 0, ..plain() });
        assert_eq!(error, "CoVisitationConfig::window: expected at least 1, found 0");
        for (field, config) in [
            ("n_neighbours", CoVisitationConfig { n_neighbours: 0, ..plain() }),
            ("distance_half_life", CoVisitationConfig { distance_half_life: Some(0.0), ..plain() }),
            ("time_half_life", CoVisitationConfig { time_half_life: Some(f32::NAN), ..plain() }),
            ("backward", CoVisitationConfig { backward: -1.0, ..plain() }),
            ("popularity_exponent", CoVisitationConfig { popularity_exponent: 2.0, ..plain() }),
            ("::half_life", CoVisitationConfig { half_life: Some(-1.0), ..plain() }),
        ] {
            assert!(refused(config).contains(field), "{field}");
        }
    }

    #[test]
    fn comes_back_from_json() {
        let fitted = CoVisitationRecaller::fit(&table(&ROWS), &CoVisitationConfig::default()).unwrap();
        let json = serde_json::to_string(&fitted).unwrap();
        assert_eq!(serde_json::from_str::<CoVisitationRecaller>(&json).unwrap(), fitted);
        let altered = json.replace("\"half_life\":3.0", "\"half_life\":0.0");
        assert!(altered != json && serde_json::from_str::<CoVisitationRecaller>(&altered).is_err());
    }

    proptest! {
        /// Looking back with the weight of looking forward, a counts for b what b counts for a.
        #[test]
        fn both_directions_alike_are_symmetric(rows in prop::collection::vec((0u32..4, 0u32..5, 0i64..9), 0..30)) {
            let config = CoVisitationConfig { distance_half_life: Some(2.0), window: 3, ..plain() };
            let fitted = CoVisitationRecaller::fit(&table(&rows), &config).unwrap();
            let similarity = |a, b| {
                let row = fitted.similar_items(ItemId(a), 9, &ItemFilter::all()).unwrap();
                row.iter().find(|other| other.item == ItemId(b)).map_or(0.0, |other| other.score)
            };
            for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))) {
                prop_assert!((similarity(a, b) - similarity(b, a)).abs() < 1e-5);
            }
        }
    }
}
