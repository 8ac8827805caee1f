//! Fits recall channels on MovieLens, fuses them, ranks and re-ranks what they find, and follows the held-out films through
//! the stages.
//!
//! `cargo run --release --example movielens_funnel -- --help`

mod bench;
mod channels;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "shared with the examples of one model")]
mod common;
#[path = "../common/ctr_data.rs"]
#[allow(dead_code, reason = "shared with the example of rankers")]
mod ctr_data;
mod rankers;
mod saved;
mod studies;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bench::Bench;
use channels::Channels;
use clap::Parser;
use common::{DataArgs, DeviceName, Prepared, Protocol};
use rankers::{Lessons, Measured, Trained};
use recsys::metrics::{Evaluation, Funnel, HeldOutUser, RankingMetric, evaluate, evaluate_funnel};
use recsys::models::reranking::Mmr;
use recsys::pipeline::{Fusion, FusionMethod, PipelineBuilder};
use recsys::prelude::*;
use serde_json::{Value, json};
use studies::{Studied, Study};

/// Buffers of a training step come and go; this allocator keeps them, where the system's gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The candidates of all channels together, and the films shown.
const N_RECALLED: usize = 1_000;
const N_PRERANKED: usize = 100;
const N_RANKED: usize = 20;
const N_SHOWN: usize = 10;

/// Fits recall channels on MovieLens, fuses them with weights chosen on the validation part, ranks (under p5) and re-ranks
/// what they find, and follows the held-out films through the stages.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// Passes of SASRec and the two-tower model over the training data at most; 0 leaves both out [default: by data set]
    #[arg(long)]
    epochs: Option<usize>,
    /// Passes of each ranker over its examples at most, under p5
    #[arg(long, default_value_t = 10)]
    ranker_epochs: usize,
    /// The share of relevance in the re-ranking by maximal marginal relevance; the rest is diversity
    #[arg(long, default_value_t = 0.7, value_name = "LAMBDA")]
    mmr: f32,
    /// Also vary one thing at a time, and print a table of what becomes of it
    #[arg(long, value_enum, value_delimiter = ',')]
    study: Vec<Study>,
    /// Explain the answer to this user, by the id of the data set [default: the first one]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Save the whole pipeline to this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Answer the user from a pipeline that --save wrote, and fit nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["save", "report", "epochs", "ranker_epochs", "mmr", "study"])]
    load: Option<PathBuf>,
    /// Take the channels from a pipeline that --save wrote of the same data and protocol, and fit only what follows them
    #[arg(long, value_name = "DIR", conflicts_with = "load")]
    channels: Option<PathBuf>,
    /// Seeds the weights, the batches and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write everything measured to this file, and draw the funnel into one beside it, of the ending .svg
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> std::result::Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let bench = Bench::new(args)?;
    bench.args.check(bench.data.protocol)?;
    let user = common::run::chosen_user(bench.args.user.as_deref(), &bench.data)?;
    common::run::print_facts(&bench.data, start.elapsed());
    if let Some(folder) = &bench.args.load {
        return saved::answer(folder, user, &bench);
    }

    let channels = match &bench.args.channels {
        Some(folder) => Channels::load(folder, &bench)?,
        None => Channels::fit(&bench)?,
    };
    println!("{}", channels::header(&bench.data));
    let mut singles = Vec::new();
    for channel in &channels.all {
        let evaluation = evaluate(channel.recaller(), &bench.test, bench.data.protocol.cutoffs())?;
        println!("{}", channels::line(&channel.config().name, &evaluation));
        singles.push((channel.config().name.clone(), evaluation));
    }
    // Under p5 rankers order what is recalled, by whatever method.
    let (fusion, by_method) = if bench.data.protocol == Protocol::P5 {
        (channels.fuse(FusionMethod::default(), &bench)?, None)
    } else {
        let by_method = channels.fuse_by_all(&bench)?;
        (channels::best(&by_method, &bench)?, Some(by_method))
    };
    let fused = evaluate(&fusion, &bench.test, bench.data.protocol.cutoffs())?;
    println!("{}\n", channels::line("fusion", &fused));
    println!("Weights, chosen on the validation part: {}\n", channels::weights(&fusion));
    let comparison = compare_with_best(&bench, &fused, &singles)?;

    let recalled = Pipeline::of(fusion.clone(), N_RECALLED.min(bench.data.dataset.n_items()));
    let (rankers, lessons, measured) = train_rankers(&bench, &fusion, &recalled)?;
    let mmr = Mmr::new(bench.args.mmr, channels.vectors.clone())?;
    let pipeline = ranked(&recalled, &rankers, N_RANKED).rerank("mmr", mmr, N_SHOWN).build()?;
    if let Some(folder) = &bench.args.save {
        saved::save(folder, &pipeline, lessons.as_ref(), &bench)?;
    }
    let funnel = measure(&pipeline, &bench, &channels)?;
    println!("{funnel}");
    let [p50_ms, p99_ms] = bench.time_requests(&pipeline)?;
    explain(&pipeline, &bench, user)?;

    let studied = Studied {
        bench: &bench,
        channels: &channels,
        fusion,
        by_method,
        recalled,
        rankers,
        pipeline,
        lessons,
    };
    let mut studies = serde_json::Map::new();
    for study in &bench.args.study {
        studies.insert(study.name(), studied.run(*study)?);
    }
    println!("Done in {:.1} s.", start.elapsed().as_secs_f64());
    if let Some(path) = &bench.args.report {
        let of_channel = |(name, evaluation): &(String, Evaluation)| -> Result<Value> {
            Ok(json!({ "name": name, "metrics": bench.metrics(name, evaluation)? }))
        };
        let everything = json!({
            "protocol": bench.data.protocol.name(),
            "dataset": bench.data.facts,
            "seed": bench.args.seed,
            "channels": singles.iter().map(of_channel).collect::<Result<Vec<_>>>()?,
            "weights": channels::weights(&studied.fusion),
            "dropped_rows": fused.dropped(),
            "users_without_history": fused.users_without_history(),
            "users_without_answer": fused.users_without_answer(),
            "metrics": bench.metrics("fusion", &fused)?,
            "comparison": comparison,
            "rankers": measured.iter().map(Measured::to_json).collect::<Vec<_>>(),
            "funnel": funnel,
            "studies": studies,
            "timings": {
                "total_s": start.elapsed().as_secs_f64(),
                "request_p50_ms": p50_ms,
                "request_p99_ms": p99_ms,
            },
        });
        recsys::disk::write_file(path, |file| serde_json::to_writer_pretty(file, &everything))?;
        funnel.plot_svg(path.with_extension("svg"))?;
        println!("Wrote {} and drew {}.", path.display(), path.with_extension("svg").display());
    }
    Ok(())
}

impl Args {
    /// What would be refused late, after the long work.
    fn check(&self, protocol: Protocol) -> std::result::Result<(), String> {
        if !(0.0..=1.0).contains(&self.mmr) {
            return Err(format!("--mmr {}: expected 0 to 1", self.mmr));
        }
        if self.ranker_epochs == 0 {
            return Err("--ranker-epochs 0: expected at least 1".into());
        }
        let trains_sequences = self.study.iter().any(|study| study.trains_sequences());
        match self.epochs {
            Some(0) if trains_sequences => {
                return Err("--epochs 0: expected at least 1 for the study of the sequence channel".into());
            }
            Some(_) if self.channels.is_some() && !trains_sequences => {
                return Err(
                    "--epochs: with --channels only a study of the sequence channel trains on the data"
                        .into(),
                );
            }
            _ => {}
        }
        if self.study.contains(&Study::Attention) && protocol != Protocol::P5 {
            return Err("--study attention is of a ranker, and needs --protocol p5".into());
        }
        Ok(())
    }
}

/// Sets the fusion beside the channel that recalls most.
fn compare_with_best(
    bench: &Bench,
    fused: &Evaluation,
    singles: &[(String, Evaluation)],
) -> Result<Option<Value>> {
    let recall = |evaluation: &Evaluation| evaluation.mean(RankingMetric::Recall, bench.last_cutoff());
    let recall = |single: &(String, Evaluation)| recall(&single.1).unwrap_or(0.0);
    let Some((name, best)) = singles.iter().max_by(|a, b| recall(a).total_cmp(&recall(b))) else {
        return Ok(None);
    };
    let comparison = fused.compare("fusion", best, name, bench.args.seed)?;
    println!("{comparison}\n");
    Ok(Some(json!(comparison)))
}

/// Under p5, trains the rankers, the cheapest first, and compares them.
fn train_rankers(
    bench: &Bench,
    fusion: &Fusion,
    recalled: &PipelineBuilder,
) -> Result<(Vec<Trained>, Option<Lessons>, Vec<Measured>)> {
    let Some(learn) = &bench.learn else { return Ok((Vec::new(), None, Vec::new())) };
    let lessons = Lessons::new(bench, fusion, learn)?;
    let trained = lessons.fit_all(bench)?;
    let mut measured = Vec::new();
    for (name, ranker) in &trained {
        measured.push(Measured::new(name, ranker, recalled, bench)?);
    }
    println!("{}", rankers::table(&measured, recalled, bench)?);
    Ok((trained, Some(lessons), measured))
}

/// Behind recall two of the rankers, if there are any: the cheapest, and the one that reads histories, which leaves
/// `n_ranked` films.
fn ranked(recalled: &PipelineBuilder, rankers: &[Trained], n_ranked: usize) -> PipelineBuilder {
    let recalled = recalled.clone();
    match rankers {
        [cheapest, .., finest] => recalled.rank(cheapest.0, Arc::clone(&cheapest.1), N_PRERANKED).rank(
            finest.0,
            Arc::clone(&finest.1),
            n_ranked,
        ),
        _ => recalled,
    }
}

/// The funnel of the test users, with the similarity of films as iALS sees it.
fn measure(pipeline: &Pipeline, bench: &Bench, channels: &Channels) -> Result<Funnel> {
    let vectors = &channels.vectors;
    evaluate_funnel(pipeline, &bench.test, N_SHOWN, bench.args.seed)?
        .with_item_vectors(vectors.dim(), vectors.values())
}

/// Prints why the answer to a user is what it is, and where the held-out films went.
fn explain(pipeline: &Pipeline, bench: &Bench, user: UserId) -> Result<()> {
    let data: &Prepared = &bench.data;
    let is_of_user = |held_out: &&HeldOutUser| held_out.user == user;
    let Some(held_out) = bench.test.users().iter().find(is_of_user) else { return Ok(()) };
    let explanation = pipeline.explain(&held_out.query())?;
    println!("Recommended to user {}:", common::run::key(data, user));
    for item in explanation.items.iter().take(N_SHOWN) {
        let told = item.channels.iter().map(|told| format!("{} {:.3}", told.channel, told.score));
        println!("  {}: {}", common::run::title(data, item.item), told.collect::<Vec<_>>().join(", "));
    }
    for &item in &held_out.relevant {
        let title = common::run::title(data, item);
        println!("Held out: {title}\n{}", pipeline.inspect(&held_out.query(), item)?);
    }
    Ok(())
}
