//! Models of the re-ranking stage: each orders the list to show, looking at the list as a whole.

mod blend;
mod calibration;
mod dpp;
mod mmr;
mod popularity_debias;
mod rules;

pub use blend::{Blend, BlendWeights};
pub use calibration::{Calibration, CalibrationConfig};
pub use dpp::Dpp;
pub use mmr::Mmr;
pub use popularity_debias::PopularityDebias;
pub use rules::{Boost, Cap, Freshness, Pin, Rules, RulesConfig};
