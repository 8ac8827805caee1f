//! Models of the recall stage: each narrows the catalogue to candidates.

mod bpr_mf;
mod co_visitation;
mod ease;
mod embedding;
mod ials;
mod item_knn;
mod popularity;
mod sasrec;
mod session_knn;
mod slim;
mod two_tower;

pub use bpr_mf::{BprMf, BprMfConfig};
pub use co_visitation::{CoVisitationConfig, CoVisitationRecaller};
pub use ease::{EaseConfig, EaseRecaller};
pub use embedding::{EmbeddingRecaller, FALLBACK_CHANNEL};
pub use ials::{Ials, IalsConfig};
pub use item_knn::{ItemKnnConfig, ItemKnnRecaller};
pub use popularity::PopularityRecaller;
pub use sasrec::{Sasrec, SasrecConfig};
pub use session_knn::{SessionKnnConfig, SessionKnnRecaller};
pub use slim::{SlimConfig, SlimRecaller};
pub use two_tower::{TwoTower, TwoTowerConfig};
