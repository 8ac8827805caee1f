//! Recommender systems in pure Rust on [Burn](https://burn.dev): train on real interactions, evaluate
//! honestly, retrieve, rank and re-rank, on CPU, WGPU and CUDA with the same code.
//!
//! A recommender narrows, scores and orders. Three traits of [`pipeline`] say so, one required method each:
//! a [`Recaller`](pipeline::Recaller) narrows the catalogue to candidates, a [`Ranker`](pipeline::Ranker)
//! scores them, a [`Reranker`](pipeline::Reranker) orders the list to show. Everything else makes, feeds,
//! trains, measures or stores an implementation of one of them:
//!
//! | module | its question |
//! |---|---|
//! | [`data`] | What happened? |
//! | [`features`] | What do we know? |
//! | [`samplers`] | What did not happen? |
//! | [`layers`], [`losses`] | What are models made of, and what do they minimise? |
//! | [`kernels`] | How is it fast? |
//! | [`training`] | How do we fit? |
//! | [`models`] | Which model? |
//! | [`index`] | Which vectors are near? |
//! | [`pipeline`] | In what order? |
//! | [`metrics`] | How good is it? |
//! | [`persistence`] | Can we open it next year? |
//! | [`disk`] | Is it all there, or nothing? |
//!
//! Users and items are dense ids ([`ids`]); a [`Vocab`](data::Vocab) ties them to the keys of the outside
//! world. Every random choice takes a seed ([`rng`]): the same seed gives the same result. Whatever a user's
//! data reaches returns a typed [`Error`](error::Error) that says where, what was expected and what came.
//!
//! # From interactions to recommendations
#![cfg_attr(feature = "flex", doc = "```")]
#![cfg_attr(not(feature = "flex"), doc = "```ignore")]
//! use recsys::index::{ExactIndex, Similarity};
//! use recsys::models::recall::{EmbeddingRecaller, PopularityRecaller, TwoTowerConfig};
//! use recsys::prelude::*;
//! use recsys::training::{RetrievalBatches, Trainer, TrainingConfig};
//!
//! let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
//! let train = data.interactions();
//!
//! let config = TwoTowerConfig::default();
//! let batches = RetrievalBatches::new(train, config.loss, config.max_len)?;
//! let model = config.init(data.n_users(), &ItemFeatures::none(data.n_items()), 1, &Device::flex())?;
//! let training = TrainingConfig::default().with_epochs(1);
//! let model = Trainer::new(training)?.fit(model, &batches, |_| Ok(vec![]))?.model;
//!
//! let index = ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors()?)?;
//! let popularity = PopularityRecaller::fit(train);
//! let recaller = EmbeddingRecaller::new(model, Box::new(index), Box::new(popularity))?;
//!
//! let history = Sequences::new(train).items(UserId(0)).to_vec();
//! let query = Query::new(&history).excluding(history.iter().copied());
//! assert_eq!(recaller.recall(&query, 10)?.len(), 10);
//! # Ok::<(), Error>(())
//! ```
#![deny(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(feature = "flex"),
    allow(dead_code, unused_imports, unused_variables, reason = "what only the fused kernels use")
)]

pub mod data;
pub mod disk;
pub mod error;
pub mod features;
pub mod ids;
pub mod index;
pub mod kernels;
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

pub use burn;

/// The program of the README, compiled and run with the tests.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../README.md")]
struct Readme;
