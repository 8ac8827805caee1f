use crate::error::{Error, Result};
use crate::rng::Rng;

/// Training on all positives and a share w of the negatives, and the way back to probabilities (He et al. 2014, "Practical
/// lessons from predicting clicks on ads at Facebook", section 6.3).
///
/// What a model learns to be the probability p on the kept rows is, on all rows,
///
/// q = p / (p + (1 − p) / w)
///
/// The correction keeps every order, and so AUC; calibration and log loss are meaningless without it.
///
/// ```
/// use recsys::samplers::DownSampling;
///
/// let sampling = DownSampling::new(0.1)?;
/// // One positive and ten negatives, of which one is kept: half of the kept rows are positive, 1 / 11 of all.
/// assert!((sampling.correct(0.5) - 1.0 / 11.0).abs() < 1e-6);
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DownSampling {
    rate: f64,
}

impl DownSampling {
    /// Keeps each negative with the probability w = `rate`.
    ///
    /// # Errors
    /// A rate outside (0, 1].
    pub fn new(rate: f64) -> Result<Self> {
        if rate > 0.0 && rate <= 1.0 {
            Ok(Self { rate })
        } else {
            Err(Error::config("DownSampling::rate", "a number in (0, 1]", rate))
        }
    }

    /// The rows to keep, in order: those with a label above 0, and of the others a share w.
    pub fn keep(&self, labels: &[f32], seed: u64) -> Vec<usize> {
        let mut rng = Rng::stream(seed, &[0]);
        (0..labels.len()).filter(|&row| labels[row] > 0.0 || rng.uniform() < self.rate).collect()
    }

    /// The probability q among all rows, of the probability p among those kept.
    pub fn correct(&self, probability: f32) -> f32 {
        let p = f64::from(probability);
        (p / (p + (1.0 - p) / self.rate)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_positives_comes_back() {
        let mut rng = Rng::new(1);
        for (rate, share) in [(0.1, 0.02), (0.5, 0.3), (1.0, 0.4)] {
            let labels: Vec<f32> = (0..200_000).map(|_| f32::from(rng.uniform() < share)).collect();
            let sampling = DownSampling::new(rate).unwrap();
            let kept = sampling.keep(&labels, 7);
            let n_positives = labels.iter().filter(|&&label| label > 0.0).count();
            assert_eq!(kept.iter().filter(|&&row| labels[row] > 0.0).count(), n_positives);
            // A model of one constant learns the share among the kept rows.
            let learned = n_positives as f32 / kept.len() as f32;
            let truth = n_positives as f32 / labels.len() as f32;
            assert!((sampling.correct(learned) / truth - 1.0).abs() < 0.02, "{rate}: {learned} {truth}");
            assert_eq!(kept, sampling.keep(&labels, 7));
        }
    }

    #[test]
    fn ends_and_order_stay() {
        let sampling = DownSampling::new(0.05).unwrap();
        assert_eq!((sampling.correct(0.0), sampling.correct(1.0)), (0.0, 1.0));
        let corrected: Vec<f32> = (0..=100).map(|i| sampling.correct(i as f32 / 100.0)).collect();
        assert!(corrected.is_sorted() && corrected[50] < 0.05);
        assert_eq!(DownSampling::new(1.0).unwrap().correct(0.3), 0.3);
    }

    #[test]
    fn a_rate_is_a_share() {
        assert!([0.0, -0.5, 1.5, f64::NAN].into_iter().all(|rate| DownSampling::new(rate).is_err()));
    }
}
