//! Small tables for the tests of this folder.

use proptest::prelude::*;

use super::{Interaction, Interactions};
use crate::ids::{ItemId, UserId};

/// The table of rows `(user, item, value, timestamp)`.
pub fn table(n_users: usize, n_items: usize, rows: &[(u32, u32, f32, i64)]) -> Interactions {
    let row = |&(user, item, value, timestamp)| Interaction {
        user: UserId(user),
        item: ItemId(item),
        value,
        timestamp,
    };
    Interactions::from_rows(n_users, n_items, rows.iter().map(row)).unwrap()
}

/// Any table of a few users and items, with many ties of time; the value is the number of the row.
pub fn interactions() -> impl Strategy<Value = Interactions> {
    prop::collection::vec((0u32..8, 0u32..10, 0i64..12), 0..120).prop_map(|rows| {
        let rows: Vec<_> = rows.iter().zip(0u8..).map(|(&(u, i, t), n)| (u, i, f32::from(n), t)).collect();
        table(8, 10, &rows)
    })
}
