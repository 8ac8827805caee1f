use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::encoded_rows::Bags;
use super::id_encoder::{IdEncoder, IdFit, Key};
use super::numeric_encoder::{NumericEncoder, NumericFit};
use super::schema::{Field, FieldKind, Pooling};
use super::source_column::{SourceColumn, Wanted};
use super::{Table, TextEncoder, TextEncoderConfig};
use crate::error::{Error, Location, Result};
use crate::rng::Rng;

/// What is being learned of a field.
#[derive(Debug)]
pub(super) enum FieldFit {
    Numeric(NumericFit),
    Ids(IdFit),
    Text { config: TextEncoderConfig, encoder: Option<TextEncoder> },
    History,
}

impl FieldFit {
    pub(super) fn new(kind: &FieldKind, seed: u64, place: u64) -> Self {
        match kind {
            FieldKind::Numeric(numeric) => {
                Self::Numeric(NumericFit::new(*numeric, Rng::stream(seed, &[place])))
            }
            FieldKind::Categorical(ids) | FieldKind::MultiValued { ids, .. } => Self::Ids(IdFit::new(*ids)),
            FieldKind::Text(config) => Self::Text { config: *config, encoder: None },
            FieldKind::History { .. } => Self::History,
        }
    }

    /// Learns from a table what it says of the field.
    pub(super) fn add(&mut self, field: &Field, table: &Table) -> Result<()> {
        let column = source(field, table)?;
        let rows = 0..column.n_rows();
        match (self, &field.kind) {
            (Self::Numeric(fit), _) => {
                for row in rows {
                    if let Some(x) = column.number(row)? {
                        fit.add(x);
                    }
                }
            }
            (Self::Ids(fit), FieldKind::MultiValued { .. }) => {
                let mut keys = Vec::new();
                for row in rows {
                    column.categories(row, &mut keys)?;
                    keys.iter().for_each(|&key| fit.add(key));
                }
            }
            (Self::Ids(fit), _) => {
                for row in rows {
                    if let Some(key) = column.category(row)? {
                        fit.add(key);
                    }
                }
            }
            (Self::Text { config, encoder }, _) => {
                let texts: Vec<&str> = rows.filter_map(|row| column.text(row)).collect();
                let new = TextEncoder::fit(*config, &texts)?;
                *encoder = Some(match encoder.take() {
                    Some(before) => before.merge(new)?,
                    None => new,
                });
            }
            (Self::History, _) => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<FieldEncoder> {
        Ok(match self {
            Self::Numeric(fit) => FieldEncoder::Numeric(fit.finish()?),
            Self::Ids(fit) => FieldEncoder::Ids(fit.finish()),
            Self::Text { encoder: Some(encoder), .. } => FieldEncoder::Text(encoder),
            Self::Text { config, encoder: None } => {
                FieldEncoder::Text(TextEncoder::fit::<&str>(config, &[])?)
            }
            Self::History => FieldEncoder::History,
        })
    }
}

/// What was learned of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FieldEncoder {
    Numeric(NumericEncoder),
    Ids(IdEncoder),
    Text(TextEncoder),
    History,
}

impl FieldEncoder {
    /// The number of ids of a field of this kind; 0 for one that has no ids of its own.
    pub(super) fn n_ids(&self, kind: &FieldKind) -> usize {
        match (self, kind) {
            (Self::Numeric(encoder), _) => encoder.n_ids() + 1,
            (Self::Ids(encoder), FieldKind::MultiValued { .. }) => encoder.n_ids(),
            (Self::Ids(encoder), _) => encoder.n_ids() + 1,
            (Self::Text(_) | Self::History, _) => 0,
        }
    }

    /// The bags of a field whose first id is `offset`; none for one that has no ids of its own.
    pub(super) fn encode(
        &self,
        field: &Field,
        offset: u32,
        table: &Table,
        rows: Range<usize>,
    ) -> Result<Bags> {
        let column = source(field, table)?;
        match (self, &field.kind) {
            (Self::Numeric(encoder), _) => encode_numbers(encoder, offset, &column, rows),
            (Self::Ids(ids), FieldKind::MultiValued { pooling, separator, .. }) => {
                let weights = match pooling {
                    Pooling::WeightedBy(name) => {
                        let separator = separator.as_deref();
                        Some(SourceColumn::find(table, name, Wanted::NumberLists, separator)?)
                    }
                    Pooling::Sum | Pooling::Mean => None,
                };
                let mean = *pooling == Pooling::Mean;
                encode_lists(ids, offset, &column, weights, mean, rows)
            }
            (Self::Ids(ids), _) => encode_categories(ids, offset, &column, rows),
            (Self::Text(_) | Self::History, _) => Ok(Bags::default()),
        }
    }

    /// Whether the state is one that fitting this field can give.
    pub(super) fn validate(&self, field: &Field) -> Result<()> {
        match (self, &field.kind) {
            (Self::Numeric(encoder), FieldKind::Numeric(_)) => encoder.validate(),
            (Self::Ids(encoder), FieldKind::Categorical(_) | FieldKind::MultiValued { .. }) => {
                encoder.validate()
            }
            (Self::Text(_), FieldKind::Text(_)) | (Self::History, FieldKind::History { .. }) => Ok(()),
            _ => {
                let expected = format!("the encoder of the field {}", field.name);
                Err(Error::input(Location::memory(), expected, "one of another kind"))
            }
        }
    }
}

/// The column of a field.
fn source<'a>(field: &'a Field, table: &'a Table) -> Result<SourceColumn<'a>> {
    let (wanted, separator) = match &field.kind {
        FieldKind::Numeric(_) => (Wanted::Numbers, None),
        FieldKind::Categorical(_) => (Wanted::Categories, None),
        FieldKind::MultiValued { separator, .. } => (Wanted::CategoryLists, separator.as_deref()),
        FieldKind::Text(_) => (Wanted::Texts, None),
        FieldKind::History { separator, .. } => (Wanted::CategoryLists, separator.as_deref()),
    };
    SourceColumn::find(table, field.column(), wanted, separator)
}

fn encode_numbers(
    encoder: &NumericEncoder,
    offset: u32,
    column: &SourceColumn<'_>,
    rows: Range<usize>,
) -> Result<Bags> {
    let missing = offset + encoder.n_ids() as u32;
    let mut bags = Bags::with_capacity(rows.len());
    for row in rows {
        match column.number(row)? {
            Some(x) => {
                let (id, weight) = encoder.encode(x);
                if !weight.is_finite() {
                    return Err(column.error(row, "a number less far from the others", x.to_string()));
                }
                bags.push(offset + id, weight);
            }
            None => bags.push(missing, 1.0),
        }
        bags.close();
    }
    Ok(bags)
}

fn encode_categories(
    ids: &IdEncoder,
    offset: u32,
    column: &SourceColumn<'_>,
    rows: Range<usize>,
) -> Result<Bags> {
    let missing = offset + ids.n_ids() as u32;
    let mut bags = Bags::with_capacity(rows.len());
    for row in rows {
        let id = match column.category(row)? {
            Some(key) => id_of(ids, offset, column, row, key)?,
            None => missing,
        };
        bags.push(id, 1.0);
        bags.close();
    }
    Ok(bags)
}

/// Lists with the weights of a column, or with weights 1 / n, or 1.
fn encode_lists(
    ids: &IdEncoder,
    offset: u32,
    column: &SourceColumn<'_>,
    weights: Option<SourceColumn<'_>>,
    mean: bool,
    rows: Range<usize>,
) -> Result<Bags> {
    let (mut keys, mut numbers) = (Vec::new(), Vec::new());
    let mut bags = Bags::with_capacity(rows.len());
    for row in rows {
        column.categories(row, &mut keys)?;
        if let Some(weights) = &weights {
            weights.numbers(row, &mut numbers)?;
            if numbers.len() != keys.len() {
                let expected = format!("{} weights, one for each category", keys.len());
                return Err(weights.error(row, expected, numbers.len().to_string()));
            }
        } else {
            numbers.clear();
            numbers.resize(keys.len(), if mean { 1.0 / keys.len() as f64 } else { 1.0 });
        }
        for (&key, &weight) in keys.iter().zip(&numbers) {
            let weight = weight as f32;
            if !weight.is_finite() {
                return Err(column.error(row, "weights in the range of f32", "a larger one"));
            }
            bags.push(id_of(ids, offset, column, row, key)?, weight);
        }
        bags.close();
    }
    Ok(bags)
}

/// The id, in the whole space, of a category that stands in a row.
#[inline]
pub(super) fn id_of(
    ids: &IdEncoder,
    offset: u32,
    column: &SourceColumn<'_>,
    row: usize,
    key: Key<'_>,
) -> Result<u32> {
    let refused = || column.error(row, "a category of the training data", key.to_string());
    ids.encode(key).map(|id| offset + id).ok_or_else(refused)
}
