use super::matrix::{Matrix, MatrixMut};
use super::{Array, Kernel, Linear, buffer, parallel, simd};

/// The rows of one part of the work.
const ROWS: usize = 256;

/// The most partial sums of the weights' gradient.
const MAX_PARTS: usize = 8;

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

/// x_L with x₁ = x₀ ∘ z₀ + x₀ and x_{l+1} = x₀ ∘ (x_l W_l + b_l) + x_l for l ≥ 1, from x₀ and z₀ `[n, d]`, the matrices W one
/// below another `[(L − 1) d, d]` and the vectors b `[L − 1, d]`: rows stay in the cache through all layers, forward and
/// backward.
#[derive(Debug)]
pub(crate) struct CrossMatrices;

impl Kernel<4> for CrossMatrices {
    /// Keeps z_l = x_l W_l + b_l beside the inputs, for each [`ROWS`] rows those of one layer behind those of another.
    fn forward(&self, [x0, z0, w, b]: [Array; 4], tracked: bool) -> (Array, Vec<Array>) {
        let ([n, d], [n_layers, _]) = (x0.shape(), b.shape());
        assert_eq!(z0.shape(), [n, d], "a product for each row");
        assert_eq!(
            (w.shape(), b.width()),
            ([n_layers * d, d], d),
            "W and b of {n_layers} layers of width {d}"
        );
        let (mut y, mut z) = (buffer::take(n * d), buffer::take(if tracked { n * n_layers * d } else { 0 }));
        parallel::rows_of_each(n, ROWS, [&mut y, &mut z], |rows, [x, z]| {
            let [x0, z0] = [&x0, &z0].map(|x| &x.values()[rows.start * d..rows.end * d]);
            x.copy_from_slice(x0);
            multiply_add(x0, z0, x);
            let mut scratch = buffer::take(if tracked { 0 } else { x.len() });
            for (l, b) in b.values().chunks_exact(d).enumerate() {
                let w = Matrix::new(&w.values()[l * d * d..][..d * d], d, d);
                let z_l = if tracked { &mut z[l * x.len()..][..x.len()] } else { &mut scratch[..] };
                MatrixMut::new(z_l, rows.len(), d).set(Matrix::new(x, rows.len(), d), w);
                Linear(None).finish(b, z_l, &mut []);
                multiply_add(x0, z_l, x);
            }
            buffer::give(scratch);
        });
        let y = x0.with_values(y);
        let z = Array::new(z, [if tracked { n } else { 0 }, n_layers * d]);
        (y, if tracked { vec![x0, z0, w, b, z] } else { Vec::new() })
    }

    /// From the last layer to the first, with g = ∂x_{l+1}: ∂z_l = g ∘ x₀, ∂x₀ += g ∘ z_l, ∂W_l = x_lᵀ ∂z_l, ∂b_l = Σ ∂z_l,
    /// ∂x_l = g + ∂z_l W_lᵀ; of what is left, ∂z₀ = g ∘ x₀ and ∂x₀ += g ∘ z₀ + g.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 4]) -> [Option<Array>; 4] {
        let ([n, d], [n_layers, _]) = (saved[0].shape(), saved[3].shape());
        let [x0, z0, w, _, z] = [0, 1, 2, 3, 4].map(|i| saved[i].values());
        let (mut grad_x0, mut grad_z0) = (buffer::take(n * d), buffer::take(n * d));
        let size = n.div_ceil(MAX_PARTS).next_multiple_of(ROWS);
        let outputs = [&mut grad_x0[..], &mut grad_z0];
        let partial = parallel::rows_of_each(n, size, outputs, |part, [grad_x0, grad_z0]| {
            let mut grad_w = buffer::take(n_layers * d * d);
            let mut grad_b = vec![0.0; n_layers * d];
            let [mut grad_z, mut g] = [(); 2].map(|()| buffer::take(ROWS * d));
            let mut inputs = buffer::take(n_layers * ROWS * d);
            for start in part.clone().step_by(ROWS) {
                let rows = start..part.end.min(start + ROWS);
                let (m, range) = (rows.len(), rows.start * d..rows.end * d);
                let [grad_z, g] = [&mut grad_z, &mut g].map(|buffer| &mut buffer[..m * d]);
                let [x0, z0] = [x0, z0].map(|x| &x[range.clone()]);
                let z = &z[rows.start * n_layers * d..rows.end * n_layers * d];
                let z_of = |l: usize| &z[l * m * d..][..m * d];
                let [grad_x0, grad_z0] =
                    [&mut *grad_x0, &mut *grad_z0].map(|grad| &mut grad[(start - part.start) * d..][..m * d]);
                let inputs = &mut inputs[..n_layers * m * d];
                // The input of every layer once more.
                inputs[..m * d].copy_from_slice(x0);
                multiply_add(x0, z0, &mut inputs[..m * d]);
                for l in 1..n_layers {
                    let (before, x) = inputs[(l - 1) * m * d..(l + 1) * m * d].split_at_mut(m * d);
                    x.copy_from_slice(before);
                    multiply_add(x0, z_of(l - 1), x);
                }
                g.copy_from_slice(&grad.values()[range]);
                grad_x0.fill(0.0);
                for l in (0..n_layers).rev() {
                    multiply_add(g, z_of(l), grad_x0);
                    multiply(g, x0, grad_z);
                    let (grad_w, grad_b) = (&mut grad_w[l * d * d..][..d * d], &mut grad_b[l * d..][..d]);
                    let grad_rows = Matrix::new(grad_z, m, d);
                    let x = Matrix::new(&inputs[l * m * d..][..m * d], m, d);
                    MatrixMut::new(grad_w, d, d).begin_or_add(start == part.start, x.t(), grad_rows);
                    sum_rows(grad_z, grad_b);
                    MatrixMut::new(g, m, d).add(grad_rows, Matrix::new(&w[l * d * d..][..d * d], d, d).t());
                }
                multiply(g, x0, grad_z0);
                multiply_add(g, z0, grad_x0);
                grad_x0.iter_mut().zip(&*g).for_each(|(sum, g)| *sum += g);
            }
            [grad_z, g, inputs].into_iter().for_each(buffer::give);
            (grad_w, grad_b)
        });
        let (grad_w, grad_b): (Vec<_>, Vec<_>) = partial.into_iter().unzip();
        // Without rows there are no parts to sum.
        let total = |partial, like: &Array| {
            let mut total = parallel::sum(partial);
            total.resize(like.values().len(), 0.0);
            like.with_values(total)
        };
        let of_rows = [grad_x0, grad_z0].map(|grad| Some(saved[0].with_values(grad)));
        let [grad_x0, grad_z0] = of_rows;
        [grad_x0, grad_z0, Some(total(grad_w, &saved[2])), Some(total(grad_b, &saved[3]))]
    }
}

/// y ← a ∘ b + y.
fn multiply_add(a: &[f32], b: &[f32], y: &mut [f32]) {
    simd::vectorized(
        #[inline(always)]
        move || y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = a.mul_add(*b, *y)),
    );
}

/// y ← a ∘ b.
fn multiply(a: &[f32], b: &[f32], y: &mut [f32]) {
    simd::vectorized(
        #[inline(always)]
        move || y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = a * b),
    );
}

/// sums ← sums + Σ rows.
fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    simd::vectorized(
        #[inline(always)]
        move || rows.chunks_exact(sums.len()).for_each(|row| simd::axpy(sums, 1.0, row)),
    );
}

/// ⟨x, y⟩ for each row x and the row y at its place, `[n, 1]`.
#[derive(Debug)]
pub(crate) struct RowProducts;

impl Kernel<2> for RowProducts {
    fn forward(&self, [x, y]: [Array; 2], tracked: bool) -> (Array, Vec<Array>) {
        let [n, d] = x.shape();
        assert_eq!(y.shape(), [n, d], "two arrays of one shape");
        let mut products = buffer::take(n);
        parallel::rows(&mut products, 1, ROWS, |rows, products| {
            let [x, y] = [&x, &y].map(|input| &input.values()[rows.start * d..rows.end * d]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = x.chunks_exact(d.max(1)).zip(y.chunks_exact(d.max(1)));
                    for (product, (x, y)) in products.iter_mut().zip(rows) {
                        *product = simd::dot(x, y);
                    }
                },
            );
        });
        (Array::new(products, [n, 1]), if tracked { vec![x, y] } else { Vec::new() })
    }

    /// ∂x = g y, ∂y = g x.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let [n, d] = saved[0].shape();
        let (mut grad_x, mut grad_y) = (buffer::take(n * d), buffer::take(n * d));
        parallel::rows_of_each(n, ROWS, [&mut grad_x, &mut grad_y], |rows, [grad_x, grad_y]| {
            let [x, y] = [0, 1].map(|i| &saved[i].values()[rows.start * d..rows.end * d]);
            let grad = &grad.values()[rows];
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (i, grad) in grad.iter().enumerate() {
                        let row = i * d..(i + 1) * d;
                        let outputs = grad_x[row.clone()].iter_mut().zip(&mut grad_y[row.clone()]);
                        for ((grad_x, grad_y), (x, y)) in outputs.zip(x[row.clone()].iter().zip(&y[row])) {
                            (*grad_x, *grad_y) = (grad * y, grad * x);
                        }
                    }
                },
            );
        });
        [Some(saved[0].with_values(grad_x)), Some(saved[1].with_values(grad_y))]
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
