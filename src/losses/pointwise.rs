use burn::tensor::{Tensor, activation};

use crate::kernels;

/// Binary cross-entropy with sampled negatives (He et al. 2017, eq. 7): the mean over rows of
/// −ln σ(s⁺) − Σ_k ln(1 − σ(s⁻_k)).
///
/// # Shapes
/// - logits: of the positive and, after it, the negatives of each row, `[n, 1 + k]`
/// - output: `[1]`
///
/// # Panics
/// Without a negative.
pub fn binary_cross_entropy(logits: Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if kernels::fused(&logits) {
        return kernels::apply_1(kernels::LogisticLoss::BinaryCrossEntropy, logits);
    }
    let [n, columns] = logits.dims();
    let (positive, negative) = (logits.clone().narrow(1, 0, 1), logits.narrow(1, 1, columns - 1));
    let positive = activation::softplus(positive.neg(), 1.0).sum();
    positive.add(activation::softplus(negative, 1.0).sum()).div_scalar(n as f32)
}
