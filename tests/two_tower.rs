//! The two-tower model from interactions to answers: it learns, repeats itself, keeps the recaller's contract
//! and survives the disk.
#![cfg(feature = "flex")]

mod common;

use std::process::Command;

use common::check_recaller;
use recsys::layers::{MlpConfig, Pooling, TableUpdate};
use recsys::losses::RetrievalLoss;
use recsys::metrics::{Evaluation, HeldOut, RankingMetric, evaluate};
use recsys::models::recall::{
    EmbeddingRecaller, FALLBACK_CHANNEL, PopularityRecaller, TwoTower, TwoTowerConfig,
};
use recsys::persistence::EmbeddingBundle;
use recsys::prelude::*;
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
    let held_out = HeldOut::test(&split.train, &split.validation, &split.test).unwrap();
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

#[test]
fn recency_sees_the_order_that_the_mean_does_not() {
    let config = small(RetrievalLoss::FullSoftmax);
    let recency = evaluate_test(&recaller(fit(&config, 15)));
    let mean = evaluate_test(&recaller(fit(&TwoTowerConfig { history: Pooling::Mean.into(), ..config }, 15)));
    let recall = recency.compare("recency", &mean, "mean", 1).unwrap().metric("recall@10").unwrap();
    assert!(recall.difference.interval.unwrap().low > 0.05, "{recall:?}");
}

#[test]
fn the_same_seed_gives_the_same_bits_beside_other_threads() {
    for table_update in [TableUpdate::Dense, TableUpdate::Sparse] {
        let bits = move || -> Vec<u32> {
            let model = fit(&TwoTowerConfig { table_update, ..small(sampled_softmax()) }, 2);
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
    for user_embedding in [false, true] {
        let config = TwoTowerConfig { user_embedding, ..small(sampled_softmax()) };
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
    assert!(answer.iter().all(|c| c.channels[0].channel == FALLBACK_CHANNEL));
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
        .args(["--exact", "print_the_answers_of_a_bundle", "--nocapture"])
        .env(BUNDLE, &path)
        .output()
        .unwrap();
    let output = String::from_utf8(other.stdout).unwrap();
    let found = output.lines().find_map(|line| line.split_once("ANSWERS ")).map(|(_, answers)| answers);
    assert_eq!(found, Some(answers(bundle).as_str()), "{output}");

    let weights = path.join("weights.bpk");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = EmbeddingBundle::<TwoTower>::load(&path, &Device::flex()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { path, .. } if *path == weights), "{error}");
}
