//! Models of the recall stage: each narrows the catalogue to candidates.

mod embedding;
mod popularity;
mod two_tower;

pub use embedding::{EmbeddingRecaller, FALLBACK_CHANNEL};
pub use popularity::PopularityRecaller;
pub use two_tower::{TwoTower, TwoTowerConfig};
