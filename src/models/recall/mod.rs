//! Models of the recall stage: each narrows the catalogue to candidates.

mod bpr_mf;
mod co_visitation;
mod content;
mod ease;
mod embedding;
mod favourite_genres;
mod ials;
mod item_knn;
mod popularity;
mod sasrec;
mod session_knn;
mod slim;
mod two_tower;

pub use bpr_mf::{BprMf, BprMfConfig};
pub use co_visitation::{CoVisitationConfig, CoVisitationRecaller};
pub use content::{ContentConfig, ContentRecaller};
pub use ease::{EaseConfig, EaseRecaller};
pub use embedding::{EmbeddingRecaller, FALLBACK_CHANNEL};
pub use favourite_genres::{FavouriteGenresConfig, FavouriteGenresRecaller};
pub use ials::{Ials, IalsConfig};
pub use item_knn::{ItemKnnConfig, ItemKnnRecaller};
pub use popularity::PopularityRecaller;
pub use sasrec::{Sasrec, SasrecConfig};
pub use session_knn::{SessionKnnConfig, SessionKnnRecaller};
pub use slim::{SlimConfig, SlimRecaller};
pub use two_tower::{TwoTower, TwoTowerConfig};
