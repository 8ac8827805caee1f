//! What a text is cut into, and the number that each piece becomes.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{
    CodePointMapData, CodePointMapDataBorrowed, CodePointSetData, CodePointSetDataBorrowed,
};
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};

use crate::rng::mix;

/// The version of the rules of this file. What was counted by one version means nothing to another.
pub(super) const RULES: u32 = 1;

const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();
const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();
const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();
const CATEGORIES: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::new();
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();
const IN_WORDS: GeneralCategoryGroup = GeneralCategoryGroup::Letter.union(GeneralCategoryGroup::Number);

/// The Thai and the Lao vowel that NFKC leaves in two parts, between which the segmenter's models may cut a word.
const SARA_AM: [(&str, &str); 2] = [("\u{e4d}\u{e32}", "\u{e33}"), ("\u{ecd}\u{eb2}", "\u{eb3}")];

/// With its dictionaries and models, for text of any language.
static SEGMENTER: LazyLock<WordSegmenterBorrowed<'static>> =
    LazyLock::new(|| WordSegmenter::new_auto(Default::default()));

/// The one form of all texts that differ in case, in how letters are composed, or in compatibility variants (width,
/// ligatures): NFKD, without what is invisible (a zero width space is a space), case folded, NFKC. The same again
/// changes nothing.
///
/// It is composed only behind folding: `ᾳ` folds to `αι`, and marks on the alpha would get to the iota.
pub(super) fn normalized(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { normalized_unicode(text) }
}

fn normalized_unicode(text: &str) -> String {
    let visible = |c| match c {
        '\u{200b}' => Some(' '),
        _ => (!IGNORABLE.contains(c)).then_some(c),
    };
    let decomposed: String = NFKD.normalize_iter(text.chars()).filter_map(visible).collect();
    let composed = NFKC.normalize(&CASES.fold_string(&decomposed)).into_owned();
    SARA_AM.iter().fold(composed, |text, (parts, whole)| text.replace(parts, whole))
}

/// Gives the words of a [`normalized`] text to `each`: what stands between two boundaries of UAX #29 and has a letter
/// or a digit.
pub(super) fn words(text: &str, mut each: impl FnMut(&str)) {
    if text.is_ascii() { ascii_words(text, &mut each) } else { segmented_words(text, &mut each) }
}

fn segmented_words(text: &str, each: &mut dyn FnMut(&str)) {
    // Not the segmenter's own word type: it forgets the letter before a final combining mark (icu4x, issue 8321).
    let is_word = |segment: &str| segment.chars().any(|c| IN_WORDS.contains(CATEGORIES.get(c)));
    let mut start = 0;
    for end in SEGMENTER.segment_str(text) {
        let segment = &text[start..end];
        if is_word(segment) {
            each(segment);
        }
        start = end;
    }
}

/// What [`segmented_words`] gives for ASCII text, without its tables.
fn ascii_words(text: &str, each: &mut dyn FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for end in 0..=bytes.len() {
        if end == bytes.len() || !is_within_word(bytes, end) {
            if bytes[start..end].iter().any(u8::is_ascii_alphanumeric) {
                each(&text[start..end]);
            }
            start = end + 1;
        }
    }
}

/// Whether an ASCII character is part of a word: letters, digits and `_`, and some marks between two letters or digits
/// (rules WB6, WB7, WB11 and WB12).
fn is_within_word(bytes: &[u8], at: usize) -> bool {
    let stands_between =
        |is: fn(&u8) -> bool| at > 0 && is(&bytes[at - 1]) && bytes.get(at + 1).is_some_and(is);
    match bytes[at] {
        b'.' | b'\'' => stands_between(u8::is_ascii_alphabetic) || stands_between(u8::is_ascii_digit),
        b':' => stands_between(u8::is_ascii_alphabetic),
        b',' | b';' => stands_between(u8::is_ascii_digit),
        byte => byte.is_ascii_alphanumeric() || byte == b'_',
    }
}

/// Gives every n-gram of characters of a [`normalized`] text within what stands between white space to `each`. A space
/// before and behind marks the bounds; what is shorter than an n-gram counts once, whole. (scikit-learn's analyser
/// `char_wb`.)
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
    use proptest::prelude::*;

    use super::*;

    fn ngrams(text: &str, lengths: RangeInclusive<usize>) -> Vec<String> {
        let mut found = Vec::new();
        char_ngrams(text, lengths, |ngram| found.push(ngram.to_owned()));
        found
    }

    fn words_of(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        words(&normalized(text), |word| found.push(word.to_owned()));
        found
    }

    #[test]
    fn words_of_any_script() {
        for (text, expected) in [
            ("l'été — 2001: «À bout_de» M", &["l'été", "2001", "à", "bout_de", "m"][..]),
            ("हिन्दी में फ़िल्म अच्छी है", &["हिन्दी", "में", "फ़िल्म", "अच्छी", "है"]),
            ("ฉันรักภาษาไทย", &["ฉัน", "รัก", "ภาษา", "ไทย"]),
            ("น้ำตก", &["น้ำตก"]),
            ("東京に行きました", &["東京", "に", "行き", "まし", "た"]),
            ("千と千尋の神隠し", &["千", "と", "千尋", "の", "神隠し"]),
            ("コンピューター", &["コンピューター"]),
            ("我喜欢看电影", &["我", "喜欢", "看", "电影"]),
            ("기생충 영화", &["기생충", "영화"]),
            ("Ирония судьбы", &["ирония", "судьбы"]),
            ("صباح الخير", &["صباح", "الخير"]),
            ("צה\"ל שלום", &["צה\"ל", "שלום"]),
            ("x\u{30c} y\u{30c}", &["x\u{30c}", "y\u{30c}"]),
        ] {
            assert_eq!(words_of(text), expected, "{text}");
        }
    }

    #[test]
    fn words_and_what_stands_between_them() {
        for (text, expected) in [
            ("Don't look; rock'n'roll 'n'", &["don't", "look", "rock'n'roll", "n"][..]),
            ("3.14 1,000.5 v1.2 U.S. a.b, 9.", &["3.14", "1,000.5", "v1.2", "u.s", "a.b", "9"]),
            ("snake_case _a_ __ _", &["snake_case", "_a_"]),
            ("Sci-Fi/Film-Noir AT&T C++", &["sci", "fi", "film", "noir", "at", "t", "c"]),
            ("❤️ I ❤ NY 👩\u{200d}💻 🇫🇷", &["i", "ny"]),
            ("", &[]),
            (" \t\r\n\u{a0}\u{3000}", &[]),
            ("-- … !?", &[]),
            ("\u{301}\u{323} \u{947}", &[]),
            ("\u{301}a", &["a"]),
        ] {
            assert_eq!(words_of(text), expected, "{text}");
        }
    }

    #[test]
    fn one_form_of_what_reads_the_same() {
        for (normal, others) in [
            ("amélie", &["Amélie", "Ame\u{301}lie", "AMÉLIE", "AME\u{301}LIE", "Amé\u{ad}lie"][..]),
            ("strasse", &["Straße", "STRASSE", "STRAẞE", "ſtraſſe"]),
            ("2001 abc", &["２００１ ＡＢＣ", "２００１\u{3000}ａｂｃ"]),
            ("final fight", &["ﬁnal ﬁght"]),
            ("ガンダム", &["ｶﾞﾝﾀﾞﾑ", "カ\u{3099}ンタ\u{3099}ム"]),
            ("i\u{307}stanbul", &["İstanbul", "I\u{307}STANBUL"]),
            ("οδυσσευσ", &["ΟΔΥΣΣΕΥΣ", "Οδυσσευς"]),
            ("α\u{308}ι", &["ᾳ\u{308}", "α\u{308}\u{345}", "Α\u{308}Ι"]),
            ("น้ำ", &["น้\u{e4d}\u{e32}"]),
            ("फ\u{93c}िल्म", &["\u{95e}िल्म"]),
            ("漢字", &["漢\u{e0100}字"]),
            ("a b", &["A\u{200b}B", "\u{feff}a b"]),
        ] {
            for text in others.iter().copied().chain([normal]) {
                assert_eq!(normalized(text), normal, "{}", text.escape_unicode());
            }
        }
        assert_eq!(words_of("Amélie"), words_of("Ame\u{301}lie"));
    }

    #[test]
    fn every_character_has_a_normal_form_that_stays() {
        for c in '\0'..=char::MAX {
            let normal = normalized(&format!("a{c}"));
            assert_eq!(normalized(&normal), normal, "{}", c.escape_unicode());
        }
    }

    /// All short texts of characters that the rules tell apart.
    #[test]
    fn ascii_words_are_those_of_the_segmenter() {
        let kinds = b"ab19_.':,;\" -\r\n\0";
        let mut texts = vec![String::new()];
        for start in 0.. {
            let Some(text) = texts.get(start).filter(|text| text.len() < 4).cloned() else { break };
            texts.extend(kinds.iter().map(|&kind| format!("{text}{}", char::from(kind))));
        }
        assert_eq!(texts.len(), 1 + 16 + 16 * 16 + 16_usize.pow(3) + 16_usize.pow(4));
        texts
            .iter()
            .for_each(|text| assert_eq!(by(ascii_words, text), by(segmented_words, text), "{text:?}"));
    }

    type Find = fn(&str, &mut dyn FnMut(&str));

    fn by(find: Find, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        find(text, &mut |word| found.push(word.to_owned()));
        found
    }

    proptest! {
        #[test]
        fn ascii_takes_the_short_way_to_the_same(text in "[\0-\x7f]{0,40}") {
            let normal = normalized(&text);
            prop_assert_eq!(by(ascii_words, &normal), by(segmented_words, &normal));
            prop_assert_eq!(normalized_unicode(&text), normal);
        }

        #[test]
        fn words_are_parts_of_any_text(text in "\\PC{0,20}") {
            let normal = normalized(&text);
            prop_assert_eq!(normalized(&normal), normal.as_str());
            prop_assert_eq!(normalized(&NFKC.normalize(&text)), normal.as_str());
            let mut rest = normal.as_str();
            for word in words_of(&text) {
                let (_, behind) = rest.split_once(&word).expect("a word in its place");
                rest = behind;
            }
        }
    }

    #[test]
    fn long_texts_without_a_bound() {
        let n = 1 << 20;
        let marks = "\u{301}".repeat(n / 2);
        for (text, n_words) in [
            ("a".repeat(n), 1),
            ("é".repeat(n), 1),
            (marks.clone(), 0),
            (format!("x{marks}"), 1),
            ("\u{323}\u{301}".repeat(n / 4), 0),
            ("a.\u{301}".repeat(n / 4), 1),
            ("漢".repeat(n / 3), n / 3),
            ("\u{200d}".repeat(n / 3), 0),
        ] {
            assert_eq!(words_of(&text).len(), n_words, "{:.9}…", text);
        }
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
