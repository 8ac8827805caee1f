use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::rng::Rng;

/// The number of bootstrap resamples behind every interval.
pub const N_RESAMPLES: usize = 1_000;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value measured.
    pub value: f64,
    /// Its interval, where one is defined: one user tells nothing of others.
    #[serde(flatten)]
    pub interval: Option<Interval>,
}

/// Two systems measured on the same users.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The mean of system A.
    pub a: f64,
    /// The mean of system B.
    pub b: f64,
    /// The mean of A less the mean of B.
    pub difference: Estimate,
    /// The share of resamples in which A is *not* above B: small where A is better, near 1 where B is.
    /// One-sided; with 1,000 resamples, 0 means below 0.001; 1 of a single user, who is not resampled.
    pub p_value: f64,
}

/// The mean of each column of per-user values, with the 95 % percentile interval of the bootstrap over
/// users (Efron 1979): users are drawn with replacement [`N_RESAMPLES`] times, the same draws for every
/// column, and the interval runs from the 2.5th to the 97.5th percentile of the resampled means
/// (interpolated linearly between order statistics).
///
/// The answer depends on the values and the seed, not on the number of threads.
///
/// ```
/// # use recsys::metrics::estimate_means;
/// let hits = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
/// let estimate = estimate_means(&[&hits], 7)?[0];
/// assert_eq!(estimate.value, 0.5);
/// assert!(estimate.interval.is_some_and(|interval| interval.low < 0.5 && interval.high > 0.5));
/// # Ok::<(), recsys::error::Error>(())
/// ```
///
/// # Errors
/// No users, columns of different lengths, or a value that is not finite.
pub fn estimate_means(columns: &[&[f64]], seed: u64) -> Result<Vec<Estimate>> {
    let resampled = resampled_means(columns, seed)?;
    Ok(columns.iter().zip(resampled).map(|(values, means)| estimate(mean(values), means)).collect())
}

/// Compares two systems on the same users, metric by metric: each pair holds the per-user values of A and
/// of B. The bootstrap is paired: a resample draws users, and with each user both values (Efron &
/// Tibshirani 1993).
///
/// # Errors
/// As [`estimate_means`].
pub fn compare_means(pairs: &[(&[f64], &[f64])], seed: u64) -> Result<Vec<Comparison>> {
    let mut differences = Vec::with_capacity(pairs.len());
    for (a, b) in pairs {
        check_length(a.len(), b.len())?;
        differences.push(a.iter().zip(*b).map(|(a, b)| a - b).collect::<Vec<f64>>());
    }
    let columns: Vec<&[f64]> = differences.iter().map(Vec::as_slice).collect();
    let differences = columns.iter().zip(resampled_means(&columns, seed)?);
    Ok(pairs
        .iter()
        .zip(differences)
        .map(|((a, b), (own, resampled))| Comparison::new([mean(a), mean(b)], mean(own), resampled))
        .collect())
}

impl Comparison {
    /// Of the values of A and B, and their difference as it is and in the resamples.
    pub(super) fn new([a, b]: [f64; 2], difference: f64, resampled: Vec<f64>) -> Self {
        let not_above = resampled.iter().filter(|&&difference| difference <= 0.0).count();
        let p_value = if resampled.is_empty() { 1.0 } else { not_above as f64 / resampled.len() as f64 };
        Self { a, b, difference: estimate(difference, resampled), p_value }
    }
}

/// Calls `statistic` with how often each of `n` users is drawn, for each resample. One user is not resampled: each draw would
/// be the same, and an interval of them without width.
pub(super) fn bootstrap<T: Send>(
    n: usize,
    seed: u64,
    statistic: impl Fn(&[f64]) -> T + Sync + Send,
) -> Vec<T> {
    let n_resamples = if n > 1 { N_RESAMPLES } else { 0 };
    (0..n_resamples as u64)
        .into_par_iter()
        .map_init(
            || vec![0.0; n],
            |draws, resample| {
                draws.fill(0.0);
                let mut rng = Rng::stream(seed, &[resample]);
                (0..n).for_each(|_| draws[rng.below(n)] += 1.0);
                statistic(draws)
            },
        )
        .collect()
}

/// The resampled means of every column, `[columns][N_RESAMPLES]`.
fn resampled_means(columns: &[&[f64]], seed: u64) -> Result<Vec<Vec<f64>>> {
    let Some(first) = columns.first() else { return Ok(Vec::new()) };
    let n = first.len();
    if n == 0 {
        return Err(Error::input(Location::memory(), "at least one user", "none"));
    }
    for column in columns {
        check_length(n, column.len())?;
        if let Some(index) = column.iter().position(|value| !value.is_finite()) {
            let value = column[index];
            return Err(ErrorKind::NonFinite { what: "per-user value", index, value }.into());
        }
    }
    // How often each user is drawn is worked out once a resample and shared by all columns.
    let by_resample: Vec<Vec<f64>> =
        bootstrap(n, seed, |draws| columns.iter().map(|values| dot(draws, values) / n as f64).collect());
    Ok((0..columns.len()).map(|column| by_resample.iter().map(|means| means[column]).collect()).collect())
}

fn check_length(expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(ErrorKind::LengthMismatch { what: "number of per-user values", expected, found }.into())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With the percentile interval, if there is any resample.
pub(super) fn estimate(value: f64, mut resampled: Vec<f64>) -> Estimate {
    resampled.sort_unstable_by(f64::total_cmp);
    let interval =
        |sorted: &[f64]| Interval { low: percentile(sorted, 0.025), high: percentile(sorted, 0.975) };
    Estimate { value, interval: (!resampled.is_empty()).then(|| interval(&resampled)) }
}

/// Linear interpolation between the order statistics of an ascending slice.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Σ aᵢbᵢ in eight running sums, which the compiler turns into vector instructions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.0.iter().zip(b.0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a.1.iter().zip(b.1).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    fn coin(n: usize, share: f64, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| f64::from(u8::from(rng.uniform() < share))).collect()
    }

    fn interval_of(values: &[f64], seed: u64) -> Interval {
        estimate_means(&[values], seed).unwrap()[0].interval.unwrap()
    }

    #[test]
    fn the_interval_has_the_width_of_the_normal_one() {
        let values = coin(4_000, 0.2, 1);
        let interval = interval_of(&values, 5);
        let centre = mean(&values);
        let half = 1.96 * (centre * (1.0 - centre) / 4_000.0).sqrt();
        assert!((interval.low - (centre - half)).abs() < 0.1 * half, "{interval:?}");
        assert!((interval.high - (centre + half)).abs() < 0.1 * half, "{interval:?}");
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let covered = (0..200)
            .filter(|&trial| {
                let interval = interval_of(&coin(200, 0.3, trial), trial + 1_000);
                interval.low <= 0.3 && 0.3 <= interval.high
            })
            .count();
        assert!((180..=199).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn one_user_has_no_interval_and_proves_nothing() {
        assert_eq!(estimate_means(&[&[0.5]], 1).unwrap()[0], Estimate { value: 0.5, interval: None });
        let comparison = compare_means(&[(&[0.9], &[0.1])], 1).unwrap()[0];
        assert_eq!((comparison.difference.interval, comparison.p_value), (None, 1.0));
    }

    #[test]
    fn a_seed_fixes_the_answer_on_any_number_of_threads() {
        let values = coin(333, 0.4, 2);
        let on = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| interval_of(&values, seed))
        };
        assert_eq!(on(1, 9), on(5, 9));
        assert_ne!(on(1, 9), on(1, 10));
    }

    #[test]
    fn counting_draws_equals_gathering_values() {
        let mut rng = Rng::new(8);
        let values: Vec<f64> = (0..101).map(|_| rng.normal()).collect();
        let found = resampled_means(&[&values], 6).unwrap().remove(0);
        for (resample, found) in found.into_iter().enumerate() {
            let mut rng = Rng::stream(6, &[resample as u64]);
            let drawn: Vec<f64> = (0..values.len()).map(|_| values[rng.below(values.len())]).collect();
            assert!((found - mean(&drawn)).abs() < 1e-12, "resample {resample}");
        }
    }

    #[test]
    fn all_columns_share_their_resamples() {
        let values = coin(100, 0.5, 3);
        let doubled: Vec<f64> = values.iter().map(|value| 2.0 * value).collect();
        let both = estimate_means(&[&values, &doubled], 4).unwrap();
        assert_eq!(both[0].interval.unwrap().low * 2.0, both[1].interval.unwrap().low);
        assert_eq!(both[0], estimate_means(&[&values], 4).unwrap()[0]);
    }

    #[test]
    fn pairing_sees_a_small_but_steady_advantage() {
        let b: Vec<f64> = (0..500).map(|user| f64::from(user % 50)).collect();
        let a: Vec<f64> = b.iter().map(|value| value + 0.1).collect();
        let forward = compare_means(&[(&a, &b)], 1).unwrap()[0];
        assert!((forward.difference.value - 0.1).abs() < 1e-9 && forward.p_value == 0.0);
        assert!(forward.difference.interval.unwrap().low > 0.09, "unpaired, it would drown in the noise");
        assert_eq!(compare_means(&[(&b, &a)], 1).unwrap()[0].p_value, 1.0);
        let equal = compare_means(&[(&a, &a)], 1).unwrap()[0];
        assert_eq!((equal.difference.value, equal.p_value), (0.0, 1.0));
    }

    #[test]
    fn percentiles_interpolate() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&values, 0.5), 2.0);
        assert_eq!(percentile(&values, 0.975), 3.9);
        assert_eq!(percentile(&[7.0], 0.025), 7.0);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |columns: &[&[f64]]| estimate_means(columns, 0).unwrap_err().to_string();
        assert_eq!(message(&[&[]]), "input: expected at least one user, found none");
        assert_eq!(message(&[&[1.0], &[1.0, 2.0]]), "number of per-user values: expected 1, found 2");
        assert_eq!(
            message(&[&[1.0, f64::NAN]]),
            "per-user value at position 1 is NaN; expected a finite number"
        );
        assert!(compare_means(&[(&[1.0], &[])], 0).is_err());
        assert!(estimate_means(&[], 0).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn a_resampled_mean_lies_between_the_extremes(
            values in prop::collection::vec(-5.0f64..5.0, 2..40), seed in any::<u64>()
        ) {
            let interval = interval_of(&values, seed);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(low - 1e-9 <= interval.low && interval.low <= interval.high);
            prop_assert!(interval.high <= high + 1e-9);
        }

        #[test]
        fn the_vector_dot_equals_the_plain_one(
            pairs in prop::collection::vec((-5.0f64..5.0, -5.0f64..5.0), 0..60)
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let plain: f64 = pairs.iter().map(|(a, b)| a * b).sum();
            prop_assert!((dot(&a, &b) - plain).abs() < 1e-9);
        }
    }
}
