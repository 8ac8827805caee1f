//! Rankers under P5: they learn from the ranking fold, with what the recallers answered there as negatives.

use std::sync::Arc;

use recsys::features::{
    AggregateConfig, AggregateFeatures, CandidateRows, Column, EncodedRows, FeatureEncoder, FeatureStore,
    ItemFeatures, Numeric, Table as Columns,
};
use recsys::losses::RankingLoss;
use recsys::metrics::{FunnelStage, HeldOut, compare_means, evaluate_funnel};
use recsys::models::ranking::{DeepFmConfig, DinConfig, FeatureRanker, LogisticConfig};
use recsys::models::reranking::{Blend, BlendWeights};
use recsys::pipeline::{Fusion, PipelineBuilder};
use recsys::prelude::*;
use recsys::training::{
    RankingBatches, RankingConfig, RankingExamplesConfig, RankingObjective, RowScorer, Trainer,
    TrainingConfig,
};
use serde_json::{Value, json};

use crate::N_SHOWN;
use crate::bench::Bench;
use crate::ctr_data::{USER_FIELDS, fields, table as columns};
use crate::table::{Table, difference, estimate};

/// Positives of a step.
const BATCH_SIZE: usize = 256;

type Pairs = Vec<(Option<UserId>, Option<ItemId>)>;

/// What rankers learn from.
pub struct Lessons {
    rows: CandidateRows,
    learn: EncodedRows,
    tune: EncodedRows,
    n_negatives: usize,
}

impl Lessons {
    /// Examples of the questions `learn`, and of those that settings are chosen by, with what `fusion` answers to them.
    pub fn new(bench: &Bench, fusion: &Fusion, learn: &HeldOut) -> Result<Self> {
        let rows = candidate_rows(bench)?;
        let Split { train, validation, .. } = &bench.data.split;
        let known = train.iter().chain(validation.iter());
        let known = Interactions::from_rows(train.n_users(), train.n_items(), known)?;
        let config = RankingExamplesConfig { seed: bench.args.seed, ..RankingExamplesConfig::default() };
        let encode = |questions: &HeldOut| {
            let examples = config.draw(fusion, questions, &known)?;
            examples.encode(questions, &rows)
        };
        let (learn, tune) = (encode(learn)?, encode(&bench.tune)?);
        println!("Rankers learn from {} rows and are stopped by {}.\n", learn.n_rows(), tune.n_rows());
        Ok(Self { n_negatives: config.n_hard + config.n_random, rows, learn, tune })
    }

    /// Every ranker, the cheapest first.
    pub fn fit_all(&self, bench: &Bench) -> Result<Vec<(&'static str, Arc<dyn Ranker>)>> {
        let objective = self.objective();
        let logistic = LogisticConfig { objective: objective.clone(), ..LogisticConfig::default() };
        let deep_fm = DeepFmConfig { objective: objective.clone(), dropout: 0.2, ..DeepFmConfig::default() };
        let mut trained = vec![("logistic", self.fit(&logistic, bench)?)];
        #[cfg(feature = "gbdt")]
        trained.push(("gbdt", self.grow(bench)?));
        trained.push(("deep_fm", self.fit(&deep_fm, bench)?));
        trained.push(("din", self.fit(&self.din(), bench)?));
        Ok(trained)
    }

    /// The settings of DIN.
    pub fn din(&self) -> DinConfig {
        DinConfig { objective: self.objective(), dropout: 0.2, ..DinConfig::default() }
    }

    /// The positive among its negatives.
    fn objective(&self) -> RankingObjective {
        let loss = RankingLoss::Softmax { n_negatives: self.n_negatives };
        RankingObjective { loss, ..RankingObjective::default() }
    }

    /// Trains a network, and keeps the weights of the epoch that places the positives best.
    pub fn fit<C: RankingConfig>(&self, config: &C, bench: &Bench) -> Result<Arc<dyn Ranker>>
    where
        C::Model: 'static,
    {
        let (group, seed) = (1 + self.n_negatives, bench.args.seed);
        let batches =
            RankingBatches::new(self.learn.clone(), BATCH_SIZE * group, seed)?.with_groups_of(group)?;
        let training = TrainingConfig::default()
            .with_epochs(bench.args.ranker_epochs)
            .with_patience(3)
            .with_seed(seed)
            .with_progress(true);
        let model = config.init(self.rows.space(), seed, &bench.device)?;
        let fitted = Trainer::new(training)?.fit(model, &batches, |model: &C::Model| {
            Ok(vec![("mrr".into(), self.mean_reciprocal_rank(model)?)])
        })?;
        println!("{}\n{}\n", C::NAME, fitted.history);
        self.ranker(fitted.model)
    }

    /// Grows trees.
    #[cfg(feature = "gbdt")]
    fn grow(&self, bench: &Bench) -> Result<Arc<dyn Ranker>> {
        let config = recsys::models::ranking::GbdtConfig { seed: bench.args.seed, ..Default::default() };
        let trees = config.fit(&self.learn)?;
        println!("gbdt\n  mrr {:.4}\n", self.mean_reciprocal_rank(&trees)?);
        self.ranker(trees)
    }

    fn ranker(&self, model: impl RowScorer + 'static) -> Result<Arc<dyn Ranker>> {
        let (users, items) = (self.rows.users().clone(), self.rows.items().clone());
        Ok(Arc::new(FeatureRanker::new(model, users, items, &self.rows.user_fields())?))
    }

    /// Of each positive among its negatives.
    fn mean_reciprocal_rank(&self, model: &impl RowScorer) -> Result<f64> {
        let mut sum = 0.0;
        let groups: Vec<usize> = (0..self.tune.n_rows()).collect();
        let mut groups_seen = 0;
        for part in groups.chunks(BATCH_SIZE * (1 + self.n_negatives)) {
            let scores = model.score_rows(&self.tune.select(part))?;
            for group in scores.chunks_exact(1 + self.n_negatives) {
                let rank = group.iter().filter(|&&score| score >= group[0]).count();
                sum += 1.0 / rank as f64;
                groups_seen += 1;
            }
        }
        Ok(sum / f64::from(groups_seen.max(1)))
    }
}

/// Users and films with what is known of them when the ranking fold begins: their facts, and statistics of the recall
/// fold.
fn candidate_rows(bench: &Bench) -> Result<CandidateRows> {
    let (dataset, train) = (&bench.data.dataset, &bench.data.split.train);
    let statistics = item_statistics(dataset, train)?;
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
    let mut schema = fields(dataset);
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
    CandidateRows::new(encode(users.collect())?, encode(items.collect())?, &user_fields)
}

/// A row for each film, as of the end of the recall fold.
fn item_statistics(dataset: &Dataset, train: &Interactions) -> Result<AggregateFeatures> {
    let mut store = FeatureStore::new(AggregateConfig::default())?;
    if let Some(items) = dataset.item_table() {
        store = store.with_categories(&ItemFeatures::genres(items))?.with_years(items.years().to_vec())?;
    }
    store.replay(train)?;
    let end = train.timestamps().iter().max().map_or(0, |time| time + 1);
    let items: Vec<ItemId> = (0..dataset.n_items() as u32).map(ItemId).collect();
    store.features(UserId(dataset.n_users() as u32), &items, end)
}

/// Puts a ranker behind a pipeline, blended with the score that candidates have there.
pub fn blend(
    before: PipelineBuilder,
    name: &str,
    ranker: &Arc<dyn Ranker>,
    bench: &Bench,
    n_kept: usize,
) -> Result<PipelineBuilder> {
    let blend = Blend::fit(Arc::clone(ranker), &before.clone().build()?, &bench.tune)?;
    Ok(before.rerank(name, blend, n_kept))
}

/// A ranker as the only stage behind recall.
pub struct Measured {
    name: String,
    /// By its own score.
    alone: FunnelStage,
    /// With the score of recall.
    blended: FunnelStage,
    weights: BlendWeights,
}

impl Measured {
    pub fn new(
        name: &str,
        ranker: &Arc<dyn Ranker>,
        recalled: &PipelineBuilder,
        bench: &Bench,
    ) -> Result<Self> {
        let blend = Blend::fit(Arc::clone(ranker), &recalled.clone().build()?, &bench.tune)?;
        let weights = blend.weights();
        let alone = recalled.clone().rank(name, Arc::clone(ranker), N_SHOWN);
        let blended = recalled.clone().rerank(name, blend, N_SHOWN);
        let [alone, blended] = [last_stage(alone, bench)?, last_stage(blended, bench)?];
        Ok(Self { name: name.into(), alone, blended, weights })
    }

    pub fn alone(&self) -> &FunnelStage {
        &self.alone
    }

    pub fn blended(&self) -> &FunnelStage {
        &self.blended
    }

    pub fn to_json(&self) -> Value {
        json!({ "name": self.name, "alone": self.alone, "blended": self.blended, "weights": self.weights })
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
    let title =
        format!("Recall@{N_SHOWN} of the only ranker behind recall, alone and blended with recall's score");
    let header =
        ["ranker", "alone", "over the one before", "blended", "over the one before", "over recall", "p50 ms"];
    let mut table = Table::new(title, header);
    table.push([&recall.name, "", "", &estimate(&recall.recall), "", "", ""].map(String::from));
    let over = |a: &FunnelStage, b: &FunnelStage| -> Result<String> {
        let [a, b] = [hits(a, bench), hits(b, bench)];
        Ok(difference(&compare_means(&[(&a, &b)], bench.args.seed)?[0]))
    };
    for (at, ranker) in measured.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &measured[before]);
        let beside = |of: fn(&Measured) -> &FunnelStage| {
            before.map_or(Ok(String::new()), |before| over(of(ranker), of(before)))
        };
        table.push([
            ranker.name.clone(),
            estimate(&ranker.alone.recall),
            beside(Measured::alone)?,
            estimate(&ranker.blended.recall),
            beside(Measured::blended)?,
            over(&ranker.blended, &recall)?,
            format!("{:.2}", ranker.alone.p50_ms),
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
