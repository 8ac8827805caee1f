use super::{Csr, Interactions};
use crate::ids::{ItemId, UserId};

/// What each user did, oldest first; rows of equal time stay in the order of the table.
///
/// ```
/// use recsys::prelude::*;
///
/// let event = |item, timestamp| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp };
/// let interactions = Interactions::from_rows(1, 9, [event(8, 20), event(5, 10), event(3, 20)])?;
/// let sequences = Sequences::new(&interactions);
/// assert_eq!(sequences.items(UserId(0)), [ItemId(5), ItemId(8), ItemId(3)]);
/// assert_eq!(sequences.timestamps(UserId(0)), [10, 20, 20]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    items: Csr<UserId, ItemId>,
    timestamps: Csr<UserId, i64>,
}

impl Sequences {
    /// Sorts each user's rows by time, stably.
    pub fn new(interactions: &Interactions) -> Self {
        let order = time_order(interactions);
        Self {
            items: order.map(|&row| interactions.items()[row as usize]),
            timestamps: order.map(|&row| interactions.timestamps()[row as usize]),
        }
    }

    /// The number of users; some may have an empty sequence.
    pub fn n_users(&self) -> usize {
        self.items.n_rows()
    }

    /// The items of one user, oldest first.
    ///
    /// # Panics
    /// If `user` is not below [`n_users`](Self::n_users).
    #[inline]
    pub fn items(&self, user: UserId) -> &[ItemId] {
        self.items.row(user)
    }

    /// The times of the same rows.
    ///
    /// # Panics
    /// If `user` is not below [`n_users`](Self::n_users).
    #[inline]
    pub fn timestamps(&self, user: UserId) -> &[i64] {
        self.timestamps.row(user)
    }

    /// Every user with their items, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (UserId, &[ItemId])> {
        self.items.rows().enumerate().map(|(user, items)| (UserId(user as u32), items))
    }
}

/// The rows of each user in the order of time, then of the table.
pub(super) fn time_order(interactions: &Interactions) -> Csr<UserId, u32> {
    let time = |row: &u32| interactions.timestamps()[*row as usize];
    let mut rows = Csr::group(interactions.n_users(), interactions.users(), |row| row as u32);
    rows.for_each_row_mut(|rows| {
        if !rows.is_sorted_by_key(time) {
            rows.sort_by_cached_key(time);
        }
    });
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Interaction;
    use super::super::testing::interactions;
    use super::*;

    proptest! {
        #[test]
        fn equal_a_stable_sort(rows in interactions()) {
            let sequences = Sequences::new(&rows);
            prop_assert_eq!(sequences.n_users(), rows.n_users());
            for (user, items) in sequences.iter() {
                let mut expected: Vec<_> = rows.iter().filter(|row| row.user == user).collect();
                expected.sort_by_key(|row| row.timestamp);
                let column = |of: fn(&Interaction) -> i64| expected.iter().map(of).collect::<Vec<_>>();
                prop_assert_eq!(sequences.timestamps(user), column(|row| row.timestamp));
                let items: Vec<_> = items.iter().map(|item| i64::from(item.0)).collect();
                prop_assert_eq!(items, column(|row| i64::from(row.item.0)));
                // The value of a row is its number: equal times must leave it increasing.
                let order: Vec<_> = time_order(&rows).row(user).iter().map(|&row| i64::from(row)).collect();
                prop_assert_eq!(order, column(|row| row.value as i64));
            }
        }
    }
}
