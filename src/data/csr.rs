use std::marker::PhantomData;

use rayon::prelude::*;

use super::{Interaction, Interactions};
use crate::ids::{ItemId, UserId};

/// Entries grouped by a dense id, in two flat arrays (compressed sparse rows): the items of each user,
/// the users of each item, the genres of each item, …
///
/// `R` is the id that names a row, `T` an entry.
///
/// ```
/// use recsys::prelude::*;
///
/// let event = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let interactions = Interactions::from_rows(2, 3, [event(1, 2), event(0, 1), event(1, 0)])?;
///
/// let items = Csr::by_user(&interactions, |row| row.item);
/// assert_eq!(items.row(UserId(1)), [ItemId(2), ItemId(0)]);
/// let users = Csr::by_item(&interactions, |row| (row.user, row.value));
/// assert_eq!(users.row(ItemId(1)), [(UserId(0), 1.0)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr<R, T> {
    /// Row `r` is `entries[offsets[r]..offsets[r + 1]]`.
    offsets: Vec<usize>,
    entries: Vec<T>,
    row: PhantomData<fn(R)>,
}

/// How many entries one parallel task handles, at least.
const ENTRIES_PER_TASK: usize = 1 << 15;

impl<T: Copy> Csr<UserId, T> {
    /// One entry per interaction, grouped by user; within a user in the order of the rows.
    pub fn by_user(interactions: &Interactions, entry: impl Fn(Interaction) -> T) -> Self {
        Self::group(interactions.n_users(), interactions.users(), |row| entry(interactions.row(row)))
    }
}

impl<T: Copy> Csr<ItemId, T> {
    /// One entry per interaction, grouped by item; within an item in the order of the rows.
    pub fn by_item(interactions: &Interactions, entry: impl Fn(Interaction) -> T) -> Self {
        Self::group(interactions.n_items(), interactions.items(), |row| entry(interactions.row(row)))
    }
}

impl<R: Copy + Into<usize>, T> Csr<R, T> {
    /// These rows, in this order.
    pub fn from_rows<I: IntoIterator<Item = T>>(rows: impl IntoIterator<Item = I>) -> Self {
        let (mut offsets, mut entries) = (vec![0], Vec::new());
        for row in rows {
            entries.extend(row);
            offsets.push(entries.len());
        }
        Self { offsets, entries, row: PhantomData }
    }

    /// `entry(i)` for each key `keys[i]`, grouped by key in `0..n_rows` and in order within a row: a
    /// counting sort, or one copy where the keys ascend already.
    pub(super) fn group(n_rows: usize, keys: &[R], entry: impl Fn(usize) -> T) -> Self
    where
        T: Copy,
    {
        let key = |i: usize| -> usize { keys[i].into() };
        let mut offsets = vec![0; n_rows + 1];
        let mut ascending = true;
        let mut last = 0;
        for i in 0..keys.len() {
            let row = key(i);
            offsets[row + 1] += 1;
            ascending &= last <= row;
            last = row;
        }
        for row in 0..n_rows {
            offsets[row + 1] += offsets[row];
        }
        let entries = if ascending {
            (0..keys.len()).map(entry).collect()
        } else {
            let mut next = offsets.clone();
            let mut entries = vec![entry(0); keys.len()];
            for i in 0..keys.len() {
                let place = &mut next[key(i)];
                entries[*place] = entry(i);
                *place += 1;
            }
            entries
        };
        Self { offsets, entries, row: PhantomData }
    }

    /// The number of rows; some may be empty.
    pub fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The entries of one row.
    ///
    /// # Panics
    /// If `row` is not below [`n_rows`](Self::n_rows); see [`get`](Self::get).
    #[inline]
    pub fn row(&self, row: R) -> &[T] {
        let row = row.into();
        &self.entries[self.offsets[row]..self.offsets[row + 1]]
    }

    /// The entries of one row, or `None` where there is no such row.
    pub fn get(&self, row: R) -> Option<&[T]> {
        (row.into() < self.n_rows()).then(|| self.row(row))
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> {
        self.offsets.windows(2).map(|bounds| &self.entries[bounds[0]..bounds[1]])
    }

    /// All entries, row after row.
    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The row of each entry.
    pub(super) fn row_of_each_entry(&self) -> Vec<R>
    where
        R: From<u32>,
    {
        let row = |(row, entries): (u32, &[T])| std::iter::repeat_n(R::from(row), entries.len());
        (0..).zip(self.rows()).flat_map(row).collect()
    }

    /// Where each row begins in [`entries`](Self::entries), and at last where the last one ends.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The same rows, each sorted, so that an entry is found by binary search.
    pub fn sorted(mut self) -> Self
    where
        T: Ord + Send,
    {
        self.for_each_row_mut(|row| row.sort_unstable());
        self
    }

    /// The same rows over other entries, in the same places.
    pub(super) fn map<U: Send>(&self, entry: impl Fn(&T) -> U + Send + Sync) -> Csr<R, U>
    where
        T: Sync,
    {
        let entries = self.entries.par_iter().map(entry).collect();
        Csr { offsets: self.offsets.clone(), entries, row: PhantomData }
    }

    /// Calls `f` on every row, in parallel.
    pub(super) fn for_each_row_mut(&mut self, f: impl Fn(&mut [T]) + Sync)
    where
        T: Send,
    {
        let mut tasks = Vec::new();
        let mut rest = self.entries.as_mut_slice();
        let mut first = 0;
        for row in 1..self.offsets.len() {
            let length = self.offsets[row] - self.offsets[first];
            if length >= ENTRIES_PER_TASK || row + 1 == self.offsets.len() {
                let (task, after) = rest.split_at_mut(length);
                tasks.push((&self.offsets[first..=row], task));
                (rest, first) = (after, row);
            }
        }
        tasks.into_par_iter().for_each(|(offsets, mut rest)| {
            for bounds in offsets.windows(2) {
                let (row, after) = rest.split_at_mut(bounds[1] - bounds[0]);
                f(row);
                rest = after;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::interactions;
    use super::*;

    proptest! {
        #[test]
        fn both_views_hold_every_row_once_in_order(rows in interactions()) {
            let by_user = Csr::by_user(&rows, |row| (row.item, row.timestamp));
            for (user, entries) in (0..).map(UserId).zip(by_user.rows()) {
                let of_user = rows.iter().filter(|row| row.user == user);
                prop_assert_eq!(entries, of_user.map(|row| (row.item, row.timestamp)).collect::<Vec<_>>());
            }
            let by_item = Csr::by_item(&rows, |row| (row.user, row.timestamp));
            for (item, entries) in (0..).map(ItemId).zip(by_item.rows()) {
                let of_item = rows.iter().filter(|row| row.item == item);
                prop_assert_eq!(entries, of_item.map(|row| (row.user, row.timestamp)).collect::<Vec<_>>());
            }
        }

        #[test]
        fn the_views_are_inverse(rows in interactions()) {
            let by_user = Csr::by_user(&rows, |row| row.item).sorted();
            let by_item = Csr::by_item(&rows, |row| row.user).sorted();
            for user in (0..8).map(UserId) {
                for item in (0..10).map(ItemId) {
                    let items = by_user.row(user).iter().filter(|&&other| other == item).count();
                    let users = by_item.row(item).iter().filter(|&&other| other == user).count();
                    prop_assert_eq!(items, users);
                    prop_assert_eq!(by_user.row(user).binary_search(&item).is_ok(), items > 0);
                }
            }
        }
    }

    #[test]
    fn long_and_empty_rows_are_sorted_in_every_task() {
        let lengths = [0, ENTRIES_PER_TASK, 0, 3, 2 * ENTRIES_PER_TASK + 1, 5, 0];
        let rows: Vec<Vec<usize>> = lengths.map(|length| (0..length).rev().collect()).into();
        let sorted = Csr::<usize, usize>::from_rows(rows).sorted();
        assert_eq!(sorted.n_rows(), lengths.len());
        for (row, length) in sorted.rows().zip(lengths) {
            assert!(row.iter().copied().eq(0..length));
        }
        assert_eq!((sorted.get(3), sorted.get(7)), (Some(&[0, 1, 2][..]), None));
        assert_eq!(Csr::<usize, u8>::from_rows(Vec::<Vec<u8>>::new()).sorted().n_rows(), 0);
    }
}
