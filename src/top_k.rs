//! The one order of scored items, and the selection of the first k of it.

use std::cmp::Ordering;

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
/// Holds at most 2 k items: when they are reached, the worse half is dropped (quickselect), so that an item costs a constant
/// number of operations in the mean, and one that cannot be among the best costs one comparison.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    kept: Vec<Key>,
    /// The last of the `k` best when items were dropped last.
    bound: Option<Key>,
}

/// An item and its score in one number: the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    #[inline]
    fn new(item: ItemId, score: f32) -> Self {
        // As `f32::total_cmp`: the bits of a negative number but its sign are turned, and then they are in order as integers.
        let bits = score.to_bits() as i32;
        let ascending = (bits ^ ((bits >> 31) as u32 >> 1) as i32) as u32 ^ (1 << 31);
        Self(u64::from(!ascending) << 32 | u64::from(item.0))
    }

    #[inline]
    fn item(self) -> ItemId {
        ItemId(self.0 as u32)
    }

    #[inline]
    fn score(self) -> f32 {
        let bits = (!(self.0 >> 32) as u32 ^ (1 << 31)) as i32;
        f32::from_bits((bits ^ ((bits >> 31) as u32 >> 1) as i32) as u32)
    }
}

impl TopK {
    /// An empty selection of at most `k` items.
    pub fn new(k: usize) -> Self {
        Self { k, kept: Vec::with_capacity(k.saturating_mul(2).min(1 << 12)), bound: None }
    }

    /// Whether an item with this id and score may be among the best: if not, it need not be offered.
    #[inline]
    pub fn may_keep(&self, item: ItemId, score: f32) -> bool {
        self.is_within(Key::new(item, score))
    }

    #[inline]
    fn is_within(&self, key: Key) -> bool {
        self.k > 0 && self.bound.is_none_or(|bound| key < bound)
    }

    /// An item of a score below this need not be offered: negative infinity until enough have been.
    #[inline]
    pub fn threshold(&self) -> f32 {
        self.bound.map_or(f32::NEG_INFINITY, Key::score)
    }

    /// Offers one item.
    #[inline]
    pub fn push(&mut self, item: ItemId, score: f32) {
        let key = Key::new(item, score);
        if self.is_within(key) {
            self.kept.push(key);
            if self.kept.len() == self.k.saturating_mul(2) {
                self.drop_worse();
            }
        }
    }

    /// Keeps the `k` best of what is kept.
    fn drop_worse(&mut self) {
        if self.k < self.kept.len() {
            let (_, worst, _) = self.kept.select_nth_unstable(self.k - 1);
            self.bound = Some(*worst);
            self.kept.truncate(self.k);
        }
    }

    /// The items kept, best first.
    pub fn into_sorted(mut self) -> Vec<(ItemId, f32)> {
        self.drop_worse();
        self.kept.sort_unstable();
        self.kept.into_iter().map(|key| (key.item(), key.score())).collect()
    }
}

/// The `k` best of the items that the filter admits, where `scores[i]` is the score of item `i`.
///
/// # Errors
/// A score that is not finite; an allowed item that has none.
pub(crate) fn best_admitted(scores: &[f32], k: usize, filter: &ItemFilter) -> Result<Vec<(ItemId, f32)>> {
    let bound = scores.len();
    if let Some(item) = filter.allowed().and_then(<[ItemId]>::last).filter(|item| item.index() >= bound) {
        return Err(ErrorKind::IdOutOfRange { what: "item", id: item.0.into(), bound: bound as u64 }.into());
    }
    if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
        return Err(ErrorKind::NonFinite { what: "score", index, value: scores[index].into() }.into());
    }
    let mut top = TopK::new(k);
    let mut offer = |item: ItemId| {
        let score = scores[item.index()];
        if top.may_keep(item, score) && filter.admits(item) {
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
        fn a_key_orders_as_scores_and_items_do(a: (u32, u32), b: (u32, u32)) {
            let [a, b] = [a, b].map(|(item, bits)| (ItemId(item), f32::from_bits(bits)));
            let key = |(item, score)| Key::new(item, score);
            prop_assert_eq!(key(a).cmp(&key(b)), by_score(a, b));
            prop_assert_eq!((key(a).item(), key(a).score().to_bits()), (a.0, a.1.to_bits()));
        }

        #[test]
        fn an_allowed_item_without_a_score_is_an_error(n in 0u32..5, beyond in 0u32..3) {
            let filter = ItemFilter::all().allow([ItemId(0), ItemId(n + beyond)]);
            let error = best_admitted(&vec![1.0; n as usize], 3, &filter).unwrap_err().to_string();
            prop_assert_eq!(error, format!("item id {} is not below {n}", n + beyond));
        }

        #[test]
        fn equals_a_sort(scores in prop::collection::vec(-3i8..3, 0..60), k in 0usize..70) {
            let mut all: Vec<_> =
                scores.iter().enumerate().map(|(i, &s)| (ItemId(i as u32), f32::from(s))).collect();
            let mut top = TopK::new(k);
            for &(item, score) in all.iter().rev() {
                let (may, threshold) = (top.may_keep(item, score), top.threshold());
                top.push(item, score);
                let is_kept = top.clone().into_sorted().contains(&(item, score));
                prop_assert!(may && score >= threshold || !is_kept);
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
