//! What serde reads: settings, and things that were fitted; each is used after it was read.

use std::fmt::Debug;
use std::path::Path;

use recsys::data::{ItemTable, UserTable};
use recsys::features::{
    AggregateConfig, CandidateRows, ChannelFeatures, EncodedRows, FeatureEncoder, FeatureSpace, FeatureStore,
    ItemVectors, Libfm, Schema, TextEncoder, TextEncoderConfig,
};
use recsys::layers::MlpConfig;
use recsys::metrics::{DatasetFacts, Experiment};
use recsys::models::ranking::*;
use recsys::models::recall::*;
use recsys::models::reranking::*;
use recsys::pipeline::{ChannelConfig, FusionMethod};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{EpochSummary, History, RankingConfig, RankingExamplesConfig, TrainingConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::samples::*;
use crate::target::{Input, Reader, Target, Told, damaged_seed, told};

/// One type: what it looks like, and what is done with it.
struct Form {
    seeds: Vec<Vec<u8>>,
    read: Box<Read>,
}

type Read = dyn Fn(&[u8]) -> Told;

/// Several types; a variant of an input is one of them.
struct Forms(Vec<Form>);

impl Target for Forms {
    fn input(&self, rng: &mut Rng) -> Input {
        let variant = rng.below(self.0.len());
        Input::bytes(variant, damaged_seed(rng, &self.0[variant].seeds))
    }

    fn read(&self, input: &Input) -> Told {
        (self.0[input.variant].read)(input.of_reader())
    }
}

fn form<T: Serialize + DeserializeOwned + Debug>(seed: T, ask: impl Fn(T) -> Told + 'static) -> Form {
    let seed = serde_json::to_vec(&seed).expect("JSON");
    let read = move |bytes: &[u8]| {
        let value: T = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        // What was read can be shown and saved, too.
        let _ = (format!("{value:?}"), serde_json::to_vec(&value));
        ask(value)
    };
    read(&seed).expect("what was saved is read");
    Form { seeds: vec![seed], read: Box::new(read) }
}

pub fn schema(folder: &Path) -> Box<dyn Target> {
    let mut seeds = vec![serde_json::to_vec(&crate::samples::schema()).expect("JSON")];
    // Each field alone, where damage is more likely to leave the rest as it was.
    for field in crate::samples::schema().fields {
        let item = crate::samples::schema().fields[1].clone();
        let fields = if field.name == "watched" { vec![item, field] } else { vec![field] };
        seeds.push(serde_json::to_vec(&Schema { fields, ..Schema::default() }).expect("JSON"));
    }
    let read = |_: usize, bytes: &[u8], _: &Path| {
        let schema = told(Schema::from_json(&String::from_utf8_lossy(bytes)))?;
        let encoder = told(FeatureEncoder::fit(schema, [Ok(table())]))?;
        let _ = encoder.collision_rates().count();
        told(encoder.encode(&table()).and(encoder.encode_features(&table().select(&[5]))).map(drop))
    };
    Box::new(Reader {
        seeds: vec![seeds],
        n_variants: 1,
        file: folder.join("schema.json"),
        damage: damaged_seed,
        read: Box::new(read),
    })
}

pub fn data(_: &Path) -> Box<dyn Target> {
    let ask_vocab = |vocab: Vocab| {
        let _ = (vocab.id(3), vocab.id("key 1"), vocab.key(2), vocab.keys().count());
        told(vocab.select(&[1, 0]).map(drop))
    };
    let ask_interactions = |rows: Interactions| {
        // Those who fit to them make room for every user and item that they speak of.
        if rows.n_users().max(rows.n_items()) > 1 << 24 {
            return Ok(());
        }
        let _ = (Split::leave_one_out(&rows), Sequences::new(&rows).iter().count());
        PopularityRecaller::fit(&rows);
        Ok(())
    };
    let titles = vec!["Up (2009)".to_owned(), "Café".to_owned()];
    let films = ItemTable::new(
        titles,
        vec![Some(2009), None],
        vec!["Drama".into(), "War".into()],
        vec![vec![0], vec![0, 1]],
    );
    let words = |words: [&str; 2]| words.map(String::from).to_vec();
    let people = UserTable::new(
        words(["F", "M"]),
        vec![Some(1), None],
        words(["10", "16"]),
        words(["48067", "70072"]),
    );
    let ask_films = |films: ItemTable| {
        let features = ItemFeatures::genres(&films);
        let _ = (films.titles().len(), films.years().len(), features.n_items());
        told(TextEncoder::fit_items(TextEncoderConfig::default(), &films, None).map(drop))
    };
    let summary =
        EpochSummary { epoch: 1, loss: 0.5, metrics: vec![("fit".into(), 0.5)], ..Default::default() };
    let history = History { epochs: vec![summary.clone(), EpochSummary { epoch: 2, ..summary }] };
    let facts = DatasetFacts { name: "x".into(), users: 1, items: 1, interactions: 1 };
    let experiment =
        Experiment { protocol: "p".into(), dataset: facts, model: "m".into(), loss: None, seed: 1 };
    Box::new(Forms(vec![
        form(keys(5), ask_vocab),
        form(Vocab::from_ints(vec![7, 1 << 40, 3]).unwrap(), ask_vocab),
        form(train().select(&[0, 1, 2, 3, 4, 5]), ask_interactions),
        form(films.unwrap(), ask_films),
        form(people.unwrap(), |_| Ok(())),
        form(history, |history: History| {
            let _ = (history.to_string(), history.best());
            Ok(())
        }),
        form(experiment, |_| Ok(())),
    ]))
}

fn ask_rows(rows: &EncodedRows) -> Told {
    for row in 0..rows.n_rows().min(9) {
        for field in 0..rows.space().n_fields() {
            rows.bag(row, field);
        }
        rows.history(row);
    }
    rows.sequences();
    let mut twice = rows.select(&[]);
    told(twice.append(rows).and_then(|()| twice.append(rows)))
}

fn ask_item_features(features: ItemFeatures) -> Told {
    let _ = (features.iter().count(), features.get(ItemId(2)).map(<[u32]>::len), features.is_cold(ItemId(1)));
    told(features.check_distinct())?;
    told(features.clone().with_cold(&train()))?;
    told(features.clone().with_cold_items(&features))?;
    ask_recaller(&told(ContentRecaller::fit(&features, &ContentConfig::default()))?)
}

fn ask_store(mut store: FeatureStore) -> Told {
    told(store.features(UserId(1), &[ItemId(0), ItemId(11)], i64::MAX))?;
    let next = Interaction { user: UserId(1), item: ItemId(3), value: 1.0, timestamp: 1 << 40 };
    told(store.observe(next))?;
    store.advance(i64::MAX);
    told(store.features(UserId(9), &[ItemId(1)], i64::MAX)).map(drop)
}

fn ask_space(space: FeatureSpace) -> Told {
    for field in 0..space.n_fields() {
        space.ids(field);
    }
    let _ = (space.n_ids(), space.names().count(), space.d_vectors(), space.history(), space.vectors("text"));
    let space = told(space.with_field("more", 3).and_then(|space| space.with_vectors("other", 2)))?;
    ask_rows(&EncodedRows::new(space, 1))
}

fn ask_channels(channels: ChannelFeatures) -> Told {
    let rows = told(candidate_rows(&space()).with_channels(channels.clone()))?;
    let told_of = Candidate::new(ItemId(1), 0.5).from_channel("a", 3);
    told(rows.of_candidates(None, &[ItemId(2)], &[told_of]))?;
    told(channels.with_weights(&[0.5, 0.5]).map(drop))
}

fn ask_candidates(rows: CandidateRows) -> Told {
    let _ = (rows.n_users(), rows.n_items(), rows.space().n_ids());
    told(rows.of(Some(UserId(1)), &[ItemId(3)], &[ItemId(0), ItemId(2)]))?;
    ask_rows(&told(rows.of(None, &[], &[ItemId(1)]))?)
}

pub fn features(_: &Path) -> Box<dyn Target> {
    let config = TextEncoderConfig { dim: 4, n_buckets: 16, ..TextEncoderConfig::default() };
    let texts = TextEncoder::fit(config, &["a word", "another word", "café"]).unwrap();
    let ask_texts = |encoder: TextEncoder| {
        let vectors = encoder.encode_all(&["a word", "", "new"]);
        let _ = (encoder.encode("word"), vectors.n_items());
        Ok(())
    };
    let ask_vectors = |vectors: ItemVectors| {
        let both = told(vectors.concat(&vectors))?;
        let _ = (both.n_items() > 0).then(|| both.row(ItemId(0)).len());
        vectors.l2_normalized();
        Ok(())
    };
    let rows = encoder().encode(&table().select(&[0, 1, 2])).unwrap();
    let ask_libfm = |libfm: Libfm| told(libfm.read_from(&b"1 7:1 9:2\n"[..]).map(drop));
    let ask_encoder = |encoder: FeatureEncoder| {
        let _ = (encoder.space().n_ids(), encoder.collision_rates().count());
        ask_rows(&told(encoder.encode(&table()))?)
    };
    let with_vectors = genres().with_vectors(vectors()).unwrap();
    let channels =
        ChannelFeatures::fit(["a", "b"], []).and_then(|all| all.with_weights(&[0.5, 0.5])).unwrap();
    let with_channels = candidate_rows(&space()).with_channels(channels.clone()).unwrap();
    Box::new(Forms(vec![
        form(texts, ask_texts),
        form(genres(), ask_item_features),
        form(with_vectors.with_cold(&train()).unwrap(), ask_item_features),
        form(vectors(), ask_vectors),
        form(rows, |rows| ask_rows(&rows)),
        form(candidate_rows(&space()), ask_candidates),
        form(with_channels, ask_candidates),
        form(space().with_vectors("text", 3).unwrap(), ask_space),
        form(store(), ask_store),
        form(encoder(), ask_encoder),
        form(channels, ask_channels),
        form(Libfm::fit_from(&b"1 7:1 20:0.5\n"[..]).unwrap(), ask_libfm),
    ]))
}

/// Settings of a ranker, which make one.
fn ranking_form<C: RankingConfig + Default + Debug + 'static>() -> Form {
    network_form(C::default(), |config| told(config.init(&space(), 1, &Device::flex()).map(drop)))
}

/// Settings of a network, which is made if it is small. A large one is what its caller asks for; what a saved bundle asks for is
/// another target.
fn network_form<C: Serialize + DeserializeOwned + Debug + 'static>(config: C, init: fn(C) -> Told) -> Form {
    form(config, move |config| match serde_json::to_value(&config) {
        Ok(settings) if is_small(&settings) => init(config),
        _ => Ok(()),
    })
}

fn is_small(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.as_f64().is_none_or(|number| number <= 256.0),
        serde_json::Value::Array(values) => values.iter().all(is_small),
        serde_json::Value::Object(fields) => fields.values().all(is_small),
        _ => true,
    }
}

/// Settings by which a model is made or fitted, as people write them into files.
pub fn configs(_: &Path) -> Box<dyn Target> {
    let towers = TwoTowerConfig { user_embedding: true, d_embedding: 4, ..TwoTowerConfig::default() };
    let transformer = SasrecConfig { d_model: 4, d_hidden: 4, max_len: 4, ..SasrecConfig::default() };
    let mlp = MlpConfig::new(3).with_hidden([4]);
    let graph = HnswConfig { min_items_for_graph: 5, ..HnswConfig::default() };
    Box::new(Forms(vec![
        network_form(towers, |config: TwoTowerConfig| {
            told(config.init(N_USERS, &genres(), 1, &Device::flex()).map(drop))
        }),
        network_form(transformer, |config: SasrecConfig| {
            told(config.init(N_ITEMS, 1, &Device::flex()).map(drop))
        }),
        network_form(mlp, |config: MlpConfig| {
            told(config.init(3, &mut Rng::new(1), &Device::flex()).map(drop))
        }),
        form(graph, |config: HnswConfig| {
            let vectors = vectors().values().to_vec();
            told(HnswIndex::build(Similarity::Cosine, 3, vectors, &config).map(drop))
        }),
        form(TrainingConfig::default(), |config: TrainingConfig| told(config.validate())),
        form(AggregateConfig::default(), |config| told(FeatureStore::new(config).map(drop))),
        form(ItemKnnConfig::default(), |config| told(ItemKnnRecaller::fit(&train(), &config).map(drop))),
        form(CoVisitationConfig::default(), |config| {
            told(CoVisitationRecaller::fit(&train(), &config).map(drop))
        }),
        form(SessionKnnConfig::default(), |config| {
            told(SessionKnnRecaller::fit(&train(), &config).map(drop))
        }),
        form(EaseConfig::default(), |config| told(EaseRecaller::fit(&train(), &config).map(drop))),
        form(ContentConfig::default(), |config| told(ContentRecaller::fit(&genres(), &config).map(drop))),
        form(FavouriteGenresConfig::default(), |config| {
            told(FavouriteGenresRecaller::fit(&train(), genres(), &config).map(drop))
        }),
        form(CalibrationConfig::default(), |config| told(Calibration::new(config, genres()).map(drop))),
        form(RulesConfig { deny: vec![ItemId(1)], ..RulesConfig::default() }, |config| {
            ask_reranker(&told(Rules::new(config, N_ITEMS))?)
        }),
        form(BlendWeights { score: 1.0, ranker: 0.5 }, |weights: BlendWeights| told(weights.validate())),
        form(ChannelConfig::new("a", 9), |_| Ok(())),
        form(FusionMethod::default(), |_| Ok(())),
        form(RankingExamplesConfig::default(), |_| Ok(())),
        ranking_form::<LogisticConfig>(),
        ranking_form::<FmConfig>(),
        ranking_form::<WideDeepConfig>(),
        ranking_form::<DeepFmConfig>(),
        ranking_form::<DcnConfig>(),
        ranking_form::<NeuMfConfig>(),
        ranking_form::<InteractionMlpConfig>(),
        ranking_form::<FinalMlpConfig>(),
        ranking_form::<MmoeConfig>(),
        ranking_form::<PleConfig>(),
        ranking_form::<EsmmConfig>(),
        ranking_form::<BstConfig>(),
        ranking_form::<DinConfig>(),
    ]))
}

/// Stages that serde reads as they are.
pub fn stages(_: &Path) -> Box<dyn Target> {
    fn recaller<R: Recaller + Serialize + DeserializeOwned + Debug>(recaller: R) -> Form {
        form(recaller, |recaller| ask_recaller(&recaller))
    }
    fn reranker<R: Reranker + Serialize + DeserializeOwned + Debug>(reranker: R) -> Form {
        form(reranker, |reranker| ask_reranker(&reranker))
    }
    Box::new(Forms(vec![
        recaller(popularity()),
        recaller(item_knn()),
        recaller(co_visitation()),
        recaller(session_knn()),
        recaller(ease()),
        recaller(slim()),
        recaller(bpr()),
        recaller(ials()),
        recaller(content()),
        recaller(favourite_genres()),
        form(biased_mf(), |ranker| ask_ranker(&ranker)),
        reranker(PopularityDebias::fit(&train(), 0.2).unwrap()),
        reranker(Dpp::new(0.6, vectors()).unwrap()),
        reranker(Mmr::new(0.7, vectors()).unwrap()),
        reranker(calibration()),
        reranker(rules()),
        // Last, so that the numbers of the others do not depend on it.
        #[cfg(feature = "gbdt")]
        form(trees(), |trees| {
            let rows = candidate_rows(&space());
            ask_ranker(&told(FeatureRanker::new(trees, rows))?)
        }),
    ]))
}
