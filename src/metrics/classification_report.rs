use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::features::UnseenShare;
use crate::metrics::predictions::Values;
use crate::metrics::report::{interval, number};
use crate::metrics::significance::{Estimate, estimate};
use crate::metrics::table::{Table, thousands};

/// The number of bins of the calibration errors in a [`ClassificationReport`] (Guo et al. 2017).
pub const N_CALIBRATION_BINS: usize = 15;

/// The names, in the order of a report.
pub(super) const CLASSIFICATION_METRICS: [&str; 6] =
    ["auc", "gauc", "log_loss", "calibration_ratio", "ece_equal_width", "ece_equal_frequency"];

/// The metrics that noise can only raise.
const BIASED: [&str; 2] = ["ece_equal_width", "ece_equal_frequency"];

/// How well predictions tell positive from negative rows, and how well their probabilities fit; prints as a table,
/// serialises to JSON. From [`Predictions::report`](crate::metrics::Predictions::report).
///
/// | name | metric |
/// |---|---|
/// | `auc` | [`auc`](crate::metrics::auc) |
/// | `gauc` | [`gauc`](crate::metrics::gauc) |
/// | `log_loss` | [`log_loss`](crate::metrics::log_loss) |
/// | `calibration_ratio` | [`calibration_ratio`](crate::metrics::calibration_ratio) |
/// | `ece_equal_width`, `ece_equal_frequency` | [`expected_calibration_error`](crate::metrics::expected_calibration_error) in [`N_CALIBRATION_BINS`] bins |
///
/// A metric that is not defined (AUC where all rows are of one class, log loss without probabilities) is not there;
/// resamples in which it is not defined are left out of its interval. Intervals run from the 2.5th to the 97.5th
/// percentile of the resamples.
///
/// The noise of a bin can only raise a calibration error, and a resample has more of it than the rows themselves. The
/// resamples of these errors are therefore shifted until their mean is the value: the interval says how much the error
/// would vary among samples of as many rows, and a perfect ranker too has an error above 0. The bins stay those of
/// all rows.
///
/// [`with_unseen`](Self::with_unseen) adds how many values of the rows the encoder had not seen in training: a model is
/// measured on what it cannot know there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationReport {
    n_rows: usize,
    n_positive: usize,
    n_users: usize,
    n_left_out: usize,
    metrics: BTreeMap<String, Estimate>,
    #[serde(default)]
    unseen: Vec<UnseenShare>,
}

impl ClassificationReport {
    pub(super) fn new(
        n_rows: usize,
        n_positive: usize,
        n_users: usize,
        n_left_out: usize,
        values: Values,
        resampled: &[Values],
    ) -> Self {
        let metric = |(index, name): (usize, &&str)| {
            let value = values[index]?;
            let resampled: Vec<f64> = resampled.iter().filter_map(|values| values[index]).collect();
            let resampled = if BIASED.contains(name) { shifted(value, resampled) } else { resampled };
            Some((name.to_string(), estimate(value, resampled)))
        };
        let metrics = CLASSIFICATION_METRICS.iter().enumerate().filter_map(metric).collect();
        Self { n_rows, n_positive, n_users, n_left_out, metrics, unseen: Vec::new() }
    }

    /// The same report with what of the rows the encoder had [not seen in training](crate::features::FeatureEncoder::unseen).
    /// The text tells of each field that has such values, and warns where they are more than half.
    ///
    /// ```
    /// use recsys::features::UnseenShare;
    /// use recsys::metrics::Predictions;
    /// use recsys::prelude::*;
    ///
    /// let (users, labels) = ([0, 1, 2].map(UserId), [true, false, true]);
    /// let predictions = Predictions { users: &users, labels: &labels, scores: &[0.5; 3], probabilities: None };
    /// let unseen = vec![UnseenShare { field: "user".into(), n_values: 3, n_unseen: 3 }];
    /// let report = predictions.report(1)?.with_unseen(unseen);
    /// assert_eq!(report.metric("auc").unwrap().value, 0.5);
    /// assert!(report.to_string().lines().any(|line| line.starts_with("Warning: 100.0 % of the values of user")));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_unseen(mut self, unseen: Vec<UnseenShare>) -> Self {
        self.unseen = unseen;
        self
    }

    /// What of the rows the encoder had not seen in training, field by field; nothing unless it was
    /// [added](Self::with_unseen).
    pub fn unseen(&self) -> &[UnseenShare] {
        &self.unseen
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The number of positive rows.
    pub fn n_positive(&self) -> usize {
        self.n_positive
    }

    /// The number of users.
    pub fn n_users(&self) -> usize {
        self.n_users
    }

    /// The users left out of GAUC because all their labels are equal.
    pub fn n_left_out(&self) -> usize {
        self.n_left_out
    }

    /// The estimates by name, in the order of the table.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, Estimate)> {
        CLASSIFICATION_METRICS.into_iter().filter_map(|name| Some((name, self.metric(name)?)))
    }

    /// The estimate of this name.
    pub fn metric(&self, name: &str) -> Option<Estimate> {
        self.metrics.get(name).copied()
    }

    /// The report in Markdown: what was measured as a paragraph, the metrics as a table.
    pub fn to_markdown(&self) -> String {
        format!("{}\n\n{}", self.notes().join("\n\n"), self.table().to_markdown())
    }

    /// A table of several models in Markdown, a row each: every metric with its interval.
    pub fn models_to_markdown(models: &[(&str, &Self)]) -> String {
        let [a, b, c, d, e, f] = CLASSIFICATION_METRICS;
        let mut table = Table::new(["model", a, b, c, d, e, f]);
        for (model, report) in models {
            let cell = |name| {
                let with_interval =
                    |estimate: Estimate| format!("{} {}", number(estimate.value), interval(&estimate));
                report.metric(name).map_or_else(|| "–".into(), with_interval)
            };
            let [a, b, c, d, e, f] = CLASSIFICATION_METRICS.map(cell);
            table.push([model.to_string(), a, b, c, d, e, f]);
        }
        table.to_markdown()
    }

    /// The conditions, and a line for each thing to note.
    fn notes(&self) -> Vec<String> {
        let told = self.unseen.iter().filter(|unseen| unseen.n_unseen > 0);
        let told = told.map(|unseen| format!("{unseen}."));
        let warnings = self.unseen.iter().filter_map(UnseenShare::warning);
        let warnings = warnings.map(|warning| format!("Warning: {warning}."));
        std::iter::once(self.conditions()).chain(told).chain(warnings).collect()
    }

    fn conditions(&self) -> String {
        format!(
            "{} rows of {} users, {:.1} % positive; users of one class, left out of GAUC: {}. Intervals: \
             bootstrap over users.",
            thousands(self.n_rows),
            thousands(self.n_users),
            100.0 * self.n_positive as f64 / self.n_rows as f64,
            thousands(self.n_left_out)
        )
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["metric", "value", "95 % interval"]);
        for (name, estimate) in self.metrics() {
            table.push([name.into(), number(estimate.value), interval(&estimate)]);
        }
        table
    }
}

impl fmt::Display for ClassificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.notes().join("\n"), self.table())
    }
}

/// The resamples with the value for their mean, cut at 0.
fn shifted(value: f64, mut resampled: Vec<f64>) -> Vec<f64> {
    let shift = value - resampled.iter().sum::<f64>() / resampled.len() as f64;
    resampled.iter_mut().for_each(|resampled| *resampled = (*resampled + shift).max(0.0));
    resampled
}
