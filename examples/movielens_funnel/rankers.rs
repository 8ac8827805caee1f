//! Rankers under P5: they learn from the ranking fold, with what the recallers answered there as negatives, and read what
//! each channel said of a film.

use std::sync::Arc;

use recsys::features::{
    AggregateConfig, AggregateFeatures, CandidateRows, ChannelFeatures, Column, EncodedRows, FeatureEncoder,
    FeatureStore, ItemFeatures, Numeric, Table as Columns,
};
use recsys::layers::MlpConfig;
use recsys::losses::RankingLoss;
use recsys::metrics::{FunnelStage, HeldOut, compare_means, evaluate_funnel};
use recsys::models::ranking::{DeepFmConfig, DinConfig, FeatureRanker, LogisticConfig};
use recsys::persistence::RowFeatures;
use recsys::pipeline::{Fusion, PipelineBuilder};
use recsys::prelude::*;
use recsys::training::{
    LearningRateSchedule, RankingBatches, RankingConfig, RankingExamples, RankingExamplesConfig,
    RankingObjective, RowScorer, Trainer, TrainingConfig,
};
use serde_json::{Value, json};

use crate::N_SHOWN;
use crate::bench::Bench;
use crate::ctr_data::{MAX_LEN, USER_FIELDS, fields, table as columns};
use crate::table::{Table, difference, estimate};

/// The rankers of the funnel: the cheapest, and the one that reads histories.
pub const STAGES: [&str; 2] = ["logistic", "din"];

/// Positives of a step.
const BATCH_SIZE: usize = 256;

/// Of field vectors and hidden units of networks.
const DROPOUT: f64 = 0.2;

pub const LEARNING_RATE: f64 = 1e-3;

/// What tells rankers who the user is, and nothing else. It is left out: a user has few positives in the ranking fold, and what
/// they like is in what the channels say, and in the history.
const IDENTITIES: [&str; 2] = ["user", "zip"];

type Pairs = Vec<(Option<UserId>, Option<ItemId>)>;

/// A ranker under its name.
pub type Trained = (&'static str, Arc<dyn Ranker>);

/// What rankers learn from.
pub struct Lessons {
    rows: CandidateRows,
    features: RowFeatures,
    learn: EncodedRows,
    tune: EncodedRows,
    /// Of each negative behind a positive.
    log_counts: Vec<f32>,
}

impl Lessons {
    /// Examples of the questions `learn`, and of those that settings are chosen by, with what `fusion` answers to them.
    pub fn new(bench: &Bench, fusion: &Fusion, learn: &HeldOut) -> Result<Self> {
        let known = bench.data.split.train_and_validation();
        let config = RankingExamplesConfig { seed: bench.args.seed, ..RankingExamplesConfig::default() };
        let [of_learn, of_tune] =
            [learn, &bench.tune].map(|questions| config.draw(fusion, questions, &known));
        let (of_learn, of_tune): (RankingExamples, RankingExamples) = (of_learn?, of_tune?);
        let asked = fusion.channels().iter().map(|channel| channel.config());
        let (names, weights): (Vec<&str>, Vec<f32>) = asked
            .filter(|config| config.weight > 0.0)
            .map(|config| (config.name.as_str(), config.weight))
            .unzip();
        let channels = ChannelFeatures::fit(names, of_learn.groups().flatten())?.with_weights(&weights)?;
        let (rows, features) = candidate_rows(bench)?;
        let rows = rows.with_channels(channels)?;
        let (learn, tune) = (of_learn.encode(learn, &rows)?, of_tune.encode(&bench.tune, &rows)?);
        println!("Rankers learn from {} rows and are stopped by {}.\n", learn.n_rows(), tune.n_rows());
        let log_counts = of_learn.log_counts().to_vec();
        Ok(Self { rows, features, learn, tune, log_counts })
    }

    /// What makes the rows of users and films.
    pub fn features(&self) -> &RowFeatures {
        &self.features
    }

    /// Every ranker, the cheapest first.
    pub fn fit_all(&self, bench: &Bench) -> Result<Vec<Trained>> {
        let objective = self.objective();
        let logistic = LogisticConfig { objective: objective.clone(), ..LogisticConfig::default() };
        let mlp = MlpConfig::new(1).with_hidden([256, 128]).with_dropout(DROPOUT);
        let deep_fm = DeepFmConfig { objective, mlp, dropout: DROPOUT, ..DeepFmConfig::default() };
        let [cheapest, finest] = STAGES;
        let mut trained = vec![(cheapest, self.fit(&logistic, 0.01, bench)?)];
        #[cfg(feature = "gbdt")]
        trained.push(("gbdt", self.grow(bench)?));
        trained.push(("deep_fm", self.fit(&deep_fm, LEARNING_RATE, bench)?));
        trained.push((finest, self.fit(&self.din(), LEARNING_RATE, bench)?));
        Ok(trained)
    }

    /// The settings of DIN: what a user did last tells most of what comes next.
    pub fn din(&self) -> DinConfig {
        DinConfig {
            attention: MlpConfig::new(1).with_hidden([32, 16]),
            positions: true,
            mlp: MlpConfig::new(128).with_hidden([256]).with_dropout(DROPOUT),
            dropout: DROPOUT,
            objective: self.objective(),
            ..DinConfig::default()
        }
    }

    /// The positive among its negatives.
    fn objective(&self) -> RankingObjective {
        let loss = RankingLoss::SampledSoftmax { log_counts: self.log_counts.clone() };
        RankingObjective { loss, ..RankingObjective::default() }
    }

    /// Trains a network, and keeps the weights of the epoch that places the positives best.
    pub fn fit<C: RankingConfig<Model: 'static>>(
        &self,
        config: &C,
        learning_rate: f64,
        bench: &Bench,
    ) -> Result<Arc<dyn Ranker>> {
        let (group, seed) = (1 + self.log_counts.len(), bench.args.seed);
        let batches =
            RankingBatches::new(self.learn.clone(), BATCH_SIZE * group, seed)?.with_groups_of(group)?;
        let training = TrainingConfig::default()
            .with_epochs(bench.args.ranker_epochs)
            .with_learning_rate(learning_rate)
            .with_schedule(LearningRateSchedule::CosineDecay { warmup_steps: 0 })
            .with_patience(2)
            .with_seed(seed)
            .with_progress(true);
        let model = config.init(self.rows.space(), seed, &bench.device)?;
        let fitted = Trainer::new(training)?.fit(model, &batches, |model: &C::Model| {
            Ok(vec![("log likelihood".into(), self.log_likelihood(model)?)])
        })?;
        println!("{}\n{}\n", C::NAME, fitted.history);
        self.ranker(fitted.model)
    }

    /// Grows trees, as many as place the positives best.
    #[cfg(feature = "gbdt")]
    fn grow(&self, bench: &Bench) -> Result<Arc<dyn Ranker>> {
        let config = recsys::models::ranking::GbdtConfig {
            n_trees: 1_000,
            learning_rate: 0.05,
            max_depth: 4,
            seed: bench.args.seed,
            ..Default::default()
        };
        let trees = config.fit_grouped(&self.learn, &self.tune, &self.log_counts)?;
        println!("gbdt\n  log likelihood {:.4}\n", self.log_likelihood(&trees)?);
        self.ranker(trees)
    }

    fn ranker(&self, model: impl RowScorer + 'static) -> Result<Arc<dyn Ranker>> {
        Ok(Arc::new(FeatureRanker::new(model, self.rows.clone())?))
    }

    /// The mean of ln P of each positive among all items, as its negatives tell.
    fn log_likelihood(&self, model: &impl RowScorer) -> Result<f64> {
        let group = 1 + self.log_counts.len();
        let all: Vec<usize> = (0..self.tune.n_rows()).collect();
        let mut sum = 0.0;
        for part in all.chunks(BATCH_SIZE * group) {
            for scores in model.score_rows(&self.tune.select(part))?.chunks_exact(group) {
                let negatives = scores[1..].iter().zip(&self.log_counts).map(|(score, count)| score + count);
                let relative = negatives.map(|score| f64::from(score - scores[0]).exp());
                sum -= (1.0 + relative.sum::<f64>()).ln();
            }
        }
        Ok(sum / (self.tune.n_rows() / group).max(1) as f64)
    }
}

/// Users and films with what is known of them when the ranking fold begins: their facts, and statistics of the recall
/// fold. And what made them.
fn candidate_rows(bench: &Bench) -> Result<(CandidateRows, RowFeatures)> {
    let (dataset, train) = (&bench.data.dataset, &bench.data.split.train);
    let (store, statistics) = item_statistics(dataset, train)?;
    let names: Vec<(usize, &str)> = statistics
        .names()
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, name)| name.starts_with("item_"))
        .collect();
    let rows_of = |pairs: &Pairs| -> Result<Columns> {
        let nothing = Column::lists(Column::ints([0; 0]), pairs.iter().map(|_| 0..0))?;
        names.iter().try_fold(columns(pairs, nothing, dataset)?, |table, &(place, name)| {
            let number = |item: Option<ItemId>| Some(f64::from(statistics.row(item?.index())[place]));
            table.with_column(name, Column::numbers(pairs.iter().map(|pair| number(pair.1)))?)
        })
    };
    let mut schema = fields(dataset, MAX_LEN);
    schema.fields.retain(|field| !IDENTITIES.contains(&field.name.as_str()));
    for (_, name) in &names {
        schema = schema.with_field(*name, Numeric::QuantileBins { n_bins: 32 });
    }
    let encoder = FeatureEncoder::fit(
        schema,
        [rows_of(&train.iter().map(|row| (Some(row.user), Some(row.item))).collect())],
    )?;
    let users = (0..dataset.n_users() as u32).map(|user| (Some(UserId(user)), None)).chain([(None, None)]);
    let items = (0..dataset.n_items() as u32).map(|item| (None, Some(ItemId(item))));
    let encode = |pairs: Pairs| encoder.encode_features(&rows_of(&pairs)?);
    let known = |name: &&str| encoder.space().field(name).is_some();
    let user_fields: Vec<&str> = USER_FIELDS.into_iter().filter(known).collect();
    let rows = CandidateRows::new(encode(users.collect())?, encode(items.collect())?, &user_fields)?;
    Ok((rows, RowFeatures { encoder, store: Some(store) }))
}

/// What the recall fold tells, and of that a row for each film, as of its end.
fn item_statistics(dataset: &Dataset, train: &Interactions) -> Result<(FeatureStore, AggregateFeatures)> {
    let mut store = FeatureStore::new(AggregateConfig::default())?;
    if let Some(items) = dataset.item_table() {
        store = store.with_categories(&ItemFeatures::genres(items))?.with_years(items.years().to_vec())?;
    }
    store.replay(train)?;
    let end = train.timestamps().iter().max().map_or(0, |time| time + 1);
    let items: Vec<ItemId> = (0..dataset.n_items() as u32).map(ItemId).collect();
    let features = store.features(UserId(dataset.n_users() as u32), &items, end)?;
    Ok((store, features))
}

/// A ranker as the only stage behind recall.
pub struct Measured {
    name: String,
    stage: FunnelStage,
}

impl Measured {
    pub fn new(
        name: &str,
        ranker: &Arc<dyn Ranker>,
        recalled: &PipelineBuilder,
        bench: &Bench,
    ) -> Result<Self> {
        let stage = last_stage(recalled.clone().rank(name, Arc::clone(ranker), N_SHOWN), bench)?;
        Ok(Self { name: name.into(), stage })
    }

    pub fn stage(&self) -> &FunnelStage {
        &self.stage
    }

    pub fn to_json(&self) -> Value {
        json!({ "name": self.name, "stage": self.stage })
    }
}

/// How the test users fare at the last stage.
fn last_stage(pipeline: PipelineBuilder, bench: &Bench) -> Result<FunnelStage> {
    let mut funnel = evaluate_funnel(&pipeline.build()?, &bench.test, N_SHOWN, bench.args.seed)?;
    Ok(funnel.stages.pop().expect("a pipeline has a stage"))
}

/// Recall@10 of the rankers on the same candidates, each beside the order of recall and the ranker before it.
pub fn table(measured: &[Measured], recalled: &PipelineBuilder, bench: &Bench) -> Result<Table> {
    let recall = last_stage(recalled.clone(), bench)?;
    let header = ["ranker", "recall@10", "over the one before", "over recall", "p50 ms"];
    let mut table = Table::new("Each ranker as the only one behind recall", header);
    table.push([&recall.name, &estimate(&recall.recall), "", "", ""].map(String::from));
    let over = |a: &FunnelStage, b: &FunnelStage| -> Result<String> {
        let [a, b] = [hits(a, bench), hits(b, bench)];
        Ok(difference(&compare_means(&[(&a, &b)], bench.args.seed)?[0]))
    };
    for (at, Measured { name, stage }) in measured.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &measured[before].stage);
        table.push([
            name.clone(),
            estimate(&stage.recall),
            before.map_or(Ok(String::new()), |before| over(stage, before))?,
            over(stage, &recall)?,
            format!("{:.2}", stage.p50_ms),
        ]);
    }
    Ok(table)
}

/// The share of each user's relevant films that the stage has among the first.
fn hits(stage: &FunnelStage, bench: &Bench) -> Vec<f64> {
    let users = bench.test.users().iter().zip(&stage.lists);
    let share = |(user, list): (&recsys::metrics::HeldOutUser, &Vec<ItemId>)| {
        let found = list.iter().filter(|item| user.relevant.contains(item)).count();
        found as f64 / user.relevant.len() as f64
    };
    users.map(share).collect()
}
