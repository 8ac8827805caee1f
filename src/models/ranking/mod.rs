//! Models of the ranking stage: each turns the fields of a user and a candidate into a score.

mod dcn;
mod deep_fm;
mod din;
mod feature_ranker;
mod fm;
mod logistic;
mod wide_deep;

pub use dcn::{Dcn, DcnConfig, DcnStructure};
pub use deep_fm::{DeepFm, DeepFmConfig};
pub use din::{Din, DinConfig};
pub use feature_ranker::FeatureRanker;
pub use fm::{Fm, FmConfig};
pub use logistic::{Logistic, LogisticConfig};
pub use wide_deep::{WideDeep, WideDeepConfig};
