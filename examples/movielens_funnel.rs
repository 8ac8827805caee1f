//! Fits recall channels on MovieLens, fuses them, re-ranks what they find, and follows the held-out films through the
//! stages.
//!
//! `cargo run --release --example movielens_funnel -- --help`

#[allow(dead_code, reason = "shared with the examples of one model")]
mod common;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use common::run::fit;
use common::{DataArgs, DeviceName, Prepared, sasrec};
use recsys::features::ItemVectors;
use recsys::metrics::{Evaluation, Experiment, HeldOut, RankingMetric, ablate, evaluate, evaluate_funnel};
use recsys::models::recall::{
    CoVisitationConfig, CoVisitationRecaller, EaseConfig, EaseRecaller, EmbeddingRecaller, Ials, IalsConfig,
    ItemKnnConfig, ItemKnnRecaller, PopularityRecaller, SessionKnnConfig, SessionKnnRecaller,
};
use recsys::models::reranking::Mmr;
use recsys::persistence::{PipelineBundle, Registry};
use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
use recsys::prelude::*;
use recsys::training::FusionWeightsConfig;
use serde_json::json;

/// Buffers of a training step come and go; this allocator keeps them, where the system's gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The candidates of each channel, and of all of them together.
const N_CANDIDATES: usize = 500;
const N_RECALLED: usize = 1_000;

/// Fits recall channels on MovieLens, fuses them with weights chosen on the validation part, re-ranks what they find, and
/// follows the held-out films through the stages.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// Passes of SASRec over the training data at most; 0 leaves it out [default: by data set]
    #[arg(long)]
    epochs: Option<usize>,
    /// Also measure the fusion without each of its channels
    #[arg(long)]
    ablate: bool,
    /// The share of relevance in the re-ranking by maximal marginal relevance; the rest is diversity
    #[arg(long, default_value_t = 0.7, value_name = "LAMBDA")]
    mmr: f32,
    /// Explain the answer to this user, by the id of the data set [default: the first one]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Save the whole pipeline to this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Answer the user from a pipeline that --save wrote, and fit nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["save", "report", "epochs", "ablate"])]
    load: Option<PathBuf>,
    /// Seeds the weights, the batches and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
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

fn run(args: &Args) -> std::result::Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let device = args.device.device()?;
    let data = args.data.prepare(None, args.seed)?;
    let user = common::run::chosen_user(args.user.as_deref(), &data)?;
    common::run::print_facts(&data, start.elapsed());
    if let Some(folder) = &args.load {
        return answer_from(folder, user, &data, &device);
    }
    let Split { train, validation, test, .. } = &data.split;
    let on_validation = HeldOut::validation(train, validation)?;
    let on_test = HeldOut::test(train, validation, test)?;

    let (channels, mmr) = channels(args, &data, &device)?;
    let mut singles = Vec::new();
    println!("{}", header(&data));
    for channel in &channels {
        let evaluation = evaluate(channel.recaller(), &on_test, data.protocol.cutoffs())?;
        println!("{}", line(&channel.config().name, &evaluation));
        singles.push((channel.config().name.clone(), evaluation));
    }
    let equal = Fusion::new(FusionMethod::default(), channels)?;
    let last = *data.protocol.cutoffs().last().unwrap_or(&10);
    let fusion =
        FusionWeightsConfig { k: last, ..FusionWeightsConfig::default() }.fit(equal, &on_validation)?;
    let fused = evaluate(&fusion, &on_test, data.protocol.cutoffs())?;
    println!("{}\n", line("fusion", &fused));
    println!("Weights, chosen on the validation part for recall@{last}: {}\n", weights(&fusion));
    let recall = |evaluation: &Evaluation| evaluation.mean(RankingMetric::Recall, last).unwrap_or(0.0);
    let best = singles.iter().max_by(|a, b| recall(&a.1).total_cmp(&recall(&b.1)));
    let comparison = match best {
        Some((name, evaluation)) => Some(fused.compare("fusion", evaluation, name, args.seed)?),
        None => None,
    };
    if let Some(comparison) = &comparison {
        println!("{comparison}\n");
    }
    let ablation =
        if args.ablate { Some(ablate(&fusion, &on_test, data.protocol.cutoffs(), args.seed)?) } else { None };
    if let Some(ablation) = &ablation {
        println!("{ablation}\n");
    }

    let n_recalled = N_RECALLED.min(data.dataset.n_items());
    let pipeline = Pipeline::of(fusion, n_recalled).rerank("mmr", mmr, 10).build()?;
    if let Some(folder) = &args.save {
        let (users, items) = (data.dataset.users().clone(), data.dataset.items().clone());
        PipelineBundle::new(pipeline.clone(), users, items).save(folder, &Registry::default())?;
        println!("Saved the pipeline to {}.\n", folder.display());
    }
    let funnel = evaluate_funnel(&pipeline, &on_test, 10, args.seed)?;
    println!("{funnel}");
    if let Some(held_out) = on_test.users().iter().find(|held_out| held_out.user == user) {
        let explanation = pipeline.explain(&held_out.query())?;
        let key = data.dataset.users().key(user.0).map(|key| key.to_string()).unwrap_or_default();
        println!("Recommended to user {key}:");
        for item in explanation.items.iter().take(10) {
            let told = item.channels.iter().map(|told| format!("{} {:.3}", told.channel, told.score));
            println!("  {}: {}", common::run::title(&data, item.item), told.collect::<Vec<_>>().join(", "));
        }
        for &item in &held_out.relevant {
            println!(
                "Held out: {}\n{}",
                common::run::title(&data, item),
                pipeline.inspect(&held_out.query(), item)?
            );
        }
    }
    println!("Done in {:.1} s.", start.elapsed().as_secs_f64());
    if let Some(path) = &args.report {
        let of_channel = |(name, evaluation): &(String, Evaluation)| -> Result<serde_json::Value> {
            Ok(json!({ "name": name, "metrics": metrics(&data, name, evaluation, args.seed)? }))
        };
        let everything = json!({
            "protocol": data.protocol.name(),
            "dataset": data.facts,
            "seed": args.seed,
            "channels": singles.iter().map(of_channel).collect::<Result<Vec<_>>>()?,
            "weights": weights(pipeline.fusion()),
            "metrics": metrics(&data, "fusion", &fused, args.seed)?,
            "comparison": comparison,
            "ablation": ablation,
            "funnel": funnel,
            "timings": { "total_s": start.elapsed().as_secs_f64() },
        });
        common::write_whole(path, &serde_json::to_vec_pretty(&everything)?)?;
        println!("Wrote {}.", path.display());
    }
    Ok(())
}

/// Answers a user from a saved pipeline.
fn answer_from(
    folder: &Path,
    user: UserId,
    data: &Prepared,
    device: &Device,
) -> std::result::Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let PipelineBundle { pipeline, users, items, .. } =
        PipelineBundle::load(folder, &Registry::default(), device)?;
    println!("Loaded the pipeline from {} in {:.3} s.", folder.display(), start.elapsed().as_secs_f64());
    if (&users, &items) != (data.dataset.users(), data.dataset.items()) {
        return Err(format!("{} holds a pipeline of another data set", folder.display()).into());
    }
    let Split { train, validation, test, .. } = &data.split;
    let on_test = HeldOut::test(train, validation, test)?;
    let Some(held_out) = on_test.users().iter().find(|held_out| held_out.user == user) else {
        return Err("nothing of this user is held out".into());
    };
    let answer = pipeline.recommend(&held_out.query())?;
    let key = users.key(user.0).map(|key| key.to_string()).unwrap_or_default();
    println!("Recommended to user {key}:");
    for candidate in &answer.items {
        println!("  {}: {:.4}", common::run::title(data, candidate.item), candidate.score);
    }
    for stage in &answer.stages {
        println!("{}: {} kept in {:.2} ms", stage.name, stage.n_kept, 1_000.0 * stage.time.as_secs_f64());
    }
    Ok(())
}

/// The channels, fitted to the training part, and the re-ranking, which tells films apart by the vectors of iALS.
fn channels(
    args: &Args,
    data: &Prepared,
    device: &Device,
) -> std::result::Result<(Vec<Channel>, Mmr), Box<dyn Error>> {
    let train = &data.split.train;
    let popularity = PopularityRecaller::fit(train);
    let ials = Ials::fit(train, &IalsConfig { seed: args.seed, ..IalsConfig::default() })?;
    let mmr = Mmr::new(args.mmr, ItemVectors::new(ials.dim(), ials.item_vectors()?)?)?;
    let mut recallers: Vec<(&str, Box<dyn Recaller>)> = vec![
        ("popularity", Box::new(popularity.clone())),
        ("item_knn", Box::new(ItemKnnRecaller::fit(train, &ItemKnnConfig::default())?)),
        ("co_visitation", Box::new(CoVisitationRecaller::fit(train, &CoVisitationConfig::default())?)),
        ("session_knn", Box::new(SessionKnnRecaller::fit(train, &SessionKnnConfig::default())?)),
        ("ease", Box::new(EaseRecaller::fit(train, &EaseConfig::default())?)),
        ("ials", Box::new(ials)),
    ];
    if args.epochs != Some(0) {
        let mut training = sasrec::training(data).with_seed(args.seed).with_progress(true);
        if let Some(epochs) = args.epochs {
            training = training.with_epochs(epochs);
        }
        let model = sasrec::model(data, args.seed, device)?;
        let fitted = fit(data, model, &sasrec::batches(data, args.seed)?, training)?;
        recallers.push(("sasrec", Box::new(EmbeddingRecaller::exact(fitted.model, Box::new(popularity))?)));
    }
    let channel = |(name, recaller)| Channel::new(ChannelConfig::new(name, N_CANDIDATES), recaller);
    Ok((recallers.into_iter().map(channel).collect(), mmr))
}

fn header(data: &Prepared) -> String {
    let recalls = data.protocol.cutoffs().iter().map(|k| format!("{:>12}", format!("recall@{k}")));
    format!("{:<16}{}", "channel", recalls.collect::<String>())
}

/// The recalls of a channel at every cut-off.
fn line(name: &str, evaluation: &Evaluation) -> String {
    let recall = |&k: &usize| evaluation.mean(RankingMetric::Recall, k).unwrap_or(0.0);
    let recalls = evaluation.ks().iter().map(|k| format!("{:>12.4}", recall(k)));
    format!("{name:<16}{}", recalls.collect::<String>())
}

/// Every metric of a recaller, with intervals.
fn metrics(data: &Prepared, model: &str, evaluation: &Evaluation, seed: u64) -> Result<serde_json::Value> {
    let report = evaluation.report(Experiment {
        protocol: data.protocol.name().into(),
        dataset: data.facts.clone(),
        model: model.into(),
        loss: None,
        seed,
    })?;
    Ok(json!(report)["metrics"].take())
}

/// The weight of each channel by its name.
fn weights(fusion: &Fusion) -> serde_json::Value {
    let weight = |channel: &Channel| (channel.config().name.clone(), json!(channel.config().weight));
    fusion.channels().iter().map(weight).collect::<serde_json::Map<_, _>>().into()
}
