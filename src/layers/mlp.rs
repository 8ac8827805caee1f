use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_size, check_weight};
#[cfg(feature = "flex")]
use crate::kernels;
use crate::layers::{Activation, BatchNorm, Dice, FieldVectors, LayerNorm, Linear, check_dropout, dropout};
use crate::rng::Rng;

/// How the hidden layers of an [`Mlp`] normalise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenNorm {
    /// They do not.
    #[default]
    None,
    /// [`LayerNorm`] before the activation.
    Layer,
    /// [`BatchNorm`] before the activation.
    Batch,
    /// [`Dice`] in the place of the activation.
    Dice,
}

impl HiddenNorm {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The settings of an [`Mlp`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_hidden` | `[]` | widths of the hidden layers; none makes one linear map | each ≥ 1 |
/// | `d_output` | – | width of the output | ≥ 1 |
/// | `activation` | ReLU | after each hidden layer | |
/// | `norm` | none | how the hidden layers normalise | |
/// | `dropout` | 0 | probability of dropping a hidden unit in training | [0, 1) |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MlpConfig {
    /// Widths of the hidden layers.
    pub d_hidden: Vec<usize>,
    /// Width of the output.
    pub d_output: usize,
    /// The non-linearity after each hidden layer.
    pub activation: Activation,
    /// How the hidden layers normalise.
    #[serde(default, skip_serializing_if = "HiddenNorm::is_none")]
    pub norm: HiddenNorm,
    /// The probability of dropping a hidden unit in training.
    pub dropout: f64,
}

impl MlpConfig {
    /// One linear map to `d_output`.
    pub fn new(d_output: usize) -> Self {
        Self {
            d_hidden: Vec::new(),
            d_output,
            activation: Activation::Relu,
            norm: HiddenNorm::None,
            dropout: 0.0,
        }
    }

    /// Sets the widths of the hidden layers.
    pub fn with_hidden(mut self, d_hidden: impl Into<Vec<usize>>) -> Self {
        self.d_hidden = d_hidden.into();
        self
    }

    /// Sets the non-linearity.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets how the hidden layers normalise.
    pub fn with_norm(mut self, norm: HiddenNorm) -> Self {
        self.norm = norm;
        self
    }

    /// Sets the dropout of hidden units.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// A width outside 1 to 2²⁰, or a dropout outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        self.d_hidden.iter().try_for_each(|&width| check_size("MlpConfig::d_hidden", width))?;
        check_size("MlpConfig::d_output", self.d_output)?;
        check_dropout("MlpConfig::dropout", self.dropout)
    }

    /// Fresh weights for inputs of width `d_input`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, d_input: usize, rng: &mut Rng, device: &Device) -> Result<Mlp> {
        self.init_with(self.d_hidden.len(), d_input, rng, device)
    }

    /// As [`init`](Self::init), with norm, activation and dropout after the output layer as after the hidden ones.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init_activated(&self, d_input: usize, rng: &mut Rng, device: &Device) -> Result<Mlp> {
        self.init_with(self.d_hidden.len() + 1, d_input, rng, device)
    }

    /// Fresh weights, with an activation after the first `n_activated` layers.
    fn init_with(&self, n_activated: usize, d_input: usize, rng: &mut Rng, device: &Device) -> Result<Mlp> {
        self.validate()?;
        let outputs = || self.d_hidden.iter().copied().chain([self.d_output]);
        let inputs = [d_input].into_iter().chain(self.d_hidden.iter().copied());
        inputs
            .clone()
            .zip(outputs())
            .try_for_each(|(d, next)| check_weight("MlpConfig::d_hidden", [d, next]))?;
        let widths = |norm| outputs().take(if self.norm == norm { n_activated } else { 0 });
        Ok(Mlp {
            layers: inputs.zip(outputs()).map(|(d, d_next)| Linear::new(d, d_next, rng, device)).collect(),
            layer_norms: widths(HiddenNorm::Layer).map(|d| LayerNorm::new(d, device)).collect(),
            batch_norms: widths(HiddenNorm::Batch).map(|d| BatchNorm::new(d, device)).collect(),
            dices: widths(HiddenNorm::Dice).map(|d| Dice::new(d, device)).collect(),
            n_activated,
            activation: self.activation,
            dropout: self.dropout,
        })
    }
}

/// A multi-layer perceptron: linear, norm, activation, dropout, …, linear.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `layer_norms.{l}.gamma`, `.beta` | `[d_output]` | with [`HiddenNorm::Layer`] |
/// | `batch_norms.{l}.gamma`, `.beta` | `[d_output]` | with [`HiddenNorm::Batch`] |
/// | `dices.{l}.alpha` | `[d_output]` | with [`HiddenNorm::Dice`] |
/// | `….{l}.statistics.mean`, `.variance` | `[d_output]` | of batch norms and Dice, as they ran along |
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    layer_norms: Vec<LayerNorm>,
    batch_norms: Vec<BatchNorm>,
    dices: Vec<Dice>,
    #[module(skip)]
    n_activated: usize,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    dropout: f64,
}

impl Mlp {
    /// The output of every row; `rng` draws the dropout masks in training and is `None` in inference, where the norms
    /// know no batch.
    ///
    /// # Shapes
    /// - x: `[n, d_input]`
    /// - output: `[n, d_output]`
    pub fn forward(&self, x: impl Into<FieldVectors>, mut rng: Option<&mut Rng>) -> Tensor<2> {
        let mut x = x.into();
        for (l, layer) in self.layers.iter().enumerate() {
            x = if l < self.n_activated {
                dropout(self.activated(l, x, rng.is_some()), self.dropout, rng.as_deref_mut())
            } else {
                x.linear(layer, None)
            }
            .into();
        }
        x.values()
    }

    /// Each layer with what is behind it in inference, if that knows no other unit.
    #[cfg(feature = "flex")]
    pub(super) fn layers_in_inference(&self) -> Option<Vec<kernels::LinearLayer>> {
        let layers = self.layers.iter().enumerate().map(|(l, layer)| {
            let behind = || match self.dices.get(l) {
                Some(dice) => dice.in_inference(),
                None => kernels::Nonlinearity::Plain(self.activation),
            };
            (layer.weight.val(), layer.bias.val(), (l < self.n_activated).then(behind))
        });
        (self.layer_norms.is_empty() && self.batch_norms.is_empty()).then(|| layers.collect())
    }

    /// Layer `l` with its norm and activation.
    fn activated(&self, l: usize, x: FieldVectors, in_training: bool) -> Tensor<2> {
        let layer = &self.layers[l];
        if let Some(dice) = self.dices.get(l) {
            return dice.forward(x.linear(layer, None), in_training);
        }
        if let Some(norm) = self.batch_norms.get(l) {
            return self.activation.forward(norm.forward(x.linear(layer, None), in_training));
        }
        if let Some(norm) = self.layer_norms.get(l) {
            return self.activation.forward(norm.forward(x.linear(layer, None)));
        }
        x.linear(layer, Some(self.activation))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::layers::read;

    #[test]
    fn linear_activation_linear() {
        let device = Device::flex();
        let x = [0.5f32, -1.0, 2.0, 1.5, 0.25, -0.75];
        let input = || Tensor::from_data(TensorData::new(x.to_vec(), [2, 3]), &device);
        for activation in [Activation::Relu, Activation::Gelu] {
            let config = MlpConfig::new(2).with_hidden([4]).with_activation(activation).with_dropout(0.5);
            let mlp = config.init(3, &mut Rng::new(3), &device).unwrap();
            let weights: Vec<Vec<f32>> =
                mlp.layers.iter().map(|layer| read(layer.weight.val()).unwrap()).collect();
            let found = read(mlp.forward(input(), None)).unwrap();
            for (row, out) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let hidden = |unit: usize| {
                    let sum: f32 = (0..3).map(|i| x[row * 3 + i] * weights[0][i * 4 + unit]).sum();
                    match activation {
                        Activation::Relu => sum.max(0.0),
                        Activation::Gelu => {
                            read(burn::tensor::activation::gelu(Tensor::<1>::from_data([sum], &device)))
                                .unwrap()[0]
                        }
                    }
                };
                let expected: f32 = (0..4).map(|unit| hidden(unit) * weights[1][unit * 2 + out]).sum();
                assert!((found[row * 2 + out] - expected).abs() < 1e-5);
            }
            let dropped = read(mlp.forward(input(), Some(&mut Rng::new(1)))).unwrap();
            assert_ne!(found, dropped);
        }
    }

    #[test]
    fn hidden_layers_normalise_as_they_are_told() {
        let device = Device::flex();
        let x: Vec<f32> = (0..24).map(|i| ((i * 7) % 11) as f32 - 4.0).collect();
        let input = || Tensor::<2>::from_data(TensorData::new(x.clone(), [8, 3]), &device);
        let config = |norm| MlpConfig::new(2).with_hidden([4]).with_norm(norm);
        let plain = config(HiddenNorm::None).init(3, &mut Rng::new(3), &device).unwrap();
        let [first, last] = [0, 1].map(|l| plain.layers[l].clone());
        let (layer, batch, dice) =
            (LayerNorm::new(4, &device), BatchNorm::new(4, &device), Dice::new(4, &device));
        let relu = |x| Activation::Relu.forward(x);
        for norm in [HiddenNorm::None, HiddenNorm::Layer, HiddenNorm::Batch, HiddenNorm::Dice] {
            for in_training in [false, true] {
                let mlp = config(norm).init(3, &mut Rng::new(3), &device).unwrap();
                let found = mlp.forward(input(), in_training.then_some(&mut Rng::new(1)));
                let hidden = first.forward(input());
                let hidden = match norm {
                    HiddenNorm::None => relu(hidden),
                    HiddenNorm::Layer => relu(layer.forward(hidden)),
                    HiddenNorm::Batch if in_training => relu(batch.forward(hidden, true)),
                    HiddenNorm::Batch => relu(BatchNorm::new(4, &device).forward(hidden, false)),
                    HiddenNorm::Dice if in_training => dice.forward(hidden, true),
                    HiddenNorm::Dice => Dice::new(4, &device).forward(hidden, false),
                };
                let (found, expected) = (read(found).unwrap(), read(last.forward(hidden)).unwrap());
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{norm:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn an_activated_output_is_as_a_hidden_layer() {
        let device = Device::flex();
        let x = || {
            Tensor::<2>::from_data(
                TensorData::new(vec![0.5f32, -1.0, 2.0, 1.5, 0.25, -0.75], [2, 3]),
                &device,
            )
        };
        for norm in [HiddenNorm::None, HiddenNorm::Layer, HiddenNorm::Batch, HiddenNorm::Dice] {
            let config = MlpConfig::new(4).with_norm(norm);
            let activated = config.init_activated(3, &mut Rng::new(3), &device).unwrap();
            let config = MlpConfig::new(2).with_hidden([4]).with_norm(norm);
            let mlp = config.init(3, &mut Rng::new(3), &device).unwrap();
            let found = mlp.layers[1].forward(activated.forward(x(), None));
            assert_eq!(read(found).unwrap(), read(mlp.forward(x(), None)).unwrap());
        }
    }

    #[test]
    fn settings_without_a_norm_are_as_they_were() {
        let json = r#"{"d_hidden":[4],"d_output":2,"activation":"relu","dropout":0.0}"#;
        let config: MlpConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config, MlpConfig::new(2).with_hidden([4]));
        assert_eq!(serde_json::to_string(&config).unwrap(), json);
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        for config in
            [MlpConfig::new(0), MlpConfig::new(1).with_hidden([3, 0]), MlpConfig::new(1).with_dropout(1.0)]
        {
            assert!(config.init(2, &mut Rng::new(0), &Device::flex()).is_err(), "{config:?}");
        }
    }
}
