//! Models of the recall stage.

mod embedding;
mod two_tower;

pub use embedding::{EmbeddingRecaller, FALLBACK_CHANNEL};
pub use two_tower::{TwoTower, TwoTowerConfig};
