use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::encoded_rows::{Bags, EncodedPart, EncodedSides};
use super::field_encoder::{FieldEncoder, FieldFit};
use super::history_events::{shared_histories, text_histories};
use super::id_encoder::{Key, hash};
use super::item_vectors::zeros;
use super::schema::{Field, FieldKind, Label};
use super::source_column::{SourceColumn, Wanted};
use super::{EncodedRows, FeatureSpace, Schema, Table, TextEncoder, UnseenShare};
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
            let done: Vec<Result<()>> =
                (fits.par_iter_mut().zip(&schema.fields)).map(|(fit, field)| fit.add(field, table)).collect();
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

    /// How many values of each field are not in its vocabulary, in the order of the schema: of categories, of lists and of
    /// histories. Hashed fields have no vocabulary, and are not there: each of their values has a bucket, seen or not. Nor are
    /// numbers and texts.
    ///
    /// A category that comes less often than `min_count` is not in the vocabulary either, so that rows of the training data
    /// have unseen values too where `min_count` is above 1; and a history has some where its items are not in the column
    /// of their own field.
    ///
    /// ```
    /// use recsys::features::{Column, FeatureEncoder, Ids, Schema, Table};
    ///
    /// let table = |keys: [&'static str; 4]| Table::default().with_column("user", Column::texts(keys));
    /// let schema = Schema::default().with_field("user", Ids::default());
    /// let encoder = FeatureEncoder::fit(schema, [table(["1.0", "2.0", "2.0", "3.0"])])?;
    /// let rows = encoder.encode(&table(["1", "2", "2", "3.0"])?)?;
    /// let user = &encoder.unseen(&rows)?[0];
    /// assert_eq!((user.n_unseen, user.n_values, user.exceeds_half()), (3, 4, true));
    /// # Ok::<(), recsys::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// Rows of another space.
    pub fn unseen(&self, rows: &EncodedRows) -> Result<Vec<UnseenShare>> {
        rows.check_space(&self.space)?;
        let of_field = |field: &Field| {
            let name = &field.name;
            Some(match &field.kind {
                FieldKind::Categorical(_) => {
                    let place = self.vocabulary_place(name)?;
                    UnseenShare::of_bags(rows, name, place, Some(self.space.ids(place).end - 1))
                }
                FieldKind::MultiValued { .. } => {
                    UnseenShare::of_bags(rows, name, self.vocabulary_place(name)?, None)
                }
                FieldKind::History { of, .. } => {
                    UnseenShare::of_histories(rows, name, self.vocabulary_place(of)?)
                }
                FieldKind::Numeric(_) | FieldKind::Text(_) => return None,
            })
        };
        Ok(self.schema.fields.iter().filter_map(of_field).collect())
    }

    /// The place in the space of a field that has a vocabulary.
    fn vocabulary_place(&self, name: &str) -> Option<usize> {
        let field = self.schema.fields.iter().position(|field| field.name == name)?;
        match &self.fields[field] {
            FieldEncoder::Ids(ids) if ids.has_vocabulary() => self.space.field(name),
            _ => None,
        }
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
            let (Some(place), Some(FieldEncoder::Ids(ids))) = (self.space.field(of), source) else {
                continue;
            };
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
        let mut vectors = zeros(table.n_rows(), width, table.origin())?;
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
    let group = |row| match column.category(row)? {
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::features::{
        Column, DelimitedTables, Ids, JsonTables, Numeric, Pooling, TextEncoderConfig, TextTables, Unseen,
    };
    use crate::rng::Rng;

    fn multi_valued(pooling: Pooling, separator: Option<&str>) -> FieldKind {
        FieldKind::MultiValued { ids: Ids::default(), pooling, separator: separator.map(Into::into) }
    }

    fn history(of: &str, max_len: usize, separator: Option<&str>) -> FieldKind {
        FieldKind::History { of: of.into(), max_len, separator: separator.map(Into::into) }
    }

    /// One field of every kind.
    fn schema() -> Schema {
        Schema::default()
            .with_field("watched", history("item", 3, None))
            .with_field("user", Ids::Hashing { n_buckets: 50 })
            .with_field("item", Ids::Vocabulary { min_count: 2, unseen: Unseen::OutOfVocabulary })
            .with_field("age", Numeric::Standardized)
            .with_field("price", Numeric::EqualWidthBins { n_bins: 5 })
            .with_field("stock", Numeric::QuantileBins { n_bins: 4 })
            .with_field("clicks", Numeric::LogPowerBins { power: 2.0 })
            .with_field("genres", multi_valued(Pooling::Mean, Some("|")))
            .with_field("tags", multi_valued(Pooling::WeightedBy("scores".into()), None))
            .with_field("title", TextEncoderConfig { dim: 4, ..TextEncoderConfig::default() })
            .with_label("rating", 4.0)
            .with_label("stock", None)
            .with_group("user")
    }

    fn table(n_rows: usize, seed: u64) -> Table {
        let mut rng = Rng::new(seed);
        let mut draw = |n: usize| -> Vec<Option<i64>> {
            (0..n_rows).map(|_| (rng.below(9) > 0).then(|| rng.below(n) as i64)).collect()
        };
        let numbers = |values: Vec<Option<i64>>| values.into_iter().map(|x| x.map(|x| x as f64 / 8.0));
        let full = |values: Vec<Option<i64>>| values.into_iter().map(|x| x.unwrap_or(1)).collect::<Vec<_>>();
        let words = ["Action", "Comedy|Drama", "", "Drama||Action", "War"];
        let texts = |values: Vec<Option<i64>>| {
            values.into_iter().map(|x| x.map(|x| words[x as usize])).collect::<Vec<_>>()
        };
        let parts: Vec<_> = full(draw(20)).into_iter().map(|x| x as usize / 2..x as usize).collect();
        let tags: Vec<Vec<i64>> = full(draw(4)).into_iter().map(|n| (0..n).collect()).collect();
        let scores: Vec<Vec<f64>> =
            tags.iter().map(|tags| tags.iter().map(|&tag| 0.5 + tag as f64).collect()).collect();
        let columns = [
            ("user", Column::ints(full(draw(40)))),
            ("item", Column::ints(draw(15))),
            ("age", Column::numbers(numbers(draw(500))).unwrap()),
            ("price", Column::ints(draw(1000))),
            ("stock", Column::ints(full(draw(30)))),
            ("clicks", Column::ints(draw(1 << 20))),
            ("genres", Column::texts(texts(draw(5)))),
            ("tags", Column::int_lists(tags)),
            ("scores", Column::number_lists(scores).unwrap()),
            ("title", Column::texts(texts(draw(5)))),
            ("watched", Column::lists(Column::ints(0..20), parts).unwrap()),
            ("rating", Column::ints(full(draw(6)))),
        ];
        columns
            .into_iter()
            .fold(Table::default(), |table, (name, column)| table.with_column(name, column).unwrap())
    }

    fn fit(schema: Schema, table: &Table) -> FeatureEncoder {
        FeatureEncoder::fit(schema, [Ok(table)]).unwrap()
    }

    /// The rows, whatever the events behind their histories.
    fn rows_of(rows: &EncodedRows) -> Vec<EncodedRows> {
        (0..rows.n_rows()).map(|row| rows.select(&[row])).collect()
    }

    #[test]
    fn truth_values_of_texts_are_numbers() {
        let schema = Schema::default()
            .with_field("new", Numeric::Standardized)
            .with_field("tags", multi_valued(Pooling::WeightedBy("on".into()), Some("|")))
            .with_label("liked", None);
        let csv = "new,tags,on,liked\ntrue,a|b,TRUE|false,True\nFalse,a|b,0|1, False\n";
        let json = "{\"new\": true, \"tags\": \"a|b\", \"on\": \"True|FALSE\", \"liked\": true}\n\
                    {\"new\": false, \"tags\": \"a|b\", \"on\": \"0|1\", \"liked\": \"FALSE\"}\n";
        let digits = "new,tags,on,liked\n1,a|b,1|0,1\n0,a|b,0|1,0\n";
        let encode = |tables: TextTables<'_>| {
            let tables: Vec<Table> = tables.collect::<Result<_>>().unwrap();
            let encoder = FeatureEncoder::fit(schema.clone(), tables.iter().cloned().map(Ok)).unwrap();
            encoder.encode(&tables[0]).unwrap()
        };
        let of_csv = |text| DelimitedTables::default().read_from(text, &schema.columns()).unwrap();
        let expected = encode(of_csv(digits.as_bytes()));
        assert_eq!(expected.labels(), [1.0, 0.0]);
        assert_eq!(encode(of_csv(csv.as_bytes())), expected);
        let of_json = JsonTables::default().read_from(json.as_bytes(), &schema.columns()).unwrap();
        assert_eq!(encode(of_json), expected);
        let wrong = csv.replace("True", "Yes");
        let error = FeatureEncoder::fit(schema.clone(), of_csv(wrong.as_bytes()))
            .and_then(|encoder| encoder.encode(&of_csv(wrong.as_bytes()).next().unwrap()?))
            .unwrap_err();
        assert_eq!(error.to_string(), "input, line 2, column liked: expected a number, found \"Yes\"");
    }

    #[test]
    fn each_kind_gives_its_ids_and_weights() {
        let train = Table::default()
            .with_column("city", Column::texts([Some("Rome"), Some("Oslo"), None, Some("Rome")]))
            .and_then(|t| t.with_column("age", Column::texts([Some("1"), Some(" 3.0"), None, Some("5")])))
            .and_then(|t| {
                t.with_column("genres", Column::texts([Some("a|b"), Some("b"), None, Some("|a||c")]))
            })
            .and_then(|t| t.with_column("tags", Column::int_lists([vec![7, 8], vec![7], vec![], vec![8]])))
            .and_then(|t| t.with_column("scores", Column::texts(["2 -0.5", "1e0", "", " 3"])))
            .and_then(|t| {
                t.with_column("seen", Column::texts([Some("Rome,Lima"), None, Some(""), Some("a,Oslo,Rome")]))
            })
            .and_then(|t| t.with_column("rating", Column::ints([5, 1, 4, 3])))
            .unwrap();
        let tags = FieldKind::MultiValued {
            ids: Ids::default(),
            pooling: Pooling::WeightedBy("scores".into()),
            separator: Some(" ".into()),
        };
        let schema = Schema::default()
            .with_field("city", Ids::default())
            .with_field("age", Numeric::Standardized)
            .with_field("genres", multi_valued(Pooling::Mean, Some("|")))
            .with_field("tags", tags)
            .with_field("seen", history("city", 2, Some(",")))
            .with_label("rating", 4.0)
            .with_label("rating", None)
            .with_group("rating");
        let encoder = fit(schema, &train);
        let ids = |field| encoder.space().ids(field);
        assert_eq!([0, 1, 2, 3].map(ids), [0..4, 4..6, 6..10, 10..13]);
        let rows = encoder.encode(&train).unwrap();
        let bags = |field| (0..4).map(|row| rows.bag(row, field)).collect::<Vec<_>>();
        assert_eq!(bags(0).iter().map(|bag| bag.0[0]).collect::<Vec<_>>(), [1, 2, 3, 1]);
        let high = (2.0 / (8.0_f64 / 3.0).sqrt()) as f32;
        let ages: [(&[u32], &[f32]); 4] = [(&[4], &[-high]), (&[4], &[0.0]), (&[5], &[1.0]), (&[4], &[high])];
        assert_eq!(bags(1), ages);
        let genres: [(&[u32], &[f32]); 4] =
            [(&[7, 8], &[0.5, 0.5]), (&[8], &[1.0]), (&[], &[]), (&[7, 9], &[0.5, 0.5])];
        assert_eq!(bags(2), genres);
        let tags: [(&[u32], &[f32]); 4] =
            [(&[11, 12], &[2.0, -0.5]), (&[11], &[1.0]), (&[], &[]), (&[12], &[3.0])];
        assert_eq!(bags(3), tags);
        let histories: [&[u32]; 4] = [&[1, 0], &[], &[], &[2, 1]];
        assert_eq!([0, 1, 2, 3].map(|row| rows.history(row)), histories);
        assert_eq!(rows.labels(), [1.0, 5.0, 0.0, 1.0, 1.0, 4.0, 0.0, 3.0]);
        assert_eq!(rows.groups(), [5, 1, 4, 3]);
    }

    #[test]
    fn one_row_is_encoded_as_many_are() {
        let (train, table) = (table(300, 1), table(2 * PART + 77, 2));
        let encoder = fit(schema(), &train);
        let all = encoder.encode(&table).unwrap();
        for row in (0..table.n_rows()).step_by(97) {
            let one = encoder.encode(&table.select(&[row])).unwrap();
            assert_eq!(one, all.select(&[row]), "row {row}");
        }
        let features = encoder.encode_features(&table).unwrap();
        assert_eq!((features.ids(), features.weights()), (all.ids(), all.weights()));
        assert_eq!((features.n_labels(), features.groups()), (0, &vec![0; table.n_rows()][..]));
    }

    #[test]
    fn histories_that_overlap_share_their_events() {
        let table = table(500, 1);
        let encoder = fit(schema(), &table);
        let (events, histories) = encoder.encode_histories(&table).unwrap();
        assert!(events.len() <= 20, "{} events of 20 items", events.len());
        let FieldEncoder::Ids(ids) = &encoder.fields[2] else { panic!("the items' field") };
        let offset = encoder.space().ids(1).start;
        let id = |item: usize| offset + ids.encode(Key::Int(item as i64)).unwrap();
        let lists = table.column("watched").unwrap().parts().unwrap();
        for ([start, end], list) in histories.into_iter().zip(lists) {
            let latest = list.start.max(list.end.saturating_sub(3))..list.end;
            assert_eq!(events[start as usize..end as usize], latest.map(id).collect::<Vec<_>>());
        }
    }

    #[test]
    fn chunks_give_what_the_whole_gives() {
        let table = table(1000, 3);
        let chunk = |range: Range<usize>| table.select(&range.collect::<Vec<_>>());
        let chunks = || [0..1, 1..400, 400..400, 400..1000].map(chunk);
        let encoder = FeatureEncoder::fit(schema(), chunks().map(Ok)).unwrap();
        assert_eq!(encoder, fit(schema(), &table));
        let mut rows = EncodedRows::new(encoder.space().clone(), 2);
        chunks().iter().for_each(|chunk| rows.append(&encoder.encode(chunk).unwrap()).unwrap());
        assert_eq!(rows_of(&rows), rows_of(&encoder.encode(&table).unwrap()));
    }

    #[test]
    fn a_saved_encoder_is_the_same() {
        let encoder = fit(schema(), &table(200, 4));
        let json = serde_json::to_string(&encoder).unwrap();
        let read: FeatureEncoder = serde_json::from_str(&json).unwrap();
        assert_eq!(read, encoder);
        let table = table(200, 5);
        assert_eq!(read.encode(&table).unwrap(), encoder.encode(&table).unwrap());
        let names: Vec<&str> = read.collision_rates().map(|(name, _)| name).collect();
        assert_eq!(names, ["user"]);
    }

    /// Of each field its name, values and unseen values.
    fn unseen(encoder: &FeatureEncoder, rows: &EncodedRows) -> Vec<(String, usize, usize)> {
        let fact = |share: UnseenShare| (share.field, share.n_values, share.n_unseen);
        encoder.unseen(rows).unwrap().into_iter().map(fact).collect()
    }

    #[test]
    fn unseen_values_of_each_vocabulary_are_counted() {
        let rare = Ids::Vocabulary { min_count: 2, unseen: Unseen::OutOfVocabulary };
        let schema = Schema::default()
            .with_field("liked", history("film", 2, Some(" ")))
            .with_field("film", rare)
            .with_field("genres", multi_valued(Pooling::Mean, Some("|")))
            .with_field("age", Numeric::Standardized)
            .with_field("zip", Ids::Hashing { n_buckets: 4 })
            .with_field("city", Ids::Vocabulary { min_count: 1, unseen: Unseen::Refuse });
        let table = |films: [Option<&'static str>; 4],
                     genres: [Option<&'static str>; 4],
                     liked: [&'static str; 4]| {
            Table::default()
                .with_column("film", Column::texts(films))
                .and_then(|table| table.with_column("genres", Column::texts(genres)))
                .and_then(|table| table.with_column("liked", Column::texts(liked)))
                .and_then(|table| table.with_column("age", Column::ints([1, 2, 3, 4])))
                .and_then(|table| table.with_column("zip", Column::ints([1, 2, 3, 4])))
                .and_then(|table| table.with_column("city", Column::texts(["a", "b", "a", "b"])))
                .unwrap()
        };
        let train = table(
            [Some("x"), Some("x"), Some("y"), None],
            [Some("a|b"), Some("b"), None, Some("c")],
            ["x", "x x", "", "y"],
        );
        let encoder = fit(schema, &train);
        let fields = |facts: [(usize, usize); 4]| -> Vec<(String, usize, usize)> {
            let names = ["liked", "film", "genres", "city"];
            names.into_iter().zip(facts).map(|(name, (n, unseen))| (name.into(), n, unseen)).collect()
        };
        // The film y comes once, too seldom for the vocabulary.
        let rows = encoder.encode(&train).unwrap();
        assert_eq!(unseen(&encoder, &rows), fields([(4, 1), (3, 1), (4, 0), (4, 0)]));

        let other = table(
            [Some("x"), Some("z"), None, Some("x.0")],
            [Some("a|d"), None, Some("D"), Some("c|e|b")],
            ["z x x", "y z", "x", ""],
        );
        let rows = encoder.encode(&other).unwrap();
        // Of a history the latest two are kept.
        assert_eq!(unseen(&encoder, &rows), fields([(5, 2), (3, 2), (6, 3), (4, 0)]));
        assert_eq!(unseen(&encoder, &rows.select(&[0])), fields([(2, 0), (1, 0), (2, 1), (1, 0)]));
        let other_space = EncodedRows::default();
        assert!(encoder.unseen(&other_space).is_err());
    }

    #[test]
    fn a_damaged_encoder_is_refused() {
        let schema = Schema::default().with_field("n", Numeric::Standardized);
        let table = Table::default().with_column("n", Column::ints([1, 2])).unwrap();
        let json = serde_json::to_string(&fit(schema, &table)).unwrap();
        for (part, other) in [
            ("\"deviation\":0.5", "\"deviation\":0.0"),
            ("{\"numeric\":{\"standardized\":{\"mean\":1.5,\"deviation\":0.5}}}", "\"history\""),
            ("\"fields\":[{\"numeric\"", "\"fields\":[\"history\",{\"numeric\""),
        ] {
            assert!(json.contains(part), "{json}");
            assert!(serde_json::from_str::<FeatureEncoder>(&json.replace(part, other)).is_err(), "{other}");
        }
    }

    #[test]
    fn what_a_field_cannot_take_is_named() {
        let train = Table::default()
            .with_column("n", Column::texts(["1", "2"]))
            .and_then(|table| table.with_column("c", Column::texts(["a", "b"])))
            .and_then(|table| table.with_column("l", Column::text_lists([vec!["a"], vec!["b", "a"]])))
            .and_then(|table| table.with_column("w", Column::number_lists([vec![1.0], vec![1.0, 2.0]])?))
            .unwrap();
        let refuse = Ids::Vocabulary { min_count: 1, unseen: Unseen::Refuse };
        let schema = Schema::default()
            .with_field("n", Numeric::Standardized)
            .with_field("c", refuse)
            .with_field("l", multi_valued(Pooling::WeightedBy("w".into()), None))
            .with_field("h", history("c", 5, Some(" ")))
            .with_label("n", None)
            .with_group("c");
        let with_history = |texts: [&str; 2]| train.clone().with_column("h", Column::texts(texts)).unwrap();
        let encoder = fit(schema.clone(), &with_history(["", "a"]));
        let message = |name: &str, column: Column| {
            let good = with_history(["", "a b"]);
            let columns = good.names().map(|other| match other == name {
                true => (other, column.clone()),
                false => (other, good.column(other).unwrap().clone()),
            });
            let table =
                columns.fold(Table::default(), |t, (name, column)| t.with_column(name, column).unwrap());
            encoder.encode(&table).unwrap_err().to_string()
        };
        let texts = |texts: [&'static str; 2]| Column::texts(texts);
        let none = || Column::texts([Some("1"), None]);
        for (name, column, expected) in [
            ("n", texts(["1", "x"]), "line 2, column n: expected a number, found \"x\""),
            ("n", texts(["NaN", "1"]), "line 1, column n: expected a finite number, found \"NaN\""),
            (
                "n",
                texts(["1", "1e300"]),
                "line 2, column n: expected a number less far from the others, found 1",
            ),
            ("n", none(), "line 2, column n: expected a label, found none"),
            (
                "n",
                Column::int_lists([vec![1], vec![]]),
                "column n: expected a column of numbers, or of texts",
            ),
            ("c", Column::texts([Some("a"), None]), "line 2, column c: expected a group, found none"),
            (
                "c",
                texts(["b", "é"]),
                "line 2, column c: expected a category of the training data, found \"é\"",
            ),
            (
                "c",
                Column::numbers([1.5, 2.0]).unwrap(),
                "line 1, column c: expected a whole number below 2^53, or a text, found 1.5",
            ),
            ("l", texts(["a", "b"]), "column l: expected a column of lists of whole numbers or texts"),
            (
                "w",
                Column::int_lists([vec![1], vec![]]),
                "line 2, column w: expected 2 weights, one for each category, found 0",
            ),
            (
                "w",
                Column::number_lists([vec![1.0], vec![1.0, 1e39]]).unwrap(),
                "line 2, column l: expected weights in the range",
            ),
            (
                "h",
                texts(["b", "a c"]),
                "line 2, column h: expected a category of the training data, found \"c\"",
            ),
            ("h", Column::ints([1, 2]), "column h: expected a column of lists"),
        ] {
            let error = message(name, column);
            assert!(error.starts_with(&format!("input, {expected}")), "{error}\nnot {expected}");
        }
        let error = encoder.encode(&train).unwrap_err().to_string();
        assert_eq!(error, "input, column h: expected a column named \"h\", found n, c, l, w");
        assert!(FeatureEncoder::fit(schema.clone(), [Ok(&train)]).is_err());
        assert!(FeatureEncoder::fit::<Table>(schema, []).is_err());
    }

    #[test]
    fn nothing_is_learned_of_other_rows() {
        let schema = Schema::default()
            .with_field("item", Ids::default())
            .with_field("age", Numeric::Standardized)
            .with_field("price", Numeric::EqualWidthBins { n_bins: 10 });
        let encoder = fit(schema, &table(100, 6));
        let before = encoder.clone();
        encoder.encode_features(&table(100, 7)).unwrap();
        assert_eq!(encoder, before);
        let far = Table::default()
            .with_column("item", Column::ints([Some(1_000), None]))
            .and_then(|table| table.with_column("age", Column::numbers([1e6, -1e6])?))
            .and_then(|table| table.with_column("price", Column::ints([1 << 40, -(1 << 40)])))
            .unwrap();
        let rows = encoder.encode_features(&far).unwrap();
        let (space, bins) = (encoder.space(), encoder.space().ids(2));
        assert_eq!((rows.bag(0, 0).0, rows.bag(1, 0).0), (&[0][..], &[space.ids(0).end - 1][..]));
        assert_eq!((rows.bag(0, 2).0, rows.bag(1, 2).0), (&[bins.start + 9][..], &[bins.start][..]));
    }

    /// Run by hand: `cargo test --release --lib encoding_speed -- --ignored --nocapture`.
    #[test]
    #[ignore = "a timing"]
    fn encoding_speed() {
        let n_rows = 500_000;
        let table = table(n_rows, 8);
        let mut csv = String::from("a,b,c,d,e,f,g,h,i,j\n");
        let mut rng = Rng::new(1);
        for _ in 0..n_rows {
            let numbers: Vec<String> = (0..10).map(|n| rng.below(1000 * (n + 1)).to_string()).collect();
            csv.push_str(&numbers.join(","));
            csv.push('\n');
        }
        let rate = |what: &str, start: Instant| {
            println!("{what}: {:.0} rows/s", n_rows as f64 / start.elapsed().as_secs_f64());
        };
        let start = Instant::now();
        let encoder = fit(schema(), &table);
        rate("fit, 10 fields of all kinds, one of text", start);
        let start = Instant::now();
        encoder.encode(&table).unwrap();
        rate("encode", start);
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let schema = names.into_iter().enumerate().fold(Schema::default(), |schema, (n, name)| match n % 2 {
            0 => schema.with_field(name, Ids::default()),
            _ => schema.with_field(name, Numeric::QuantileBins { n_bins: 50 }),
        });
        let read = || DelimitedTables::default().read_from(csv.as_bytes(), &names).unwrap();
        let start = Instant::now();
        let tables: Vec<Table> = read().collect::<Result<_>>().unwrap();
        rate("read CSV, 10 columns", start);
        let start = Instant::now();
        let encoder = FeatureEncoder::fit(schema, tables.iter().map(Ok)).unwrap();
        rate("fit, 10 fields of texts", start);
        let start = Instant::now();
        tables.iter().for_each(|table| drop(encoder.encode_features(table).unwrap()));
        rate("encode", start);
        let one = tables[0].select(&[7]);
        let start = Instant::now();
        (0..10_000).for_each(|_| drop(encoder.encode_features(&one).unwrap()));
        println!("one row: {:.2} µs", start.elapsed().as_secs_f64() * 100.0);
    }
}
