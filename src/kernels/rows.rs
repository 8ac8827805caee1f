//! Rows of a matrix, in the operations that a GPU runs in parallel. Burn's `select_assign`, which is
//! also the gradient of `select`, there walks through all the rows with one thread for each column. `scatter`, the
//! gradient of `gather`, adds with a thread for each number where the GPU adds floats atomically, in no fixed order;
//! `scatter_nd` writes likewise. A sum over rows has a thread for each column; in two stages it has √n times as many.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::{fused, on_cpu};

/// The rows of `x` with these numbers.
///
/// # Shapes
/// - x: `[n, d]`
/// - rows: numbers below n, `[m]`
/// - output: `[m, d]`
pub(crate) fn select_rows(x: Tensor<2>, rows: Tensor<1, Int>) -> Tensor<2> {
    let ([m], [_, d]) = (rows.dims(), x.dims());
    if m == 0 || on_cpu(&x.device()) {
        return x.select(0, rows);
    }
    x.gather(0, rows.unsqueeze_dim::<2>(1).expand([m, d]))
}

/// `x` with values added to the rows with these numbers, of which some may be equal.
///
/// # Shapes
/// - x: `[n, d]`
/// - rows: numbers below n, `[m]`
/// - values: `[m, d]`
pub(crate) fn add_to_rows(x: Tensor<2>, rows: Tensor<1, Int>, values: Tensor<2>) -> Tensor<2> {
    let [m, d] = values.dims();
    if m == 0 || on_cpu(&x.device()) {
        return x.select_assign(0, rows, values, IndexingUpdateOp::Add);
    }
    x.scatter(0, rows.unsqueeze_dim::<2>(1).expand([m, d]), values, IndexingUpdateOp::Add)
}

/// `x` with values in place of the rows with these numbers, no two of them equal.
///
/// # Shapes
/// As [`add_to_rows`].
pub(crate) fn replace_rows(x: Tensor<2>, rows: Tensor<1, Int>, values: Tensor<2>) -> Tensor<2> {
    if values.dims()[0] == 0 || on_cpu(&x.device()) {
        return x.select_assign(0, rows, values, IndexingUpdateOp::Assign);
    }
    x.scatter_nd(rows.unsqueeze_dim::<2>(1), values, IndexingUpdateOp::Assign)
}

/// As many rows and more are added up in two stages, but where operations are fused; fewer take longer to launch twice
/// than to add.
const STAGED: usize = 8_192;

/// A row that broadcasts to `n` rows, `[1, d]` or `[n, d]`. Its gradient is a sum of rows.
pub(crate) fn repeat_row(row: Tensor<1>, n: usize) -> Tensor<2> {
    if n < STAGED || fused(&row) {
        return row.unsqueeze();
    }
    // The gradient of `expand` is summed one dimension at a time.
    let ([d], m) = (row.dims(), rows_of_a_stage(n));
    let repeated = row.reshape([1, 1, d]).expand([n.div_ceil(m), m, d]).reshape([n.div_ceil(m) * m, d]);
    if n.is_multiple_of(m) { repeated } else { repeated.narrow(0, 0, n) }
}

/// The sum of the rows of `x`, `[d]`.
pub(crate) fn sum_of_rows(x: Tensor<2>) -> Tensor<1> {
    let [n, d] = x.dims();
    if n < STAGED || fused(&x) { x.sum_dim(0).reshape([d]) } else { in_stages(x) }
}

/// The sum of all numbers of `x`.
pub(crate) fn sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let n = x.shape().num_elements();
    // One after another, these take the time of a launch.
    const FEW: usize = 512;
    if n < FEW || fused(&x) { x.sum() } else { in_stages(x.reshape([n, 1])) }
}

/// The mean of all numbers of `x`.
pub(crate) fn mean<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let n = x.shape().num_elements();
    if fused(&x) { x.mean() } else { sum(x).div_scalar(n as f64) }
}

fn in_stages(x: Tensor<2>) -> Tensor<1> {
    let [n, d] = x.dims();
    let m = rows_of_a_stage(n);
    let whole = x.clone().narrow(0, 0, n / m * m).reshape([n / m, m, d]).sum_dim(0).sum_dim(1).reshape([d]);
    if n.is_multiple_of(m) { whole } else { whole + x.narrow(0, n / m * m, n % m).sum_dim(0).reshape([d]) }
}

/// x W. The gradient of W has a sum of n terms in each place: of many rows, it too is taken in two stages.
///
/// # Shapes
/// - x: `[n, d]`
/// - weight: W, `[d, d_output]`
/// - output: `[n, d_output]`
pub(crate) fn rows_times(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([n, d], [_, d_output]) = (x.dims(), weight.dims());
    // A GPU has something to do for each of as many numbers.
    const ENOUGH: usize = 1 << 22;
    let n_stages = n.isqrt().min(ENOUGH / (d * d_output).max(1));
    if n < STAGED || n_stages < 2 || fused(&x) {
        return x.matmul(weight);
    }
    let m = n.div_ceil(n_stages);
    let rest = n_stages * m - n;
    let x =
        if rest == 0 { x } else { Tensor::cat(vec![x.clone(), Tensor::zeros([rest, d], &x.device())], 0) };
    let weights = weight.reshape([1, d, d_output]).expand([n_stages, d, d_output]);
    let y = x.reshape([n_stages, m, d]).matmul(weights).reshape([n_stages * m, d_output]);
    if rest == 0 { y } else { y.narrow(0, 0, n) }
}

/// About √n, and a divisor of n if one is near.
fn rows_of_a_stage(n: usize) -> usize {
    let root = n.isqrt();
    (root..2 * root).find(|&m| n.is_multiple_of(m)).unwrap_or(root)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin;

    #[test]
    fn a_repeated_row_and_a_sum_of_rows_are_so_in_stages_too() {
        for n in [1, 7, STAGED - 1, STAGED, STAGED + 1] {
            let inputs = [twin::normal(3, 1), twin::normal(n * 3, 2)];
            twin::check(
                &inputs,
                1e-5,
                |x| {
                    let product = repeat_row(x[0].clone(), n) * x[1].clone().reshape([n, 3]);
                    let all = in_stages(product.clone().reshape([n * 3, 1]));
                    Tensor::cat(vec![sum_of_rows(product.clone()), all, product.reshape([n * 3])], 0)
                },
                |x| {
                    let product: Vec<f64> = (0..n * 3).map(|i| x[0][i % 3] * x[1][i]).collect();
                    let sum = |j: usize| product.iter().skip(j).step_by(3).sum();
                    (0..3).map(sum).chain([product.iter().sum()]).chain(product.iter().copied()).collect()
                },
            );
        }
    }

    #[test]
    fn products_of_rows_are_so_in_stages_too() {
        let (d, d_output) = (2, 3);
        for n in [1, STAGED, STAGED + 5] {
            twin::check(
                &[twin::normal(n * d, 1), twin::normal(d * d_output, 2)],
                1e-5,
                |x| {
                    let (x, w) = (x[0].clone().reshape([n, d]), x[1].clone().reshape([d, d_output]));
                    rows_times(x, w).reshape([n * d_output])
                },
                |x| {
                    let y =
                        |i: usize, j: usize| (0..d).map(|k| x[0][i * d + k] * x[1][k * d_output + j]).sum();
                    (0..n * d_output).map(|at| y(at / d_output, at % d_output)).collect()
                },
            );
        }
    }

    #[test]
    fn no_stage_adds_many_more_rows_than_the_other() {
        for n in 1..20_000 {
            let m = rows_of_a_stage(n);
            assert!(m < 2 * n.isqrt().max(1) && n.div_ceil(m) <= n.isqrt() + 3, "{n} rows in stages of {m}");
        }
    }
}
