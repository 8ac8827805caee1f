use std::ops::Range;

use super::simd::vectorized;
use super::{Array, Bags, Kernel, buffer, parallel};

/// The columns that are summed together.
const LANES: usize = 16;

/// The numbers that one part of the work reads and writes.
const PART: usize = 1 << 13;

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
    /// As [`Bags::check`].
    pub(crate) fn new(bags: Bags, n_rows: usize) -> Self {
        bags.check(n_rows);
        Self { bags, n_rows }
    }
}

/// The sum of each bag, begun at `zero`: at −0, the neutral element of addition, so that a row alone with
/// weight 1 keeps every bit; at 0, for gradients that are summed as Burn sums them.
pub(super) fn sum(bags: &Bags, table: &[f32], d: usize, zero: f32) -> Vec<f32> {
    let mut sums = buffer::take(bags.len() * d);
    parallel::each(parts(bags, &mut sums, d), |(range, sums)| {
        vectorized(
            #[inline(always)]
            move || {
                for (bag, sum) in range.zip(sums.chunks_exact_mut(d)) {
                    let zero = if bags.bag(bag).0.is_empty() { 0.0 } else { zero };
                    let (chunks, rest) = sum.as_chunks_mut();
                    let n_in_chunks = chunks.len() * LANES;
                    for (i, chunk) in chunks.iter_mut().enumerate() {
                        *chunk = sum_columns(bags.bag(bag), table, d, i * LANES, [zero; LANES]);
                    }
                    for (i, sum) in rest.iter_mut().enumerate() {
                        [*sum] = sum_columns(bags.bag(bag), table, d, n_in_chunks + i, [zero]);
                    }
                }
            },
        );
    });
    sums
}

/// Some columns of the sum of a bag, from `column` on: they stay in registers until all is added.
#[inline(always)]
fn sum_columns<const N: usize>(
    (rows, weights): (&[u32], &[f32]),
    table: &[f32],
    d: usize,
    column: usize,
    mut sum: [f32; N],
) -> [f32; N] {
    for (&row, &weight) in rows.iter().zip(weights) {
        let x = &table[row as usize * d + column..][..N];
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum = x.mul_add(weight, *sum);
        }
    }
    sum
}

/// Stretches of bags with their sums, each of about the same number of sums and entries: a few rows of a
/// table may stand in most bags. How the bags are cut changes no bit.
fn parts<'a>(bags: &Bags, mut sums: &'a mut [f32], d: usize) -> Vec<(Range<usize>, &'a mut [f32])> {
    let size = (PART / d.max(1)).max(1);
    let mut parts = Vec::new();
    let mut start = 0;
    while start < bags.len() {
        let end = bags.end_of_part(start, size);
        let (part, rest) = sums.split_at_mut((end - start) * d);
        parts.push((start..end, part));
        (start, sums) = (end, rest);
    }
    parts
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
