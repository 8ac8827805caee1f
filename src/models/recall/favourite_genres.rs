//! Popularity within the user's favourite genres.
//!
//! With p(g | i) the distribution of item i over its genres g (each of its genres alike), n_i the number of its
//! interactions, and the weights w_j = 2^(−a_j / half-life) of the distinct items j of the history that have a genre,
//! where a_j is the number of items that came after j,
//!
//! - p(g | u) = Σ_j w_j p(g | j) / Σ_j w_j, the user's distribution (with equal weights Steck 2018, "Calibrated
//!   recommendations", equation 2);
//! - p(i | g) = p(g | i) n_i / Σ_j p(g | j) n_j, popularity within a genre: an interaction falls to each of its item's
//!   genres in part;
//! - score(i) = Σ_g p(g | u) p(i | g).
//!
//! Scores of all items add up to 1, less the share of genres of which nothing was ever chosen.

use serde::{Deserialize, Serialize};

use crate::data::{Csr, Interactions, InvertedIndex, SparseAccumulator, check_half_life, recency_weights};
use crate::error::{Error, ErrorKind, Result};
use crate::features::ItemFeatures;
use crate::ids::ItemId;
use crate::pipeline::{Candidate, Query, Recaller};

/// The settings of a [`FavouriteGenresRecaller`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `half_life` | 3 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FavouriteGenresConfig {
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
}

impl Default for FavouriteGenresConfig {
    fn default() -> Self {
        Self { half_life: Some(3.0) }
    }
}

impl FavouriteGenresConfig {
    /// Checks the setting against its range.
    ///
    /// # Errors
    /// A half-life outside its range.
    pub fn validate(&self) -> Result<()> {
        check_half_life("FavouriteGenresConfig::half_life", self.half_life)
    }
}

/// Recommends what is popular among the items of the genres that the history is of.
///
/// Genres may be any other keys: categories, brands, authors. Who has no history, or one of items without a genre, gets no
/// candidates; no candidate either is an item that has no genre or that nobody chose. The model takes 12 bytes for each
/// genre of each item.
///
/// ```
/// use recsys::models::recall::{FavouriteGenresConfig, FavouriteGenresRecaller};
/// use recsys::prelude::*;
///
/// let genres = ItemFeatures::new(2, [[0], [1], [1], [0]])?;
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 4, [row(0, 0), row(0, 1), row(1, 1), row(1, 2)])?;
/// let model = FavouriteGenresRecaller::fit(&train, genres, &FavouriteGenresConfig::default())?;
/// let answer = model.recall(&Query::new(&[ItemId(2)]), 5)?;
/// assert_eq!(answer[0], Candidate::new(ItemId(1), 2.0 / 3.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct FavouriteGenresRecaller {
    saved: Saved,
    /// The items of each genre, with p(i | g).
    items: InvertedIndex,
}

/// What is saved of a model; the rest follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: FavouriteGenresConfig,
    genres: ItemFeatures,
    /// The number of interactions of each item.
    counts: Vec<u32>,
}

impl FavouriteGenresRecaller {
    /// Counts the interactions of each item.
    ///
    /// # Errors
    /// A setting outside its range, genres of another number of items, or an item that has a genre twice.
    pub fn fit(
        interactions: &Interactions,
        genres: ItemFeatures,
        config: &FavouriteGenresConfig,
    ) -> Result<Self> {
        let mut counts = vec![0; interactions.n_items()];
        interactions.items().iter().for_each(|item| counts[item.index()] += 1);
        Saved { config: config.clone(), genres: genres.without_vectors(), counts }.try_into()
    }

    /// p(g | u) of the genres of a history; nothing where none is known.
    fn favourites(&self, history: &[ItemId]) -> Vec<(u32, f64)> {
        let mut shares = SparseAccumulator::new(self.items.n_terms());
        let mut total = 0.0;
        for (item, weight) in recency_weights(history, self.saved.config.half_life) {
            let genres = self.saved.genres.get(item).unwrap_or_default();
            genres.iter().for_each(|&genre| shares.add(genre, f64::from(weight) * share(genres)));
            total += if genres.is_empty() { 0.0 } else { f64::from(weight) };
        }
        shares.drain().map(|(genre, sum)| (genre, sum / total)).collect()
    }
}

/// p(g | i) of each genre g of an item.
fn share(genres: &[u32]) -> f64 {
    1.0 / genres.len() as f64
}

/// p(i | g) of each genre g of each item i that was chosen.
fn popularity(genres: &ItemFeatures, counts: &[u32]) -> Csr<ItemId, (u32, f32)> {
    let mut totals = vec![0.0; genres.n_features()];
    let part = |of_item: &[u32], n: u32| share(of_item) * f64::from(n);
    for (of_item, &n) in genres.iter().zip(counts) {
        of_item.iter().for_each(|&genre| totals[genre as usize] += part(of_item, n));
    }
    let totals = &totals;
    Csr::from_rows(genres.iter().zip(counts).map(|(of_item, &n)| {
        let chosen = of_item.iter().filter(move |_| n > 0);
        chosen.map(move |&genre| (genre, (part(of_item, n) / totals[genre as usize]) as f32))
    }))
}

impl Recaller for FavouriteGenresRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.items.n_items())?;
        Ok(self.items.top_k(self.favourites(query.history()), k, query.filter()))
    }
}

impl From<FavouriteGenresRecaller> for Saved {
    fn from(model: FavouriteGenresRecaller) -> Self {
        model.saved
    }
}

impl TryFrom<Saved> for FavouriteGenresRecaller {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { config, genres, counts } = &saved;
        config.validate()?;
        genres.check_distinct()?;
        let (expected, found) = (counts.len(), genres.n_items());
        if expected != found {
            return Err(
                ErrorKind::LengthMismatch { what: "number of items with genres", expected, found }.into()
            );
        }
        let items = InvertedIndex::new(genres.n_features(), &popularity(genres, counts));
        Ok(Self { items, saved })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::data::Interaction;
    use crate::ids::UserId;

    /// Items 0 to 4 of genres {0}, {0, 1}, {1}, none and {2}, chosen 1, 2, 3, 4 and 0 times.
    fn fit(half_life: Option<f32>) -> FavouriteGenresRecaller {
        let genres = ItemFeatures::new(3, [&[0][..], &[0, 1], &[1], &[], &[2]]).unwrap();
        let rows = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3].map(|item| Interaction {
            user: UserId(0),
            item: ItemId(item),
            value: 1.0,
            timestamp: 0,
        });
        let interactions = Interactions::from_rows(1, 5, rows).unwrap();
        FavouriteGenresRecaller::fit(&interactions, genres, &FavouriteGenresConfig { half_life }).unwrap()
    }

    /// The scores of items 0, 1 and 2; no other item is ever a candidate.
    fn scores(half_life: Option<f32>, history: &[u32]) -> [f32; 3] {
        let history: Vec<ItemId> = history.iter().copied().map(ItemId).collect();
        let answer = fit(half_life).recall(&Query::new(&history), 9).unwrap();
        assert!(answer.iter().all(|candidate| candidate.item.0 < 3), "{answer:?}");
        let score = |item| answer.iter().find(|candidate| candidate.item == ItemId(item));
        std::array::from_fn(|item| score(item as u32).map_or(0.0, |candidate| candidate.score))
    }

    #[test]
    fn scores_by_hand() {
        // Within genre 0: 1 / 2 and 1 / 2; within genre 1: 1 / 4 and 3 / 4.
        for (half_life, history, expected) in [
            (None, &[0][..], [0.5, 0.5, 0.0]),
            (None, &[2], [0.0, 0.25, 0.75]),
            (None, &[1, 3], [0.25, 0.375, 0.375]),
            (None, &[0, 0, 0, 2], [0.25, 0.375, 0.375]),
            (Some(1.0), &[0, 2], [1.0 / 6.0, 1.0 / 3.0, 0.5]),
            (Some(1.0), &[0, 3, 2], [0.1, 0.3, 0.6]),
            // A quarter of this taste is for genre 2, of which nothing was ever chosen.
            (None, &[0, 4, 2, 1], [0.1875, 0.28125, 0.28125]),
            (None, &[3], [0.0; 3]),
            (None, &[], [0.0; 3]),
        ] {
            for (found, expected) in scores(half_life, history).into_iter().zip(expected) {
                assert_relative_eq!(found, expected, epsilon = 1e-6);
            }
        }
    }

    #[test]
    fn bad_input_is_named() {
        let fit = |genres: ItemFeatures, half_life| {
            let interactions = Interactions::from_rows(1, 2, []).unwrap();
            let config = FavouriteGenresConfig { half_life };
            FavouriteGenresRecaller::fit(&interactions, genres, &config).unwrap_err().to_string()
        };
        let other = fit(ItemFeatures::none(3), None);
        assert_eq!(other, "number of items with genres: expected 2, found 3");
        assert!(fit(ItemFeatures::none(2), Some(-1.0)).contains("FavouriteGenresConfig::half_life"));
        let twice = ItemFeatures::new(1, [&[0, 0][..], &[]]).unwrap();
        assert!(fit(twice, None).contains("distinct"));
    }

    #[test]
    fn comes_back_from_json() {
        let model = fit(Some(3.0));
        let json = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<FavouriteGenresRecaller>(&json).unwrap(), model);
        for (good, bad) in [("[1,2,3,4,0]", "[1,2,3,4]"), ("3.0", "0.0"), ("[1,2,3,4,0]", "[1,2,3,4,-1]")] {
            assert!(json.contains(good), "{good} in {json}");
            assert!(serde_json::from_str::<FavouriteGenresRecaller>(&json.replace(good, bad)).is_err());
        }
    }
}
