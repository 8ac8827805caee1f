//! What do we know? What is known of items beside their ids, categories and vectors of any origin; statistics of
//! users and items as of each moment; and rows of many fields as rankers take them.

mod aggregate_features;
mod encoded_rows;
mod feature_space;
mod feature_store;
mod item_features;
mod item_vectors;
mod moments;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod running_statistics;
#[cfg(feature = "safetensors")]
mod safetensors;
mod text_encoder;
mod text_terms;

pub use aggregate_features::{AggregateConfig, AggregateFeatures};
pub use encoded_rows::{EncodedRow, EncodedRows};
pub use feature_space::FeatureSpace;
pub use feature_store::FeatureStore;
pub use item_features::ItemFeatures;
pub use item_vectors::ItemVectors;
#[cfg(feature = "parquet")]
pub use parquet::MissingItems;
pub use text_encoder::{TextEncoder, TextEncoderConfig, item_texts};
