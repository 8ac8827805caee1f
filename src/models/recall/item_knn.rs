//! Item-based collaborative filtering: Sarwar et al. 2001, "Item-based collaborative filtering recommendation
//! algorithms"; Deshpande & Karypis 2004, "Item-based top-n recommendation algorithms".
//!
//! With U_i the users who interacted with item i, sim(i, j) = |U_i ∩ U_j| / √(|U_i| |U_j|) (the cosine, Sarwar
//! et al., section 3.1.1, of 0-1 vectors), and score(i) = Σ sim(j, i) over the distinct items j of the
//! history, of whose similarities only those to their nearest neighbours are kept (Deshpande & Karypis, section
//! 4.1).

use rayon::prelude::*;

use crate::data::{Csr, Interactions};
use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId, UserId};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::TopK;

/// Recommends what is similar to the items of the history.
///
/// An item that is similar to none of them is no candidate, so that an answer may hold fewer than `k`, and
/// none at all for an empty history.
///
/// ```
/// use recsys::models::recall::ItemKnnRecaller;
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(3, 3, [row(0, 0), row(0, 1), row(1, 0), row(1, 1), row(2, 2)])?;
/// let knn = ItemKnnRecaller::fit(&train, 100)?;
/// assert_eq!(knn.recall(&Query::new(&[ItemId(0)]).excluding([ItemId(0)]), 5)?, [Candidate::new(ItemId(1), 1.0)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ItemKnnRecaller {
    /// The nearest neighbours of each item, best first, with their similarities.
    neighbours: Csr<ItemId, (ItemId, f32)>,
    n_items: usize,
}

impl ItemKnnRecaller {
    /// Finds the `n_neighbours` items most similar to each.
    ///
    /// # Errors
    /// A number of 0.
    pub fn fit(interactions: &Interactions, n_neighbours: usize) -> Result<Self> {
        if n_neighbours == 0 {
            return Err(Error::config("ItemKnnRecaller::n_neighbours", "at least 1", 0));
        }
        let distinct = |mut items: Vec<ItemId>| {
            items.sort_unstable();
            items.dedup();
            items
        };
        let rows = Csr::by_user(interactions, |row| row.item);
        let items: Csr<UserId, ItemId> = Csr::from_rows(rows.rows().map(|items| distinct(items.to_vec())));
        let mut users = vec![Vec::new(); interactions.n_items()];
        for (user, items) in items.rows().enumerate() {
            items.iter().for_each(|item| users[item.index()].push(UserId(user as u32)));
        }
        let nearest = |item: usize, shared: &mut Vec<u32>| {
            let mut touched = Vec::new();
            for other in users[item].iter().flat_map(|&user| items.row(user)) {
                if shared[other.index()] == 0 {
                    touched.push(*other);
                }
                shared[other.index()] += 1;
            }
            let mut top = TopK::new(n_neighbours);
            for other in touched {
                let n_shared = std::mem::take(&mut shared[other.index()]) as f32;
                if other.index() != item {
                    let norm = (users[item].len() as f32 * users[other.index()].len() as f32).sqrt();
                    top.push(other, n_shared / norm);
                }
            }
            top.into_sorted()
        };
        let n_items = interactions.n_items();
        let counts = || vec![0; n_items];
        let nearest: Vec<_> =
            (0..n_items).into_par_iter().map_init(counts, |shared, item| nearest(item, shared)).collect();
        Ok(Self { neighbours: Csr::from_rows(nearest), n_items })
    }

    /// The `k` admissible items most similar to `item`, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub fn similar_items(&self, item: ItemId, k: usize, filter: &ItemFilter) -> Result<Vec<Candidate>> {
        Query::new(&[item]).check_items(self.n_items)?;
        let admitted = self.neighbours.row(item).iter().filter(|(item, _)| filter.admits(*item));
        Ok(admitted.take(k).map(|&(item, score)| Candidate::new(item, score)).collect())
    }
}

impl Recaller for ItemKnnRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.n_items)?;
        let mut history = query.history().to_vec();
        history.sort_unstable();
        history.dedup();
        let mut scores = vec![0.0; self.n_items];
        for &(item, similarity) in history.iter().flat_map(|&item| self.neighbours.row(item)) {
            scores[item.index()] += similarity;
        }
        let mut top = TopK::new(k);
        for (item, &score) in (0..).map(ItemId).zip(&scores) {
            if score > 0.0 && top.would_keep(item, score) && query.filter().admits(item) {
                top.push(item, score);
            }
        }
        Ok(top.into_sorted().into_iter().map(|(item, score)| Candidate::new(item, score)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interaction;

    fn table(rows: &[(u32, u32)]) -> Interactions {
        let row = |&(user, item): &(u32, u32)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp: 0,
        };
        Interactions::from_rows(4, 5, rows.iter().map(row)).unwrap()
    }

    #[test]
    fn similarities_are_cosines_of_distinct_users() {
        // Item 0: users 0, 1, 2; item 1: users 0, 1 (user 1 twice); item 2: user 2; item 3: user 3; item 4: none.
        let rows = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (1, 1), (2, 2), (3, 3)];
        let knn = ItemKnnRecaller::fit(&table(&rows), 9).unwrap();
        let found = knn.similar_items(ItemId(0), 9, &ItemFilter::all()).unwrap();
        let expected = [(1, 2.0 / 6f32.sqrt()), (2, 1.0 / 3f32.sqrt())];
        assert_eq!(found, expected.map(|(item, score)| Candidate::new(ItemId(item), score)));
        assert!(knn.similar_items(ItemId(3), 9, &ItemFilter::all()).unwrap().is_empty());
        assert!(knn.similar_items(ItemId(5), 9, &ItemFilter::all()).is_err());
        // The history counts once each, and scores add up.
        let answer = knn.recall(&Query::new(&[ItemId(1), ItemId(2), ItemId(1)]), 1).unwrap();
        assert_eq!(answer, [Candidate::new(ItemId(0), 2.0 / 6f32.sqrt() + 1.0 / 3f32.sqrt())]);
    }

    #[test]
    fn only_the_nearest_are_kept() {
        let rows = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 2)];
        let knn = ItemKnnRecaller::fit(&table(&rows), 1).unwrap();
        assert_eq!(knn.recall(&Query::new(&[ItemId(0)]), 9).unwrap().len(), 1);
        assert!(ItemKnnRecaller::fit(&table(&rows), 0).is_err());
    }
}
