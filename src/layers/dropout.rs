use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::kernels::{self, Mask};
use crate::rng::Rng;

/// Dropout (Srivastava et al. 2014, inverted): each element becomes 0 with probability p, and is divided
/// by 1 − p otherwise. With no generator (inference) or p = 0 the input comes back.
///
/// Element `i` is kept when the hash of (a seed drawn from `rng`, `i`) says so: the mask is a pure function
/// of the generator, whatever the number of threads. On Flex it is never stored.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, rng: Option<&mut Rng>) -> Tensor<D> {
    let Some(mask) = Mask::draw(p, rng) else {
        return x;
    };
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_1(kernels::Dropout(mask), x);
    }
    let shape = x.shape();
    let values = mask.values(shape.num_elements(), &x.device());
    x.mul(values.reshape(shape))
}

/// [`dropout`] and the residual connection around what made `x`: residual + dropout(x).
///
/// # Panics
/// If the shapes differ.
pub fn dropout_add<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    p: f64,
    rng: Option<&mut Rng>,
) -> Tensor<D> {
    assert_eq!(x.shape(), residual.shape(), "x and its residual");
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_2(kernels::DropoutAdd(Mask::draw(p, rng)), x, residual);
    }
    residual.add(dropout(x, p, rng))
}

/// Refuses a setting that is no probability of dropping.
pub(crate) fn check_dropout(field: &'static str, p: f64) -> Result<()> {
    if (0.0..1.0).contains(&p) { Ok(()) } else { Err(Error::config(field, "a probability in [0, 1)", p)) }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    #[test]
    fn keeps_the_mean_drops_the_share_and_repeats() {
        let device = Device::flex();
        let ones = || Tensor::<2>::ones([500, 401], &device);
        let run = |seed| dropout(ones(), 0.3, Some(&mut Rng::new(seed))).into_data();
        let values: Vec<f32> = run(1).try_into_vec().unwrap();
        let dropped = values.iter().filter(|&&v| v == 0.0).count() as f64 / values.len() as f64;
        assert!((dropped - 0.3).abs() < 0.005, "{dropped}");
        assert!(values.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(dropout(ones(), 0.3, None).into_data(), ones().into_data());
    }

    #[test]
    fn the_gradient_goes_through_the_same_mask() {
        let device = Device::flex().autodiff();
        let x = Tensor::<1>::ones([64], &device).require_grad();
        let y = dropout(x.clone(), 0.5, Some(&mut Rng::new(2)));
        let gradients = y.clone().sum().backward();
        assert_eq!(x.grad(&gradients).unwrap().into_data(), y.inner().into_data());
    }
    #[test]
    fn a_residual_is_added_to_what_is_kept() {
        let (x, residual) = (twin::normal(30, 1), twin::normal(30, 2));
        for p in [0.0, 0.4] {
            let mut mask = vec![1.0; 30];
            if let Some(drawn) = Mask::draw(p, Some(&mut Rng::new(9))) {
                drawn.apply(0, &mut mask);
            }
            twin::check(
                &[x.clone(), residual.clone()],
                1e-6,
                |inputs| dropout_add(inputs[0].clone(), inputs[1].clone(), p, Some(&mut Rng::new(9))),
                |inputs| (0..30).map(|i| inputs[0][i] * f64::from(mask[i]) + inputs[1][i]).collect(),
            );
        }
    }

    #[test]
    fn a_long_residual_equals_the_composed_operation_with_either_gradient() {
        let device = Device::flex().autodiff();
        for tracked in [[true, true], [true, false], [false, true]] {
            let run = || {
                let inputs = [1, 2].map(|seed| {
                    let x = TensorData::new(twin::normal(100_003, seed), [100_003]);
                    let x = Tensor::<1>::from_data(x, &device);
                    if tracked[seed as usize - 1] { x.require_grad() } else { x }
                });
                let [x, residual] = inputs.clone();
                let y = dropout_add(x, residual, 0.2, Some(&mut Rng::new(3)));
                let gradients = (y.clone() * y.clone()).sum().backward();
                let found = inputs.map(|input| input.grad(&gradients).map(|g| read(g).unwrap()));
                (read(y).unwrap(), found)
            };
            let ((y, gradients), (expected, expected_gradients)) = (run(), kernels::composed(run));
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near(&y, &expected));
            for i in 0..2 {
                assert_eq!(gradients[i].is_some(), tracked[i]);
                let [found, expected] = [&gradients, &expected_gradients].map(|g| g[i].clone());
                assert!(near(&found.unwrap_or_default(), &expected.unwrap_or_default()));
            }
        }
    }
}
