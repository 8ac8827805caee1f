//! What do we know? What is known of items beside their ids.

mod item_features;

pub use item_features::ItemFeatures;
