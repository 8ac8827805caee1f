//! Ratings as rows of fields under P4: will this person like this film? Ratings of 4 and 5 are positive, of 1 and 2
//! negative, those of 3 are left out; a tenth of the rows is for validation, a tenth for the test. A second label says
//! whether they love it: a rating of 5.

use std::collections::HashMap;

use clap::ValueEnum;
use recsys::error::{ErrorKind, Location};
use recsys::features::{
    AggregateConfig, AggregateFeatures, Column, EncodedRows, FeatureEncoder, FeatureStore, FieldKind, Ids,
    Numeric, Pooling, Schema, Table, UnseenShare,
};
use recsys::prelude::*;

/// The rating from which a row is positive.
const POSITIVE_FROM: f64 = 4.0;
/// The rating from which the second label is positive.
const LOVED_FROM: f64 = 5.0;
/// The rating that is neither.
const NEITHER: f32 = 3.0;
/// The most films of a history, unless another number is asked for.
pub const MAX_LEN: usize = 50;

/// Which rows are for training, for validation and for the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CtrSplit {
    /// Eight tenths, one and one, drawn at random: as published results
    Random,
    /// The first eight tenths in time, the next and the last: as it is in practice
    Time,
}

/// The rows of each part.
#[derive(Clone)]
pub struct CtrData {
    pub train: EncodedRows,
    pub validation: EncodedRows,
    pub test: EncodedRows,
    /// What training had not seen of the values of the validation rows, and of the test rows.
    pub unseen: [UnseenValues; 2],
    /// What requests are answered from; a file of rows does not say.
    pub catalogue: Option<Catalogue>,
}

/// What training had not seen of the values of some rows.
#[derive(Clone)]
pub struct UnseenValues {
    /// Where the rows come from: a file, or a part of a split.
    pub source: String,
    /// Of each field.
    pub shares: Vec<UnseenShare>,
}

/// What is known of each user and film, apart.
#[derive(Clone)]
pub struct Catalogue {
    /// A row for each user, and one for strangers.
    pub users: EncodedRows,
    /// A row for each film.
    pub items: EncodedRows,
    /// What each user liked, the latest last.
    pub liked: Vec<Vec<ItemId>>,
    /// What films are called.
    pub titles: Vec<String>,
}

/// The fields of a user's row.
pub const USER_FIELDS: [&str; 5] = ["user", "gender", "age", "occupation", "zip"];

impl CtrData {
    /// The same with the first labels only.
    ///
    /// # Errors
    /// Rows with fewer.
    pub fn with_first_labels(self, n_labels: usize) -> Result<Self> {
        Ok(Self {
            train: self.train.with_first_labels(n_labels)?,
            validation: self.validation.with_first_labels(n_labels)?,
            test: self.test.with_first_labels(n_labels)?,
            unseen: self.unseen,
            catalogue: self.catalogue,
        })
    }
}

/// The rows of a data set, encoded by what is fitted to its training rows. Statistics, if they are wanted, are as of the time
/// of each row, of all rows before it, as a log would give them; as they belong to a pair and a time, there is no catalogue
/// then.
///
/// # Errors
/// Data without a row of each part.
pub fn movielens(
    dataset: &Dataset,
    split: CtrSplit,
    statistics: bool,
    max_len: usize,
    seed: u64,
) -> Result<CtrData> {
    let rows = dataset.interactions().clone().retain(|row| row.value != NEITHER);
    let liked = Likes::new(&rows);
    let ratios = [0.8, 0.1, 0.1];
    let parts = match split {
        CtrSplit::Random => Split::at_random(&rows, ratios, seed)?,
        CtrSplit::Time => Split::by_time(&rows, ratios)?,
    };
    let statistics = if statistics { Some(Statistics::new(&rows, dataset)?) } else { None };
    let table = |rows: &Interactions| {
        let rating = Column::numbers(rows.values().iter().map(|&value| f64::from(value)))?;
        let pairs: Vec<_> = rows.iter().map(|row| (Some(row.user), Some(row.item))).collect();
        let table = table(&pairs, liked.before(rows)?, dataset)?.with_column("rating", rating)?;
        statistics.iter().try_fold(table, |table, statistics| statistics.add_to(table, rows))
    };
    let train = table(&parts.train)?;
    let mut schema = schema(dataset, max_len);
    for name in statistics.iter().flat_map(|statistics| statistics.features.names()) {
        schema = schema.with_field(*name, Numeric::QuantileBins { n_bins: 32 });
    }
    let encoder = FeatureEncoder::fit(schema, [Ok(&train)])?;
    let measured = |part: &str, rows: &Interactions| -> Result<(EncodedRows, UnseenValues)> {
        let rows = encoder.encode(&table(rows)?)?;
        check_some(&rows, Location::memory(), part)?;
        let unseen = UnseenValues { source: part.into(), shares: encoder.unseen(&rows)? };
        Ok((rows, unseen))
    };
    let (validation, of_validation) = measured("the validation part", &parts.validation)?;
    let (test, of_test) = measured("the test part", &parts.test)?;
    Ok(CtrData {
        train: encoder.encode(&train)?,
        validation,
        test,
        unseen: [of_validation, of_test],
        catalogue: if statistics.is_none() { Some(catalogue(&encoder, dataset, &liked)?) } else { None },
    })
}

/// Refuses a part without rows, before anything is trained.
///
/// # Errors
/// No rows.
pub fn check_some(rows: &EncodedRows, location: Location, part: &str) -> Result<()> {
    if rows.n_rows() == 0 {
        let expected = format!("at least one row in {part}").into();
        return Err(ErrorKind::InvalidInput { location, expected, found: "none".into() }.into());
    }
    Ok(())
}

/// The users and films of a data set, as the encoder of its training rows encodes them.
fn catalogue(encoder: &FeatureEncoder, dataset: &Dataset, liked: &Likes) -> Result<Catalogue> {
    let (n_users, n_items) = (dataset.interactions().n_users(), dataset.interactions().n_items());
    let encode = |pairs: &[(Option<UserId>, Option<ItemId>)]| {
        let nothing = Column::lists(Column::ints([0; 0]), pairs.iter().map(|_| 0..0))?;
        encoder.encode_features(&table(pairs, nothing, dataset)?)
    };
    let users: Vec<_> = (0..n_users as u32).map(|user| (Some(UserId(user)), None)).collect();
    let items: Vec<_> = (0..n_items as u32).map(|item| (None, Some(ItemId(item)))).collect();
    Ok(Catalogue {
        users: encode(&[users, vec![(None, None)]].concat())?,
        items: encode(&items)?,
        liked: (0..n_users).map(|user| liked.of(user)).collect(),
        titles: match dataset.item_table() {
            Some(items) => items.titles().to_vec(),
            None => (0..n_items).map(|item| format!("item {item}")).collect(),
        },
    })
}

fn schema(dataset: &Dataset, max_len: usize) -> Schema {
    fields(dataset, max_len)
        .with_label("rating", POSITIVE_FROM)
        .with_label("rating", LOVED_FROM)
        .with_group("user")
}

/// The fields of a row, without labels; its history holds the newest `max_len` films.
pub fn fields(dataset: &Dataset, max_len: usize) -> Schema {
    let mut schema = Schema::default().with_field("user", Ids::default()).with_field("item", Ids::default());
    if dataset.user_table().is_some() {
        for field in ["gender", "age", "occupation", "zip"] {
            schema = schema.with_field(field, Ids::default());
        }
    }
    if dataset.item_table().is_some() {
        let genres = FieldKind::MultiValued { ids: Ids::default(), pooling: Pooling::Mean, separator: None };
        schema = schema.with_field("genres", genres).with_field("year", Ids::default());
    }
    let history = FieldKind::History { of: "item".into(), max_len, separator: None };
    schema.with_field("liked", history)
}

/// A row for each user and film, of which either may be missing, with what the user had liked.
pub fn table(pairs: &[(Option<UserId>, Option<ItemId>)], liked: Column, dataset: &Dataset) -> Result<Table> {
    let users = || pairs.iter().map(|pair| pair.0);
    let items = || pairs.iter().map(|pair| pair.1);
    let mut table = Table::default()
        .with_column("user", Column::ints(users().map(|user| Some(i64::from(user?.0)))))?
        .with_column("item", Column::ints(items().map(|item| Some(i64::from(item?.0)))))?
        .with_column("liked", liked)?;
    if let Some(known) = dataset.user_table() {
        let of_users = |texts: &[String]| {
            let text =
                |user: Option<UserId>| Some(texts[user?.index()].as_str()).filter(|text| !text.is_empty());
            Column::texts(users().map(text))
        };
        let age = |user: Option<UserId>| known.ages()[user?.index()].map(i64::from);
        table = table
            .with_column("gender", of_users(known.genders()))?
            .with_column("age", Column::ints(users().map(age)))?
            .with_column("occupation", of_users(known.occupations()))?
            .with_column("zip", of_users(known.zip_codes()))?;
    }
    if let Some(known) = dataset.item_table() {
        let year = |item: Option<ItemId>| known.years()[item?.index()].map(i64::from);
        let genres = |item: Option<ItemId>| {
            Some(known.genres().row(item?).iter().map(|&genre| genre.into()).collect::<Vec<i64>>())
        };
        table = table
            .with_column("genres", Column::int_lists(items().map(genres)))?
            .with_column("year", Column::ints(items().map(year)))?;
    }
    Ok(table)
}

/// Statistics of users and films as of the time of each row.
struct Statistics {
    features: AggregateFeatures,
    /// A row of each user, film and time; such rows have the same statistics.
    rows: HashMap<(UserId, ItemId, i64), usize>,
}

impl Statistics {
    fn new(rows: &Interactions, dataset: &Dataset) -> Result<Self> {
        let config = AggregateConfig { positive_from: POSITIVE_FROM as f32, ..AggregateConfig::default() };
        let mut store = FeatureStore::new(config)?;
        if let Some(items) = dataset.item_table() {
            store =
                store.with_categories(&ItemFeatures::genres(items))?.with_years(items.years().to_vec())?;
        }
        let numbered = rows.iter().enumerate().map(|(i, row)| ((row.user, row.item, row.timestamp), i));
        Ok(Self { features: store.replay(rows)?, rows: numbered.collect() })
    }

    /// The table with a column for each statistic of these rows.
    fn add_to(&self, mut table: Table, rows: &Interactions) -> Result<Table> {
        let numbers: Vec<usize> =
            rows.iter().map(|row| self.rows[&(row.user, row.item, row.timestamp)]).collect();
        for (i, name) in self.features.names().iter().enumerate() {
            let of_row = |&row: &usize| f64::from(self.features.row(row)[i]);
            table = table.with_column(*name, Column::numbers(numbers.iter().map(of_row))?)?;
        }
        Ok(table)
    }
}

/// What each user liked, in the order of time.
struct Likes {
    items: Vec<i64>,
    times: Vec<i64>,
    /// Where each user's begin, and where the last one's end.
    starts: Vec<usize>,
}

impl Likes {
    fn new(rows: &Interactions) -> Self {
        let mut liked: Vec<Interaction> =
            rows.iter().filter(|row| f64::from(row.value) >= POSITIVE_FROM).collect();
        liked.sort_by_key(|row| (row.user, row.timestamp));
        let start = |user: usize| liked.partition_point(|row| row.user.index() < user);
        Self {
            starts: (0..=rows.n_users()).map(start).collect(),
            items: liked.iter().map(|row| row.item.0.into()).collect(),
            times: liked.iter().map(|row| row.timestamp).collect(),
        }
    }

    fn of(&self, user: usize) -> Vec<ItemId> {
        let items = &self.items[self.starts[user]..self.starts[user + 1]];
        items.iter().map(|&item| ItemId(item as u32)).collect()
    }

    /// For each row what its user had liked before it: at an earlier time, never at the same.
    fn before(&self, rows: &Interactions) -> Result<Column> {
        let before = |row: Interaction| {
            let [start, end] = [0, 1].map(|next| self.starts[row.user.index() + next]);
            start..start + self.times[start..end].partition_point(|&time| time < row.timestamp)
        };
        Column::lists(Column::ints(self.items.iter().copied()), rows.iter().map(before))
    }
}
