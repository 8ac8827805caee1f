use super::{Csr, Interactions};
use crate::ids::{ItemId, UserId};

/// The interactions as a sparse matrix, from both of its sides: each pair of a user and an item that met is one
/// entry, with the sum of its rows.
///
/// ```
/// use recsys::data::UserItemMatrix;
/// use recsys::prelude::*;
///
/// let row = |user, item, value| Interaction { user: UserId(user), item: ItemId(item), value, timestamp: 0 };
/// let plays = Interactions::from_rows(2, 3, [row(0, 2, 5.0), row(1, 2, 1.0), row(0, 2, 2.0)])?;
/// let matrix = UserItemMatrix::totals(&plays);
/// assert_eq!(matrix.by_user().row(UserId(0)), [(ItemId(2), 7.0)]);
/// assert_eq!(matrix.by_item().row(ItemId(2)), [(UserId(0), 7.0), (UserId(1), 1.0)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct UserItemMatrix {
    by_user: Csr<UserId, (ItemId, f32)>,
    by_item: Csr<ItemId, (UserId, f32)>,
}

impl UserItemMatrix {
    /// An entry is the number of the pair's rows.
    pub fn counts(interactions: &Interactions) -> Self {
        Self::new(interactions, |_| 1.0)
    }

    /// An entry is the sum of the values of the pair's rows.
    pub fn totals(interactions: &Interactions) -> Self {
        Self::new(interactions, |value| value)
    }

    fn new(interactions: &Interactions, weight: impl Fn(f32) -> f32) -> Self {
        let rows = Csr::by_user(interactions, |row| (row.item, weight(row.value)));
        let by_user: Csr<UserId, _> = Csr::from_rows(rows.rows().map(merged));
        let entries = by_user.entries();
        let items: Vec<ItemId> = entries.iter().map(|entry| entry.0).collect();
        let users = by_user.row_of_each_entry();
        let by_item = Csr::group(interactions.n_items(), &items, |at| (users[at], entries[at].1));
        Self { by_user, by_item }
    }

    /// The items of each user, ascending.
    pub fn by_user(&self) -> &Csr<UserId, (ItemId, f32)> {
        &self.by_user
    }

    /// The users of each item, ascending.
    pub fn by_item(&self) -> &Csr<ItemId, (UserId, f32)> {
        &self.by_item
    }
}

/// The entries by ascending item, those of one item added up.
fn merged(entries: &[(ItemId, f32)]) -> Vec<(ItemId, f32)> {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| entry.0);
    entries.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 += next.1;
        }
        is_same
    });
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::interactions;
    use super::*;

    proptest! {
        #[test]
        fn both_sides_hold_the_same_sums(table in interactions()) {
            for (matrix, weight) in [
                (UserItemMatrix::counts(&table), (|_| 1.0) as fn(f32) -> f32),
                (UserItemMatrix::totals(&table), |value| value),
            ] {
                prop_assert_eq!((matrix.by_user().n_rows(), matrix.by_item().n_rows()), (table.n_users(), table.n_items()));
                prop_assert_eq!(matrix.by_user().entries().len(), matrix.by_item().entries().len());
                for (user, row) in matrix.by_user().rows().enumerate() {
                    prop_assert!(row.is_sorted_by(|a, b| a.0 < b.0));
                    for &(item, found) in row {
                        let user = UserId(user as u32);
                        let pair = table.iter().filter(|row| (row.user, row.item) == (user, item));
                        let expected: f32 = pair.map(|row| weight(row.value)).sum();
                        prop_assert_eq!(found, expected);
                        prop_assert!(matrix.by_item().row(item).contains(&(user, found)));
                    }
                }
            }
        }
    }
}
