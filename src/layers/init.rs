use std::cell::Cell;

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels::with_flag;
use crate::rng::Rng;

/// How fresh weights are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// N(0, std²).
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// U(−a, a).
    Uniform {
        /// The bound a.
        bound: f64,
    },
    /// The same number everywhere.
    Constant(f64),
}

impl Init {
    /// A parameter of this shape, drawn now from `rng`.
    pub fn param<const D: usize>(
        self,
        shape: [usize; D],
        rng: &mut Rng,
        device: &Device,
    ) -> Param<Tensor<D>> {
        param(shape, device, || {
            let mut draw = || match self {
                Self::Normal { std } => std * rng.normal(),
                Self::Uniform { bound } => bound * (2.0 * rng.uniform() - 1.0),
                Self::Constant(value) => value,
            };
            (0..shape.iter().product()).map(|_| draw() as f32).collect()
        })
    }
}

thread_local! {
    static WITHOUT_WEIGHTS: Cell<bool> = const { Cell::new(false) };
}

/// A parameter of this shape and these numbers; within [`without_weights`], of this shape alone.
pub(super) fn param<const D: usize>(
    shape: [usize; D],
    device: &Device,
    values: impl FnOnce() -> Vec<f32>,
) -> Param<Tensor<D>> {
    if WITHOUT_WEIGHTS.get() {
        let zeros = move |device: &Device, _| Tensor::zeros(shape, device);
        return Param::uninitialized(ParamId::new(), zeros, device.clone(), true, shape.into());
    }
    Param::from_data(TensorData::new(values(), shape), device)
}

/// What `init` makes, with parameters that know their shapes and take no memory until they are read or replaced: a model whose
/// weights come from a file is as large as that file, whatever its settings say.
pub(crate) fn without_weights<T>(init: impl FnOnce() -> T) -> T {
    with_flag(&WITHOUT_WEIGHTS, true, init)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn shapes_without_weights_take_no_memory() {
        let device = Device::flex();
        let terabytes = [1 << 20, 1 << 20];
        let normal = Init::Normal { std: 1.0 };
        let weights = without_weights(|| normal.param(terabytes, &mut Rng::new(1), &device));
        assert!(!weights.is_initialized() && weights.lazy_shape().dims() == terabytes);
        assert!(std::panic::catch_unwind(|| without_weights(|| panic!())).is_err());
        assert!(normal.param([2], &mut Rng::new(1), &device).is_initialized(), "the next model has weights");
    }
}
