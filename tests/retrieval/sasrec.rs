//! SASRec from interactions to answers: it learns, repeats itself, keeps the recaller's contract and survives
//! the disk.
#![cfg(feature = "flex")]

use crate::common::check_recaller;
use recsys::layers::{NormPlacement, TableUpdate};
use recsys::losses::RetrievalLoss;
use recsys::metrics::{Evaluation, HeldOut, RankingMetric, evaluate};
use recsys::models::recall::{EmbeddingRecaller, PopularityRecaller, Sasrec, SasrecConfig};
use recsys::persistence::EmbeddingBundle;
use recsys::prelude::*;
use recsys::samplers::PopularitySampler;
use recsys::training::{RetrievalBatches, Trainer, TrainingConfig, Windows};

const N_ITEMS: usize = 120;

/// Most steps go from an item to one of its few successors.
fn split() -> Split {
    let data = SyntheticConfig::new(300, N_ITEMS, 9_000, 5).with_follow_probability(0.8).generate().unwrap();
    Split::leave_one_out(data.interactions())
}

fn small(loss: RetrievalLoss) -> SasrecConfig {
    SasrecConfig { d_model: 16, n_heads: 2, d_hidden: 16, max_len: 20, loss, ..SasrecConfig::default() }
}

fn batches(config: &SasrecConfig) -> RetrievalBatches {
    let batches = RetrievalBatches::new(&split().train, config.loss, config.max_len).unwrap();
    batches.with_batch_size(16).unwrap().with_seed(2)
}

fn fit(config: &SasrecConfig, batches: &RetrievalBatches, epochs: usize) -> Sasrec {
    let model = config.init(N_ITEMS, 1, &Device::flex()).unwrap();
    let training = TrainingConfig::default().with_epochs(epochs).with_learning_rate(5e-3);
    Trainer::new(training).unwrap().fit(model, batches, |_| Ok(vec![])).unwrap().model
}

fn recaller(model: Sasrec) -> EmbeddingRecaller<Sasrec> {
    EmbeddingRecaller::exact(model, Box::new(PopularityRecaller::fit(&split().train))).unwrap()
}

fn evaluate_test(recaller: &dyn Recaller) -> Evaluation {
    let split = split();
    let held_out = HeldOut::test(&split).unwrap();
    evaluate(recaller, &held_out, &[10]).unwrap()
}

#[test]
fn sizes_that_would_overflow_are_refused() {
    const HUGE: usize = usize::MAX / 2 + 1;
    let base = small(RetrievalLoss::FullSoftmax);
    for (config, expected) in [
        (SasrecConfig { d_model: HUGE, ..base.clone() }, "d_model: expected 1 to 1048576, found 9"),
        (SasrecConfig { d_hidden: HUGE, ..base.clone() }, "d_hidden: expected 1 to 1048576, found 9"),
        (SasrecConfig { max_len: HUGE, ..base.clone() }, "max_len: expected 1 to 1048576, found 9"),
        (
            SasrecConfig { loss: RetrievalLoss::Bpr { n_negatives: HUGE }, ..base },
            "n_negatives: expected 1 to 1048576, found 9",
        ),
    ] {
        let error = config.init(N_ITEMS, 1, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_loss_learns_what_follows() {
    let baseline = evaluate_test(&PopularityRecaller::fit(&split().train));
    let sampled = |log_q| RetrievalLoss::SampledSoftmax { n_negatives: 32, log_q };
    let mut counts = vec![0; N_ITEMS];
    split().train.items().iter().for_each(|item| counts[item.index()] += 1);
    let popular = || PopularitySampler::new(&counts, 0.5).unwrap();
    let cases = [
        (small(RetrievalLoss::FullSoftmax), false),
        (small(sampled(false)), false),
        (small(sampled(true)), true),
        (small(RetrievalLoss::Bpr { n_negatives: 4 }), false),
        (small(RetrievalLoss::BinaryCrossEntropy { n_negatives: 4 }), false),
        (small(RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 16, t: 0.75 }), false),
        (SasrecConfig { norm: NormPlacement::Post, ..small(RetrievalLoss::FullSoftmax) }, false),
        (SasrecConfig { table_update: TableUpdate::Sparse, ..small(sampled(false)) }, false),
    ];
    for (config, from_popular) in cases {
        let mut batches = batches(&config);
        if from_popular {
            batches = batches.with_sampler(popular()).unwrap();
        }
        // gBCE weighs the positives down and begins slowly.
        let is_gbce = matches!(config.loss, RetrievalLoss::GeneralizedBinaryCrossEntropy { .. });
        let measured = evaluate_test(&recaller(fit(&config, &batches, if is_gbce { 40 } else { 15 })));
        let comparison = measured.compare("SASRec", &baseline, "popularity", 1).unwrap();
        let recall = comparison.metric("recall@10").unwrap();
        let what = (config.loss, config.norm, config.table_update);
        println!("{what:?}: {:.3}, popularity {:.3}", recall.a, recall.b);
        assert!(recall.difference.interval.unwrap().low > 0.1, "{what:?}: {recall:?}");
    }
    assert!(baseline.mean(RankingMetric::Recall, 10).unwrap() > 0.0);
}

#[test]
fn keeps_the_contract() {
    let config = small(RetrievalLoss::FullSoftmax);
    check_recaller(&recaller(fit(&config, &batches(&config), 1)), N_ITEMS);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let config = small(RetrievalLoss::default());
    let bits = || -> Vec<u32> {
        let model = fit(&config, &batches(&config), 2);
        model.item_vectors().unwrap().iter().map(|number| number.to_bits()).collect()
    };
    assert_eq!(bits(), bits());
}

#[test]
fn odd_histories_have_answers() {
    let config = small(RetrievalLoss::FullSoftmax);
    let model = fit(&config, &batches(&config), 1);
    let encode = |history: &[ItemId]| model.encode(&[&Query::new(history)]).unwrap();
    // Beyond the maximum only the newest items count.
    let long: Vec<ItemId> = (0..50).map(ItemId).collect();
    assert_eq!(encode(&long), encode(&long[30..]));
    assert_ne!(encode(&long), encode(&long[31..]));
    // A repeated item counts as often as it stands there.
    let repeated = encode(&[ItemId(7), ItemId(7)]);
    assert!(repeated.iter().all(|x| x.is_finite()) && repeated != encode(&[ItemId(7)]));
    // An empty history has the vector 0, alone and in a batch, and a recaller gives it what is popular.
    assert_eq!(encode(&[]), [0.0; 16]);
    let together = model.encode(&[&Query::default(), &Query::new(&long), &Query::default()]).unwrap();
    assert_eq!((&together[..16], &together[32..]), (&[0.0; 16][..], &[0.0; 16][..]));
    for (a, b) in together[16..32].iter().zip(encode(&long)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(!model.can_encode(&Query::default()));
    assert!(model.encode(&[]).unwrap().is_empty());
    // An unknown item is an error that names it.
    let error = model.encode(&[&Query::new(&[ItemId(3), ItemId(120)])]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IdOutOfRange { id: 120, bound: 120, .. }), "{error}");
}

#[test]
fn a_bundle_answers_alike() {
    let config = SasrecConfig { norm: NormPlacement::Post, ..small(RetrievalLoss::FullSoftmax) };
    let model = fit(&config, &batches(&config), 1);
    let keys = |n: usize| Vocab::from_ints((0..n as u64).collect()).unwrap();
    let recaller = recaller(model.clone());
    let bundle = EmbeddingBundle {
        index: Box::new(
            ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors().unwrap()).unwrap(),
        ),
        model,
        popularity: PopularityRecaller::fit(&split().train),
        users: keys(300),
        items: keys(N_ITEMS),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sasrec");
    bundle.save(&path).unwrap();
    let loaded = EmbeddingBundle::<Sasrec>::load(&path, &Device::flex()).unwrap().into_recaller().unwrap();
    let history = [ItemId(5), ItemId(9)];
    let query = Query::new(&history);
    assert_eq!(loaded.recall(&query, 20).unwrap(), recaller.recall(&query, 20).unwrap());
}

#[test]
fn settings_out_of_range_are_errors() {
    let good = small(RetrievalLoss::FullSoftmax);
    let t = RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 1, t: 1.5 };
    for config in [
        SasrecConfig { d_model: 0, ..good.clone() },
        SasrecConfig { n_heads: 3, ..good.clone() },
        SasrecConfig { d_hidden: 0, ..good.clone() },
        SasrecConfig { max_len: 0, ..good.clone() },
        SasrecConfig { dropout: 1.0, ..good.clone() },
        SasrecConfig { loss: t, ..good.clone() },
    ] {
        let error = config.init(N_ITEMS, 1, &Device::flex()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidConfig { .. }), "{error}");
    }
    assert!(good.init(0, 1, &Device::flex()).is_err());
    let other = SasrecConfig { loss: RetrievalLoss::default(), ..good.clone() };
    let newest = batches(&other).with_windows(Windows::Newest);
    let trainer = Trainer::new(TrainingConfig::default()).unwrap();
    let error =
        trainer.fit(good.init(N_ITEMS, 1, &Device::flex()).unwrap(), &newest, |_| Ok(vec![])).unwrap_err();
    assert!(error.to_string().starts_with("RetrievalBatches::loss"), "{error}");
}
