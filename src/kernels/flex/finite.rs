use super::{Array, Kernel, parallel, simd::vectorized};

/// One number: 0 if all are finite, else NaN.
#[derive(Debug)]
pub(crate) struct ZeroIfFinite;

impl Kernel<1> for ZeroIfFinite {
    fn forward(&self, [x]: [Array; 1], _: bool) -> (Array, Vec<Array>) {
        let finite = parallel::each(x.values().chunks(1 << 18).collect(), |x: &[f32]| {
            vectorized(
                #[inline(always)]
                move || x.iter().fold(true, |all, x| all & x.is_finite()),
            )
        });
        let zero = if finite.into_iter().all(|finite| finite) { 0.0 } else { f32::NAN };
        (Array::new(vec![zero], [1]), Vec::new())
    }

    fn backward(&self, _: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        unreachable!("weights outside autodiff have no gradient {grad:?}")
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use crate::kernels::{composed, zero_if_finite};

    #[test]
    fn one_number_that_is_not_finite_is_enough() {
        const N: usize = 600_001;
        let with = |place: usize, value: f32| {
            let mut x = vec![1e30; N];
            x[place] = value;
            Tensor::<1>::from_floats(&x[..], &Device::flex())
        };
        for place in [0, 300_000, N - 1] {
            for (value, finite) in [(-3.4e38, true), (f32::NAN, false), (f32::NEG_INFINITY, false)] {
                let run = || zero_if_finite(with(place, value)).into_scalar::<f32>() == 0.0;
                assert_eq!([run(), composed(run)], [finite; 2], "{value} at {place}");
            }
        }
    }
}
