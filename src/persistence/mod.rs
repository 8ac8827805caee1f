//! Can we open it next year? Bundles: folders with a manifest, a format version and checksums, written all
//! or not at all.

mod bundle;
mod embedding;

pub use bundle::{Bundle, BundleWriter, FORMAT_VERSION};
pub use embedding::{BundledModel, EmbeddingBundle};
