//! The one order of scored items, and the bounded heap that selects the first k of it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::error::{ErrorKind, Result};
use crate::ids::{ItemFilter, ItemId};

/// The order of every ranked list: score descending (by [`f32::total_cmp`]), then the smaller
/// [`ItemId`].
#[inline]
pub fn by_score(a: (ItemId, f32), b: (ItemId, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Selects the `k` best of the items offered, in the order of [`by_score`].
///
/// Holds `k` items; an item that does not make the list costs one comparison.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    /// The worst item kept is on top.
    heap: BinaryHeap<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry(ItemId, f32);

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        by_score((self.0, self.1), (other.0, other.1))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl TopK {
    /// An empty selection of at most `k` items.
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::with_capacity(k.min(1 << 16)) }
    }

    /// Whether an item with this id and score would be kept.
    #[inline]
    pub fn would_keep(&self, item: ItemId, score: f32) -> bool {
        if self.heap.len() < self.k {
            return true;
        }
        self.heap.peek().is_some_and(|worst| Entry(item, score) < *worst)
    }

    /// A score below this is not kept, whatever its item: negative infinity until `k` items are held.
    #[inline]
    pub fn threshold(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.k => worst.1,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Offers one item.
    #[inline]
    pub fn push(&mut self, item: ItemId, score: f32) {
        if self.heap.len() < self.k {
            self.heap.push(Entry(item, score));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Entry(item, score) < *worst
        {
            *worst = Entry(item, score);
        }
    }

    /// The items kept, best first.
    pub fn into_sorted(self) -> Vec<(ItemId, f32)> {
        self.heap.into_sorted_vec().into_iter().map(|Entry(item, score)| (item, score)).collect()
    }
}

/// The `k` best of the items that the filter admits, where `scores[i]` is the score of item `i`.
///
/// # Errors
/// A score that is not finite.
pub(crate) fn best_admitted(scores: &[f32], k: usize, filter: &ItemFilter) -> Result<Vec<(ItemId, f32)>> {
    if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
        return Err(ErrorKind::NonFinite { what: "score", index, value: scores[index].into() }.into());
    }
    let mut top = TopK::new(k);
    let mut offer = |item: ItemId| {
        let score = scores[item.index()];
        if top.would_keep(item, score) && filter.admits(item) {
            top.push(item, score);
        }
    };
    match filter.allowed() {
        Some(allowed) => allowed.iter().copied().for_each(&mut offer),
        None => (0..scores.len() as u32).map(ItemId).for_each(&mut offer),
    }
    Ok(top.into_sorted())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_a_sort(scores in prop::collection::vec(-3i8..3, 0..60), k in 0usize..70) {
            let mut all: Vec<_> =
                scores.iter().enumerate().map(|(i, &s)| (ItemId(i as u32), f32::from(s))).collect();
            let mut top = TopK::new(k);
            for &(item, score) in all.iter().rev() {
                let keep = top.would_keep(item, score);
                prop_assert!(!keep || score >= top.threshold());
                top.push(item, score);
                prop_assert_eq!(keep, top.clone().into_sorted().contains(&(item, score)));
            }
            all.sort_by(|&a, &b| by_score(a, b));
            let values: Vec<f32> = scores.iter().map(|&s| f32::from(s)).collect();
            let odd = (0..scores.len() as u32).map(ItemId).filter(|item| item.0 % 2 == 1);
            for filter in [ItemFilter::all().deny(odd.clone()), ItemFilter::all().allow(odd)] {
                let admitted = all.iter().copied().filter(|&(item, _)| filter.admits(item));
                let expected: Vec<_> = admitted.take(k).collect();
                prop_assert_eq!(best_admitted(&values, k, &filter).unwrap(), expected);
            }
            all.truncate(k);
            prop_assert_eq!(top.into_sorted(), all);
        }
    }
}
