//! Trains ranking models on MovieLens, or on any table of clicks, and compares them.
//!
//! `cargo run --release --example movielens_ctr -- --help`

#[path = "common/ctr_data.rs"]
mod ctr_data;
#[path = "common/device.rs"]
mod device;
#[path = "common/source.rs"]
mod source;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use ctr_data::{Catalogue, CtrData, CtrSplit, MAX_LEN, USER_FIELDS, UnseenValues, check_some, movielens};
use device::DeviceName;
use recsys::error::Location;
use recsys::features::{
    CandidateRows, DelimitedTables, EncodedRows, FeatureEncoder, Libfm, Schema, Table, UnseenShare,
};
use recsys::layers::{AttentionWeights, Cross, MlpConfig, TableUpdate};
use recsys::metrics::{ClassificationReport, Predictions};
use recsys::models::ranking::{
    BstConfig, DcnConfig, DeepFmConfig, Din, DinConfig, EsmmConfig, FeatureRanker, FinalMlpConfig, FmConfig,
    InteractionMlpConfig, LogisticConfig, MmoeConfig, PleConfig, WideDeepConfig,
};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{
    History, LearningRateSchedule, RankingBatches, RankingConfig, RankingModel, RankingObjective, RowScorer,
    Trainer, TrainingConfig,
};
use serde_json::json;
use source::SourceArgs;

/// Buffers of a training step come and go; this allocator keeps them, where the system's gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains ranking models on MovieLens (will this person like this film?), or on any table of clicks, and compares
/// them.
#[derive(Parser, Debug)]
struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// The models, trained one after another
    #[arg(long, value_enum, value_delimiter = ',', default_value = "logistic,deepfm,dcn-v2,din")]
    model: Vec<ModelName>,
    /// Which rows are for training, for validation and for the test
    #[arg(long, value_enum, default_value = "random")]
    split: CtrSplit,
    /// Three files of lines `label index:value ...` in place of a data set: for training, validation and test
    #[arg(long, value_name = "TRAIN,VALID,TEST", conflicts_with_all = ["dataset", "parquet", "csv"])]
    libfm: Option<Files>,
    /// Three Parquet files in place of a data set, with --schema
    #[arg(long, value_name = "TRAIN,VALID,TEST", requires = "schema", conflicts_with_all = ["dataset", "csv"])]
    parquet: Option<Files>,
    /// Three CSV files with a header in place of a data set, with --schema
    #[arg(long, value_name = "TRAIN,VALID,TEST", requires = "schema", conflicts_with = "dataset")]
    csv: Option<Files>,
    /// Which columns become which fields, and how: JSON, as in the documentation of `Schema`
    #[arg(long, value_name = "FILE.json")]
    schema: Option<PathBuf>,
    /// Also give each row the statistics of its user and film as of its time: counts, means, tastes, recency
    #[arg(long, conflicts_with_all = ["libfm", "parquet", "csv"])]
    statistics: bool,
    /// The most past films that the history of a row holds, the newest
    #[arg(long, default_value_t = MAX_LEN, conflicts_with_all = ["libfm", "parquet", "csv"])]
    max_len: usize,
    /// Where to compute
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// Passes over the training data at most; early stopping may end before
    #[arg(long, default_value_t = 15)]
    epochs: usize,
    /// Epochs without a better validation AUC after which training stops
    #[arg(long, default_value_t = 3)]
    patience: usize,
    /// Rows in a batch
    #[arg(long, default_value_t = 4096)]
    batch_size: usize,
    /// The learning rate of Adam
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Let the learning rate fall to 0 over the epochs along a cosine
    #[arg(long)]
    cosine: bool,
    /// The width of a field's vector
    #[arg(long, default_value_t = 16)]
    d_embedding: usize,
    /// Narrower vectors for some fields, in wide-deep, dcn and dcn-v2
    #[arg(long, value_name = "FIELD=WIDTH", value_delimiter = ',', value_parser = field_width)]
    field_widths: Vec<(String, usize)>,
    /// The probability of dropping a number of the field vectors and a hidden unit
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
    /// The penalty of the field vectors
    #[arg(long, default_value_t = 0.0)]
    l2: f64,
    /// The decay of the moving average of the weights that is tested in their place
    #[arg(long, value_name = "DECAY")]
    weight_average: Option<f64>,
    /// What is made of the attention of din, din-dcn and din-fm to past films
    #[arg(long, value_enum, default_value = "sum")]
    attention: Attention,
    /// Tell din, din-dcn and din-fm the places of past films, counted from the newest
    #[arg(long)]
    positions: bool,
    /// Use Dice in the place of ReLU in din, din-dcn and din-fm
    #[arg(long)]
    dice: bool,
    /// Update only the rows of the tables that a batch names: for very many ids
    #[arg(long)]
    sparse: bool,
    /// Seeds the weights, the order of the rows and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Draw the loss and metric curves of the model into this file; of several models, each into one of its own, named as
    /// FILE.MODEL.svg. gbdt has none
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn field_width(text: &str) -> Result<(String, usize), String> {
    let parts = text.split_once('=').and_then(|(field, width)| Some((field.to_owned(), width.parse().ok()?)));
    parts.ok_or_else(|| "a field and its width, as in genres=4".into())
}

/// A file for training, one for validation and one for the test.
#[derive(Clone, Debug)]
struct Files([PathBuf; 3]);

impl FromStr for Files {
    type Err = String;

    fn from_str(names: &str) -> Result<Self, String> {
        let files: Vec<PathBuf> = names.split(',').map(PathBuf::from).collect();
        files
            .try_into()
            .map(Self)
            .map_err(|files: Vec<_>| format!("three files, not {}, with commas between", files.len()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModelName {
    /// Logistic regression
    Logistic,
    /// A factorization machine
    Fm,
    /// Wide & Deep
    WideDeep,
    /// DeepFM
    #[value(name = "deepfm")]
    DeepFm,
    /// Deep & Cross
    Dcn,
    /// Deep & Cross, version 2
    DcnV2,
    /// Deep interest network
    Din,
    /// Deep interest network with a cross network
    DinDcn,
    /// Deep interest network with a factorization machine
    DinFm,
    /// Behaviour sequence transformer
    Bst,
    /// User, item and their product in a perceptron
    Mlp,
    /// Two perceptrons, gated and fused
    FinalMlp,
    /// A mixture of experts for two labels: liked, and loved (5)
    Mmoe,
    /// Progressive layered extraction, for the same two
    Ple,
    /// Loved as a step behind liked
    Esmm,
    /// Gradient-boosted trees
    #[cfg(feature = "gbdt")]
    Gbdt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Attention {
    /// It stays as it is
    Sum,
    /// It becomes positive, and of sum 1 over a history
    Softmax,
}

impl ModelName {
    fn has_two_labels(self) -> bool {
        matches!(self, Self::Mmoe | Self::Ple | Self::Esmm)
    }
}

/// A trained model, measured on the first label.
struct Measured {
    name: String,
    config: serde_json::Value,
    history: History,
    probabilities: Vec<f32>,
    report: ClassificationReport,
    rows_per_second: f64,
    /// The median and the 99th percentile of a request.
    latency: Option<[Duration; 2]>,
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
    let (name, data) = args.data()?;
    let read_s = start.elapsed().as_secs_f64();
    let (n_train, n_validation, n_test) = (data.train.n_rows(), data.validation.n_rows(), data.test.n_rows());
    println!("{name}");
    println!(
        "  {} fields, {} ids; train {n_train}, validation {n_validation}, test {n_test} rows; read and encoded in {read_s:.2} s",
        data.train.space().n_fields(),
        data.train.space().n_ids(),
    );
    tell_unseen(&data.unseen);
    let mut measured = Vec::new();
    for &model in &args.model {
        let data = data.clone().with_first_labels(if model.has_two_labels() { 2 } else { 1 })?;
        measured.push(args.measure(model, &data, &device)?);
    }
    let truth = Truth::new(&data.test);
    let rows: Vec<(&str, &ClassificationReport)> =
        measured.iter().map(|model| (model.name.as_str(), &model.report)).collect();
    let resampled = if truth.by_user { "users" } else { "rows" };
    println!(
        "Test, with 95 % intervals over {resampled}:\n{}",
        ClassificationReport::models_to_markdown(&rows)
    );
    let mut comparisons = Vec::new();
    for pair in measured.windows(2) {
        let [before, after] = [0, 1].map(|i| truth.predictions(&pair[i].probabilities));
        let comparison = after.compare(&pair[1].name, &before, &pair[0].name, args.seed)?;
        println!("{comparison}\n");
        comparisons.push(comparison);
    }
    let total = start.elapsed().as_secs_f64();
    println!("Done in {total:.1} s.");
    if let Some(path) = &args.report {
        let models: Vec<serde_json::Value> = measured
            .iter()
            .map(|model| {
                json!({
                    "model": model.name,
                    "config": model.config,
                    "metrics": model.report,
                    "history": model.history,
                    "train_rows_per_s": model.rows_per_second,
                    "request_p50_ms": model.latency.map(|latency| 1e3 * latency[0].as_secs_f64()),
                    "request_p99_ms": model.latency.map(|latency| 1e3 * latency[1].as_secs_f64()),
                })
            })
            .collect();
        let everything = json!({
            "protocol": "p4",
            "dataset": { "name": name, "train": n_train, "validation": n_validation, "test": n_test },
            "seed": args.seed,
            "unseen": { "validation": data.unseen[0].shares, "test": data.unseen[1].shares },
            "models": models,
            "comparisons": comparisons,
            "timings": { "read_s": read_s, "total_s": total },
        });
        recsys::disk::write_file(path, |file| serde_json::to_writer_pretty(file, &everything))?;
        println!("Wrote {}.", path.display());
    }
    if let Some(path) = &args.plot {
        for model in measured.iter().filter(|model| !model.history.epochs.is_empty()) {
            let alone = args.model.len() == 1;
            let path = if alone { path.clone() } else { path.with_extension(format!("{}.svg", model.name)) };
            model.history.plot_svg(&path)?;
            println!("Wrote {}.", path.display());
        }
    }
    Ok(())
}

impl Args {
    /// What the data are called, and their rows.
    fn data(&self) -> Result<(String, CtrData), Box<dyn Error>> {
        if let Some(Files(files)) = &self.libfm {
            let reader = Libfm::fit(&files[0])?;
            let data = of_files(files, |file| reader.read(file), |rows| reader.unseen(rows))?;
            return Ok((files[0].display().to_string(), data));
        }
        if let Some(path) = &self.schema {
            let Some(Files(files)) = self.parquet.as_ref().or(self.csv.as_ref()) else {
                return Err("--schema is for --parquet and --csv".into());
            };
            let schema = Schema::read(path)?;
            let columns: Vec<String> = schema.columns().into_iter().map(str::to_owned).collect();
            let encoder = FeatureEncoder::fit(schema, self.tables(&files[0], &columns)?)?;
            let encode = |file: &PathBuf| -> Result<EncodedRows> {
                let mut rows = EncodedRows::new(encoder.space().clone(), encoder.schema().labels.len());
                for table in self.tables(file, &columns)? {
                    rows.append(&encoder.encode(&table?)?)?;
                }
                Ok(rows)
            };
            let data = of_files(files, encode, |rows| encoder.unseen(rows))?;
            return Ok((files[0].display().to_string(), data));
        }
        let (name, dataset) = self.source.read_or_synthetic(self.seed)?;
        let label = format!("{}, ratings of 4 and 5 against 1 and 2, {:?} split", name.label(), self.split);
        Ok((label, movielens(&dataset, self.split, self.statistics, self.max_len, self.seed)?))
    }

    fn tables(&self, file: &PathBuf, columns: &[String]) -> Result<Box<dyn Iterator<Item = Result<Table>>>> {
        #[cfg(feature = "parquet")]
        if self.parquet.is_some() {
            return Ok(Box::new(recsys::features::ParquetTables::open(file, columns)?));
        }
        Ok(Box::new(DelimitedTables::default().read(file, columns)?))
    }

    fn measure(&self, model: ModelName, data: &CtrData, device: &Device) -> Result<Measured> {
        let objective = RankingObjective { l2: self.l2, ..RankingObjective::default() };
        let table_update = if self.sparse { TableUpdate::Sparse } else { TableUpdate::Dense };
        let (d_embedding, dropout) = (self.d_embedding, self.dropout);
        let field_widths = self.field_widths.iter().cloned().collect();
        let mlp = MlpConfig::new(128).with_hidden([256]).with_dropout(dropout);
        let to_logit = MlpConfig::new(1).with_hidden([256, 128]).with_dropout(dropout);
        match model {
            ModelName::Logistic => self.fit(model, LogisticConfig { table_update, objective }, data, device),
            ModelName::Fm => self.fit(model, FmConfig { d_embedding, table_update, objective }, data, device),
            ModelName::WideDeep => {
                let mlp = to_logit;
                let config =
                    WideDeepConfig { d_embedding, field_widths, mlp, dropout, table_update, objective };
                self.fit(model, config, data, device)
            }
            ModelName::DeepFm => {
                let config = DeepFmConfig { d_embedding, mlp: to_logit, dropout, table_update, objective };
                self.fit(model, config, data, device)
            }
            ModelName::Dcn | ModelName::DcnV2 => {
                let cross = if model == ModelName::Dcn { Cross::Vector } else { Cross::Matrix };
                let config = DcnConfig {
                    d_embedding,
                    field_widths,
                    cross,
                    mlp,
                    dropout,
                    table_update,
                    objective,
                    ..DcnConfig::default()
                };
                self.fit(model, config, data, device)
            }
            ModelName::Din | ModelName::DinDcn | ModelName::DinFm => {
                let cross = (model == ModelName::DinDcn).then_some((Cross::Matrix, 3));
                let weights = match self.attention {
                    Attention::Sum => AttentionWeights::Raw,
                    Attention::Softmax => AttentionWeights::Softmax,
                };
                let config = DinConfig {
                    d_embedding,
                    weights,
                    positions: self.positions,
                    mlp,
                    cross,
                    fm: model == ModelName::DinFm,
                    dropout,
                    table_update,
                    objective,
                    ..DinConfig::default()
                };
                let config = if self.dice { config.with_dice() } else { config };
                self.fit_and(model, config, data, device, |din| show_attention(din, data))
            }
            ModelName::Bst => {
                let config =
                    BstConfig { d_embedding, mlp, dropout, table_update, objective, ..BstConfig::default() };
                self.fit(model, config, data, device)
            }
            ModelName::Mlp => {
                let config = InteractionMlpConfig { dropout, table_update, objective, ..Default::default() };
                self.fit(model, config, data, device)
            }
            ModelName::FinalMlp => {
                let config =
                    FinalMlpConfig { d_embedding, dropout, table_update, objective, ..Default::default() };
                self.fit(model, config, data, device)
            }
            ModelName::Mmoe => {
                let config =
                    MmoeConfig { d_embedding, dropout, table_update, objective, ..MmoeConfig::default() };
                self.fit(model, config, data, device)
            }
            ModelName::Ple => {
                let config =
                    PleConfig { d_embedding, dropout, table_update, objective, ..PleConfig::default() };
                self.fit(model, config, data, device)
            }
            #[cfg(feature = "gbdt")]
            ModelName::Gbdt => self.fit_trees(data),
            ModelName::Esmm => {
                let config =
                    EsmmConfig { d_embedding, dropout, table_update, objective, ..EsmmConfig::default() };
                self.fit(model, config, data, device)
            }
        }
    }

    fn fit<C: RankingConfig>(
        &self,
        name: ModelName,
        config: C,
        data: &CtrData,
        device: &Device,
    ) -> Result<Measured> {
        self.fit_and(name, config, data, device, |_| Ok(()))
    }

    /// Trains a model, keeps the weights of the epoch with the best validation AUC, looks into it, and measures it on the
    /// test rows.
    fn fit_and<C: RankingConfig>(
        &self,
        name: ModelName,
        config: C,
        data: &CtrData,
        device: &Device,
        look: impl FnOnce(&C::Model) -> Result<()>,
    ) -> Result<Measured> {
        let model = config.init(data.train.space(), self.seed, device)?;
        let name = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        println!("{name}");
        let schedule = match self.cosine {
            true => LearningRateSchedule::CosineDecay { warmup_steps: 0 },
            false => LearningRateSchedule::Constant,
        };
        let config = TrainingConfig { weight_average: self.weight_average, ..TrainingConfig::default() }
            .with_epochs(self.epochs)
            .with_learning_rate(self.learning_rate)
            .with_schedule(schedule)
            .with_patience(self.patience)
            .with_seed(self.seed);
        let batches = RankingBatches::new(data.train.clone(), self.batch_size, self.seed)?;
        let validation = Truth::new(&data.validation);
        let fitted = Trainer::new(config)?.fit(model, &batches, |model: &C::Model| {
            let probabilities = probabilities(model, &data.validation)?;
            let auc = recsys::metrics::auc(&validation.labels, &probabilities)?;
            let log_loss = recsys::metrics::log_loss(&validation.labels, &probabilities)?;
            let auc = auc.map(|auc| ("auc".to_owned(), auc));
            Ok(auc.into_iter().chain([("log loss".to_owned(), log_loss)]).collect())
        })?;
        println!("{}", fitted.history);
        look(&fitted.model)?;
        let trained: f64 =
            fitted.history.epochs.iter().map(|epoch| epoch.seconds - epoch.validation_seconds).sum();
        let n_rows = (fitted.history.epochs.len() * data.train.n_rows()) as f64;
        let config = fitted.model.spec().settings().clone();
        self.tested(name, fitted.model, config, fitted.history, n_rows / trained, data)
    }

    /// Grows trees on the training rows.
    #[cfg(feature = "gbdt")]
    fn fit_trees(&self, data: &CtrData) -> Result<Measured> {
        println!("gbdt");
        let start = Instant::now();
        let config = recsys::models::ranking::GbdtConfig { seed: self.seed, ..Default::default() };
        let trees = config.fit(&data.train)?;
        let rows_per_second = data.train.n_rows() as f64 / start.elapsed().as_secs_f64();
        self.tested("gbdt".into(), trees, json!(config), History::default(), rows_per_second, data)
    }

    /// Measures a model on the test rows, and the time of a request.
    fn tested<M: RowScorer>(
        &self,
        name: String,
        model: M,
        config: serde_json::Value,
        history: History,
        rows_per_second: f64,
        data: &CtrData,
    ) -> Result<Measured> {
        let probabilities = probabilities(&model, &data.test)?;
        let report = Truth::new(&data.test).predictions(&probabilities).report(self.seed)?;
        let report = report.with_unseen(data.unseen[1].shares.clone());
        println!("  {rows_per_second:.0} rows a second");
        let latency = match &data.catalogue {
            Some(catalogue) => Some(latency(model, catalogue, self.seed)?),
            None => None,
        };
        if let Some([p50, p99]) = latency.map(|times| times.map(|time| 1e3 * time.as_secs_f64())) {
            println!("  One user, {CANDIDATES} films: p50 {p50:.2} ms, p99 {p99:.2} ms");
        }
        println!();
        Ok(Measured { name, config, history, probabilities, report, rows_per_second, latency })
    }
}

/// The rows of three files, none of which may be without any, and what training had not seen of the last two.
fn of_files(
    files: &[PathBuf; 3],
    read: impl Fn(&PathBuf) -> Result<EncodedRows>,
    unseen: impl Fn(&EncodedRows) -> Result<Vec<UnseenShare>>,
) -> Result<CtrData> {
    let read = |file: &PathBuf| -> Result<EncodedRows> {
        let rows = read(file)?;
        check_some(&rows, Location::file(file), "the file")?;
        Ok(rows)
    };
    let unseen = |file: &PathBuf, rows: &EncodedRows| -> Result<UnseenValues> {
        Ok(UnseenValues { source: file.display().to_string(), shares: unseen(rows)? })
    };
    let [train, validation, test] = files;
    let (train, of_validation, of_test) = (read(train)?, read(validation)?, read(test)?);
    Ok(CtrData {
        unseen: [unseen(validation, &of_validation)?, unseen(test, &of_test)?],
        train,
        validation: of_validation,
        test: of_test,
        catalogue: None,
    })
}

/// Prints what of the rows to be measured training has not seen, and warns where it is most of a field.
fn tell_unseen(unseen: &[UnseenValues; 2]) {
    let shares = || {
        unseen
            .iter()
            .flat_map(|UnseenValues { source, shares }| shares.iter().map(move |share| (source, share)))
    };
    for (source, share) in shares().filter(|(_, share)| share.n_unseen > 0) {
        println!("  {source}: {share}");
    }
    println!();
    for (source, warning) in shares().filter_map(|(source, share)| Some((source, share.warning()?))) {
        eprintln!("Warning: {source}: {warning}.");
    }
}

/// Prints which films of a user's past drew the attention of DIN, for the first test row with a past that tells.
fn show_attention(din: &Din, data: &CtrData) -> Result<()> {
    const SHOWN: usize = 5;
    let Some(Catalogue { items, titles, .. }) = &data.catalogue else {
        return Ok(());
    };
    let Some(row) = (0..data.test.n_rows()).find(|&row| data.test.history(row).len() >= 4 * SHOWN) else {
        return Ok(());
    };
    let Some((field, _)) = items.space().history() else {
        return Ok(());
    };
    let title = |id: u32| {
        let item = (0..items.n_rows()).find(|&item| items.bag(item, field).0 == [id]);
        item.map_or("a film that training has not seen", |item| titles[item].as_str())
    };
    let row = data.test.select(&[row]);
    let weights = din.attention(&row)?.concat();
    let mut films: Vec<(f32, u32)> = weights.into_iter().zip(row.history(0).iter().copied()).collect();
    films.sort_by(|a, b| b.0.total_cmp(&a.0));
    let candidate = row.bag(0, field).0.first().map_or("a film that training has not seen", |&id| title(id));
    let verb = if row.labels()[0] > 0.5 { "liked" } else { "did not like" };
    println!(
        "User {} {verb} {candidate}. Of {} films before it, the most attention went to",
        row.groups()[0],
        films.len()
    );
    for (weight, id) in &films[..SHOWN] {
        println!("  {weight:+.3}  {}", title(*id));
    }
    println!("and the least to");
    for (weight, id) in &films[films.len() - SHOWN..] {
        println!("  {weight:+.3}  {}", title(*id));
    }
    Ok(())
}

/// The films of a request.
const CANDIDATES: usize = 1_000;

/// The median and the 99th percentile of the time that it takes to score films for a user.
fn latency<M: RowScorer>(model: M, catalogue: &Catalogue, seed: u64) -> Result<[Duration; 2]> {
    const WARM_UP: usize = 20;
    const REQUESTS: usize = 500;
    let Catalogue { users, items, liked, .. } = catalogue;
    let known = |name: &&str| users.space().field(name).is_some();
    let user_fields: Vec<&str> = USER_FIELDS.into_iter().filter(known).collect();
    let ranker = FeatureRanker::new(model, CandidateRows::new(users.clone(), items.clone(), &user_fields)?)?;
    let mut rng = Rng::new(seed);
    let mut times = Vec::with_capacity(REQUESTS);
    for request in 0..WARM_UP + REQUESTS {
        let user = rng.below(liked.len());
        let candidates: Vec<ItemId> =
            (0..CANDIDATES).map(|_| ItemId(rng.below(items.n_rows()) as u32)).collect();
        let query = Query::new(&liked[user]).with_user(UserId(user as u32));
        let start = Instant::now();
        ranker.score(&query, &candidates)?;
        if request >= WARM_UP {
            times.push(start.elapsed());
        }
    }
    times.sort();
    Ok([times[REQUESTS / 2], times[REQUESTS * 99 / 100]])
}

/// The probability of the first label of each row.
fn probabilities(model: &impl RowScorer, rows: &EncodedRows) -> Result<Vec<f32>> {
    const ROWS_PER_PASS: usize = 8_192;
    let mut probabilities = Vec::with_capacity(rows.n_rows());
    let all: Vec<usize> = (0..rows.n_rows()).collect();
    for part in all.chunks(ROWS_PER_PASS) {
        let scores = model.score_rows(&rows.select(part))?;
        probabilities.extend(scores.into_iter().map(|score| 1.0 / (1.0 + (-score).exp())));
    }
    Ok(probabilities)
}

/// What was so, beside what a model says: the first label.
struct Truth {
    /// Whether the rows tell whose they are; otherwise each is taken for a user's own.
    by_user: bool,
    users: Vec<UserId>,
    labels: Vec<bool>,
}

impl Truth {
    fn new(rows: &EncodedRows) -> Self {
        let groups = rows.groups();
        let by_user = groups.iter().any(|&group| group != groups[0]);
        let user_of = |row: usize| if by_user { groups[row] } else { row as u32 };
        Self {
            by_user,
            users: (0..rows.n_rows()).map(|row| UserId(user_of(row))).collect(),
            labels: rows.labels().iter().step_by(rows.n_labels()).map(|&label| label > 0.5).collect(),
        }
    }

    fn predictions<'a>(&'a self, probabilities: &'a [f32]) -> Predictions<'a> {
        let Self { users, labels, .. } = self;
        Predictions { users, labels, scores: probabilities, probabilities: Some(probabilities) }
    }
}
