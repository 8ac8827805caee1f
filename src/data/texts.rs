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
        let (start, end) = self.span(index);
        &self.text[start..end]
    }

    fn span(&self, index: usize) -> (usize, usize) {
        (if index == 0 { 0 } else { self.ends[index - 1] }, self.ends[index])
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

/// Texts, each once, and their numbers in the order in which they came. A text takes its bytes and less than 32 more.
#[derive(Clone, Debug, Default)]
pub(super) struct DistinctTexts {
    texts: Texts,
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
}

/// A text of the table. Half of its hash tells it from nearly all others, so that those are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    half_hash: u32,
    number: u32,
}

impl Entry {
    fn new(hash: u64, number: u32) -> Self {
        Self { half_hash: half(hash), number }
    }

    fn may_have(self, hash: u64) -> bool {
        self.half_hash == half(hash)
    }
}

/// The half of a hash that the table makes no use of as long as it has less than 2^32 places.
fn half(hash: u64) -> u32 {
    (hash >> 25) as u32
}

/// Texts that are looked up together.
const BATCH: usize = 256;

impl DistinctTexts {
    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The number of a text.
    pub(super) fn number(&self, text: &str) -> Option<u32> {
        self.find(self.hasher.hash_one(text), text)
    }

    fn find(&self, hash: u64, text: &str) -> Option<u32> {
        let is_it = |entry: &Entry| entry.may_have(hash) && self.texts.get(entry.number as usize) == text;
        self.table.find(hash, is_it).map(|entry| entry.number)
    }

    /// Adds a text that is not there yet, with the next number.
    pub(super) fn insert(&mut self, text: &str, number: u32) {
        let Self { texts, table, hasher } = self;
        let hash = |entry: &Entry| hasher.hash_one(texts.get(entry.number as usize));
        let own = hasher.hash_one(text);
        table.insert_unique(own, Entry::new(own, number), hash);
        texts.push(text);
    }

    /// Gives the number of each text of a column to `each`, in order; of one that is not there yet, what `new` says of the
    /// number of texts there are.
    ///
    /// Looking up a text in a large table waits for memory some times. Each such step is taken for many texts before the
    /// next one, so that they wait together.
    pub(super) fn number_all<E>(
        &mut self,
        column: &Texts,
        new: impl Fn(usize) -> Result<u32, E>,
        mut each: impl FnMut(u32),
    ) -> Result<(), E> {
        let (mut hashes, mut numbers, mut spans) = ([0; BATCH], [None; BATCH], [(0, 0); BATCH]);
        for start in (0..column.len()).step_by(BATCH) {
            let texts = start..column.len().min(start + BATCH);
            for (hash, text) in hashes.iter_mut().zip(texts.clone()) {
                *hash = self.hasher.hash_one(column.get(text));
            }
            for (number, &hash) in numbers.iter_mut().zip(&hashes[..texts.len()]) {
                *number = self.table.find(hash, |entry| entry.may_have(hash)).map(|entry| entry.number);
            }
            for (span, number) in spans.iter_mut().zip(&numbers[..texts.len()]) {
                *span = number.map_or((0, 0), |number| self.texts.span(number as usize));
            }
            for (at, text) in texts.enumerate() {
                let text = column.get(text);
                match numbers[at] {
                    Some(number) if self.texts.text[spans[at].0..spans[at].1] == *text => each(number),
                    _ => each(match self.find(hashes[at], text) {
                        Some(number) => number,
                        None => {
                            let number = new(self.texts.len())?;
                            self.insert(text, number);
                            number
                        }
                    }),
                }
            }
        }
        Ok(())
    }
}

impl PartialEq for DistinctTexts {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_texts_are_numbered_as_one_by_one() {
        let mut column = Texts::default();
        (0..5000u32).for_each(|row| column.push(&format!("{}", row * row % 1777)));
        let (mut one_by_one, mut expected) = (DistinctTexts::default(), Vec::new());
        for text in column.iter() {
            let next = one_by_one.texts().len() as u32;
            if one_by_one.number(text).is_none() {
                one_by_one.insert(text, next);
            }
            expected.extend(one_by_one.number(text));
        }
        let (mut all, mut found) = (DistinctTexts::default(), Vec::new());
        all.number_all(&column, |n| Ok::<_, ()>(n as u32), |number| found.push(number)).unwrap();
        assert_eq!((found, all), (expected, one_by_one));
    }
}
