use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{on_cpu, simd};
use crate::rng::{Rng, mix};

/// Which elements dropout keeps: a hash of the seed and the element's place, so that it is the same for
/// any number of threads, and is computed again rather than stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    seed: [u32; 2],
    /// An element is dropped when its hash is below p · 2³².
    threshold: u32,
    /// 1 / (1 − p)
    scale: f32,
}

impl Mask {
    /// Drops with probability `p` in [0, 1).
    pub(crate) fn new(p: f64, seed: u64) -> Self {
        Self {
            seed: [mix(seed) as u32, (mix(seed) >> 32) as u32],
            threshold: (p * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - p)) as f32,
        }
    }

    /// A mask with a seed drawn from `rng`; none without a generator (inference) or for p = 0.
    pub(crate) fn draw(p: f64, rng: Option<&mut Rng>) -> Option<Self> {
        rng.filter(|_| p > 0.0).map(|rng| Self::new(p, rng.next_u64()))
    }

    /// The mask of the elements from a place on: places count within 2³² elements.
    #[inline(always)]
    pub(crate) fn from(self, place: usize) -> impl Fn(u32) -> f32 + Copy {
        let Self { seed: [low, high], threshold, scale } = self;
        let start = place as u32;
        let high = high ^ ((place as u64 >> 32) as u32).wrapping_mul(0x85EB_CA6B);
        #[inline(always)]
        move |offset: u32| {
            // Two rounds of multiplication and shifts, with one half of the seed before each.
            let mut hash = start.wrapping_add(offset).wrapping_mul(0x9E37_79B9) ^ low;
            hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D) ^ high;
            hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
            hash ^= hash >> 16;
            if hash >= threshold { scale } else { 0.0 }
        }
    }

    /// The mask of elements 0..n on a device. A GPU computes it from the places, the same to the bit, rather
    /// than wait for as many numbers as the tensor has.
    pub(crate) fn values(self, n: usize, device: &Device) -> Tensor<1> {
        if on_cpu(device) {
            let mut values = vec![1.0; n];
            self.apply(0, &mut values);
            return Tensor::from_data(TensorData::new(values, [n]), device);
        }
        assert!(u32::try_from(n).is_ok(), "dropout of {n} elements");
        let Self { seed: [low, high], threshold, scale } = self;
        let mixed = |hash: Tensor<1, Int>, shift: u32| {
            hash.clone().bitwise_xor(hash.bitwise_right_shift_scalar(shift))
        };
        // Burn's `arange` makes the numbers on the host.
        let width = n.isqrt().max(1);
        let up_to = |n: usize| Tensor::<1, Int>::arange(0..n as i64, (device, DType::U32));
        let starts = up_to(n.div_ceil(width)).mul_scalar(width as u32).unsqueeze_dim::<2>(1);
        let places = (starts + up_to(width).unsqueeze_dim(0)).flatten::<1>(0, 1).narrow(0, 0, n);
        let hash = places.mul_scalar(0x9E37_79B9u32).bitwise_xor_scalar(low);
        let hash = mixed(hash, 16).mul_scalar(0x7FEB_352Du32).bitwise_xor_scalar(high);
        let hash = mixed(mixed(hash, 15).mul_scalar(0x846C_A68Bu32), 16);
        hash.greater_equal_scalar(threshold).float().mul_scalar(scale)
    }

    /// x ← x · mask, for the elements from `place` on.
    pub(crate) fn apply(self, place: usize, x: &mut [f32]) {
        let mask = self.from(place);
        simd::vectorized(
            #[inline(always)]
            move || {
                for (offset, x) in (0u32..).zip(x) {
                    *x *= mask(offset);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 for kept, by element.
    fn kept(p: f64, seed: u64, place: usize, n: usize) -> Vec<f64> {
        let mut x = vec![1.0; n];
        Mask::new(p, seed).apply(place, &mut x);
        x.iter().map(|&x| f64::from(u8::from(x > 0.0))).collect()
    }

    /// The correlation of two masks of the same probability, in standard errors.
    fn correlation(x: &[f64], y: &[f64], keep: f64) -> f64 {
        let covariance: f64 = x.iter().zip(y).map(|(x, y)| (x - keep) * (y - keep)).sum();
        covariance / (keep * (1.0 - keep)) / (x.len() as f64).sqrt()
    }

    #[test]
    fn elements_rows_and_seeds_are_kept_independently() {
        const N: usize = 1 << 20;
        for p in [0.1, 0.2, 0.5, 0.9] {
            let keep = 1.0 - p;
            let mask = kept(p, 1, 0, N);
            let error = (mask.iter().sum::<f64>() / N as f64 - keep) * (N as f64 / (p * keep)).sqrt();
            assert!(error.abs() < 4.0, "p {p}: {error} standard errors");
            for lag in [1, 2, 3, 7, 8, 32, 50, 64, 128, 200, 4096, 65_536] {
                let c = correlation(&mask[..N - lag], &mask[lag..], keep);
                assert!(c.abs() < 4.5, "p {p}, lag {lag}: {c} standard errors");
            }
            for seed in [0, 2, 3, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX] {
                let c = correlation(&mask, &kept(p, seed, 0, N), keep);
                assert!(c.abs() < 4.5, "p {p}, seed {seed}: {c} standard errors");
            }
            let c = correlation(&mask, &kept(p, 1, 1 << 32, N), keep);
            assert!(c.abs() < 4.5, "p {p}: 2³² further on: {c} standard errors");
        }
    }

    #[test]
    fn a_part_is_a_part_of_the_whole() {
        let whole = kept(0.4, 9, 0, 5_000);
        assert_eq!(whole[1_234..2_000], kept(0.4, 9, 1_234, 766));
    }

    #[test]
    fn what_is_kept_is_scaled() {
        let mut x = vec![3.0; 1_000];
        Mask::new(0.25, 3).apply(0, &mut x);
        assert!(x.iter().all(|&x| x == 0.0 || x == 4.0));
    }
}
