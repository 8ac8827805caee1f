use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

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
        let mut draw = || match self {
            Self::Normal { std } => std * rng.normal(),
            Self::Uniform { bound } => bound * (2.0 * rng.uniform() - 1.0),
            Self::Constant(value) => value,
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw() as f32).collect();
        Param::from_data(TensorData::new(values, shape), device)
    }
}
