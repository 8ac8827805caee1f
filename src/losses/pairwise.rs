use burn::tensor::{Tensor, activation};

/// Bayesian personalised ranking (Rendle et al. 2009, eq. 4): the mean of −ln σ(s⁺ − s⁻) over every pair
/// of a positive and one of its negatives.
///
/// # Shapes
/// - positive: logits `[n]`
/// - negative: logits `[n, k]`
/// - output: `[1]`
pub fn bpr(positive: Tensor<1>, negative: Tensor<2>) -> Tensor<1> {
    activation::softplus(negative.sub(positive.unsqueeze_dim(1)), 1.0).mean()
}
