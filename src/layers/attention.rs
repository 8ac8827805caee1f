use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_size, check_weight};
use crate::kernels;
use crate::layers::{Linear, SequenceLayout, check_dropout, dropout, id_tensor};
use crate::rng::Rng;

/// The settings of a [`CausalSelfAttention`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_model` | – | width of the rows | ≥ 1 |
/// | `n_heads` | 1 | heads, each of width d_model / n_heads | a divisor of `d_model` |
/// | `dropout` | 0 | probability of dropping an attention probability in training | [0, 1) |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CausalSelfAttentionConfig {
    /// The width of the rows.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The probability of dropping an attention probability in training.
    pub dropout: f64,
}

impl CausalSelfAttentionConfig {
    /// One head without dropout.
    pub fn new(d_model: usize) -> Self {
        Self { d_model, n_heads: 1, dropout: 0.0 }
    }

    /// Sets the number of heads.
    pub fn with_heads(mut self, n_heads: usize) -> Self {
        self.n_heads = n_heads;
        self
    }

    /// Sets the dropout of probabilities.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// A width outside 1 to 2²⁰, a number of heads that does not divide it, or a dropout outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        check_size("CausalSelfAttentionConfig::d_model", self.d_model)?;
        check_weight("CausalSelfAttentionConfig::d_model", [self.d_model, 3 * self.d_model])?;
        if self.n_heads == 0 || !self.d_model.is_multiple_of(self.n_heads) {
            let expected = format!("a divisor of d_model = {}", self.d_model);
            return Err(Error::config("CausalSelfAttentionConfig::n_heads", expected, self.n_heads));
        }
        check_dropout("CausalSelfAttentionConfig::dropout", self.dropout)
    }

    /// Fresh weights.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, rng: &mut Rng, device: &Device) -> Result<CausalSelfAttention> {
        self.validate()?;
        Ok(CausalSelfAttention {
            input: Linear::new(self.d_model, 3 * self.d_model, rng, device),
            output: Linear::new(self.d_model, self.d_model, rng, device),
            n_heads: self.n_heads,
            dropout: self.dropout,
        })
    }
}

/// Multi-head self-attention in which each item sees its own sequence up to itself (Vaswani et al. 2017,
/// "Attention is all you need", section 3.2): `[q | k | v]` by one linear layer, [`causal_attention`], and a
/// linear layer.
#[derive(Module, Debug)]
pub struct CausalSelfAttention {
    /// `[d_model, 3 d_model]`
    input: Linear,
    /// `[d_model, d_model]`
    output: Linear,
    #[module(skip)]
    n_heads: usize,
    #[module(skip)]
    dropout: f64,
}

impl CausalSelfAttention {
    /// The output of every row; `rng` draws the dropout masks in training and is `None` in inference.
    ///
    /// # Shapes
    /// - x: `[layout.n_rows(), d_model]`
    /// - output: `[layout.n_rows(), d_model]`
    pub fn forward(&self, x: Tensor<2>, layout: &SequenceLayout, rng: Option<&mut Rng>) -> Tensor<2> {
        self.output.forward(self.attended(x, layout, rng))
    }

    /// What [`forward`](Self::forward) gives in inference at these rows.
    ///
    /// # Shapes
    /// - x: `[layout.n_rows(), d_model]`
    /// - rows: `[n]`
    /// - output: `[n, d_model]`
    pub fn forward_at(&self, x: Tensor<2>, layout: &SequenceLayout, rows: Tensor<1, Int>) -> Tensor<2> {
        self.output.forward(self.attended(x, layout, None).select(0, rows))
    }

    fn attended(&self, x: Tensor<2>, layout: &SequenceLayout, rng: Option<&mut Rng>) -> Tensor<2> {
        causal_attention(self.input.forward(x), layout, self.n_heads, self.dropout, rng)
    }
}

/// softmax(Q Kᵀ / √d_head) V for each head of each sequence, each query over the keys up to its own, with
/// dropout on the probabilities (Vaswani et al. 2017, eq. 1).
///
/// On Flex one fused kernel computes the scores a block at a time, only up to the diagonal, and keeps none.
/// Elsewhere the sequences are gathered into `[b, n_heads, l, l]`. They stand at the front of their l slots:
/// what follows is seen by no query before it, so that the causal mask is the only one.
///
/// # Shapes
/// - qkv: `[layout.n_rows(), 3 d]`, rows `[q | k | v]`, each of the three head by head
/// - output: `[layout.n_rows(), d]`, head by head
///
/// # Panics
/// If `qkv` has another shape, or `n_heads` does not divide d.
pub fn causal_attention(
    qkv: Tensor<2>,
    layout: &SequenceLayout,
    n_heads: usize,
    p: f64,
    rng: Option<&mut Rng>,
) -> Tensor<2> {
    let [n, width] = qkv.dims();
    assert_eq!(n, layout.n_rows(), "a row for each item");
    assert!(n_heads > 0 && width % (3 * n_heads) == 0, "{n_heads} heads in rows of {width}");
    #[cfg(feature = "flex")]
    if kernels::fused(&qkv) {
        let mask = kernels::Mask::draw(p, rng);
        let kernel = kernels::CausalAttention { layout: layout.clone(), n_heads, mask };
        return kernels::apply_1(kernel, qkv);
    }
    composed(qkv, layout, n_heads, p, rng)
}

fn composed(
    qkv: Tensor<2>,
    layout: &SequenceLayout,
    n_heads: usize,
    p: f64,
    rng: Option<&mut Rng>,
) -> Tensor<2> {
    let ([n, width], device) = (qkv.dims(), qkv.device());
    let (d, d_head) = (width / 3, width / 3 / n_heads);
    if n == 0 {
        return qkv.reshape([0, d]);
    }
    let (b, l) = (layout.n_sequences(), layout.max_len());
    // The slots behind a sequence hold whatever rows follow it.
    let slots = layout.iter().flat_map(|rows| rows.start..rows.start + l).map(|row| row.min(n - 1) as u32);
    let padded = kernels::select_rows(qkv, id_tensor(&slots.collect::<Vec<_>>(), &device));
    let [q, k, v] = [0, 1, 2].map(|part| {
        let columns = padded.clone().slice([0..b * l, part * d..(part + 1) * d]);
        columns.reshape([b, l, n_heads, d_head]).swap_dims(1, 2)
    });
    let scores = q.matmul(k.swap_dims(2, 3)).div_scalar((d_head as f64).sqrt());
    let hidden = Tensor::<2, Bool>::tril_mask([l, l], 0, &device).unsqueeze();
    let probabilities = activation::softmax(scores.mask_fill(hidden, -1e9), 3);
    let output = dropout(probabilities, p, rng).matmul(v).swap_dims(1, 2).reshape([b * l, d]);
    let filled = layout.iter().enumerate().flat_map(|(i, rows)| i * l..i * l + rows.len());
    let filled: Vec<u32> = filled.map(|slot| slot as u32).collect();
    kernels::select_rows(output, id_tensor(&filled, &device))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;

    const D: usize = 6;

    fn rows(n: usize) -> Tensor<2> {
        Tensor::from_data(TensorData::new(twin::normal(n * D, 3), [n, D]), &Device::flex())
    }

    fn layer(dropout: f64) -> CausalSelfAttention {
        let config = CausalSelfAttentionConfig::new(D).with_heads(3).with_dropout(dropout);
        config.init(&mut Rng::new(1), &Device::flex()).unwrap()
    }

    /// Of sequences of these lengths; the values of `x` on the host.
    fn run(x: Tensor<2>, lengths: &[usize]) -> Vec<f32> {
        read(layer(0.5).forward(x, &SequenceLayout::new(lengths.iter().copied()), None)).unwrap()
    }

    #[test]
    fn a_later_item_changes_no_earlier_output() {
        for run in [run, |x: Tensor<2>, lengths: &[usize]| kernels::composed(|| run(x, lengths))] {
            let before = run(rows(40), &[38, 2]);
            let changed = Tensor::cat(vec![rows(40).slice_dim(0, 0..35), rows(5)], 0);
            let after = run(changed, &[38, 2]);
            assert_eq!(before[..35 * D], after[..35 * D]);
            assert!((35..40).all(|t| before[t * D..(t + 1) * D] != after[t * D..(t + 1) * D]));
        }
    }

    #[test]
    fn a_sequence_is_alone_in_its_batch() {
        let alone = run(rows(7), &[7]);
        let among = run(Tensor::cat(vec![rows(4), rows(7), rows(50)], 0), &[4, 0, 7, 50]);
        for (alone, among) in alone.iter().zip(&among[4 * D..11 * D]) {
            assert!((alone - among).abs() < 1e-6, "{alone} {among}");
        }
    }

    #[test]
    fn dropout_is_for_training() {
        let layout = SequenceLayout::new([9]);
        let run = |p, seed: Option<u64>| {
            let mut rng = seed.map(Rng::new);
            read(layer(p).forward(rows(9), &layout, rng.as_mut())).unwrap()
        };
        assert_eq!(run(0.5, None), run(0.0, Some(1)));
        assert_eq!(run(0.5, Some(1)), run(0.5, Some(1)));
        assert_ne!(run(0.5, Some(1)), run(0.5, None));
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let config = CausalSelfAttentionConfig::new(6);
        for config in [
            CausalSelfAttentionConfig::new(0),
            config.with_heads(0),
            config.with_heads(4),
            config.with_dropout(1.0),
        ] {
            assert!(config.init(&mut Rng::new(0), &Device::flex()).is_err(), "{config:?}");
        }
    }
}
