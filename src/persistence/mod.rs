//! Can we open it next year? Bundles: folders with a manifest, a format version and checksums, written all or not at all, as
//! [`disk`](crate::disk) says.

mod bundle;
mod embedding;
#[cfg(all(test, unix, feature = "flex"))]
mod kills;
mod part;
mod pipeline;
mod ranking;
mod registry;
#[cfg(feature = "safetensors")]
mod safetensors;
mod weights;

pub use bundle::{Bundle, BundleWriter};
pub use embedding::{BundledModel, EmbeddingBundle};
pub use part::{Part, PartReader, PartWriter};
pub use pipeline::{PipelineBundle, RowFeatures};
pub use ranking::{RankingBundle, read_network, write_network};
pub use registry::Registry;
#[cfg(feature = "safetensors")]
pub use safetensors::{WeightLayout, load_safetensors, save_safetensors};
