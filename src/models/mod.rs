//! The models, by the stage they serve. A model is one file; models never import each other.

pub mod ranking;
pub mod recall;
pub mod reranking;
