use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{Activation, dropout, linear};
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
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("MlpConfig::dropout", "a probability in [0, 1)", self.dropout));
        }
        Ok(())
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
            layers: widths.windows(2).map(|pair| linear(pair[0], pair[1], rng, device)).collect(),
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
    pub fn forward(&self, mut x: Tensor<2>, mut rng: Option<&mut Rng>) -> Tensor<2> {
        for (depth, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if depth + 1 < self.layers.len() {
                x = dropout(self.activation.forward(x), self.dropout, rng.as_deref_mut());
            }
        }
        x
    }
}
