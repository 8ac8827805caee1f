use burn::tensor::{Int, Tensor};

use crate::kernels;
use crate::losses::{correct_log_q, mask_accidental_hits, sampled_softmax, softmax_cross_entropy};

/// The candidates that all rows of a softmax share: the catalogue, the positives of the batch, or a
/// sample. A logit is the inner product of a row and a candidate, after
/// [`scale_by_temperature`](super::scale_by_temperature) of the rows.
///
/// On Flex the loss and its gradients come from one pass over blocks of rows, and the matrix of logits
/// `[n, m]` never exists; elsewhere it is made by the steps that are named here.
#[derive(Clone, Debug)]
pub struct SharedCandidates {
    vectors: Tensor<2>,
    log_q: Option<Tensor<1>>,
    items: Option<(Tensor<1, Int>, Tensor<1, Int>)>,
}

impl SharedCandidates {
    /// Candidates with these vectors.
    ///
    /// # Shapes
    /// - vectors: `[m, d]`
    pub fn new(vectors: Tensor<2>) -> Self {
        Self { vectors, log_q: None, items: None }
    }

    /// Takes log q from the logits of each candidate: [`correct_log_q`]. No gradient flows to it.
    ///
    /// # Shapes
    /// - log_q: `[m]`
    pub fn with_log_q(mut self, log_q: Tensor<1>) -> Self {
        self.log_q = Some(log_q.detach());
        self
    }

    /// Hides candidates that are the row's own positive item: [`mask_accidental_hits`].
    ///
    /// # Shapes
    /// - positives: the positive item of each row, `[n]`
    /// - candidates: the item of each candidate, `[m]`
    pub fn without_accidental_hits(mut self, positives: Tensor<1, Int>, candidates: Tensor<1, Int>) -> Self {
        self.items = Some((positives, candidates));
        self
    }

    /// [`softmax_cross_entropy`] of rows whose positives are among the candidates.
    ///
    /// # Shapes
    /// - rows: `[n, d]`
    /// - columns: the candidate that is each row's positive, `[n]`
    /// - output: `[1]`
    ///
    /// # Panics
    /// On a shape that does not fit, or a column of m or more.
    pub fn cross_entropy(self, rows: Tensor<2>, columns: Tensor<1, Int>) -> Tensor<1> {
        #[cfg(feature = "flex")]
        if kernels::fused(&rows) {
            let kernel = kernels::CrossEntropy {
                positives: kernels::host_ids(columns),
                candidates: kernels::Candidates::new(self.log_q, self.items),
            };
            return kernels::apply_2(kernel, rows, self.vectors);
        }
        softmax_cross_entropy(self.logits(rows, Some(columns.clone())), columns)
    }

    /// [`sampled_softmax`] of rows whose positives stand beside the candidates.
    ///
    /// # Shapes
    /// - rows, positives: `[n, d]`
    /// - output: `[1]`
    ///
    /// # Panics
    /// On a shape that does not fit.
    pub fn sampled_cross_entropy(self, rows: Tensor<2>, positives: Tensor<2>) -> Tensor<1> {
        #[cfg(feature = "flex")]
        if kernels::fused(&rows) {
            let candidates = kernels::Candidates::new(self.log_q, self.items);
            let kernel = kernels::SampledCrossEntropy { candidates };
            return kernels::apply_3(kernel, rows, self.vectors, positives);
        }
        let positive = rows.clone().mul(positives).sum_dim(1).squeeze_dim(1);
        sampled_softmax(positive, self.logits(rows, None))
    }

    /// The logits of every row and candidate, `[n, m]`, corrected and masked; `columns` are the positives
    /// among the candidates.
    pub fn logits(self, rows: Tensor<2>, columns: Option<Tensor<1, Int>>) -> Tensor<2> {
        let mut logits = kernels::rows_times(rows, self.vectors.transpose());
        if let Some(log_q) = self.log_q {
            logits = correct_log_q(logits, log_q);
        }
        match self.items {
            Some((positives, candidates)) => mask_accidental_hits(logits, positives, candidates, columns),
            None => logits,
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::kernels::twin;
    use crate::rng::Rng;

    fn ints(values: &[usize]) -> Tensor<1, Int> {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        Tensor::from_data(TensorData::new(values.clone(), [values.len()]), &Device::flex().autodiff())
    }

    fn floats(values: &[f32]) -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex().autodiff())
    }

    /// The candidates of a test: sizes, log q, the items of rows and candidates.
    struct Case {
        n: usize,
        m: usize,
        d: usize,
        log_q: Option<Vec<f32>>,
        items: Option<(Vec<usize>, Vec<usize>)>,
    }

    impl Case {
        fn new(n: usize, m: usize, d: usize, corrected: bool, n_items: usize) -> Self {
            let mut rng = Rng::new((n * m * d) as u64);
            let mut items = |n: usize| (0..n).map(|_| rng.below(n_items)).collect::<Vec<_>>();
            let items = (n_items > 0).then(|| (items(n), items(m)));
            Self { n, m, d, log_q: corrected.then(|| twin::normal(m, 3)), items }
        }

        fn candidates(&self, vectors: Tensor<1>) -> SharedCandidates {
            let mut candidates = SharedCandidates::new(vectors.reshape([self.m, self.d]));
            if let Some(log_q) = &self.log_q {
                candidates = candidates.with_log_q(floats(log_q));
            }
            match &self.items {
                Some((rows, items)) => candidates.without_accidental_hits(ints(rows), ints(items)),
                None => candidates,
            }
        }

        /// The loss of flat inputs rows, candidates and, if apart, positives.
        fn twin(&self, x: &[Vec<f64>], columns: Option<&[usize]>) -> Vec<f64> {
            let dot = |x: &[f64], i: usize, y: &[f64], j: usize| -> f64 {
                (0..self.d).map(|c| x[i * self.d + c] * y[j * self.d + c]).sum()
            };
            let logit = |i: usize, j: usize| {
                dot(&x[0], i, &x[1], j) - self.log_q.as_ref().map_or(0.0, |q| q[j].into())
            };
            let hidden =
                |i: usize, j: usize| self.items.as_ref().is_some_and(|(rows, items)| rows[i] == items[j]);
            let row = |i: usize| {
                let column = columns.map(|columns| columns[i]);
                let kept = (0..self.m).filter(|&j| Some(j) == column || !hidden(i, j)).map(|j| logit(i, j));
                let positive = column.map_or_else(|| dot(&x[0], i, &x[2], i), |j| logit(i, j));
                let all: Vec<f64> = kept.chain(column.is_none().then_some(positive)).collect();
                let max = all.iter().copied().fold(positive, f64::max);
                max - positive + all.iter().map(|s| (s - max).exp()).sum::<f64>().ln()
            };
            vec![(0..self.n).map(row).sum::<f64>() / self.n as f64]
        }

        fn inputs(&self) -> Vec<Vec<f32>> {
            [self.n, self.m, self.n].map(|rows| twin::normal(rows * self.d, rows as u64 + 1)).to_vec()
        }
    }

    const SIZES: [(usize, usize, usize); 5] = [(1, 1, 1), (3, 5, 2), (7, 40, 3), (70, 9, 4), (5, 33, 16)];

    #[test]
    fn the_loss_and_its_gradients_equal_float64() {
        for (n, m, d) in SIZES {
            for (corrected, n_items) in [(false, 0), (true, 0), (true, 4)] {
                let case = Case::new(n, m, d, corrected, n_items);
                let mut rng = Rng::new(8);
                let columns: Vec<usize> = (0..n).map(|_| rng.below(m)).collect();
                let inputs = &case.inputs()[..2];
                twin::check(
                    inputs,
                    1e-5,
                    |x| {
                        case.candidates(x[1].clone())
                            .cross_entropy(x[0].clone().reshape([n, d]), ints(&columns))
                            * 3.0
                    },
                    |x| case.twin(x, Some(&columns)).iter().map(|loss| 3.0 * loss).collect(),
                );
                let rows = |x: &Tensor<1>| x.clone().reshape([n, d]);
                twin::check(
                    &case.inputs(),
                    1e-5,
                    |x| case.candidates(x[1].clone()).sampled_cross_entropy(rows(&x[0]), rows(&x[2])),
                    |x| case.twin(x, None),
                );
            }
        }
    }

    /// Logits of hundreds: without the shift by the maximum they would overflow.
    #[test]
    fn large_logits_stay_exact() {
        let case = Case::new(4, 6, 8, true, 0);
        let inputs: Vec<Vec<f32>> =
            case.inputs()[..2].iter().map(|x| x.iter().map(|x| 10.0 * x).collect()).collect();
        let columns = [0, 5, 2, 2];
        twin::check(
            &inputs,
            1e-4,
            |x| case.candidates(x[1].clone()).cross_entropy(x[0].clone().reshape([4, 8]), ints(&columns)),
            |x| case.twin(x, Some(&columns)),
        );
    }

    #[test]
    fn threads_never_change_a_bit() {
        let (n, m, d) = (1_500, 3_000, 8);
        let inputs = [twin::normal(n * d, 1), twin::normal(m * d, 2), twin::normal(n * d, 3)];
        let columns: Vec<usize> = (0..n).map(|i| i * 7 % m).collect();
        twin::is_deterministic(|| {
            let [rows, candidates, positives] = [n, m, n].map(|rows| [rows, d]);
            let leaf =
                |i: usize, shape: [usize; 2]| floats(&inputs[i]).reshape(shape).detach().require_grad();
            let (rows, vectors, positives) = (leaf(0, rows), leaf(1, candidates), leaf(2, positives));
            let candidates = SharedCandidates::new(vectors.clone());
            let loss = candidates.clone().cross_entropy(rows.clone(), ints(&columns))
                + candidates.sampled_cross_entropy(rows.clone(), positives.clone());
            let gradients = loss.clone().backward();
            let mut bits: Vec<f32> = loss.into_data().iter().collect();
            for leaf in [rows, vectors, positives] {
                bits.extend(leaf.grad(&gradients).unwrap().into_data().iter::<f32>());
            }
            bits
        });
    }

    #[test]
    fn inputs_without_gradients_and_without_autodiff() {
        let case = Case::new(5, 7, 3, true, 3);
        let columns = [0, 6, 2, 2, 1];
        let inputs = case.inputs();
        let expected = case.twin(
            &inputs.iter().map(|x| x.iter().map(|&x| x.into()).collect()).collect::<Vec<_>>(),
            Some(&columns),
        )[0];
        let loss = |rows: Tensor<1>, vectors: Tensor<1>| {
            case.candidates(vectors).cross_entropy(rows.reshape([5, 3]), ints(&columns))
        };
        let (rows, vectors) = (floats(&inputs[0]), floats(&inputs[1]));
        let found: f32 = loss(rows.clone(), vectors.clone()).into_scalar();
        approx::assert_relative_eq!(f64::from(found), expected, max_relative = 1e-5);
        let leaf = vectors.require_grad();
        let gradients = loss(rows, leaf.clone()).backward();
        assert!(leaf.grad(&gradients).is_some());
    }

    #[test]
    #[should_panic(expected = "positive 4 of 4 candidates")]
    fn a_positive_that_is_no_candidate_panics() {
        let case = Case::new(2, 4, 3, false, 0);
        let inputs = case.inputs();
        case.candidates(floats(&inputs[1])).cross_entropy(floats(&inputs[0]).reshape([2, 3]), ints(&[1, 4]));
    }
}
