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
