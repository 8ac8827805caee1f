//! Every loss and every step against float64 code written from the formula, values and gradients, the
//! gradients by central differences of that code.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::*;
use crate::kernels::composed;
use crate::kernels::twin::{self, softplus};
use crate::rng::Rng;

const N: usize = 5;
const M: usize = 7;

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| f64::from((2.0 * rng.normal()) as f32)).collect()
}

fn leaf<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn ints(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex().autodiff())
}

fn close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() < 2e-5, "{what}[{i}]: {found}, expected {expected}");
    }
}

/// Checks the value and the gradient of a loss of one matrix (and, in its last `extra` entries, a vector)
/// against `exact`.
fn check<const D: usize>(
    what: &str,
    inputs: &[f64],
    tensor: &Tensor<D>,
    offset: usize,
    loss: &Tensor<1>,
    exact: impl Fn(&[f64]) -> f64,
) {
    close(what, &[loss.clone().into_scalar::<f32>()], &[exact(inputs)]);
    let gradients = loss.clone().backward();
    let found: Vec<f32> = tensor.grad(&gradients).unwrap().try_into_vec_as().unwrap();
    let expected: Vec<f64> = (offset..offset + found.len())
        .map(|i| {
            let moved = |h: f64| {
                let mut inputs = inputs.to_vec();
                inputs[i] += h;
                exact(&inputs)
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        })
        .collect();
    close(&format!("gradient of {what}"), &found, &expected);
}

fn row(logits: &[f64], i: usize, m: usize) -> &[f64] {
    &logits[i * m..(i + 1) * m]
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.map(f64::exp).sum::<f64>().ln()
}

#[test]
fn losses_of_a_positive_and_its_negatives() {
    type Loss = fn(Tensor<2>) -> Tensor<1>;
    type Exact = fn(&[f64]) -> f64;
    let cases: [(Loss, Exact); 2] = [
        (bpr, |row| row[1..].iter().map(|s| softplus(s - row[0])).sum::<f64>() / (row.len() - 1) as f64),
        (binary_cross_entropy, |row| softplus(-row[0]) + row[1..].iter().map(|&s| softplus(s)).sum::<f64>()),
    ];
    for (n, k) in [(1, 1), (5, 1), (3, 7), (2, 40)] {
        for (loss, exact) in cases {
            let logits: Vec<f32> = twin::normal(n * (1 + k), 1).iter().map(|x| 3.0 * x).collect();
            twin::check(
                &[logits],
                1e-6,
                |inputs| loss(inputs[0].clone().reshape([n, 1 + k])),
                |inputs| vec![inputs[0].chunks(1 + k).map(exact).sum::<f64>() / n as f64],
            );
        }
    }
}

#[test]
fn sampled_softmax_beside_the_positive() {
    let inputs = random(N + N * M, 3);
    let exact = |x: &[f64]| {
        let row = |i| log_sum_exp(row(&x[N..], i, M).iter().copied().chain([x[i]])) - x[i];
        (0..N).map(row).sum::<f64>() / N as f64
    };
    let positive = leaf(&inputs[..N], [N]);
    let negative = leaf(&inputs[N..], [N, M]);
    let loss = || sampled_softmax(positive.clone(), negative.clone());
    check("sampled softmax", &inputs, &positive, 0, &loss(), exact);
    check("sampled softmax", &inputs, &negative, N, &loss(), exact);
}

#[test]
fn softmax_over_columns() {
    let inputs = random(N * M, 4);
    let columns = [6, 0, 3, 3, 1];
    let logits = leaf(&inputs, [N, M]);
    let loss = softmax_cross_entropy(logits.clone(), ints(&columns));
    check("softmax", &inputs, &logits, 0, &loss, |x| {
        let loss = |i| log_sum_exp(row(x, i, M).iter().copied()) - row(x, i, M)[columns[i] as usize];
        (0..N).map(loss).sum::<f64>() / N as f64
    });
}

#[test]
fn the_temperature_divides_and_is_learned() {
    let inputs = random(N * M + 1, 6);
    let logits = leaf(&inputs[..N * M], [N, M]);
    let log_temperature = leaf(&inputs[N * M..], [1]);
    let exact = |x: &[f64]| {
        let tau = x[N * M].exp();
        (0..N * M).map(|i| (i as f64 - 10.0) * 0.1 * x[i] / tau).sum::<f64>()
    };
    let weights: Vec<f64> = (0..N * M).map(|i| (i as f64 - 10.0) * 0.1).collect();
    let loss =
        || scale_by_temperature(logits.clone(), log_temperature.clone()).mul(leaf(&weights, [N, M])).sum();
    check("temperature", &inputs, &logits, 0, &loss(), exact);
    let found = loss().backward();
    let slope: f32 = log_temperature.grad(&found).unwrap().into_scalar();
    let expected = -exact(&inputs);
    assert!((f64::from(slope) - expected).abs() < 1e-4 * expected.abs().max(1.0), "{slope} {expected}");
}

#[test]
fn log_q_is_subtracted_per_candidate() {
    let inputs = random(N * M, 7);
    let log_q = random(M, 8);
    let corrected = correct_log_q(leaf(&inputs, [N, M]), leaf(&log_q, [M]));
    let expected: Vec<f64> = (0..N * M).map(|i| inputs[i] - log_q[i % M]).collect();
    close("logQ", &corrected.try_into_vec_as().unwrap(), &expected);
}

#[test]
fn accidental_hits_count_for_nothing() {
    let inputs = random(N * M, 9);
    let (positives, candidates) = ([4, 2, 4, 9, 1], [4, 2, 4, 9, 1, 2, 8]);
    let masked = |i: usize, j: usize, own: bool| positives[i] == candidates[j] && !(own && i == j);
    for own in [true, false] {
        let logits = leaf(&inputs, [N, M]);
        let columns = own.then(|| ints(&[0, 1, 2, 3, 4]));
        let hidden = mask_accidental_hits(logits.clone(), ints(&positives), ints(&candidates), columns);
        let positive = leaf(&[0.5; N], [N]);
        let loss = sampled_softmax(positive, hidden);
        check("masked softmax", &inputs, &logits, 0, &loss, |x| {
            let total = |i: usize| {
                let kept = (0..M).filter(move |&j| !masked(i, j, own)).map(move |j| x[i * M + j]);
                log_sum_exp(kept.chain([0.5])) - 0.5
            };
            (0..N).map(total).sum::<f64>() / N as f64
        });
    }
}

#[test]
fn only_the_hardest_negatives_count() {
    let inputs = random(N * M, 10);
    let columns = [6, 0, 3, 3, 1];
    for k in [1, 3, M] {
        let logits = leaf(&inputs, [N, M]);
        let loss =
            softmax_cross_entropy(keep_hard_negatives(logits.clone(), ints(&columns), k), ints(&columns));
        check("hard negatives", &inputs, &logits, 0, &loss, |x| {
            let total = |i: usize| {
                let positive = row(x, i, M)[columns[i] as usize];
                let mut negatives = row(x, i, M).to_vec();
                negatives.remove(columns[i] as usize);
                negatives.sort_by(|a, b| b.total_cmp(a));
                log_sum_exp(negatives.into_iter().take(k).chain([positive])) - positive
            };
            (0..N).map(total).sum::<f64>() / N as f64
        });
    }
}

/// The whole loss, from vectors: every step in its place.
#[test]
fn retrieval_losses_join_the_steps() {
    let (n, m, d) = (3, 4, 2);
    let inputs = random((n + m) * d + 1, 11);
    let positives = [2usize, 0, 2];
    let log_q = [-1.0, -2.0, -0.5, -3.0];
    let in_batch =
        |log_q, n_hard| RetrievalLoss::InBatchSoftmax { log_q, symmetric: false, n_negatives: 1, n_hard };
    let symmetric =
        RetrievalLoss::InBatchSoftmax { log_q: true, symmetric: true, n_negatives: 1, n_hard: None };
    let shared = || Negatives::Shared(vec![3usize]);
    let per_row = || Negatives::PerRow(vec![1usize, 3, 2, 1, 0, 3]);
    let cases = [
        (RetrievalLoss::FullSoftmax, Negatives::Catalogue),
        (in_batch(false, None), shared()),
        (in_batch(true, None), shared()),
        (in_batch(true, Some(1)), shared()),
        (symmetric, shared()),
        (RetrievalLoss::SampledSoftmax { n_negatives: 2, log_q: false }, Negatives::Shared(vec![3, 0])),
        (RetrievalLoss::SampledSoftmax { n_negatives: 2, log_q: true }, Negatives::Shared(vec![3, 0])),
        (RetrievalLoss::Bpr { n_negatives: 2 }, per_row()),
        (RetrievalLoss::BinaryCrossEntropy { n_negatives: 2 }, per_row()),
        (RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 2, t: 0.5 }, per_row()),
    ];
    for (loss, negatives) in cases {
        loss.validate().unwrap();
        let exact = |x: &[f64]| -> f64 {
            let tau = x[(n + m) * d].exp();
            let score =
                |i: usize, j: usize| (0..d).map(|c| x[i * d + c] * x[(n + j) * d + c]).sum::<f64>() / tau;
            let softmax =
                |positive: f64, rest: Vec<f64>| log_sum_exp(rest.into_iter().chain([positive])) - positive;
            let of_row = |i: usize| -> f64 {
                let positive = score(i, positives[i]);
                match (&loss, &negatives) {
                    (RetrievalLoss::FullSoftmax, _) => softmax(
                        positive,
                        (0..m).filter(|&j| j != positives[i]).map(|j| score(i, j)).collect(),
                    ),
                    (
                        RetrievalLoss::InBatchSoftmax { log_q: corrected, symmetric, n_hard, .. },
                        Negatives::Shared(extra),
                    ) => {
                        let corrected = |j: usize| score(i, j) - if *corrected { log_q[j] } else { 0.0 };
                        let columns = positives.iter().chain(extra).copied();
                        let mut rest: Vec<f64> =
                            columns.filter(|&j| j != positives[i]).map(corrected).collect();
                        rest.sort_by(|a, b| b.total_cmp(a));
                        rest.truncate(n_hard.unwrap_or(rest.len()));
                        let from_query = softmax(corrected(positives[i]), rest);
                        let others = (0..n).filter(|&row| positives[row] != positives[i]);
                        let from_item =
                            softmax(positive, others.map(|row| score(row, positives[i])).collect());
                        if *symmetric { 0.5 * (from_query + from_item) } else { from_query }
                    }
                    (RetrievalLoss::SampledSoftmax { log_q: corrected, .. }, Negatives::Shared(drawn)) => {
                        let score = |&j: &usize| score(i, j) - if *corrected { log_q[j] } else { 0.0 };
                        softmax(positive, drawn.iter().filter(|&&j| j != positives[i]).map(score).collect())
                    }
                    (_, Negatives::PerRow(drawn)) => {
                        let drawn = drawn[2 * i..2 * i + 2].iter().map(|&j| score(i, j));
                        match loss {
                            RetrievalLoss::Bpr { .. } => {
                                drawn.map(|s| softplus(s - positive)).sum::<f64>() / 2.0
                            }
                            _ => {
                                let is_generalized =
                                    matches!(loss, RetrievalLoss::GeneralizedBinaryCrossEntropy { .. });
                                // Two negatives of a catalogue of nine, half calibrated.
                                let beta = if is_generalized { 1.0 - 0.5 * (1.0 - 2.0 / 8.0) } else { 1.0 };
                                let offset = f64::ln(beta / 2.0);
                                beta * softplus(-positive - offset)
                                    + drawn.map(|s| softplus(s + offset)).sum::<f64>()
                            }
                        }
                    }
                    other => panic!("{other:?}"),
                }
            };
            (0..n).map(of_row).sum::<f64>() / n as f64
        };
        let queries = leaf(&inputs[..n * d], [n, d]);
        let items = leaf(&inputs[n * d..(n + m) * d], [m, d]);
        let log_temperature = leaf(&inputs[(n + m) * d..], [1]);
        let value = || {
            let ints = |ids: &[usize]| ints(&ids.iter().map(|&id| id as i64).collect::<Vec<_>>());
            let negatives = match &negatives {
                Negatives::Shared(ids) => Negatives::Shared(ints(ids)),
                Negatives::PerRow(ids) => Negatives::PerRow(ints(ids)),
                Negatives::Catalogue => Negatives::Catalogue,
            };
            let targets = RetrievalTargets {
                positives: ints(&positives),
                negatives,
                log_q: leaf(&log_q, [m]),
                n_items: 9,
            };
            let queries = scale_by_temperature(queries.clone(), log_temperature.clone());
            loss.forward(queries, items.clone(), targets)
        };
        let what = loss.to_string();
        let compare = || {
            check(&what, &inputs, &queries, 0, &value(), exact);
            check(&what, &inputs, &items, n * d, &value(), exact);
            check(&what, &inputs, &log_temperature, (n + m) * d, &value(), exact);
        };
        compare();
        composed(compare);
    }
}

#[test]
fn equal_scores_of_binary_losses_cost_least_at_0() {
    let device = Device::flex();
    let (n, k, n_items) = (3, 8, 20);
    let ids = |id: i64, n: usize| Tensor::<1, Int>::from_data(TensorData::new(vec![id; n], [n]), &device);
    for loss in [
        RetrievalLoss::BinaryCrossEntropy { n_negatives: k },
        RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: k, t: 0.75 },
    ] {
        let at = |score: f64| -> f32 {
            let (positives, negatives) = (ids(0, n), Negatives::PerRow(ids(1, n * k)));
            let log_q = Tensor::zeros([n_items], &device);
            let targets = RetrievalTargets { positives, negatives, log_q, n_items };
            let items = Tensor::full([2, 1], score, &device);
            loss.forward(Tensor::ones([n, 1], &device), items, targets).into_scalar()
        };
        assert!(at(0.0) < at(0.1).min(at(-0.1)), "{loss}: {} {} {}", at(-0.1), at(0.0), at(0.1));
    }
}
