use burn::tensor::{Tensor, activation};

use crate::kernels;

/// Bayesian personalised ranking (Rendle et al. 2009, eq. 4): the mean of −ln σ(s⁺ − s⁻) over every pair
/// of a positive and one of its negatives.
///
/// # Shapes
/// - logits: of the positive and, after it, the negatives of each row, `[n, 1 + k]`
/// - output: `[1]`
///
/// # Panics
/// Without a negative.
pub fn bpr(logits: Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if kernels::fused(&logits) {
        return kernels::apply_1(kernels::LogisticLoss::Bpr, logits);
    }
    let k = logits.dims()[1] - 1;
    let (positive, negative) = (logits.clone().narrow(1, 0, 1), logits.narrow(1, 1, k));
    activation::softplus(negative.sub(positive), 1.0).mean()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin::{self, softplus};

    #[test]
    fn equals_its_float64_twin() {
        for (n, k) in [(1, 1), (5, 1), (3, 7), (2, 40)] {
            let columns = 1 + k;
            let logits: Vec<f32> = twin::normal(n * columns, 1).iter().map(|x| 3.0 * x).collect();
            twin::check(
                &[logits],
                1e-6,
                |inputs| bpr(inputs[0].clone().reshape([n, columns])),
                |inputs| {
                    let row = |row: &[f64]| row[1..].iter().map(|s| softplus(s - row[0])).sum::<f64>();
                    vec![inputs[0].chunks(columns).map(row).sum::<f64>() / (n * k) as f64]
                },
            );
        }
    }
}
