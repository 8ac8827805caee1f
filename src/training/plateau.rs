use serde::{Deserialize, Serialize};

use super::History;
use crate::error::{Error, Result};

/// A lower learning rate where the monitored metric no longer rises: times `factor` whenever `patience` epochs have passed
/// without a better one than before, counted anew after each reduction.
///
/// It is a function of the history of validations, and so a resumed run goes on with the same rate.
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `factor` | 0.1 | what a reduction multiplies the rate by | (0, 1) |
/// | `patience` | 1 | the epochs without a better metric | ≥ 1 |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plateau {
    /// What a reduction multiplies the rate by.
    pub factor: f64,
    /// The epochs without a better metric.
    pub patience: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 1 }
    }
}

impl Plateau {
    /// Checks every range.
    ///
    /// # Errors
    /// A factor outside (0, 1), or a patience of 0.
    pub fn validate(&self) -> Result<()> {
        if !(self.factor > 0.0 && self.factor < 1.0) {
            return Err(Error::config("Plateau::factor", "a number in (0, 1)", self.factor));
        }
        if self.patience == 0 {
            return Err(Error::config("Plateau::patience", "at least 1", 0));
        }
        Ok(())
    }

    /// The factor of the base rate after these epochs.
    ///
    /// ```
    /// use recsys::training::{EpochSummary, History, Plateau};
    ///
    /// let epoch = |(i, metric): (usize, &f64)| EpochSummary {
    ///     epoch: i + 1,
    ///     metrics: vec![("auc".into(), *metric)],
    ///     ..EpochSummary::default()
    /// };
    /// let history = History { epochs: [0.6, 0.7, 0.7, 0.65].iter().enumerate().map(epoch).collect() };
    /// let plateau = Plateau { factor: 0.5, patience: 1 };
    /// assert_eq!(plateau.factor(&history), 0.25);
    /// ```
    pub fn factor(&self, history: &History) -> f64 {
        let (mut best, mut since, mut factor) = (f64::NEG_INFINITY, 0, 1.0);
        for epoch in &history.epochs {
            let Some(&(_, metric)) = epoch.metrics.first() else { continue };
            if metric > best {
                (best, since) = (metric, epoch.epoch);
            } else if epoch.epoch - since >= self.patience {
                (since, factor) = (epoch.epoch, factor * self.factor);
            }
        }
        factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::EpochSummary;

    /// The factors after each epoch with these metrics; NaN stands for an epoch without validation.
    fn factors(plateau: Plateau, metrics: &[f64]) -> Vec<f64> {
        let epoch = |(i, &metric): (usize, &f64)| EpochSummary {
            epoch: i + 1,
            metrics: if metric.is_nan() { vec![] } else { vec![("auc".into(), metric)] },
            ..EpochSummary::default()
        };
        let epochs: Vec<EpochSummary> = metrics.iter().enumerate().map(epoch).collect();
        (0..=epochs.len()).map(|n| plateau.factor(&History { epochs: epochs[..n].to_vec() })).collect()
    }

    #[test]
    fn a_reduction_waits_for_its_patience_and_counts_anew() {
        let plateau = Plateau { factor: 0.5, patience: 2 };
        let metrics = [0.6, 0.5, 0.6, 0.6, 0.5, 0.7, 0.7, 0.7];
        assert_eq!(factors(plateau, &metrics), [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]);
    }

    #[test]
    fn only_validations_reduce_but_every_epoch_counts() {
        let plateau = Plateau { factor: 0.1, patience: 3 };
        let metrics = [0.6, f64::NAN, 0.5, f64::NAN, 0.5];
        assert_eq!(factors(plateau, &metrics), [1.0, 1.0, 1.0, 1.0, 1.0, 0.1]);
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        assert!(Plateau::default().validate().is_ok());
        for factor in [0.0, 1.0, f64::NAN] {
            assert!(Plateau { factor, ..Plateau::default() }.validate().is_err());
        }
        assert!(Plateau { patience: 0, ..Plateau::default() }.validate().is_err());
    }
}
