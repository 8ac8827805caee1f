use super::{Array, Kernel, buffer, parallel, simd};

/// The numbers of one part of the work.
const PART: usize = 1 << 14;

/// y = x / √(‖x‖² + ε) for each row x.
#[derive(Debug)]
pub(crate) struct L2Normalize {
    pub(crate) epsilon: f32,
}

impl Kernel<1> for L2Normalize {
    fn forward(&self, [x]: [Array; 1], tracked: bool) -> (Array, Vec<Array>) {
        let (d, epsilon) = (x.width().max(1), self.epsilon);
        let mut y = buffer::take(x.values().len());
        parallel::rows(&mut y, d, PART / d, |rows, y| {
            let x = &x.values()[rows.start * d..rows.end * d];
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                        let inverse = (simd::dot(x, x) + epsilon).sqrt().recip();
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * inverse);
                    }
                },
            );
        });
        let y = x.with_values(y);
        (y, if tracked { vec![x] } else { Vec::new() })
    }

    /// (g − x ⟨x, g⟩ / (‖x‖² + ε)) / √(‖x‖² + ε) for the gradient g of a row.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        let (x, d, epsilon) = (saved[0].values(), grad.width().max(1), self.epsilon);
        let mut grad_x = buffer::take(x.len());
        parallel::rows(&mut grad_x, d, PART / d, |rows, grad_x| {
            let range = rows.start * d..rows.end * d;
            let (x, grad) = (&x[range.clone()], &grad.values()[range]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = x.chunks_exact(d).zip(grad.chunks_exact(d));
                    for (grad_x, (x, grad)) in grad_x.chunks_exact_mut(d).zip(rows) {
                        let inverse = (simd::dot(x, x) + epsilon).recip();
                        let (along, scale) = (simd::dot(x, grad) * inverse, inverse.sqrt());
                        for (grad_x, (x, grad)) in grad_x.iter_mut().zip(x.iter().zip(grad)) {
                            *grad_x = (grad - x * along) * scale;
                        }
                    }
                },
            );
        });
        [Some(grad.with_values(grad_x))]
    }
}
