use super::{Array, Dropout, Kernel, Mask, buffer, parallel, simd};

/// The numbers of one part of the work.
const PART: usize = 1 << 14;

/// y = r + x · mask / (1 − p), or r + x without a mask. The residual r hands its gradient on untouched.
///
/// Inputs: x and r, of one shape.
#[derive(Debug)]
pub(crate) struct DropoutAdd(pub(crate) Option<Mask>);

impl Kernel<2> for DropoutAdd {
    fn forward(&self, [x, residual]: [Array; 2], _: bool) -> (Array, Vec<Array>) {
        let (input, residual) = (x.values(), residual.values());
        assert_eq!(input.len(), residual.len(), "x and the residual have one shape");
        let mut values = buffer::take(input.len());
        parallel::rows(&mut values, 1, PART, |range, y| {
            let (x, residual) = (&input[range.clone()], &residual[range.clone()]);
            let mask = self.0.map(|mask| mask.from(range.start));
            simd::vectorized(
                #[inline(always)]
                move || {
                    let all = y.iter_mut().zip(x.iter().zip(residual));
                    match mask {
                        Some(mask) => {
                            (0..).zip(all).for_each(|(i, (y, (x, r)))| *y = x.mul_add(mask(i), *r));
                        }
                        None => all.for_each(|(y, (x, r))| *y = x + r),
                    }
                },
            );
        });
        (x.with_values(values), Vec::new())
    }

    fn backward(&self, _: Vec<Array>, grad: Array, [x_needed, _]: [bool; 2]) -> [Option<Array>; 2] {
        let of_x = x_needed.then(|| match self.0 {
            Some(mask) => Dropout(mask).run(grad.clone()),
            None => grad.clone(),
        });
        [of_x, Some(grad)]
    }
}
