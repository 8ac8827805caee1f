use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of the statistics that a [`FeatureStore`](super::FeatureStore) keeps.
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `positive_from` | 4 | the smallest value of an interaction that says *liked* | finite |
/// | `prior_count` | 10 | c: a mean counts as many imaginary interactions at the mean of all, so that an item with two ratings is not the best or worst of the catalogue | > 0, finite |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateConfig {
    /// The smallest value that is positive.
    pub positive_from: f32,
    /// The weight of the mean of all, in interactions.
    pub prior_count: f64,
}

impl Default for AggregateConfig {
    fn default() -> Self {
        Self { positive_from: 4.0, prior_count: 10.0 }
    }
}

impl AggregateConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if !self.positive_from.is_finite() {
            let found = self.positive_from;
            return Err(Error::config("AggregateConfig::positive_from", "a finite number", found));
        }
        if !(self.prior_count > 0.0 && self.prior_count.is_finite()) {
            let found = self.prior_count;
            return Err(Error::config("AggregateConfig::prior_count", "a finite number above 0", found));
        }
        Ok(())
    }
}

/// Features of pairs of user and item, computed from what happened before: named columns, `[n_rows, n_features]`.
///
/// In the formulas, *n* interactions of the user (of the item) came before, with the values v; c is
/// [`AggregateConfig::prior_count`]; *all* stands for the interactions of all users before. Before anything happened
/// all means and variances of *all* are 0, and the mean liked year is 2000. A user or an item without interactions has
/// n = 0.
///
/// | name | formula |
/// |---|---|
/// | `user_log_count`, `item_log_count` | ln(1 + n) |
/// | `user_mean`, `item_mean` | (Σ v + c · mean of all) / (n + c) |
/// | `user_variance`, `item_variance` | (Σ (v − mean)² + c · variance of all) / (n + c), with the plain mean of the user or item |
/// | `user_positive_share`, `item_positive_share` | (positives + c · share of all) / (n + c) |
/// | `user_recency`, `item_recency` | ln(1 + days since the last interaction), −1 where there was none; a day is 86,400 units of the clock |
///
/// With categories ([`FeatureStore::with_categories`](super::FeatureStore::with_categories)), each the mean over the
/// categories of the item, 0 where it has none:
///
/// | name | formula |
/// |---|---|
/// | `category_affinity` | Σ (v − `user_mean`) / (m + c) over the m interactions of the user in the category: how much more than usual the user likes it |
/// | `category_share` | m / n: how much of what the user did was in the category; 0 for n = 0 |
///
/// With years ([`FeatureStore::with_years`](super::FeatureStore::with_years)), where y runs over the years of the
/// items that the user liked, and n counts them:
///
/// | name | formula |
/// |---|---|
/// | `liked_year` | (ȳ − 2000) / 10, ȳ = (Σ y + c · mean of all) / (n + c): decades from 2000 |
/// | `liked_year_spread` | σ / 10, σ² = (Σ (y − mean)² + c · variance of all) / (n + c): decades |
/// | `item_year_gap` | (the item's year − ȳ) / max(σ, 1 year); 0 where the year is unknown |
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateFeatures {
    names: Vec<&'static str>,
    /// `[n_rows, n_features]`
    values: Vec<f32>,
}

impl AggregateFeatures {
    pub(super) fn new(names: Vec<&'static str>, values: Vec<f32>) -> Self {
        Self { names, values }
    }

    /// The name of each feature.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The number of features of a row.
    pub fn n_features(&self) -> usize {
        self.names.len()
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.n_features()
    }

    /// All features, `[n_rows, n_features]`, each finite.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The features of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.n_features()..(row + 1) * self.n_features()]
    }

    /// The feature of this name of every row; `None` where there is none of this name.
    pub fn column(&self, name: &str) -> Option<impl ExactSizeIterator<Item = f32>> {
        let column = self.names.iter().position(|&own| own == name)?;
        Some(self.values.chunks_exact(self.n_features()).map(move |row| row[column]))
    }
}
