//! Dense identifiers, and the filter that says which items an answer may contain.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into a dense array.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<u32> for $name {
            fn from(id: u32) -> Self {
                Self(id)
            }
        }

        impl From<$name> for usize {
            fn from(id: $name) -> Self {
                id.index()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

dense_id! {
    /// A user as a dense id in `0..n_users`; a [`Vocab`](crate::data::Vocab) maps it to and from the
    /// key that the outside world uses.
    UserId
}

dense_id! {
    /// An item as a dense id in `0..n_items`; a [`Vocab`](crate::data::Vocab) maps it to and from the
    /// key that the outside world uses.
    ItemId
}

/// Which items an answer may contain: everything, less a deny list, or only an allow list.
///
/// The filter is applied **inside** a search, before its top k, so that k admissible items come back
/// whenever the catalogue has as many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// Sorted, without duplicates.
    denied: Vec<ItemId>,
    /// Sorted, without duplicates.
    allowed: Option<Vec<ItemId>>,
}

impl ItemFilter {
    /// A filter that admits every item.
    pub fn all() -> Self {
        Self::default()
    }

    /// Denies these items too.
    pub fn deny(mut self, items: impl IntoIterator<Item = ItemId>) -> Self {
        self.denied.extend(items);
        self.denied.sort_unstable();
        self.denied.dedup();
        self
    }

    /// Admits at most these items; called twice, at most those in both lists.
    pub fn allow(mut self, items: impl IntoIterator<Item = ItemId>) -> Self {
        let mut items: Vec<ItemId> = items.into_iter().collect();
        if let Some(before) = &self.allowed {
            items.retain(|item| before.binary_search(item).is_ok());
        }
        items.sort_unstable();
        items.dedup();
        self.allowed = Some(items);
        self
    }

    /// Whether the answer may contain `item`.
    #[inline]
    pub fn admits(&self, item: ItemId) -> bool {
        self.denied.binary_search(&item).is_err()
            && self.allowed.as_ref().is_none_or(|allowed| allowed.binary_search(&item).is_ok())
    }

    /// The denied items, sorted, without duplicates.
    pub fn denied(&self) -> &[ItemId] {
        &self.denied
    }

    /// The allow list, sorted, without duplicates; `None` when every item is allowed.
    pub fn allowed(&self) -> Option<&[ItemId]> {
        self.allowed.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<ItemId> {
        ids.iter().copied().map(ItemId).collect()
    }

    #[test]
    fn a_filter_denies_and_allows() {
        assert!(ItemFilter::all().admits(ItemId(7)));
        let filter = ItemFilter::all().deny(ids(&[5, 3, 5])).deny(ids(&[4]));
        assert_eq!(filter.denied(), ids(&[3, 4, 5]));
        assert!(!filter.admits(ItemId(3)) && filter.admits(ItemId(6)));
        let filter = filter.allow(ids(&[6, 5, 9])).allow(ids(&[5, 6, 6]));
        assert_eq!(filter.allowed(), Some(&ids(&[5, 6])[..]));
        assert!(filter.admits(ItemId(6)) && !filter.admits(ItemId(5)) && !filter.admits(ItemId(9)));
    }
}
