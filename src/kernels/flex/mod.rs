//! The kernels of Burn's CPU backend.
//!
//! A kernel is a struct that implements [`Kernel`]: plain slices in, plain slices out, forward and backward.
//! `extension.rs` hangs it into Burn's autodiff graph, so that a new operation is one file here, with its
//! float64 twin in its tests, and nothing else.
//!
//! - Parts are fixed by the size of the work and summed in their order (`parallel.rs`): the number of
//!   threads never changes a bit.
//! - Large buffers are reused from step to step (`buffer.rs`), whoever lets go of the tensor that held one.
//! - `unsafe` stands in `matrix.rs`, behind functions that check every length, and in `buffer.rs`, where Burn's tensors are
//!   lent buffers.

use burn::tensor::{Int, Tensor};

mod activation_unit;
mod adam;
mod array;
mod attention;
mod batch_norm;
mod buffer;
mod candidate_logits;
mod columns;
mod cross;
mod cross_entropy;
mod dropout;
mod dropout_add;
mod embedding_bag;
mod extension;
mod factorization_machine;
mod field_linear;
mod finite;
mod in_place;
mod l2_normalize;
mod layer_norm;
mod linear;
mod logistic_loss;
mod matrix;
mod parallel;
mod recurrence;
mod rows;
mod sequence_embedding;
mod square;
mod target_attention;

pub(crate) use activation_unit::{ActivationUnit, LinearLayer, Nonlinearity};
pub(crate) use adam::{Adam, AdamStep};
pub(crate) use array::Array;
pub(crate) use attention::CausalAttention;
pub(crate) use batch_norm::{BatchNorm, ColumnMoments, Dice};
pub(crate) use buffer::clear as clear_buffers;
pub(crate) use candidate_logits::CandidateLogits;
pub(crate) use columns::Columns;
pub(crate) use cross::{CrossMatrices, CrossVector, MultiplyAdd, RowProducts};
pub(crate) use cross_entropy::{Candidates, CrossEntropy, SampledCrossEntropy};
pub(crate) use dropout::Dropout;
pub(crate) use dropout_add::DropoutAdd;
pub(crate) use embedding_bag::EmbeddingBag;
pub(crate) use extension::{Kernel, apply_1, apply_2, apply_3, apply_4};
pub(crate) use factorization_machine::FactorizationMachine;
pub(crate) use field_linear::FieldLinear;
pub(crate) use finite::ZeroIfFinite;
pub(crate) use in_place::{in_place, into_values, recycle};
pub(crate) use l2_normalize::L2Normalize;
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::Linear;
pub(crate) use logistic_loss::LogisticLoss;
pub(crate) use recurrence::Recurrence;
pub(crate) use rows::{lazy_adam, rowwise_adagrad};
pub(crate) use sequence_embedding::SequenceEmbedding;
pub(crate) use target_attention::{QueryKeyProducts, WeightedSums};

use super::{Activation, Bags, Mask, RecurrentCell, RepeatedColumns, SequenceLayout, simd};

/// Ids of a tensor on the CPU's own backend.
pub(crate) fn host_ids<const D: usize>(ids: Tensor<D, Int>) -> Vec<i64> {
    let ids = ids.into_data();
    match ids.as_slice::<i32>() {
        Ok(ids) => ids.iter().map(|&id| id.into()).collect(),
        Err(_) => ids.iter().collect(),
    }
}
