//! Content-based recommendation with TF-IDF vectors: Salton & Buckley 1988, "Term-weighting approaches in automatic text
//! retrieval".
//!
//! With n(t, i) how often item i has term t, N the number of items that have a term and df(t) how many have t,
//!
//! - tf(t, i) = 1 + ln n(t, i), and idf(t) = ln((1 + N) / (1 + df(t))) + 1;
//! - x_i = (tf(t, i) · idf(t))_t, brought to length 1;
//! - p = Σ 2^(−a_j / half-life) x_j over the distinct items j of the history, with a_j the number of items that came
//!   after j: the mean of their vectors, up to its length;
//! - score(i) = cos(p, x_i), from 0 to 1.
//!
//! Each part answers one of the paper's three questions: how a term counts within a document, in the collection, and for
//! documents of different length (its "tfc", with the logarithm of repetitions and with idf that is never 0).

use serde::{Deserialize, Serialize};

use crate::data::{Csr, InvertedIndex, SparseAccumulator, check_half_life, recency_weights};
use crate::error::{Error, Result};
use crate::features::ItemFeatures;
use crate::ids::{ItemFilter, ItemId};
use crate::pipeline::{Candidate, Query, Recaller};

/// The settings of a [`ContentRecaller`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `half_life` | 2 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContentConfig {
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
}

impl Default for ContentConfig {
    fn default() -> Self {
        Self { half_life: Some(2.0) }
    }
}

impl ContentConfig {
    /// Checks the setting against its range.
    ///
    /// # Errors
    /// A half-life outside its range.
    pub fn validate(&self) -> Result<()> {
        check_half_life("ContentConfig::half_life", self.half_life)
    }
}

/// Recommends what is described by the same terms as the items of the history.
///
/// It knows no interactions: an item that nobody chose yet is found like any other. An item that shares no term with the
/// history is no candidate. The model takes 20 bytes for each distinct term of each item; a query reads the items of the
/// history's terms.
///
/// ```
/// use recsys::models::recall::{ContentConfig, ContentRecaller};
/// use recsys::prelude::*;
///
/// let films = ItemFeatures::words(&["Alien Horror Sci-Fi", "Heat Crime", "Solaris Drama Sci-Fi"]);
/// let content = ContentRecaller::fit(&films, &ContentConfig::default())?;
/// let answer = content.recall(&Query::new(&[ItemId(0)]).excluding([ItemId(0)]), 5)?;
/// assert_eq!(answer.iter().map(|candidate| candidate.item).collect::<Vec<_>>(), [ItemId(2)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct ContentRecaller {
    saved: Saved,
    /// x_i of each item i.
    vectors: Csr<ItemId, (u32, f32)>,
    index: InvertedIndex,
}

/// What is saved of a model; the rest follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: ContentConfig,
    terms: ItemFeatures,
}

impl ContentRecaller {
    /// Weighs the terms of each item: its [words](ItemFeatures::words), or its categories; a term that an item has
    /// several times counts for more.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn fit(terms: &ItemFeatures, config: &ContentConfig) -> Result<Self> {
        Saved { config: config.clone(), terms: terms.clone().without_vectors() }.try_into()
    }

    /// The `k` admissible items with the highest cosines to `item`, without the item itself.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        Query::new(&[item]).check_items(self.index.n_items())?;
        Ok(self.nearest(&[(item, 1.0)], k, &filter.clone().deny([item])))
    }

    /// The items with the highest cosines to the weighted sum of these items' vectors.
    fn nearest(&self, items: &[(ItemId, f32)], k: usize, filter: &ItemFilter) -> Vec<Candidate> {
        let mut sums = SparseAccumulator::new(self.index.n_terms());
        for &(item, weight) in items {
            let vector = self.vectors.row(item).iter();
            vector.for_each(|&(term, x)| sums.add(term, f64::from(weight) * f64::from(x)));
        }
        let profile: Vec<(u32, f64)> = sums.drain().collect();
        let length = profile.iter().map(|(_, x)| x * x).sum::<f64>().sqrt();
        self.index.top_k(profile.into_iter().map(|(term, x)| (term, x / length)), k, filter)
    }
}

/// Each distinct term of a list with the number of its places.
fn counts(terms: &[u32]) -> Vec<(u32, usize)> {
    let mut terms = terms.to_vec();
    terms.sort_unstable();
    terms.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// The TF-IDF vector of each item, of length 1.
fn vectors(terms: &ItemFeatures) -> Csr<ItemId, (u32, f32)> {
    let counts: Vec<_> = terms.iter().map(counts).collect();
    let n_described = counts.iter().filter(|counts| !counts.is_empty()).count() as f64;
    let mut n_with = vec![0u32; terms.n_features()];
    counts.iter().flatten().for_each(|&(term, _)| n_with[term as usize] += 1);
    let tf_idf = |term: u32, n: usize| {
        let idf = ((1.0 + n_described) / (1.0 + f64::from(n_with[term as usize]))).ln() + 1.0;
        (1.0 + (n as f64).ln()) * idf
    };
    Csr::from_rows(counts.into_iter().map(|counts| {
        let weights: Vec<f64> = counts.iter().map(|&(term, n)| tf_idf(term, n)).collect();
        let length = weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt();
        counts.into_iter().zip(weights).map(move |((term, _), weight)| (term, (weight / length) as f32))
    }))
}

impl Recaller for ContentRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.index.n_items())?;
        let history = recency_weights(query.history(), self.saved.config.half_life);
        Ok(self.nearest(&history, k, query.filter()))
    }
}

impl From<ContentRecaller> for Saved {
    fn from(model: ContentRecaller) -> Self {
        model.saved
    }
}

impl TryFrom<Saved> for ContentRecaller {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        saved.config.validate()?;
        let vectors = vectors(&saved.terms);
        let index = InvertedIndex::new(saved.terms.n_features(), &vectors);
        Ok(Self { saved, vectors, index })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N_TERMS: usize = 6;

    fn fit(items: &[Vec<u32>], half_life: Option<f32>) -> ContentRecaller {
        let terms = ItemFeatures::new(N_TERMS, items).unwrap();
        ContentRecaller::fit(&terms, &ContentConfig { half_life }).unwrap()
    }

    /// The vector of each item by the formulas, one number for each term.
    fn reference(items: &[Vec<u32>]) -> Vec<[f64; N_TERMS]> {
        let n = |item: &[u32], term: usize| item.iter().filter(|&&t| t as usize == term).count() as f64;
        let n_described = items.iter().filter(|item| !item.is_empty()).count() as f64;
        let df = |term| items.iter().filter(|item| n(item, term) > 0.0).count() as f64;
        let weight = |item: &[u32], term| match n(item, term) {
            0.0 => 0.0,
            n => (1.0 + n.ln()) * (((1.0 + n_described) / (1.0 + df(term))).ln() + 1.0),
        };
        let row = |item: &Vec<u32>| {
            let weights: [f64; N_TERMS] = std::array::from_fn(|term| weight(item, term));
            let length = weights.iter().map(|x| x * x).sum::<f64>().sqrt();
            weights.map(|x| if length > 0.0 { x / length } else { 0.0 })
        };
        items.iter().map(row).collect()
    }

    fn cosine(a: &[f64], b: &[f64]) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
    }

    proptest! {
        #[test]
        fn scores_are_cosines_of_tf_idf(
            items in prop::collection::vec(prop::collection::vec(0u32..N_TERMS as u32, 0..6), 1..9),
            history in prop::collection::vec(0usize..9, 0..5),
            half_life in prop::option::of(0.5f32..9.0),
        ) {
            let n_items = items.len();
            let history: Vec<usize> = history.into_iter().map(|item| item % n_items).collect();
            let vectors = reference(&items);
            let mut profile = [0.0; N_TERMS];
            for (place, &item) in history.iter().enumerate().filter(|&(at, item)| !history[at + 1..].contains(item)) {
                let age = (history.len() - 1 - place) as f64;
                let weight = half_life.map_or(1.0, |half_life| (-age / f64::from(half_life)).exp2());
                profile.iter_mut().zip(vectors[item]).for_each(|(sum, x)| *sum += weight * x);
            }
            let query: Vec<ItemId> = history.iter().map(|&item| ItemId(item as u32)).collect();
            let answer = fit(&items, half_life).recall(&Query::new(&query), n_items).unwrap();
            for (item, vector) in (0..).map(ItemId).zip(&vectors) {
                let found = answer.iter().find(|candidate| candidate.item == item);
                let found = found.map_or(0.0, |candidate| f64::from(candidate.score));
                prop_assert!((found - cosine(&profile, vector)).abs() < 1e-5, "item {}", item);
            }
        }
    }

    #[test]
    fn rare_terms_tell_more_and_an_item_is_not_similar_to_itself() {
        // Items 0 and 1 share a common term, items 0 and 2 a rare one.
        let items = [vec![0, 1], vec![0, 2], vec![1, 3], vec![0, 4], vec![0, 5], vec![]];
        let content = fit(&items, None);
        let similar = |item, k| content.similar_items(ItemId(item), k, &ItemFilter::all()).unwrap();
        assert_eq!(similar(0, 2).iter().map(|found| found.item.0).collect::<Vec<_>>(), [2, 1]);
        assert!(similar(5, 9).is_empty(), "nothing is known of item 5");
        assert!(content.similar_items(ItemId(6), 1, &ItemFilter::all()).is_err());
        assert!(content.recall(&Query::default(), 9).unwrap().is_empty());
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let error = ContentRecaller::fit(&ItemFeatures::none(2), &ContentConfig { half_life: Some(0.0) });
        assert!(error.unwrap_err().to_string().contains("ContentConfig::half_life"));
    }

    #[test]
    fn comes_back_from_json() {
        let content = fit(&[vec![0, 1, 0], vec![2, 1]], Some(3.0));
        let json = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<ContentRecaller>(&json).unwrap(), content);
        for (good, bad) in [("3.0", "-3.0"), ("\"n_features\":6", "\"n_features\":1")] {
            assert!(json.contains(good), "{good}");
            assert!(serde_json::from_str::<ContentRecaller>(&json.replace(good, bad)).is_err(), "{bad}");
        }
    }
}
