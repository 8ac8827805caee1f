use burn::tensor::{Tensor, TensorData};

use crate::rng::{Rng, mix};

/// Dropout (Srivastava et al. 2014, inverted): each element becomes 0 with probability p, and is divided
/// by 1 − p otherwise. With no generator (inference) or p = 0 the input comes back.
///
/// Element `i` is kept when the hash of (a seed drawn from `rng`, `i`) says so: the mask is a pure function
/// of the generator, whatever the number of threads.
pub fn dropout<const D: usize>(x: Tensor<D>, p: f64, rng: Option<&mut Rng>) -> Tensor<D> {
    let Some(rng) = rng.filter(|_| p > 0.0) else {
        return x;
    };
    let seed = rng.next_u64();
    let threshold = (p * 2f64.powi(32)) as u64;
    let scale = (1.0 / (1.0 - p)) as f32;
    let keep = |half: u64| if half >= threshold { scale } else { 0.0 };
    let n = x.shape().num_elements();
    let mut mask = Vec::with_capacity(n + 1);
    for pair in 0..n.div_ceil(2) as u64 {
        let bits = mix(seed.wrapping_add(pair.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        mask.extend([keep(bits >> 32), keep(bits & 0xFFFF_FFFF)]);
    }
    mask.truncate(n);
    let mask = Tensor::from_data(TensorData::new(mask, x.shape()), &x.device());
    x.mul(mask)
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
