use serde::{Deserialize, Serialize};

/// The non-linearity between two linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    #[default]
    Relu,
    /// x Φ(x), with Φ the standard normal distribution function (Hendrycks & Gimpel 2016).
    Gelu,
}
