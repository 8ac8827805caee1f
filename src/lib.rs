//! Recommender systems in pure Rust on [Burn](https://burn.dev).
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod data;
pub mod error;
pub mod ids;
pub mod index;
pub mod pipeline;
pub mod prelude;
pub mod rng;
pub mod top_k;
