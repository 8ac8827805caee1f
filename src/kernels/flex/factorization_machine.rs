use super::{Array, Kernel, buffer, parallel, simd};

/// The numbers of one part of the work.
const PART: usize = 1 << 14;

/// y = ½ Σ_j ((Σ_f x_fj)² − Σ_f x_fj²) over the vectors x_f of width d of each row.
#[derive(Debug)]
pub(crate) struct FactorizationMachine {
    pub(crate) d: usize,
}

impl Kernel<1> for FactorizationMachine {
    /// Keeps Σ_f x_f of each row beside the input.
    fn forward(&self, [x]: [Array; 1], tracked: bool) -> (Array, Vec<Array>) {
        let ([n, width], d) = (x.shape(), self.d);
        let mut y = buffer::take(n);
        let mut sums = buffer::take(n * d);
        parallel::rows_of_each(n, PART / width.max(1), [&mut y, &mut sums], |rows, [y, sums]| {
            let x = &x.values()[rows.start * width..rows.end * width];
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = x.chunks_exact(width).zip(sums.chunks_exact_mut(d));
                    for (y, (x, sum)) in y.iter_mut().zip(rows) {
                        sum.fill(0.0);
                        x.chunks_exact(d).for_each(|x| simd::axpy(sum, 1.0, x));
                        *y = 0.5 * (simd::dot(sum, sum) - simd::dot(x, x));
                    }
                },
            );
        });
        let y = Array::new(y, [n, 1]);
        (y, if tracked { vec![x, Array::new(sums, [n, d])] } else { Vec::new() })
    }

    /// ∂y/∂x_f = Σ_g x_g − x_f.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let (x, sums, d) = (&saved[0], saved[1].values(), self.d);
        let [_, width] = x.shape::<2>();
        let mut grad_x = buffer::take(x.values().len());
        parallel::rows(&mut grad_x, width, PART / width.max(1), |rows, grad_x| {
            let (sums, grad) = (&sums[rows.start * d..rows.end * d], &grad.values()[rows.clone()]);
            let x = &x.values()[rows.start * width..rows.end * width];
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = x.chunks_exact(width).zip(sums.chunks_exact(d).zip(grad));
                    for (grad_x, (x, (sum, grad))) in grad_x.chunks_exact_mut(width).zip(rows) {
                        for (grad_x, x) in grad_x.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                            for (grad_x, (x, sum)) in grad_x.iter_mut().zip(x.iter().zip(sum)) {
                                *grad_x = grad * (sum - x);
                            }
                        }
                    }
                },
            );
        });
        [Some(x.with_values(grad_x))]
    }
}
