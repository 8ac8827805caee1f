//! Trains a two-tower model on MovieLens, compares it with popularity, and recommends films.
//!
//! `cargo run --release --example movielens_two_tower -- --help`

mod common;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use common::{DataArgs, DatasetName, DeviceName, Prepared};
use recsys::data::ItemTable;
use recsys::features::ItemFeatures;
use recsys::index::{ExactIndex, Similarity, VectorIndex};

use recsys::losses::RetrievalLoss;
use recsys::metrics::{Evaluation, Experiment, HeldOut, RankingMetric, Report, evaluate};
use recsys::models::recall::{EmbeddingRecaller, PopularityRecaller, TwoTower, TwoTowerConfig};
use recsys::persistence::TwoTowerBundle;
use recsys::prelude::*;
use recsys::training::{History, LearningRateSchedule, Optimizer, RetrievalBatches, Trainer, TrainingConfig};
use serde_json::json;

/// Buffers of a training step come and go; this allocator keeps them, where the system's gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains a two-tower model on MovieLens, compares it with popularity, and recommends films.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// Passes over the training data at most; early stopping may end before [default: by data set]
    #[arg(long)]
    epochs: Option<usize>,
    /// Seeds the weights, the batches and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the model minimises
    #[arg(long, value_enum, default_value = "sampled-softmax")]
    loss: LossName,
    /// Write the trained model to this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Read a trained model from this folder instead of training one
    #[arg(long, value_name = "DIR", conflicts_with_all = ["save", "epochs", "checkpoint"])]
    load: Option<PathBuf>,
    /// Keep checkpoints in this folder, and resume from what is there
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Recommend for this user, by the id of the data set [default: the first one]
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Draw the loss and metric curves into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
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
            Self::SampledSoftmax => RetrievalLoss::SampledSoftmax { n_negatives: 512 },
            Self::FullSoftmax => RetrievalLoss::FullSoftmax,
            Self::Bpr => RetrievalLoss::Bpr { n_negatives: 4 },
            Self::Bce => RetrievalLoss::BinaryCrossEntropy { n_negatives: 4 },
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let device = args.device.device()?;
    let data = args.data.prepare(args.seed)?;
    let read = start.elapsed();
    print_facts(&data, read);
    let user = chosen_user(args, &data)?;

    let training = Instant::now();
    let (bundle, history, training_config) = match &args.load {
        Some(folder) => {
            let bundle = TwoTowerBundle::load(folder, &device)?;
            if (&bundle.users, &bundle.items) != (data.dataset.users(), data.dataset.items()) {
                return Err(format!("{} was trained on other users or items", folder.display()).into());
            }
            println!("Loaded the model of {}.\n", folder.display());
            (bundle, None, None)
        }
        None => {
            let config = training_config(args, data.name);
            let (bundle, history) = train(args, &data, config.clone(), &device)?;
            println!("{history}\n");
            (bundle, Some(history), Some(config))
        }
    };
    let training = training.elapsed();
    if let (Some(path), Some(history)) = (&args.plot, &history) {
        history.plot_svg(path)?;
    }
    if let Some(folder) = &args.save {
        bundle.save(folder)?;
        println!("Saved the model to {}.\n", folder.display());
    }

    let held_out = HeldOut::test(&data.split.train, &data.split.validation, &data.split.test)?;
    let popularity = bundle.popularity.clone();
    let recaller = bundle.into_recaller()?;
    let evaluating = Instant::now();
    let measured = evaluate(&recaller, &held_out, data.protocol.cutoffs())?;
    let evaluating = evaluating.elapsed();
    let baseline = evaluate(&popularity, &held_out, data.protocol.cutoffs())?;
    let loss = recaller.encoder().config().loss.to_string();
    let report = report(args, &data, "two-tower", Some(loss), &measured)?;
    let baseline_report = report_baseline(args, &data, &baseline)?;
    let comparison = measured.compare("two-tower", &baseline, "popularity", args.seed)?;
    println!("{report}\n\n{comparison}\n");

    let latency = latency(&recaller, &held_out, data.protocol)?;
    println!(
        "One query, the whole catalogue: p50 {:.0} µs, p99 {:.0} µs.\n",
        1e6 * latency[0].as_secs_f64(),
        1e6 * latency[1].as_secs_f64()
    );
    recommend(user, &data, &held_out, &recaller)?;
    let total = start.elapsed();
    println!("Done in {:.1} s, of which training {:.1} s.", total.as_secs_f64(), training.as_secs_f64());

    if let Some(path) = &args.report {
        let everything = json!({
            "protocol": data.protocol.name(),
            "dataset": data.facts,
            "config": { "model": recaller.encoder().config(), "training": training_config },
            "seed": args.seed,
            "metrics": serde_json::to_value(&report)?["metrics"],
            "baseline": serde_json::to_value(&baseline_report)?["metrics"],
            "comparison": comparison,
            "history": history,
            "timings": {
                "read_s": read.as_secs_f64(),
                "train_s": training.as_secs_f64(),
                "evaluate_s": evaluating.as_secs_f64(),
                "query_p50_us": 1e6 * latency[0].as_secs_f64(),
                "query_p99_us": 1e6 * latency[1].as_secs_f64(),
                "total_s": total.as_secs_f64(),
            },
        });
        write_whole(path, &serde_json::to_vec_pretty(&everything)?)?;
        println!("Wrote {}.", path.display());
    }
    Ok(())
}

fn print_facts(data: &Prepared, read: Duration) {
    let Prepared { facts, split, .. } = data;
    println!("{}", facts.name);
    println!(
        "  {} users, {} items, {} interactions; read in {:.2} s",
        facts.users,
        facts.items,
        facts.interactions,
        read.as_secs_f64()
    );
    println!(
        "  train {}, validation {} (the last but one of each user), test {} (the last of each user)\n",
        split.train.len(),
        split.validation.len(),
        split.test.len()
    );
}

fn training_config(args: &Args, dataset: DatasetName) -> TrainingConfig {
    let epochs = if dataset == DatasetName::Ml1m { 10 } else { 30 };
    let config = TrainingConfig::default()
        .with_epochs(args.epochs.unwrap_or(epochs))
        .with_optimizer(Optimizer::adamw(0.01))
        .with_learning_rate(1e-3)
        .with_schedule(LearningRateSchedule::LinearDecay { warmup_steps: 100 })
        .with_patience(5)
        .with_seed(args.seed)
        .with_progress(true);
    match &args.checkpoint {
        Some(folder) => config.with_checkpoint_dir(folder),
        None => config,
    }
}

fn model_config(args: &Args) -> TwoTowerConfig {
    TwoTowerConfig { loss: args.loss.loss(), ..TwoTowerConfig::default() }
}

fn train(
    args: &Args,
    data: &Prepared,
    training: TrainingConfig,
    device: &Device,
) -> Result<(TwoTowerBundle, History), Box<dyn Error>> {
    let Prepared { dataset, split, protocol, .. } = data;
    let config = model_config(args);
    let features = match dataset.item_table() {
        Some(table) => ItemFeatures::genres(table),
        None => ItemFeatures::none(dataset.n_items()),
    };
    let mut batches = RetrievalBatches::new(&split.train, config.loss, config.max_len)?.with_seed(args.seed);
    if args.loss == LossName::InBatch {
        // 1,024 rows from 256 histories: in-batch negatives should come from many users.
        batches = batches.with_batch_size(256)?.with_positions(4)?;
    }
    let model = config.init(dataset.n_users(), &features, args.seed, device)?;
    let popularity = PopularityRecaller::fit(&split.train);
    let validation = HeldOut::validation(&split.train, &split.validation)?;
    let k = protocol.monitored();
    let fitted = Trainer::new(training)?.fit(model, &batches, |model: &TwoTower| {
        let recaller = EmbeddingRecaller::new(model.clone(), index(model)?, Box::new(popularity.clone()))?;
        let evaluation = evaluate(&recaller, &validation, &[k, 100])?;
        let metric =
            |name: &str, metric, k| evaluation.mean(metric, k).map(|mean| (format!("{name}@{k}"), mean));
        let metrics = [metric("ndcg", RankingMetric::Ndcg, k), metric("recall", RankingMetric::Recall, 100)];
        Ok(metrics.into_iter().flatten().collect())
    })?;
    let bundle = TwoTowerBundle {
        index: index(&fitted.model)?,
        model: fitted.model,
        popularity,
        users: dataset.users().clone(),
        items: dataset.items().clone(),
    };
    Ok((bundle, fitted.history))
}

fn index(model: &TwoTower) -> Result<Box<dyn VectorIndex>> {
    Ok(Box::new(ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors()?)?))
}

fn report(
    args: &Args,
    data: &Prepared,
    model: &str,
    loss: Option<String>,
    measured: &Evaluation,
) -> Result<Report> {
    measured.report(Experiment {
        protocol: data.protocol.name().into(),
        dataset: data.facts.clone(),
        model: model.into(),
        loss,
        seed: args.seed,
    })
}

fn report_baseline(args: &Args, data: &Prepared, measured: &Evaluation) -> Result<Report> {
    report(args, data, "popularity", None, measured)
}

/// The median and the 99th percentile of the time that one query takes, encoding and search.
fn latency(recaller: &dyn Recaller, held_out: &HeldOut, protocol: common::Protocol) -> Result<[Duration; 2]> {
    let k = protocol.cutoffs().last().copied().unwrap_or(10);
    let mut times = Vec::new();
    for user in held_out.users().iter().cycle().take(2_000) {
        let query = user.query();
        let start = Instant::now();
        recaller.recall(&query, k)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
}

/// The user to recommend for, checked before the long work begins.
fn chosen_user(args: &Args, data: &Prepared) -> Result<UserId, String> {
    let Some(key) = &args.user else {
        return Ok(UserId(0));
    };
    let id = data.dataset.users().id(key.as_str()).map(UserId);
    id.ok_or_else(|| format!("--user {key}: no such user among those with 5 ratings of at least 4"))
}

fn recommend(
    id: UserId,
    data: &Prepared,
    held_out: &HeldOut,
    recaller: &EmbeddingRecaller<TwoTower>,
) -> Result<()> {
    let Some(user) = held_out.users().iter().find(|user| user.user == id) else {
        return Ok(());
    };
    let key = data.dataset.users().key(id.0).map(|key| key.to_string()).unwrap_or_default();
    println!("The last items that user {key} liked, latest first:");
    user.history.iter().rev().take(10).for_each(|&item| println!("    {}", title(data, item)));
    println!("Recommended to user {key}:");
    for (rank, candidate) in recaller.recall(&user.query(), 10)?.into_iter().enumerate() {
        let mark = if user.relevant.contains(&candidate.item) { "  ← the held-out item" } else { "" };
        println!("{:3} {:.3}  {}{mark}", rank + 1, candidate.score, title(data, candidate.item));
    }
    if let Some(&item) = user.history.last() {
        println!("Most like {}:", title(data, item));
        for candidate in recaller.similar_items(item, 5, &ItemFilter::all())? {
            println!("    {:.3}  {}", candidate.score, title(data, candidate.item));
        }
    }
    println!();
    Ok(())
}

/// The title and genres of an item, or its key where there is no item table.
fn title(data: &Prepared, item: ItemId) -> String {
    let with_genres = |table: &ItemTable| {
        let names = |&genre: &u32| table.genre_names()[genre as usize].as_str();
        let genres: Vec<&str> = table.genres().row(item).iter().map(names).collect();
        format!("{} ({})", table.titles()[item.index()], genres.join(", "))
    };
    match data.dataset.item_table() {
        Some(table) => with_genres(table),
        None => format!(
            "item {}",
            data.dataset.items().key(item.0).map(|key| key.to_string()).unwrap_or_default()
        ),
    }
}

/// Writes a file that appears complete or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let scratch = path.with_extension("json.partial");
    fs::write(&scratch, bytes)?;
    fs::rename(scratch, path)
}
