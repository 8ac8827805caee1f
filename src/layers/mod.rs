//! Burn building blocks that the models share. Every weight and every dropout mask comes from a seeded
//! [`Rng`](crate::rng::Rng), never from the device's global generator.

mod activation;
mod attention;
mod batch_norm;
mod bilinear_fusion;
mod cross_network;
mod dice;
mod dropout;
mod embedding;
mod embedding_bag;
mod factorization_machine;
mod field_embedding;
mod field_vectors;
mod gated_fusion;
mod history_encoder;
mod init;
mod item_content;
mod l2_normalize;
mod layer_norm;
mod linear;
mod logit_of_product;
mod mixture_of_experts;
mod mlp;
mod multi_hot_embedding;
mod pooling;
mod recent_items;
mod recurrent;
mod repeated_fields;
pub(crate) mod row_tape;
mod sequence_embedding;
mod target_attention;
mod time_first;
mod towers;
mod transformer;
mod transformer_encoder;

pub use activation::Activation;
pub use attention::{CausalSelfAttention, CausalSelfAttentionConfig, causal_attention};
pub use batch_norm::BatchNorm;
pub use bilinear_fusion::BilinearFusion;
pub use cross_network::{Cross, CrossNetwork};
pub use dice::Dice;
pub(crate) use dropout::check_dropout;
pub use dropout::{dropout, dropout_add};
pub(crate) use embedding::check_ids;
pub use embedding::{Embedding, TableUpdate};
use embedding_bag::{embedding_bag, gather, sum_by_position, unique};
pub use factorization_machine::factorization_machine;
pub use field_embedding::{FieldEmbedding, FirstOrder};
pub use field_vectors::FieldVectors;
pub use gated_fusion::GatedFusion;
pub use history_encoder::{HistoryEncoder, HistoryEncoderConfig};
pub use init::Init;
use init::param;
pub(crate) use init::without_weights;
pub use item_content::ItemContent;
pub use l2_normalize::l2_normalize;
pub use layer_norm::LayerNorm;
#[cfg(all(test, feature = "flex"))]
pub(crate) use layer_norm::layer_norm;
pub use linear::Linear;
pub use logit_of_product::logit_of_product;
pub use mixture_of_experts::{MixtureOfExperts, mix_experts};
pub use mlp::{HiddenNorm, Mlp, MlpConfig};
pub use multi_hot_embedding::{MultiHot, MultiHotEmbedding};
pub use pooling::{HistoryPooling, Pooling};
pub(crate) use recent_items::recent_items;
pub use recurrent::{Recurrent, recurrence};
pub use sequence_embedding::sequence_embedding;
pub use target_attention::{AttentionWeights, TargetAttention};
pub use towers::Towers;
pub use transformer::{NormPlacement, TransformerBlock, TransformerBlockConfig};
pub use transformer_encoder::TransformerEncoder;

pub use crate::kernels::{RecurrentCell, SequenceLayout};

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::{ErrorKind, Result};

/// Ids as an integer tensor of shape `[ids.len()]`.
pub fn id_tensor(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(ids.iter().map(|&id| i64::from(id)).collect(), [ids.len()]), device)
}

/// The numbers of a tensor, row-major, on the host.
///
/// # Errors
/// A device that fails to give them back.
pub fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as().map_err(|error| ErrorKind::Device { reason: error.to_string() }.into())
}
