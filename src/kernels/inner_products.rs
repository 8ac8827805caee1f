use super::simd::{dot, vectorized};

/// The inner product of `vector` with each row of a matrix, `[out.len(), vector.len()]` row by row.
///
/// # Panics
/// A matrix of another size.
pub(crate) fn inner_products(rows: &[f32], vector: &[f32], out: &mut [f32]) {
    assert_eq!(rows.len(), out.len() * vector.len(), "size of the matrix");
    vectorized(
        #[inline(always)]
        move || {
            for (out, row) in out.iter_mut().zip(rows.chunks_exact(vector.len().max(1))) {
                *out = dot(row, vector);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn equals_float64() {
        let mut rng = Rng::new(1);
        for dim in [1, 3, 16, 18, 64, 100] {
            let mut normal = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
            let (rows, vector) = (normal(7 * dim), normal(dim));
            let mut out = [0.0; 7];
            inner_products(&rows, &vector, &mut out);
            for (row, found) in rows.chunks(dim).zip(out) {
                let exact: f64 = row.iter().zip(&vector).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                assert!((f64::from(found) - exact).abs() < 1e-5 * (dim as f64).sqrt(), "{found} {exact}");
            }
        }
        inner_products(&[], &[1.0], &mut []);
    }
}
