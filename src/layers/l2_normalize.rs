use burn::tensor::Tensor;

use crate::kernels;

/// Added to the square of a norm, so that a row of zeros stays one.
const EPSILON: f32 = 1e-12;

/// x / √(‖x‖² + 10⁻¹²) for each row x.
///
/// # Shapes
/// - x: `[n, d]`
/// - output: `[n, d]`
pub fn l2_normalize(x: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_1(kernels::L2Normalize { epsilon: EPSILON }, x);
    }
    let norm = x.clone().square().sum_dim(1).add_scalar(EPSILON).sqrt();
    x.div(norm)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    #[test]
    fn equals_its_float64_twin() {
        for (n, d) in [(1, 2), (3, 5), (2, 64), (4, 33)] {
            twin::check(
                &[twin::normal(n * d, 1)],
                1e-6,
                |inputs| l2_normalize(inputs[0].clone().reshape([n, d])).reshape([n * d]),
                |inputs| {
                    let normalized = |row: &[f64]| {
                        let norm = (row.iter().map(|x| x * x).sum::<f64>() + 1e-12).sqrt();
                        row.iter().map(|x| x / norm).collect::<Vec<_>>()
                    };
                    inputs[0].chunks(d).flat_map(normalized).collect()
                },
            );
        }
    }

    #[test]
    fn zeros_stay_zeros_and_their_gradient_is_finite() {
        let x = Tensor::<2>::zeros([2, 3], &Device::flex().autodiff()).require_grad();
        let y = l2_normalize(x.clone());
        let gradients = y.clone().sum().backward();
        assert!(read(y).unwrap().iter().all(|&y| y == 0.0));
        assert!(read(x.grad(&gradients).unwrap()).unwrap().iter().all(|&g| g == 1e6));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        twin::is_deterministic(|| {
            let values = TensorData::new(twin::normal(2_001 * 50, 1), [2_001, 50]);
            let x = Tensor::<2>::from_data(values, &Device::flex().autodiff()).require_grad();
            let y = l2_normalize(x.clone());
            let gradients = (y.clone() * y.clone() * y.clone()).sum().backward();
            [read(y).unwrap(), read(x.grad(&gradients).unwrap()).unwrap()].concat()
        });
    }
}
