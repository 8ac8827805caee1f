use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::encoded_rows::{Bags, EncodedPart, EncodedSides};
use super::field_encoder::{FieldEncoder, FieldFit};
use super::history_events::{shared_histories, text_histories};
use super::id_encoder::{Key, hash};
use super::schema::{FieldKind, Label};
use super::source_column::{SourceColumn, Wanted};
use super::{EncodedRows, FeatureSpace, Schema, Table, TextEncoder};
use crate::error::{Error, ErrorKind, Location, Result};

/// What a thread encodes at once.
const PART: usize = 1 << 13;

/// Turns raw records into the rows that a model takes. It is fitted once, to training data alone, never changes
/// after that, and is saved with the model: a request is encoded as the training data was.
///
/// In the space of its rows a field of ids has, first, the id of categories that are out of the vocabulary (if it has
/// a vocabulary), then those of the categories, buckets or bins, and last, unless the field is multi-valued, that of
/// a missing value.
///
/// ```
/// use recsys::features::{Column, FeatureEncoder, Ids, Numeric, Schema, Table};
///
/// let schema = Schema::default()
///     .with_field("city", Ids::default())
///     .with_field("age", Numeric::Standardized)
///     .with_label("rating", 4.0);
/// let train = Table::default()
///     .with_column("city", Column::texts(["Rome", "Oslo", "Rome"]))?
///     .with_column("age", Column::numbers([Some(30.0), None, Some(50.0)])?)?
///     .with_column("rating", Column::ints([5, 3, 4]))?;
/// let encoder = FeatureEncoder::fit(schema, [Ok(&train)])?;
/// let rows = encoder.encode(&train)?;
/// assert_eq!(rows.labels(), [1.0, 0.0, 1.0]);
///
/// // Four ids for the city: unseen, Rome, Oslo, missing. Two for the age: a number, missing.
/// assert_eq!(encoder.space().n_ids(), 6);
/// let request = Table::default()
///     .with_column("city", Column::texts(["Lima"]))?
///     .with_column("age", Column::numbers([60.0])?)?;
/// let row = encoder.encode_features(&request)?;
/// assert_eq!((row.bag(0, 0), row.bag(0, 1)), ((&[0][..], &[1.0][..]), (&[4][..], &[2.0][..])));
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fitted", into = "Fitted")]
pub struct FeatureEncoder {
    schema: Schema,
    /// One for each field of the schema.
    fields: Vec<FieldEncoder>,
    space: FeatureSpace,
}

#[derive(Serialize, Deserialize)]
struct Fitted {
    schema: Schema,
    fields: Vec<FieldEncoder>,
}

impl FeatureEncoder {
    /// Learns vocabularies, means, bins and how rare words are from training data, in one pass over its chunks. The
    /// result does not depend on where one chunk ends and the next begins.
    ///
    /// # Errors
    /// A schema whose settings contradict each other; a chunk that is an error; no row at all; a column that is
    /// missing or of another type; a text that is no number where one is wanted. Each names the file, row and column
    /// where there is one.
    pub fn fit<T: Borrow<Table>>(
        schema: Schema,
        chunks: impl IntoIterator<Item = Result<T>>,
    ) -> Result<Self> {
        schema.validate()?;
        let mut fits: Vec<FieldFit> = (schema.fields.iter().zip(0..))
            .map(|(field, place)| FieldFit::new(&field.kind, schema.seed, place))
            .collect();
        let mut n_rows = 0;
        for chunk in chunks {
            let chunk = chunk?;
            let table = chunk.borrow();
            n_rows += table.n_rows();
            let done: Vec<Result<()>> = (fits.par_iter_mut().zip(&schema.fields))
                .map(|(fit, field)| fit.add(field, table))
                .collect();
            done.into_iter().collect::<Result<()>>()?;
        }
        if n_rows == 0 {
            return Err(Error::input(Location::memory(), "at least one row to fit to", "none"));
        }
        let fields = fits.into_iter().map(FieldFit::finish).collect::<Result<_>>()?;
        Self::new(schema, fields)
    }

    fn new(schema: Schema, fields: Vec<FieldEncoder>) -> Result<Self> {
        let mut space = FeatureSpace::default();
        for (field, encoder) in schema.fields.iter().zip(&fields) {
            space = match encoder {
                FieldEncoder::Text(encoder) => space.with_vectors(&field.name, encoder.dim())?,
                FieldEncoder::History => space,
                _ => space.with_field(&field.name, encoder.n_ids(&field.kind))?,
            };
        }
        // The field whose ids a history has may stand behind it.
        for field in &schema.fields {
            if let FieldKind::History { of, max_len, .. } = &field.kind {
                space = space.with_history(&field.name, of, *max_len)?;
            }
        }
        Ok(Self { schema, fields, space })
    }

    /// What it was fitted for.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What every row holds.
    pub fn space(&self) -> &FeatureSpace {
        &self.space
    }

    /// The names of the hashed fields, and the [share of categories](super::hash_collision_rate) that is expected to
    /// be taken for another there, for as many categories as the training data has.
    pub fn collision_rates(&self) -> impl Iterator<Item = (&str, f64)> {
        let names = self.schema.fields.iter().map(|field| field.name.as_str());
        names.zip(&self.fields).filter_map(|(name, field)| match field {
            FieldEncoder::Ids(ids) => Some((name, ids.collision_rate()?)),
            _ => None,
        })
    }

    /// The rows of a table, with labels and groups. A group is the number in the schema's column where that is a
    /// whole number below 2³², otherwise 32 bits of a hash.
    ///
    /// # Errors
    /// A column that is missing or of another type; a label or a group that is missing; a text that is no number where
    /// one is wanted; a category that is unseen and refused; weights that are fewer or more than the list's
    /// categories; a number so far from the mean that it leaves the range of `f32`. Each names the file, row and
    /// column where there is one.
    pub fn encode(&self, table: &Table) -> Result<EncodedRows> {
        self.encode_with(table, &self.schema.labels, self.schema.group.as_deref())
    }

    /// The rows of a table without labels, as they come with a request; the group of each is 0.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_features(&self, table: &Table) -> Result<EncodedRows> {
        self.encode_with(table, &[], None)
    }

    fn encode_with(&self, table: &Table, labels: &[Label], group: Option<&str>) -> Result<EncodedRows> {
        let find = |column, wanted| SourceColumn::find(table, column, wanted, None);
        let label_columns: Vec<SourceColumn<'_>> =
            labels.iter().map(|label| find(&label.column, Wanted::Numbers)).collect::<Result<_>>()?;
        let group = group.map(|column| find(column, Wanted::Categories)).transpose()?;
        let parts = map_parts(table.n_rows(), |rows| {
            Ok(EncodedPart {
                bags: self.encode_bags(table, rows.clone())?,
                labels: encode_labels(labels, &label_columns, rows.clone())?,
                groups: encode_groups(group, rows)?,
            })
        })?;
        let (events, histories) = self.encode_histories(table)?;
        let sides = EncodedSides { vectors: self.encode_vectors(table)?, events, histories };
        EncodedRows::assemble(self.space.clone(), labels.len(), &parts, sides)
    }

    fn encode_bags(&self, table: &Table, rows: Range<usize>) -> Result<Bags> {
        let mut bags = Vec::with_capacity(self.space.n_fields());
        for (field, encoder) in self.schema.fields.iter().zip(&self.fields) {
            if let Some(place) = self.space.field(&field.name) {
                let offset = self.space.ids(place).start;
                bags.push(encoder.encode(field, offset, table, rows.clone())?);
            }
        }
        Ok(Bags::by_row(&bags))
    }

    /// The events of all rows, and which of them each row's history is.
    fn encode_histories(&self, table: &Table) -> Result<(Vec<u32>, Vec<[u32; 2]>)> {
        for field in &self.schema.fields {
            let FieldKind::History { of, max_len, separator } = &field.kind else { continue };
            let source = self.schema.history_source(of).map(|source| &self.fields[source]);
            let (Some(place), Some(FieldEncoder::Ids(ids))) = (self.space.field(of), source) else { continue };
            let column =
                SourceColumn::find(table, field.column(), Wanted::CategoryLists, separator.as_deref())?;
            let offset = self.space.ids(place).start;
            return match column.column().parts() {
                Some(parts) => shared_histories(&column, parts, ids, offset, *max_len),
                None => text_histories(&column, ids, offset, *max_len),
            };
        }
        Ok((Vec::new(), Vec::new()))
    }

    /// The vectors of all rows, `[n_rows, d_vectors]`.
    fn encode_vectors(&self, table: &Table) -> Result<Vec<f32>> {
        let width = self.space.d_vectors();
        let mut vectors = vec![0.0; table.n_rows() * width];
        let mut start = 0;
        for (field, encoder) in self.schema.fields.iter().zip(&self.fields) {
            let FieldEncoder::Text(encoder) = encoder else { continue };
            let column = SourceColumn::find(table, field.column(), Wanted::Texts, None)?;
            let rows = vectors.chunks_exact_mut(width).map(|row| &mut row[start..start + encoder.dim()]);
            encode_texts_once(encoder, &column, rows);
            start += encoder.dim();
        }
        Ok(vectors)
    }
}

/// Does some work for all of `0..n`, part by part, on all threads; the first part that fails gives the error.
pub(super) fn map_parts<T: Send>(
    n: usize,
    work: impl Fn(Range<usize>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    // A request has one part, and no need of other threads.
    if n <= PART {
        return Ok(vec![work(0..n)?]);
    }
    let part = |part: usize| work(part * PART..n.min((part + 1) * PART));
    let parts: Vec<Result<T>> = (0..n.div_ceil(PART)).into_par_iter().map(part).collect();
    parts.into_iter().collect()
}

/// Row by row, the labels of a row one behind another.
fn encode_labels(labels: &[Label], columns: &[SourceColumn<'_>], rows: Range<usize>) -> Result<Vec<f32>> {
    let mut values = Vec::with_capacity(rows.len() * labels.len());
    for row in rows {
        for (label, column) in labels.iter().zip(columns) {
            let Some(number) = column.number(row)? else {
                return Err(column.error(row, "a label", "none"));
            };
            let value = match label.at_least {
                Some(bound) => f32::from(number >= bound),
                None => number as f32,
            };
            if !value.is_finite() {
                return Err(column.error(row, "a label in the range of f32", number.to_string()));
            }
            values.push(value);
        }
    }
    Ok(values)
}

fn encode_groups(column: Option<SourceColumn<'_>>, rows: Range<usize>) -> Result<Vec<u32>> {
    let Some(column) = column else { return Ok(vec![0; rows.len()]) };
    let group = |row| match column.category(row) {
        Some(key @ Key::Int(int)) => Ok(u32::try_from(int).unwrap_or(hash(key) as u32)),
        Some(key) => Ok(hash(key) as u32),
        None => Err(column.error(row, "a group", "none")),
    };
    rows.map(group).collect()
}

/// Writes the vector of each row's text, encoding each distinct text once; of a missing text it leaves zeros.
fn encode_texts_once<'v>(
    encoder: &TextEncoder,
    column: &SourceColumn<'_>,
    rows: impl Iterator<Item = &'v mut [f32]>,
) {
    let (mut places, mut distinct) = (HashMap::new(), Vec::new());
    let mut place_of = |text| {
        *places.entry(text).or_insert_with(|| {
            distinct.push(text);
            distinct.len() - 1
        })
    };
    let place_of_row: Vec<Option<usize>> =
        (0..column.n_rows()).map(|row| column.text(row).map(&mut place_of)).collect();
    let vectors = encoder.encode_all(&distinct);
    for (vector, place) in rows.zip(place_of_row) {
        if let Some(place) = place {
            vector.copy_from_slice(&vectors.values()[place * encoder.dim()..(place + 1) * encoder.dim()]);
        }
    }
}

impl TryFrom<Fitted> for FeatureEncoder {
    type Error = Error;

    fn try_from(Fitted { schema, fields }: Fitted) -> Result<Self> {
        schema.validate()?;
        let (what, expected, found) = ("number of fitted fields", schema.fields.len(), fields.len());
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        schema.fields.iter().zip(&fields).try_for_each(|(field, encoder)| encoder.validate(field))?;
        Self::new(schema, fields)
    }
}

impl From<FeatureEncoder> for Fitted {
    fn from(encoder: FeatureEncoder) -> Self {
        Self { schema: encoder.schema, fields: encoder.fields }
    }
}
