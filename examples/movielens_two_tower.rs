//! Trains a two-tower model on MovieLens, compares it with popularity, and recommends films.
//!
//! `cargo run --release --example movielens_two_tower -- --help`

mod common;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use common::run::{Example, RunArgs, run};
use common::{Prepared, two_tower};
use recsys::losses::RetrievalLoss;
use recsys::models::recall::TwoTower;
use recsys::prelude::*;
use recsys::training::{RetrievalBatches, TrainingConfig};
use serde_json::json;

/// Buffers of a training step come and go; this allocator keeps them, where the system's gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a two-tower model on MovieLens, compares it with popularity, and recommends films.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// What the model minimises
    #[arg(long, value_enum, default_value = "sampled-softmax")]
    loss: LossName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossName {
    InBatch,
    SampledSoftmax,
    FullSoftmax,
    Bpr,
    Bce,
}

impl LossName {
    fn loss(self) -> RetrievalLoss {
        match self {
            Self::InBatch => {
                RetrievalLoss::InBatchSoftmax { log_q: true, symmetric: false, n_negatives: 0, n_hard: None }
            }
            Self::SampledSoftmax => two_tower::LOSS,
            Self::FullSoftmax => RetrievalLoss::FullSoftmax,
            Self::Bpr => RetrievalLoss::Bpr { n_negatives: 4 },
            Self::Bce => RetrievalLoss::BinaryCrossEntropy { n_negatives: 4 },
        }
    }
}

fn main() -> ExitCode {
    run(&Args::parse())
}

impl Example for Args {
    type Model = TwoTower;

    const NAME: &'static str = "two-tower";

    fn args(&self) -> &RunArgs {
        &self.run
    }

    fn training(&self, data: &Prepared) -> TrainingConfig {
        two_tower::training(data)
    }

    fn model(&self, data: &Prepared, device: &Device) -> Result<TwoTower> {
        two_tower::model(data, self.loss.loss(), self.run.seed, device)
    }

    fn batches(&self, data: &Prepared) -> Result<RetrievalBatches> {
        let batches = two_tower::batches(data, self.loss.loss(), self.run.seed)?;
        if self.loss == LossName::InBatch {
            // 1,024 rows from 256 histories: in-batch negatives should come from many users.
            return batches.with_batch_size(256)?.with_positions(4);
        }
        Ok(batches)
    }

    fn loss(model: &TwoTower) -> String {
        model.config().loss.to_string()
    }

    fn settings(model: &TwoTower) -> serde_json::Value {
        json!(model.config())
    }
}
