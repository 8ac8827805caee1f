use super::column_map::Layout;
use super::vocab_builder::{Keys, VocabBuilder};
use super::{Dataset, Interactions};
use crate::error::{Error, Location, Result};
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
    /// The rows left out because they miss something.
    pub(super) n_skipped: u64,
    /// Whether some rows come from lists of items.
    pub(super) has_lists: bool,
}

impl Rows {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            users: Keys::new(layout.reading.text_users),
            items: Keys::new(layout.reading.text_items),
            values: Vec::new(),
            timestamps: Vec::new(),
            n_skipped: 0,
            has_lists: false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.users.clear();
        self.items.clear();
        self.values.clear();
        self.timestamps.clear();
        self.n_skipped = 0;
        self.has_lists = false;
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
    n_skipped: u64,
    time_is_place: bool,
}

impl DatasetBuilder {
    pub(super) fn new(layout: &Layout) -> Self {
        let vocab = |text: bool| if text { VocabBuilder::texts() } else { VocabBuilder::ints() };
        Self {
            user_vocab: vocab(layout.reading.text_users),
            item_vocab: vocab(layout.reading.text_items),
            users: Vec::new(),
            items: Vec::new(),
            values: Vec::new(),
            timestamps: Vec::new(),
            n_skipped: 0,
            time_is_place: layout.time_is_place,
        }
    }

    pub(super) fn append<'r>(&mut self, parts: impl Iterator<Item = &'r Rows> + Clone + Sync) -> Result<()> {
        let Self { user_vocab, item_vocab, users, items, values, timestamps, n_skipped, time_is_place } =
            self;
        let (users, items) = rayon::join(
            || parts.clone().try_for_each(|rows| user_vocab.encode(&rows.users, users)),
            || {
                for rows in parts.clone() {
                    values.extend_from_slice(&rows.values);
                    timestamps.extend_from_slice(&rows.timestamps);
                    *n_skipped += rows.n_skipped;
                    *time_is_place |= rows.has_lists;
                }
                parts.clone().try_for_each(|rows| item_vocab.encode(&rows.items, items))
            },
        );
        users.and(items)
    }

    /// The dataset of a table that stands at `place`: value 1 and time 0 where it has no such column.
    ///
    /// # Errors
    /// No row.
    pub(super) fn finish(mut self, place: Location) -> Result<Dataset> {
        let n = self.users.len();
        if n == 0 {
            let found = match self.n_skipped {
                0 => "the end of the file".to_owned(),
                skipped => format!("{skipped} rows that miss something"),
            };
            return Err(Error::input(place, "at least one row", found));
        }
        let (users, items) = (self.user_vocab.finish()?, self.item_vocab.finish()?);
        if self.time_is_place && self.timestamps.is_empty() {
            let mut next = vec![0; users.len()];
            self.timestamps.extend(self.users.iter().map(|user| {
                next[user.index()] += 1;
                next[user.index()] - 1
            }));
        }
        self.values.resize(n, 1.0);
        self.timestamps.resize(n, 0);
        self.users.shrink_to_fit();
        self.items.shrink_to_fit();
        self.values.shrink_to_fit();
        self.timestamps.shrink_to_fit();
        let interactions = Interactions::new(
            users.len(),
            items.len(),
            self.users,
            self.items,
            self.values,
            self.timestamps,
        )?;
        Ok(Dataset::new(interactions, users, items)?.with_skipped(self.n_skipped))
    }
}
