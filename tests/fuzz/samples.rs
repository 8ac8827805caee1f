//! A tiny world: every kind of stage over a dozen items, to be saved, damaged and asked.

use std::panic::resume_unwind;
use std::sync::Arc;

use recsys::features::{
    AggregateConfig, CandidateRows, ChannelFeatures, Column, EncodedRow, EncodedRows, FeatureEncoder,
    FeatureSpace, FeatureStore, FieldKind, Ids, ItemVectors, Numeric, Pooling, Schema, Table,
    TextEncoderConfig,
};
use recsys::models::ranking::*;
use recsys::models::recall::*;
use recsys::models::reranking::*;
use recsys::persistence::RowFeatures;
use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod, PipelineBuilder, StageOutcome};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{RankingConfig, RowScorer};

use crate::target::{Told, told};

pub const N_USERS: usize = 5;
pub const N_ITEMS: usize = 12;

pub fn train() -> Interactions {
    let rows = (0..60u32).map(|event| Interaction {
        user: UserId(event % N_USERS as u32),
        item: ItemId(event * event % 11 % N_ITEMS as u32),
        value: (event % 5) as f32,
        timestamp: event.into(),
    });
    Interactions::from_rows(N_USERS, N_ITEMS, rows).unwrap()
}

pub fn keys(n: usize) -> Vocab {
    Vocab::from_texts((0..n).map(|id| format!("key {id}")).collect()).unwrap()
}

pub fn genres() -> ItemFeatures {
    let genres = |item: u32| (0..4).filter(move |genre| item.is_multiple_of(genre + 2)).collect::<Vec<u32>>();
    ItemFeatures::new(4, (0..N_ITEMS as u32).map(genres)).unwrap()
}

pub fn vectors() -> ItemVectors {
    let mut rng = Rng::new(5);
    ItemVectors::new(3, (0..N_ITEMS * 3).map(|_| rng.normal() as f32).collect()).unwrap()
}

pub fn popularity() -> PopularityRecaller {
    PopularityRecaller::fit(&train())
}

pub fn small_sasrec() -> SasrecConfig {
    SasrecConfig { d_model: 4, d_hidden: 4, max_len: 4, n_blocks: 1, n_heads: 1, ..SasrecConfig::default() }
}

pub fn sasrec() -> Sasrec {
    small_sasrec().init(N_ITEMS, 3, &Device::flex()).unwrap()
}

/// A two-tower model of users, items and their content.
pub fn two_tower() -> TwoTower {
    let config = TwoTowerConfig { user_embedding: true, d_embedding: 4, ..TwoTowerConfig::default() };
    let items = genres().with_vectors(vectors()).unwrap();
    config.init(N_USERS, &items, 3, &Device::flex()).unwrap()
}

/// A graph over the items of a model.
pub fn graph(model: &impl EmbeddingModel) -> Box<dyn VectorIndex> {
    let graph = HnswConfig { min_items_for_graph: 5, min_recall: 0.0, ..HnswConfig::default() };
    let vectors = model.item_vectors().unwrap();
    Box::new(HnswIndex::build(Similarity::InnerProduct, model.dim(), vectors, &graph).unwrap())
}

pub fn item_knn() -> ItemKnnRecaller {
    ItemKnnRecaller::fit(&train(), &ItemKnnConfig::default()).unwrap()
}

pub fn co_visitation() -> CoVisitationRecaller {
    CoVisitationRecaller::fit(&train(), &CoVisitationConfig::default()).unwrap()
}

pub fn session_knn() -> SessionKnnRecaller {
    SessionKnnRecaller::fit(&train(), &SessionKnnConfig::default()).unwrap()
}

pub fn ease() -> EaseRecaller {
    EaseRecaller::fit(&train(), &EaseConfig { l2: 2.0, ..EaseConfig::default() }).unwrap()
}

pub fn slim() -> SlimRecaller {
    SlimRecaller::fit(&train(), &SlimConfig { l1: 0.1, l2: 2.0, ..SlimConfig::default() }).unwrap()
}

pub fn bpr() -> BprMf {
    BprMf::fit(&train(), &BprMfConfig { n_factors: 3, ..BprMfConfig::default() }).unwrap()
}

pub fn ials() -> Ials {
    Ials::fit(&train(), &IalsConfig { n_factors: 3, ..IalsConfig::default() }).unwrap()
}

pub fn content() -> ContentRecaller {
    ContentRecaller::fit(&genres(), &ContentConfig::default()).unwrap()
}

pub fn favourite_genres() -> FavouriteGenresRecaller {
    FavouriteGenresRecaller::fit(&train(), genres(), &FavouriteGenresConfig::default()).unwrap()
}

pub fn biased_mf() -> BiasedMf {
    BiasedMf::fit(&train(), &BiasedMfConfig { n_factors: 3, ..BiasedMfConfig::default() }).unwrap()
}

pub fn calibration() -> Calibration {
    Calibration::new(CalibrationConfig { lambda: 0.5, ..CalibrationConfig::default() }, genres()).unwrap()
}

pub fn rules() -> Rules {
    let config = RulesConfig {
        hide_history: true,
        deny: vec![ItemId(7)],
        pins: vec![Pin { item: ItemId(2), place: 1 }],
        caps: vec![Cap { keys: genres(), limit: 9 }],
        bury: vec![ItemId(5)],
        boosts: vec![Boost { items: vec![ItemId(1)], share: 0.5 }],
        freshness: Some(Freshness { times: (0..N_ITEMS as i64).map(Some).collect(), half_life: 10.0 }),
        ..RulesConfig::default()
    };
    Rules::new(config, N_ITEMS).unwrap()
}

/// Every kind of recaller but those of rankers.
pub fn recallers() -> Vec<(&'static str, Box<dyn Recaller>)> {
    let channel = |name: &str, recaller| Channel::new(ChannelConfig::new(name, 9), recaller);
    let inner = vec![
        channel("popularity", Box::new(popularity()) as Box<dyn Recaller>),
        channel("ease", Box::new(ease())),
    ];
    let tower = two_tower();
    let index = graph(&tower);
    vec![
        ("popularity", Box::new(popularity())),
        ("item_knn", Box::new(item_knn())),
        ("co_visitation", Box::new(co_visitation())),
        ("session_knn", Box::new(session_knn())),
        ("ease", Box::new(ease())),
        ("slim", Box::new(slim())),
        ("bpr", Box::new(bpr())),
        ("ials", Box::new(ials())),
        ("ials_index", Box::new(EmbeddingRecaller::exact(ials(), Box::new(popularity())).unwrap())),
        ("sasrec", Box::new(EmbeddingRecaller::exact(sasrec(), Box::new(popularity())).unwrap())),
        ("two_tower", Box::new(EmbeddingRecaller::new(tower, index, Box::new(popularity())).unwrap())),
        ("fusion", Box::new(Fusion::new(FusionMethod::ZScore, inner).unwrap())),
        ("content", Box::new(content())),
        ("favourite_genres", Box::new(favourite_genres())),
    ]
}

pub fn space() -> FeatureSpace {
    FeatureSpace::default()
        .with_field("user", N_USERS + 1)
        .and_then(|space| space.with_field("item", N_ITEMS))
        .and_then(|space| space.with_history("liked", "item", 3))
        .unwrap()
}

/// What is known of users and items, encoded in this space.
pub fn candidate_rows(space: &FeatureSpace) -> CandidateRows {
    let (mut users, mut items) = (EncodedRows::new(space.clone(), 0), EncodedRows::new(space.clone(), 0));
    let row = |rows: &mut EncodedRows, bags: &[&[(u32, f32)]]| {
        rows.push(EncodedRow { bags, ..EncodedRow::default() }).unwrap();
    };
    let [user_ids, item_ids] = [0, 1].map(|field| users.space().ids(field));
    let id = |ids: &std::ops::Range<u32>, n: usize| (ids.start + n as u32).min(ids.end - 1);
    (0..=N_USERS).for_each(|user| row(&mut users, &[&[(id(&user_ids, user), 1.0)], &[]]));
    (0..N_ITEMS).for_each(|item| row(&mut items, &[&[], &[(id(&item_ids, item), 1.0)]]));
    CandidateRows::new(users, items, &["user"]).unwrap()
}

fn feature_ranker<M: RowScorer>(model: M) -> FeatureRanker<M> {
    let rows = candidate_rows(model.space());
    FeatureRanker::new(model, rows).unwrap()
}

fn network<C: RankingConfig>(config: C) -> Arc<dyn Ranker>
where
    FeatureRanker<C::Model>: Ranker + 'static,
{
    Arc::new(feature_ranker(config.init(&space(), 1, &Device::flex()).unwrap()))
}

/// A ranker that reads what the channels said.
pub fn of_channels() -> Arc<dyn Ranker> {
    let told = [("popularity", 2.0), ("popularity", 5.0)]
        .map(|(channel, score)| Candidate::new(ItemId(0), score).from_channel(channel, 1));
    let channels = ChannelFeatures::fit(["popularity"], &told).unwrap();
    let rows = candidate_rows(&space()).with_channels(channels).unwrap();
    let model = FmConfig::default().init(rows.space(), 13, &Device::flex()).unwrap();
    Arc::new(FeatureRanker::new(model, rows).unwrap())
}

/// Every kind of ranker.
pub fn rankers() -> Vec<(&'static str, Arc<dyn Ranker>)> {
    vec![
        ("biased_mf", Arc::new(biased_mf())),
        #[cfg(feature = "gbdt")]
        ("gbdt", Arc::new(feature_ranker(trees()))),
        ("of_channels", of_channels()),
        ("logistic", network(LogisticConfig::default())),
        ("fm", network(FmConfig::default())),
        ("wide_deep", network(WideDeepConfig::default())),
        ("deep_fm", network(DeepFmConfig::default())),
        ("dcn", network(DcnConfig::default())),
        ("neu_mf", network(NeuMfConfig::default())),
        ("interaction_mlp", network(InteractionMlpConfig::default())),
        ("final_mlp", network(FinalMlpConfig::default())),
        ("mmoe", network(MmoeConfig::default())),
        ("ple", network(PleConfig::default())),
        ("esmm", network(EsmmConfig::default())),
        ("bst", network(BstConfig::default())),
        ("din", network(DinConfig::default())),
    ]
}

#[cfg(feature = "gbdt")]
pub fn trees() -> Gbdt {
    let mut rows = EncodedRows::new(space(), 1);
    for row in train().iter() {
        let bags: [&[(u32, f32)]; 2] = [&[(row.user.0, 1.0)], &[(N_USERS as u32 + 1 + row.item.0, 1.0)]];
        let labels = [f32::from(row.value > 2.0)];
        rows.push(EncodedRow { bags: &bags, labels: &labels, ..EncodedRow::default() }).unwrap();
    }
    GbdtConfig { n_trees: 3, ..Default::default() }.fit(&rows).unwrap()
}

/// A pipeline with each kind of re-ranker.
pub fn rerankers(begin: impl Fn() -> PipelineBuilder) -> Vec<(&'static str, PipelineBuilder)> {
    let blend = Blend::new(network(LogisticConfig::default()), BlendWeights { score: 0.5, ranker: 2.0 });
    vec![
        ("blend", begin().rerank("blend", blend.unwrap(), 6)),
        ("debias", begin().rerank("debias", PopularityDebias::fit(&train(), 0.2).unwrap(), 6)),
        ("dpp", begin().rerank("dpp", Dpp::new(0.6, vectors()).unwrap(), 6)),
        ("mmr", begin().rerank("mmr", Mmr::new(0.7, vectors()).unwrap(), 6)),
        ("calibration", begin().rerank("calibration", calibration(), 6)),
        ("rules", begin().rerank("rules", rules(), 6)),
    ]
}

pub fn schema() -> Schema {
    let genres =
        FieldKind::MultiValued { ids: Ids::default(), pooling: Pooling::Mean, separator: Some("|".into()) };
    let history = FieldKind::History { of: "item".into(), max_len: 3, separator: Some(" ".into()) };
    Schema::default()
        .with_field("user", Ids::Hashing { n_buckets: 7 })
        .with_field("item", Ids::default())
        .with_field("genres", genres)
        .with_field("age", Numeric::Standardized)
        .with_field("price", Numeric::QuantileBins { n_bins: 3 })
        .with_field("clicks", Numeric::LogPowerBins { power: 2.0 })
        .with_field("year", Numeric::EqualWidthBins { n_bins: 4 })
        .with_field("title", TextEncoderConfig { dim: 4, n_buckets: 32, ..Default::default() })
        .with_field("watched", history)
        .with_label("rating", 4.0)
        .with_group("user")
}

/// A table with all columns of [`schema`].
pub fn table() -> Table {
    let ints = |n: i64| Column::ints((0..8).map(move |row| (row != 5).then_some(row * row % n)));
    let numbers = |scale: f64| Column::numbers((0..8).map(|row| f64::from(row) * scale)).unwrap();
    let titles = ["Up (2009)", "Café", "", "Heat", "Heat 2", "Up again", "War", "Up"];
    let genres = ["Drama|War", "War", "", "Comedy", "Drama", "Drama|War", "War", "Comedy"];
    let watched = ["0 1", "", "4", "1 4 0 1", "0", "0 0", "1", "9"];
    let columns = [
        ("user", Column::ints((0..8).map(|row: i64| Some(row % 3)))),
        ("item", Column::ints((0..8).map(|row: i64| Some(row * row % 5)))),
        ("genres", Column::texts(genres)),
        ("age", numbers(7.5)),
        ("price", numbers(0.1)),
        ("clicks", numbers(100.0)),
        ("year", ints(4)),
        ("title", Column::texts(titles)),
        ("watched", Column::texts(watched)),
        ("rating", numbers(0.8)),
    ];
    let add = |table: Table, (name, column)| table.with_column(name, column).unwrap();
    columns.into_iter().fold(Table::default(), add)
}

pub fn encoder() -> FeatureEncoder {
    FeatureEncoder::fit(schema(), [Ok(table())]).unwrap()
}

pub fn store() -> FeatureStore {
    let mut store = FeatureStore::new(AggregateConfig::default())
        .and_then(|store| store.with_categories(&genres()))
        .and_then(|store| store.with_years((0..N_ITEMS as u16).map(|item| Some(1990 + item)).collect()))
        .unwrap();
    train().iter().for_each(|row| store.observe(row).unwrap());
    store
}

/// What makes rows of users, items and what they liked.
pub fn row_encoder() -> FeatureEncoder {
    let history = FieldKind::History { of: "item".into(), max_len: 3, separator: None };
    let schema = Schema::default()
        .with_field("user", Ids::default())
        .with_field("item", Ids::default())
        .with_field("liked", history);
    FeatureEncoder::fit(
        schema,
        [Ok(row_table((0..N_ITEMS as i64).map(|item| (item % N_USERS as i64, item))))],
    )
    .unwrap()
}

/// A table for [`row_encoder`]; −1 is nothing.
pub fn row_table(rows: impl Iterator<Item = (i64, i64)>) -> Table {
    let rows: Vec<(i64, i64)> = rows.collect();
    let some = |id: i64| (id >= 0).then_some(id);
    Table::default()
        .with_column("user", Column::ints(rows.iter().map(|row| some(row.0))))
        .and_then(|table| table.with_column("item", Column::ints(rows.iter().map(|row| some(row.1)))))
        .and_then(|table| table.with_column("liked", Column::int_lists(rows.iter().map(|_| vec![1, 3]))))
        .unwrap()
}

pub fn row_features() -> RowFeatures {
    RowFeatures { encoder: row_encoder(), store: Some(store()) }
}

/// Rows of a user and an item each, of [`row_encoder`].
pub fn known_rows() -> CandidateRows {
    let encoder = row_encoder();
    let encoded = |rows: Vec<(i64, i64)>| encoder.encode_features(&row_table(rows.into_iter())).unwrap();
    let users = (0..N_USERS as i64).map(|user| (user, -1)).chain([(-1, -1)]).collect();
    let items = (0..N_ITEMS as i64).map(|item| (-1, item)).collect();
    CandidateRows::new(encoded(users), encoded(items), &["user"]).unwrap()
}

const HISTORY: [ItemId; 3] = [ItemId(3), ItemId(1), ItemId(4)];

/// Questions that a service may ask.
fn queries() -> [Query<'static>; 3] {
    [
        Query::new(&HISTORY).with_user(UserId(2)).excluding([ItemId(3)]),
        Query::default(),
        Query::new(&HISTORY[..1]).allowing([ItemId(0), ItemId(5), ItemId(6)]),
    ]
}

/// One that most refuse.
fn of_nobody() -> Query<'static> {
    Query::new(&HISTORY).with_user(UserId(999)).excluding([ItemId(u32::MAX)])
}

/// Asks a recaller; the first error is what it says.
pub fn ask_recaller(recaller: &dyn Recaller) -> Told {
    let _ = recaller.recall(&of_nobody(), 3);
    for query in queries() {
        told(recaller.recall(&query, 4))?;
    }
    told(recaller.recall_batch(&queries(), 20)).map(drop)
}

pub fn ask_ranker(ranker: &dyn Ranker) -> Told {
    let candidates = [5, 0, 11].map(|item| Candidate::new(ItemId(item), 1.0).from_channel("popularity", 1));
    let _ = ranker.score(&of_nobody(), &[ItemId(0)]);
    for query in &queries()[..2] {
        told(ranker.score(query, &[ItemId(2), ItemId(9)]))?;
        told(ranker.score_candidates(query, &candidates))?;
    }
    Ok(())
}

pub fn ask_reranker(reranker: &dyn Reranker) -> Told {
    for query in &queries()[..2] {
        let ranked =
            [5, 0, 11, 7, 2].map(|item| Candidate::new(ItemId(item), 1.0 / (item + 1) as f32)).to_vec();
        told(reranker.rerank(query, ranked, 4))?;
    }
    Ok(())
}

/// Asks a pipeline. A stage's panic, which a pipeline survives, counts as one.
pub fn ask_pipeline(pipeline: &Pipeline) -> Told {
    let _ = pipeline.recommend(&of_nobody());
    for query in queries() {
        for stage in told(pipeline.recommend(&query))?.stages {
            if let StageOutcome::Panicked(message) = stage.outcome {
                resume_unwind(Box::new(format!("stage {}: {message}", stage.name)));
            }
        }
    }
    Ok(())
}

pub fn ask_features(features: &RowFeatures) -> Told {
    if let Some(store) = &features.store {
        told(store.features(UserId(1), &HISTORY, i64::MAX))?;
    }
    told(features.encoder.encode_features(&row_table([(1, 2), (-1, 3)].into_iter()))).map(drop)
}
