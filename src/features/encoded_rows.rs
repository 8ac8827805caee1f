use std::ops::Range;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::features::FeatureSpace;

/// Rows as a model takes them: of each field a bag of weighted ids, vectors, a history, and labels.
///
/// A bag says everything that a field of ids can be: one id of weight 1 (a category, a bin), several (a list; its
/// mean has weights 1 / n), an id whose weight is a number (a standardised number), none (a missing value). A
/// field's embedding is the sum of its ids' embeddings, each times its weight.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct EncodedRows {
    space: FeatureSpace,
    n_labels: usize,
    /// Bag `row * n_fields + field` is `ids[starts[bag]..starts[bag + 1]]`.
    starts: Vec<u32>,
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// `[n_rows, d_vectors]`
    vectors: Vec<f32>,
    /// What histories are parts of; rows may share parts, and selections of the same rows share all.
    events: Arc<Vec<u32>>,
    /// The part of `events` that is the history of each row; empty without histories.
    histories: Vec<[u32; 2]>,
    /// `[n_rows, n_labels]`
    labels: Vec<f32>,
    /// Whose row it is, for measures within groups.
    groups: Vec<u32>,
    /// For each field, those of ids before those of vectors, whether all rows are known to hold the same; empty where
    /// nothing is known.
    #[serde(skip)]
    shared: Vec<bool>,
}

impl Default for EncodedRows {
    /// No rows, of a space without fields.
    fn default() -> Self {
        Self::new(FeatureSpace::default(), 0)
    }
}

impl PartialEq for EncodedRows {
    /// Wherever their events lie.
    fn eq(&self, other: &Self) -> bool {
        fn parts(rows: &EncodedRows) -> impl PartialEq + '_ {
            let EncodedRows {
                space, n_labels, starts, ids, weights, vectors, labels, groups, shared, ..
            } = rows;
            (space, n_labels, starts, ids, weights, vectors, labels, groups, shared)
        }
        parts(self) == parts(other) && (0..self.n_rows()).all(|row| self.history(row) == other.history(row))
    }
}

impl Serialize for EncodedRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for EncodedRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::deserialize(deserializer)?.checked().map_err(D::Error::custom)
    }
}

/// One row of [`EncodedRows`], to be added.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodedRow<'a> {
    /// The bag of each field: ids of the whole space, and their weights.
    pub bags: &'a [&'a [(u32, f32)]],
    /// The vectors of all fields of vectors, one behind another.
    pub vectors: &'a [f32],
    /// Where the history lies among the [events](EncodedRows::push_events).
    pub history: [u32; 2],
    /// The labels.
    pub labels: &'a [f32],
    /// Whose row it is.
    pub group: u32,
}

impl EncodedRows {
    /// The same rows, if what was read from a file fits together.
    fn checked(self) -> Result<Self> {
        let (n, space) = (self.groups.len(), &self.space);
        let n_histories = if space.history().is_some() { n } else { 0 };
        for (what, expected, found) in [
            ("number of bags", n.saturating_mul(space.n_fields()).saturating_add(1), self.starts.len()),
            ("number of weights", self.ids.len(), self.weights.len()),
            ("numbers of the vectors", n.saturating_mul(space.d_vectors()), self.vectors.len()),
            ("number of labels", n.saturating_mul(self.n_labels), self.labels.len()),
            ("number of histories", n_histories, self.histories.len()),
        ] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        let mut rows = Self::new(space.clone(), self.n_labels);
        if space.history().is_some() {
            rows.push_events(&self.events)?;
        }
        let entries: Vec<(u32, f32)> = self.ids.into_iter().zip(self.weights).collect();
        for row in 0..n {
            let starts = &self.starts[row * space.n_fields()..=(row + 1) * space.n_fields()];
            let bag = |pair: &[u32]| {
                entries.get(pair[0] as usize..pair[1] as usize).ok_or_else(|| {
                    Error::config("EncodedRows::starts", "bags one behind another", format!("{pair:?}"))
                })
            };
            let bags: Vec<&[(u32, f32)]> = starts.windows(2).map(bag).collect::<Result<_>>()?;
            rows.push(EncodedRow {
                bags: &bags,
                vectors: &self.vectors[row * space.d_vectors()..(row + 1) * space.d_vectors()],
                history: self.histories.get(row).map_or([0, 0], |&history| history),
                labels: &self.labels[row * self.n_labels..(row + 1) * self.n_labels],
                group: self.groups[row],
            })?;
        }
        Ok(rows)
    }

    /// No rows yet, of this space and with `n_labels` labels each.
    pub fn new(space: FeatureSpace, n_labels: usize) -> Self {
        Self {
            space,
            n_labels,
            starts: vec![0],
            ids: Vec::new(),
            weights: Vec::new(),
            vectors: Vec::new(),
            events: Arc::default(),
            histories: Vec::new(),
            labels: Vec::new(),
            groups: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// Adds events, ids of the history's field in the order of time, and says where they lie: a row's history is a
    /// part of them. Rows that look back on the same events share them.
    ///
    /// # Errors
    /// A space without a history; an id that is not one of the history's field; 2^32 events or more.
    pub fn push_events(&mut self, events: &[u32]) -> Result<[u32; 2]> {
        let Some((field, _)) = self.space.history() else {
            return Err(Error::config("EncodedRows::events", "a space with a history", "none"));
        };
        self.check_ids(field, events.iter().copied())?;
        let [start, end] = [self.events.len(), self.events.len() + events.len()];
        check_count("EncodedRows::events", end)?;
        Arc::make_mut(&mut self.events).extend_from_slice(events);
        Ok([start as u32, end as u32])
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Another number of bags, vectors or labels than the space has; an id outside its field; a number that is not
    /// finite; a history beyond the events; 2^32 entries or more.
    pub fn push(&mut self, row: EncodedRow<'_>) -> Result<()> {
        for (what, expected, found) in [
            ("number of fields of a row", self.space.n_fields(), row.bags.len()),
            ("width of the vectors of a row", self.space.d_vectors(), row.vectors.len()),
            ("number of labels of a row", self.n_labels, row.labels.len()),
        ] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        for (field, bag) in row.bags.iter().enumerate() {
            self.check_ids(field, bag.iter().map(|&(id, _)| id))?;
        }
        let weights = row.bags.iter().flat_map(|bag| bag.iter().map(|&(_, weight)| weight));
        let numbers = weights.chain(row.vectors.iter().copied()).chain(row.labels.iter().copied());
        if let Some(value) = numbers.into_iter().find(|value| !value.is_finite()) {
            let location = Location::memory().line(self.n_rows() as u64 + 1);
            return Err(Error::input(location, "a finite number", value.to_string()));
        }
        let [start, end] = row.history;
        if start > end || end as usize > self.events.len() {
            let bound = self.events.len() as u64;
            return Err(ErrorKind::IdOutOfRange { what: "event of a history", id: end.into(), bound }.into());
        }
        check_count(
            "EncodedRows::ids",
            self.ids.len() + row.bags.iter().map(|bag| bag.len()).sum::<usize>(),
        )?;
        for bag in row.bags {
            self.ids.extend(bag.iter().map(|&(id, _)| id));
            self.weights.extend(bag.iter().map(|&(_, weight)| weight));
            self.starts.push(self.ids.len() as u32);
        }
        self.vectors.extend_from_slice(row.vectors);
        if let Some((_, max_len)) = self.space.history() {
            let max_len = u32::try_from(max_len).unwrap_or(u32::MAX);
            self.histories.push([start.max(end.saturating_sub(max_len)), end]);
        }
        self.labels.extend_from_slice(row.labels);
        self.groups.push(row.group);
        self.shared.clear();
        Ok(())
    }

    fn check_ids(&self, field: usize, mut ids: impl Iterator<Item = u32>) -> Result<()> {
        let range = self.space.ids(field);
        match ids.find(|id| !range.contains(id)) {
            Some(id) => {
                let name = self.space.names().nth(field).unwrap_or_default();
                let location = Location::memory().line(self.n_rows() as u64 + 1).column(name);
                Err(Error::input(
                    location,
                    format!("an id from {} to {}", range.start, range.end - 1),
                    id.to_string(),
                ))
            }
            None => Ok(()),
        }
    }

    /// Adds the rows of `other`, which are of the same space.
    ///
    /// # Errors
    /// Rows of another space, or with another number of labels; 2^32 ids or events or more.
    pub fn append(&mut self, other: &Self) -> Result<()> {
        self.check_space(&other.space)?;
        let (what, expected, found) = ("number of labels of a row", self.n_labels, other.n_labels);
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        let is_of_one = Arc::ptr_eq(&self.events, &other.events);
        let n_before = if is_of_one { 0 } else { self.events.len() };
        check_count("EncodedRows::events", n_before + other.events.len())?;
        self.append_bags(&other.starts[1..], &other.ids, &other.weights)?;
        if !is_of_one {
            Arc::make_mut(&mut self.events).extend_from_slice(&other.events);
        }
        let shifted = other.histories.iter().map(|range| range.map(|at| at + n_before as u32));
        self.histories.extend(shifted);
        self.vectors.extend_from_slice(&other.vectors);
        self.labels.extend_from_slice(&other.labels);
        self.groups.extend_from_slice(&other.groups);
        self.shared.clear();
        Ok(())
    }

    /// Adds bags of ids that are known to be of their fields: where each ends, row by row, their ids and weights.
    fn append_bags(&mut self, ends: &[u32], ids: &[u32], weights: &[f32]) -> Result<()> {
        let start = self.ids.len();
        check_count("EncodedRows::ids", start + ids.len())?;
        self.starts.extend(ends.iter().map(|end| end + start as u32));
        self.ids.extend_from_slice(ids);
        self.weights.extend_from_slice(weights);
        Ok(())
    }

    /// Rows put together from what an encoder made of columns, whose ids are known to be of their fields.
    pub(super) fn assemble(
        space: FeatureSpace,
        n_labels: usize,
        parts: &[EncodedPart],
        sides: EncodedSides,
    ) -> Result<Self> {
        let EncodedSides { vectors, events, histories } = sides;
        let mut rows = Self { vectors, events: Arc::new(events), histories, ..Self::new(space, n_labels) };
        check_count("EncodedRows::events", rows.events.len())?;
        let count = |length: fn(&EncodedPart) -> usize| parts.iter().map(length).sum::<usize>();
        rows.starts.reserve_exact(count(|part| part.bags.ends.len()));
        rows.ids.reserve_exact(count(|part| part.bags.ids.len()));
        rows.weights.reserve_exact(count(|part| part.bags.ids.len()));
        for EncodedPart { bags, labels, groups } in parts {
            rows.append_bags(&bags.ends, &bags.ids, &bags.weights)?;
            rows.labels.extend_from_slice(labels);
            rows.groups.extend_from_slice(groups);
        }
        Ok(rows)
    }

    /// What every row holds.
    pub fn space(&self) -> &FeatureSpace {
        &self.space
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.groups.len()
    }

    /// The number of labels of a row.
    pub fn n_labels(&self) -> usize {
        self.n_labels
    }

    /// Ids and weights of a field of a row.
    ///
    /// # Panics
    /// If there is no such row or field.
    pub fn bag(&self, row: usize, field: usize) -> (&[u32], &[f32]) {
        let n_fields = self.space.n_fields();
        assert!(field < n_fields, "field {field} of {n_fields}");
        let bag = row * n_fields + field;
        let entries = self.starts[bag] as usize..self.starts[bag + 1] as usize;
        (&self.ids[entries.clone()], &self.weights[entries])
    }

    /// Where the bag of each field of each row begins among [`ids`](Self::ids), and where the last one ends.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The ids of all bags, row by row.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Their weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The vectors, `[n_rows, d_vectors]`.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// The history of a row, oldest first; empty in a space without.
    pub fn history(&self, row: usize) -> &[u32] {
        let range = self.histories.get(row).map_or([0, 0], |&range| range);
        &self.events[range[0] as usize..range[1] as usize]
    }

    /// The histories of all rows, one behind another, and where each lies; neighbouring rows with the same history share it.
    /// Nothing in a space without.
    pub fn sequences(&self) -> (Vec<u32>, Vec<Range<usize>>) {
        let (mut events, mut places) = (Vec::new(), Vec::with_capacity(self.histories.len()));
        for (row, range) in self.histories.iter().enumerate() {
            let is_of_the_row_before = row > 0 && self.histories[row - 1] == *range;
            if !is_of_the_row_before {
                events.extend_from_slice(self.history(row));
            }
            places.push(events.len() - (range[1] - range[0]) as usize..events.len());
        }
        (events, places)
    }

    /// The labels, `[n_rows, n_labels]`.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// Whose row each is.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Whether all rows hold the same in field `field`, as [`join`](Self::join) knows of a user's candidates; fields of
    /// vectors are counted behind those of ids.
    pub fn is_shared(&self, field: usize) -> bool {
        self.shared.get(field).is_some_and(|&is_shared| is_shared)
    }

    /// The same rows with these labels, `[n_rows, n_labels]`, in the place of their own.
    ///
    /// # Errors
    /// Another number of labels, or one that is not finite.
    pub fn with_labels(mut self, n_labels: usize, labels: Vec<f32>) -> Result<Self> {
        let (what, expected) = ("number of labels of all rows", self.n_rows().saturating_mul(n_labels));
        if labels.len() != expected {
            return Err(ErrorKind::LengthMismatch { what, expected, found: labels.len() }.into());
        }
        if let Some(index) = labels.iter().position(|label| !label.is_finite()) {
            let value = labels[index].into();
            return Err(ErrorKind::NonFinite { what: "label", index, value }.into());
        }
        (self.n_labels, self.labels) = (n_labels, labels);
        Ok(self)
    }

    /// The same rows with only the first `n_labels` of their labels.
    ///
    /// # Errors
    /// More labels than there are.
    pub fn with_first_labels(mut self, n_labels: usize) -> Result<Self> {
        if n_labels > self.n_labels {
            let (what, found) = ("number of labels of a row", self.n_labels);
            return Err(ErrorKind::LengthMismatch { what, expected: n_labels, found }.into());
        }
        let rows = self.labels.chunks_exact(self.n_labels.max(1));
        self.labels = rows.flat_map(|labels| labels[..n_labels].iter().copied()).collect();
        self.n_labels = n_labels;
        Ok(self)
    }

    /// Whether every row holds what `space` says.
    ///
    /// # Errors
    /// Rows of another space, with the names of its fields.
    pub fn check_space(&self, space: &FeatureSpace) -> Result<()> {
        if self.space == *space {
            return Ok(());
        }
        let names = |space: &FeatureSpace| {
            let fields: Vec<String> = (0..space.n_fields())
                .zip(space.names())
                .map(|(i, name)| format!("{name} {:?}", space.ids(i)))
                .collect();
            format!("rows of {}", fields.join(", "))
        };
        Err(Error::config("EncodedRows::space", names(space), names(&self.space)))
    }

    /// One row for each of the rows `items` of `other`: the fields named `left` of row `row` of these rows, all others
    /// of the item's row, and this history, of which the latest are kept. No labels; the group of row `row`.
    ///
    /// # Errors
    /// Rows of another space; a name that is no field of it; an id of the history that is none of its field.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn join(
        &self,
        row: usize,
        left: &[String],
        other: &Self,
        items: &[usize],
        history: &[u32],
    ) -> Result<Self> {
        self.join_extended(row, left, other, items, history, &self.space, |_, _| ())
    }

    /// As [`join`](Self::join), in a space with fields of ids more behind those of these rows; `extend` is told the place of an
    /// item among `items`, and closes a bag for each of the new fields.
    #[allow(clippy::too_many_arguments, reason = "those of join, and what lies behind")]
    pub(super) fn join_extended(
        &self,
        row: usize,
        left: &[String],
        other: &Self,
        items: &[usize],
        history: &[u32],
        space: &FeatureSpace,
        mut extend: impl FnMut(usize, &mut Bags),
    ) -> Result<Self> {
        self.check_space(&other.space)?;
        let n_fields = self.space.n_fields();
        let mut shared = vec![false; n_fields + self.space.vector_dims().len()];
        let mut vectors = Vec::new();
        for name in left {
            match (self.space.field(name), self.space.vectors(name)) {
                (Some(field), _) => shared[field] = true,
                (None, Some((place, range))) => {
                    shared[n_fields + place] = true;
                    vectors.push(range);
                }
                (None, None) => return Err(Error::config("EncodedRows::join", "a field of the space", name)),
            }
        }
        let mut joined = Self::new(space.clone(), 0);
        let history = match self.space.history() {
            Some((_, max_len)) => joined.push_events(&history[history.len().saturating_sub(max_len)..])?,
            None => [0, 0],
        };
        let d_vectors = self.space.d_vectors();
        // Neighbouring fields of one side are copied together.
        let runs: Vec<&[bool]> = shared[..n_fields].chunk_by(|a, b| a == b).collect();
        let mut bags = Bags { ends: joined.starts, ids: Vec::new(), weights: Vec::new() };
        bags.ends.reserve(items.len() * space.n_fields());
        for (place, &item) in items.iter().enumerate() {
            let mut field = 0;
            for run in &runs {
                let (side, row) = if run[0] { (self, row) } else { (other, item) };
                let first = row * n_fields + field;
                let starts = &side.starts[first..=first + run.len()];
                let (entries, end) = (starts[0] as usize..starts[run.len()] as usize, bags.ids.len() as u32);
                bags.ends.extend(starts[1..].iter().map(|start| start - starts[0] + end));
                bags.ids.extend_from_slice(&side.ids[entries.clone()]);
                bags.weights.extend_from_slice(&side.weights[entries]);
                field += run.len();
            }
            extend(place, &mut bags);
            debug_assert_eq!(bags.ends.len(), 1 + (place + 1) * space.n_fields());
            if place == 0 {
                // Rows are much alike.
                bags.reserve(bags.ids.len() * items.len());
            }
            let start = joined.vectors.len();
            joined.vectors.extend_from_slice(&other.vectors[item * d_vectors..(item + 1) * d_vectors]);
            for range in &vectors {
                let of_left = &self.vectors[row * d_vectors..(row + 1) * d_vectors][range.clone()];
                joined.vectors[start..][range.clone()].copy_from_slice(of_left);
            }
        }
        check_count("EncodedRows::ids", bags.ids.len())?;
        (joined.starts, joined.ids, joined.weights) = (bags.ends, bags.ids, bags.weights);
        if self.space.history().is_some() {
            joined.histories = vec![history; items.len()];
        }
        joined.groups = vec![self.groups[row]; items.len()];
        shared.splice(n_fields..n_fields, std::iter::repeat_n(false, space.n_fields() - n_fields));
        joined.shared = shared;
        Ok(joined)
    }

    /// These rows, in this order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, rows: &[usize]) -> Self {
        let n_fields = self.space.n_fields();
        let d_vectors = self.space.d_vectors();
        let mut selected = Self::new(self.space.clone(), self.n_labels);
        selected.starts.reserve(rows.len() * n_fields);
        selected.events = Arc::clone(&self.events);
        for &row in rows {
            let bags = &self.starts[row * n_fields..=(row + 1) * n_fields];
            let entries = bags[0] as usize..bags[n_fields] as usize;
            let shift = selected.ids.len() as u32;
            selected.starts.extend(bags[1..].iter().map(|end| end - bags[0] + shift));
            selected.ids.extend_from_slice(&self.ids[entries.clone()]);
            selected.weights.extend_from_slice(&self.weights[entries]);
            selected.vectors.extend_from_slice(&self.vectors[row * d_vectors..(row + 1) * d_vectors]);
            selected.histories.extend(self.histories.get(row));
            selected.labels.extend_from_slice(&self.labels[row * self.n_labels..(row + 1) * self.n_labels]);
            selected.groups.push(self.groups[row]);
        }
        selected.shared.clone_from(&self.shared);
        selected
    }
}

/// Whether so many entries can be counted.
fn check_count(field: &'static str, n: usize) -> Result<()> {
    if u32::try_from(n).is_ok() { Ok(()) } else { Err(Error::config(field, "less than 2^32", n)) }
}

/// Bags on their way to [`EncodedRows`]: of one field, or of all fields row by row.
#[derive(Debug, Default)]
pub(super) struct Bags {
    /// Where each bag ends.
    ends: Vec<u32>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl Bags {
    pub(super) fn with_capacity(n: usize) -> Self {
        Self { ends: Vec::with_capacity(n), ids: Vec::with_capacity(n), weights: Vec::with_capacity(n) }
    }

    /// Makes room for so many ids more.
    fn reserve(&mut self, n: usize) {
        self.ids.reserve(n);
        self.weights.reserve(n);
    }

    /// Adds an id to the bag that is not yet closed.
    #[inline]
    pub(super) fn push(&mut self, id: u32, weight: f32) {
        self.extend([id], [weight]);
    }

    /// Adds ids to the bag that is not yet closed.
    #[inline]
    pub(super) fn extend<const N: usize>(&mut self, ids: [u32; N], weights: [f32; N]) {
        self.ids.extend(ids);
        self.weights.extend(weights);
    }

    /// Closes a bag; what comes next is another.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ends.push(self.ids.len() as u32);
    }

    /// The bags of fields with equally many rows, row by row.
    pub(super) fn by_row(fields: &[Self]) -> Self {
        let n_bags = fields.iter().map(|field| field.ends.len()).sum();
        let mut bags = Self::with_capacity(n_bags);
        let mut starts = vec![0; fields.len()];
        for row in 0..fields.first().map_or(0, |field| field.ends.len()) {
            for (field, start) in fields.iter().zip(&mut starts) {
                let end = field.ends[row] as usize;
                bags.ids.extend_from_slice(&field.ids[*start..end]);
                bags.weights.extend_from_slice(&field.weights[*start..end]);
                bags.close();
                *start = end;
            }
        }
        bags
    }
}

/// Some rows on their way to [`EncodedRows`].
#[derive(Debug, Default)]
pub(super) struct EncodedPart {
    /// Of all fields, row by row.
    pub(super) bags: Bags,
    pub(super) labels: Vec<f32>,
    pub(super) groups: Vec<u32>,
}

/// What of [`EncodedRows`] does not come part by part.
#[derive(Debug, Default)]
pub(super) struct EncodedSides {
    pub(super) vectors: Vec<f32>,
    pub(super) events: Vec<u32>,
    pub(super) histories: Vec<[u32; 2]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> FeatureSpace {
        FeatureSpace::default()
            .with_field("user", 3)
            .and_then(|space| space.with_field("item", 4))
            .and_then(|space| space.with_vectors("title", 2))
            .and_then(|space| space.with_history("watched", "item", 2))
            .unwrap()
    }

    fn rows() -> EncodedRows {
        let mut rows = EncodedRows::new(space(), 1);
        let [start, _] = rows.push_events(&[3, 4, 5]).unwrap();
        for n in 0..3u32 {
            let bags: [&[(u32, f32)]; 2] = [&[(n, 1.0)], &[(3, 0.5), (6, 0.5)][..n as usize]];
            let (vectors, labels) = ([n as f32, 1.0], [f32::from(n == 1)]);
            let history = [start, start + n + 1];
            rows.push(EncodedRow { bags: &bags, vectors: &vectors, history, labels: &labels, group: n })
                .unwrap();
        }
        rows
    }

    #[test]
    fn a_selection_is_the_same_rows() {
        let rows = rows();
        assert_eq!((rows.n_rows(), rows.bag(2, 1)), (3, (&[3, 6][..], &[0.5, 0.5][..])));
        assert_eq!([0, 1, 2].map(|row| rows.history(row)), [&[3][..], &[3, 4], &[4, 5]]);
        let selected = rows.select(&[2, 0, 2]);
        for (row, original) in [2, 0, 2].into_iter().enumerate() {
            for field in 0..2 {
                assert_eq!(selected.bag(row, field), rows.bag(original, field));
            }
            assert_eq!(selected.history(row), rows.history(original));
            assert_eq!(selected.vectors()[2 * row], original as f32);
        }
        assert_eq!((selected.labels(), selected.groups()), (&[0.0; 3][..], &[2, 0, 2][..]));
        assert_eq!(selected.select(&[1, 0, 2]), rows.select(&[0, 2, 2]));
        let (events, places) = rows.select(&[0, 2, 2, 1]).sequences();
        assert_eq!((events, places), (vec![3, 4, 5, 3, 4], vec![0..1, 1..3, 1..3, 3..5]));
    }

    #[test]
    fn appended_rows_stay_the_same() {
        let mut twice = rows();
        twice.append(&rows().select(&[2, 0])).unwrap();
        let all = [0, 1, 2, 2, 0];
        assert_eq!(twice, rows().select(&all));
        assert_ne!(twice, rows().select(&[0, 1, 2, 2, 1]));

        let first = rows();
        let mut shared = first.select(&[1]);
        shared.append(&first.select(&[2, 0])).unwrap();
        assert_eq!(shared, first.select(&[1, 2, 0]));
        let other_space = EncodedRows::new(FeatureSpace::default(), 1);
        assert!(twice.append(&other_space).is_err());
        assert!(twice.append(&EncodedRows::new(space(), 2)).is_err());
    }

    #[test]
    fn bags_of_fields_become_bags_of_rows() {
        let mut fields = [Bags::default(), Bags::default()];
        for row in 0..3 {
            fields[0].push(row, 1.0);
            fields[0].close();
            (0..row).for_each(|n| fields[1].push(10 * row + n, 0.5));
            fields[1].close();
        }
        let bags = Bags::by_row(&fields);
        assert_eq!(bags.ids, [0, 1, 10, 2, 20, 21]);
        assert_eq!(bags.weights, [1.0, 1.0, 0.5, 1.0, 0.5, 0.5]);
        assert_eq!(bags.ends, [1, 1, 2, 3, 4, 6]);
    }

    #[test]
    fn the_first_labels_stay() {
        let mut rows = EncodedRows::new(FeatureSpace::default(), 3);
        for n in 0..2 {
            let labels = [0.0, 1.0, 2.0].map(|label| label + 10.0 * n as f32);
            rows.push(EncodedRow { labels: &labels, ..EncodedRow::default() }).unwrap();
        }
        let two = rows.clone().with_first_labels(2).unwrap();
        assert_eq!((two.n_labels(), two.labels()), (2, &[0.0, 1.0, 10.0, 11.0][..]));
        assert!(rows.clone().with_first_labels(0).unwrap().labels().is_empty());
        assert!(rows.clone().with_first_labels(4).is_err());
        let relabelled = rows.clone().with_labels(1, vec![1.0; rows.n_rows()]).unwrap();
        assert_eq!((relabelled.n_labels(), relabelled.labels()), (1, &vec![1.0; rows.n_rows()][..]));
        assert!(rows.clone().with_labels(2, vec![1.0; rows.n_rows()]).is_err());
        assert!(rows.clone().with_labels(1, vec![f32::NAN; rows.n_rows()]).is_err());
    }

    #[test]
    fn a_row_of_one_side_meets_rows_of_the_other() {
        let rows = rows();
        let left = ["user".to_owned()];
        let joined = rows.join(1, &left, &rows, &[2, 0], &[3, 4, 5]).unwrap();
        assert_eq!((joined.n_rows(), joined.n_labels(), joined.groups()), (2, 0, &[1, 1][..]));
        for (row, item) in [(0, 2), (1, 0)] {
            assert_eq!((joined.bag(row, 0), joined.bag(row, 1)), (rows.bag(1, 0), rows.bag(item, 1)));
            assert_eq!(joined.history(row), [4, 5]);
            assert_eq!(joined.vectors()[2 * row..2 * row + 2], rows.vectors()[2 * item..2 * item + 2]);
        }
        let joined = rows.join(1, &["title".to_owned()], &rows, &[2], &[]).unwrap();
        assert_eq!((joined.bag(0, 0), joined.vectors()), (rows.bag(2, 0), &rows.vectors()[2..4]));
        assert!(rows.join(1, &["town".to_owned()], &rows, &[2], &[]).is_err());
        assert!(rows.join(1, &left, &rows, &[2], &[0]).is_err());
        assert!(rows.join(1, &left, &EncodedRows::default(), &[], &[]).is_err());
    }

    #[test]
    fn saved_rows_are_read_again_and_checked() {
        let rows = rows();
        let json = serde_json::to_string(&rows).unwrap();
        assert_eq!(serde_json::from_str::<EncodedRows>(&json).unwrap(), rows);
        let whole = serde_json::to_value(&rows).unwrap();
        for (field, value) in [
            ("starts", serde_json::json!([0])),
            ("weights", serde_json::json!([])),
            ("vectors", serde_json::json!([1.0])),
            ("labels", serde_json::json!([])),
            ("histories", serde_json::json!([])),
            ("events", serde_json::json!([0])),
            ("ids", serde_json::json!(vec![9; rows.ids().len()])),
        ] {
            let mut broken = whole.clone();
            broken[field] = value;
            assert!(serde_json::from_value::<EncodedRows>(broken).is_err(), "{field}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good: [&[(u32, f32)]; 2] = [&[(0, 1.0)], &[]];
        let row = EncodedRow { bags: &good, vectors: &[0.0; 2], labels: &[1.0], ..EncodedRow::default() };
        assert!(rows().push(row).is_ok());
        let other_field: [&[(u32, f32)]; 2] = [&[(3, 1.0)], &[]];
        let not_finite: [&[(u32, f32)]; 2] = [&[(0, f32::NAN)], &[]];
        for (bad, message) in [
            (EncodedRow { bags: &good[..1], ..row }, "number of fields of a row: expected 2, found 1"),
            (EncodedRow { vectors: &[], ..row }, "width of the vectors"),
            (EncodedRow { labels: &[], ..row }, "number of labels"),
            (
                EncodedRow { bags: &other_field, ..row },
                "line 4, column user: expected an id from 0 to 2, found 3",
            ),
            (EncodedRow { bags: &not_finite, ..row }, "a finite number"),
            (EncodedRow { history: [2, 4], ..row }, "event of a history"),
        ] {
            let error = rows().push(bad).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(rows().push_events(&[2]).is_err());
    }
}
