use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_size, check_weight};
use crate::layers::{
    Activation, CausalSelfAttention, CausalSelfAttentionConfig, LayerNorm, Mlp, MlpConfig, SequenceLayout,
    dropout_add,
};
use crate::rng::Rng;

/// Where a [`TransformerBlock`] normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// Before each sub-layer (Xiong et al. 2020, "On layer normalization in the transformer architecture",
    /// table 1, right): x ← x + dropout(f(norm(x))).
    #[default]
    Pre,
    /// After each residual sum (Vaswani et al. 2017, section 3.1): x ← norm(x + dropout(f(x))).
    Post,
}

/// The settings of a [`TransformerBlock`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_model` | – | width of the rows | ≥ 1 |
/// | `n_heads` | 1 | heads of the attention | a divisor of `d_model` |
/// | `d_hidden` | `d_model` | width of the hidden layer | ≥ 1 |
/// | `activation` | ReLU | of the hidden layer | |
/// | `norm` | pre | where it normalises | |
/// | `dropout` | 0 | probability of dropping, in training, an attention probability, a hidden unit, an output | [0, 1) |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransformerBlockConfig {
    /// The width of the rows.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The width of the hidden layer.
    pub d_hidden: usize,
    /// The non-linearity of the hidden layer.
    pub activation: Activation,
    /// Where it normalises.
    pub norm: NormPlacement,
    /// The probability of dropping an attention probability, a hidden unit, or an output in training.
    pub dropout: f64,
}

impl TransformerBlockConfig {
    /// One head and a hidden layer as wide as the rows, without dropout.
    pub fn new(d_model: usize) -> Self {
        Self {
            d_model,
            n_heads: 1,
            d_hidden: d_model,
            activation: Activation::Relu,
            norm: NormPlacement::Pre,
            dropout: 0.0,
        }
    }

    /// Sets the number of heads.
    pub fn with_heads(mut self, n_heads: usize) -> Self {
        self.n_heads = n_heads;
        self
    }

    /// Sets the width of the hidden layer.
    pub fn with_hidden(mut self, d_hidden: usize) -> Self {
        self.d_hidden = d_hidden;
        self
    }

    /// Sets the non-linearity of the hidden layer.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets where it normalises.
    pub fn with_norm(mut self, norm: NormPlacement) -> Self {
        self.norm = norm;
        self
    }

    /// Sets every dropout.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// A width outside 1 to 2²⁰, a number of heads that does not divide `d_model`, or a dropout outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        check_size("TransformerBlockConfig::d_hidden", self.d_hidden)?;
        self.attention().validate()?;
        check_weight("TransformerBlockConfig::d_hidden", [self.d_model, self.d_hidden])
    }

    /// Fresh weights.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, rng: &mut Rng, device: &Device) -> Result<TransformerBlock> {
        self.validate()?;
        let feed_forward = MlpConfig::new(self.d_model)
            .with_hidden([self.d_hidden])
            .with_activation(self.activation)
            .with_dropout(self.dropout);
        Ok(TransformerBlock {
            attention_norm: LayerNorm::new(self.d_model, device),
            attention: self.attention().init(rng, device)?,
            feed_forward_norm: LayerNorm::new(self.d_model, device),
            feed_forward: feed_forward.init(self.d_model, rng, device)?,
            norm: self.norm,
            dropout: self.dropout,
        })
    }

    fn attention(&self) -> CausalSelfAttentionConfig {
        CausalSelfAttentionConfig { d_model: self.d_model, n_heads: self.n_heads, dropout: self.dropout }
    }
}

/// A transformer block (Vaswani et al. 2017, section 3): [`CausalSelfAttention`], then an [`Mlp`] of one
/// hidden layer, each with a residual connection and a [`LayerNorm`] before or after it
/// ([`NormPlacement`]).
#[derive(Module, Debug)]
pub struct TransformerBlock {
    attention_norm: LayerNorm,
    attention: CausalSelfAttention,
    feed_forward_norm: LayerNorm,
    feed_forward: Mlp,
    #[module(skip)]
    norm: NormPlacement,
    #[module(skip)]
    dropout: f64,
}

impl TransformerBlock {
    /// The output of every row; `rng` draws the dropout masks in training and is `None` in inference.
    ///
    /// # Shapes
    /// - x: `[layout.n_rows(), d_model]`
    /// - output: `[layout.n_rows(), d_model]`
    pub fn forward(&self, x: Tensor<2>, layout: &SequenceLayout, mut rng: Option<&mut Rng>) -> Tensor<2> {
        let attend = |x, rng: Option<&mut Rng>| self.attention.forward(x, layout, rng);
        let x = self.residual(x.clone(), x, &self.attention_norm, attend, rng.as_deref_mut());
        self.feed_forward(x, rng)
    }

    /// What [`forward`](Self::forward) gives in inference at these rows, at less cost: the others are read as keys and values
    /// alone.
    ///
    /// # Shapes
    /// - x: `[layout.n_rows(), d_model]`
    /// - rows: `[n]`
    /// - output: `[n, d_model]`
    pub fn forward_at(&self, x: Tensor<2>, layout: &SequenceLayout, rows: Tensor<1, Int>) -> Tensor<2> {
        let attend = |x, _: Option<&mut Rng>| self.attention.forward_at(x, layout, rows.clone());
        let carried = x.clone().select(0, rows.clone());
        let x = self.residual(x, carried, &self.attention_norm, attend, None);
        self.feed_forward(x, None)
    }

    fn feed_forward(&self, x: Tensor<2>, rng: Option<&mut Rng>) -> Tensor<2> {
        let layer = |x, rng: Option<&mut Rng>| self.feed_forward.forward(x, rng);
        self.residual(x.clone(), x, &self.feed_forward_norm, layer, rng)
    }

    /// A sub-layer of `x` with its norm, added to what is carried past it.
    fn residual(
        &self,
        x: Tensor<2>,
        carried: Tensor<2>,
        norm: &LayerNorm,
        layer: impl Fn(Tensor<2>, Option<&mut Rng>) -> Tensor<2>,
        mut rng: Option<&mut Rng>,
    ) -> Tensor<2> {
        match self.norm {
            NormPlacement::Pre => {
                let y = layer(norm.forward(x), rng.as_deref_mut());
                dropout_add(y, carried, self.dropout, rng)
            }
            NormPlacement::Post => {
                let y = layer(x, rng.as_deref_mut());
                norm.forward(dropout_add(y, carried, self.dropout, rng))
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::kernels::{self, twin};
    use crate::layers::{id_tensor, read};

    const D: usize = 8;

    fn rows(n: usize) -> Vec<f32> {
        twin::normal(n * D, 4)
    }

    fn block(config: TransformerBlockConfig, device: &Device) -> TransformerBlock {
        config.init(&mut Rng::new(2), device).unwrap()
    }

    /// Output and the gradient of the input for Σ output².
    fn run(lengths: &[usize], config: TransformerBlockConfig, rng: Option<&mut Rng>) -> [Vec<f32>; 2] {
        let device = Device::flex().autodiff();
        let layout = SequenceLayout::new(lengths.iter().copied());
        let n = layout.n_rows();
        let x = Tensor::from_data(TensorData::new(rows(n), [n, D]), &device).require_grad();
        let y = block(config, &device).forward(x.clone(), &layout, rng);
        let gradients = y.clone().square().sum().backward();
        [y.inner(), x.grad(&gradients).unwrap()].map(|tensor| read(tensor).unwrap())
    }

    #[test]
    fn fused_equals_composed() {
        let config = TransformerBlockConfig::new(D).with_heads(2).with_hidden(5).with_dropout(0.3);
        for (activation, norm) in
            [(Activation::Relu, NormPlacement::Pre), (Activation::Gelu, NormPlacement::Post)]
        {
            let config = config.with_activation(activation).with_norm(norm);
            let run = || run(&[5, 0, 40, 1], config, Some(&mut Rng::new(8)));
            for (fused, composed) in run().concat().iter().zip(kernels::composed(run).concat()) {
                assert!((fused - composed).abs() < 1e-4 * (1.0 + composed.abs()), "{fused} {composed}");
            }
        }
    }

    #[test]
    fn the_norm_stands_before_or_behind() {
        let device = Device::flex();
        let layout = SequenceLayout::new([3]);
        let x = Tensor::<2>::from_data(TensorData::new(rows(3), [3, D]), &device);
        for norm in [NormPlacement::Pre, NormPlacement::Post] {
            let block = block(TransformerBlockConfig::new(D).with_norm(norm), &device);
            let normed = |norm: &LayerNorm, x: Tensor<2>| norm.forward(x);
            let (first, second) = (&block.attention_norm, &block.feed_forward_norm);
            let attend = |x| block.attention.forward(x, &layout, None);
            let map = |x| block.feed_forward.forward(x, None);
            let expected = match norm {
                NormPlacement::Pre => {
                    let y = x.clone() + attend(normed(first, x.clone()));
                    y.clone() + map(normed(second, y))
                }
                NormPlacement::Post => {
                    let y = normed(first, x.clone() + attend(x.clone()));
                    normed(second, y.clone() + map(y))
                }
            };
            let found = read(block.forward(x.clone(), &layout, None)).unwrap();
            for (found, expected) in found.iter().zip(read(expected).unwrap()) {
                assert!((found - expected).abs() < 1e-5, "{norm:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn some_rows_are_what_they_are_among_all() {
        let device = Device::flex();
        let layout = SequenceLayout::new([3, 0, 4]);
        let x = Tensor::<2>::from_data(TensorData::new(rows(7), [7, D]), &device);
        for norm in [NormPlacement::Pre, NormPlacement::Post] {
            let block = block(TransformerBlockConfig::new(D).with_heads(2).with_norm(norm), &device);
            let at = || id_tensor(&[2, 6], &device);
            let all = read(block.forward(x.clone(), &layout, None).select(0, at())).unwrap();
            let some = read(block.forward_at(x.clone(), &layout, at())).unwrap();
            assert_eq!(some.len(), 2 * D);
            for (found, expected) in some.iter().zip(&all) {
                assert!((found - expected).abs() < 1e-5, "{norm:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn every_sequence_is_on_its_own_and_looks_back_only() {
        let config = TransformerBlockConfig::new(D).with_heads(4).with_dropout(0.3);
        let together = run(&[3, 4], config, None);
        let first = run(&[3], config, None);
        let prefix = run(&[2], config, None);
        for (found, expected) in
            first.concat().iter().zip([&together[0][..3 * D], &together[1][..3 * D]].concat())
        {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        for (found, expected) in prefix[0].iter().zip(&first[0]) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let config = TransformerBlockConfig::new(6);
        for config in [
            TransformerBlockConfig::new(0),
            config.with_heads(4),
            config.with_hidden(0),
            config.with_dropout(-0.1),
        ] {
            assert!(config.init(&mut Rng::new(0), &Device::flex()).is_err(), "{config:?}");
        }
    }
}
