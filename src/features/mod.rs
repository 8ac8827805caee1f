//! What do we know? What is known of items beside their ids, categories and vectors of any origin; and rows of
//! many fields as rankers take them.

mod encoded_rows;
mod feature_space;
mod item_features;
mod item_vectors;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "safetensors")]
mod safetensors;
mod text_encoder;
mod text_terms;

pub use encoded_rows::{EncodedRow, EncodedRows};
pub use feature_space::FeatureSpace;
pub use item_features::ItemFeatures;
pub use item_vectors::ItemVectors;
#[cfg(feature = "parquet")]
pub use parquet::MissingItems;
pub use text_encoder::{TextEncoder, TextEncoderConfig, item_texts};
