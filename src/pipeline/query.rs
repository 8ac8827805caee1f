use crate::error::{ErrorKind, Result};
use crate::ids::{ItemFilter, ItemId, UserId};

/// One request: who asks, what they did before, and which items the answer may contain.
///
/// ```
/// use recsys::prelude::*;
///
/// let history = [ItemId(3), ItemId(8)];
/// let query = Query::new(&history).with_user(UserId(42)).excluding(history);
/// assert!(!query.filter().admits(ItemId(8)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Query<'a> {
    user: Option<UserId>,
    history: &'a [ItemId],
    filter: ItemFilter,
}

impl<'a> Query<'a> {
    /// A query from this history, oldest item first; empty for somebody new. Nothing is excluded yet,
    /// not even the history.
    pub fn new(history: &'a [ItemId]) -> Self {
        Self { history, ..Self::default() }
    }

    /// A query of these parts.
    pub(super) fn of_parts(user: Option<UserId>, history: &'a [ItemId], filter: ItemFilter) -> Self {
        Self { user, history, filter }
    }

    /// Says who asks.
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Keeps these items out of the answer: seen items, a deny list.
    pub fn excluding(mut self, items: impl IntoIterator<Item = ItemId>) -> Self {
        self.filter = self.filter.deny(items);
        self
    }

    /// Restricts the answer to these items.
    pub fn allowing(mut self, items: impl IntoIterator<Item = ItemId>) -> Self {
        self.filter = self.filter.allow(items);
        self
    }

    /// Who asks, if known.
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// The items of the past, oldest first.
    pub fn history(&self) -> &'a [ItemId] {
        self.history
    }

    /// Which items the answer may contain.
    pub fn filter(&self) -> &ItemFilter {
        &self.filter
    }

    /// Checks that every item the query names is in a catalogue of `n_items`: what a stage does first.
    ///
    /// # Errors
    /// The first item of the history, the deny list or the allow list that is not.
    pub fn check_items(&self, n_items: usize) -> Result<()> {
        let allowed = self.filter.allowed().unwrap_or_default();
        let mut items = self.history.iter().chain(self.filter.denied()).chain(allowed);
        match items.find(|item| item.index() >= n_items) {
            Some(item) => {
                let (id, bound) = (item.0.into(), n_items as u64);
                Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into())
            }
            None => Ok(()),
        }
    }
}
