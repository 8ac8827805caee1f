//! Predicts ratings: biased matrix factorization and SVD++ on the five published folds of MovieLens 100K (protocol P6).
//!
//! `cargo run --release --example movielens_ratings -- --help`

#[path = "common/source.rs"]
mod source;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use recsys::metrics::{Estimate, estimate_means, mae, rmse};
use recsys::models::ranking::{BiasedMf, BiasedMfConfig};
use recsys::prelude::*;
use serde_json::json;
use source::{DatasetName, SourceArgs};

/// Predicts ratings on five folds and compares models by the errors; a data set without published folds is cut into five at
/// random.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Passes over the ratings
    #[arg(long, default_value_t = BiasedMfConfig::default().n_epochs)]
    epochs: usize,
    /// The width of the vectors
    #[arg(long, default_value_t = BiasedMfConfig::default().n_factors)]
    factors: usize,
    /// Seeds the vectors, the order of the ratings, folds that are not published, and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
}

/// The rows to learn from and those to predict.
type Fold = [Interactions; 2];

/// How a model does on one fold.
struct Errors {
    rmse: f64,
    mae: f64,
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
    let (name, folds) = args.folds()?;
    check_folds(&folds)?;
    println!("{name}");
    println!(
        "  {} folds, {} and {} ratings in the first\n",
        folds.len(),
        folds[0][0].len(),
        folds[0][1].len()
    );
    println!(
        "{:<20}{}{:>26}",
        "RMSE (MAE)",
        (1..=folds.len()).map(|n| format!("{n:>18}")).collect::<String>(),
        "mean RMSE, 95 %"
    );
    let mut models = Vec::new();
    for model in Model::ALL {
        let began = Instant::now();
        let errors = folds.iter().map(|fold| model.errors(fold, args)).collect::<Result<Vec<Errors>>>()?;
        let [rmse, mae] = [|fold: &Errors| fold.rmse, |fold: &Errors| fold.mae]
            .map(|error| errors.iter().map(error).collect::<Vec<f64>>());
        let means = estimate_means(&[&rmse, &mae], args.seed)?;
        let cells =
            rmse.iter().zip(&mae).map(|(rmse, mae)| format!("{:>18}", format!("{rmse:.4} ({mae:.4})")));
        println!("{:<20}{}{:>26}", model.name(), cells.collect::<String>(), with_interval(&means[0]));
        models.push(json!({
            "model": model.name(),
            "config": model.config(args),
            "rmse": { "folds": rmse, "mean": means[0] },
            "mae": { "folds": mae, "mean": means[1] },
            "seconds": began.elapsed().as_secs_f64(),
        }));
    }
    println!("\nThe intervals are those of the bootstrap over folds.");
    println!("Done in {:.1} s.", start.elapsed().as_secs_f64());
    if let Some(path) = &args.report {
        let everything = json!({
            "protocol": "p6",
            "dataset": { "name": name, "ratings": folds[0].iter().map(Interactions::len).sum::<usize>() },
            "seed": args.seed,
            "models": models,
            "timings": { "total_s": start.elapsed().as_secs_f64() },
        });
        recsys::disk::write_file(path, |file| serde_json::to_writer_pretty(file, &everything))?;
        println!("Wrote {}.", path.display());
    }
    Ok(())
}

/// Refuses a fold with nothing to learn from or nothing to predict, before anything is fitted.
fn check_folds(folds: &[Fold]) -> std::result::Result<(), String> {
    let is_empty = |fold: &Fold| fold.iter().any(Interactions::is_empty);
    match folds.iter().position(is_empty) {
        Some(fold) => {
            Err(format!("fold {}: expected ratings to learn from and to predict, found none", fold + 1))
        }
        None => Ok(()),
    }
}

fn with_interval(Estimate { value, interval }: &Estimate) -> String {
    let interval = interval.map(|interval| format!(" [{:.4}, {:.4}]", interval.low, interval.high));
    format!("{value:.4}{}", interval.unwrap_or_default())
}

impl Args {
    /// What the data are called, and their folds: those of the release of MovieLens 100K, of others five parts dealt at random.
    fn folds(&self) -> Result<(String, Vec<Fold>)> {
        let (name, dataset) = self.source.read_or_synthetic(self.seed)?;
        if name == DatasetName::Ml100k
            && let Some(folder) = MovieLens::Ml100k.find(self.source.data_dir.as_deref())
        {
            let fold = |n| MovieLens::read_fold(&folder, n).map(|(_, split)| [split.train, split.test]);
            let folds = (1..=5).map(fold).collect::<Result<_>>()?;
            return Ok((format!("{}, the folds u1 to u5 of the release", name.label()), folds));
        }
        let ratings = dataset.interactions();
        let mut order: Vec<usize> = (0..ratings.len()).collect();
        recsys::rng::Rng::new(self.seed).shuffle(&mut order);
        let fold = |n: usize| {
            let rows = |is_test: bool| -> Vec<usize> {
                let row = |(place, &row): (usize, &usize)| ((place % 5 == n) == is_test).then_some(row);
                order.iter().enumerate().filter_map(row).collect()
            };
            [ratings.select(&rows(false)), ratings.select(&rows(true))]
        };
        Ok((
            format!("{}, five folds at random, seed {}", name.label(), self.seed),
            (0..5).map(fold).collect(),
        ))
    }
}

#[derive(Clone, Copy)]
enum Model {
    /// The mean of all ratings.
    Mean,
    /// The mean, and a bias of each user and film.
    Biases,
    /// Biases and vectors.
    BiasedMf,
    /// Vectors that also say what was rated at all.
    SvdPlusPlus,
}

impl Model {
    const ALL: [Self; 4] = [Self::Mean, Self::Biases, Self::BiasedMf, Self::SvdPlusPlus];

    fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean of all",
            Self::Biases => "biases only",
            Self::BiasedMf => "biased MF",
            Self::SvdPlusPlus => "SVD++",
        }
    }

    fn config(self, args: &Args) -> Option<BiasedMfConfig> {
        let config = BiasedMfConfig {
            n_factors: args.factors,
            n_epochs: args.epochs,
            seed: args.seed,
            ..BiasedMfConfig::default()
        };
        match self {
            Self::Mean | Self::Biases => None,
            Self::BiasedMf => Some(config),
            Self::SvdPlusPlus => Some(BiasedMfConfig { implicit_feedback: true, ..config }),
        }
    }

    fn errors(self, [train, test]: &Fold, args: &Args) -> Result<Errors> {
        let predicted = match self.config(args) {
            Some(config) => BiasedMf::fit(train, &config)?.predict_all(test)?,
            None => self.baseline(train, test),
        };
        Ok(Errors { rmse: rmse(test.values(), &predicted)?, mae: mae(test.values(), &predicted)? })
    }

    /// The mean of all ratings, and with biases what a user and a film add to it: film first, then user, each shrunk as if
    /// some more ratings at the mean were there (Koren 2010, "Factor in the neighbors", section 2.1).
    fn baseline(self, train: &Interactions, test: &Interactions) -> Vec<f32> {
        const OF_ITEMS: f64 = 25.0;
        const OF_USERS: f64 = 10.0;
        let mean =
            train.values().iter().map(|&value| f64::from(value)).sum::<f64>() / train.len().max(1) as f64;
        if matches!(self, Self::Mean) {
            return vec![mean as f32; test.len()];
        }
        let items: Vec<usize> = train.items().iter().map(|item| item.index()).collect();
        let users: Vec<usize> = train.users().iter().map(|user| user.index()).collect();
        let over_mean = train.values().iter().map(|&value| f64::from(value) - mean);
        let of_items = shrunk_means(&items, over_mean.clone(), train.n_items(), OF_ITEMS);
        let over_item = over_mean.zip(&items).map(|(rest, &item)| rest - of_items[item]);
        let of_users = shrunk_means(&users, over_item, train.n_users(), OF_USERS);
        let predict = |row: Interaction| mean + of_users[row.user.index()] + of_items[row.item.index()];
        test.iter().map(|row| predict(row) as f32).collect()
    }
}

/// Σ value / (n + shrinkage) for each group.
fn shrunk_means(
    groups: &[usize],
    values: impl Iterator<Item = f64>,
    n_groups: usize,
    shrinkage: f64,
) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); n_groups];
    for (&group, value) in groups.iter().zip(values) {
        sums[group].0 += value;
        sums[group].1 += 1.0;
    }
    sums.into_iter().map(|(sum, n)| sum / (n + shrinkage)).collect()
}
