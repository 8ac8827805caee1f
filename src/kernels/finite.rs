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
