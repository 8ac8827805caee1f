use burn::tensor::{Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels;
use crate::losses::{bpr, softmax_cross_entropy};

/// What a ranking model minimises over rows with a logit x and a label y each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankingLoss {
    /// The mean over rows of −w y ln σ(x) − (1 − y) ln(1 − σ(x)).
    BinaryCrossEntropy {
        /// The weight w of positives; 1 leaves probabilities as they are.
        positive_weight: f64,
    },
    /// The mean over rows of −α (1 − p)^γ ln p, where p is the probability given to the label: focal loss (Lin et al.
    /// 2017, eq. 5).
    Focal {
        /// γ: how much less rows count that are right already.
        gamma: f64,
        /// α of positives; 1 − α is that of negatives.
        alpha: f64,
    },
    /// [`bpr`] of each positive and the `n_negatives` rows behind it.
    Bpr {
        /// Negatives behind each positive.
        n_negatives: usize,
    },
    /// Softmax cross-entropy of each positive among itself and the `n_negatives` rows behind it.
    Softmax {
        /// Negatives behind each positive.
        n_negatives: usize,
    },
    /// As [`Softmax`](Self::Softmax) over all items, of which the negatives are a sample: the mean over positives x₀ of
    /// −x₀ + ln(exp x₀ + Σ_j exp(x_j + ln c_j)), where negative j stands for c_j items (Bengio & Senécal 2008, "Adaptive importance
    /// sampling to accelerate training of a neural probabilistic language model", eq. 11).
    SampledSoftmax {
        /// ln c of each of the negatives behind a positive.
        log_counts: Vec<f32>,
    },
}

impl Default for RankingLoss {
    fn default() -> Self {
        Self::BinaryCrossEntropy { positive_weight: 1.0 }
    }
}

impl RankingLoss {
    /// How many rows belong together: 1, or a positive and its negatives.
    pub fn rows_per_group(&self) -> usize {
        match self {
            Self::Bpr { n_negatives } | Self::Softmax { n_negatives } => 1 + n_negatives,
            Self::SampledSoftmax { log_counts } => 1 + log_counts.len(),
            _ => 1,
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// A weight that is not positive, γ below 0, α outside (0, 1), no negatives, or a count that is not finite.
    pub fn validate(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        match self {
            &Self::BinaryCrossEntropy { positive_weight } if !positive(positive_weight) => {
                Err(Error::config("RankingLoss::positive_weight", "a positive number", positive_weight))
            }
            &Self::Focal { gamma, .. } if !(gamma.is_finite() && gamma >= 0.0) => {
                Err(Error::config("RankingLoss::gamma", "a number of at least 0", gamma))
            }
            &Self::Focal { alpha, .. } if !(alpha > 0.0 && alpha < 1.0) => {
                Err(Error::config("RankingLoss::alpha", "a number in (0, 1)", alpha))
            }
            Self::Bpr { n_negatives: 0 } | Self::Softmax { n_negatives: 0 } => {
                Err(Error::config("RankingLoss::n_negatives", "at least 1", 0))
            }
            Self::SampledSoftmax { log_counts } if log_counts.is_empty() => {
                Err(Error::config("RankingLoss::log_counts", "at least 1", 0))
            }
            Self::SampledSoftmax { log_counts } => match log_counts.iter().find(|count| !count.is_finite()) {
                Some(count) => Err(Error::config("RankingLoss::log_counts", "finite numbers", count)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The mean loss.
    ///
    /// # Shapes
    /// - logits: x, `[n]`
    /// - labels: y, `[n]`, in [0, 1]; not read where rows belong together, the positive first
    /// - output: `[1]`
    ///
    /// # Panics
    /// If n is no multiple of [`rows_per_group`](Self::rows_per_group).
    pub fn forward(&self, logits: Tensor<1>, labels: Tensor<1>) -> Tensor<1> {
        let ([n], device) = (logits.dims(), logits.device());
        let k = self.rows_per_group();
        match *self {
            Self::BinaryCrossEntropy { positive_weight } => {
                // softplus(−x) = softplus(x) − x: one softplus serves both classes.
                let softplus = activation::softplus(logits.clone(), 1.0);
                let positive = labels.clone().mul_scalar(positive_weight);
                if positive_weight == 1.0 {
                    return kernels::mean(softplus - logits * labels);
                }
                let weight = positive.clone() - labels.add_scalar(-1.0);
                kernels::mean(softplus * weight - logits * positive)
            }
            Self::Focal { gamma, alpha } => {
                // The margin is x where the label is 1 and −x where it is 0; ln p = −softplus(−margin).
                let margin = logits * labels.clone().mul_scalar(2.0).add_scalar(-1.0);
                let weight = labels.mul_scalar(2.0 * alpha - 1.0).add_scalar(1.0 - alpha);
                let log_wrong = activation::softplus(margin.clone(), 1.0).neg();
                let modulation = log_wrong.mul_scalar(gamma).exp();
                kernels::mean(weight * modulation * activation::softplus(margin.neg(), 1.0))
            }
            Self::Bpr { .. } => bpr(logits.reshape([n / k, k])),
            Self::Softmax { .. } => first_among(logits.reshape([n / k, k])),
            Self::SampledSoftmax { ref log_counts } => {
                let counts = TensorData::new([&[0.0], &log_counts[..]].concat(), [1, k]);
                first_among(logits.reshape([n / k, k]) + Tensor::from_data(counts, &device))
            }
        }
    }
}

/// Softmax cross-entropy of the first of each row.
fn first_among(logits: Tensor<2>) -> Tensor<1> {
    let n = logits.dims()[0];
    let first = Tensor::<1, Int>::from_data(TensorData::new(vec![0i64; n], [n]), &logits.device());
    softmax_cross_entropy(logits, first)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin::{self, normal, softplus};

    #[test]
    fn equal_their_float64_twins() {
        let labels = [1.0f32, 0.0, 1.0, 1.0, 0.0, 0.25];
        for loss in [
            RankingLoss::default(),
            RankingLoss::BinaryCrossEntropy { positive_weight: 3.0 },
            RankingLoss::Focal { gamma: 2.0, alpha: 0.25 },
        ] {
            let n = if matches!(loss, RankingLoss::Focal { .. }) { 5 } else { 6 };
            let row = |x: f64, y: f64| match loss {
                RankingLoss::BinaryCrossEntropy { positive_weight } => {
                    positive_weight * y * softplus(-x) + (1.0 - y) * softplus(x)
                }
                RankingLoss::Focal { gamma, alpha } => {
                    let (margin, alpha) = if y == 1.0 { (x, alpha) } else { (-x, 1.0 - alpha) };
                    let p = 1.0 / (1.0 + (-margin).exp());
                    -alpha * (1.0 - p).powf(gamma) * p.ln()
                }
                _ => unreachable!(),
            };
            twin::check(
                &[normal(n, 3)],
                1e-5,
                |x| loss.forward(x[0].clone(), Tensor::from_floats(&labels[..n], &x[0].device())),
                |x| vec![x[0].iter().zip(labels).map(|(&x, y)| row(x, y.into())).sum::<f64>() / n as f64],
            );
        }
    }

    #[test]
    fn groups_begin_with_their_positive() {
        for (loss, row) in [
            (
                RankingLoss::Bpr { n_negatives: 2 },
                (|x: &[f64]| 0.5 * (softplus(x[1] - x[0]) + softplus(x[2] - x[0]))) as fn(&[f64]) -> f64,
            ),
            (RankingLoss::Softmax { n_negatives: 2 }, |x| x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[0]),
            // Two items and three behind a negative each.
            (RankingLoss::SampledSoftmax { log_counts: vec![2f32.ln(), 3f32.ln()] }, |x| {
                (x[0].exp() + 2.0 * x[1].exp() + 3.0 * x[2].exp()).ln() - x[0]
            }),
        ] {
            twin::check(
                &[normal(12, 3)],
                1e-5,
                |x| loss.forward(x[0].clone(), x[0].zeros_like()),
                |x| vec![x[0].chunks(3).map(row).sum::<f64>() / 4.0],
            );
        }
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        for loss in [
            RankingLoss::BinaryCrossEntropy { positive_weight: 0.0 },
            RankingLoss::Focal { gamma: -1.0, alpha: 0.5 },
            RankingLoss::Focal { gamma: 2.0, alpha: 1.0 },
            RankingLoss::Bpr { n_negatives: 0 },
            RankingLoss::Softmax { n_negatives: 0 },
            RankingLoss::SampledSoftmax { log_counts: vec![] },
            RankingLoss::SampledSoftmax { log_counts: vec![0.0, f32::NEG_INFINITY] },
        ] {
            assert!(loss.validate().is_err(), "{loss:?}");
        }
        assert!(RankingLoss::default().validate().is_ok());
    }
}
