use std::ops::RangeBounds;

use super::sequences::time_order;
use super::{Csr, Interactions};
use crate::ids::{ItemId, UserId};

/// Which of several equal interactions stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The earliest; of those at the same time, the first row.
    First,
    /// The latest; of those at the same time, the last row.
    Last,
}

/// Filters. Each keeps the order of the rows and the meaning of the ids; those without a row are
/// forgotten by [`Dataset::compact`](super::Dataset::compact).
///
/// ```
/// use recsys::prelude::*;
///
/// let rows = SyntheticConfig::new(200, 100, 4_000, 1).generate()?.interactions().clone();
/// let dense = rows.deduplicate(Keep::Last).min_value(4.0).k_core(5, 5);
/// assert!(Csr::by_item(&dense, |_| ()).rows().all(|users| users.is_empty() || users.len() >= 5));
/// # Ok::<(), Error>(())
/// ```
impl Interactions {
    /// The rows whose value is `minimum` or more: of ratings, those that say "I liked it".
    pub fn min_value(self, minimum: f32) -> Self {
        self.retain(|row| row.value >= minimum)
    }

    /// The rows whose time is in `window`.
    pub fn time_window(self, window: impl RangeBounds<i64>) -> Self {
        self.retain(|row| window.contains(&row.timestamp))
    }

    /// One row for each pair of user and item.
    pub fn deduplicate(self, keep: Keep) -> Self {
        let mut stays = vec![false; self.len()];
        let mut last_user: Vec<Option<UserId>> = vec![None; self.n_items()];
        for (user, rows) in time_order(&self).rows().enumerate() {
            let user = Some(UserId(user as u32));
            let mut visit = |&row: &u32| {
                let item = self.items()[row as usize];
                stays[row as usize] = std::mem::replace(&mut last_user[item.index()], user) != user;
            };
            match keep {
                Keep::First => rows.iter().for_each(&mut visit),
                Keep::Last => rows.iter().rev().for_each(&mut visit),
            }
        }
        self.retain_rows(|row| stays[row])
    }

    /// The rows of users with `k` rows or more.
    pub fn min_per_user(self, k: usize) -> Self {
        self.k_core(k, 0)
    }

    /// The rows of items with `k` rows or more.
    pub fn min_per_item(self, k: usize) -> Self {
        self.k_core(0, k)
    }

    /// The largest set of rows in which every user has `per_user` rows or more and every item `per_item`
    /// or more; 0 asks for nothing.
    ///
    /// Users and items below their minimum are peeled off until none is left (Batagelj & Zaveršnik 2003,
    /// "An O(m) algorithm for cores decomposition of networks"), which takes linear time.
    pub fn k_core(self, per_user: usize, per_item: usize) -> Self {
        let stays = Peeling::new(&self, per_user, per_item).rows_left();
        self.retain_rows(|row| stays[row])
    }
}

/// The bipartite graph of users and items while nodes are peeled off it. Node `n_users + i` is item `i`.
struct Peeling<'a> {
    interactions: &'a Interactions,
    per_user: usize,
    per_item: usize,
    degrees: Vec<usize>,
}

impl<'a> Peeling<'a> {
    fn new(interactions: &'a Interactions, per_user: usize, per_item: usize) -> Self {
        let degrees = vec![0; interactions.n_users() + interactions.n_items()];
        let mut graph = Self { interactions, per_user, per_item, degrees };
        for row in 0..interactions.len() {
            for node in graph.ends(row) {
                graph.degrees[node] += 1;
            }
        }
        graph
    }

    fn ends(&self, row: usize) -> [usize; 2] {
        let table = self.interactions;
        [table.users()[row].index(), table.n_users() + table.items()[row].index()]
    }

    fn minimum(&self, node: usize) -> usize {
        if node < self.interactions.n_users() { self.per_user } else { self.per_item }
    }

    /// Which rows are left when no node is below its minimum.
    fn rows_left(mut self) -> Vec<bool> {
        let table = self.interactions;
        let mut stays = vec![true; table.len()];
        let mut doomed: Vec<usize> =
            (0..self.degrees.len()).filter(|&node| self.degrees[node] < self.minimum(node)).collect();
        if doomed.iter().all(|&node| self.degrees[node] == 0) {
            return stays;
        }
        let rows_of_user = Csr::group(table.n_users(), table.users(), |row| row as u32);
        let rows_of_item = Csr::group(table.n_items(), table.items(), |row| row as u32);
        while let Some(node) = doomed.pop() {
            let rows = match node.checked_sub(table.n_users()) {
                None => rows_of_user.row(UserId(node as u32)),
                Some(item) => rows_of_item.row(ItemId(item as u32)),
            };
            for &row in rows {
                if !std::mem::take(&mut stays[row as usize]) {
                    continue;
                }
                for end in self.ends(row as usize) {
                    let had = self.degrees[end];
                    self.degrees[end] -= 1;
                    if end != node && had == self.minimum(end) {
                        doomed.push(end);
                    }
                }
            }
        }
        stays
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::super::Interaction;
    use super::super::testing::{interactions, table};
    use super::*;

    /// Filters by both minima again and again until nothing changes.
    fn naive_k_core(mut rows: Vec<(u32, u32)>, per_user: usize, per_item: usize) -> Vec<(u32, u32)> {
        loop {
            let (mut users, mut items) = (HashMap::new(), HashMap::new());
            for &(user, item) in &rows {
                *users.entry(user).or_insert(0) += 1;
                *items.entry(item).or_insert(0) += 1;
            }
            let before = rows.len();
            rows.retain(|(user, item)| users[user] >= per_user && items[item] >= per_item);
            if rows.len() == before {
                return rows;
            }
        }
    }

    fn pairs(interactions: &Interactions) -> Vec<(u32, u32)> {
        interactions.iter().map(|row| (row.user.0, row.item.0)).collect()
    }

    proptest! {
        #[test]
        fn a_k_core_is_the_fixpoint_of_both_minima(
            rows in interactions(), per_user in 0usize..5, per_item in 0usize..5,
        ) {
            let expected = naive_k_core(pairs(&rows), per_user, per_item);
            prop_assert_eq!(pairs(&rows.k_core(per_user, per_item)), expected);
        }

        #[test]
        fn deduplication_keeps_one_row_of_a_pair(rows in interactions()) {
            let key = |row: &Interaction| (row.user, row.item);
            let times = |row: &Interaction| row.timestamp;
            let all: Vec<_> = rows.iter().collect();
            for keep in [Keep::First, Keep::Last] {
                let kept: Vec<_> = rows.clone().deduplicate(keep).iter().collect();
                let distinct: HashSet<_> = all.iter().map(key).collect();
                prop_assert_eq!(kept.len(), distinct.len());
                for row in kept {
                    let equal = all.iter().filter(|other| key(other) == key(&row));
                    // `min_by_key` gives the first of equals, `max_by_key` the last.
                    let expected = match keep {
                        Keep::First => equal.min_by_key(|row| times(row)),
                        Keep::Last => equal.max_by_key(|row| times(row)),
                    };
                    prop_assert_eq!(Some(&row), expected);
                }
            }
        }
    }

    #[test]
    fn thresholds_and_windows_include_their_bounds() {
        // (user, item, value, time)
        let rows = table(2, 2, &[(0, 0, 3.5, 10), (1, 1, 4.0, 20), (0, 1, 5.0, 30)]);
        assert_eq!(pairs(&rows.clone().min_value(4.0)), [(1, 1), (0, 1)]);
        assert_eq!(pairs(&rows.clone().time_window(..=20)), [(0, 0), (1, 1)]);
        assert_eq!(pairs(&rows.clone().time_window(10..20)), [(0, 0)]);
        assert_eq!(pairs(&rows.clone().min_per_user(2)), [(0, 0), (0, 1)]);
        assert_eq!(pairs(&rows.clone().min_per_item(2)), [(1, 1), (0, 1)]);
        assert_eq!(rows.clone().min_value(f32::NAN).len(), 0);
        assert_eq!((rows.clone().min_value(9.0).n_users(), rows.k_core(0, 0).len()), (2, 3));
    }
}
