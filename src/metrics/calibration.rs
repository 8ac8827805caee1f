use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::classification::checked_probabilities;
use crate::metrics::significance::percentile;

/// Sum of the predicted probabilities / number of positives: 1 where as many positives come as are foretold, above 1
/// where fewer come. `None` without positives. (Also: predicted over observed; the calibration of He et al. 2014,
/// "Practical lessons from predicting clicks on ads at Facebook".)
///
/// ```
/// # use recsys::metrics::calibration_ratio;
/// assert_eq!(calibration_ratio(&[true, false, false], &[0.5, 0.5, 0.5])?, Some(1.5));
/// # Ok::<(), recsys::error::Error>(())
/// ```
///
/// # Errors
/// No rows, different lengths, or a probability outside [0, 1].
pub fn calibration_ratio<T: Copy + Into<f64>>(labels: &[bool], probabilities: &[T]) -> Result<Option<f64>> {
    let (sum, positives) = checked_probabilities(labels, probabilities)?
        .fold((0.0, 0.0), |(sum, positives), (p, label)| (sum + p, positives + f64::from(label)));
    Ok((positives > 0.0).then(|| sum / positives))
}

/// How rows are put into bins by their probability; bin m of M holds the probabilities above its lower edge up to its
/// upper edge, and the first bin also those at its lower edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationBins {
    /// Edges at m / M, as in Guo et al. 2017. Where most probabilities are small, most bins are empty.
    EqualWidth,
    /// Edges at the quantiles m / M of the probabilities (interpolated linearly), so that bins hold about equally many
    /// rows; equal probabilities stay together.
    EqualFrequency,
}

impl CalibrationBins {
    /// The edges between the bins of these probabilities.
    pub(super) fn edges(self, probabilities: impl Iterator<Item = f64>, n_bins: usize) -> Vec<f64> {
        let shares = (1..n_bins).map(|bin| bin as f64 / n_bins as f64);
        match self {
            Self::EqualWidth => shares.collect(),
            Self::EqualFrequency => {
                let mut sorted: Vec<f64> = probabilities.collect();
                sorted.sort_unstable_by(f64::total_cmp);
                shares.map(|share| percentile(&sorted, share)).collect()
            }
        }
    }
}

/// The bin of a probability between these edges.
pub(super) fn bin_of(edges: &[f64], p: f64) -> usize {
    edges.partition_point(|&edge| edge < p)
}

/// The rows of a bin of probabilities: a point of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// The number of rows.
    pub n_rows: usize,
    /// The mean of their probabilities.
    pub mean_probability: f64,
    /// The share of positives among them.
    pub positive_share: f64,
}

/// The reliability diagram: what share of the rows with about a probability is positive. Bins without rows are left
/// out; the others ascend. (DeGroot & Fienberg 1983.)
///
/// # Errors
/// No bins, no rows, different lengths, or a probability outside [0, 1].
pub fn calibration_curve<T: Copy + Into<f64>>(
    labels: &[bool],
    probabilities: &[T],
    bins: CalibrationBins,
    n_bins: usize,
) -> Result<Vec<CalibrationBin>> {
    if n_bins == 0 {
        return Err(Error::config("calibration_curve::n_bins", "at least 1", n_bins));
    }
    let rows = checked_probabilities(labels, probabilities)?;
    let edges = bins.edges(probabilities.iter().map(|&p| p.into()), n_bins);
    let mut sums = vec![(0, 0.0, 0.0); n_bins];
    for (p, label) in rows {
        let (n, sum, positives) = &mut sums[bin_of(&edges, p)];
        *n += 1;
        *sum += p;
        *positives += f64::from(label);
    }
    let bin = |(n, sum, positives): (usize, f64, f64)| CalibrationBin {
        n_rows: n,
        mean_probability: sum / n as f64,
        positive_share: positives / n as f64,
    };
    Ok(sums.into_iter().filter(|sums| sums.0 > 0).map(bin).collect())
}

/// Expected calibration error: Σ over the bins of (rows of the bin / rows) · |share of positives − mean probability|.
///
/// Guo et al. 2017, "On calibration of modern neural networks", equation 3, with the probability of the positive class
/// for the confidence and the share of positives for the accuracy, as is usual for two classes. (Their bins are
/// [`CalibrationBins::EqualWidth`], 15 of them.) It grows with the number of bins and falls with the number of rows:
/// compare only values of the same bins on the same rows.
///
/// ```
/// # use recsys::metrics::{CalibrationBins, expected_calibration_error};
/// let error = expected_calibration_error(&[true, false], &[0.8, 0.1], CalibrationBins::EqualWidth, 10)?;
/// assert!((error - (0.2 + 0.1) / 2.0).abs() < 1e-12);
/// # Ok::<(), recsys::error::Error>(())
/// ```
///
/// # Errors
/// As [`calibration_curve`].
pub fn expected_calibration_error<T: Copy + Into<f64>>(
    labels: &[bool],
    probabilities: &[T],
    bins: CalibrationBins,
    n_bins: usize,
) -> Result<f64> {
    let curve = calibration_curve(labels, probabilities, bins, n_bins)?;
    let gap = |bin: &CalibrationBin| bin.n_rows as f64 * (bin.positive_share - bin.mean_probability).abs();
    Ok(curve.iter().map(gap).sum::<f64>() / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CalibrationBins::{EqualFrequency, EqualWidth};
    use super::*;

    #[test]
    fn an_edge_belongs_to_the_bin_below() {
        let labels = [true, false, true, true];
        let curve = calibration_curve(&labels, &[0.0, 0.5, 0.5, 1.0], EqualWidth, 4).unwrap();
        let bin = |n_rows, mean_probability, positive_share| CalibrationBin {
            n_rows,
            mean_probability,
            positive_share,
        };
        assert_eq!(curve, [bin(1, 0.0, 1.0), bin(2, 0.5, 0.5), bin(1, 1.0, 1.0)]);
    }

    #[test]
    fn equal_probabilities_stay_together() {
        let labels = [false, true, false, false, true, true];
        let p = [0.1, 0.1, 0.1, 0.1, 0.1, 0.9];
        let curve = calibration_curve(&labels, &p, EqualFrequency, 3).unwrap();
        assert_eq!(curve.iter().map(|bin| bin.n_rows).collect::<Vec<_>>(), [5, 1]);
        let curve = calibration_curve(&labels, &[0.01, 0.02, 0.03, 0.04, 0.05, 0.06], EqualFrequency, 3);
        assert_eq!(curve.unwrap().iter().map(|bin| bin.n_rows).collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn over_and_under_do_not_cancel_across_bins() {
        let (labels, p) = ([true, false], [0.75, 0.25]);
        assert_eq!(calibration_ratio(&labels, &p).unwrap(), Some(1.0));
        assert_eq!(expected_calibration_error(&labels, &p, EqualWidth, 2).unwrap(), 0.25);
        assert_eq!(expected_calibration_error(&labels, &p, EqualWidth, 1).unwrap(), 0.0);
        assert_eq!(calibration_ratio(&[false], &[0.5]).unwrap(), None);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |labels: &[bool], p: &[f32], n_bins| {
            expected_calibration_error(labels, p, EqualWidth, n_bins).unwrap_err().to_string()
        };
        assert_eq!(message(&[true], &[0.5], 0), "calibration_curve::n_bins: expected at least 1, found 0");
        assert_eq!(message(&[], &[], 5), "input: expected at least one row, found none");
        assert_eq!(message(&[true], &[0.5, 0.5], 5), "length of the score column: expected 1, found 2");
        assert_eq!(
            message(&[true, true], &[0.5, -0.1], 5),
            "input, line 2, column probability: expected a number from 0 to 1, found -0.10000000149011612"
        );
        assert!(calibration_ratio(&[true], &[f32::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_bin_and_their_order_is_free(
            rows in prop::collection::vec((any::<bool>(), 0u8..21), 1..60), n_bins in 1usize..20
        ) {
            let (labels, p): (Vec<bool>, Vec<f64>) =
                rows.iter().map(|&(label, p)| (label, f64::from(p) / 20.0)).unzip();
            let (labels_back, p_back): (Vec<bool>, Vec<f64>) =
                labels.iter().copied().zip(p.iter().copied()).rev().unzip();
            for bins in [EqualWidth, EqualFrequency] {
                let curve = calibration_curve(&labels, &p, bins, n_bins).unwrap();
                prop_assert_eq!(curve.iter().map(|bin| bin.n_rows).sum::<usize>(), p.len());
                prop_assert!(curve.is_sorted_by(|a, b| a.mean_probability < b.mean_probability));
                let forward = expected_calibration_error(&labels, &p, bins, n_bins).unwrap();
                let backward = expected_calibration_error(&labels_back, &p_back, bins, n_bins).unwrap();
                prop_assert!((forward - backward).abs() < 1e-12 && (0.0..=1.0).contains(&forward));
            }
        }
    }
}
