//! Trains SASRec on MovieLens, or on any file of sequences, and compares it with popularity, item-to-item
//! similarity and a two-tower model.
//!
//! `cargo run --release --example movielens_sasrec -- --help`

mod common;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use common::run::{Compared, Example, RunArgs, fit, run};
use common::{Prepared, Protocol, two_tower};
use recsys::layers::{NormPlacement, TableUpdate};
use recsys::losses::RetrievalLoss;
use recsys::metrics::{HeldOut, evaluate};
use recsys::models::recall::{
    EmbeddingRecaller, ItemKnnConfig, ItemKnnRecaller, PopularityRecaller, Sasrec, SasrecConfig,
};
use recsys::prelude::*;
use recsys::samplers::PopularitySampler;
use recsys::training::{LearningRateSchedule, RetrievalBatches, TrainingConfig, Windows};
use serde_json::json;

/// Buffers of a training step come and go; this allocator keeps them, where the system's gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains SASRec on MovieLens, or on any file of sequences, and compares it with popularity, item-to-item
/// similarity and a two-tower model.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Train on this file of lines `user item`, each user's in the order of time, in place of a data set
    #[arg(long, value_name = "FILE")]
    sequences: Option<PathBuf>,
    /// What the model minimises
    #[arg(long, value_enum, default_value = "full-softmax")]
    loss: LossName,
    /// Negatives: of all rows together for the sampled softmax, of each row otherwise [default: 3000 for the
    /// sampled softmax, 256 for gBCE, 1 otherwise]
    #[arg(long, value_name = "N")]
    negatives: Option<usize>,
    /// Draw negatives by popularity^ALPHA instead of uniformly; the sampled softmax then gets its logQ correction
    #[arg(long, value_name = "ALPHA")]
    popularity: Option<f64>,
    /// The calibration of gBCE
    #[arg(long, default_value_t = 0.75, value_name = "T")]
    calibration: f64,
    /// The last items of a history that are read [default: 200 under p1, 50 for small data, else 100]
    #[arg(long, value_name = "N")]
    max_len: Option<usize>,
    /// The width of every vector
    #[arg(long, default_value_t = 64)]
    d_model: usize,
    /// Transformer blocks
    #[arg(long, default_value_t = 2)]
    blocks: usize,
    /// Heads of the attention
    #[arg(long, default_value_t = 1)]
    heads: usize,
    /// The probability of dropping in training [default: 0.1 under p1, else 0.2]
    #[arg(long, value_name = "P")]
    dropout: Option<f64>,
    /// Normalise after each residual sum, as Vaswani et al. 2017, instead of before each sub-layer
    #[arg(long)]
    post_norm: bool,
    /// Update only the rows of the item table that a batch names: for very large catalogues
    #[arg(long)]
    sparse: bool,
    /// Read only the last `max-len` items of each history, as the SASRec paper, instead of all
    #[arg(long)]
    newest: bool,
    /// Histories in a batch [default: 32 for small data, else 128]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// The learning rate of Adam, which falls to 0 over the epochs along a cosine
    #[arg(long, default_value_t = 3e-3)]
    learning_rate: f64,
    /// Keep the learning rate as it is
    #[arg(long)]
    constant: bool,
    /// Epochs without a better validation NDCG after which training stops
    #[arg(long, default_value_t = 10)]
    patience: usize,
    /// Skip the comparison with item-to-item similarity and a two-tower model
    #[arg(long)]
    alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossName {
    FullSoftmax,
    SampledSoftmax,
    Gbce,
    Bce,
    Bpr,
}

impl Args {
    fn config(&self, data: &Prepared) -> SasrecConfig {
        let n = |default| self.negatives.unwrap_or(default);
        let loss = match self.loss {
            LossName::FullSoftmax => RetrievalLoss::FullSoftmax,
            LossName::SampledSoftmax => {
                RetrievalLoss::SampledSoftmax { n_negatives: n(3000), log_q: self.popularity.is_some() }
            }
            LossName::Gbce => {
                RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: n(256), t: self.calibration }
            }
            LossName::Bce => RetrievalLoss::BinaryCrossEntropy { n_negatives: n(1) },
            LossName::Bpr => RetrievalLoss::Bpr { n_negatives: n(1) },
        };
        let max_len = match data.protocol {
            Protocol::P1 => 200,
            _ if data.is_small() => 50,
            _ => 100,
        };
        SasrecConfig {
            d_model: self.d_model,
            n_blocks: self.blocks,
            n_heads: self.heads,
            d_hidden: self.d_model,
            norm: if self.post_norm { NormPlacement::Post } else { NormPlacement::Pre },
            max_len: self.max_len.unwrap_or(max_len),
            dropout: self.dropout.unwrap_or(if data.protocol == Protocol::P1 { 0.1 } else { 0.2 }),
            table_update: if self.sparse { TableUpdate::Sparse } else { TableUpdate::Dense },
            loss,
            ..SasrecConfig::default()
        }
    }
}

fn main() -> ExitCode {
    run(&Args::parse())
}

impl Example for Args {
    type Model = Sasrec;

    const NAME: &'static str = "SASRec";

    fn args(&self) -> &RunArgs {
        &self.run
    }

    fn sequences(&self) -> Option<&PathBuf> {
        self.sequences.as_ref()
    }

    fn training(&self, data: &Prepared) -> TrainingConfig {
        let (schedule, epochs) = match data.protocol {
            _ if self.constant => (LearningRateSchedule::Constant, 200),
            Protocol::P1 => (LearningRateSchedule::CosineDecay { warmup_steps: 0 }, 60),
            _ => (LearningRateSchedule::CosineDecay { warmup_steps: 0 }, 40),
        };
        TrainingConfig::default()
            .with_epochs(epochs)
            .with_learning_rate(self.learning_rate)
            .with_schedule(schedule)
            .with_patience(self.patience)
    }

    fn model(&self, data: &Prepared, device: &Device) -> Result<Sasrec> {
        self.config(data).init(data.dataset.n_items(), self.run.seed, device)
    }

    fn batches(&self, data: &Prepared) -> Result<RetrievalBatches> {
        let SasrecConfig { loss, max_len, .. } = self.config(data);
        let batches = RetrievalBatches::new(&data.split.train, loss, max_len)?
            .with_windows(if self.newest { Windows::Newest } else { Windows::All })
            .with_batch_size(self.batch_size.unwrap_or(if data.is_small() { 32 } else { 128 }))?
            .with_unseen_negatives()
            .with_seed(self.run.seed);
        match self.popularity {
            Some(alpha) => batches.with_sampler(PopularitySampler::new(&data.item_counts(), alpha)?),
            None => Ok(batches),
        }
    }

    fn loss(model: &Sasrec) -> String {
        model.config().loss.to_string()
    }

    fn settings(model: &Sasrec) -> serde_json::Value {
        json!(model.config())
    }

    fn peers(
        &self,
        data: &Prepared,
        held_out: &HeldOut,
        device: &Device,
    ) -> Result<Vec<Compared>, Box<dyn Error>> {
        if self.alone {
            return Ok(Vec::new());
        }
        let train = &data.split.train;
        let item_knn = ItemKnnRecaller::fit(train, &ItemKnnConfig::default())?;
        let model = two_tower::model(data, two_tower::LOSS, self.run.seed, device)?;
        let batches = two_tower::batches(data, two_tower::LOSS, self.run.seed)?;
        let fitted = fit(data, model, &batches, two_tower::training(data))?;
        let two_tower = EmbeddingRecaller::exact(fitted.model, Box::new(PopularityRecaller::fit(train)))?;
        let measure = |recaller: &dyn Recaller| evaluate(recaller, held_out, data.protocol.cutoffs());
        Ok(vec![
            Compared { name: "item-to-item", loss: None, evaluation: measure(&item_knn)? },
            Compared {
                name: "two-tower",
                loss: Some(two_tower::LOSS.to_string()),
                evaluation: measure(&two_tower)?,
            },
        ])
    }
}
