use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Many short texts in one long one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(super) fn reserve(&mut self, n: usize) {
        self.ends.reserve(n);
    }
}

/// Texts, each once, and their numbers in the order in which they came. A text takes its bytes and some 20 more.
#[derive(Clone, Debug, Default)]
pub(super) struct DistinctTexts {
    texts: Texts,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl DistinctTexts {
    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The number of a text.
    pub(super) fn number(&self, text: &str) -> Option<u32> {
        let Self { texts, numbers, hasher } = self;
        numbers.find(hasher.hash_one(text), |&number| texts.get(number as usize) == text).copied()
    }

    /// Adds a text that is not there yet, with the next number.
    pub(super) fn insert(&mut self, text: &str, number: u32) {
        let Self { texts, numbers, hasher } = self;
        let hash = |number: &u32| hasher.hash_one(texts.get(*number as usize));
        numbers.insert_unique(hasher.hash_one(text), number, hash);
        texts.push(text);
    }
}

impl PartialEq for DistinctTexts {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}
