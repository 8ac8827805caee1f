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
/// Rows of a graph are padded with zeros to a multiple of this.
pub(super) const ROW_LANES: usize = 8;

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
pub(super) fn dots<S: Simd, const R: usize>(query: &[f32], rows: [&[f32]; R]) -> [f32; R] {
    let query = query.as_chunks::<ROW_LANES>().0;
    let rows = rows.map(|row| &row.as_chunks::<ROW_LANES>().0[..query.len()]);
    let mut sums = [[0.0; ROW_LANES]; R];
    for (j, q) in query.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            for lane in 0..ROW_LANES {
                sums[lane] = mul_add::<S>(q[lane], row[j][lane], sums[lane]);
            }
        }
    }
    sums.map(|[a, b, c, d, e, f, g, h]| ((a + e) + (c + g)) + ((b + f) + (d + h)))
}

/// The dot product of two rows, as [`dots`] sums it.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Dot<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> f32 {
            // Two halves with sums of their own: one chain of additions would wait for itself.
            let half = self.0.len() / ROW_LANES / 2 * ROW_LANES;
            let [head] = dots::<S, 1>(&self.0[..half], [&self.1[..half]]);
            let [tail] = dots::<S, 1>(&self.0[half..], [&self.1[half..]]);
            head + tail
        }
    }
    dispatch(Dot(a, b))
}
