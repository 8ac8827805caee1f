use burn::tensor::{Tensor, TensorData};

use crate::kernels::{self, Mask};
use crate::rng::Rng;

/// Dropout (Srivastava et al. 2014, inverted): each element becomes 0 with probability p, and is divided
/// by 1 − p otherwise. With no generator (inference) or p = 0 the input comes back.
///
/// Element `i` is kept when the hash of (a seed drawn from `rng`, `i`) says so: the mask is a pure function
/// of the generator, whatever the number of threads. On Flex it is never stored.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, rng: Option<&mut Rng>) -> Tensor<D> {
    let Some(rng) = rng.filter(|_| p > 0.0) else {
        return x;
    };
    let mask = Mask::new(p, rng.next_u64());
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        return kernels::apply_1(kernels::Dropout(mask), x);
    }
    let mut values = vec![1.0; x.shape().num_elements()];
    mask.apply(0, &mut values);
    let values = Tensor::from_data(TensorData::new(values, x.shape()), &x.device());
    x.mul(values)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;

    use super::*;

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
}
