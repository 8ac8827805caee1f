//! What a text is cut into, and the number that each piece becomes.

use std::ops::RangeInclusive;

use crate::rng::mix;

/// The words of a text: the longest runs of letters, digits and `_` of any script.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Gives every n-gram of characters within a word to `each`. Words are what stands between white space, with a
/// space before and behind that mark the word's bounds; a word shorter than an n-gram counts once, whole.
/// (scikit-learn's analyser `char_wb`.)
pub(super) fn char_ngrams(text: &str, lengths: RangeInclusive<usize>, mut each: impl FnMut(&str)) {
    let (mut padded, mut bounds) = (String::new(), Vec::new());
    for word in text.split_whitespace() {
        padded.clear();
        padded.extend([" ", word, " "]);
        bounds.clear();
        bounds.extend(padded.char_indices().map(|(at, _)| at).chain([padded.len()]));
        for n in lengths.clone() {
            if bounds.len() <= n.saturating_add(1) {
                each(&padded);
                break;
            }
            bounds.windows(n + 1).for_each(|window| each(&padded[window[0]..window[n]]));
        }
    }
}

/// The kind of a term; the same letters as a word and as an n-gram are two terms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Word = 1,
    CharNgram = 2,
}

/// The bucket of a term, below `n_buckets`: FNV-1a over the byte of its kind and its UTF-8 bytes, mixed once more,
/// and its upper part taken by multiplication (Lemire 2019).
pub(super) fn bucket(kind: Kind, term: &str, n_buckets: u32) -> u32 {
    let hash = fnv1a([kind as u8].into_iter().chain(term.bytes()));
    ((u128::from(mix(hash)) * u128::from(n_buckets)) >> 64) as u32
}

/// The hash FNV-1a of 64 bits (Fowler, Noll & Vo).
pub(super) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ngrams(text: &str, lengths: RangeInclusive<usize>) -> Vec<String> {
        let mut found = Vec::new();
        char_ngrams(text, lengths, |ngram| found.push(ngram.to_owned()));
        found
    }

    #[test]
    fn words_of_any_script() {
        let found: Vec<&str> = words("l'été — 2001: «À bout_de» 七人の侍 M").collect();
        assert_eq!(found, ["l", "été", "2001", "À", "bout_de", "七人の侍", "M"]);
        assert_eq!(words(" -- ").count(), 0);
    }

    #[test]
    fn ngrams_stay_within_a_word_and_know_its_bounds() {
        assert_eq!(ngrams("jumpy\n fox", 5..=5), [" jump", "jumpy", "umpy ", " fox "]);
        assert_eq!(ngrams("ÉtÉ", 3..=4), [" Ét", "ÉtÉ", "tÉ ", " ÉtÉ", "ÉtÉ "]);
        // A word and its two marks are three characters: the only n-gram of three, four and five.
        assert_eq!(ngrams("m", 3..=5), [" m "]);
        assert_eq!(ngrams("ab", 3..=9), [" ab", "ab ", " ab "]);
        assert_eq!(ngrams("m", 1..=2), [" ", "m", " ", " m", "m "]);
        assert!(ngrams(" \t", 1..=5).is_empty());
    }

    #[test]
    fn buckets_never_change() {
        assert_eq!(bucket(Kind::Word, "alien", 1 << 20), 379633);
        assert_eq!(bucket(Kind::CharNgram, "été", u32::MAX), 2821293842);
        let n_buckets = 10;
        let mut counts = [0; 10];
        (0..10_000).for_each(|n| counts[bucket(Kind::Word, &n.to_string(), n_buckets) as usize] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
