//! The two-tower model from interactions to answers: it learns, repeats itself, keeps the recaller's contract
//! and survives the disk.
#![cfg(feature = "flex")]

use std::process::Command;

use crate::common::check_recaller;
use recsys::features::ItemVectors;
use recsys::layers::{HistoryEncoderConfig, MlpConfig, Pooling, TableUpdate};
use recsys::losses::RetrievalLoss;
use recsys::metrics::{Evaluation, HeldOut, HeldOutUser, RankingMetric, evaluate};
use recsys::models::recall::{
    EmbeddingRecaller, FALLBACK_CHANNEL, PopularityRecaller, TwoTower, TwoTowerConfig,
};
use recsys::persistence::EmbeddingBundle;
use recsys::prelude::*;
use recsys::samplers::PopularitySampler;
use recsys::training::{RetrievalBatches, Trainer, TrainingConfig};

fn data() -> (Dataset, Split) {
    let data = SyntheticConfig::new(300, 120, 9_000, 5).with_follow_probability(0.8).generate().unwrap();
    let split = Split::leave_one_out(data.interactions());
    (data, split)
}

fn small(loss: RetrievalLoss) -> TwoTowerConfig {
    let mlp = MlpConfig::new(16).with_hidden([32]);
    TwoTowerConfig {
        d_embedding: 16,
        query_mlp: mlp.clone(),
        item_mlp: mlp,
        max_len: 20,
        loss,
        ..TwoTowerConfig::default()
    }
}

fn sampled_softmax() -> RetrievalLoss {
    RetrievalLoss::SampledSoftmax { n_negatives: 32, log_q: false }
}

fn fit(config: &TwoTowerConfig, epochs: usize) -> TwoTower {
    let (data, split) = data();
    let features = ItemFeatures::genres(data.item_table().unwrap());
    let model = config.init(data.n_users(), &features, 1, &Device::flex()).unwrap();
    let batches = RetrievalBatches::new(&split.train, config.loss, config.max_len).unwrap();
    let batches = batches.with_batch_size(16).unwrap().with_seed(2).with_unseen_negatives();
    let training = TrainingConfig::default().with_epochs(epochs).with_learning_rate(5e-3);
    Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap().model
}

const TRANSFORMER: HistoryEncoderConfig = transformer(1, 2, Pooling::Recency { n_scales: 2 });

const fn transformer(n_blocks: usize, n_heads: usize, pooling: Pooling) -> HistoryEncoderConfig {
    HistoryEncoderConfig::Transformer { n_blocks, n_heads, pooling }
}

const ENCODERS: [HistoryEncoderConfig; 5] = [
    HistoryEncoderConfig::Pooling(Pooling::Mean),
    HistoryEncoderConfig::Pooling(Pooling::Recency { n_scales: 4 }),
    TRANSFORMER,
    HistoryEncoderConfig::Gru { d_state: 16 },
    HistoryEncoderConfig::Lstm { d_state: 16 },
];

fn index(model: &TwoTower) -> Box<dyn VectorIndex> {
    let vectors = model.item_vectors().unwrap();
    Box::new(ExactIndex::new(Similarity::InnerProduct, model.dim(), vectors).unwrap())
}

fn recaller(model: TwoTower) -> EmbeddingRecaller<TwoTower> {
    let popularity = PopularityRecaller::fit(&data().1.train);
    EmbeddingRecaller::new(model.clone(), index(&model), Box::new(popularity)).unwrap()
}

fn evaluate_test(recaller: &dyn Recaller) -> Evaluation {
    let split = data().1;
    let held_out = HeldOut::test(&split).unwrap();
    evaluate(recaller, &held_out, &[10]).unwrap()
}

#[test]
fn every_loss_beats_popularity() {
    let baseline = evaluate_test(&PopularityRecaller::fit(&data().1.train));
    let in_batch = |log_q, symmetric, n_negatives| RetrievalLoss::InBatchSoftmax {
        log_q,
        symmetric,
        n_negatives,
        n_hard: None,
    };
    let configs = [
        small(sampled_softmax()),
        small(RetrievalLoss::FullSoftmax),
        small(in_batch(true, false, 0)),
        small(in_batch(true, true, 16)),
        small(RetrievalLoss::Bpr { n_negatives: 4 }),
        small(RetrievalLoss::BinaryCrossEntropy { n_negatives: 4 }),
        TwoTowerConfig { user_embedding: true, ..small(RetrievalLoss::FullSoftmax) },
        TwoTowerConfig {
            table_update: TableUpdate::Sparse,
            user_embedding: true,
            ..small(sampled_softmax())
        },
        TwoTowerConfig { normalize: false, temperature: 1.0, ..small(RetrievalLoss::FullSoftmax) },
    ];
    for config in configs {
        let measured = evaluate_test(&recaller(fit(&config, 15)));
        let comparison = measured.compare("two-tower", &baseline, "popularity", 1).unwrap();
        let recall = comparison.metric("recall@10").unwrap();
        let what = (config.loss, config.user_embedding, config.normalize, config.table_update);
        println!("{what:?}: {:.3}, popularity {:.3}", recall.a, recall.b);
        assert!(recall.difference.interval.unwrap().low > 0.0, "{what:?}: {recall:?}");
    }
    assert!(baseline.mean(RankingMetric::Recall, 10).unwrap() > 0.0);
}

/// Most steps of the data go from an item to one of its few successors.
#[test]
fn every_other_encoder_sees_the_order_that_the_mean_does_not() {
    let config = |history| TwoTowerConfig { history, ..small(RetrievalLoss::FullSoftmax) };
    let mean = evaluate_test(&recaller(fit(&config(ENCODERS[0]), 15)));
    for encoder in &ENCODERS[1..] {
        let found = evaluate_test(&recaller(fit(&config(*encoder), 15)));
        let comparison = found.compare("encoder", &mean, "mean", 1).unwrap();
        let recall = comparison.metric("recall@10").unwrap();
        println!("{encoder:?}: {:.3}, mean {:.3}", recall.a, recall.b);
        assert!(recall.difference.interval.unwrap().low > 0.05, "{encoder:?}: {recall:?}");
    }
}

/// The mean of a transformer's outputs with the user's id, and the symmetric loss with a learned temperature, where
/// taste tells more than order.
#[test]
fn a_transformer_with_the_loss_of_clip_learns_tastes() {
    let data = SyntheticConfig::new(300, 120, 9_000, 5).with_follow_probability(0.1).generate().unwrap();
    let split = Split::leave_one_out(data.interactions());
    let loss = RetrievalLoss::InBatchSoftmax { log_q: true, symmetric: true, n_negatives: 32, n_hard: None };
    let history = transformer(1, 2, Pooling::Mean);
    let config = TwoTowerConfig { history, user_embedding: true, ..small(loss) };
    let model = config.init(data.n_users(), &ItemFeatures::none(120), 1, &Device::flex()).unwrap();
    let batches = RetrievalBatches::new(&split.train, loss, config.max_len).unwrap();
    let batches = batches.with_batch_size(16).unwrap().with_seed(2);
    let training = TrainingConfig::default().with_epochs(15).with_learning_rate(5e-3);
    let model = Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap().model;

    let held_out = HeldOut::test(&split).unwrap();
    let popularity = || PopularityRecaller::fit(&split.train);
    let found = EmbeddingRecaller::exact(model, Box::new(popularity())).unwrap();
    let [found, baseline] = [&found as &dyn Recaller, &popularity()]
        .map(|recaller| evaluate(recaller, &held_out, &[10]).unwrap());
    let comparison = found.compare("two-tower", &baseline, "popularity", 1).unwrap();
    let recall = comparison.metric("recall@10").unwrap();
    println!("{:.3}, popularity {:.3}", recall.a, recall.b);
    assert!(recall.difference.interval.unwrap().low > 0.0, "{recall:?}");
}

#[test]
fn a_history_is_encoded_alike_alone_and_in_a_batch() {
    let many: Vec<ItemId> = (0..45).map(|i| ItemId(i * 7 % 120)).collect();
    let histories = [&many[..3], &[], &many[..1], &many[..], &many[25..], &[ItemId(5), ItemId(5), ItemId(5)]];
    for history in ENCODERS {
        let model = fit(&TwoTowerConfig { history, ..small(sampled_softmax()) }, 1);
        let d = model.dim();
        let encode = |histories: &[&[ItemId]]| {
            let queries: Vec<_> = histories.iter().map(|history| Query::new(history)).collect();
            model.encode(&queries.iter().collect::<Vec<_>>()).unwrap()
        };
        let together = encode(&histories);
        for (history, expected) in histories.iter().zip(together.chunks(d)) {
            for (found, expected) in encode(&[history]).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{history:?}: {found} {expected}");
            }
        }
        assert_eq!(together[3 * d..4 * d], together[4 * d..5 * d], "the last 20 items count");
        assert!(encode(&[&[], &[]]).iter().all(|x| x.is_finite()));
        assert!(encode(&[]).is_empty());
        let unknown = [ItemId(3), ItemId(120)];
        let error = model.encode(&[&Query::new(&unknown)]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::IdOutOfRange { id: 120, bound: 120, .. }), "{error}");
    }
}

#[test]
fn a_learned_temperature_stays_above_its_bound() {
    // A step of 0.1 on logits this small asks for far lower ones.
    let config = TwoTowerConfig { temperature: 0.01, ..small(RetrievalLoss::FullSoftmax) };
    let (data, split) = data();
    let features = ItemFeatures::none(data.n_items());
    let model = config.init(data.n_users(), &features, 1, &Device::flex()).unwrap();
    let batches = RetrievalBatches::new(&split.train, config.loss, config.max_len).unwrap();
    let training = TrainingConfig::default().with_epochs(1).with_learning_rate(0.1);
    let fitted = Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap();
    assert!(fitted.model.temperature() >= 0.01 * (1.0 - 1e-5), "{}", fitted.model.temperature());
    let below = TwoTowerConfig { temperature: 0.009, ..config };
    assert!(below.validate().is_err());
    assert!(TwoTowerConfig { learn_temperature: false, ..below }.validate().is_ok());
}

/// Every tenth item.
fn is_cold(item: ItemId) -> bool {
    item.0 % 10 == 3
}

/// The genres of the items as vectors of zeros and ones.
fn genre_vectors(features: &ItemFeatures) -> ItemVectors {
    let mut values = vec![0.0; features.n_items() * features.n_features()];
    for (row, genres) in values.chunks_mut(features.n_features()).zip(features.iter()) {
        genres.iter().for_each(|&genre| row[genre as usize] = 1.0);
    }
    ItemVectors::new(features.n_features(), values).unwrap()
}

/// Trained without a tenth of the items, with their genres as content or without.
fn fit_cold(with_content: bool, id_dropout: f64) -> TwoTower {
    let data = data().0;
    let train = data.interactions().clone().retain(|row| !is_cold(row.item));
    let mut features = ItemFeatures::none(data.n_items());
    if with_content {
        let vectors = genre_vectors(&ItemFeatures::genres(data.item_table().unwrap()));
        features = features.with_vectors(vectors).unwrap().with_cold(&train).unwrap();
        assert_eq!(features.cold().len(), 12);
    }
    let loss = RetrievalLoss::InBatchSoftmax { log_q: true, symmetric: false, n_negatives: 32, n_hard: None };
    let config = TwoTowerConfig { id_dropout, ..small(loss) };
    let model = config.init(data.n_users(), &features, 1, &Device::flex()).unwrap();
    let mut counts = vec![0; data.n_items()];
    train.items().iter().for_each(|item| counts[item.index()] += 1);
    let batches = RetrievalBatches::new(&train, config.loss, config.max_len).unwrap();
    let batches = batches.with_sampler(PopularitySampler::new(&counts, 0.0).unwrap()).unwrap();
    let batches = batches.with_batch_size(16).unwrap().with_seed(2);
    let training = TrainingConfig::default().with_epochs(10).with_learning_rate(5e-3);
    Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap().model
}

/// A question for each interaction of each user with a cold item, after five others.
fn cold_questions() -> HeldOut {
    let interactions = data().0.interactions().clone();
    let mut questions = Vec::new();
    for (user, items) in Sequences::new(&interactions).iter() {
        for (t, &item) in items.iter().enumerate().filter(|(t, item)| *t > 4 && is_cold(**item)) {
            let history = items[..t].to_vec();
            let seen = history.clone();
            questions.push(HeldOutUser { user, history, seen, relevant: vec![item] });
        }
    }
    HeldOut::new("cold items", "items seen before", 120, questions).unwrap()
}

#[test]
fn items_never_seen_in_training_are_found_by_their_content() {
    let questions = cold_questions();
    assert!(questions.users().len() > 300);
    let [ids, content] = [fit_cold(false, 0.0), fit_cold(true, 0.3)]
        .map(|model| evaluate(&recaller(model), &questions, &[20]).unwrap());
    let comparison = content.compare("by content", &ids, "by ids", 1).unwrap();
    let recall = comparison.metric("recall@20").unwrap();
    println!("recall@20 of cold items: {:.3} by content, {:.3} by ids", recall.a, recall.b);
    assert!(recall.difference.interval.unwrap().low > 0.1 && recall.a > 0.5, "{recall:?}");
}

#[test]
fn new_items_are_encoded_as_if_they_had_been_there() {
    let model = fit_cold(true, 0.3);
    let (d, n) = (model.dim(), model.n_items());
    let all = genre_vectors(&ItemFeatures::genres(data().0.item_table().unwrap()));
    // Item 13 is cold: its twin behind the last item has its content.
    let twin = ItemVectors::new(all.dim(), all.row(ItemId(13)).to_vec()).unwrap();
    let more = ItemFeatures::none(1).with_vectors(twin).unwrap();
    let grown = model.with_cold_items(&more).unwrap();
    assert_eq!((grown.n_items(), grown.item_features().cold().len()), (n + 1, 13));
    let (before, after) = (model.item_vectors().unwrap(), grown.item_vectors().unwrap());
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&before, &after) && near(&before[13 * d..14 * d], &after[n * d..]));
    let encode = |item| grown.encode(&[&Query::new(&[ItemId(2), item])]).unwrap();
    assert!(near(&encode(ItemId(13)), &encode(ItemId(n as u32))));
    assert!(!near(&encode(ItemId(13)), &encode(ItemId(12))));
    assert!(model.with_cold_items(&ItemFeatures::none(1)).is_err(), "items without content");
}

#[test]
fn content_is_saved_once_with_the_model() {
    let model = fit_cold(true, 0.3);
    let d_content = model.d_content().unwrap();
    let more = ItemVectors::new(d_content, vec![0.5; d_content]).unwrap();
    let model = model.with_cold_items(&ItemFeatures::none(1).with_vectors(more).unwrap()).unwrap();
    assert!(model.item_features().vectors().is_none(), "they are among the weights");
    let data = data().0;
    let interactions = Interactions::from_rows(data.n_users(), 121, data.interactions().iter()).unwrap();
    let bundle = EmbeddingBundle {
        index: index(&model),
        model,
        popularity: PopularityRecaller::fit(&interactions),
        users: data.users().clone(),
        items: Vocab::from_ints((0..121).collect()).unwrap(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("with_content");
    bundle.save(&path).unwrap();
    let loaded = EmbeddingBundle::<TwoTower>::load(&path, &Device::flex()).unwrap();
    assert_eq!(loaded.model.item_features(), bundle.model.item_features());
    assert_eq!(loaded.model.item_vectors().unwrap(), bundle.model.item_vectors().unwrap());
    assert_eq!(answers(loaded), answers(bundle));
}

#[test]
fn settings_of_the_first_format_are_read() {
    for (history, json) in [
        (ENCODERS[0], serde_json::json!("mean")),
        (ENCODERS[1], serde_json::json!({ "recency": { "n_scales": 4 } })),
    ] {
        let config = TwoTowerConfig { history, ..small(sampled_softmax()) };
        let mut old = serde_json::json!(config);
        let settings = old.as_object_mut().unwrap();
        assert_eq!(settings.remove("history"), Some(json.clone()));
        settings.remove("id_dropout");
        settings.insert("pooling".into(), json);
        assert_eq!(serde_json::from_value::<TwoTowerConfig>(old).unwrap(), config);
    }
    for history in &ENCODERS[2..] {
        let json = serde_json::json!(history);
        assert_eq!(serde_json::from_value::<HistoryEncoderConfig>(json).unwrap(), *history);
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_beside_other_threads() {
    let cases = [
        (TableUpdate::Dense, ENCODERS[1], 0.0),
        (TableUpdate::Sparse, ENCODERS[1], 0.2),
        (TableUpdate::Dense, TRANSFORMER, 0.2),
        (TableUpdate::Dense, ENCODERS[3], 0.0),
        (TableUpdate::Sparse, ENCODERS[4], 0.0),
    ];
    for (table_update, history, id_dropout) in cases {
        let bits = move || -> Vec<u32> {
            let config = TwoTowerConfig { table_update, history, id_dropout, ..small(sampled_softmax()) };
            let model = fit(&config, 2);
            model.item_vectors().unwrap().iter().map(|number| number.to_bits()).collect()
        };
        let alone = bits();
        let together: Vec<_> = (0..3).map(|_| std::thread::spawn(bits)).collect();
        for thread in together {
            assert!(thread.join().unwrap() == alone, "the weights differ");
        }
    }
}

#[test]
fn keeps_the_contract() {
    for (user_embedding, history) in
        ENCODERS.into_iter().flat_map(|history| [(false, history), (true, history)])
    {
        let config = TwoTowerConfig { user_embedding, history, ..small(sampled_softmax()) };
        check_recaller(&recaller(fit(&config, 1)), 120);
    }
    let model = fit(&small(sampled_softmax()), 1);
    let config = HnswConfig { min_items_for_graph: 50, ..HnswConfig::default() };
    let graph =
        HnswIndex::build(Similarity::InnerProduct, model.dim(), model.item_vectors().unwrap(), &config)
            .unwrap();
    assert_eq!(graph.report().fallback, None);
    let popularity = PopularityRecaller::fit(&data().1.train);
    check_recaller(&EmbeddingRecaller::new(model, Box::new(graph), Box::new(popularity)).unwrap(), 120);
}

#[test]
fn strangers_get_what_is_popular_and_are_told() {
    let popularity = PopularityRecaller::fit(&data().1.train);
    let recaller = recaller(fit(&small(sampled_softmax()), 1));
    let answer = recaller.recall(&Query::default(), 3).unwrap();
    let expected = popularity.recall(&Query::default(), 3).unwrap();
    assert_eq!(
        answer.iter().map(|c| c.item).collect::<Vec<_>>(),
        expected.iter().map(|c| c.item).collect::<Vec<_>>()
    );
    assert!(answer.iter().all(|c| *c.channels[0].channel == *FALLBACK_CHANNEL));
    let known = recaller.recall(&Query::new(&[ItemId(1)]), 3).unwrap();
    assert!(known.iter().all(|candidate| candidate.channels.is_empty()));
}

#[test]
fn the_temperature_is_learned_only_if_asked() {
    let learned = fit(&small(sampled_softmax()), 1);
    assert!((learned.temperature() - 0.07).abs() > 1e-4);
    let fixed = fit(&TwoTowerConfig { learn_temperature: false, ..small(sampled_softmax()) }, 1);
    assert!((fixed.temperature() - 0.07).abs() < 1e-6);
}

#[test]
fn similar_items_are_not_the_item_itself() {
    let recaller = recaller(fit(&small(sampled_softmax()), 1));
    let similar = recaller.similar_items(ItemId(3), 5, &ItemFilter::all().deny([ItemId(4)])).unwrap();
    assert_eq!(similar.len(), 5);
    assert!(similar.iter().all(|candidate| candidate.item != ItemId(3) && candidate.item != ItemId(4)));
    assert!(recaller.similar_items(ItemId(120), 5, &ItemFilter::all()).is_err());
}

#[test]
fn batches_made_for_another_model_are_refused() {
    let (data, split) = data();
    let config = small(sampled_softmax());
    let fit = |config: &TwoTowerConfig, n_items, loss, max_len| {
        let model = config.init(data.n_users(), &ItemFeatures::none(n_items), 1, &Device::flex()).unwrap();
        let batches = RetrievalBatches::new(&split.train, loss, max_len).unwrap();
        let trainer = Trainer::new(TrainingConfig::default().with_epochs(1)).unwrap();
        trainer.fit(model, &batches, |_| Ok(vec![])).map(|_| ())
    };
    fit(&config, 120, config.loss, 20).unwrap();
    for (n_items, loss, max_len, field) in [
        (120, RetrievalLoss::FullSoftmax, 20, "RetrievalBatches::loss"),
        (120, config.loss, 30, "RetrievalBatches::max_len"),
        (100, config.loss, 20, "RetrievalBatches::n_items"),
    ] {
        let error = fit(&config, n_items, loss, max_len).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn settings_out_of_range_are_errors() {
    let good = small(sampled_softmax());
    let hard_and_symmetric =
        RetrievalLoss::InBatchSoftmax { log_q: true, symmetric: true, n_negatives: 0, n_hard: Some(3) };
    let bad = [
        TwoTowerConfig { d_embedding: 0, ..good.clone() },
        TwoTowerConfig { item_mlp: MlpConfig::new(8), ..good.clone() },
        TwoTowerConfig { temperature: 0.0, ..good.clone() },
        TwoTowerConfig { temperature: f64::NAN, ..good.clone() },
        TwoTowerConfig { dropout: 1.0, ..good.clone() },
        TwoTowerConfig { max_len: 0, ..good.clone() },
        TwoTowerConfig { history: Pooling::Recency { n_scales: 0 }.into(), ..good.clone() },
        TwoTowerConfig { history: transformer(1, 3, Pooling::Mean), ..good.clone() },
        TwoTowerConfig { history: transformer(0, 1, Pooling::Mean), ..good.clone() },
        TwoTowerConfig { history: HistoryEncoderConfig::Gru { d_state: 0 }, ..good.clone() },
        TwoTowerConfig { history: HistoryEncoderConfig::Lstm { d_state: 0 }, ..good.clone() },
        TwoTowerConfig { max_len: 0, history: ENCODERS[3], ..good.clone() },
        TwoTowerConfig { id_dropout: 1.0, ..good.clone() },
        TwoTowerConfig { loss: RetrievalLoss::Bpr { n_negatives: 0 }, ..good.clone() },
        TwoTowerConfig { loss: hard_and_symmetric, ..good },
    ];
    for config in bad {
        let error = config.init(3, &ItemFeatures::none(5), 1, &Device::flex()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidConfig { .. }), "{error}");
    }
}

/// The answers to some questions, to the last bit.
fn answers(bundle: EmbeddingBundle<TwoTower>) -> String {
    let recaller = bundle.into_recaller().unwrap();
    let mut text = String::new();
    for history in [&[][..], &[ItemId(5)], &[ItemId(7), ItemId(2), ItemId(90)]] {
        for candidate in recaller.recall(&Query::new(history), 20).unwrap() {
            text += &format!("{}:{:08x} ", candidate.item, candidate.score.to_bits());
        }
    }
    text
}

const BUNDLE: &str = "RECSYS_TEST_BUNDLE";

/// Not a test of its own: what the other process of the next test does.
#[test]
fn print_the_answers_of_a_bundle() {
    if let Some(folder) = std::env::var_os(BUNDLE) {
        println!("ANSWERS {}", answers(EmbeddingBundle::<TwoTower>::load(folder, &Device::flex()).unwrap()));
    }
}

#[test]
fn a_bundle_answers_alike_in_another_process() {
    let (data, split) = data();
    let table_update = TableUpdate::Sparse;
    let model = fit(&TwoTowerConfig { user_embedding: true, table_update, ..small(sampled_softmax()) }, 1);
    let bundle = EmbeddingBundle {
        index: index(&model),
        model,
        popularity: PopularityRecaller::fit(&split.train),
        users: data.users().clone(),
        items: data.items().clone(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two_tower");
    bundle.save(&path).unwrap();
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_tower::print_the_answers_of_a_bundle", "--nocapture"])
        .env(BUNDLE, &path)
        .output()
        .unwrap();
    let output = String::from_utf8(other.stdout).unwrap();
    let found = output.lines().find_map(|line| line.split_once("ANSWERS ")).map(|(_, answers)| answers);
    assert_eq!(found, Some(answers(bundle).as_str()), "{output}");

    let weights = path.join("files-1/weights.bpk");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = EmbeddingBundle::<TwoTower>::load(&path, &Device::flex()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { path, .. } if *path == weights), "{error}");
}
