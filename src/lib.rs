//! Recommender systems in pure Rust on [Burn](https://burn.dev).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod data;
pub mod error;
pub mod features;
pub mod ids;
pub mod index;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod models;
pub mod persistence;
pub mod pipeline;
pub mod prelude;
pub mod rng;
pub mod samplers;
pub mod top_k;
pub mod training;
