use super::{Array, Kernel, buffer, parallel, simd};

/// The multiplications of one part of the queries.
const PART: usize = 1 << 16;

/// The most parts that the items are cut into.
const MAX_PARTS: usize = 64;

/// s_ij = ⟨q_i, v_c⟩ for the candidates c = c_i1, …, c_ik of each row i.
///
/// Inputs: queries q `[n, d]` and items v `[m, d]`. Output `[n, k]`.
#[derive(Debug)]
pub(crate) struct CandidateLogits {
    /// The rows of `items` that are the candidates, `[n, k]`.
    candidates: Vec<u32>,
    k: usize,
}

impl CandidateLogits {
    /// `k` candidates a row among `m` items.
    ///
    /// # Panics
    /// If a candidate is none of them, or there are none.
    pub(crate) fn new(candidates: Vec<i64>, k: usize, m: usize) -> Self {
        assert!(k > 0, "at least one candidate a row");
        let check = |candidate| match u32::try_from(candidate) {
            Ok(row) if (row as usize) < m => row,
            _ => panic!("candidate {candidate} of {m} items"),
        };
        Self { candidates: candidates.into_iter().map(check).collect(), k }
    }

    /// Σ_j g_ij v_c for each row i.
    fn grad_queries(&self, items: &[f32], grad: &[f32], d: usize) -> Vec<f32> {
        let k = self.k;
        let mut sums = buffer::take(grad.len() / k * d);
        parallel::rows(&mut sums, d, PART / (k * d).max(1), |rows, sums| {
            let range = rows.start * k..rows.end * k;
            let (candidates, grad) = (&self.candidates[range.clone()], &grad[range]);
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = candidates.chunks_exact(k).zip(grad.chunks_exact(k));
                    for (sum, (candidates, grad)) in sums.chunks_exact_mut(d).zip(rows) {
                        sum.fill(0.0);
                        for (&candidate, &grad) in candidates.iter().zip(grad) {
                            simd::axpy(sum, grad, &items[candidate as usize * d..][..d]);
                        }
                    }
                },
            );
        });
        sums
    }

    /// Σ g_ij q_i over the places (i, j) of each item, in their order.
    fn grad_items(&self, queries: &[f32], grad: &[f32], [m, d]: [usize; 2]) -> Vec<f32> {
        let shift = m.div_ceil(MAX_PARTS).next_power_of_two().trailing_zeros();
        let (starts, terms) = self.terms_of_parts(grad, m, shift);
        let mut sums = buffer::take(m * d);
        parallel::rows(&mut sums, d, 1 << shift, |items, sums| {
            let part = items.start >> shift;
            let terms = &terms[starts[part]..starts[part + 1]];
            simd::vectorized(
                #[inline(always)]
                move || {
                    sums.fill(0.0);
                    for term in terms {
                        let sum = &mut sums[(term.item as usize - items.start) * d..][..d];
                        simd::axpy(sum, term.grad, &queries[term.query as usize * d..][..d]);
                    }
                },
            );
        });
        sums
    }

    /// The terms of each part of the `m` items, whose parts have 2^shift items, in the order of the queries:
    /// those of part p are `terms[starts[p]..starts[p + 1]]`.
    fn terms_of_parts(&self, grad: &[f32], m: usize, shift: u32) -> (Vec<usize>, Vec<Term>) {
        let mut starts = vec![0; m.div_ceil(1 << shift) + 1];
        for &item in &self.candidates {
            starts[(item >> shift) as usize + 1] += 1;
        }
        for part in 1..starts.len() {
            starts[part] += starts[part - 1];
        }
        let mut next = starts.clone();
        let mut terms = vec![Term::default(); self.candidates.len()];
        let rows = self.candidates.chunks(self.k).zip(grad.chunks(self.k));
        for (query, (items, grads)) in (0..).zip(rows) {
            for (&item, &grad) in items.iter().zip(grads) {
                let next = &mut next[(item >> shift) as usize];
                terms[*next] = Term { query, item, grad };
                *next += 1;
            }
        }
        (starts, terms)
    }
}

/// A term grad · q of the gradient of an item.
#[derive(Clone, Copy, Default)]
struct Term {
    query: u32,
    item: u32,
    grad: f32,
}

impl Kernel<2> for CandidateLogits {
    fn forward(&self, [queries, items]: [Array; 2], tracked: bool) -> (Array, Vec<Array>) {
        let ([n, d], [_, width], k) = (queries.shape(), items.shape::<2>(), self.k);
        assert_eq!(width, d, "the width of items and queries");
        assert_eq!(self.candidates.len(), n * k, "{k} candidates for each query");
        let mut logits = buffer::take(n * k);
        parallel::rows(&mut logits, k, PART / (k * d).max(1), |rows, logits| {
            let candidates = &self.candidates[rows.start * k..rows.end * k];
            let (queries, items) = (&queries.values()[rows.start * d..], items.values());
            simd::vectorized(
                #[inline(always)]
                move || {
                    let rows = queries.chunks_exact(d).zip(candidates.chunks_exact(k));
                    for (logits, (query, candidates)) in logits.chunks_exact_mut(k).zip(rows) {
                        for (logit, &candidate) in logits.iter_mut().zip(candidates) {
                            *logit = simd::dot(query, &items[candidate as usize * d..][..d]);
                        }
                    }
                },
            );
        });
        let saved = if tracked { vec![queries, items] } else { Vec::new() };
        (Array::new(logits, [n, k]), saved)
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 2]) -> [Option<Array>; 2] {
        let (queries, items) = (&saved[0], &saved[1]);
        let [m, d] = items.shape();
        let [queries_needed, items_needed] = needed;
        [
            queries_needed.then(|| queries.with_values(self.grad_queries(items.values(), grad.values(), d))),
            items_needed.then(|| items.with_values(self.grad_items(queries.values(), grad.values(), [m, d]))),
        ]
    }
}
