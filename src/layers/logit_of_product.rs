use burn::tensor::{Tensor, activation};

/// The logit of σ(a) σ(b): as 1 / (σ(a) σ(b)) − 1 = e^−a + e^−b (1 + e^−a), it is −ln(e^−a + e^v) with
/// v = softplus(−a) − b, that is −v − softplus(−a − v), which neither rounds to 0 or 1 nor overflows.
///
/// # Shapes
/// - a, b: `[n, d]`
/// - output: `[n, d]`
pub fn logit_of_product(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let v = activation::softplus(a.clone().neg(), 1.0) - b;
    (v.clone() + activation::softplus((a + v).neg(), 1.0)).neg()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    #[test]
    fn the_logit_of_a_product_equals_its_float64_twin() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        twin::check(
            &[twin::normal(20, 1), twin::normal(20, 2)],
            1e-5,
            |x| logit_of_product(x[0].clone().reshape([20, 1]), x[1].clone().reshape([20, 1])).reshape([20]),
            |x| {
                let logit = |p: f64| (p / (1.0 - p)).ln();
                (0..20).map(|i| logit(sigmoid(x[0][i]) * sigmoid(x[1][i]))).collect()
            },
        );
    }

    #[test]
    fn extreme_logits_stay_right() {
        let of = |a: f32, b: f32| {
            let x = |x| Tensor::<2>::from_floats([[x]], &Device::flex());
            read(logit_of_product(x(a), x(b))).unwrap()[0]
        };
        for (a, b, expected) in [
            (60.0, 3.0, 3.0),
            (3.0, 60.0, 3.0),
            (-80.0, -90.0, -170.0),
            (-80.0, 50.0, -80.0),
            (50.0, 50.0, 50.0 - std::f32::consts::LN_2),
        ] {
            assert!((of(a, b) - expected).abs() < 1e-4, "{a} {b}: {}", of(a, b));
        }
    }
}
