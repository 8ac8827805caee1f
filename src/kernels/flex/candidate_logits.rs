use super::{Array, Bags, Kernel, buffer, embedding_bag, parallel, simd};

/// The multiplications of one part of the queries.
const PART: usize = 1 << 16;

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
        // Both gradients are sums of rows, weighted by the gradient of their logit.
        let bags = Bags::of_equal_size(self.k, self.candidates.clone(), grad.values().to_vec());
        let [queries_needed, items_needed] = needed;
        [
            queries_needed.then(|| queries.with_values(embedding_bag::sum(&bags, items.values(), d, 0.0))),
            items_needed
                .then(|| items.with_values(embedding_bag::sum(&bags.transpose(m), queries.values(), d, 0.0))),
        ]
    }
}
