use super::{Csr, SparseAccumulator};
use crate::ids::{ItemFilter, ItemId};
use crate::top_k::TopK;

/// For each term (a word, a genre, …) the items that have it, each with its weight: items are scored against a few
/// weighted terms at the cost of those terms' items, however many others there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InvertedIndex {
    n_items: usize,
    items: Csr<usize, (ItemId, f32)>,
}

impl InvertedIndex {
    /// The index of items that have these terms below `n_terms` with these weights above 0.
    pub(crate) fn new(n_terms: usize, terms: &Csr<ItemId, (u32, f32)>) -> Self {
        let (owners, entries) = (terms.row_of_each_entry(), terms.entries());
        let keys: Vec<usize> = entries.iter().map(|&(term, _)| term as usize).collect();
        let items = Csr::group(n_terms, &keys, |at| (owners[at], entries[at].1));
        Self { n_items: terms.n_rows(), items }
    }

    /// The number of items.
    pub(crate) fn n_items(&self) -> usize {
        self.n_items
    }

    /// The number of terms.
    pub(crate) fn n_terms(&self) -> usize {
        self.items.n_rows()
    }

    /// The `k` admissible items i of greatest Σ_t q_t w_ti over the terms t with weights q_t above 0, best first; items
    /// that have none of the terms are left out.
    pub(crate) fn top_k<C: From<(ItemId, f32)>>(
        &self,
        query: impl IntoIterator<Item = (u32, f64)>,
        k: usize,
        filter: &ItemFilter,
    ) -> Vec<C> {
        let mut scores = SparseAccumulator::new(self.n_items);
        for (term, q) in query {
            let items = self.items.row(term as usize).iter();
            items.for_each(|&(item, weight)| scores.add(item.0, q * f64::from(weight)));
        }
        let mut top = TopK::new(k);
        for (item, score) in scores.drain().map(|(item, score)| (ItemId(item), score as f32)) {
            if top.may_keep(item, score) && filter.admits(item) {
                top.push(item, score);
            }
        }
        top.into_sorted().into_iter().map(C::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_look_at_every_item_finds(
            rows in prop::collection::vec(prop::collection::btree_map(0u32..6, 1u8..9, 0..5), 0..12),
            query in prop::collection::btree_map(0u32..6, 1u8..9, 0..5),
            k in 0usize..14,
        ) {
            let row = |row: &std::collections::BTreeMap<u32, u8>| -> Vec<(u32, f32)> {
                row.iter().map(|(&term, &weight)| (term, weight.into())).collect()
            };
            let index = InvertedIndex::new(6, &Csr::from_rows(rows.iter().map(row)));
            prop_assert_eq!((index.n_items(), index.n_terms()), (rows.len(), 6));
            let filter = ItemFilter::all().deny([ItemId(1)]);
            let mut top = TopK::new(k);
            for (item, row) in (0..).map(ItemId).zip(&rows) {
                let product = |(term, &q): (&u32, &u8)| f32::from(q) * row.get(term).map_or(0.0, |&w| w.into());
                let score: f32 = query.iter().map(product).sum();
                if score > 0.0 && filter.admits(item) {
                    top.push(item, score);
                }
            }
            let query = query.iter().map(|(&term, &q)| (term, q.into()));
            prop_assert_eq!(index.top_k::<(ItemId, f32)>(query, k, &filter), top.into_sorted());
        }
    }
}
