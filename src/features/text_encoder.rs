use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ItemVectors;
use super::item_vectors::l2_normalize;
use super::text_terms::{Kind, RULES, bucket, char_ngrams, normalized, words};
use crate::data::ItemTable;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::ItemId;
use crate::rng::Rng;

/// Texts encoded at once by a thread.
const PART: usize = 64;

/// The widest vector. Settings come from files, too, and the width is multiplied by the number of texts.
const MAX_DIM: usize = 1 << 16;

/// Settings of a [`TextEncoder`].
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `dim` | 128 | width of a vector; the error of an inner product falls as 1/√`dim` | 1 to 65,536 |
/// | `n_buckets` | 2²⁰ | dimensions that words and n-grams are hashed to; terms that share one are taken for the same | ≥ 1 |
/// | `min_chars`, `max_chars` | 3, 5 | lengths of character n-grams | 1 ≤ `min_chars` ≤ `max_chars` |
/// | `sublinear_tf` | true | a term that comes n times counts 1 + ln n, otherwise n | |
/// | `seed` | 0 | of the projection; vectors of different seeds cannot be compared | |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextEncoderConfig {
    /// The width of a vector.
    pub dim: usize,
    /// The dimensions that terms are hashed to.
    pub n_buckets: u32,
    /// The length of the shortest n-grams, with the marks of a word's bounds.
    pub min_chars: usize,
    /// The length of the longest n-grams.
    pub max_chars: usize,
    /// Whether repetition counts by its logarithm.
    pub sublinear_tf: bool,
    /// The seed of the projection.
    pub seed: u64,
}

impl Default for TextEncoderConfig {
    fn default() -> Self {
        Self { dim: 128, n_buckets: 1 << 20, min_chars: 3, max_chars: 5, sublinear_tf: true, seed: 0 }
    }
}

impl TextEncoderConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if !(1..=MAX_DIM).contains(&self.dim) {
            return Err(Error::config("TextEncoderConfig::dim", format!("1 to {MAX_DIM}"), self.dim));
        }
        if self.n_buckets == 0 {
            return Err(Error::config("TextEncoderConfig::n_buckets", "at least 1", self.n_buckets));
        }
        if self.min_chars == 0 {
            return Err(Error::config("TextEncoderConfig::min_chars", "at least 1", self.min_chars));
        }
        if self.max_chars < self.min_chars {
            let expected = format!("at least min_chars = {}", self.min_chars);
            return Err(Error::config("TextEncoderConfig::max_chars", expected, self.max_chars));
        }
        Ok(())
    }
}

/// Turns texts into vectors whose inner products say how much of their wording they share, without a trained
/// model: TF-IDF of hashed words and character n-grams, reduced by a random projection.
///
/// 1. *Terms*: the text's [words](#words), and its n-grams of characters between white space, by which "Terminator"
///    and "Terminators" are near. There is no stemming.
/// 2. *Hashing*: each term to one of `n_buckets` dimensions, by FNV-1a.
/// 3. *TF-IDF*: tf(t, d) · idf(t) with idf(t) = ln((1 + n) / (1 + df(t))) + 1, where df(t) of the n texts of
///    [`fit`](Self::fit) have the term; the words and the n-grams of a text are each brought to length 1. (These are the
///    formulas of scikit-learn.)
/// 4. *Projection*: y = R x / √dim, where the entries of R are ±1, each with probability ½, drawn from the seed
///    (Achlioptas 2003, "Database-friendly random projections", theorem 1.1). It preserves inner products up to an
///    error of variance at most 2 / dim for vectors of length 1 (Johnson & Lindenstrauss).
/// 5. y is brought to length 1; a text without terms gives zeros.
///
/// A text that comes after fitting is encoded in the same way, so that an item never seen has its vector. The encoder
/// is small (two numbers for each bucket that is in use) and can be saved with a model.
///
/// # Words
/// A text is normalised first, so that what reads the same is the same ("Amélie" has its é as one character or as
/// two; "STRASSE" is "Straße"). This is the idea of NFKC_Casefold in the Unicode standard, for whole texts:
///
/// 1. Everything is decomposed ([UAX #15](https://www.unicode.org/reports/tr15/), NFKD): letters from their marks,
///    ligatures and full-width characters into the usual ones.
/// 2. Invisible characters (Default_Ignorable_Code_Point: soft hyphens, joiners, variation selectors, …) are left out;
///    a zero width space becomes a space.
/// 3. Case is folded in full (ß to ss, ς to σ, İ to i and a dot), the same for all languages.
/// 4. What belongs together is composed again (NFKC), and with it the Thai and Lao vowel *am*, which NFKC leaves in two.
///
/// Words are what stands between the word boundaries of [UAX #29](https://www.unicode.org/reports/tr29/) and has a letter
/// or a number. "l'été", "3.14", "bout_de" and "हिन्दी" are one word each, "Sci-Fi" is two, an emoji is none. Chinese,
/// Japanese, Thai, Lao, Khmer and Burmese have no spaces between words; the dictionaries and models of
/// [ICU4X](https://docs.rs/icu_segmenter) find them. N-grams are taken from the normalised text, too.
///
/// So the terms depend on the version of Unicode, and of those dictionaries and models, in the ICU4X that the crate is
/// built with. NFKC and case folding never change for characters that Unicode has already; word boundaries may, mostly
/// in languages without spaces. A saved encoder can be loaded by a build with another version: where that cuts a text
/// otherwise, the new words were never seen in fitting and count as the rarest. For the same vectors to the bit, keep the
/// versions of the `icu_` crates in `Cargo.lock`, or fit again. An encoder that was saved by another version of the rules
/// above is refused.
///
/// ```
/// use recsys::features::{TextEncoder, TextEncoderConfig};
///
/// let films = ["The Terminator 1984 Action Sci-Fi", "Brief Encounter 1945 Drama Romance"];
/// let encoder = TextEncoder::fit(TextEncoderConfig::default(), &films)?;
/// let known = encoder.encode_all(&films);
/// let new = encoder.encode("Terminator 2: Judgment Day 1991 Action Sci-Fi");
/// let similarity = |item| new.iter().zip(known.row(item)).map(|(a, b)| a * b).sum::<f32>();
/// assert!(similarity(0.into()) > similarity(1.into()) + 0.3);
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fitted", into = "Fitted")]
pub struct TextEncoder {
    config: TextEncoderConfig,
    n_texts: u32,
    /// The buckets of any of the texts, ascending.
    buckets: Vec<u32>,
    /// How many texts have each of them.
    counts: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct Fitted {
    /// The rules by which texts were cut into terms.
    term_rules: u32,
    config: TextEncoderConfig,
    n_texts: u32,
    buckets: Vec<u32>,
    counts: Vec<u32>,
}

impl TextEncoder {
    /// Learns from these texts how rare each term is.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn fit<S: AsRef<str> + Sync>(config: TextEncoderConfig, texts: &[S]) -> Result<Self> {
        config.validate()?;
        let (what, bound) = ("number of texts", u32::MAX as usize);
        let n_texts = u32::try_from(texts.len()).map_err(|_| ErrorKind::LengthMismatch {
            what,
            expected: bound,
            found: texts.len(),
        })?;
        let mut all: Vec<u32> = (texts.par_iter())
            .flat_map_iter(|text| {
                let mut buckets: Vec<u32> =
                    terms(&config, text.as_ref()).into_iter().flatten().map(|term| term.0).collect();
                buckets.sort_unstable();
                buckets.dedup();
                buckets
            })
            .collect();
        all.par_sort_unstable();
        let (buckets, counts) = all.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).unzip();
        Ok(Self { config, n_texts, buckets, counts })
    }

    /// The encoder fitted to the texts of both, which have the same settings.
    ///
    /// # Errors
    /// 2^32 texts or more.
    pub(super) fn merge(self, other: Self) -> Result<Self> {
        let Some(n_texts) = self.n_texts.checked_add(other.n_texts) else {
            let (what, expected) = ("number of texts", u32::MAX as usize);
            let found = self.n_texts as usize + other.n_texts as usize;
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        };
        let others = other.buckets.into_iter().zip(other.counts);
        let mut all: Vec<(u32, u32)> = self.buckets.into_iter().zip(self.counts).chain(others).collect();
        all.sort_unstable_by_key(|&(bucket, _)| bucket);
        let sum = |run: &[(u32, u32)]| (run[0].0, run.iter().map(|&(_, count)| count).sum::<u32>());
        let (buckets, counts) = all.chunk_by(|a, b| a.0 == b.0).map(sum).unzip();
        Ok(Self { config: self.config, n_texts, buckets, counts })
    }

    /// An encoder fitted to what a table says of its items ([`item_texts`]), and the items' vectors. `tags` is any
    /// other text, one for each item.
    ///
    /// ```
    /// use recsys::features::{TextEncoder, TextEncoderConfig};
    /// use recsys::prelude::*;
    ///
    /// let data = SyntheticConfig::new(50, 40, 500, 1).generate()?;
    /// let films = data.item_table().expect("made-up films have titles");
    /// let (encoder, vectors) = TextEncoder::fit_items(TextEncoderConfig::default(), films, None)?;
    /// assert_eq!((vectors.n_items(), vectors.dim()), (40, encoder.dim()));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// A setting outside its range, or another number of tags than of items.
    pub fn fit_items(
        config: TextEncoderConfig,
        items: &ItemTable,
        tags: Option<&[String]>,
    ) -> Result<(Self, ItemVectors)> {
        let mut texts = item_texts(items);
        if let Some(tags) = tags {
            let (what, expected, found) = ("number of tags", texts.len(), tags.len());
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
            texts.iter_mut().zip(tags).for_each(|(text, tags)| text.extend([" ", tags]));
        }
        let encoder = Self::fit(config, &texts)?;
        let vectors = encoder.encode_all(&texts);
        Ok((encoder, vectors))
    }

    /// The settings.
    pub fn config(&self) -> &TextEncoderConfig {
        &self.config
    }

    /// The width of a vector.
    pub fn dim(&self) -> usize {
        self.config.dim
    }

    /// The vector of a text, of length 1; zeros where the text has no letter, digit or sign.
    pub fn encode(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dim()];
        self.encode_into(text, &mut vector);
        vector
    }

    /// The vector of each text, as [`encode`](Self::encode) gives it.
    pub fn encode_all<S: AsRef<str> + Sync>(&self, texts: &[S]) -> ItemVectors {
        let mut values = vec![0.0; texts.len() * self.dim()];
        values.par_chunks_mut(PART * self.dim()).zip(texts.par_chunks(PART)).for_each(|(vectors, texts)| {
            for (vector, text) in vectors.chunks_exact_mut(self.dim()).zip(texts) {
                self.encode_into(text.as_ref(), vector);
            }
        });
        ItemVectors::new(self.dim(), values).expect("a positive width and finite numbers")
    }

    fn encode_into(&self, text: &str, vector: &mut [f32]) {
        let mut sums = vec![0.0; vector.len()];
        for (bucket, weight) in self.weights(text) {
            add_projected(self.config.seed, bucket, weight, &mut sums);
        }
        // The factor 1/√dim goes with the division by the length.
        vector.iter_mut().zip(sums).for_each(|(x, sum)| *x = sum as f32);
        l2_normalize(vector);
    }

    /// The TF-IDF weights of a text by bucket; its words and its n-grams have length 1 each.
    fn weights(&self, text: &str) -> Vec<(u32, f64)> {
        let mut all = Vec::new();
        for terms in terms(&self.config, text) {
            let start = all.len();
            all.extend(terms.iter().map(|&(bucket, count)| (bucket, self.tf(count) * self.idf(bucket))));
            let norm = all[start..].iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
            all[start..].iter_mut().for_each(|(_, weight)| *weight /= norm);
        }
        all
    }

    fn tf(&self, count: u32) -> f64 {
        let count = f64::from(count);
        if self.config.sublinear_tf { 1.0 + count.ln() } else { count }
    }

    fn idf(&self, bucket: u32) -> f64 {
        let n_with = self.buckets.binary_search(&bucket).map_or(0, |at| self.counts[at]);
        ((1.0 + f64::from(self.n_texts)) / (1.0 + f64::from(n_with))).ln() + 1.0
    }
}

/// The text of each item of a table: title, year (unless the title has it) and genres.
pub fn item_texts(items: &ItemTable) -> Vec<String> {
    let text = |(item, (title, year)): (u32, (&String, &Option<u16>))| {
        let mut text = title.clone();
        let year = year.map(|year| year.to_string()).filter(|year| !title.contains(year));
        let genres = items.genres().row(ItemId(item)).iter();
        let genres = genres.map(|&genre| items.genre_names()[genre as usize].as_str());
        year.as_deref().into_iter().chain(genres).for_each(|part| text.extend([" ", part]));
        text
    };
    (0..).zip(items.titles().iter().zip(items.years())).map(text).collect()
}

/// The words and the n-grams of a text: the buckets of each kind, ascending, and how often each comes.
fn terms(config: &TextEncoderConfig, text: &str) -> [Vec<(u32, u32)>; 2] {
    let text = normalized(text);
    let (mut of_words, mut of_ngrams) = (Vec::new(), Vec::new());
    words(&text, |word| of_words.push(bucket(Kind::Word, word, config.n_buckets)));
    char_ngrams(&text, config.min_chars..=config.max_chars, |ngram| {
        of_ngrams.push(bucket(Kind::CharNgram, ngram, config.n_buckets));
    });
    [of_words, of_ngrams].map(|mut buckets: Vec<u32>| {
        buckets.sort_unstable();
        buckets.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
    })
}

/// Adds `weight` times a row of ±1, the bucket's column of R, to `sums`.
fn add_projected(seed: u64, bucket: u32, weight: f64, sums: &mut [f64]) {
    let mut rng = Rng::stream(seed, &[bucket.into()]);
    for sums in sums.chunks_mut(64) {
        let bits = rng.next_u64();
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += f64::from_bits(weight.to_bits() ^ (bits >> at) << 63);
        }
    }
}

impl TryFrom<Fitted> for TextEncoder {
    type Error = Error;

    fn try_from(fitted: Fitted) -> Result<Self> {
        let Fitted { term_rules, config, n_texts, buckets, counts } = fitted;
        if term_rules != RULES {
            let place = Location::memory().column("term_rules");
            return Err(Error::input(place, format!("version {RULES}"), term_rules.to_string()));
        }
        config.validate()?;
        if buckets.len() != counts.len() {
            let what = "number of bucket counts";
            return Err(
                ErrorKind::LengthMismatch { what, expected: buckets.len(), found: counts.len() }.into()
            );
        }
        if !buckets.is_sorted_by(|a, b| a < b) || buckets.last().is_some_and(|&last| last >= config.n_buckets)
        {
            let expected = format!("ascending buckets below {}", config.n_buckets);
            return Err(Error::input(Location::memory(), expected, "others"));
        }
        if let Some(count) = counts.iter().find(|&&count| count > n_texts) {
            let expected = format!("counts of at most {n_texts} texts");
            return Err(Error::input(Location::memory(), expected, count.to_string()));
        }
        Ok(Self { config, n_texts, buckets, counts })
    }
}

impl From<TextEncoder> for Fitted {
    fn from(encoder: TextEncoder) -> Self {
        let TextEncoder { config, n_texts, buckets, counts } = encoder;
        Self { term_rules: RULES, config, n_texts, buckets, counts }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        texts: Vec<String>,
        cosines: BTreeMap<String, Vec<Vec<f64>>>,
    }

    fn reference() -> Reference {
        serde_json::from_str(include_str!("../../tests/data/tfidf_ref.json")).unwrap()
    }

    fn fit(config: TextEncoderConfig, texts: &[impl AsRef<str> + Sync]) -> TextEncoder {
        TextEncoder::fit(config, texts).unwrap()
    }

    /// Of the weights before the projection.
    fn cosine(encoder: &TextEncoder, a: &str, b: &str) -> f64 {
        let b: BTreeMap<u32, f64> = encoder.weights(b).into_iter().collect();
        // Words and n-grams have length 1 each.
        encoder.weights(a).iter().filter_map(|(bucket, weight)| Some(weight * b.get(bucket)?)).sum::<f64>()
            / 2.0
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    /// `tests/data/tfidf_ref.py` makes the numbers.
    #[test]
    fn the_weights_are_those_of_scikit_learn() {
        let reference = reference();
        for (name, cosines) in &reference.cosines {
            let sublinear_tf = name == "sublinear";
            // So many buckets that no two terms share one.
            let config = TextEncoderConfig { sublinear_tf, n_buckets: u32::MAX, ..Default::default() };
            let encoder = fit(config, &reference.texts);
            for (a, row) in reference.texts.iter().zip(cosines) {
                for (b, expected) in reference.texts.iter().zip(row) {
                    let found = cosine(&encoder, a, b);
                    assert!((found - expected).abs() < 1e-9, "{name}: {a} / {b}: {found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn idf_and_tf_by_hand() {
        let encoder = fit(TextEncoderConfig::default(), &["Alien alien", "alien, aliens", "ALIENS!", "heat"]);
        let idf = |word| encoder.idf(bucket(Kind::Word, word, encoder.config.n_buckets));
        assert_eq!(idf("alien"), (5.0_f64 / 3.0).ln() + 1.0);
        assert_eq!(idf("heat"), (5.0_f64 / 2.0).ln() + 1.0);
        assert_eq!(idf("never"), 5.0_f64.ln() + 1.0);
        assert_eq!((encoder.tf(1), encoder.tf(3)), (1.0, 1.0 + 3.0_f64.ln()));
        let plain = TextEncoderConfig { sublinear_tf: false, ..Default::default() };
        assert_eq!(fit(plain, &["a"]).tf(3), 3.0);
    }

    #[test]
    fn the_projection_preserves_inner_products() {
        let texts: Vec<String> = (0..60)
            .map(|n| (0..6).map(|k| format!("word{} ", (n * (k + 1) + n / 7) % 40)).collect())
            .collect();
        let encoder = fit(TextEncoderConfig { dim: 512, ..Default::default() }, &texts);
        let vectors = encoder.encode_all(&texts);
        let (mut squares, mut worst, mut n_pairs, mut n_near) = (0.0, 0.0_f64, 0.0, 0);
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts[..i].iter().enumerate() {
                let exact = cosine(&encoder, a, b);
                let error = dot(vectors.row(ItemId(i as u32)), vectors.row(ItemId(j as u32))) - exact;
                squares += error * error;
                worst = worst.max(error.abs());
                n_pairs += 1.0;
                n_near += usize::from(exact > 0.5);
            }
        }
        assert!(n_near > 20, "the texts are too much alike or too little: {n_near}");
        // The variance is at most 2 / dim; the greatest of 1,770 errors stays within five deviations.
        let dim = encoder.dim() as f64;
        assert!(squares / n_pairs < 2.0 / dim, "{}", squares / n_pairs);
        assert!(squares / n_pairs > 0.1 / dim, "{}", squares / n_pairs);
        assert!(worst < 5.0 * (2.0 / dim).sqrt(), "{worst}");
    }

    #[test]
    fn similar_titles_are_near() {
        let films = [
            "Star Wars: Episode IV (1977) Action Sci-Fi",
            "Star Wars: Episode V (1980) Action Sci-Fi",
            "Brief Encounter (1946) Drama Romance",
            "Casablanca (1942) Drama Romance War",
        ];
        let encoder = fit(TextEncoderConfig::default(), &films);
        let vectors = encoder.encode_all(&films);
        let near = |a: &[f32], item| dot(a, vectors.row(ItemId(item)));
        let (first, third) = (vectors.row(ItemId(0)), vectors.row(ItemId(2)));
        assert!(near(first, 1) > near(first, 2) + 0.3 && near(third, 3) > near(third, 1) + 0.1);
        let new = encoder.encode("Star Wars: Episode VI (1983) Action Sci-Fi");
        assert!(near(&new, 0) > near(&new, 3) + 0.3 && (dot(&new, &new) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn texts_that_read_the_same_have_one_vector() {
        let encoder = fit(TextEncoderConfig::default(), &["Le fabuleux destin d'Amélie Poulain"]);
        for (a, b) in [("Amélie", "AME\u{301}LIE"), ("Straße", "STRASSE"), ("ｶﾞﾝﾀﾞﾑ", "ガンダム")]
        {
            assert_eq!(encoder.encode(a), encoder.encode(b), "{a}");
        }
    }

    #[test]
    fn nothing_gives_zeros_and_any_width_works() {
        for dim in [1, 63, 64, 65] {
            let encoder = fit(TextEncoderConfig { dim, ..Default::default() }, &["alien", ""]);
            assert_eq!(encoder.encode(" \n"), vec![0.0; dim]);
            let vector = encoder.encode("alien");
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-6);
            assert_eq!(encoder.encode_all(&["alien", ""]).values(), [vector, vec![0.0; dim]].concat());
        }
        let nothing = fit(TextEncoderConfig::default(), &[""; 0]);
        assert_eq!(nothing.encode_all(&[""; 0]).n_items(), 0);
        assert!(nothing.encode("alien").iter().any(|&x| x != 0.0));
    }

    #[test]
    fn the_seed_fixes_the_vectors_and_saving_keeps_them() {
        let texts: Vec<String> = (0..300).map(|n| format!("film {n} of {}", n % 7)).collect();
        let encode = |seed| {
            let encoder = fit(TextEncoderConfig { seed, dim: 20, ..Default::default() }, &texts);
            (encoder.encode_all(&texts), encoder)
        };
        let (vectors, encoder) = encode(1);
        assert_eq!(encode(1).0, vectors);
        assert_ne!(encode(2).0, vectors);
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(single.install(|| encode(1).0), vectors);
        let json = serde_json::to_string(&encoder).unwrap();
        let loaded: TextEncoder = serde_json::from_str(&json).unwrap();
        assert_eq!(loaded, encoder);
        assert_eq!(loaded.encode_all(&texts), vectors);
        for (field, broken) in [("\"n_texts\":300", "\"n_texts\":7"), ("\"buckets\":[", "\"buckets\":[7,")] {
            assert!(serde_json::from_str::<TextEncoder>(&json.replace(field, broken)).is_err(), "{broken}");
        }
        let other_rules = json.replace(&format!("\"term_rules\":{RULES},"), "\"term_rules\":0,");
        let error = serde_json::from_str::<TextEncoder>(&other_rules).unwrap_err().to_string();
        assert!(error.contains("term_rules") && error.contains("found 0"), "{error}");
        let few = json.replace("\"n_buckets\":1048576", "\"n_buckets\":9");
        assert!(serde_json::from_str::<TextEncoder>(&few).is_err());
    }

    #[test]
    fn the_text_of_an_item_is_what_its_table_says() {
        let titles = vec!["Alien (1979)".to_owned(), "Heat".to_owned(), String::new()];
        let names = vec!["Crime".to_owned(), "Sci-Fi".to_owned()];
        let years = vec![Some(1979), Some(1995), None];
        let table = ItemTable::new(titles, years, names, vec![vec![1, 0], vec![], vec![]]).unwrap();
        let texts = item_texts(&table);
        assert_eq!(texts, ["Alien (1979) Sci-Fi Crime", "Heat 1995", ""]);
        let config = TextEncoderConfig::default();
        let (encoder, vectors) = TextEncoder::fit_items(config, &table, None).unwrap();
        assert_eq!(vectors, encoder.encode_all(&texts));
        let tags = ["space", "bank robbery", ""].map(str::to_owned);
        let (encoder, vectors) = TextEncoder::fit_items(config, &table, Some(&tags)).unwrap();
        assert_eq!(vectors.row(ItemId(1)), encoder.encode("Heat 1995 bank robbery"));
        let error = TextEncoder::fit_items(config, &table, Some(&tags[..2])).unwrap_err();
        assert_eq!(error.to_string(), "number of tags: expected 3, found 2");
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let good = TextEncoderConfig::default();
        for (config, field) in [
            (TextEncoderConfig { dim: 0, ..good }, "dim"),
            (TextEncoderConfig { dim: usize::MAX / 2 + 1, ..good }, "dim"),
            (TextEncoderConfig { n_buckets: 0, ..good }, "n_buckets"),
            (TextEncoderConfig { min_chars: 0, ..good }, "min_chars"),
            (TextEncoderConfig { max_chars: 2, ..good }, "max_chars"),
        ] {
            let error = TextEncoder::fit(config, &["a"]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("TextEncoderConfig::{field}: ")), "{error}");
        }
    }
}
