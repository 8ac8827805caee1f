use serde::{Deserialize, Serialize};

use crate::data::{Interaction, Interactions};
use crate::error::{Error, Location, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::{TopK, by_score};

/// Recommends to everybody what most chose: score(item) = the item's interactions / all interactions, as often as they
/// happened, by their [values](Self::fit_values) or by their [age](Self::fit_recent).
///
/// The baseline that every other recaller must beat, and the answer to a user of whom nothing is known.
/// Items that nobody chose have score 0 and come last, by id.
///
/// ```
/// use recsys::models::recall::PopularityRecaller;
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 5.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 3, [row(0, 2), row(1, 2), row(1, 0), row(0, 0)])?;
/// let popularity = PopularityRecaller::fit(&train);
/// let answer = popularity.recall(&Query::new(&[ItemId(2)]).excluding([ItemId(2)]), 5)?;
/// assert_eq!(answer, [Candidate::new(ItemId(0), 0.5), Candidate::new(ItemId(1), 0.0)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f32>", into = "Vec<f32>")]
pub struct PopularityRecaller {
    /// The score of each item.
    scores: Vec<f32>,
    /// All items, best first.
    order: Vec<ItemId>,
}

impl PopularityRecaller {
    /// Counts the interactions of each item.
    pub fn fit(interactions: &Interactions) -> Self {
        Self::from_weights(interactions, |_| 1.0)
    }

    /// Counts the interactions of each item, older ones for less: 2^(−age / `half_life`), with the age of an interaction
    /// the time from it to the newest of all. `half_life` is in the units of the time stamps, seconds mostly.
    ///
    /// # Errors
    /// A half-life that is not a finite number above 0.
    pub fn fit_recent(interactions: &Interactions, half_life: f64) -> Result<Self> {
        if !(half_life > 0.0 && half_life.is_finite()) {
            return Err(Error::config("PopularityRecaller::half_life", "a finite number above 0", half_life));
        }
        let newest = interactions.timestamps().iter().copied().max().unwrap_or(0);
        let weight = |row: Interaction| (-((newest - row.timestamp) as f64) / half_life).exp2();
        Ok(Self::from_weights(interactions, weight))
    }

    /// Sums the values of each item's interactions (play counts, watched minutes) in place of counting
    /// them.
    ///
    /// # Errors
    /// A negative value.
    pub fn fit_values(interactions: &Interactions) -> Result<Self> {
        if let Some(row) = interactions.values().iter().position(|&value| value < 0.0) {
            let place = Location::memory().line(row as u64 + 1).column("value");
            return Err(Error::input(place, "a value of 0 or more", interactions.values()[row].to_string()));
        }
        Ok(Self::from_weights(interactions, |row| row.value.into()))
    }

    fn from_weights(interactions: &Interactions, weight: impl Fn(Interaction) -> f64) -> Self {
        let mut sums = vec![0.0; interactions.n_items()];
        interactions.iter().for_each(|row| sums[row.item.index()] += weight(row));
        let total: f64 = sums.iter().sum();
        let share = |sum: f64| if total > 0.0 { (sum / total) as f32 } else { 0.0 };
        Self::from_scores(sums.into_iter().map(share).collect())
    }

    fn from_scores(scores: Vec<f32>) -> Self {
        let mut order: Vec<ItemId> = (0..scores.len() as u32).map(ItemId).collect();
        order.sort_unstable_by(|&a, &b| by_score((a, scores[a.index()]), (b, scores[b.index()])));
        Self { scores, order }
    }

    /// Each item's share of all interactions, by item id.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    fn candidate(&self, item: ItemId) -> Candidate {
        Candidate::new(item, self.scores[item.index()])
    }

    /// Walks the catalogue from the best item on, until k are admitted.
    fn walk(&self, filter: &ItemFilter, k: usize) -> Vec<Candidate> {
        let admitted = self.order.iter().filter(|&&item| filter.admits(item));
        admitted.take(k).map(|&item| self.candidate(item)).collect()
    }

    /// Looks at the allowed items only, however large the catalogue is.
    fn select(&self, allowed: &[ItemId], filter: &ItemFilter, k: usize) -> Vec<Candidate> {
        let mut top = TopK::new(k);
        for &item in allowed.iter().filter(|&&item| filter.admits(item)) {
            top.push(item, self.scores[item.index()]);
        }
        top.into_sorted().into_iter().map(|(item, score)| Candidate::new(item, score)).collect()
    }
}

impl Recaller for PopularityRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.scores.len())?;
        let filter = query.filter();
        Ok(match filter.allowed() {
            Some(allowed) => self.select(allowed, filter, k),
            None => self.walk(filter, k),
        })
    }
}

impl From<PopularityRecaller> for Vec<f32> {
    fn from(recaller: PopularityRecaller) -> Self {
        recaller.scores
    }
}

impl TryFrom<Vec<f32>> for PopularityRecaller {
    type Error = Error;

    fn try_from(scores: Vec<f32>) -> Result<Self> {
        match scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
            Some(row) => {
                let place = Location::memory().line(row as u64 + 1).column("score");
                Err(Error::input(place, "a share from 0 to 1", scores[row].to_string()))
            }
            None => Ok(Self::from_scores(scores)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::UserId;

    fn table(n_items: usize, rows: &[(u32, f32)]) -> Interactions {
        let rows = rows.iter().map(|&(item, value)| Interaction {
            user: UserId(0),
            item: ItemId(item),
            value,
            timestamp: 0,
        });
        Interactions::from_rows(1, n_items, rows).unwrap()
    }

    fn items(answer: &[Candidate]) -> Vec<u32> {
        answer.iter().map(|candidate| candidate.item.0).collect()
    }

    #[test]
    fn shares_of_counts_and_of_values() {
        let table = table(4, &[(1, 1.0), (3, 0.5), (3, 0.5), (2, 6.0)]);
        assert_eq!(PopularityRecaller::fit(&table).scores(), [0.0, 0.25, 0.25, 0.5]);
        let by_value = PopularityRecaller::fit_values(&table).unwrap();
        assert_eq!(by_value.scores(), [0.0, 0.125, 0.75, 0.125]);
        let answer = by_value.recall(&Query::default(), 9).unwrap();
        assert_eq!(items(&answer), [2, 1, 3, 0], "a tie goes to the smaller id");
    }

    #[test]
    fn older_interactions_count_less() {
        let rows = [(0, 10), (0, 20), (1, 30), (1, 40)].map(|(item, timestamp)| Interaction {
            user: UserId(0),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        });
        let table = Interactions::from_rows(1, 3, rows).unwrap();
        // Weights of 1/8, 1/4, 1/2 and 1.
        let recent = PopularityRecaller::fit_recent(&table, 10.0).unwrap();
        assert_eq!(recent.scores(), [0.2, 0.8, 0.0]);
        let slow = PopularityRecaller::fit_recent(&table, 1e300).unwrap();
        assert_eq!(slow, PopularityRecaller::fit(&table));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = PopularityRecaller::fit_recent(&table, bad).unwrap_err().to_string();
            assert!(error.contains("PopularityRecaller::half_life"), "{error}");
        }
    }

    #[test]
    fn no_interactions_leave_the_order_of_ids() {
        for recaller in [
            PopularityRecaller::fit(&table(3, &[])),
            PopularityRecaller::fit_recent(&table(3, &[]), 1.0).unwrap(),
            PopularityRecaller::fit_values(&table(3, &[(1, 0.0)])).unwrap(),
        ] {
            assert_eq!(items(&recaller.recall(&Query::default(), 2).unwrap()), [0, 1]);
        }
    }

    #[test]
    fn bad_input_is_named() {
        let error = PopularityRecaller::fit_values(&table(2, &[(0, 1.0), (1, -2.0)])).unwrap_err();
        assert_eq!(error.to_string(), "input, line 2, column value: expected a value of 0 or more, found -2");
        let recaller = PopularityRecaller::fit(&table(2, &[]));
        let query = Query::new(&[ItemId(2)]);
        assert_eq!(recaller.recall(&query, 1).unwrap_err().to_string(), "item id 2 is not below 2");
    }

    #[test]
    fn comes_back_from_json() {
        let recaller = PopularityRecaller::fit(&table(9, &[(1, 1.0), (8, 1.0), (8, 1.0)]));
        let json = serde_json::to_string(&recaller).unwrap();
        assert_eq!(serde_json::from_str::<PopularityRecaller>(&json).unwrap(), recaller);
        for bad in ["[0.5, -0.5]", "[2.0]", "[null]", "{}"] {
            assert!(serde_json::from_str::<PopularityRecaller>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn walking_equals_selecting(
            rows in prop::collection::vec((0u32..12, 0f32..3.0), 0..40),
            denied in prop::collection::vec((0u32..12).prop_map(ItemId), 0..8),
            allowed in prop::collection::vec((0u32..12).prop_map(ItemId), 0..12),
            k in 0usize..15,
        ) {
            let recaller = PopularityRecaller::fit_values(&table(12, &rows)).unwrap();
            let filter = ItemFilter::all().deny(denied).allow(allowed);
            let selected = recaller.select(filter.allowed().unwrap(), &filter, k);
            prop_assert_eq!(recaller.walk(&filter, k), selected);
        }
    }
}
