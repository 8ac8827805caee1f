//! Models of the recall stage.

mod two_tower;

pub use two_tower::{TwoTower, TwoTowerConfig};
