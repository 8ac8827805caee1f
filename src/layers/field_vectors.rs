use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::kernels::{self, RepeatedColumns};
use crate::layers::linear::linear;
use crate::layers::{Activation, Linear, dropout};
use crate::rng::Rng;

/// The vectors of all fields of some rows, `[n_rows, n_fields · d]`, as layers read them.
///
/// Where a field has few ids, or all rows have the same, the rows of a batch repeat few vectors. A linear layer then
/// multiplies those alone, Σ_k w_k v_k W = Σ_k w_k (v_k W), and sums the products.
#[derive(Clone, Debug)]
pub struct FieldVectors {
    values: Tensor<2>,
    repeated: Option<Repeated>,
}

#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "flex"), allow(dead_code, reason = "read by the kernels of the CPU"))]
struct Repeated {
    /// The vectors that some columns repeat, `[m, d]`.
    vectors: Tensor<2>,
    columns: Arc<RepeatedColumns>,
    /// The values of the other columns, `[n_rows, n_own]`.
    own: Tensor<2>,
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
        let own = take(values.clone(), &columns.own);
        Self { values, repeated: Some(Repeated { vectors, columns: Arc::new(columns), own }) }
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
        if let Some(Repeated { columns, own, .. }) = &mut self.repeated {
            let ([_, width], [_, d_more]) = (self.values.dims(), more.dims());
            Arc::make_mut(columns).own.push(width..width + d_more);
            *own = Tensor::cat(vec![own.clone(), more.clone()], 1);
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
        self.multiply(layer.weight.val(), layer.bias.val(), activation)
    }

    /// a(x W + b) for each row x.
    pub(super) fn multiply(
        self,
        weight: Tensor<2>,
        bias: Tensor<1>,
        activation: Option<Activation>,
    ) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(Repeated { vectors, columns, own }) = self.repeated {
            return kernels::apply_4(
                kernels::FieldLinear::new(activation, columns),
                own,
                weight,
                bias,
                vectors,
            );
        }
        linear(self.values, weight, bias, activation)
    }
}

/// Some columns, one range behind another.
pub(super) fn take(x: Tensor<2>, ranges: &[Range<usize>]) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if kernels::fused(&x) {
        let [_, width] = x.dims();
        return kernels::apply_1(kernels::Columns::new(ranges.to_vec(), width), x);
    }
    Tensor::cat(ranges.iter().map(|range| x.clone().narrow(1, range.start, range.len())).collect(), 1)
}
