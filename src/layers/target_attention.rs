use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels;
use crate::layers::{Mlp, MlpConfig, SequenceLayout, id_tensor};
use crate::rng::Rng;

/// What a [`TargetAttention`] makes of its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionWeights {
    /// They stay as they are, so that the sum says how strong the interest is (Zhou et al. 2018, section 4.3).
    #[default]
    Raw,
    /// They become positive and sum to 1 over a history.
    Softmax,
}

/// What of a history matters for a candidate (the local activation unit of Zhou et al. 2018, "Deep interest network for
/// click-through rate prediction", eq. 3 and figure 2):
///
/// v = Σ_j a(k_j, q) k_j,  a(k, q) = MLP([q, k, q ∘ k])
///
/// The difference q − k, which implementations add, is a linear function of q and k: the first layer has it already, at
/// three quarters of the work.
#[derive(Module, Debug)]
pub struct TargetAttention {
    mlp: Mlp,
    #[module(skip)]
    weights: AttentionWeights,
}

impl TargetAttention {
    /// Fresh weights for vectors of width `d`.
    ///
    /// # Errors
    /// An `mlp` out of range, or that does not end in width 1.
    pub fn new(
        d: usize,
        mlp: &MlpConfig,
        weights: AttentionWeights,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self> {
        if mlp.d_output != 1 {
            return Err(Error::config("TargetAttention::mlp", "an output of width 1", mlp.d_output));
        }
        Ok(Self { mlp: mlp.init(3 * d, rng, device)?, weights })
    }

    /// The part of each history that matters for its candidate; 0 for an empty history. Histories may share items: each is
    /// a range of the keys.
    ///
    /// # Shapes
    /// - queries: q, one for each history, `[n, d]`
    /// - keys: k, `[m, d]`
    /// - output: `[n, d]`
    ///
    /// # Panics
    /// If there is another number of histories than queries, one beyond the keys, or vectors of another width.
    pub fn forward(
        &self,
        queries: Tensor<2>,
        keys: Tensor<2>,
        histories: &[Range<usize>],
        rng: Option<&mut Rng>,
    ) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if rng.is_none()
            && kernels::fused(&keys)
            && !queries.is_autodiff()
            && let Some(layers) = self.mlp.layers_in_inference()
        {
            let (shape, device) = (queries.dims(), queries.device());
            assert_eq!(shape[0], histories.len(), "a history for each query");
            let is_softmax = self.weights == AttentionWeights::Softmax;
            let unit = kernels::ActivationUnit::new(layers, is_softmax);
            return Tensor::from_data(
                TensorData::new(unit.forward(queries, keys, histories), shape),
                &device,
            );
        }
        let (keys, layout) = unshared(keys, histories);
        if layout.n_rows() == 0 {
            return queries.zeros_like();
        }
        let weights = self.weights_of(queries, keys.clone(), &layout, rng);
        weighted_sums(weights, keys, &layout)
    }

    /// a(k, q) in inference, of each item of each history, of which there is at least one.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward), with an output of one number for each item of each history, `[Σ len, 1]`
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn weights(&self, queries: Tensor<2>, keys: Tensor<2>, histories: &[Range<usize>]) -> Tensor<2> {
        let (keys, layout) = unshared(keys, histories);
        self.weights_of(queries, keys, &layout, None)
    }

    fn weights_of(
        &self,
        queries: Tensor<2>,
        keys: Tensor<2>,
        layout: &SequenceLayout,
        rng: Option<&mut Rng>,
    ) -> Tensor<2> {
        let weights = self.mlp.forward(query_key_products(queries, keys, layout), rng);
        match self.weights {
            AttentionWeights::Raw => weights,
            AttentionWeights::Softmax => softmax(weights, layout),
        }
    }
}

/// The keys of every history, one history behind another.
fn unshared(keys: Tensor<2>, histories: &[Range<usize>]) -> (Tensor<2>, SequenceLayout) {
    let layout = SequenceLayout::new(histories.iter().map(ExactSizeIterator::len));
    if layout.n_rows() == 0 || layout.iter().eq(histories.iter().cloned()) {
        return (keys, layout);
    }
    let rows: Vec<u32> = histories.iter().cloned().flatten().map(|row| row as u32).collect();
    (kernels::select_rows(keys.clone(), id_tensor(&rows, &keys.device())), layout)
}

/// [q, k, q ∘ k] for every item k of every history, with the query q of its history, `[layout.n_rows(), 3 d]`.
fn query_key_products(queries: Tensor<2>, keys: Tensor<2>, layout: &SequenceLayout) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&keys) {
        return kernels::apply_2(kernels::QueryKeyProducts { layout: layout.clone() }, queries, keys);
    }
    let q = kernels::select_rows(queries, id_tensor(&history_of_each(layout), &keys.device()));
    Tensor::cat(vec![q.clone(), keys.clone(), q * keys], 1)
}

/// Σ_t w_t k_t over the items of each history, `[layout.n_sequences(), d]`.
fn weighted_sums(weights: Tensor<2>, keys: Tensor<2>, layout: &SequenceLayout) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&keys) {
        return kernels::apply_2(kernels::WeightedSums { layout: layout.clone() }, weights, keys);
    }
    let device = keys.device();
    let zeros = Tensor::zeros([layout.n_sequences(), keys.dims()[1]], &device);
    kernels::add_to_rows(zeros, id_tensor(&history_of_each(layout), &device), keys * weights)
}

/// The number of the history that each item is of.
fn history_of_each(layout: &SequenceLayout) -> Vec<u32> {
    layout.iter().enumerate().flat_map(|(i, rows)| std::iter::repeat_n(i as u32, rows.len())).collect()
}

/// The softmax over each history of one number an item, `[layout.n_rows(), 1]`.
fn softmax(x: Tensor<2>, layout: &SequenceLayout) -> Tensor<2> {
    let (n, l, device) = (layout.n_sequences(), layout.max_len(), x.device());
    let last = layout.n_rows() - 1;
    let slots: Vec<u32> =
        layout.iter().flat_map(|rows| (rows.start..rows.start + l).map(|row| row.min(last) as u32)).collect();
    let hidden: Vec<bool> = layout.iter().flat_map(|rows| (0..l).map(move |t| t >= rows.len())).collect();
    let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [n, l]), &device);
    let padded = kernels::select_rows(x, id_tensor(&slots, &device)).reshape([n, l]);
    let weights = activation::softmax(padded.mask_fill(hidden, -1e9), 1).reshape([n * l, 1]);
    let filled: Vec<u32> = layout
        .iter()
        .enumerate()
        .flat_map(|(i, rows)| (i * l..i * l + rows.len()).map(|slot| slot as u32))
        .collect();
    kernels::select_rows(weights, id_tensor(&filled, &device))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::slice;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::{Activation, HiddenNorm, read};

    fn attention(weights: AttentionWeights) -> TargetAttention {
        let mlp = MlpConfig::new(1).with_hidden([5]);
        TargetAttention::new(3, &mlp, weights, &mut Rng::new(1), &Device::flex()).unwrap()
    }

    fn matrix(n: usize, d: usize, seed: u64) -> Tensor<2> {
        Tensor::from_data(TensorData::new(twin::normal(n * d, seed), [n, d]), &Device::flex())
    }

    #[test]
    fn each_history_is_weighed_for_its_own_candidate() {
        let histories = [0..2, 2..2, 2..5];
        for weights in [AttentionWeights::Raw, AttentionWeights::Softmax] {
            let layer = attention(weights);
            let (q, k) = (matrix(3, 3, 1), matrix(5, 3, 2));
            let found = read(layer.forward(q.clone(), k.clone(), &histories, None)).unwrap();
            assert_eq!(found[3..6], [0.0; 3]);
            for (history, rows) in histories.iter().cloned().enumerate().filter(|(_, rows)| !rows.is_empty())
            {
                let q = q.clone().narrow(0, history, 1);
                let k = k.clone().narrow(0, rows.start, rows.len());
                let alone = 0..rows.len();
                let alone = slice::from_ref(&alone);
                let weights = read(layer.weights(q.clone(), k.clone(), alone)).unwrap();
                let (k, alone) = (read(k.clone()).unwrap(), read(layer.forward(q, k, alone, None)).unwrap());
                for j in 0..3 {
                    let expected: f32 =
                        weights.iter().enumerate().map(|(t, weight)| weight * k[3 * t + j]).sum();
                    assert!((alone[j] - expected).abs() < 1e-6);
                    assert!((found[3 * history + j] - expected).abs() < 1e-6);
                }
                if layer.weights == AttentionWeights::Softmax {
                    assert!(
                        (weights.iter().sum::<f32>() - 1.0).abs() < 1e-6 && weights.iter().all(|&w| w > 0.0)
                    );
                }
            }
        }
    }

    #[test]
    fn equal_their_float64_twins() {
        let layout = SequenceLayout::new([2, 0, 3]);
        let history = [0, 0, 2, 2, 2];
        for d in [1, 3, 17] {
            let matrix = |x: &Tensor<1>, n| x.clone().reshape([n, x.dims()[0] / n]);
            twin::check(
                &[twin::normal(3 * d, 1), twin::normal(5 * d, 2)],
                1e-5,
                |x| query_key_products(matrix(&x[0], 3), matrix(&x[1], 5), &layout).reshape([15 * d]),
                |x| {
                    let row = |row: usize| {
                        let (q, k) = (&x[0][history[row] * d..][..d], &x[1][row * d..][..d]);
                        [q, k, &q.iter().zip(k).map(|(q, k)| q * k).collect::<Vec<_>>()].concat()
                    };
                    (0..5).flat_map(row).collect()
                },
            );
            twin::check(
                &[twin::normal(5, 1), twin::normal(5 * d, 2)],
                1e-5,
                |x| weighted_sums(matrix(&x[0], 5), matrix(&x[1], 5), &layout).reshape([3 * d]),
                |x| {
                    let term = |row: usize, j: usize| x[0][row] * x[1][row * d + j];
                    let sum = |i: usize| {
                        (0..5).filter(|&row| history[row] == i / d).map(|row| term(row, i % d)).sum()
                    };
                    (0..3 * d).map(sum).collect()
                },
            );
        }
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        let layout = SequenceLayout::new((0..300).map(|i| i % 17));
        let n = layout.n_rows();
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let leaf = |n: usize, seed| {
                let x = TensorData::new(twin::normal(n * 3, seed), [n, 3]);
                Tensor::<2>::from_data(x, &device).require_grad()
            };
            let (q, k) = (leaf(300, 1), leaf(n, 2));
            let products = query_key_products(q.clone(), k.clone(), &layout);
            let y = weighted_sums(products.sum_dim(1), k.clone(), &layout);
            let gradients = y.square().sum().backward();
            [q, k].iter().flat_map(|x| read(x.grad(&gradients).unwrap()).unwrap()).collect()
        });
    }

    #[test]
    fn inference_is_what_training_computes() {
        let hidden: [&[usize]; 5] = [&[], &[1], &[5], &[40, 17], &[16, 3, 32]];
        let lens = [2, 0, 13, 1, 6, 50, 11, 4];
        let (d, n_keys) = (9, 60);
        let histories: Vec<Range<usize>> =
            lens.iter().enumerate().map(|(i, len)| i % 3..i % 3 + len).collect();
        let (q, k) = (matrix(lens.len(), d, 1), matrix(n_keys, d, 2));
        for (hidden, weights) in hidden
            .iter()
            .flat_map(|hidden| [AttentionWeights::Raw, AttentionWeights::Softmax].map(|w| (hidden, w)))
        {
            let plain = |activation| MlpConfig::new(1).with_activation(activation);
            let dice = plain(Activation::Relu).with_norm(HiddenNorm::Dice);
            for mlp in [plain(Activation::Relu), plain(Activation::Gelu), dice] {
                let (mlp, rng) = (mlp.with_hidden(*hidden), &mut Rng::new(3));
                let layer = TargetAttention::new(d, &mlp, weights, rng, &Device::flex()).unwrap();
                // So that Dice knows other statistics than its first.
                layer.forward(q.clone(), k.clone(), &histories, Some(rng));
                let found = read(layer.forward(q.clone(), k.clone(), &histories, None)).unwrap();
                let (of_histories, layout) = unshared(k.clone(), &histories);
                let weights = layer.weights(q.clone(), k.clone(), &histories);
                let expected = read(weighted_sums(weights, of_histories, &layout)).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
                        "{mlp:?}: {found}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_histories_share_has_the_gradient_of_all() {
        let mlp = MlpConfig::new(1).with_hidden([5]);
        let device = Device::flex().autodiff();
        let layer = TargetAttention::new(3, &mlp, AttentionWeights::Raw, &mut Rng::new(1), &device).unwrap();
        let leaf = |n: usize, seed| {
            Tensor::<2>::from_data(TensorData::new(twin::normal(n * 3, seed), [n, 3]), &device).require_grad()
        };
        let gradient = |histories: &[Range<usize>], n_keys: usize| {
            let (q, k) = (leaf(2, 1), leaf(5, 2));
            let keys = Tensor::cat(vec![k.clone(); n_keys / 5], 0);
            let y = layer.forward(q, keys, histories, Some(&mut Rng::new(1)));
            read(k.grad(&y.square().sum().backward()).unwrap()).unwrap()
        };
        let (shared, apart) = (gradient(&[0..4, 1..5], 5), gradient(&[0..4, 6..10], 10));
        assert!(shared.iter().zip(&apart).all(|(shared, apart)| (shared - apart).abs() < 1e-5));
    }

    #[test]
    fn without_items_all_is_zero() {
        let layer = attention(AttentionWeights::Softmax);
        let found =
            layer.forward(matrix(2, 3, 1), Tensor::zeros([0, 3], &Device::flex()), &[0..0, 0..0], None);
        assert_eq!(read(found).unwrap(), [0.0; 6]);
    }
}
