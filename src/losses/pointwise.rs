use burn::tensor::{Tensor, activation};

/// Binary cross-entropy with sampled negatives (He et al. 2017, eq. 7): the mean over rows of
/// −ln σ(s⁺) − Σ_k ln(1 − σ(s⁻_k)).
///
/// # Shapes
/// - positive: logits `[n]`
/// - negative: logits `[n, k]`
/// - output: `[1]`
pub fn binary_cross_entropy(positive: Tensor<1>, negative: Tensor<2>) -> Tensor<1> {
    let n = positive.dims()[0] as f32;
    let positive = activation::softplus(positive.neg(), 1.0).sum();
    positive.add(activation::softplus(negative, 1.0).sum()).div_scalar(n)
}
