use std::mem::take;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::running_statistics::{Facts, RunningStatistics, SavedStatistics};
use super::{AggregateConfig, AggregateFeatures, ItemFeatures};
use crate::data::{Interaction, Interactions};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::{ItemId, UserId};

/// Statistics of users and items that grow with what happens, and the [`AggregateFeatures`] made of them, in training
/// and in serving.
///
/// Features as of a time know the interactions **strictly before** it: not those of the same time, so that no row
/// sees itself or what the clock cannot tell from it. [`replay`](Self::replay) gives the features of every row of a log
/// as of its own time, in one pass; [`observe`](Self::observe) and [`features`](Self::features) do the same step by
/// step, with the same numbers to the last bit, in whatever order interactions of equal time arrive.
///
/// Users and items never seen before need no notice: they have the features of no interactions. The store holds a few
/// numbers for each user, item, and category of a user, however many interactions there were. It is saved with the
/// model through serde, for example by [`BundleWriter::write_json`](crate::persistence::BundleWriter::write_json).
///
/// ```
/// use recsys::features::{AggregateConfig, FeatureStore};
/// use recsys::prelude::*;
///
/// let row = |user, item, value, timestamp| Interaction { user: UserId(user), item: ItemId(item), value, timestamp };
/// let log = Interactions::from_rows(2, 2, [row(0, 0, 5.0, 10), row(1, 0, 3.0, 20), row(0, 1, 4.0, 30)])?;
///
/// let mut store = FeatureStore::new(AggregateConfig { positive_from: 4.0, prior_count: 1.0 })?
///     .with_years(vec![Some(1995), None])?;
/// let train = store.replay(&log)?;
/// assert_eq!(train.n_rows(), 3);
/// let means: Vec<f32> = train.column("item_mean").unwrap().collect();
/// assert_eq!(means, [0.0, 5.0, 4.0]);
///
/// store.observe(row(1, 1, 2.0, 40))?;
/// let served = store.features(UserId(1), &[ItemId(0), ItemId(1)], 50)?;
/// assert_eq!(served.column("user_log_count").unwrap().next(), Some(3f32.ln()));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct FeatureStore {
    facts: Facts,
    /// Of all interactions before those pending.
    statistics: RunningStatistics,
    /// The interactions of the latest time, which features as of that time must not know.
    pending: Vec<Interaction>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    config: AggregateConfig,
    categories: Option<ItemFeatures>,
    years: Option<Vec<Option<u16>>>,
    statistics: SavedStatistics,
    pending: Vec<Interaction>,
}

impl FeatureStore {
    /// A store in which nothing has happened.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(config: AggregateConfig) -> Result<Self> {
        config.validate()?;
        let facts = Facts { config, ..Facts::default() };
        Ok(Self { facts, statistics: RunningStatistics::default(), pending: Vec::new() })
    }

    /// With features of the categories of these items.
    ///
    /// # Errors
    /// Another number of items than there are years; a store that has observed something already.
    pub fn with_categories(mut self, items: &ItemFeatures) -> Result<Self> {
        self.check_facts(items.n_items())?;
        self.facts.categories = Some(items.clone().without_vectors());
        Ok(self)
    }

    /// With features of the year of each item ([`ItemTable::years`](crate::data::ItemTable::years)).
    ///
    /// # Errors
    /// Another number of items than have categories; a store that has observed something already.
    pub fn with_years(mut self, years: Vec<Option<u16>>) -> Result<Self> {
        self.check_facts(years.len())?;
        self.facts.years = Some(years);
        Ok(self)
    }

    /// The name of each feature.
    pub fn names(&self) -> Vec<&'static str> {
        self.facts.names()
    }

    /// Notes what happened.
    ///
    /// # Errors
    /// A value that is not finite, or a time that is negative or before that of an earlier interaction; the store
    /// stays as it was.
    pub fn observe(&mut self, interaction: Interaction) -> Result<()> {
        let Interaction { value, timestamp, .. } = interaction;
        if !value.is_finite() {
            let location = Location::memory().column("value");
            return Err(Error::input(location, "a finite number", value.to_string()));
        }
        self.check_next(timestamp)?;
        self.advance(timestamp);
        self.pending.push(interaction);
        Ok(())
    }

    /// The features of a user with each of these items as of `now`, `[n_items, n_features]`.
    ///
    /// Takes what happened at the latest time into account on the side, if `now` is later. Where that is much and
    /// there are many questions, [`advance`](Self::advance) first.
    ///
    /// # Errors
    /// A time before that of the latest interaction: the store no longer knows how things were.
    pub fn features(&self, user: UserId, items: &[ItemId], now: i64) -> Result<AggregateFeatures> {
        self.check_time("now", now)?;
        let mut values = Vec::with_capacity(items.len() * self.names().len());
        if self.is_pending_before(now) {
            let mut statistics = self.statistics.part(user, items);
            for row in in_order(self.pending.clone()) {
                statistics.observe(&self.facts, row);
            }
            statistics.push_features(&self.facts, user, items, now, &mut values);
        } else {
            self.statistics.push_features(&self.facts, user, items, now, &mut values);
        }
        Ok(AggregateFeatures::new(self.names(), values))
    }

    /// Says that nothing before `now` is still to come, which makes [`features`](Self::features) as of `now` cheap.
    pub fn advance(&mut self, now: i64) {
        if self.is_pending_before(now) {
            for row in in_order(take(&mut self.pending)) {
                self.statistics.observe(&self.facts, row);
            }
        }
    }

    /// Observes all rows, in the order of time, and gives the features of each as of its time, in the order of the
    /// rows. The order itself makes no difference.
    ///
    /// Beside the answer it needs memory for the order, 16 bytes a row.
    ///
    /// # Errors
    /// A row earlier than an interaction observed before, or another number of items than have categories and years;
    /// the store stays as it was.
    pub fn replay(&mut self, interactions: &Interactions) -> Result<AggregateFeatures> {
        if let Some(expected) = self.n_items() {
            check_length("number of items of the interactions", expected, interactions.n_items())?;
        }
        let times = interactions.timestamps();
        let mut order: Vec<(i64, u32)> = times.iter().copied().zip(0..).collect();
        order.par_sort_unstable();
        if let Some(&(first, _)) = order.first() {
            self.check_next(first)?;
        }
        let n_features = self.names().len();
        let mut values = vec![0.0; interactions.len() * n_features];
        let mut features = Vec::with_capacity(n_features);
        for same_time in order.chunk_by(|a, b| a.0 == b.0) {
            self.advance(same_time[0].0);
            for &(now, row) in same_time {
                let row = row as usize;
                let interaction = interactions.row(row);
                features.clear();
                let (user, items) = (interaction.user, &[interaction.item]);
                self.statistics.push_features(&self.facts, user, items, now, &mut features);
                values[row * n_features..][..n_features].copy_from_slice(&features);
                self.pending.push(interaction);
            }
        }
        Ok(AggregateFeatures::new(self.names(), values))
    }

    /// The number of items of which something is known beside interactions.
    fn n_items(&self) -> Option<usize> {
        let categories = self.facts.categories.as_ref().map(ItemFeatures::n_items);
        categories.or(self.facts.years.as_ref().map(Vec::len))
    }

    fn is_pending_before(&self, now: i64) -> bool {
        self.pending.first().is_some_and(|row| row.timestamp < now)
    }

    fn check_facts(&self, n_items: usize) -> Result<()> {
        if let Some(expected) = self.n_items() {
            check_length("number of items of the feature store", expected, n_items)?;
        }
        match self.pending.first() {
            Some(row) => {
                let found = format!("one with interactions up to {}", row.timestamp);
                Err(Error::config("FeatureStore::with", "a store without interactions", found))
            }
            None if self.statistics != RunningStatistics::default() => {
                Err(Error::config("FeatureStore::with", "a store without interactions", "one with some"))
            }
            None => Ok(()),
        }
    }

    /// Whether the next interaction may have this time.
    fn check_next(&self, time: i64) -> Result<()> {
        self.check_time("timestamp", time)?;
        let earliest = self.pending.first().map_or(0, |row| row.timestamp);
        if time >= earliest {
            return Ok(());
        }
        Err(too_early("timestamp", earliest, time))
    }

    /// Whether all that is settled lies before this time.
    fn check_time(&self, column: &'static str, time: i64) -> Result<()> {
        match self.statistics.last() {
            Some(last) if time <= last => Err(too_early(column, last.saturating_add(1), time)),
            _ => Ok(()),
        }
    }
}

/// Interactions of one time in the order in which statistics take them, which is not that in which they came:
/// floating-point sums depend on it.
fn in_order(mut rows: Vec<Interaction>) -> Vec<Interaction> {
    rows.sort_unstable_by(|a, b| {
        (a.user, a.item).cmp(&(b.user, b.item)).then_with(|| a.value.total_cmp(&b.value))
    });
    rows
}

fn too_early(column: &'static str, earliest: i64, found: i64) -> Error {
    let location = Location::memory().column(column);
    Error::input(location, format!("a time of {earliest} or later"), found.to_string())
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}

impl TryFrom<Saved> for FeatureStore {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let mut store = Self::new(saved.config)?;
        if let Some(categories) = &saved.categories {
            store = store.with_categories(categories)?;
        }
        if let Some(years) = saved.years {
            store = store.with_years(years)?;
        }
        store.statistics = RunningStatistics::from_saved(saved.statistics).map_err(|found| {
            Error::input(Location::memory().column("statistics"), "what interactions lead to", found)
        })?;
        for row in saved.pending {
            if store.is_pending_before(row.timestamp) {
                let location = Location::memory().column("pending");
                return Err(Error::input(location, "interactions of one time", row.timestamp.to_string()));
            }
            store.observe(row)?;
        }
        Ok(store)
    }
}

impl From<FeatureStore> for Saved {
    fn from(store: FeatureStore) -> Self {
        let FeatureStore { facts, statistics, pending } = store;
        let Facts { config, categories, years } = facts;
        Self { config, categories, years, statistics: statistics.into_saved(), pending }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const N_USERS: usize = 4;
    const N_ITEMS: usize = 5;
    const CONFIG: AggregateConfig = AggregateConfig { positive_from: 4.0, prior_count: 2.0 };
    const CATEGORIES: [&[u32]; N_ITEMS] = [&[0], &[0, 2], &[1], &[1, 2], &[]];
    const YEARS: [Option<u16>; N_ITEMS] = [Some(1979), Some(1995), Some(1986), None, Some(2001)];

    fn store() -> FeatureStore {
        FeatureStore::new(CONFIG)
            .and_then(|store| store.with_categories(&ItemFeatures::new(3, CATEGORIES)?))
            .and_then(|store| store.with_years(YEARS.to_vec()))
            .unwrap()
    }

    fn row(user: u32, item: u32, value: f32, timestamp: i64) -> Interaction {
        Interaction { user: UserId(user), item: ItemId(item), value, timestamp }
    }

    fn table(rows: &[Interaction]) -> Interactions {
        Interactions::from_rows(N_USERS, N_ITEMS, rows.iter().copied()).unwrap()
    }

    /// Many ties of time, and values whose sums are not exact.
    fn rows() -> impl Strategy<Value = Vec<Interaction>> {
        let row = (0..N_USERS as u32, 0..N_ITEMS as u32, 1u8..51, 0i64..12)
            .prop_map(|(user, item, value, day)| row(user, item, f32::from(value) / 10.0, day * 50_000));
        prop::collection::vec(row, 0..60)
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn mean_and_variance(values: &[f64]) -> (f64, f64) {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n)
    }

    /// The formulas of [`AggregateFeatures`], from all earlier rows for each question.
    fn naive(log: &[Interaction], user: UserId, item: ItemId, now: i64) -> Vec<f64> {
        let c = CONFIG.prior_count;
        let past: Vec<Interaction> = log.iter().filter(|row| row.timestamp < now).copied().collect();
        let of = |keep: &dyn Fn(&Interaction) -> bool| -> Vec<Interaction> {
            past.iter().filter(|row| keep(row)).copied().collect()
        };
        let values = |rows: &[Interaction]| -> Vec<f64> { rows.iter().map(|row| row.value.into()).collect() };
        let liked = |row: &Interaction| row.value >= CONFIG.positive_from;
        let share = |rows: &[Interaction]| {
            rows.iter().filter(|row| liked(row)).count() as f64 / rows.len().max(1) as f64
        };
        let (all_mean, all_variance) = mean_and_variance(&values(&past));
        let of_user = of(&|row| row.user == user);
        let of_item = of(&|row| row.item == item);
        let smooth = |value: f64, n: usize, prior: f64| (value * n as f64 + c * prior) / (n as f64 + c);
        let mut features = Vec::new();
        for rows in [&of_user, &of_item] {
            let n = rows.len();
            let (mean, variance) = mean_and_variance(&values(rows));
            let last = rows.iter().map(|row| row.timestamp).max();
            features.extend([
                (1.0 + n as f64).ln(),
                smooth(mean, n, all_mean),
                smooth(variance, n, all_variance),
                smooth(share(rows), n, share(&past)),
                last.map_or(-1.0, |last| (1.0 + (now - last) as f64 / 86_400.0).ln()),
            ]);
        }
        let user_mean = features[1];
        let categories = CATEGORIES.get(item.index()).copied().unwrap_or(&[]);
        let (mut affinity, mut category_share) = (0.0, 0.0);
        for category in categories {
            let inside: Vec<f64> = values(&of_user)
                .into_iter()
                .zip(&of_user)
                .filter(|(_, row)| CATEGORIES[row.item.index()].contains(category))
                .map(|(value, _)| value - user_mean)
                .collect();
            affinity += inside.iter().sum::<f64>() / (inside.len() as f64 + c) / categories.len() as f64;
            category_share += inside.len() as f64 / of_user.len().max(1) as f64 / categories.len() as f64;
        }
        let years = |rows: &[Interaction]| -> Vec<f64> {
            rows.iter()
                .filter(|row| liked(row))
                .filter_map(|row| YEARS[row.item.index()])
                .map(f64::from)
                .collect()
        };
        let all_years = years(&past);
        let (prior_year, prior_variance) = mean_and_variance(&all_years);
        let prior_year = if all_years.is_empty() { 2000.0 } else { prior_year };
        let (year, variance) = mean_and_variance(&years(&of_user));
        let n = years(&of_user).len();
        let (year, spread) = (smooth(year, n, prior_year), smooth(variance, n, prior_variance).sqrt());
        let item_year = YEARS.get(item.index()).copied().flatten().map(f64::from);
        let gap = item_year.map_or(0.0, |item_year| (item_year - year) / spread.max(1.0));
        features.extend([affinity, category_share, (year - 2000.0) / 10.0, spread / 10.0, gap]);
        features
    }

    fn assert_near(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for ((found, expected), name) in found.iter().zip(expected).zip(store().names()) {
            let tolerance = 1e-5 * (1.0 + expected.abs());
            assert!((f64::from(*found) - expected).abs() < tolerance, "{name}: {found}, not {expected}");
        }
    }

    #[test]
    fn a_log_worked_out_by_hand() {
        const DAY: i64 = 86_400;
        let log = [row(0, 0, 5.0, 0), row(0, 1, 3.0, DAY), row(1, 0, 4.0, DAY), row(0, 3, 1.0, 3 * DAY)];
        let features = store().replay(&table(&log)).unwrap();
        let check = |row: usize, name, expected: f64| {
            let found: f64 = features.column(name).unwrap().nth(row).unwrap().into();
            assert!((found - expected).abs() < 1e-6, "row {row}, {name}: {found}, not {expected}");
        };
        assert_eq!(features.n_rows(), 4);
        // Nothing came before the first row; the rows of the second day do not see each other.
        let nothing = [0.0, 0.0, 0.0, 0.0, -1.0];
        assert_eq!(features.row(0)[..10], [nothing, nothing].concat());
        let ln_2 = 2f64.ln();
        for (row, item_log_count, user_recency) in [(1, 0.0, ln_2), (2, ln_2, -1.0)] {
            check(row, "user_mean", 5.0);
            check(row, "item_log_count", item_log_count);
            check(row, "user_recency", user_recency);
        }
        // The user of the last row gave 5 and 3, all gave 5, 3 and 4.
        check(3, "user_mean", (8.0 + 2.0 * 4.0) / 4.0);
        check(3, "user_variance", (2.0 + 2.0 * 2.0 / 3.0) / 4.0);
        check(3, "user_positive_share", (1.0 + 2.0 * 2.0 / 3.0) / 4.0);
        check(3, "user_recency", 3f64.ln());
        // Of the categories 1 and 2 of item 3, one of the two rows, the one with value 3, is in 2.
        check(3, "category_affinity", (0.0 + (3.0 - 4.0) / 3.0) / 2.0);
        check(3, "category_share", 0.25);
        // Liked was 1979 alone, by both users.
        check(3, "liked_year", -2.1);
        check(3, "liked_year_spread", 0.0);
        check(3, "item_year_gap", 0.0);
        check(1, "item_year_gap", 16.0);
    }

    #[test]
    fn strangers_have_the_features_of_no_interactions() {
        let mut store = store();
        store.replay(&table(&[row(0, 0, 5.0, 0), row(1, 1, 2.0, 0)])).unwrap();
        let (user, item) = (UserId(u32::MAX), ItemId(u32::MAX));
        let found = store.features(user, &[item], 9).unwrap();
        let stranger = [0.0, 3.5, 2.25, 0.5, -1.0];
        assert_eq!(found.values(), [&stranger[..], &stranger, &[0.0, 0.0, -2.1, 0.0, 0.0]].concat());
        store.observe(Interaction { user, item, value: 1.0, timestamp: 10 }).unwrap();
        assert_eq!(store.features(user, &[item], 11).unwrap().values()[0], 2f32.ln());
    }

    #[test]
    fn columns_are_those_of_what_is_known() {
        let plain = FeatureStore::new(CONFIG).unwrap();
        assert_eq!(plain.names().len(), 10);
        let mut with_years = plain.clone().with_years(YEARS.to_vec()).unwrap();
        assert_eq!(with_years.names()[10..], ["liked_year", "liked_year_spread", "item_year_gap"]);
        let log = table(&[row(0, 0, 5.0, 0), row(0, 2, 4.5, 1), row(3, 4, 4.0, 2)]);
        let (few, all) = (with_years.replay(&log).unwrap(), store().replay(&log).unwrap());
        for name in few.names() {
            assert!(few.column(name).unwrap().eq(all.column(name).unwrap()), "{name}");
        }
        assert!(few.column("category_share").is_none());
        assert_eq!(plain.clone().replay(&table(&[])).unwrap().n_rows(), 0);
    }

    #[test]
    fn the_largest_values_stay_finite() {
        let log = [row(0, 0, f32::MAX, 0), row(0, 0, f32::MIN, 1), row(0, 0, f32::MAX, i64::MAX)];
        let features = store().replay(&table(&log)).unwrap();
        assert!(features.values().iter().all(|value| value.is_finite()), "{features:?}");
        assert_eq!(features.column("user_variance").unwrap().nth(2), Some(f32::MAX));
    }

    #[test]
    fn bad_input_is_named_and_changes_nothing() {
        let mut store = store();
        for timestamp in [10, 20] {
            store.observe(row(0, 0, 5.0, timestamp)).unwrap();
        }
        let before = store.clone();
        let few = Interactions::from_rows(1, 2, []).unwrap();
        let message = |error: Error| error.to_string();
        assert_eq!(
            message(store.replay(&few).unwrap_err()),
            "number of items of the interactions: expected 5, found 2"
        );
        assert_eq!(
            message(store.replay(&table(&[row(0, 0, 1.0, 30), row(0, 0, 1.0, 19)])).unwrap_err()),
            "input, column timestamp: expected a time of 20 or later, found 19"
        );
        assert_eq!(
            message(store.observe(row(0, 0, 1.0, 10)).unwrap_err()),
            "input, column timestamp: expected a time of 11 or later, found 10"
        );
        assert_eq!(
            message(store.observe(row(0, 0, f32::NAN, 20)).unwrap_err()),
            "input, column value: expected a finite number, found NaN"
        );
        assert_eq!(
            message(store.features(UserId(0), &[], 10).unwrap_err()),
            "input, column now: expected a time of 11 or later, found 10"
        );
        assert_eq!(store, before);
        assert!(FeatureStore::new(CONFIG).unwrap().observe(row(0, 0, 1.0, -1)).is_err());
        let short = self::store().with_years(vec![None; 4]).unwrap_err();
        assert_eq!(message(short), "number of items of the feature store: expected 5, found 4");
        assert!(before.with_years(YEARS.to_vec()).is_err(), "too late");
        for (config, field) in [
            (AggregateConfig { prior_count: 0.0, ..CONFIG }, "prior_count"),
            (AggregateConfig { prior_count: f64::INFINITY, ..CONFIG }, "prior_count"),
            (AggregateConfig { positive_from: f32::NAN, ..CONFIG }, "positive_from"),
        ] {
            let error = message(FeatureStore::new(config).unwrap_err());
            assert!(error.starts_with(&format!("AggregateConfig::{field}: ")), "{error}");
        }
    }

    #[test]
    fn a_store_that_no_log_leads_to_is_refused() {
        let mut store = store();
        store.replay(&table(&[row(0, 0, 5.0, 1), row(1, 1, 4.0, 2), row(1, 2, 4.0, 3)])).unwrap();
        let json = serde_json::to_string(&store).unwrap();
        assert_eq!(serde_json::from_str::<FeatureStore>(&json).unwrap(), store);
        for (good, bad) in [
            ("\"n\":2", "\"n\":0"),
            ("\"n_positive\":1", "\"n_positive\":3"),
            ("\"users\":[[0,", "\"users\":[[1,"),
            ("\"prior_count\":2.0", "\"prior_count\":-2.0"),
            ("\"timestamp\":3", "\"timestamp\":2"),
            ("\"years\":[1979,", "\"years\":["),
        ] {
            assert!(json.contains(good), "{json}");
            assert!(serde_json::from_str::<FeatureStore>(&json.replacen(good, bad, 1)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_formulas(log in rows()) {
            let features = store().replay(&table(&log)).unwrap();
            for (index, row) in log.iter().enumerate() {
                assert_near(features.row(index), &naive(&log, row.user, row.item, row.timestamp));
            }
        }

        #[test]
        fn any_question_after_any_log(log in rows(), user in 0u32..6, item in 0u32..7) {
            let mut store = store();
            store.replay(&table(&log)).unwrap();
            let last = log.iter().map(|row| row.timestamp).max().unwrap_or(0);
            for now in [last, last + 1] {
                let items = [ItemId(item), ItemId(0)];
                let found = store.features(UserId(user), &items, now).unwrap();
                assert_near(found.row(0), &naive(&log, UserId(user), items[0], now));
                assert_near(found.row(1), &naive(&log, UserId(user), items[1], now));
            }
        }

        #[test]
        fn no_row_sees_itself_or_what_comes_later(
            log in rows(), which in any::<prop::sample::Index>(), value in 1u8..51
        ) {
            prop_assume!(!log.is_empty());
            let which = which.index(log.len());
            let features = store().replay(&table(&log)).unwrap();
            let mut changed = log.clone();
            changed[which].value = f32::from(value) / 10.0;
            let mut fewer = log.clone();
            fewer.remove(which);
            let after_change = store().replay(&table(&changed)).unwrap();
            let after_removal = store().replay(&table(&fewer)).unwrap();
            for (row, own) in log.iter().enumerate() {
                if own.timestamp <= log[which].timestamp {
                    prop_assert_eq!(bits(features.row(row)), bits(after_change.row(row)));
                    if row != which {
                        let left = row - usize::from(row > which);
                        prop_assert_eq!(bits(features.row(row)), bits(after_removal.row(left)));
                    }
                }
            }
        }

        #[test]
        fn serving_gives_the_numbers_of_training(log in rows(), saved_at in 0usize..60, seed in any::<u64>()) {
            let mut trained = store();
            let features = trained.replay(&table(&log)).unwrap();
            // Interactions of the same time arrive in any order.
            let mut arrivals: Vec<usize> = (0..log.len()).collect();
            Rng::new(seed).shuffle(&mut arrivals);
            arrivals.sort_by_key(|&row| log[row].timestamp);
            let mut served = store();
            for (n, &row) in arrivals.iter().enumerate() {
                if n == saved_at {
                    served = serde_json::from_str(&serde_json::to_string(&served).unwrap()).unwrap();
                }
                let Interaction { user, item, timestamp, .. } = log[row];
                let found = served.features(user, &[item], timestamp).unwrap();
                prop_assert_eq!(bits(found.values()), bits(features.row(row)));
                served.observe(log[row]).unwrap();
            }
            trained.advance(i64::MAX);
            served.advance(i64::MAX);
            prop_assert_eq!(trained, served);
        }

        #[test]
        fn the_order_of_rows_makes_no_difference(log in rows(), seed in any::<u64>()) {
            let mut order: Vec<usize> = (0..log.len()).collect();
            Rng::new(seed).shuffle(&mut order);
            let shuffled: Vec<Interaction> = order.iter().map(|&row| log[row]).collect();
            let (mut one, mut other) = (store(), store());
            let (plain, permuted) = (one.replay(&table(&log)).unwrap(), other.replay(&table(&shuffled)).unwrap());
            for (place, &row) in order.iter().enumerate() {
                prop_assert_eq!(bits(permuted.row(place)), bits(plain.row(row)));
            }
            one.advance(i64::MAX);
            other.advance(i64::MAX);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn two_parts_replayed_are_the_whole(log in rows(), cut in 0i64..12) {
            let whole = store().replay(&table(&log)).unwrap();
            let (early, late): (Vec<usize>, Vec<usize>) =
                (0..log.len()).partition(|&row| log[row].timestamp < cut * 50_000);
            let mut store = store();
            for part in [early, late] {
                let features = store.replay(&table(&log).select(&part)).unwrap();
                for (place, row) in part.into_iter().enumerate() {
                    prop_assert_eq!(bits(features.row(place)), bits(whole.row(row)));
                }
            }
        }
    }

    /// `cargo test --release -- --ignored --nocapture a_million_rows`
    #[test]
    #[ignore = "a measurement"]
    fn a_million_rows() {
        let mut rng = Rng::new(1);
        let categories = (0..4_000).map(|_| [rng.below(18) as u32, rng.below(18) as u32]).collect::<Vec<_>>();
        let years = (0..4_000).map(|_| Some(1930 + rng.below(70) as u16)).collect();
        let log = (0..1_000_000).map(|_| Interaction {
            user: UserId(rng.below(6_000) as u32),
            item: ItemId(rng.below(4_000) as u32),
            value: 1.0 + rng.below(5) as f32,
            timestamp: rng.below(90_000_000) as i64,
        });
        let log = Interactions::from_rows(6_000, 4_000, log.collect::<Vec<_>>()).unwrap();
        let mut store = FeatureStore::new(AggregateConfig::default())
            .and_then(|store| store.with_categories(&ItemFeatures::new(18, categories)?))
            .and_then(|store| store.with_years(years))
            .unwrap();
        let start = std::time::Instant::now();
        let features = store.replay(&log).unwrap();
        println!("{} rows of {} in {:?}", features.n_rows(), features.n_features(), start.elapsed());
        let items: Vec<ItemId> = (0..1_000).map(ItemId).collect();
        store.advance(i64::MAX);
        let start = std::time::Instant::now();
        store.features(UserId(7), &items, i64::MAX).unwrap();
        println!("1,000 items of a user in {:?}", start.elapsed());
        println!("saved: {} bytes", serde_json::to_string(&store).unwrap().len());
    }
}
