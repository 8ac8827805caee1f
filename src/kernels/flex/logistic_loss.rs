use super::{Array, Kernel, buffer, parallel, simd};

/// The logits of one part of the work.
const PART: usize = 1 << 14;

/// Sums of softplus(x) = ln(1 + eˣ) over the logits of each row, the positive's first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogisticLoss {
    /// The mean of softplus(s⁻ − s⁺) over all pairs of a positive and one of its negatives.
    Bpr,
    /// The mean over rows of β softplus(−s⁺) + Σ softplus(s⁻).
    BinaryCrossEntropy { beta: f32 },
}

impl LogisticLoss {
    /// The x of each softplus in a row of logits; −∞ where there is none.
    #[inline(always)]
    fn arguments(self, logits: &[f32], x: &mut [f32]) {
        match self {
            Self::Bpr => {
                x.iter_mut().zip(logits).for_each(|(x, logit)| *x = logit - logits[0]);
                x[0] = f32::NEG_INFINITY;
            }
            Self::BinaryCrossEntropy { .. } => {
                x.copy_from_slice(logits);
                x[0] = -logits[0];
            }
        }
    }

    /// The gradient of a row of logits from the slopes of its softplus.
    #[inline(always)]
    fn gradient(self, slopes: &mut [f32]) {
        slopes[0] = match self {
            Self::Bpr => -simd::sum(&slopes[1..]),
            Self::BinaryCrossEntropy { beta } => -beta * slopes[0],
        };
    }

    fn n_terms(self, [n, k]: [usize; 2]) -> f64 {
        match self {
            Self::Bpr => (n * (k - 1)) as f64,
            Self::BinaryCrossEntropy { .. } => n as f64,
        }
    }

    /// What the weight of the positives adds to the plain sum over these rows of `k` arguments.
    #[inline(always)]
    fn weight_of_positives(self, x: &[f32], k: usize) -> f64 {
        match self {
            Self::BinaryCrossEntropy { beta } if beta != 1.0 => {
                let mut positives: Vec<f32> = x.iter().step_by(k).copied().collect();
                (f64::from(beta) - 1.0) * simd::softplus_sum(&mut positives)
            }
            _ => 0.0,
        }
    }
}

impl Kernel<1> for LogisticLoss {
    fn forward(&self, [logits]: [Array; 1], tracked: bool) -> (Array, Vec<Array>) {
        let (kind, shape @ [n, k]) = (*self, logits.shape());
        assert!(k > 1, "a positive and at least one negative, not {k} logits a row");
        let mut slopes = buffer::take(n * k);
        let sums = parallel::rows(&mut slopes, k, PART / k, |rows, slopes| {
            let logits = &logits.values()[rows.start * k..rows.end * k];
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (x, logits) in slopes.chunks_exact_mut(k).zip(logits.chunks_exact(k)) {
                        kind.arguments(logits, x);
                    }
                    let sum = kind.weight_of_positives(slopes, k) + simd::softplus_sum(slopes);
                    slopes.chunks_exact_mut(k).for_each(|slopes| kind.gradient(slopes));
                    sum
                },
            )
        });
        let loss = sums.iter().sum::<f64>() / self.n_terms(shape);
        let slopes = logits.with_values(slopes);
        (Array::new(vec![loss as f32], [1]), if tracked { vec![slopes] } else { Vec::new() })
    }

    fn backward(&self, mut saved: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let slopes = saved.swap_remove(0);
        let scale = (f64::from(grad.values()[0]) / self.n_terms(slopes.shape())) as f32;
        [Some(slopes.map(|slopes| slopes.iter_mut().for_each(|slope| *slope *= scale)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use crate::kernels::composed;
    use crate::kernels::twin::{is_deterministic, normal};
    use crate::losses::{binary_cross_entropy, bpr, generalized_binary_cross_entropy};

    /// The loss of more logits than one part holds, and their gradient.
    fn run(loss: fn(Tensor<2>) -> Tensor<1>) -> Vec<f32> {
        let values = TensorData::new(normal(7_001 * 6, 1), [7_001, 6]);
        let logits = Tensor::<2>::from_data(values, &Device::flex().autodiff()).require_grad();
        let value = loss(logits.clone()).mul_scalar(7_001.0);
        let Some(gradient) = logits.grad(&value.backward()) else { panic!("no gradient") };
        [value.into_data(), gradient.into_data()].iter().flat_map(|data| data.iter::<f32>()).collect()
    }

    #[test]
    fn many_rows_equal_the_composed_operations_on_any_number_of_threads() {
        let gbce = |logits| generalized_binary_cross_entropy(logits, 0.3);
        for loss in [bpr, binary_cross_entropy, gbce] {
            let (found, expected) = (run(loss), composed(|| run(loss)));
            assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() <= 2e-6 * y.abs().max(1.0)));
            is_deterministic(|| run(loss));
        }
    }
}
