use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run: a pure function of the step.
///
/// A warm-up of w steps multiplies the base rate by (s + 1) / w at step s < w (steps counted from 0).
/// A decay goes from the base rate at step w towards 0 at the step after the last one; with p the
/// share of the steps after the warm-up that is done, the factor is 1 − p (linear) or
/// (1 + cos πp) / 2 (cosine; Loshchilov & Hutter 2017, without restarts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// The base rate throughout.
    #[default]
    Constant,
    /// A linear warm-up, then the base rate.
    Warmup {
        /// The steps of the warm-up.
        steps: u64,
    },
    /// A linear warm-up, then a linear decay.
    LinearDecay {
        /// The steps of the warm-up; 0 for none.
        warmup_steps: u64,
    },
    /// A linear warm-up, then a cosine decay.
    CosineDecay {
        /// The steps of the warm-up; 0 for none.
        warmup_steps: u64,
    },
}

impl LearningRateSchedule {
    /// The factor of the base rate at `step` (counted from 0) of `n_steps`; 0 after the end of a decay.
    ///
    /// ```
    /// # use recsys::training::LearningRateSchedule;
    /// let schedule = LearningRateSchedule::LinearDecay { warmup_steps: 2 };
    /// let factors: Vec<f64> = (0..7).map(|step| schedule.factor(step, 6)).collect();
    /// assert_eq!(factors, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]);
    /// ```
    pub fn factor(self, step: u64, n_steps: u64) -> f64 {
        let warmup = self.warmup_steps();
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let done = ((step - warmup) as f64 / n_steps.saturating_sub(warmup).max(1) as f64).min(1.0);
        match self {
            Self::Constant | Self::Warmup { .. } => 1.0,
            Self::LinearDecay { .. } => 1.0 - done,
            Self::CosineDecay { .. } => 0.5 * (1.0 + (PI * done).cos()),
        }
    }

    fn warmup_steps(self) -> u64 {
        match self {
            Self::Constant => 0,
            Self::Warmup { steps } => steps,
            Self::LinearDecay { warmup_steps } | Self::CosineDecay { warmup_steps } => warmup_steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn factors(schedule: LearningRateSchedule, n_steps: u64) -> Vec<f64> {
        (0..=n_steps).map(|step| schedule.factor(step, n_steps)).collect()
    }

    #[test]
    fn values() {
        assert_eq!(factors(LearningRateSchedule::Constant, 3), [1.0; 4]);
        assert_eq!(factors(LearningRateSchedule::Warmup { steps: 4 }, 5), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(factors(LearningRateSchedule::LinearDecay { warmup_steps: 0 }, 2), [1.0, 0.5, 0.0]);
        let cosine = factors(LearningRateSchedule::CosineDecay { warmup_steps: 1 }, 5);
        let half = 0.5f64.sqrt();
        for (found, expected) in cosine.iter().zip([1.0, 1.0, 0.5 + 0.5 * half, 0.5, 0.5 - 0.5 * half, 0.0]) {
            assert_abs_diff_eq!(*found, expected, epsilon = 1e-15);
        }
    }

    #[test]
    fn a_run_shorter_than_its_warmup_and_one_longer_than_planned_stay_in_range() {
        for schedule in [
            LearningRateSchedule::LinearDecay { warmup_steps: 10 },
            LearningRateSchedule::CosineDecay { warmup_steps: 10 },
        ] {
            for step in 0..40 {
                assert!((0.0..=1.0).contains(&schedule.factor(step, 4)));
            }
            assert_eq!(schedule.factor(40, 20), 0.0);
        }
    }
}
