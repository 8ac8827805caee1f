//! Dot products in safe Rust, compiled once for each instruction set and chosen when the program runs.
//!
//! Every score of an item is the **same** chain of fused multiply-adds over the coordinates in their
//! order, whichever kernel computes it ([`tile`] for many items and queries, [`score`] for one pair), so
//! that a batch equals its rows and a graph equals a scan, to the last bit. [`dot`] and [`dots`] sum in
//! another, faster order, and only steer a graph.

use pulp::{Arch, Simd, WithSimd};

/// Items in a block: its coordinate `j` is `[f32; BLOCK]`, one number for each item.
pub(super) const BLOCK: usize = 64;
/// Items and queries of the register tile: 6 × 16 sums fill 12 of the 16 registers of AVX2.
pub(super) const TILE_ITEMS: usize = 16;
pub(super) const TILE_QUERIES: usize = 6;
/// Rows of a graph are padded with zeros to a multiple of this, the widest vector of any machine.
pub(super) const ROW_LANES: usize = 16;

/// Runs `kernel` with the widest instructions of this machine.
pub(super) fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    Arch::new().dispatch(kernel)
}

/// `a · b + c`, fused where the hardware does it.
#[inline(always)]
fn mul_add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::IS_SCALAR || cfg!(target_family = "wasm") { a * b + c } else { a.mul_add(b, c) }
}

/// Scores of `Q` queries (packed: coordinate by coordinate, `[f32; Q]` each) with the `W` items of a
/// block that start at lane `first`.
#[inline(always)]
pub(super) fn tile<S: Simd, const Q: usize, const W: usize>(
    packed: &[f32],
    block: &[f32],
    first: usize,
) -> [[f32; W]; Q] {
    let mut sums = [[0.0; W]; Q];
    let lanes = first..first + W;
    for (queries, items) in packed.as_chunks::<Q>().0.iter().zip(block.as_chunks::<BLOCK>().0) {
        let items = &items[lanes.clone()];
        for q in 0..Q {
            for (sum, &item) in sums[q].iter_mut().zip(items) {
                *sum = mul_add::<S>(queries[q], item, *sum);
            }
        }
    }
    sums
}

/// The score of one pair.
#[inline(always)]
pub(super) fn score<S: Simd>(query: &[f32], item: &[f32]) -> f32 {
    query.iter().zip(item).fold(0.0, |sum, (&q, &x)| mul_add::<S>(q, x, sum))
}

/// The dot products of `query` with `R` rows, all padded to [`ROW_LANES`], summed lane by lane.
#[inline(always)]
pub(super) fn dots<S: Simd, const R: usize>(simd: S, query: &[f32], rows: [&[f32]; R]) -> [f32; R] {
    let query = S::as_simd_f32s(query).0;
    let rows = rows.map(|row| &S::as_simd_f32s(row).0[..query.len()]);
    let mut sums = [simd.splat_f32s(0.0); R];
    for (j, &q) in query.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = simd.mul_add_e_f32s(q, row[j], *sum);
        }
    }
    sums.map(|sum| simd.reduce_sum_f32s(sum))
}

/// The dot product of two rows padded to [`ROW_LANES`].
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Dot<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            // Four sums: one chain of additions would wait for itself.
            let (a, a_rest) = S::as_simd_f32s(self.0).0.as_chunks::<4>();
            let (b, b_rest) = S::as_simd_f32s(self.1).0.as_chunks::<4>();
            let mut sums = [simd.splat_f32s(0.0); 4];
            for (a, b) in a.iter().zip(b) {
                for lane in 0..4 {
                    sums[lane] = simd.mul_add_e_f32s(a[lane], b[lane], sums[lane]);
                }
            }
            for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
                *sum = simd.mul_add_e_f32s(a, b, *sum);
            }
            let [a, b, c, d] = sums;
            simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
        }
    }
    dispatch(Dot(a, b))
}
