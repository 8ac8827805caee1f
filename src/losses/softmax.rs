use burn::tensor::{Bool, Int, Tensor, activation};

use crate::kernels;

/// The logit of a hidden candidate: its exponential is 0, and sums with it stay finite.
const HIDDEN: f32 = -1e30;

/// s / τ, with the temperature given as log τ so that it may be learned.
///
/// # Shapes
/// - logits: `[n, m]`
/// - log_temperature: `[1]`
pub fn scale_by_temperature(logits: Tensor<2>, log_temperature: Tensor<1>) -> Tensor<2> {
    logits.mul(log_temperature.neg().exp().unsqueeze())
}

/// The logQ correction (Bengio & Senécal 2008; Yi et al. 2019, eq. 5): s(i, j) − log q(j), so that a
/// candidate that is drawn often is not punished for it.
///
/// # Shapes
/// - logits: `[n, m]`
/// - log_q: `[m]`, the log-probability with which each candidate is drawn
pub fn correct_log_q(logits: Tensor<2>, log_q: Tensor<1>) -> Tensor<2> {
    logits.sub(log_q.unsqueeze())
}

/// Hides accidental hits: a candidate that is the row's own positive item, yet stands in another column
/// than the positive, gets a logit of −10³⁰, whose exponential is 0.
///
/// # Shapes
/// - logits: `[n, m]`
/// - positives: the positive item of each row, `[n]`
/// - candidates: the item of each column, `[m]`
/// - columns: the column of each row's positive, `[n]`; `None` if the positives are not among the columns
pub fn mask_accidental_hits(
    logits: Tensor<2>,
    positives: Tensor<1, Int>,
    candidates: Tensor<1, Int>,
    columns: Option<Tensor<1, Int>>,
) -> Tensor<2> {
    let [n, m] = logits.dims();
    let same = positives.reshape([n, 1]).expand([n, m]).equal(candidates.reshape([1, m]).expand([n, m]));
    let hits = match columns {
        Some(columns) => same.bool_and(at_columns(columns, [n, m]).bool_not()),
        None => same,
    };
    logits.mask_fill(hits, HIDDEN)
}

/// Keeps each row's positive and its `k` hardest negatives, those with the highest logits (and any that tie
/// with the last of them); the others get a logit of −10³⁰. With `k` negatives or fewer nothing changes.
///
/// # Shapes
/// - logits: `[n, m]`
/// - columns: the column of each row's positive, `[n]`
pub fn keep_hard_negatives(logits: Tensor<2>, columns: Tensor<1, Int>, k: usize) -> Tensor<2> {
    let [n, m] = logits.dims();
    if k >= m.saturating_sub(1) {
        return logits;
    }
    let positive = at_columns(columns, [n, m]);
    let negatives = logits.clone().detach().mask_fill(positive.clone(), HIDDEN);
    let (hardest, _) = negatives.clone().topk_with_indices(k, 1);
    let threshold = hardest.min_dim(1).expand([n, m]);
    logits.mask_fill(negatives.lower(threshold).bool_and(positive.bool_not()), HIDDEN)
}

/// Whether each entry of a matrix stands in its row's column.
fn at_columns(columns: Tensor<1, Int>, [n, m]: [usize; 2]) -> Tensor<2, Bool> {
    let every = Tensor::<1, Int>::arange(0..m as i64, &columns.device());
    columns.reshape([n, 1]).expand([n, m]).equal(every.reshape([1, m]).expand([n, m]))
}

/// The mean over rows of −ln softmax(s)[column of the positive].
///
/// # Shapes
/// - logits: `[n, m]`
/// - columns: `[n]`, the column of each row's positive
/// - output: `[1]`
pub fn softmax_cross_entropy(logits: Tensor<2>, columns: Tensor<1, Int>) -> Tensor<1> {
    kernels::mean(activation::log_softmax(logits, 1).gather(1, columns.unsqueeze_dim(1))).neg()
}

/// Sampled softmax (Jean et al. 2015, eq. 9): the mean over rows of −ln(e^{s⁺} / (e^{s⁺} + Σ_k e^{s⁻_k})),
/// computed as softplus(logsumexp(s⁻) − s⁺).
///
/// # Shapes
/// - positive: logits `[n]`
/// - negative: logits `[n, k]`
/// - output: `[1]`
pub fn sampled_softmax(positive: Tensor<1>, negative: Tensor<2>) -> Tensor<1> {
    let n = positive.dims()[0];
    let max = negative.clone().detach().max_dim(1);
    let sums = negative.sub(max.clone()).exp().sum_dim(1).log().add(max).reshape([n]);
    kernels::mean(activation::softplus(sums.sub(positive), 1.0))
}
