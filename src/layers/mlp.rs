use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{Activation, Linear, check_dropout, dropout};
use crate::rng::Rng;

/// The settings of an [`Mlp`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_hidden` | `[]` | widths of the hidden layers; none makes one linear map | each ≥ 1 |
/// | `d_output` | – | width of the output | ≥ 1 |
/// | `activation` | ReLU | after each hidden layer | |
/// | `dropout` | 0 | probability of dropping a hidden unit in training | [0, 1) |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MlpConfig {
    /// Widths of the hidden layers.
    pub d_hidden: Vec<usize>,
    /// Width of the output.
    pub d_output: usize,
    /// The non-linearity after each hidden layer.
    pub activation: Activation,
    /// The probability of dropping a hidden unit in training.
    pub dropout: f64,
}

impl MlpConfig {
    /// One linear map to `d_output`.
    pub fn new(d_output: usize) -> Self {
        Self { d_hidden: Vec::new(), d_output, activation: Activation::Relu, dropout: 0.0 }
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

    /// Sets the dropout of hidden units.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// A width of 0, or a dropout outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        if self.d_output == 0 || self.d_hidden.contains(&0) {
            let widths = format!("{:?} → {}", self.d_hidden, self.d_output);
            return Err(Error::config("MlpConfig::d_hidden", "widths of at least 1", widths));
        }
        check_dropout("MlpConfig::dropout", self.dropout)
    }

    /// Fresh weights for inputs of width `d_input`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, d_input: usize, rng: &mut Rng, device: &Device) -> Result<Mlp> {
        self.validate()?;
        let widths: Vec<usize> =
            [d_input].into_iter().chain(self.d_hidden.iter().copied()).chain([self.d_output]).collect();
        Ok(Mlp {
            layers: widths.windows(2).map(|pair| Linear::new(pair[0], pair[1], rng, device)).collect(),
            activation: self.activation,
            dropout: self.dropout,
        })
    }
}

/// A multi-layer perceptron: linear, activation, dropout, …, linear.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    dropout: f64,
}

impl Mlp {
    /// The output of every row; `rng` draws the dropout masks in training and is `None` in inference.
    ///
    /// # Shapes
    /// - x: `[n, d_input]`
    /// - output: `[n, d_output]`
    pub fn forward(&self, x: Tensor<2>, rng: Option<&mut Rng>) -> Tensor<2> {
        match self.layers.split_last() {
            Some((last, hidden)) => last.forward(self.activated(hidden, x, rng)),
            None => x,
        }
    }

    /// As [`forward`](Self::forward), with activation and dropout after the last layer as after the others.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward).
    pub fn forward_activated(&self, x: Tensor<2>, rng: Option<&mut Rng>) -> Tensor<2> {
        self.activated(&self.layers, x, rng)
    }

    fn activated(&self, layers: &[Linear], mut x: Tensor<2>, mut rng: Option<&mut Rng>) -> Tensor<2> {
        for layer in layers {
            x = dropout(layer.forward_activated(x, self.activation), self.dropout, rng.as_deref_mut());
        }
        x
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
    fn settings_out_of_range_are_errors() {
        for config in
            [MlpConfig::new(0), MlpConfig::new(1).with_hidden([3, 0]), MlpConfig::new(1).with_dropout(1.0)]
        {
            assert!(config.init(2, &mut Rng::new(0), &Device::flex()).is_err(), "{config:?}");
        }
    }
}
