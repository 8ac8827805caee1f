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

/// x and its slope.
#[cfg(feature = "flex")]
#[inline(always)]
pub(super) fn identity(x: f32) -> (f32, f32) {
    (x, 1.0)
}

/// max(x, 0) and its slope; not a number stays so.
#[cfg(feature = "flex")]
#[inline(always)]
pub(super) fn relu(x: f32) -> (f32, f32) {
    if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }
}

/// x Φ(x) and its slope Φ(x) + x φ(x).
#[cfg(feature = "flex")]
#[inline(always)]
pub(super) fn gelu(x: f32) -> (f32, f32) {
    let (cdf, density) = super::simd::normal(x);
    (x * cdf, x.mul_add(density, cdf))
}
