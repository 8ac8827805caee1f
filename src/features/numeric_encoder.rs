use serde::{Deserialize, Serialize};

use super::schema::Numeric;
use crate::error::{Error, Location, Result};
use crate::rng::Rng;

/// The numbers that are kept to cut quantiles from.
const SAMPLE_LEN: usize = 1 << 20;

/// The bins of [`Numeric::LogPowerBins`] for numbers of at most 2: below 0, then 0, 1 and 2.
const N_SMALL_BINS: u32 = 4;

/// What is learned of a column of numbers, one number after another.
#[derive(Debug)]
pub(super) enum NumericFit {
    Standardized { n: u64, mean: f64, sum_of_squares: f64 },
    EqualWidth { n_bins: u32, range: Option<[f64; 2]> },
    Quantile { n_bins: u32, sample: Vec<f64>, n: usize, rng: Rng },
    LogPower { power: f64, last: u32 },
}

impl NumericFit {
    pub(super) fn new(numeric: Numeric, rng: Rng) -> Self {
        match numeric {
            Numeric::Standardized => Self::Standardized { n: 0, mean: 0.0, sum_of_squares: 0.0 },
            Numeric::EqualWidthBins { n_bins } => Self::EqualWidth { n_bins, range: None },
            Numeric::QuantileBins { n_bins } => Self::Quantile { n_bins, sample: Vec::new(), n: 0, rng },
            Numeric::LogPowerBins { power } => Self::LogPower { power, last: N_SMALL_BINS },
        }
    }

    pub(super) fn add(&mut self, x: f64) {
        match self {
            // Welford 1962.
            Self::Standardized { n, mean, sum_of_squares } => {
                *n += 1;
                let difference = x - *mean;
                *mean += difference / *n as f64;
                *sum_of_squares += difference * (x - *mean);
            }
            Self::EqualWidth { range, .. } => {
                let [least, greatest] = range.unwrap_or([x, x]);
                *range = Some([least.min(x), greatest.max(x)]);
            }
            // Algorithm R (Vitter 1985).
            Self::Quantile { sample, n, rng, .. } => {
                *n += 1;
                if sample.len() < SAMPLE_LEN {
                    sample.push(x);
                } else if let Some(place) = sample.get_mut(rng.below(*n)) {
                    *place = x;
                }
            }
            Self::LogPower { power, last } => *last = (*last).max(log_power_bin(x, *power)),
        }
    }

    /// # Errors
    /// Numbers so large that their variance is not finite.
    pub(super) fn finish(self) -> Result<NumericEncoder> {
        let encoder = match self {
            Self::Standardized { n, mean, sum_of_squares } => {
                let deviation = (sum_of_squares / n.max(1) as f64).sqrt();
                NumericEncoder::Standardized {
                    mean,
                    deviation: if deviation == 0.0 { 1.0 } else { deviation },
                }
            }
            Self::EqualWidth { n_bins, range } => {
                let [least, greatest] = range.unwrap_or_default();
                NumericEncoder::EqualWidth { n_bins, least, greatest }
            }
            Self::Quantile { n_bins, sample, .. } => {
                NumericEncoder::Quantile { bounds: quantiles(sample, n_bins) }
            }
            Self::LogPower { power, last } => NumericEncoder::LogPower { power, last },
        };
        encoder.validate()?;
        Ok(encoder)
    }
}

/// The least number of each bin but the first, ascending and distinct.
fn quantiles(mut sample: Vec<f64>, n_bins: u32) -> Vec<f64> {
    let Some(last) = sample.len().checked_sub(1) else { return Vec::new() };
    sample.sort_unstable_by(f64::total_cmp);
    let n_bins = n_bins as usize;
    let at = |k: usize| sample[((k as u128 * sample.len() as u128 / n_bins as u128) as usize).min(last)];
    // More bins than numbers give nothing but the same bounds again.
    let mut bounds: Vec<f64> = match n_bins <= sample.len() {
        true => (1..n_bins).map(at).collect(),
        false => sample.clone(),
    };
    bounds.retain(|&bound| bound > sample[0]);
    bounds.dedup();
    bounds
}

/// The bin of a number, of [`N_SMALL_BINS`] and those of larger numbers.
fn log_power_bin(x: f64, power: f64) -> u32 {
    if x > 2.0 { N_SMALL_BINS + x.ln().powf(power) as u32 } else { (x.floor().max(-1.0) + 1.0) as u32 }
}

/// Turns a number into an id, counted from 0 within its field, and a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NumericEncoder {
    Standardized { mean: f64, deviation: f64 },
    EqualWidth { n_bins: u32, least: f64, greatest: f64 },
    Quantile { bounds: Vec<f64> },
    LogPower { power: f64, last: u32 },
}

impl NumericEncoder {
    /// The number of ids of numbers that are not missing.
    pub(super) fn n_ids(&self) -> usize {
        match self {
            Self::Standardized { .. } => 1,
            Self::EqualWidth { n_bins, .. } => *n_bins as usize,
            Self::Quantile { bounds } => bounds.len() + 1,
            Self::LogPower { last, .. } => *last as usize + 1,
        }
    }

    /// The id and the weight of a finite number; the weight is infinite where it leaves the range of `f32`.
    #[inline]
    pub(super) fn encode(&self, x: f64) -> (u32, f32) {
        match self {
            Self::Standardized { mean, deviation } => (0, ((x - mean) / deviation) as f32),
            Self::EqualWidth { n_bins, least, greatest } => {
                // Halves, so that no difference overflows.
                let share = (x / 2.0 - least / 2.0) / (greatest / 2.0 - least / 2.0);
                // A share that is NaN, of a column of one number, is bin 0.
                (((share * f64::from(*n_bins)) as u32).min(n_bins - 1), 1.0)
            }
            Self::Quantile { bounds } => (bounds.partition_point(|&bound| bound <= x) as u32, 1.0),
            Self::LogPower { power, last } => (log_power_bin(x, *power).min(*last), 1.0),
        }
    }

    /// Whether the state is one that fitting can give.
    pub(super) fn validate(&self) -> Result<()> {
        let good = match self {
            Self::Standardized { mean, deviation } => {
                mean.is_finite() && deviation.is_finite() && *deviation > 0.0
            }
            Self::EqualWidth { n_bins, least, greatest } => {
                *n_bins > 0 && least.is_finite() && greatest.is_finite() && least <= greatest
            }
            Self::Quantile { bounds } => {
                bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b)
            }
            Self::LogPower { power, last } => power.is_finite() && *last >= N_SMALL_BINS && *last < u32::MAX,
        };
        let expected = "numbers of finite mean and variance, and bins in ascending order";
        if good { Ok(()) } else { Err(Error::input(Location::memory(), expected, format!("{self:?}"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(numeric: Numeric, numbers: impl IntoIterator<Item = f64>) -> NumericEncoder {
        let mut fit = NumericFit::new(numeric, Rng::new(1));
        numbers.into_iter().for_each(|x| fit.add(x));
        fit.finish().unwrap()
    }

    #[test]
    fn standardised_numbers_have_mean_0_and_variance_1() {
        let numbers: Vec<f64> = (0..1000).map(|n| 1e6 + f64::from(n * n)).collect();
        let encoder = fit(Numeric::Standardized, numbers.iter().copied());
        let weights: Vec<f64> = numbers.iter().map(|&x| f64::from(encoder.encode(x).1)).collect();
        let mean = weights.iter().sum::<f64>() / 1000.0;
        let variance = weights.iter().map(|weight| weight * weight).sum::<f64>() / 1000.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{mean} {variance}");
        assert_eq!((encoder.n_ids(), encoder.encode(0.0).0), (1, 0));
        assert_eq!(fit(Numeric::Standardized, [3.0; 4]).encode(5.0), (0, 2.0));
        assert_eq!(fit(Numeric::Standardized, []).encode(5.0), (0, 5.0));
        let mut large = NumericFit::new(Numeric::Standardized, Rng::new(1));
        [1e300, -1e300].into_iter().for_each(|x| large.add(x));
        assert!(large.finish().is_err());
    }

    #[test]
    fn bins_of_equal_width() {
        let encoder = fit(Numeric::EqualWidthBins { n_bins: 4 }, [2.0, 10.0, 3.0]);
        let bins = [-9.0, 2.0, 3.9, 4.0, 7.9, 8.0, 10.0, 99.0].map(|x| encoder.encode(x).0);
        assert_eq!((bins, encoder.n_ids()), ([0, 0, 0, 1, 2, 3, 3, 3], 4));
        let constant = fit(Numeric::EqualWidthBins { n_bins: 4 }, [2.0, 2.0]);
        assert_eq!([1.0, 2.0].map(|x| constant.encode(x).0), [0, 0]);
        let wide = fit(Numeric::EqualWidthBins { n_bins: 2 }, [f64::MIN, f64::MAX]);
        assert_eq!(
            [f64::MIN, f64::MIN / 4.0, f64::MAX / 4.0, f64::MAX].map(|x| wide.encode(x).0),
            [0, 0, 1, 1]
        );
    }

    #[test]
    fn quantile_bins_hold_equally_many() {
        let mut numbers: Vec<f64> = (0..1000).map(|n| f64::from(n - 500).powi(3)).collect();
        Rng::new(7).shuffle(&mut numbers);
        let encoder = fit(Numeric::QuantileBins { n_bins: 8 }, numbers.iter().copied());
        let mut counts = [0; 8];
        numbers.iter().for_each(|&x| counts[encoder.encode(x).0 as usize] += 1);
        assert_eq!(counts, [125; 8]);
        assert_eq!((encoder.encode(f64::MIN).0, encoder.encode(f64::MAX).0), (0, 7));
    }

    #[test]
    fn equal_numbers_share_a_quantile_bin_and_no_bin_is_empty() {
        let encoder = fit(Numeric::QuantileBins { n_bins: 4 }, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
        assert_eq!(encoder.n_ids(), 2);
        assert_eq!([0.0, 0.5, 1.0, 2.0].map(|x| encoder.encode(x).0), [0, 0, 0, 1]);
        let few = fit(Numeric::QuantileBins { n_bins: 100 }, [3.0, 1.0, 2.0]);
        assert_eq!([0.0, 1.0, 2.0, 3.0].map(|x| few.encode(x).0), [0, 0, 1, 2]);
        assert_eq!(fit(Numeric::QuantileBins { n_bins: 3 }, []).n_ids(), 1);
    }

    #[test]
    fn a_sample_stands_for_more_numbers_than_are_kept() {
        let n = 3 * SAMPLE_LEN;
        let encoder = fit(Numeric::QuantileBins { n_bins: 10 }, (0..n).map(|x| x as f64));
        let mut counts = [0.0; 10];
        (0..n).for_each(|x| counts[encoder.encode(x as f64).0 as usize] += 1.0 / n as f64);
        assert!(counts.iter().all(|share: &f64| (share - 0.1).abs() < 0.0028), "{counts:?}");
    }

    #[test]
    fn log_power_bins_keep_small_counts_apart() {
        let encoder = fit(Numeric::LogPowerBins { power: 2.0 }, [0.0, 1e4]);
        let bins = [-7.0, 0.0, 1.0, 2.0, 3.0, 10.0, 1e4, 1e9].map(|x| encoder.encode(x).0);
        // (ln 3)² = 1.2, (ln 10)² = 5.3, (ln 10⁴)² = 84.8; what is beyond the training data is its last bin.
        assert_eq!((bins, encoder.n_ids()), ([0, 1, 2, 3, 5, 9, 88, 88], 89));
    }

    #[test]
    fn a_damaged_state_is_refused() {
        for encoder in [
            NumericEncoder::Standardized { mean: 0.0, deviation: 0.0 },
            NumericEncoder::EqualWidth { n_bins: 0, least: 0.0, greatest: 1.0 },
            NumericEncoder::Quantile { bounds: vec![2.0, 1.0] },
            NumericEncoder::LogPower { power: 1.0, last: 0 },
        ] {
            assert!(encoder.validate().is_err(), "{encoder:?}");
        }
    }
}
