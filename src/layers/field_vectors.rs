use std::sync::Arc;

use burn::tensor::Tensor;

use crate::kernels::RepeatedColumns;
#[cfg(feature = "flex")]
use crate::kernels::{FieldLinear, apply_4};
use crate::layers::{Activation, Linear, dropout};
use crate::rng::Rng;

/// The vectors of all fields of some rows, `[n_rows, n_fields · d]`, as layers read them.
///
/// Where a field has few ids, or all rows have the same, the rows of a batch repeat few vectors. A linear layer then
/// multiplies those alone, Σ_k w_k v_k W = Σ_k w_k (v_k W), and sums the products.
#[derive(Clone, Debug)]
pub struct FieldVectors {
    values: Tensor<2>,
    /// The vectors that some columns repeat, and which.
    repeated: Option<(Tensor<2>, Arc<RepeatedColumns>)>,
}

impl From<Tensor<2>> for FieldVectors {
    /// Rows of any numbers.
    fn from(values: Tensor<2>) -> Self {
        Self { values, repeated: None }
    }
}

impl FieldVectors {
    /// Rows that repeat these vectors in some columns.
    pub(super) fn repeating(values: Tensor<2>, vectors: Tensor<2>, columns: RepeatedColumns) -> Self {
        Self { values, repeated: Some((vectors, Arc::new(columns))) }
    }

    /// The numbers, `[n_rows, width]`.
    pub fn values(&self) -> Tensor<2> {
        self.values.clone()
    }

    /// With further columns behind.
    ///
    /// # Shapes
    /// - more: `[n_rows, d_more]`
    pub fn and(mut self, more: Tensor<2>) -> Self {
        if let Some((_, columns)) = &mut self.repeated {
            let ([_, width], [_, d_more]) = (self.values.dims(), more.dims());
            Arc::make_mut(columns).own.push(width..width + d_more);
        }
        self.values = Tensor::cat(vec![self.values, more], 1);
        self
    }

    /// With numbers dropped in training, as [`dropout`] does: rows then repeat nothing.
    pub fn dropout(self, p: f64, rng: Option<&mut Rng>) -> Self {
        if p == 0.0 || rng.is_none() { self } else { dropout(self.values, p, rng).into() }
    }

    /// a(x W + b) for each row x, with the layer's W and b.
    pub(super) fn linear(self, layer: &Linear, activation: Option<Activation>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some((vectors, columns)) = self.repeated {
            let (w, b) = (layer.weight.val(), layer.bias.val());
            return apply_4(FieldLinear::new(activation, columns), self.values, w, b, vectors);
        }
        match activation {
            Some(activation) => layer.forward_activated(self.values, activation),
            None => layer.forward(self.values),
        }
    }
}
