//! Models of the recall stage: each narrows the catalogue to candidates.

mod embedding;
mod item_knn;
mod popularity;
mod sasrec;
mod two_tower;

pub use embedding::{EmbeddingRecaller, FALLBACK_CHANNEL};
pub use item_knn::ItemKnnRecaller;
pub use popularity::PopularityRecaller;
pub use sasrec::{Sasrec, SasrecConfig};
pub use two_tower::{TwoTower, TwoTowerConfig};
