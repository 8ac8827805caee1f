//! Rows of a matrix by their numbers, in the operations that a GPU runs in parallel. Burn's `select_assign`, which is
//! also the gradient of `select`, there walks through all the rows with one thread for each column. `scatter`, the
//! gradient of `gather`, adds with a thread for each number where the GPU adds floats atomically, in no fixed order;
//! `scatter_nd` writes likewise.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::on_cpu;

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
