//! Every device does what Flex does: layers, losses, optimizers, whole training runs, saved models and answers
//! agree within 10⁻³, on CUDA within 4 · 10⁻².
//!
//! ```text
//! RECSYS_REQUIRE_DEVICE=wgpu cargo test --release --features wgpu --test devices
//! ```
#![cfg(feature = "flex")]

mod others;

mod losses;
mod modules;
mod ranking;
mod recommendations;
mod training;
