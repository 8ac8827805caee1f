//! Can we open it next year? Bundles: folders with a manifest, a format version and checksums, written all
//! or not at all.

mod bundle;
mod embedding;
mod ranking;
#[cfg(feature = "safetensors")]
mod safetensors;

pub use bundle::{Bundle, BundleWriter, FORMAT_VERSION};
pub use embedding::{BundledModel, EmbeddingBundle};
pub use ranking::RankingBundle;
#[cfg(feature = "safetensors")]
pub use safetensors::{WeightLayout, load_safetensors, save_safetensors};
