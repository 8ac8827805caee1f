//! The items that a model scores highest for each user of the training data, and their form in a checkpoint.

use std::ops::Range;

use crate::data::{Csr, Sequences};
use crate::error::{Error, Location, Result};
use crate::ids::{ItemFilter, ItemId, UserId};
use crate::index::{ExactIndex, Similarity, VectorIndex};
use crate::pipeline::{EmbeddingModel, Query};

/// How many users are encoded and searched for at a time.
const USERS_PER_PASS: usize = 256;

/// The items at these ranks among those that the user has not interacted with, best first, for every user who
/// is trained on: who has two items or more.
pub(super) fn mine(
    model: &impl EmbeddingModel,
    sequences: &Sequences,
    ranks: Range<usize>,
) -> Result<Csr<UserId, ItemId>> {
    let index = ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors()?)?;
    let queries: Vec<Query<'_>> = sequences
        .iter()
        .filter(|(_, items)| items.len() > 1)
        .map(|(user, items)| Query::new(items).with_user(user).excluding(items.iter().copied()))
        .collect();
    let mut mined = vec![Vec::new(); sequences.n_users()];
    for queries in queries.chunks(USERS_PER_PASS) {
        let queries: Vec<&Query<'_>> = queries.iter().filter(|query| model.can_encode(query)).collect();
        let filters: Vec<&ItemFilter> = queries.iter().map(|query| query.filter()).collect();
        let found = index.search_batch(&model.encode(&queries)?, ranks.end, &filters)?;
        for (user, found) in queries.iter().filter_map(|query| query.user()).zip(found) {
            mined[user.index()] = found.into_iter().skip(ranks.start).map(|(item, _)| item).collect();
        }
    }
    Ok(Csr::from_rows(mined))
}

/// For each user the number of items and the items, as little-endian `u32`.
pub(super) fn to_bytes(mined: &Csr<UserId, ItemId>) -> Vec<u8> {
    let words = mined.rows().flat_map(|row| {
        let items = row.iter().map(|item| item.0);
        std::iter::once(row.len() as u32).chain(items)
    });
    words.flat_map(u32::to_le_bytes).collect()
}

/// What [`to_bytes`] wrote for as many users and items.
pub(super) fn from_bytes(bytes: &[u8], n_users: usize, n_items: usize) -> Result<Csr<UserId, ItemId>> {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut words = words.iter().map(|&word| u32::from_le_bytes(word));
    let mut row = || -> Option<Vec<ItemId>> {
        let n = words.next()?;
        (0..n).map(|_| words.next().map(ItemId).filter(|item| item.index() < n_items)).collect()
    };
    let rows: Option<Vec<_>> = (0..n_users).map(|_| row()).collect();
    match rows {
        Some(rows) if rest.is_empty() && words.next().is_none() => Ok(Csr::from_rows(rows)),
        _ => {
            let expected = format!("the mined items of {n_users} users, each below {n_items}");
            Err(Error::input(Location::memory(), expected, format!("{} other bytes", bytes.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_others_are_refused() {
        let mined: Csr<UserId, ItemId> =
            Csr::from_rows([vec![ItemId(4), ItemId(0)], vec![], vec![ItemId(2)]]);
        let bytes = to_bytes(&mined);
        assert_eq!(bytes.len(), 4 * 6);
        assert_eq!(from_bytes(&bytes, 3, 5).unwrap(), mined);
        for (bytes, n_users, n_items) in [
            (&bytes[..20], 3, 5),
            (&bytes[..23], 3, 5),
            (&bytes, 2, 5),
            (&bytes, 4, 5),
            (&bytes, 3, 4),
            (&[], 1, 1),
        ] {
            assert!(from_bytes(bytes, n_users, n_items).is_err());
        }
        assert_eq!(from_bytes(&[], 0, 0).unwrap().n_rows(), 0);
    }
}
