//! Item-based collaborative filtering: Sarwar et al. 2001, "Item-based collaborative filtering recommendation
//! algorithms"; Deshpande & Karypis 2004, "Item-based top-n recommendation algorithms".
//!
//! With U_i the users who chose item i, I_u the items that user u chose, and user weights w_u = |I_u|^(−γ),
//!
//! - n_ij = Σ w_u over U_i ∩ U_j, and n_i = n_ii;
//! - sim(j, i) = n_ij / (n_j^(1−α) n_i^α) · n_ij / (n_ij + h);
//! - score(i) = Σ 2^(−a_j / half-life) sim(j, i) over the distinct items j of the history, with a_j the number of
//!   items that came after j, of whose similarities only the greatest are kept.
//!
//! α = ½ is the cosine of 0-1 vectors (Sarwar et al., section 3.1.1), every other α the asymmetric cosine (Aiolli 2013,
//! "Efficient top-N recommendation for very large scale binary rated datasets"), between the two conditional
//! probabilities of Deshpande & Karypis (section 4.1.2). γ = 1 is the cosine of users of unit length (the same, section
//! 4.1.1): those who chose little tell more. h shrinks what few users support (Bell & Koren 2007).

use serde::{Deserialize, Serialize};

use crate::data::{Incidence, Interactions, ItemSimilarities, check_half_life};
use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId, UserId};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::TopK;

/// The settings of an [`ItemKnnRecaller`]. The defaults suit MovieLens 1M, where recent items tell most.
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `n_neighbours` | 200 | ≥ 1 | similarities kept for each item; more costs memory and time |
/// | `popularity_exponent` | 0.6 | 0..=1 | α: more favours the tail, less what is popular |
/// | `user_exponent` | 1 | 0..=1 | γ: more makes users with long histories count less |
/// | `shrinkage` | 0 | ≥ 0 | h, in users: less trust in similarities that few of them support |
/// | `half_life` | 3 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemKnnConfig {
    /// The similarities kept for each item.
    pub n_neighbours: usize,
    /// α, the share of the norm that falls to the recommended item.
    pub popularity_exponent: f32,
    /// γ: a user counts by the number of their items to the power −γ.
    pub user_exponent: f32,
    /// h, the number of users whose support halves a similarity.
    pub shrinkage: f32,
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
}

impl Default for ItemKnnConfig {
    fn default() -> Self {
        Self {
            n_neighbours: 200,
            popularity_exponent: 0.6,
            user_exponent: 1.0,
            shrinkage: 0.0,
            half_life: Some(3.0),
        }
    }
}

impl ItemKnnConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.n_neighbours == 0 {
            return Err(Error::config("ItemKnnConfig::n_neighbours", "at least 1", 0));
        }
        for (field, exponent) in [
            ("ItemKnnConfig::popularity_exponent", self.popularity_exponent),
            ("ItemKnnConfig::user_exponent", self.user_exponent),
        ] {
            if !(0.0..=1.0).contains(&exponent) {
                return Err(Error::config(field, "a number in 0..=1", exponent));
            }
        }
        if !(self.shrinkage >= 0.0 && self.shrinkage.is_finite()) {
            return Err(Error::config(
                "ItemKnnConfig::shrinkage",
                "a finite number of 0 or more",
                self.shrinkage,
            ));
        }
        check_half_life("ItemKnnConfig::half_life", self.half_life)
    }
}

/// Recommends what is similar to the items of the history.
///
/// An item that is similar to none of them is no candidate, so that an answer may hold fewer than `k`, and
/// none at all for an empty history.
///
/// Fitting takes time for each pair of items in each user's history. Beside the interactions (16 bytes each) it holds one
/// row of sums for each thread, 8 bytes an item, and 8 bytes for each similarity kept; never all pairs of items.
///
/// ```
/// use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller};
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(3, 3, [row(0, 0), row(0, 1), row(1, 0), row(1, 1), row(2, 2)])?;
/// let knn = ItemKnnRecaller::fit(&train, &ItemKnnConfig::default())?;
/// let answer = knn.recall(&Query::new(&[ItemId(0)]).excluding([ItemId(0)]), 5)?;
/// assert_eq!(answer.iter().map(|candidate| candidate.item).collect::<Vec<_>>(), [ItemId(1)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemKnnRecaller(ItemSimilarities);

impl ItemKnnRecaller {
    /// Finds the items most similar to each.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn fit(interactions: &Interactions, config: &ItemKnnConfig) -> Result<Self> {
        config.validate()?;
        let chosen = Incidence::new(interactions);
        let power = |x: f64, exponent: f32| x.powf(f64::from(exponent));
        let user_weight = |items: &[ItemId]| power(items.len() as f64, -config.user_exponent);
        let weights: Vec<f64> = chosen.items().rows().map(user_weight).collect();
        let norms = |exponent: f32| -> Vec<f64> {
            let total = |users: &[UserId]| users.iter().map(|user| weights[user.index()]).sum();
            chosen.users().rows().map(|users| power(total(users), exponent)).collect()
        };
        let (of, towards) = (norms(1.0 - config.popularity_exponent), norms(config.popularity_exponent));
        let shrinkage = f64::from(config.shrinkage);
        let similarities =
            ItemSimilarities::compute(interactions.n_items(), config.half_life, |item, sums| {
                let mut top = TopK::new(config.n_neighbours);
                for (other, n) in chosen.co_occurrences(item, |user| weights[user.index()], sums) {
                    if other != item {
                        let cosine = n / (of[item.index()] * towards[other.index()]);
                        top.push(other, (cosine * n / (n + shrinkage)) as f32);
                    }
                }
                top.into_sorted()
            });
        Ok(Self(similarities))
    }

    /// The `k` admissible items most similar to `item`, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        self.0.nearest(item, k, filter)
    }
}

impl Recaller for ItemKnnRecaller {
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

    fn table(rows: &[(u32, u32)]) -> Interactions {
        let row = |&(user, item): &(u32, u32)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp: 0,
        };
        Interactions::from_rows(4, 5, rows.iter().map(row)).unwrap()
    }

    /// Item 0: users 0, 1, 2; item 1: users 0, 1 (user 1 twice); item 2: user 2; item 3: user 3; item 4: none.
    const ROWS: [(u32, u32); 8] = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (1, 1), (2, 2), (3, 3)];

    fn fit(config: &ItemKnnConfig) -> ItemKnnRecaller {
        ItemKnnRecaller::fit(&table(&ROWS), config).unwrap()
    }

    fn plain() -> ItemKnnConfig {
        ItemKnnConfig {
            n_neighbours: 9,
            popularity_exponent: 0.5,
            user_exponent: 0.0,
            shrinkage: 0.0,
            half_life: None,
        }
    }

    fn similarities(config: &ItemKnnConfig, item: u32) -> Vec<(u32, f32)> {
        let found = fit(config).similar_items(ItemId(item), 9, &ItemFilter::all()).unwrap();
        found.into_iter().map(|candidate| (candidate.item.0, candidate.score)).collect()
    }

    #[test]
    fn similarities_are_cosines_of_distinct_users() {
        let found = similarities(&plain(), 0);
        assert_eq!(found.iter().map(|&(item, _)| item).collect::<Vec<_>>(), [1, 2]);
        assert_relative_eq!(found[0].1, 2.0 / 6f32.sqrt());
        assert_relative_eq!(found[1].1, 1.0 / 3f32.sqrt());
        assert!(similarities(&plain(), 3).is_empty());
        assert!(fit(&plain()).similar_items(ItemId(5), 9, &ItemFilter::all()).is_err());
        // The items of the history count once each, and scores add up.
        let answer = fit(&plain()).recall(&Query::new(&[ItemId(1), ItemId(2), ItemId(1)]), 1).unwrap();
        assert_eq!(answer[0].item, ItemId(0));
        assert_relative_eq!(answer[0].score, 2.0 / 6f32.sqrt() + 1.0 / 3f32.sqrt());
    }

    #[test]
    fn each_setting_by_hand() {
        let asymmetric = ItemKnnConfig { popularity_exponent: 0.25, ..plain() };
        assert_relative_eq!(similarities(&asymmetric, 0)[0].1, 2.0 / (3f32.powf(0.75) * 2f32.powf(0.25)));
        assert_relative_eq!(similarities(&asymmetric, 1)[0].1, 2.0 / (2f32.powf(0.75) * 3f32.powf(0.25)));
        let shrunk = ItemKnnConfig { shrinkage: 3.0, ..plain() };
        assert_relative_eq!(similarities(&shrunk, 0)[0].1, 2.0 / 6f32.sqrt() * 2.0 / 5.0);
        // Users 0, 1 and 2 have two items each and so count half; the cosine does not change, the shrinkage does.
        let by_user = ItemKnnConfig { user_exponent: 1.0, shrinkage: 3.0, ..plain() };
        assert_relative_eq!(similarities(&by_user, 0)[0].1, 2.0 / 6f32.sqrt() * 1.0 / 4.0);
        let recent = ItemKnnConfig { half_life: Some(1.0), ..plain() };
        let answer = fit(&recent).recall(&Query::new(&[ItemId(1), ItemId(2)]), 1).unwrap();
        assert_relative_eq!(answer[0].score, 0.5 * 2.0 / 6f32.sqrt() + 1.0 / 3f32.sqrt());
    }

    #[test]
    fn only_the_nearest_are_kept() {
        let config = ItemKnnConfig { n_neighbours: 1, ..plain() };
        let answer = fit(&config).recall(&Query::new(&[ItemId(0)]), 9).unwrap();
        assert_eq!(answer.iter().map(|candidate| candidate.item.0).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let refused =
            |config: ItemKnnConfig| ItemKnnRecaller::fit(&table(&[]), &config).unwrap_err().to_string();
        let error = refused(ItemKnnConfig { n_neighbours: 0, ..plain() });
        assert_eq!(error, "ItemKnnConfig::n_neighbours: expected at least 1, found 0");
        assert!(
            refused(ItemKnnConfig { popularity_exponent: 1.5, ..plain() }).contains("popularity_exponent")
        );
        assert!(refused(ItemKnnConfig { user_exponent: f32::NAN, ..plain() }).contains("user_exponent"));
        assert!(refused(ItemKnnConfig { shrinkage: -1.0, ..plain() }).contains("shrinkage"));
        assert!(refused(ItemKnnConfig { half_life: Some(0.0), ..plain() }).contains("half_life"));
    }

    #[test]
    fn comes_back_from_json() {
        let knn = fit(&ItemKnnConfig { half_life: Some(3.0), ..plain() });
        let json = serde_json::to_string(&knn).unwrap();
        assert_eq!(serde_json::from_str::<ItemKnnRecaller>(&json).unwrap(), knn);
        assert!(serde_json::from_str::<ItemKnnRecaller>(&json.replace("3.0", "-3.0")).is_err());
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_of_the_rows_matters(
            mut rows in prop::collection::vec((0u32..4, 0u32..5), 1..30),
            turn in 0usize..30,
        ) {
            let config = ItemKnnConfig { user_exponent: 0.5, shrinkage: 1.0, ..plain() };
            let before = ItemKnnRecaller::fit(&table(&rows), &config).unwrap();
            let turn = turn % rows.len();
            rows.rotate_left(turn);
            rows.push(rows[0]);
            prop_assert_eq!(ItemKnnRecaller::fit(&table(&rows), &config).unwrap(), before);
        }
    }
}
