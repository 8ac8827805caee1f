use super::{Array, Kernel, buffer, parallel, simd};

/// The rows of one part of the work.
const ROWS: usize = 128;

/// The most partial sums of the weights' gradient.
const MAX_PARTS: usize = 16;

/// y = x₀ ⟨x, w⟩ + b + x for each row, with w and b as the two rows of one matrix.
#[derive(Debug)]
pub(crate) struct CrossVector;

impl Kernel<3> for CrossVector {
    /// Keeps ⟨x, w⟩ beside the inputs.
    fn forward(&self, [x0, x, wb]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let [n, d] = x0.shape();
        assert_eq!((x.shape(), wb.shape()), ([n, d], [2, d]), "x, and w and b, of {n} rows of {d}");
        let (w, b) = wb.values().split_at(d);
        let (mut y, mut products) = (buffer::take(n * d), buffer::take(n));
        parallel::rows_of_each(n, ROWS, [&mut y, &mut products], |rows, [y, products]| {
            let range = rows.start * d..rows.end * d;
            let (x0, x) = (&x0.values()[range.clone()], &x.values()[range]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let inputs = x0.chunks_exact(d).zip(x.chunks_exact(d)).zip(products);
                    for (y, ((x0, x), product)) in y.chunks_exact_mut(d).zip(inputs) {
                        *product = simd::dot(x, w);
                        let inputs = x0.iter().zip(x).zip(b);
                        for (y, ((x0, x), b)) in y.iter_mut().zip(inputs) {
                            *y = x0.mul_add(*product, b + x);
                        }
                    }
                },
            );
        });
        let y = x0.with_values(y);
        let products = Array::new(products, [n]);
        (y, if tracked { vec![x0, x, wb, products] } else { Vec::new() })
    }

    /// With s = ⟨x, w⟩ and ∂s = ⟨g, x₀⟩: ∂x₀ = s g, ∂x = g + ∂s w, ∂w = Σ ∂s x, ∂b = Σ g.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let [n, d] = saved[0].shape();
        let [x0, x, wb, products] = [0, 1, 2, 3].map(|i| saved[i].values());
        let w = &wb[..d];
        let (mut grad_x0, mut grad_x) = (buffer::take(n * d), buffer::take(n * d));
        let size = n.div_ceil(MAX_PARTS).max(ROWS);
        let outputs = [&mut grad_x0[..], &mut grad_x];
        let partial = parallel::rows_of_each(n, size, outputs, |rows, [grad_x0, grad_x]| {
            let range = rows.start * d..rows.end * d;
            let (x0, x, grad) = (&x0[range.clone()], &x[range.clone()], &grad.values()[range]);
            let mut grad_wb = buffer::take_zeroed(2 * d);
            let (grad_w, grad_b) = grad_wb.split_at_mut(d);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let outputs = grad_x0.chunks_exact_mut(d).zip(grad_x.chunks_exact_mut(d));
                    let inputs = x0.chunks_exact(d).zip(x.chunks_exact(d)).zip(grad.chunks_exact(d));
                    let all = outputs.zip(inputs).zip(&products[rows]);
                    for (((grad_x0, grad_x), ((x0, x), grad)), product) in all {
                        let grad_product = simd::dot(grad, x0);
                        for (i, grad) in grad.iter().enumerate() {
                            grad_x0[i] = product * grad;
                            grad_x[i] = grad_product.mul_add(w[i], *grad);
                        }
                        simd::axpy(grad_w, grad_product, x);
                        simd::axpy(grad_b, 1.0, grad);
                    }
                },
            );
            grad_wb
        });
        let mut grad_wb = parallel::sum(partial);
        grad_wb.resize(2 * d, 0.0);
        [
            Some(saved[0].with_values(grad_x0)),
            Some(saved[1].with_values(grad_x)),
            Some(saved[2].with_values(grad_wb)),
        ]
    }
}

/// y = x₀ ∘ z + x.
#[derive(Debug)]
pub(crate) struct MultiplyAdd;

impl Kernel<3> for MultiplyAdd {
    fn forward(&self, [x0, z, x]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let d = x0.width();
        let mut y = buffer::take(x0.values().len());
        assert!(z.values().len() == y.len() && x.values().len() == y.len(), "three arrays of one shape");
        parallel::rows(&mut y, d, ROWS, |rows, y| {
            let range = rows.start * d..rows.end * d;
            let [x0, z, x] = [&x0, &z, &x].map(|input| &input.values()[range.clone()]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let inputs = x0.iter().zip(z).zip(x);
                    y.iter_mut().zip(inputs).for_each(|(y, ((x0, z), x))| *y = x0.mul_add(*z, *x));
                },
            );
        });
        let y = x0.with_values(y);
        (y, if tracked { vec![x0, z] } else { Vec::new() })
    }

    /// ∂x₀ = g ∘ z, ∂z = g ∘ x₀, ∂x = g.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 3]) -> [Option<Array>; 3] {
        let [n, d] = saved[0].shape();
        let (mut grad_x0, mut grad_z) = (buffer::take(n * d), buffer::take(n * d));
        parallel::rows_of_each(n, ROWS, [&mut grad_x0, &mut grad_z], |rows, [grad_x0, grad_z]| {
            let range = rows.start * d..rows.end * d;
            let [x0, z, grad] = [&saved[0], &saved[1], &grad].map(|input| &input.values()[range.clone()]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let outputs = grad_x0.iter_mut().zip(grad_z);
                    for ((grad_x0, grad_z), ((x0, z), grad)) in outputs.zip(x0.iter().zip(z).zip(grad)) {
                        (*grad_x0, *grad_z) = (grad * z, grad * x0);
                    }
                },
            );
        });
        [Some(saved[0].with_values(grad_x0)), Some(saved[1].with_values(grad_z)), Some(grad)]
    }
}
