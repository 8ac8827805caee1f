//! Models of the recall stage: each narrows the catalogue to candidates.

mod bpr_mf;
mod embedding;
mod ials;
mod item_knn;
mod popularity;
mod sasrec;
mod two_tower;

pub use bpr_mf::{BprMf, BprMfConfig};
pub use embedding::{EmbeddingRecaller, FALLBACK_CHANNEL};
pub use ials::{Ials, IalsConfig};
pub use item_knn::ItemKnnRecaller;
pub use popularity::PopularityRecaller;
pub use sasrec::{Sasrec, SasrecConfig};
pub use two_tower::{TwoTower, TwoTowerConfig};
