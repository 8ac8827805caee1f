use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plot;
use crate::error::Result;

/// What happened in a run, epoch by epoch. Prints as a table; the best epoch carries a star.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The epochs done, in order.
    pub epochs: Vec<EpochSummary>,
}

/// What happened in an epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EpochSummary {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The optimizer's steps in this epoch.
    pub steps: u64,
    /// The mean of the steps' losses.
    pub loss: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// The validation metrics, the monitored one first; empty if the epoch was not validated.
    pub metrics: Vec<(String, f64)>,
    /// Wall time in seconds, validation included.
    pub seconds: f64,
    /// The seconds of them that the validation took.
    #[serde(default)]
    pub validation_seconds: f64,
}

/// Equality leaves the wall time out: it is the one thing that a repeated run does not repeat.
impl PartialEq for EpochSummary {
    fn eq(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && self.steps == other.steps
            && self.loss == other.loss
            && self.learning_rate == other.learning_rate
            && self.metrics == other.metrics
    }
}

impl EpochSummary {
    /// The value of a metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(metric, _)| metric == name).map(|&(_, value)| value)
    }
}

/// One line: `epoch 3: loss 4.12500, recall@10 0.10000 (3.8 s)`.
impl fmt::Display for EpochSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}: loss {:.5}", self.epoch, self.loss)?;
        for (name, value) in &self.metrics {
            write!(f, ", {name} {value:.5}")?;
        }
        write!(f, " ({:.1} s)", self.seconds)
    }
}

impl History {
    /// The epoch with the highest value of the monitored metric, the first one of equals; `None` if no
    /// epoch was validated with a metric.
    pub fn best(&self) -> Option<&EpochSummary> {
        let monitored = |epoch: &EpochSummary| epoch.metrics.first().map(|&(_, value)| value);
        self.epochs
            .iter()
            .filter(|epoch| !epoch.metrics.is_empty())
            .reduce(|best, epoch| if monitored(epoch) > monitored(best) { epoch } else { best })
    }

    /// The names of the metrics, the monitored one first.
    pub fn metric_names(&self) -> Vec<&str> {
        let validated = self.epochs.iter().find(|epoch| !epoch.metrics.is_empty());
        validated.map_or(Vec::new(), |epoch| epoch.metrics.iter().map(|(name, _)| name.as_str()).collect())
    }

    /// The optimizer's steps in all epochs.
    pub fn steps(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.steps).sum()
    }

    /// The wall time of all epochs in seconds.
    pub fn seconds(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.seconds).sum()
    }

    /// Draws the curves of the loss and of the metrics over the epochs into an SVG file.
    ///
    /// # Errors
    /// A history without epochs, or a file that cannot be written.
    pub fn plot_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        plot::write_svg(self, path.as_ref())
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metric_names();
        let mut rows = vec![["epoch", "steps", "loss", "learning rate"].map(String::from).to_vec()];
        rows[0].extend(metrics.iter().map(ToString::to_string));
        rows[0].push("seconds".into());
        let best = self.best().map(|best| best.epoch);
        for epoch in &self.epochs {
            let star = if Some(epoch.epoch) == best { "*" } else { "" };
            let mut row = vec![
                format!("{star}{}", epoch.epoch),
                epoch.steps.to_string(),
                format!("{:.5}", epoch.loss),
                format!("{:.3e}", epoch.learning_rate),
            ];
            row.extend(
                metrics
                    .iter()
                    .map(|name| epoch.metric(name).map_or("-".into(), |value| format!("{value:.5}"))),
            );
            row.push(format!("{:.1}", epoch.seconds));
            rows.push(row);
        }
        write_aligned(f, &rows)
    }
}

/// Writes right-aligned columns, two spaces apart.
fn write_aligned(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            writeln!(f)?;
        }
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column > 0 { "  " } else { "" };
            write!(f, "{gap}{cell:>width$}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::training) fn three_epochs() -> History {
        let epoch = |epoch: usize, loss, metrics: &[(&str, f64)]| EpochSummary {
            epoch,
            steps: 94,
            loss,
            learning_rate: 1e-3,
            metrics: metrics.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
            seconds: 1.25 * epoch as f64,
            validation_seconds: 0.25,
        };
        History {
            epochs: vec![
                epoch(1, 5.25, &[("recall@10", 0.1), ("ndcg@10", 0.05)]),
                epoch(2, 4.5, &[]),
                epoch(3, 4.125, &[("recall@10", 0.1), ("ndcg@10", 0.0625)]),
            ],
        }
    }

    #[test]
    fn the_table_is_aligned_and_stars_the_first_best() {
        let expected = "\
epoch  steps     loss  learning rate  recall@10  ndcg@10  seconds
   *1     94  5.25000        1.000e-3    0.10000  0.05000      1.2
    2     94  4.50000        1.000e-3          -        -      2.5
    3     94  4.12500        1.000e-3    0.10000  0.06250      3.8";
        let expected = expected.replace("  1.000e-3", " 1.000e-3");
        assert_eq!(three_epochs().to_string(), expected);
        let header = "epoch  steps  loss  learning rate  seconds";
        assert_eq!(History::default().to_string(), header);
    }

    #[test]
    fn sums_and_best() {
        let mut history = three_epochs();
        assert_eq!((history.steps(), history.seconds()), (282, 7.5));
        assert_eq!(history.best().unwrap().epoch, 1);
        history.epochs[2].metrics[0].1 = 0.11;
        assert_eq!(history.best().unwrap().epoch, 3);
        assert_eq!(History::default().best(), None);
        assert_eq!(history.epochs[2].metric("ndcg@10"), Some(0.0625));
    }

    #[test]
    fn json_keeps_every_bit_and_equality_leaves_time_out() {
        let mut history = three_epochs();
        history.epochs[1].loss = 1.0 / 3.0 + 1e-16;
        history.epochs[0].metrics[0].1 = 0.1 + 0.2;
        let mut copy: History = serde_json::from_str(&serde_json::to_string(&history).unwrap()).unwrap();
        assert_eq!(copy, history);
        copy.epochs[0].seconds += 1.0;
        copy.epochs[0].validation_seconds += 1.0;
        assert_eq!(copy, history);
        copy.epochs[0].loss += 1e-15;
        assert_ne!(copy, history);
    }
}
