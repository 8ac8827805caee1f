//! Products of squares of a few vector registers, for matrices too small to repay the preparation of a general
//! product. Call them inside [`vectorized`](super::simd::vectorized).

/// The side of a square: a row is one or two vector registers.
pub(super) const SIDE: usize = 16;

/// 16 rows of 16 columns.
pub(super) type Square = [[f32; SIDE]; SIDE];

/// The rows of sums kept in registers at once.
const HEIGHT: usize = 4;

/// The squares in these numbers.
pub(super) fn squares(values: &mut [f32]) -> &mut [Square] {
    values.as_chunks_mut().0.as_chunks_mut().0
}

/// The upper left of a square from rows of at most 16 numbers; the rest is 0.
#[inline(always)]
pub(super) fn fill<'a>(square: &mut Square, rows: impl Iterator<Item = &'a [f32]>) {
    let mut n_rows = 0;
    for (out, row) in square.iter_mut().zip(rows) {
        match row.first_chunk() {
            Some(row) => *out = *row,
            None => {
                *out = [0.0; SIDE];
                out[..row.len()].copy_from_slice(row);
            }
        }
        n_rows += 1;
    }
    square[n_rows..].fill([0.0; SIDE]);
}

/// out ← aᵀ.
#[inline(always)]
pub(super) fn transpose(out: &mut Square, a: &Square) {
    for i in 0..SIDE {
        for j in 0..SIDE {
            out[i][j] = a[j][i];
        }
    }
}

/// out ← Σ a b over the pairs of squares, in the first `n` rows and up to 3 more.
#[inline(always)]
pub(super) fn set_products(out: &mut Square, a: &[Square], b: &[Square], n: usize) {
    for (at, out) in out.as_chunks_mut::<HEIGHT>().0.iter_mut().enumerate().take(n.div_ceil(HEIGHT)) {
        let mut sums = [[0.0; SIDE]; HEIGHT];
        for (a, b) in a.iter().zip(b) {
            let a = &a.as_chunks::<HEIGHT>().0[at];
            for k in 0..SIDE {
                for i in 0..HEIGHT {
                    for j in 0..SIDE {
                        sums[i][j] = a[i][k].mul_add(b[k][j], sums[i][j]);
                    }
                }
            }
        }
        *out = sums;
    }
}

/// out += aᵀ b over the first `n` rows of a and b.
#[inline(always)]
pub(super) fn add_transposed_product(out: &mut Square, a: &Square, b: &Square, n: usize) {
    for (at, out) in out.as_chunks_mut::<HEIGHT>().0.iter_mut().enumerate() {
        let mut sums = *out;
        for (a, b) in a.iter().zip(b).take(n) {
            let a = &a.as_chunks::<HEIGHT>().0[at];
            for i in 0..HEIGHT {
                for j in 0..SIDE {
                    sums[i][j] = a[i].mul_add(b[j], sums[i][j]);
                }
            }
        }
        *out = sums;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{simd, twin};

    fn random(seed: u64) -> Square {
        squares(&mut twin::normal(SIDE * SIDE, seed))[0]
    }

    fn assert_close(found: &Square, expected: impl Fn(usize, usize) -> f64) {
        for (i, j) in (0..SIDE).flat_map(|i| (0..SIDE).map(move |j| (i, j))) {
            let (found, expected) = (f64::from(found[i][j]), expected(i, j));
            assert!((found - expected).abs() < 1e-5, "[{i}, {j}] = {found}, not {expected}");
        }
    }

    #[test]
    fn products_equal_their_float64_twins() {
        let (a, b, before) = ([random(1), random(2)], [random(3), random(4)], random(5));
        let exact = |x: f32, y: f32| f64::from(x) * f64::from(y);
        for n in [0, 1, 4, 7, 16] {
            let (mut product, mut transposed) = (before, before);
            let out = (&mut product, &mut transposed);
            simd::vectorized(
                #[inline(always)]
                move || {
                    set_products(out.0, &a, &b, n);
                    add_transposed_product(out.1, &a[0], &b[0], n);
                },
            );
            assert_close(&product, |i, j| {
                let sum = (0..2).flat_map(|s| (0..SIDE).map(move |k| exact(a[s][i][k], b[s][k][j]))).sum();
                if i < n.next_multiple_of(HEIGHT) { sum } else { before[i][j].into() }
            });
            assert_close(&transposed, |i, j| {
                f64::from(before[i][j]) + (0..n).map(|k| exact(a[0][k][i], b[0][k][j])).sum::<f64>()
            });
        }
    }

    #[test]
    fn the_transpose_swaps_rows_and_columns() {
        let (a, mut transposed) = (random(1), random(2));
        transpose(&mut transposed, &a);
        assert_close(&transposed, |i, j| a[j][i].into());
    }

    #[test]
    fn what_rows_do_not_fill_is_zero() {
        let rows = twin::normal(3 * 20, 4);
        for width in [1, 15, 16, 20] {
            let mut found = random(5);
            fill(&mut found, rows.chunks(20).map(|row| &row[..width]));
            assert_close(&found, |i, j| if i < 3 && j < width { rows[i * 20 + j].into() } else { 0.0 });
        }
    }
}
