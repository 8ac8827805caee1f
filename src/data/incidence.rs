use super::{Csr, Interactions, SparseAccumulator};
use crate::ids::{ItemId, UserId};

/// The 0-1 matrix X of users and items, by rows and by columns: each pair counts once, however often it happened.
#[derive(Clone, Debug)]
pub(crate) struct Incidence {
    items: Csr<UserId, ItemId>,
    users: Csr<ItemId, UserId>,
}

impl Incidence {
    /// Who chose what.
    pub(crate) fn new(interactions: &Interactions) -> Self {
        let by_user = Csr::by_user(interactions, |row| row.item).sorted();
        let distinct = |items: &[ItemId]| {
            let mut items = items.to_vec();
            items.dedup();
            items
        };
        let items: Csr<UserId, ItemId> = Csr::from_rows(by_user.rows().map(distinct));
        let owners = items.row_of_each_entry();
        let users = Csr::group(interactions.n_items(), items.entries(), |pair| owners[pair]);
        Self { items, users }
    }

    /// The distinct items of each user, ascending.
    pub(crate) fn items(&self) -> &Csr<UserId, ItemId> {
        &self.items
    }

    /// The distinct users of each item, ascending.
    pub(crate) fn users(&self) -> &Csr<ItemId, UserId> {
        &self.users
    }

    /// Row `item` of XᵀWX with W = diag(`weight`), positive: for each item that a user of this one chose, itself among
    /// them, the summed weights of the users of both.
    pub(crate) fn co_occurrences<'a>(
        &self,
        item: ItemId,
        weight: impl Fn(UserId) -> f64,
        sums: &'a mut SparseAccumulator,
    ) -> impl Iterator<Item = (ItemId, f64)> + 'a {
        for &user in self.users.row(item) {
            let weight = weight(user);
            self.items.row(user).iter().for_each(|other| sums.add(other.0, weight));
        }
        sums.drain().map(|(other, sum)| (ItemId(other), sum))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::interactions;
    use super::*;

    proptest! {
        #[test]
        fn co_occurrences_count_the_users_of_both(rows in interactions()) {
            let chosen = Incidence::new(&rows);
            let has = |user, item| rows.iter().any(|row| (row.user, row.item) == (user, item));
            let mut sums = SparseAccumulator::new(10);
            for item in (0..10).map(ItemId) {
                let weight = |user: UserId| f64::from(user.0 + 1);
                let mut found: Vec<_> = chosen.co_occurrences(item, weight, &mut sums).collect();
                found.sort_unstable_by_key(|&(other, _)| other);
                let both = |other| (0..8).map(UserId).filter(move |&u| has(u, item) && has(u, other));
                let expected = (0..10).map(ItemId).map(|other| (other, both(other).map(weight).sum::<f64>()));
                let expected: Vec<_> = expected.filter(|&(_, sum)| sum > 0.0).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
