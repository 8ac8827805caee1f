use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::schema::{Ids, Unseen};
use super::text_terms::fnv1a;
use crate::error::{Error, Location, Result};
use crate::rng::mix;

/// A category as it stands in a column. A text that is written as a whole number is that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Int(i64),
    Text(&'a str),
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        // `007`, `+7` and `-0` are not the way in which a number is written: they stay texts.
        let number = match digits {
            [b'0'] => digits.len() == text.len(),
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        match text.parse() {
            Ok(int) if number => Self::Int(int),
            _ => Self::Text(text),
        }
    }
}

/// For messages: a text in quotation marks, cut where it is long.
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Int(int) => return int.fmt(f),
            Self::Text(text) => *text,
        };
        let short: String = text.chars().take(60).collect();
        write!(f, "{short:?}{}", if short.len() < text.len() { "…" } else { "" })
    }
}

/// A category that stays when its column has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum OwnedKey {
    Int(i64),
    Text(String),
}

/// Categories, numbered from 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<OwnedKey>", into = "Vec<OwnedKey>")]
pub(super) struct Vocabulary {
    ints: HashMap<i64, u32>,
    texts: HashMap<String, u32>,
}

impl Vocabulary {
    fn len(&self) -> usize {
        self.ints.len() + self.texts.len()
    }

    #[inline]
    fn get(&self, key: Key<'_>) -> Option<u32> {
        match key {
            Key::Int(int) => self.ints.get(&int),
            Key::Text(text) => self.texts.get(text),
        }
        .copied()
    }

    fn insert(&mut self, key: Key<'_>) -> u32 {
        // Two ids of the 2^32 are left for what is unseen and what is missing; a field has no more in any case.
        let number = self.len() as u32;
        match key {
            Key::Int(int) => self.ints.insert(int, number),
            Key::Text(text) => self.texts.insert(text.to_owned(), number),
        };
        number
    }
}

impl TryFrom<Vec<OwnedKey>> for Vocabulary {
    type Error = Error;

    fn try_from(keys: Vec<OwnedKey>) -> Result<Self> {
        let mut vocabulary = Self::default();
        for key in &keys {
            let key = match key {
                OwnedKey::Int(int) => Key::Int(*int),
                OwnedKey::Text(text) => text.as_str().into(),
            };
            if vocabulary.get(key).is_some() {
                return Err(Error::input(
                    Location::memory(),
                    "distinct categories",
                    format!("{key:?} twice"),
                ));
            }
            vocabulary.insert(key);
        }
        Ok(vocabulary)
    }
}

impl From<Vocabulary> for Vec<OwnedKey> {
    fn from(vocabulary: Vocabulary) -> Self {
        let ints = vocabulary.ints.into_iter().map(|(int, number)| (number, OwnedKey::Int(int)));
        let texts = vocabulary.texts.into_iter().map(|(text, number)| (number, OwnedKey::Text(text)));
        let mut keys: Vec<(u32, OwnedKey)> = ints.chain(texts).collect();
        keys.sort_unstable_by_key(|&(number, _)| number);
        keys.into_iter().map(|(_, key)| key).collect()
    }
}

/// What is learned of a column of categories, one after another.
#[derive(Debug)]
pub(super) enum IdFit {
    /// Categories in the order of their first row, and how often each came.
    Vocabulary { seen: Vocabulary, counts: Vec<u64>, min_count: u64, unseen: Unseen },
    /// A bit for each bucket that is in use, on pages of 2¹⁶ that are empty before the first.
    Hashing { n_buckets: u32, used: Vec<Vec<u64>> },
}

impl IdFit {
    pub(super) fn new(ids: Ids) -> Self {
        match ids {
            Ids::Vocabulary { min_count, unseen } => {
                Self::Vocabulary { seen: Vocabulary::default(), counts: Vec::new(), min_count, unseen }
            }
            Ids::Hashing { n_buckets } => {
                Self::Hashing { n_buckets, used: vec![Vec::new(); n_buckets.div_ceil(1 << 16) as usize] }
            }
        }
    }

    pub(super) fn add(&mut self, key: Key<'_>) {
        match self {
            Self::Vocabulary { seen, counts, .. } => match seen.get(key) {
                Some(number) => counts[number as usize] += 1,
                None => {
                    seen.insert(key);
                    counts.push(1);
                }
            },
            Self::Hashing { n_buckets, used } => {
                let bucket = bucket(key, *n_buckets);
                let page = &mut used[bucket as usize >> 16];
                page.resize(1 << 10, 0);
                page[bucket as usize % (1 << 16) / 64] |= 1 << (bucket % 64);
            }
        }
    }

    pub(super) fn finish(self) -> IdEncoder {
        match self {
            Self::Vocabulary { seen, counts, min_count, unseen } => {
                // Stable: categories that come equally often keep the order of their first row.
                let mut order: Vec<u32> =
                    (0..counts.len() as u32).filter(|&number| counts[number as usize] >= min_count).collect();
                order.sort_by_key(|&number| std::cmp::Reverse(counts[number as usize]));
                IdEncoder::Vocabulary { keys: renumber(seen, counts.len(), &order), unseen }
            }
            Self::Hashing { n_buckets, used } => {
                let n_used = used.iter().flatten().map(|bits| bits.count_ones()).sum();
                IdEncoder::Hashing { n_buckets, n_used }
            }
        }
    }
}

/// The vocabulary of the numbers `order`, of the `n` there are, in this order.
fn renumber(mut vocabulary: Vocabulary, n: usize, order: &[u32]) -> Vocabulary {
    let mut new = vec![None; n];
    (0..).zip(order).for_each(|(place, &number): (u32, _)| new[number as usize] = Some(place));
    let keep = |number: &mut u32| match new[*number as usize] {
        Some(place) => {
            *number = place;
            true
        }
        None => false,
    };
    vocabulary.ints.retain(|_, number| keep(number));
    vocabulary.texts.retain(|_, number| keep(number));
    vocabulary
}

/// Turns a category into an id, counted from 0 within its field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdEncoder {
    /// Id 0 is for what is out of the vocabulary.
    Vocabulary { keys: Vocabulary, unseen: Unseen },
    /// `n_used` buckets hold categories of the training data.
    Hashing { n_buckets: u32, n_used: u32 },
}

impl IdEncoder {
    /// The number of ids of categories that are not missing.
    pub(super) fn n_ids(&self) -> usize {
        match self {
            Self::Vocabulary { keys, .. } => keys.len() + 1,
            Self::Hashing { n_buckets, .. } => *n_buckets as usize,
        }
    }

    /// The id of a category; `None` for one that is not in the vocabulary and refused.
    #[inline]
    pub(super) fn encode(&self, key: Key<'_>) -> Option<u32> {
        match self {
            Self::Vocabulary { keys, unseen } => match (keys.get(key), unseen) {
                (Some(number), _) => Some(number + 1),
                (None, Unseen::OutOfVocabulary) => Some(0),
                (None, Unseen::Refuse) => None,
            },
            Self::Hashing { n_buckets, .. } => Some(bucket(key, *n_buckets)),
        }
    }

    /// Whether there is an id for what is out of the vocabulary: the first one.
    pub(super) fn has_vocabulary(&self) -> bool {
        matches!(self, Self::Vocabulary { .. })
    }

    /// Of a hashed column, the [`hash_collision_rate`] of as many categories as the training data has, by linear
    /// counting from the buckets in use (Whang, Vander-Zanden & Taylor 1990): ln(1 − used / n) / ln(1 − 1 / n).
    pub(super) fn collision_rate(&self) -> Option<f64> {
        let &Self::Hashing { n_buckets, n_used } = self else { return None };
        let free = 1.0 - f64::from(n_used) / f64::from(n_buckets);
        let n_categories =
            if n_used <= 1 { f64::from(n_used) } else { free.ln() / one_less(n_buckets).ln_1p() };
        Some(collision_rate(n_categories, n_buckets))
    }

    /// Whether the state is one that fitting can give.
    pub(super) fn validate(&self) -> Result<()> {
        match self {
            &Self::Hashing { n_buckets, n_used } if n_buckets == 0 || n_used > n_buckets => {
                let found = format!("{n_used} of {n_buckets}");
                Err(Error::input(Location::memory(), "no more buckets in use than there are", found))
            }
            _ => Ok(()),
        }
    }
}

/// The bucket of a category, below `n_buckets`: a 64-bit hash (FNV-1a of a text's UTF-8 bytes, the number itself),
/// mixed, and its upper part taken by multiplication (Lemire 2019).
fn bucket(key: Key<'_>, n_buckets: u32) -> u32 {
    ((u128::from(hash(key)) * u128::from(n_buckets)) >> 64) as u32
}

/// 64 bits that look independent of the category.
pub(super) fn hash(key: Key<'_>) -> u64 {
    // Without the constant the number 0 would stay 0.
    const SALT: u64 = 0x9e37_79b9_7f4a_7c15;
    match key {
        Key::Int(int) => mix((int as u64).wrapping_add(SALT)),
        Key::Text(text) => mix(fnv1a(text.bytes())),
    }
}

/// The share of `n_categories` distinct categories that is expected to share its bucket with another one when they
/// are hashed to `n_buckets`: 1 − (1 − 1 / `n_buckets`)^(`n_categories` − 1).
///
/// ```
/// use recsys::features::hash_collision_rate;
///
/// // Ten times as many buckets as categories: one category in ten is taken for another.
/// assert!((hash_collision_rate(100_000, 1_000_000) - 0.0952).abs() < 1e-4);
/// ```
pub fn hash_collision_rate(n_categories: u64, n_buckets: u32) -> f64 {
    collision_rate(n_categories as f64, n_buckets)
}

fn collision_rate(n_categories: f64, n_buckets: u32) -> f64 {
    if n_categories <= 1.0 {
        return 0.0;
    }
    -((n_categories - 1.0) * one_less(n_buckets).ln_1p()).exp_m1()
}

/// −1 / n, of which `ln_1p` is ln(1 − 1 / n) without loss.
fn one_less(n_buckets: u32) -> f64 {
    -1.0 / f64::from(n_buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn fit(ids: Ids, keys: &[&str]) -> IdEncoder {
        let mut fit = IdFit::new(ids);
        keys.iter().for_each(|&key| fit.add(key.into()));
        fit.finish()
    }

    #[test]
    fn a_text_that_is_written_as_a_number_is_that_number() {
        for int in [0, 7, -7, 1_234_567, i64::MAX, i64::MIN] {
            assert_eq!(Key::from(int.to_string().as_str()), Key::Int(int));
        }
        for text in ["", "-", "+7", "007", "-0", "00", "1.0", " 1", "1e3", "９", "9223372036854775808"] {
            assert_eq!(Key::from(text), Key::Text(text));
        }
    }

    #[test]
    fn frequent_categories_come_first_and_rare_ones_share_an_id() {
        let ids = Ids::Vocabulary { min_count: 2, unseen: Unseen::OutOfVocabulary };
        let encoder = fit(ids, &["b", "7", "a", "7", "c", "a", "b", "7"]);
        let found = ["7", "b", "a", "c", "new", "07"].map(|key| encoder.encode(key.into()));
        assert_eq!(found, [Some(1), Some(2), Some(3), Some(0), Some(0), Some(0)]);
        assert_eq!(encoder.n_ids(), 4);
        let refuse = fit(Ids::Vocabulary { min_count: 1, unseen: Unseen::Refuse }, &["a"]);
        assert_eq!([refuse.encode("a".into()), refuse.encode("b".into())], [Some(1), None]);
    }

    #[test]
    fn saved_vocabularies_are_the_same() {
        let encoder = fit(Ids::default(), &["b", "-7", "a", "7", "b", "a b\""]);
        let json = serde_json::to_string(&encoder).unwrap();
        assert_eq!(serde_json::from_str::<IdEncoder>(&json).unwrap(), encoder);
        let twice = r#"{"vocabulary": {"keys": [7, "a", "7"], "unseen": "refuse"}}"#;
        assert!(serde_json::from_str::<IdEncoder>(twice).is_err());
        assert!(IdEncoder::Hashing { n_buckets: 3, n_used: 4 }.validate().is_err());
    }

    #[test]
    fn hashes_never_change() {
        assert_eq!(bucket(Key::Int(17), 1 << 20), bucket("17".into(), 1 << 20));
        let found = ["17", "alien", ""].map(|key| bucket(key.into(), 1 << 20));
        assert_eq!(found, [526407, 23248, 1004193]);
    }

    /// Against hashing itself: the share of categories that are not alone.
    #[test]
    fn collisions_are_as_frequent_as_the_formula_says() {
        let (n_categories, n_buckets) = (20_000_u32, 50_000);
        let mut fit = IdFit::new(Ids::Hashing { n_buckets });
        let mut counts = vec![0u32; n_buckets as usize];
        let mut rng = Rng::new(3);
        for n in 0..n_categories {
            let text = format!("{n}-{}", rng.next_u64());
            let key = if n % 2 == 0 { Key::Int(n.into()) } else { Key::Text(&text) };
            fit.add(key);
            fit.add(key);
            counts[bucket(key, n_buckets) as usize] += 1;
        }
        let shared: u32 = counts.iter().filter(|&&count| count > 1).sum();
        let found = f64::from(shared) / f64::from(n_categories);
        let expected = hash_collision_rate(n_categories.into(), n_buckets);
        assert!(
            (expected - 0.3297).abs() < 1e-4 && (found - expected).abs() < 0.01,
            "{found}, not {expected}"
        );
        let estimated = fit.finish().collision_rate().unwrap();
        assert!((estimated - expected).abs() < 0.01, "{estimated}, not {expected}");
    }

    #[test]
    fn collision_rates_at_the_bounds() {
        assert_eq!((hash_collision_rate(0, 10), hash_collision_rate(1, 10)), (0.0, 0.0));
        assert!((hash_collision_rate(2, 10) - 0.1).abs() < 1e-12);
        assert_eq!(hash_collision_rate(2, 1), 1.0);
        let rate = |n_used| IdEncoder::Hashing { n_buckets: 1, n_used }.collision_rate();
        assert_eq!((rate(0), fit(Ids::default(), &["a"]).collision_rate()), (Some(0.0), None));
        assert_eq!(IdEncoder::Hashing { n_buckets: 9, n_used: 9 }.collision_rate(), Some(1.0));
    }
}
