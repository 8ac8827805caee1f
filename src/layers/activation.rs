use burn::tensor::{Tensor, activation};

pub use crate::kernels::Activation;

impl Activation {
    /// The activation of every element.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Relu => activation::relu(x),
            Self::Gelu => activation::gelu(x),
        }
    }
}
