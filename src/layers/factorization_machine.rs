use burn::tensor::Tensor;

use crate::kernels;

/// ½ Σ_j ((Σ_f x_fj)² − Σ_f x_fj²), the sum of ⟨x_f, x_g⟩ over all pairs of fields f < g of each row, in linear time
/// (Rendle 2010, "Factorization machines", lemma 3.1).
///
/// # Shapes
/// - x: the vectors of all fields of each row, `[n, n_fields · d]`
/// - output: `[n, 1]`
///
/// # Panics
/// If the width of a row is no multiple of `d`.
pub fn factorization_machine(x: Tensor<2>, d: usize) -> Tensor<2> {
    let [n, width] = x.dims();
    assert!(d > 0 && width.is_multiple_of(d), "rows of {width} numbers in vectors of {d}");
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_1(kernels::FactorizationMachine { d }, x);
    }
    let x = x.reshape([n, width / d, d]);
    let square_of_sum = x.clone().sum_dim(1).square().sum_dim(2);
    let sum_of_squares = x.square().sum_dim(1).sum_dim(2);
    (square_of_sum - sum_of_squares).mul_scalar(0.5).reshape([n, 1])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin;

    #[test]
    fn equals_all_pairs_in_float64() {
        for (n, n_fields, d) in [(1, 1, 1), (3, 4, 5), (7, 8, 16), (5, 3, 19)] {
            let input = twin::normal(n * n_fields * d, 1);
            let pairs = |x: &[Vec<f64>]| {
                let field = |row: usize, f: usize| &x[0][(row * n_fields + f) * d..][..d];
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let row = |row| {
                    let pairs = (0..n_fields).flat_map(|f| (0..f).map(move |g| (f, g)));
                    pairs.map(|(f, g)| dot(field(row, f), field(row, g))).sum()
                };
                (0..n).map(row).collect()
            };
            let fused = |x: &[Tensor<1>]| {
                factorization_machine(x[0].clone().reshape([n, n_fields * d]), d).reshape([n])
            };
            twin::check(&[input], 1e-5, fused, pairs);
        }
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        twin::is_deterministic(|| {
            let device = burn::tensor::Device::flex().autodiff();
            let x = burn::tensor::TensorData::new(twin::normal(3_000 * 24, 1), [3_000, 24]);
            let x = Tensor::<2>::from_data(x, &device).require_grad();
            let y = factorization_machine(x.clone(), 8);
            let gradient = x.grad(&y.clone().square().sum().backward()).unwrap();
            [y.into_data(), gradient.into_data()].iter().flat_map(|data| data.iter::<f32>()).collect()
        });
    }
}
