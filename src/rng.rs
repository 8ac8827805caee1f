//! The one source of chance: a small seeded generator whose streams never depend on another crate's
//! version, on threads, or on what else was drawn before.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// A seeded generator (SplitMix64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
/// generators"). The same seed gives the same numbers on every platform and in every release of the
/// same major version; its state is one word, so it is saved with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    state: u64,
}

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: a bijection of `u64` whose output bits look independent of its input.
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: mix(seed ^ GOLDEN_GAMMA) }
    }

    /// The generator of a named stream of a seed, for example `(seed, [epoch, step])`: independent of
    /// every other stream and of the order in which streams are made.
    pub fn stream(seed: u64, path: &[u64]) -> Self {
        path.iter().fold(Self::new(seed), |rng, &part| Self {
            state: mix(
                rng.state.wrapping_add(GOLDEN_GAMMA) ^ mix(part.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA))
            ),
        })
    }

    /// 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// Uniform in `[0, 1)`, on a grid of 2⁻²⁴.
    #[inline]
    pub fn uniform_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in `[0, 1)`, on a grid of 2⁻⁵³.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n` (Lemire 2019, without the rejection: the bias is below n · 2⁻⁶⁴); 0 for `n = 0`.
    #[inline]
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Puts the slice into a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_numbers() {
        let draw = |mut rng: Rng| [rng.next_u64(), rng.next_u64()];
        assert_eq!(draw(Rng::new(1)), draw(Rng::new(1)));
        assert_ne!(draw(Rng::new(1)), draw(Rng::new(2)));
        assert_ne!(draw(Rng::stream(1, &[0])), draw(Rng::stream(1, &[1])));
        assert_ne!(draw(Rng::stream(1, &[0, 1])), draw(Rng::stream(1, &[1, 0])));
        assert_eq!(Rng::stream(5, &[]), Rng::new(5));
    }

    #[test]
    fn moments() {
        let mut rng = Rng::new(3);
        let n = 200_000;
        let (mut uniform, mut normal, mut square) = (0.0, 0.0, 0.0);
        let mut counts = [0usize; 7];
        for _ in 0..n {
            uniform += f64::from(rng.uniform_f32());
            let z = rng.normal();
            normal += z;
            square += z * z;
            counts[rng.below(7)] += 1;
        }
        let n = n as f64;
        assert!((uniform / n - 0.5).abs() < 0.004);
        assert!((normal / n).abs() < 0.01 && (square / n - 1.0).abs() < 0.02);
        assert!(counts.iter().all(|&c| (c as f64 / n - 1.0 / 7.0).abs() < 0.004), "{counts:?}");
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut values: Vec<u32> = (0..100).collect();
        Rng::new(9).shuffle(&mut values);
        assert_ne!(values, (0..100).collect::<Vec<_>>());
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }
}
