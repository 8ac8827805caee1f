use std::ops::Range;

use super::{Array, Kernel, SequenceLayout, buffer, parallel, simd};

/// The least number of items in one part of the work.
pub(super) const PART: usize = 512;

/// [q, k, q ∘ k] for every item k of every history, with the query q of its history.
#[derive(Debug)]
pub(crate) struct QueryKeyProducts {
    pub(crate) layout: SequenceLayout,
}

/// Σ_t w_t k_t over the items of each history.
#[derive(Debug)]
pub(crate) struct WeightedSums {
    pub(crate) layout: SequenceLayout,
}

/// `f` of every part of the histories, with what of two outputs is theirs: of one with `width` numbers for each history
/// and one with as many for each item.
fn histories(
    layout: &SequenceLayout,
    (mut of_history, width): (&mut [f32], usize),
    (mut of_item, item_width): (&mut [f32], usize),
    f: impl Fn(Range<usize>, &mut [f32], &mut [f32]) + Sync,
) {
    let mut tasks = Vec::new();
    for part in layout.parts(PART) {
        let n_items: usize = part.clone().map(|history| layout.rows(history).len()).sum();
        let (first, rest) = of_history.split_at_mut(part.len() * width);
        let (items, rest_of_items) = of_item.split_at_mut(n_items * item_width);
        (of_history, of_item) = (rest, rest_of_items);
        tasks.push((part, first, items));
    }
    parallel::each(tasks, |(part, first, items)| f(part, first, items));
}

/// Refuses arrays that are not of these histories; gives d.
fn check(layout: &SequenceLayout, per_history: &Array, keys: &Array) -> usize {
    let ([n, _], [n_items, d]) = (per_history.shape(), keys.shape());
    assert_eq!((n, n_items), (layout.n_sequences(), layout.n_rows()), "histories and their items");
    d
}

impl Kernel<2> for QueryKeyProducts {
    fn forward(&self, [queries, keys]: [Array; 2], tracked: bool) -> (Array, Vec<Array>) {
        let d = check(&self.layout, &queries, &keys);
        let mut y = buffer::take(self.layout.n_rows() * 3 * d);
        let (q, k, layout) = (queries.values(), keys.values(), &self.layout);
        histories(layout, (&mut [], 0), (&mut y, 3 * d), |part, _, y| {
            let mut rows = y.chunks_exact_mut(3 * d);
            for history in part {
                let q = &q[history * d..][..d];
                for (row, y) in layout.rows(history).zip(&mut rows) {
                    let k = &k[row * d..][..d];
                    y[..d].copy_from_slice(q);
                    y[d..2 * d].copy_from_slice(k);
                    y[2 * d..].iter_mut().zip(q.iter().zip(k)).for_each(|(y, (q, k))| *y = q * k);
                }
            }
        });
        let y = Array::new(y, [layout.n_rows(), 3 * d]);
        (y, if tracked { vec![queries, keys] } else { Vec::new() })
    }

    /// With the gradient (a, b, c) of a row: ∂q = Σ_t a_t + c_t ∘ k_t, ∂k = b + c ∘ q.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let (q, k, layout) = (saved[0].values(), saved[1].values(), &self.layout);
        let d = saved[1].width();
        let (mut grad_q, mut grad_k) = (buffer::take(q.len()), buffer::take(k.len()));
        histories(layout, (&mut grad_q, d), (&mut grad_k, d), |part, grad_q, grad_k| {
            let grad = grad.values();
            simd::vectorized(
                #[inline(always)]
                move || {
                    let mut rows = grad_k.chunks_exact_mut(d);
                    for (history, grad_q) in part.zip(grad_q.chunks_exact_mut(d)) {
                        let q = &q[history * d..][..d];
                        grad_q.fill(0.0);
                        for (row, grad_k) in layout.rows(history).zip(&mut rows) {
                            let (k, grad) = (&k[row * d..][..d], &grad[row * 3 * d..][..3 * d]);
                            let (a, b, c) = (&grad[..d], &grad[d..2 * d], &grad[2 * d..]);
                            for i in 0..d {
                                grad_q[i] += c[i].mul_add(k[i], a[i]);
                                grad_k[i] = c[i].mul_add(q[i], b[i]);
                            }
                        }
                    }
                },
            );
        });
        [Some(saved[0].with_values(grad_q)), Some(saved[1].with_values(grad_k))]
    }
}

impl Kernel<2> for WeightedSums {
    fn forward(&self, [weights, keys]: [Array; 2], tracked: bool) -> (Array, Vec<Array>) {
        let (layout, [n_items, d]) = (&self.layout, keys.shape());
        assert_eq!((weights.values().len(), n_items), (n_items, layout.n_rows()), "a weight for each item");
        let mut y = buffer::take(layout.n_sequences() * d);
        let (w, k) = (weights.values(), keys.values());
        histories(layout, (&mut y, d), (&mut [], 0), |part, y, _| {
            simd::vectorized(
                #[inline(always)]
                move || {
                    for (history, y) in part.zip(y.chunks_exact_mut(d)) {
                        y.fill(0.0);
                        for row in layout.rows(history) {
                            simd::axpy(y, w[row], &k[row * d..][..d]);
                        }
                    }
                },
            );
        });
        let y = Array::new(y, [layout.n_sequences(), d]);
        (y, if tracked { vec![weights, keys] } else { Vec::new() })
    }

    /// ∂w_t = ⟨g, k_t⟩, ∂k_t = w_t g.
    fn backward(&self, saved: Vec<Array>, grad: Array, _: [bool; 2]) -> [Option<Array>; 2] {
        let (w, k, layout, d) = (saved[0].values(), saved[1].values(), &self.layout, grad.width());
        let grad = grad.values();
        let mut grad_w = buffer::take(w.len());
        let mut grad_k = buffer::take(k.len());
        histories(layout, (&mut [], 0), (&mut grad_k, d), |part, _, grad_k| {
            let mut rows = grad_k.chunks_exact_mut(d);
            for history in part {
                let grad = &grad[history * d..][..d];
                for (row, grad_k) in layout.rows(history).zip(&mut rows) {
                    grad_k.iter_mut().zip(grad).for_each(|(grad_k, grad)| *grad_k = w[row] * grad);
                }
            }
        });
        histories(layout, (&mut [], 0), (&mut grad_w, 1), |part, _, grad_w| {
            simd::vectorized(
                #[inline(always)]
                move || {
                    let mut rows = grad_w.iter_mut();
                    for history in part {
                        let grad = &grad[history * d..][..d];
                        for (row, grad_w) in layout.rows(history).zip(&mut rows) {
                            *grad_w = simd::dot(grad, &k[row * d..][..d]);
                        }
                    }
                },
            );
        });
        [Some(saved[0].with_values(grad_w)), Some(saved[1].with_values(grad_k))]
    }
}
