use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::moments::{Moments, smoothed};
use super::{AggregateConfig, ItemFeatures};
use crate::data::Interaction;
use crate::ids::{ItemId, UserId};

/// The features that are there without knowledge of items, in the order in which they are written.
const OF_USER_AND_ITEM: [&str; 10] = [
    "user_log_count",
    "user_mean",
    "user_variance",
    "user_positive_share",
    "user_recency",
    "item_log_count",
    "item_mean",
    "item_variance",
    "item_positive_share",
    "item_recency",
];
const OF_CATEGORIES: [&str; 2] = ["category_affinity", "category_share"];
const OF_YEARS: [&str; 3] = ["liked_year", "liked_year_spread", "item_year_gap"];

const SECONDS_PER_DAY: f64 = 86_400.0;
/// The recency of what never happened.
const NEVER: f64 = -1.0;
/// The year that liked years are counted from, and the mean before there are any.
const ORIGIN_YEAR: f64 = 2_000.0;
const YEARS_PER_DECADE: f64 = 10.0;

/// What statistics are made with: settings, and what is known of the items.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) config: AggregateConfig,
    pub(super) categories: Option<ItemFeatures>,
    /// The year of each item, where it is known.
    pub(super) years: Option<Vec<Option<u16>>>,
}

impl Facts {
    pub(super) fn names(&self) -> Vec<&'static str> {
        let categories: &[&str] = if self.categories.is_some() { &OF_CATEGORIES } else { &[] };
        let years: &[&str] = if self.years.is_some() { &OF_YEARS } else { &[] };
        [&OF_USER_AND_ITEM[..], categories, years].concat()
    }

    /// None where nothing is known of the item.
    fn categories(&self, item: ItemId) -> &[u32] {
        self.categories.as_ref().and_then(|categories| categories.get(item)).unwrap_or(&[])
    }

    fn year(&self, item: ItemId) -> Option<f64> {
        let year = *self.years.as_ref()?.get(item.index())?;
        year.map(f64::from)
    }
}

/// What interactions of a user, of an item or of all leave behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    values: Moments,
    n_positive: u64,
    /// The time of the last one.
    last: Option<i64>,
}

impl Tally {
    fn observe(&mut self, value: f64, positive: bool, time: i64) {
        self.values.push(value);
        self.n_positive += u64::from(positive);
        self.last = Some(time);
    }

    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    fn positive_share(&self) -> f64 {
        self.n_positive as f64 / self.values.n().max(1) as f64
    }

    fn smoothed_mean(&self, all: &Self, prior_count: f64) -> f64 {
        self.values.smoothed_mean(all.values.mean(), prior_count)
    }

    /// Log count, mean, variance, share of positives and recency.
    fn features(&self, all: &Self, prior_count: f64, now: i64) -> [f32; 5] {
        let n = self.values.n();
        let days = |last: i64| (now as f64 - last as f64) / SECONDS_PER_DAY;
        [
            (n as f64).ln_1p(),
            self.smoothed_mean(all, prior_count),
            self.values.smoothed_variance(all.values.variance(), prior_count),
            smoothed(self.n_positive as f64, n, all.positive_share(), prior_count),
            self.last.map_or(NEVER, |last| days(last).ln_1p()),
        ]
        .map(narrow)
    }

    fn is_possible(&self) -> bool {
        let n = self.values.n();
        self.values.is_possible() && self.n_positive <= n && self.last.is_some() == (n > 0)
    }
}

/// What interactions of a user leave behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct UserTally {
    tally: Tally,
    /// Ascending by category.
    categories: Vec<CategoryTally>,
    liked_years: Moments,
}

/// A user's interactions in a category.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct CategoryTally {
    category: u32,
    n: u64,
    sum: f64,
}

impl UserTally {
    fn observe_category(&mut self, category: u32, value: f64) {
        match self.categories.binary_search_by_key(&category, |tally| tally.category) {
            Ok(place) => {
                self.categories[place].n += 1;
                self.categories[place].sum += value;
            }
            Err(place) => self.categories.insert(place, CategoryTally { category, n: 1, sum: value }),
        }
    }

    /// The interactions in a category, and the sum of their values.
    fn category(&self, category: u32) -> (f64, f64) {
        let place = self.categories.binary_search_by_key(&category, |tally| tally.category);
        place.map_or((0.0, 0.0), |place| (self.categories[place].n as f64, self.categories[place].sum))
    }

    fn is_possible(&self) -> bool {
        let ascending = self.categories.is_sorted_by(|a, b| a.category < b.category);
        let finite = self.categories.iter().all(|tally| tally.sum.is_finite());
        ascending && finite && self.tally.is_possible() && self.liked_years.is_possible()
    }
}

/// What all interactions up to a time leave behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunningStatistics {
    all: Tally,
    liked_years: Moments,
    users: HashMap<UserId, UserTally>,
    items: HashMap<ItemId, Tally>,
}

/// The same as it is saved, in the order of the ids.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedStatistics {
    all: Tally,
    liked_years: Moments,
    users: Vec<(UserId, UserTally)>,
    items: Vec<(ItemId, Tally)>,
}

impl RunningStatistics {
    /// The time of the last interaction.
    pub(super) fn last(&self) -> Option<i64> {
        self.all.last()
    }

    pub(super) fn observe(&mut self, facts: &Facts, row: Interaction) {
        let Interaction { user, item, value, timestamp } = row;
        let positive = value >= facts.config.positive_from;
        let value = f64::from(value);
        let user = self.users.entry(user).or_default();
        for tally in [&mut self.all, &mut user.tally, self.items.entry(item).or_default()] {
            tally.observe(value, positive, timestamp);
        }
        for &category in facts.categories(item) {
            user.observe_category(category, value);
        }
        if let Some(year) = facts.year(item).filter(|_| positive) {
            self.liked_years.push(year);
            user.liked_years.push(year);
        }
    }

    /// What is needed for the features of one user and these items.
    pub(super) fn part(&self, user: UserId, items: &[ItemId]) -> Self {
        Self {
            all: self.all,
            liked_years: self.liked_years,
            users: self.users.get(&user).map(|tally| (user, tally.clone())).into_iter().collect(),
            items: items.iter().filter_map(|&item| Some((item, *self.items.get(&item)?))).collect(),
        }
    }

    /// Appends the features of the user with each of the items, as of `now`.
    pub(super) fn push_features(
        &self,
        facts: &Facts,
        user: UserId,
        items: &[ItemId],
        now: i64,
        features: &mut Vec<f32>,
    ) {
        let prior_count = facts.config.prior_count;
        let nobody = UserTally::default();
        let user = self.users.get(&user).unwrap_or(&nobody);
        let user_features = user.tally.features(&self.all, prior_count, now);
        let user_mean = user.tally.smoothed_mean(&self.all, prior_count);
        let taste = self.year_taste(user, prior_count);
        for &item in items {
            let tally = self.items.get(&item).copied().unwrap_or_default();
            features.extend(user_features);
            features.extend(tally.features(&self.all, prior_count, now));
            if facts.categories.is_some() {
                features.extend(category_features(user, facts.categories(item), user_mean, prior_count));
            }
            if facts.years.is_some() {
                features.extend(taste.features(facts.year(item)));
            }
        }
    }

    fn year_taste(&self, user: &UserTally, prior_count: f64) -> YearTaste {
        let all = self.liked_years;
        let mean = if all.n() == 0 { ORIGIN_YEAR } else { all.mean() };
        YearTaste {
            mean: user.liked_years.smoothed_mean(mean, prior_count),
            spread: user.liked_years.smoothed_variance(all.variance(), prior_count).sqrt(),
        }
    }

    /// The reason why no interactions could have led here.
    pub(super) fn from_saved(saved: SavedStatistics) -> Result<Self, &'static str> {
        let SavedStatistics { all, liked_years, users, items } = saved;
        let ascending = users.is_sorted_by(|a, b| a.0 < b.0) && items.is_sorted_by(|a, b| a.0 < b.0);
        let possible = all.is_possible()
            && liked_years.is_possible()
            && users.iter().all(|(_, tally)| tally.is_possible())
            && items.iter().all(|(_, tally)| tally.is_possible());
        match (ascending, possible) {
            (false, _) => Err("ids that do not ascend"),
            (_, false) => Err("statistics of no interactions"),
            _ => Ok(Self {
                all,
                liked_years,
                users: users.into_iter().collect(),
                items: items.into_iter().collect(),
            }),
        }
    }

    pub(super) fn into_saved(self) -> SavedStatistics {
        let mut users: Vec<_> = self.users.into_iter().collect();
        users.sort_unstable_by_key(|(user, _)| *user);
        let mut items: Vec<_> = self.items.into_iter().collect();
        items.sort_unstable_by_key(|(item, _)| *item);
        SavedStatistics { all: self.all, liked_years: self.liked_years, users, items }
    }
}

/// The years of what a user liked.
struct YearTaste {
    mean: f64,
    spread: f64,
}

impl YearTaste {
    fn features(&self, item_year: Option<f64>) -> [f32; 3] {
        let gap = item_year.map_or(0.0, |year| (year - self.mean) / self.spread.max(1.0));
        [(self.mean - ORIGIN_YEAR) / YEARS_PER_DECADE, self.spread / YEARS_PER_DECADE, gap].map(narrow)
    }
}

/// Affinity and share, each the mean over the categories.
fn category_features(user: &UserTally, categories: &[u32], user_mean: f64, prior_count: f64) -> [f32; 2] {
    let n_of_user = user.tally.values.n().max(1) as f64;
    let (mut affinity, mut share) = (0.0, 0.0);
    for &category in categories {
        let (n, sum) = user.category(category);
        affinity += (sum - n * user_mean) / (n + prior_count);
        share += n / n_of_user;
    }
    let n_categories = categories.len().max(1) as f64;
    [affinity / n_categories, share / n_categories].map(narrow)
}

/// The nearest finite f32.
fn narrow(x: f64) -> f32 {
    x.clamp(f32::MIN.into(), f32::MAX.into()) as f32
}
