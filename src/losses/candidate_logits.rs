use burn::tensor::{Int, Tensor};

use crate::kernels;

/// The inner products of each query with its own candidates: s_ij = ⟨q_i, v_c⟩ with c = c_ij.
///
/// On Flex only the logits exist; elsewhere the candidates' vectors are gathered, `[n, k, d]`.
///
/// # Shapes
/// - queries: `[n, d]`
/// - items: `[m, d]`
/// - candidates: rows of `items`, `[n, k]`
/// - output: `[n, k]`
///
/// # Panics
/// If the shapes do not fit, or a candidate is no row of `items`.
pub fn candidate_logits(queries: Tensor<2>, items: Tensor<2>, candidates: Tensor<2, Int>) -> Tensor<2> {
    let [n, k] = candidates.dims();
    let [m, d] = items.dims();
    #[cfg(feature = "flex")]
    if kernels::fused(&queries) {
        let kernel = kernels::CandidateLogits::new(kernels::host_ids(candidates), k, m);
        return kernels::apply_2(kernel, queries, items);
    }
    let gathered = kernels::select_rows(items, candidates.reshape([n * k])).reshape([n, k, d]);
    gathered.matmul(queries.unsqueeze_dim::<3>(2)).reshape([n, k])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::kernels::{composed, twin};
    use crate::rng::Rng;

    /// Candidates that repeat within a row and between rows, most of them among the first tenth.
    fn candidates(n: usize, k: usize, m: usize) -> Vec<i64> {
        let mut rng = Rng::new(5);
        (0..n * k)
            .map(|_| {
                let among = if rng.below(3) == 0 { m } else { m.div_ceil(10) };
                rng.below(among) as i64
            })
            .collect()
    }

    fn ids(ids: &[i64], shape: [usize; 2]) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(ids.to_vec(), shape), &Device::flex().autodiff())
    }

    #[test]
    fn equal_their_float64_twin() {
        for (n, k, m, d) in [(1, 1, 1, 1), (4, 3, 7, 5), (3, 2, 200, 33), (2, 5, 3, 64)] {
            let candidates = candidates(n, k, m);
            twin::check(
                &[twin::normal(n * d, 1), twin::normal(m * d, 2)],
                1e-6,
                |inputs| {
                    let [queries, items] =
                        [(0, n), (1, m)].map(|(i, rows)| inputs[i].clone().reshape([rows, d]));
                    candidate_logits(queries, items, ids(&candidates, [n, k])).reshape([n * k])
                },
                |inputs| {
                    let product = |(place, &item): (usize, &i64)| {
                        let (query, item) = (place / k * d, item as usize * d);
                        (0..d).map(|c| inputs[0][query + c] * inputs[1][item + c]).sum()
                    };
                    candidates.iter().enumerate().map(product).collect()
                },
            );
        }
    }

    /// The gradients of queries and items, of those that are tracked.
    fn gradients([n, k, m, d]: [usize; 4], tracked: [bool; 2]) -> [Option<Vec<f32>>; 2] {
        let device = Device::flex().autodiff();
        let [queries, items] = [(n, 1), (m, 2)].map(|(rows, seed)| {
            let x = Tensor::<2>::from_data(TensorData::new(twin::normal(rows * d, seed), [rows, d]), &device);
            if tracked[seed as usize - 1] { x.require_grad() } else { x }
        });
        let logits = candidate_logits(queries.clone(), items.clone(), ids(&candidates(n, k, m), [n, k]));
        let found = (logits.clone() * logits).sum().backward();
        [queries, items].map(|x| x.grad(&found).map(|grad| grad.try_into_vec_as().unwrap()))
    }

    #[test]
    fn many_rows_equal_the_composed_operation_on_any_number_of_threads() {
        let sizes = [1_500, 3, 1_000, 20];
        let run = || gradients(sizes, [true; 2]).map(Option::unwrap);
        for (found, expected) in run().iter().zip(composed(run)) {
            assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-4 * y.abs().max(1.0)));
        }
        twin::is_deterministic(|| run().concat());
        let [queries, items] = run();
        assert_eq!(gradients(sizes, [true, false]), [Some(queries), None]);
        assert_eq!(gradients(sizes, [false, true]), [None, Some(items)]);
        let [queries, items] = gradients([0, 3, 5, 2], [true; 2]).map(Option::unwrap);
        assert!(queries.is_empty() && items == [0.0; 10]);
    }

    #[test]
    fn a_candidate_beyond_the_items_panics() {
        for candidate in [-1, 4] {
            let attempt = || {
                let x = Tensor::<2>::ones([4, 2], &Device::flex());
                candidate_logits(x.clone(), x, ids(&[0, 1, 2, candidate], [4, 1])).into_data()
            };
            assert!(std::panic::catch_unwind(attempt).is_err(), "{candidate}");
        }
    }
}
