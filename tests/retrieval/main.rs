//! Retrieval models from interactions to answers, and how they are trained, repeated, interrupted and exchanged. One binary:
//! each links all of Burn.

#[path = "../common/mod.rs"]
mod common;
mod determinism;
mod hard_negatives;
mod item_vectors;
mod pytorch_weights;
mod resume;
mod sasrec;
mod sparse_embedding;
mod two_tower;
