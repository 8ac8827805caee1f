use serde::{Deserialize, Serialize};

/// Count, mean and sum of squared deviations of a stream of numbers, in one pass and without the cancellation of
/// Σx² − (Σx)²/n (Welford 1962, "Note on a method for calculating corrected sums of squares and products").
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Moments {
    n: u64,
    mean: f64,
    /// Σ (x − mean)².
    squares: f64,
}

impl Moments {
    pub(super) fn push(&mut self, x: f64) {
        self.n += 1;
        let before = x - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (x - self.mean);
    }

    pub(super) fn n(&self) -> u64 {
        self.n
    }

    /// The mean; 0 of nothing.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// Σ (x − mean)² / n; 0 of nothing.
    pub(super) fn variance(&self) -> f64 {
        self.squares / self.n.max(1) as f64
    }

    /// (n · mean + c · prior) / (n + c): as if `prior_count` numbers more, c, had had the mean `prior`.
    pub(super) fn smoothed_mean(&self, prior: f64, prior_count: f64) -> f64 {
        smoothed(self.n as f64 * self.mean, self.n, prior, prior_count)
    }

    /// (Σ (x − mean)² + c · prior) / (n + c), with c for `prior_count`.
    pub(super) fn smoothed_variance(&self, prior: f64, prior_count: f64) -> f64 {
        smoothed(self.squares, self.n, prior, prior_count)
    }

    /// Whether numbers could have led here.
    pub(super) fn is_possible(&self) -> bool {
        let nothing_yet = self.n > 0 || *self == Self::default();
        self.mean.is_finite() && self.squares.is_finite() && self.squares >= 0.0 && nothing_yet
    }
}

/// A mean of `n` terms, pulled towards `prior` with the weight of `prior_count` terms.
pub(super) fn smoothed(sum: f64, n: u64, prior: f64, prior_count: f64) -> f64 {
    (sum + prior_count * prior) / (n as f64 + prior_count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moments(values: &[f64]) -> Moments {
        values.iter().fold(Moments::default(), |mut moments, &value| {
            moments.push(value);
            moments
        })
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let found = moments(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!((found.n(), found.mean(), found.variance()), (4, 1e9 + 10.0, 22.5));
    }

    #[test]
    fn nothing_is_the_prior_and_much_is_the_mean() {
        let nothing = Moments::default();
        assert_eq!((nothing.smoothed_mean(3.5, 10.0), nothing.smoothed_variance(2.0, 10.0)), (3.5, 2.0));
        let some = moments(&[5.0, 1.0]);
        assert_eq!(some.smoothed_mean(3.5, 2.0), (6.0 + 7.0) / 4.0);
        assert_eq!(some.smoothed_variance(2.0, 2.0), (8.0 + 4.0) / 4.0);
    }

    proptest! {
        #[test]
        fn equals_two_passes(values in prop::collection::vec(-1e3f64..1e3, 1..50)) {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            let found = moments(&values);
            prop_assert!(found.is_possible());
            prop_assert!((found.mean() - mean).abs() < 1e-9 && (found.variance() - variance).abs() < 1e-6);
        }
    }
}
