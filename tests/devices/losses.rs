//! The losses and their gradients.

use burn::tensor::{Device, Int, Tensor};
use recsys::layers::{id_tensor, read};
use recsys::losses::{
    Negatives, RetrievalLoss, RetrievalTargets, SharedCandidates, binary_cross_entropy, bpr,
    candidate_logits, scale_by_temperature,
};
use recsys::rng::Rng;

use super::others::{Part, agree, normal};

const N: usize = 21;
const M: usize = 50;
const D: usize = 8;
const K: usize = 3;

fn ids(n: usize, seed: u64, device: &Device) -> Tensor<1, Int> {
    let mut rng = Rng::new(seed);
    id_tensor(&(0..n).map(|_| rng.below(M) as u32).collect::<Vec<_>>(), device)
}

/// Compares a loss of rows and items, and both gradients.
fn loss(what: &str, loss: impl Fn(Tensor<2>, Tensor<2>, &Device) -> Tensor<1>) {
    agree(what, |device| {
        let device = device.clone().autodiff();
        let [rows, items] = [(N, 1), (M, 2)].map(|(n, seed)| normal([n, D], seed, &device).require_grad());
        let loss = loss(rows.clone(), items.clone(), &device);
        let gradients = loss.backward();
        let gradient = |x: Tensor<2>| read(x.grad(&gradients).unwrap()).unwrap();
        let parts: [Part; 3] = [
            ("the loss", read(loss.clone()).unwrap()),
            ("the gradient of the rows", gradient(rows)),
            ("the gradient of the items", gradient(items)),
        ];
        parts.to_vec()
    });
}

#[test]
fn of_retrieval() {
    let in_batch =
        |log_q, symmetric, n_hard| RetrievalLoss::InBatchSoftmax { log_q, symmetric, n_negatives: K, n_hard };
    for kind in [
        in_batch(false, false, None),
        in_batch(true, false, None),
        in_batch(true, true, None),
        in_batch(true, false, Some(4)),
        RetrievalLoss::SampledSoftmax { n_negatives: K, log_q: true },
        RetrievalLoss::FullSoftmax,
        RetrievalLoss::Bpr { n_negatives: K },
        RetrievalLoss::BinaryCrossEntropy { n_negatives: K },
        RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: K, t: 0.5 },
    ] {
        loss(&kind.to_string(), |rows, items, device| {
            let negatives = match kind {
                RetrievalLoss::FullSoftmax => Negatives::Catalogue,
                RetrievalLoss::InBatchSoftmax { .. } | RetrievalLoss::SampledSoftmax { .. } => {
                    Negatives::Shared(ids(K, 3, device))
                }
                _ => Negatives::PerRow(ids(N * K, 3, device)),
            };
            let (positives, log_q) = (ids(N, 4, device), normal([M], 5, device));
            let targets = RetrievalTargets { positives, negatives, log_q, n_items: M };
            let rows = scale_by_temperature(rows, Tensor::from_floats([-1.0], device));
            kind.forward(rows, items, targets)
        });
    }
}

#[test]
fn of_sequences() {
    loss("softmax over the catalogue", |rows, items, device| {
        SharedCandidates::new(items).cross_entropy(rows, ids(N, 3, device))
    });
    type Pairwise = fn(Tensor<2>) -> Tensor<1>;
    for (name, pairwise) in [("BPR", bpr as Pairwise), ("binary cross-entropy", binary_cross_entropy)] {
        loss(name, |rows, items, device| {
            pairwise(candidate_logits(rows, items, ids(N * K, 3, device).reshape([N, K])))
        });
    }
}
