use super::column_map::Layout;
use super::vocab_builder::{Keys, VocabBuilder};
use super::{Dataset, Interactions};
use crate::error::Result;
use crate::ids::{ItemId, UserId};

/// Some rows of a table, with the keys as they stand there.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) users: Keys,
    pub(super) items: Keys,
    /// Empty in a table without a value column.
    pub(super) values: Vec<f32>,
    /// Empty in a table without a time column.
    pub(super) timestamps: Vec<i64>,
}

impl Rows {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            users: Keys::new(layout.text_users),
            items: Keys::new(layout.text_items),
            values: Vec::new(),
            timestamps: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.users.clear();
        self.items.clear();
        self.values.clear();
        self.timestamps.clear();
    }

    pub(super) fn reserve(&mut self, n: usize) {
        self.users.reserve(n);
        self.items.reserve(n);
        self.values.reserve(n);
        self.timestamps.reserve(n);
    }
}

/// Rows, appended part by part, on their way to a [`Dataset`].
#[derive(Debug)]
pub(super) struct DatasetBuilder {
    user_vocab: VocabBuilder,
    item_vocab: VocabBuilder,
    users: Vec<UserId>,
    items: Vec<ItemId>,
    values: Vec<f32>,
    timestamps: Vec<i64>,
}

impl DatasetBuilder {
    pub(super) fn new(layout: &Layout) -> Self {
        let vocab = |text: bool| if text { VocabBuilder::texts() } else { VocabBuilder::ints() };
        Self {
            user_vocab: vocab(layout.text_users),
            item_vocab: vocab(layout.text_items),
            users: Vec::new(),
            items: Vec::new(),
            values: Vec::new(),
            timestamps: Vec::new(),
        }
    }

    pub(super) fn append<'r>(&mut self, parts: impl Iterator<Item = &'r Rows> + Clone + Sync) -> Result<()> {
        let Self { user_vocab, item_vocab, users, items, values, timestamps } = self;
        let (users, items) = rayon::join(
            || parts.clone().try_for_each(|rows| user_vocab.encode(&rows.users, users)),
            || {
                for rows in parts.clone() {
                    values.extend_from_slice(&rows.values);
                    timestamps.extend_from_slice(&rows.timestamps);
                }
                parts.clone().try_for_each(|rows| item_vocab.encode(&rows.items, items))
            },
        );
        users.and(items)
    }

    /// The dataset: value 1 and time 0 where the table has no such column.
    pub(super) fn finish(mut self) -> Result<Dataset> {
        let n = self.users.len();
        self.values.resize(n, 1.0);
        self.timestamps.resize(n, 0);
        self.users.shrink_to_fit();
        self.items.shrink_to_fit();
        self.values.shrink_to_fit();
        self.timestamps.shrink_to_fit();
        let (users, items) = (self.user_vocab.finish()?, self.item_vocab.finish()?);
        let interactions = Interactions::new(
            users.len(),
            items.len(),
            self.users,
            self.items,
            self.values,
            self.timestamps,
        )?;
        Dataset::new(interactions, users, items)
    }
}
