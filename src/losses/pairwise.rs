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
    kernels::mean(activation::softplus(negative.sub(positive), 1.0))
}
