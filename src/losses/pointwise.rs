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
    generalized_binary_cross_entropy(logits, 1.0)
}

/// Generalised binary cross-entropy, gBCE (Petrov & Macdonald 2023, "gSASRec: reducing overconfidence in
/// sequential recommendation trained with negative sampling", eq. 9): the mean over rows of
/// −β ln σ(s⁺) − Σ_k ln(1 − σ(s⁻_k)), k + 1 times the paper's mean over all logits of a row.
///
/// # Shapes
/// As [`binary_cross_entropy`].
///
/// # Panics
/// Without a negative.
pub fn generalized_binary_cross_entropy(logits: Tensor<2>, beta: f64) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if kernels::fused(&logits) {
        return kernels::apply_1(kernels::LogisticLoss::BinaryCrossEntropy { beta: beta as f32 }, logits);
    }
    let [n, columns] = logits.dims();
    let (positive, negative) = (logits.clone().narrow(1, 0, 1), logits.narrow(1, 1, columns - 1));
    let positive = kernels::sum(activation::softplus(positive.neg(), 1.0)).mul_scalar(beta);
    positive.add(kernels::sum(activation::softplus(negative, 1.0))).div_scalar(n as f32)
}

/// The β of [`generalized_binary_cross_entropy`] for `k` negatives from a catalogue of `n_items` and the
/// calibration t (Petrov & Macdonald 2023, eq. 12): with the sampling rate α = k / (n_items − 1),
/// β = α (t (1 − 1/α) + 1/α) = 1 − t (1 − α).
pub fn gbce_beta(k: usize, n_items: usize, t: f64) -> f64 {
    let alpha = (k as f64 / (n_items as f64 - 1.0)).min(1.0);
    1.0 - t * (1.0 - alpha)
}
