//! Models of the ranking stage: each turns the fields of a user and a candidate into a score.

mod biased_mf;
mod bst;
mod dcn;
mod deep_fm;
mod din;
mod esmm;
mod feature_ranker;
mod final_mlp;
mod fm;
#[cfg(feature = "gbdt")]
mod gbdt;
mod interaction_mlp;
mod logistic;
mod mmoe;
mod neu_mf;
mod ple;
mod wide_deep;

pub use biased_mf::{BiasedMf, BiasedMfConfig};
pub use bst::{Bst, BstConfig};
pub use dcn::{Dcn, DcnConfig, DcnStructure};
pub use deep_fm::{DeepFm, DeepFmConfig};
pub use din::{Din, DinConfig};
pub use esmm::{Esmm, EsmmConfig};
pub use feature_ranker::FeatureRanker;
pub use final_mlp::{FinalMlp, FinalMlpConfig};
pub use fm::{Fm, FmConfig};
#[cfg(feature = "gbdt")]
pub use gbdt::{Gbdt, GbdtConfig};
pub use interaction_mlp::{InteractionMlp, InteractionMlpConfig};
pub use logistic::{Logistic, LogisticConfig};
pub use mmoe::{Mmoe, MmoeConfig};
pub use neu_mf::{NeuMf, NeuMfConfig};
pub use ple::{Ple, PleConfig};
pub use wide_deep::{WideDeep, WideDeepConfig};
