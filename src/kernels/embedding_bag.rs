use super::simd::{axpy, vectorized};
use super::{Array, Bags, Kernel, buffer, parallel};

/// The numbers that one part of the work writes.
const PART: usize = 1 << 15;

/// y_i = Σ_k w_ik · table[row_ik] over the entries k of bag i. Its gradient is an embedding bag too: the
/// transposed bags, over the gradient of y.
#[derive(Debug)]
pub(crate) struct EmbeddingBag {
    bags: Bags,
    n_rows: usize,
}

impl EmbeddingBag {
    /// Bags over a table of `n_rows` rows.
    ///
    /// # Panics
    /// If the table has not all of their rows.
    pub(crate) fn new(bags: Bags, n_rows: usize) -> Self {
        if let Some(row) = bags.rows.iter().find(|&&row| row as usize >= n_rows) {
            panic!("row {row} of a table of {n_rows} rows");
        }
        Self { bags, n_rows }
    }
}

/// The sum of each bag, begun at `zero`: at −0, the neutral element of addition, so that a row alone with
/// weight 1 keeps every bit; at 0, for gradients that are summed as Burn sums them.
fn sum(bags: &Bags, table: &[f32], d: usize, zero: f32) -> Vec<f32> {
    let mut sums = buffer::take(bags.len() * d);
    parallel::rows(&mut sums, d, PART / d.max(1), |range, sums| {
        vectorized(
            #[inline(always)]
            move || {
                for (bag, sum) in range.zip(sums.chunks_exact_mut(d)) {
                    let (rows, weights) = bags.bag(bag);
                    sum.fill(if rows.is_empty() { 0.0 } else { zero });
                    for (&row, &weight) in rows.iter().zip(weights) {
                        axpy(sum, weight, &table[row as usize * d..][..d]);
                    }
                }
            },
        );
    });
    sums
}

impl Kernel<1> for EmbeddingBag {
    fn forward(&self, [table]: [Array; 1], _: bool) -> (Array, Vec<Array>) {
        let [n_rows, d] = table.shape();
        assert_eq!(n_rows, self.n_rows, "rows of the table");
        (Array::new(sum(&self.bags, table.values(), d, -0.0), [self.bags.len(), d]), Vec::new())
    }

    fn backward(&self, _: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let d = grad.width();
        let sums = sum(&self.bags.transpose(self.n_rows), grad.values(), d, 0.0);
        [Some(Array::new(sums, [self.n_rows, d]))]
    }
}
