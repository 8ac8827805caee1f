//! A run of an example: data, training or loading, evaluation beside baselines, recommendations, report.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use recsys::data::ItemTable;
use recsys::metrics::{DroppedRows, Evaluation, Experiment, HeldOut, RankingMetric, Report, evaluate};
use recsys::models::recall::{EmbeddingRecaller, PopularityRecaller};
use recsys::persistence::{BundledModel, EmbeddingBundle};
use recsys::prelude::*;
use recsys::samplers::{HardNegatives, MixedSampler, PopularitySampler, UniformSampler};
use recsys::training::{Fitted, RetrievalBatch, RetrievalBatches, Trainable, Trainer, TrainingConfig};
use serde_json::json;

use super::embedding_map::{self, Place};
use super::{DataArgs, DeviceName, Prepared, Protocol};

/// The options of every run.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: DeviceName,
    /// Passes over the training data at most; early stopping may end before [default: by data set]
    #[arg(long)]
    pub epochs: Option<usize>,
    /// From this epoch on (counted from 0) draw half of the negatives uniformly, a tenth from the tail of
    /// popularity, and the rest among the user's highest-scored unseen items, mined anew every 2 epochs
    #[arg(long, value_name = "EPOCH")]
    pub hard_from: Option<usize>,
    /// Seeds the weights, the batches and the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the trained model to this folder
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Read a trained model from this folder instead of training one
    #[arg(long, value_name = "DIR", conflicts_with_all = ["save", "epochs", "checkpoint"])]
    pub load: Option<PathBuf>,
    /// Keep checkpoints in this folder, and resume from what is there
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// Recommend for this user, by the id of the data set [default: the first one]
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Draw the loss and metric curves into this file
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Draw a map of the items into this file: neighbours in the model are neighbours on it
    #[arg(long, value_name = "FILE.svg")]
    pub map: Option<PathBuf>,
}

/// A baseline or another model, measured on the test users.
pub struct Compared {
    pub name: &'static str,
    pub loss: Option<String>,
    pub evaluation: Evaluation,
}

/// What an example brings to a run.
pub trait Example {
    type Model: BundledModel + Trainable<Batch = RetrievalBatch>;

    /// The name of the model in reports.
    const NAME: &'static str;

    fn args(&self) -> &RunArgs;

    /// A file of sequences to be read in place of a data set.
    fn sequences(&self) -> Option<&PathBuf> {
        None
    }

    fn training(&self, data: &Prepared) -> TrainingConfig;

    fn model(&self, data: &Prepared, device: &Device) -> Result<Self::Model>;

    fn batches(&self, data: &Prepared) -> Result<RetrievalBatches>;

    /// What the model was trained to minimise.
    fn loss(model: &Self::Model) -> String;

    /// The model's settings.
    fn settings(model: &Self::Model) -> serde_json::Value;

    /// What it is compared with besides popularity.
    fn peers(
        &self,
        _data: &Prepared,
        _held_out: &HeldOut,
        _device: &Device,
    ) -> Result<Vec<Compared>, Box<dyn Error>> {
        Ok(Vec::new())
    }
}

/// Runs an example; an error is said in one line.
pub fn run<E: Example>(example: &E) -> ExitCode {
    match try_run(example) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run<E: Example>(example: &E) -> Result<(), Box<dyn Error>> {
    let (start, args) = (Instant::now(), example.args());
    let device = args.device.device()?;
    let data = args.data.prepare(example.sequences(), args.seed)?;
    let read = start.elapsed();
    print_facts(&data, read);
    let user = chosen_user(args.user.as_deref(), &data)?;
    let n_items = data.dataset.n_items();
    if args.map.is_some() && n_items < embedding_map::MIN_POINTS {
        let at_least = embedding_map::MIN_POINTS;
        return Err(format!("--map: a map needs at least {at_least} items; the data have {n_items}").into());
    }

    let held_out = HeldOut::test(&data.split)?;
    let training = Instant::now();
    let (bundle, history, training_config) = match &args.load {
        Some(folder) => {
            let bundle = EmbeddingBundle::<E::Model>::load(folder, &device)?;
            if (&bundle.users, &bundle.items) != (data.dataset.users(), data.dataset.items()) {
                return Err(format!("{} was trained on other users or items", folder.display()).into());
            }
            println!("Loaded the model of {}.\n", folder.display());
            (bundle, None, None)
        }
        None => {
            let mut config = example.training(&data).with_seed(args.seed).with_progress(true);
            if let Some(epochs) = args.epochs {
                config = config.with_epochs(epochs);
            }
            if let Some(folder) = &args.checkpoint {
                config = config.with_checkpoint_dir(folder);
            }
            let model = example.model(&data, &device)?;
            let mut batches = example.batches(&data)?;
            if let Some(epoch) = args.hard_from {
                batches = batches.with_stage(epoch, harder_negatives(&data)?)?;
            }
            let fitted = fit(&data, model, &batches, config.clone())?;
            println!("{}\n", fitted.history);
            let bundle = EmbeddingBundle {
                index: index(&fitted.model)?,
                model: fitted.model,
                popularity: PopularityRecaller::fit(&data.split.train),
                users: data.dataset.users().clone(),
                items: data.dataset.items().clone(),
            };
            (bundle, Some(fitted.history), Some(config))
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

    let popularity = bundle.popularity.clone();
    let recaller = bundle.into_recaller()?;
    let evaluating = Instant::now();
    let measured = evaluate(&recaller, &held_out, data.protocol.cutoffs())?;
    let evaluating = evaluating.elapsed();
    let model = recaller.encoder();
    let report = report(args, &data, E::NAME, Some(E::loss(model)), &measured)?;
    println!("{report}\n");

    let baseline = evaluate(&popularity, &held_out, data.protocol.cutoffs())?;
    let mut peers = vec![Compared { name: "popularity", loss: None, evaluation: baseline }];
    peers.extend(example.peers(&data, &held_out, &device)?);
    let mut comparisons = Vec::new();
    let mut peer_metrics = serde_json::Map::new();
    for peer in &peers {
        let comparison = measured.compare(E::NAME, &peer.evaluation, peer.name, args.seed)?;
        println!("{comparison}\n");
        comparisons.push(comparison);
        let metrics = self::report(args, &data, peer.name, peer.loss.clone(), &peer.evaluation)?;
        peer_metrics.insert(peer.name.into(), serde_json::to_value(metrics)?["metrics"].take());
    }

    let k = data.protocol.cutoffs().last().copied().unwrap_or(10);
    let latency = latency(&held_out, |query| recaller.recall(query, k).map(drop))?;
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
            "config": { "model": E::settings(model), "training": training_config },
            "seed": args.seed,
            "dropped_rows": measured.dropped(),
            "users_without_history": measured.users_without_history(),
            "users_without_answer": measured.users_without_answer(),
            "metrics": serde_json::to_value(&report)?["metrics"],
            "baseline": peer_metrics["popularity"],
            "peers": peer_metrics,
            "comparisons": comparisons,
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
        recsys::disk::write_file(path, |file| serde_json::to_writer_pretty(file, &everything))?;
        println!("Wrote {}.", path.display());
    }
    if let Some(path) = &args.map {
        draw_map(path, &data, model, args.seed)?;
        println!("Drew the map of the items into {}.", path.display());
    }
    Ok(())
}

/// Easy, rare and hard negatives together.
fn harder_negatives(data: &Prepared) -> Result<MixedSampler> {
    let uniform = || UniformSampler::new(data.dataset.n_items());
    let tail = PopularitySampler::new(&data.item_counts(), -0.5)?;
    let hard = HardNegatives::new(10..110, 2, uniform()?)?;
    MixedSampler::new(vec![(0.5, Box::new(uniform()?)), (0.1, Box::new(tail)), (0.4, Box::new(hard))])
}

/// Trains a model and keeps the weights of the epoch with the best validation NDCG.
pub fn fit<M: EmbeddingModel + Trainable<Batch = RetrievalBatch>>(
    data: &Prepared,
    model: M,
    batches: &RetrievalBatches,
    config: TrainingConfig,
) -> Result<Fitted<M>> {
    let validation = HeldOut::validation(&data.split)?;
    let popularity = PopularityRecaller::fit(&data.split.train);
    let k = data.protocol.monitored();
    let mine = |model: &M, epoch| batches.mine(model, epoch);
    Trainer::new(config)?.fit_refreshing(model, batches, mine, |model: &M| {
        let recaller = EmbeddingRecaller::exact(model.clone(), Box::new(popularity.clone()))?;
        let evaluation = evaluate(&recaller, &validation, &[k, 100])?;
        let metric =
            |name: &str, metric, k| evaluation.mean(metric, k).map(|mean| (format!("{name}@{k}"), mean));
        let metrics = [metric("ndcg", RankingMetric::Ndcg, k), metric("recall", RankingMetric::Recall, 100)];
        Ok(metrics.into_iter().flatten().collect())
    })
}

/// Prints what the data are.
pub fn print_facts(data: &Prepared, read: Duration) {
    let Prepared { facts, split, .. } = data;
    println!("{}", facts.name);
    println!(
        "  {} users, {} items, {} interactions; read in {:.2} s",
        facts.users,
        facts.items,
        facts.interactions,
        read.as_secs_f64()
    );
    let of_validation = match data.protocol {
        Protocol::P5 => "the tenth before the last of each user",
        _ => "the last but one of each user",
    };
    println!(
        "  train {}, validation {} ({of_validation}), test {} (the last of each user)",
        split.train.len(),
        split.validation.len(),
        split.test.len()
    );
    if let Some(dropped) = DroppedRows::of(split) {
        println!("  dropped: {dropped}");
    }
    println!();
}

fn index(model: &impl EmbeddingModel) -> Result<Box<dyn VectorIndex>> {
    Ok(Box::new(ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors()?)?))
}

fn report(
    args: &RunArgs,
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

/// The median and the 99th percentile of the time that one query takes, encoding and search.
pub fn latency(held_out: &HeldOut, mut ask: impl FnMut(&Query<'_>) -> Result<()>) -> Result<[Duration; 2]> {
    let mut times = Vec::new();
    for user in held_out.users().iter().cycle().take(2_000) {
        let query = user.query();
        let start = Instant::now();
        ask(&query)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
}

/// The user to recommend for, checked before the long work begins.
pub fn chosen_user(key: Option<&str>, data: &Prepared) -> Result<UserId, String> {
    let Some(key) = key else {
        return Ok(UserId(0));
    };
    let id = data.dataset.users().id(key).map(UserId);
    id.ok_or_else(|| format!("--user {key}: no such user in the data"))
}

fn recommend<M: EmbeddingModel>(
    id: UserId,
    data: &Prepared,
    held_out: &HeldOut,
    recaller: &EmbeddingRecaller<M>,
) -> Result<()> {
    let Some(user) = held_out.users().iter().find(|user| user.user == id) else {
        return Ok(());
    };
    let key = key(data, id);
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

/// The title of an item, or its key where there is no item table.
fn name(data: &Prepared, item: ItemId) -> String {
    match data.dataset.item_table() {
        Some(table) => table.titles()[item.index()].clone(),
        None => {
            let key = data.dataset.items().key(item.0);
            format!("item {}", key.map(|key| key.to_string()).unwrap_or_default())
        }
    }
}

/// The key of a user.
pub fn key(data: &Prepared, user: UserId) -> String {
    data.dataset.users().key(user.0).map(|key| key.to_string()).unwrap_or_default()
}

/// The title of an item with its genres, where there is an item table.
pub fn title(data: &Prepared, item: ItemId) -> String {
    let with_genres = |table: &ItemTable| {
        let names = |&genre: &u32| table.genre_names()[genre as usize].as_str();
        let genres: Vec<&str> = table.genres().row(item).iter().map(names).collect();
        format!("{} ({})", name(data, item), genres.join(", "))
    };
    data.dataset.item_table().map_or_else(|| name(data, item), with_genres)
}

/// Each item in the colour of its first genre; the most popular have their names beside them.
fn draw_map(
    path: &Path,
    data: &Prepared,
    model: &impl EmbeddingModel,
    seed: u64,
) -> Result<(), Box<dyn Error>> {
    const N_LABELLED: usize = 12;
    let popular = PopularityRecaller::fit(&data.split.train).recall(&Query::default(), N_LABELLED)?;
    let popular: Vec<ItemId> = popular.into_iter().map(|candidate| candidate.item).collect();
    let items = || (0..data.dataset.n_items() as u32).map(ItemId);
    let titles: Vec<String> = items().map(|item| name(data, item)).collect();
    let genre = |item| {
        let table = data.dataset.item_table()?;
        table.genres().row(item).first().map(|&genre| table.genre_names()[genre as usize].as_str())
    };
    let place = |(item, title)| Place {
        title,
        group: genre(item).unwrap_or("no genre"),
        labelled: popular.contains(&item),
    };
    let places: Vec<Place<'_>> = items().zip(titles.iter().map(String::as_str)).map(place).collect();
    embedding_map::draw(path, &model.item_vectors()?, model.dim(), &places, seed)
}
