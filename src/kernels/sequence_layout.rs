//! A batch of sequences is kept as rows without padding, `[n_rows, d]`, the sequences one behind another. So
//! no linear layer, layer norm, dropout or loss spends time on padding (a quarter to a half of the work
//! at the lengths met in practice), none of them needs a mask, an empty history is no special case, and how
//! far a batch is padded can change no result. Only attention looks across rows, and only it asks where a
//! sequence begins.

use std::ops::Range;
use std::sync::Arc;

/// Where the sequences of a batch lie in a matrix `[n_rows, d]` that holds their items one behind another,
/// each sequence from its oldest item to its newest, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceLayout {
    /// The first row of each sequence and, last, the number of rows.
    offsets: Arc<[usize]>,
    max_len: usize,
}

impl SequenceLayout {
    /// Sequences of these lengths; a length may be 0.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let (mut offsets, mut max_len) = (vec![0], 0);
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
            max_len = max_len.max(length);
        }
        Self { offsets: offsets.into(), max_len }
    }

    /// The number of sequences.
    pub fn n_sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The number of items of all sequences together.
    pub fn n_rows(&self) -> usize {
        self.offsets[self.n_sequences()]
    }

    /// The length of the longest sequence; 0 for none.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The rows of one sequence.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn rows(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }

    /// The rows of each sequence.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The row of the newest item of each sequence that has one.
    pub fn last_rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.iter().filter(|rows| !rows.is_empty()).map(|rows| rows.end - 1)
    }

    /// The place of each row in a matrix `[max_len, n_sequences]` in which every sequence is a column that ends
    /// in the last line: row r of sequence i stands at t · `n_sequences` + i.
    pub fn time_first(&self) -> impl Iterator<Item = usize> + '_ {
        let (b, len) = (self.n_sequences(), self.max_len);
        self.iter().enumerate().flat_map(move |(i, rows)| (len - rows.len()..len).map(move |t| t * b + i))
    }

    /// The slot of each row in a window of `len` that ends with the newest item: always `len − 1` for the
    /// newest, `len − 2` for the one before it, and so on.
    ///
    /// # Panics
    /// If a sequence is longer than the window.
    pub(crate) fn slots(&self, len: usize) -> impl Iterator<Item = u32> + '_ {
        assert!(self.max_len() <= len, "a sequence of {} in a window of {len}", self.max_len());
        self.iter().flat_map(move |rows| (len - rows.len()..len).map(|slot| slot as u32))
    }

    /// The sequences, in order, in parts of at least `n_rows` rows (the last may have fewer).
    #[cfg(feature = "flex")]
    pub(super) fn parts(&self, n_rows: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut start = 0;
        for end in 1..=self.n_sequences() {
            if end == self.n_sequences() || self.offsets[end] - self.offsets[start] >= n_rows {
                parts.push(start..end);
                start = end;
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_lie_one_behind_another() {
        let layout = SequenceLayout::new([2, 0, 3]);
        assert_eq!((layout.n_sequences(), layout.n_rows(), layout.max_len()), (3, 5, 3));
        assert_eq!(layout.iter().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        assert_eq!((layout.rows(0), layout.rows(2)), (0..2, 2..5));
        assert_eq!(layout.last_rows().collect::<Vec<_>>(), [1, 4]);
        assert_eq!(layout.time_first().collect::<Vec<_>>(), [3, 6, 2, 5, 8]);
        assert_eq!(layout.slots(4).collect::<Vec<_>>(), [2, 3, 1, 2, 3]);
        let none = SequenceLayout::new([]);
        assert_eq!((none.n_sequences(), none.n_rows(), none.max_len()), (0, 0, 0));
    }

    #[test]
    #[should_panic(expected = "a sequence of 3 in a window of 2")]
    fn a_sequence_beyond_the_window_panics() {
        let _ = SequenceLayout::new([1, 3]).slots(2);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn parts_have_enough_rows() {
        let parts = |lengths: &[usize], n_rows| SequenceLayout::new(lengths.iter().copied()).parts(n_rows);
        assert_eq!(parts(&[2, 0, 3, 1, 9, 1], 4), [0..3, 3..5, 5..6]);
        assert_eq!(parts(&[0, 0, 1, 0], 4), std::slice::from_ref(&(0..4)));
        assert!(parts(&[], 4).is_empty());
    }
}
