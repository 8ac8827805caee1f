//! How is it fast? What a composition of Burn operations does in many passes over memory, done in one, on the
//! CPU.
//!
//! A kernel is a struct that implements [`Kernel`]: plain slices in, plain slices out, forward and backward.
//! [`extension`] hangs it into Burn's autodiff graph, so that a new operation is one file here, with its
//! float64 twin in its tests, and nothing else. Layers and losses ask [`fused`] which way to go: these
//! kernels on Flex, a composition of ordinary Burn operations on every other backend.
//!
//! - Parts are fixed by the size of the work and summed in their order ([`parallel`]): the number of threads
//!   never changes a bit.
//! - Large buffers are reused from step to step ([`buffer`]).
//! - `unsafe` stands in [`matrix`] alone, behind functions that check every length.

use std::cell::Cell;

use burn::tensor::{DType, Int, Tensor};

mod activation;
#[cfg(feature = "flex")]
mod array;
#[cfg(feature = "flex")]
mod attention;
#[cfg(feature = "flex")]
mod buffer;
#[cfg(feature = "flex")]
mod candidate_logits;
#[cfg(feature = "flex")]
mod cross_entropy;
#[cfg(feature = "flex")]
mod dropout;
#[cfg(feature = "flex")]
mod dropout_add;
#[cfg(feature = "flex")]
mod extension;
#[cfg(feature = "flex")]
mod l2_normalize;
#[cfg(feature = "flex")]
mod layer_norm;
#[cfg(feature = "flex")]
mod linear;
#[cfg(feature = "flex")]
mod logistic_loss;
mod mask;
#[cfg(feature = "flex")]
mod matrix;
#[cfg(feature = "flex")]
mod parallel;
#[cfg(feature = "flex")]
mod sequence_embedding;
mod sequence_layout;
mod simd;
#[cfg(feature = "flex")]
mod square;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod twin;

pub use activation::Activation;
#[cfg(feature = "flex")]
pub(crate) use array::Array;
#[cfg(feature = "flex")]
pub(crate) use attention::CausalAttention;
#[cfg(feature = "flex")]
pub(crate) use candidate_logits::CandidateLogits;
#[cfg(feature = "flex")]
pub(crate) use cross_entropy::{Candidates, CrossEntropy, SampledCrossEntropy};
#[cfg(feature = "flex")]
pub(crate) use dropout::Dropout;
#[cfg(feature = "flex")]
pub(crate) use dropout_add::DropoutAdd;
#[cfg(feature = "flex")]
pub(crate) use extension::{Kernel, apply_1, apply_2, apply_3};
#[cfg(feature = "flex")]
pub(crate) use l2_normalize::L2Normalize;
#[cfg(feature = "flex")]
pub(crate) use layer_norm::LayerNorm;
#[cfg(feature = "flex")]
pub(crate) use linear::Linear;
#[cfg(feature = "flex")]
pub(crate) use logistic_loss::LogisticLoss;
pub(crate) use mask::Mask;
#[cfg(feature = "flex")]
pub(crate) use sequence_embedding::SequenceEmbedding;
pub use sequence_layout::SequenceLayout;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether operations on this tensor run as fused kernels: float32 on the Flex backend.
pub(crate) fn fused<const D: usize>(x: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    let on_flex = x.device().inner() == burn::tensor::Device::flex();
    #[cfg(not(feature = "flex"))]
    let on_flex = false;
    on_flex && x.dtype() == DType::F32 && !COMPOSED.get()
}

/// Ids of a tensor on the CPU's own backend.
#[cfg(feature = "flex")]
pub(crate) fn host_ids<const D: usize>(ids: Tensor<D, Int>) -> Vec<i64> {
    let ids = ids.into_data();
    match ids.as_slice::<i32>() {
        Ok(ids) => ids.iter().map(|&id| id.into()).collect(),
        Err(_) => ids.iter().collect(),
    }
}

/// Runs `f` with every operation of this thread composed of ordinary Burn operations, as on a GPU: to
/// compare results and times.
pub fn composed<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }
    let _restore = Restore(COMPOSED.replace(true));
    f()
}
