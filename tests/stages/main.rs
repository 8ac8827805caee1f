//! The stages of a pipeline, and the pipeline. One binary: each links all of Burn.

#[path = "../common/mod.rs"]
mod common;
mod out_of_fold;
mod pipeline;
mod pipeline_bundle;
mod ranking;
mod recallers;
mod rerankers;
