//! Hard negatives in two-stage training: what is mined, when, and what it is good for.
#![cfg(feature = "flex")]

use std::cell::RefCell;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use recsys::data::Csr;
use recsys::error::Result;
use recsys::layers::MlpConfig;
use recsys::losses::RetrievalLoss;
use recsys::metrics::{Evaluation, HeldOut, evaluate};
use recsys::models::recall::{
    EmbeddingRecaller, PopularityRecaller, Sasrec, SasrecConfig, TwoTower, TwoTowerConfig,
};
use recsys::prelude::*;
use recsys::samplers::{HardNegatives, MixedSampler, PopularitySampler, UniformSampler};
use recsys::training::{RetrievalBatch, RetrievalBatches, Trainable, Trainer, TrainingConfig};

const N_USERS: usize = 600;
const N_ITEMS: usize = 1_000;
const MAX_LEN: usize = 20;

fn split() -> Split {
    let data =
        SyntheticConfig::new(N_USERS, N_ITEMS, 24_000, 5).with_follow_probability(0.8).generate().unwrap();
    Split::leave_one_out(data.interactions())
}

fn uniform() -> UniformSampler {
    UniformSampler::new(N_ITEMS).unwrap()
}

/// The ranks of the hard negatives.
const RANKS: Range<usize> = 1..51;

/// Half uniform, a tenth from the tail, the rest hard.
fn harder(train: &Interactions, every: usize) -> MixedSampler {
    let items = Csr::by_item(train, |row| row.user);
    let counts: Vec<u64> = items.rows().map(|users| users.len() as u64).collect();
    MixedSampler::new(vec![
        (0.5, Box::new(uniform())),
        (0.1, Box::new(PopularitySampler::new(&counts, -0.5).unwrap())),
        (0.4, Box::new(HardNegatives::new(RANKS, every, uniform()).unwrap())),
    ])
    .unwrap()
}

fn easy(train: &Interactions, loss: RetrievalLoss) -> RetrievalBatches {
    let batches = RetrievalBatches::new(train, loss, MAX_LEN).unwrap();
    batches.with_batch_size(16).unwrap().with_seed(2).with_unseen_negatives()
}

fn two_tower(loss: RetrievalLoss) -> TwoTower {
    let mlp = MlpConfig::new(16).with_hidden([32]);
    let config = TwoTowerConfig {
        d_embedding: 16,
        query_mlp: mlp.clone(),
        item_mlp: mlp,
        max_len: MAX_LEN,
        loss,
        ..TwoTowerConfig::default()
    };
    config.init(N_USERS, &ItemFeatures::none(N_ITEMS), 1, &Device::flex()).unwrap()
}

fn sasrec(loss: RetrievalLoss) -> Sasrec {
    let config =
        SasrecConfig { d_model: 16, d_hidden: 16, max_len: MAX_LEN, loss, ..SasrecConfig::default() };
    config.init(N_ITEMS, 1, &Device::flex()).unwrap()
}

fn config(epochs: usize) -> TrainingConfig {
    TrainingConfig::default().with_epochs(epochs).with_learning_rate(5e-3).with_progress(false)
}

/// The unseen items of every user at the ranks to mine, by sorting all scores.
fn by_sorting(model: &impl EmbeddingModel, train: &Interactions) -> Vec<Vec<ItemId>> {
    let vectors = model.item_vectors().unwrap();
    let unseen = |items: &[ItemId]| {
        let query = model.encode(&[&Query::new(items)]).unwrap();
        let score = |item: usize| -> f64 {
            let vector = &vectors[item * model.dim()..][..model.dim()];
            vector.iter().zip(&query).map(|(x, y)| f64::from(x * y)).sum()
        };
        let mut scored: Vec<(f64, ItemId)> = (0..N_ITEMS)
            .map(|item| (score(item), ItemId(item as u32)))
            .filter(|(_, item)| !items.contains(item))
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().map(|(_, item)| item).skip(RANKS.start).take(RANKS.len()).collect()
    };
    Sequences::new(train).iter().map(|(_, items)| unseen(items)).collect()
}

/// Fits in two stages and checks every mining against the model of that moment.
fn fit_and_check<M: EmbeddingModel + Trainable<Batch = RetrievalBatch>>(model: M, loss: RetrievalLoss) {
    let train = split().train;
    let batches = easy(&train, loss).with_stage(1, harder(&train, 2)).unwrap();
    let mut epochs = Vec::new();
    let mine = |model: &M, epoch| {
        batches.mine(model, epoch)?;
        let (mined, expected) = (batches.mined(), by_sorting(model, &train));
        let mut n_equal = 0;
        for (found, expected) in mined.rows().zip(&expected) {
            // Scores that differ by a rounding only may change places.
            n_equal += found.iter().zip(expected).filter(|(a, b)| a == b).count();
            assert_eq!(found.len(), RANKS.len());
        }
        assert!(n_equal >= N_USERS * RANKS.len() * 99 / 100, "{n_equal}");
        epochs.push(epoch);
        Ok(())
    };
    let trainer = Trainer::new(config(6)).unwrap();
    let fitted = trainer.fit_refreshing(model, &batches, mine, |_| Ok(vec![])).unwrap();
    assert_eq!(epochs, [1, 3, 5]);
    assert_eq!(fitted.history.epochs.len(), 6);
}

#[test]
fn what_is_mined_is_what_the_model_of_that_epoch_ranks_highest() {
    let (shared, per_row) = (
        RetrievalLoss::SampledSoftmax { n_negatives: 32, log_q: false },
        RetrievalLoss::BinaryCrossEntropy { n_negatives: 2 },
    );
    fit_and_check(two_tower(shared), shared);
    fit_and_check(two_tower(per_row), per_row);
    fit_and_check(sasrec(shared), shared);
    fit_and_check(sasrec(per_row), per_row);
}

fn evaluate_test<M: EmbeddingModel>(model: M) -> Evaluation {
    let split = split();
    let popularity = PopularityRecaller::fit(&split.train);
    let recaller = EmbeddingRecaller::exact(model, Box::new(popularity)).unwrap();
    let held_out = HeldOut::test(&split).unwrap();
    evaluate(&recaller, &held_out, &[10]).unwrap()
}

#[test]
fn two_stages_order_better_than_uniform_negatives() {
    let train = split().train;
    let trainer = Trainer::new(config(16)).unwrap();
    for loss in [RetrievalLoss::Bpr { n_negatives: 4 }, RetrievalLoss::BinaryCrossEntropy { n_negatives: 4 }]
    {
        let one = trainer.fit(two_tower(loss), &easy(&train, loss), |_| Ok(vec![])).unwrap();
        let staged = easy(&train, loss).with_stage(8, harder(&train, 2)).unwrap();
        let mine = |model: &TwoTower, epoch| staged.mine(model, epoch);
        let two = trainer.fit_refreshing(two_tower(loss), &staged, mine, |_| Ok(vec![])).unwrap();
        let comparison =
            evaluate_test(two.model).compare("two stages", &evaluate_test(one.model), "uniform", 1);
        let comparison = comparison.unwrap();
        let [recall, ndcg] = ["recall@10", "ndcg@10"].map(|name| comparison.metric(name).unwrap());
        println!("{loss}: {:.3} in two stages, {:.3} uniform", ndcg.a, ndcg.b);
        assert!(ndcg.difference.interval.unwrap().low > 0.0, "{loss}: {ndcg:?}");
        assert!(recall.difference.interval.unwrap().high > 0.0, "{loss}: {recall:?}");
    }
}

/// Five epochs in two stages, mined in epochs 1 and 3; the epochs mined, and the weights and the history or the
/// error. The validation after `stop_at` epochs fails.
fn run(dir: Option<&Path>, stop_at: usize) -> (Vec<usize>, Result<(Vec<u32>, String)>) {
    let train = split().train;
    let loss = RetrievalLoss::Bpr { n_negatives: 4 };
    let batches = easy(&train, loss).with_stage(1, harder(&train, 2)).unwrap();
    let mined = RefCell::new(Vec::new());
    let mine = |model: &TwoTower, epoch| {
        mined.borrow_mut().push(epoch);
        batches.mine(model, epoch)
    };
    let mut config = config(5);
    if let Some(dir) = dir {
        config = config.with_checkpoint_dir(dir).with_checkpoint_every_steps(11);
    }
    let mut n_validated = dir.map_or(0, n_epochs);
    let fitted = Trainer::new(config).unwrap().fit_refreshing(two_tower(loss), &batches, mine, |_| {
        n_validated += 1;
        if n_validated == stop_at { Err(ErrorKind::Interrupted.into()) } else { Ok(vec![]) }
    });
    let outcome = fitted.map(|fitted| {
        let bits = fitted.model.item_vectors().unwrap().into_iter().map(f32::to_bits).collect();
        let losses: Vec<f64> = fitted.history.epochs.iter().map(|epoch| epoch.loss).collect();
        (bits, format!("{losses:?}"))
    });
    (mined.into_inner(), outcome)
}

fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort_unstable();
    found
}

/// The epochs that the newest checkpoint has behind it.
fn n_epochs(dir: &Path) -> usize {
    let Some(newest) = checkpoints(dir).pop() else { return 0 };
    let run = fs::read(newest.join("files-1/run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
    run["standing"]["history"]["epochs"].as_array().unwrap().len()
}

#[test]
fn a_run_resumes_in_the_middle_of_a_mined_epoch() {
    let (mined, undisturbed) = run(None, usize::MAX);
    assert_eq!(mined, [1, 3]);
    let undisturbed = undisturbed.unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Each stop leaves a checkpoint from within the epoch: one not mined, one just mined, one mined before.
    for (stop_at, expected) in [(1, vec![]), (2, vec![1]), (3, vec![]), (4, vec![3])] {
        let (mined, outcome) = run(Some(dir.path()), stop_at);
        assert_eq!(mined, expected, "stopped after epoch {stop_at}");
        assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::Interrupted));
        let newest = checkpoints(dir.path()).pop().unwrap();
        assert_eq!(newest.join("files-1/batches.bin").exists(), stop_at > 1);
    }
    let (mined, outcome) = run(Some(dir.path()), usize::MAX);
    assert_eq!(mined, [0usize; 0]);
    assert!(outcome.unwrap() == undisturbed, "another result than without stops");
}

#[test]
fn a_mined_list_that_was_damaged_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    run(Some(dir.path()), 2).1.unwrap_err();
    for checkpoint in checkpoints(dir.path()) {
        let path = checkpoint.join("files-1/batches.bin");
        if let Ok(mut bytes) = fs::read(&path) {
            bytes[7] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    let error = run(Some(dir.path()), usize::MAX).1.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
}

#[test]
fn somebody_who_has_seen_everything_or_one_thing_is_no_trouble() {
    let event = |user, item, timestamp| Interaction {
        user: UserId(user),
        item: ItemId(item),
        value: 1.0,
        timestamp: i64::from(timestamp),
    };
    let n_items = N_ITEMS as u32;
    let rows =
        (0..n_items).map(|item| event(0, item, item)).chain([event(1, 3, 0), event(1, 4, 1), event(2, 5, 0)]);
    let train = Interactions::from_rows(4, N_ITEMS, rows).unwrap();
    for loss in [
        RetrievalLoss::Bpr { n_negatives: 4 },
        RetrievalLoss::SampledSoftmax { n_negatives: 8, log_q: false },
    ] {
        let hard = HardNegatives::new(2..2_000, 1, uniform()).unwrap();
        let batches = easy(&train, loss).with_sampler(hard).unwrap();
        let mine = |model: &Sasrec, epoch| batches.mine(model, epoch);
        let trainer = Trainer::new(config(2)).unwrap();
        trainer.fit_refreshing(sasrec(loss), &batches, mine, |_| Ok(vec![])).unwrap();
        let lengths: Vec<usize> = batches.mined().rows().map(<[ItemId]>::len).collect();
        assert_eq!(lengths, [0, N_ITEMS - 2 - 2, 0, 0]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let train = split().train;
    let loss = RetrievalLoss::Bpr { n_negatives: 4 };
    let batches = easy(&train, loss).with_stage(1, harder(&train, 2)).unwrap();
    let trainer = Trainer::new(config(3)).unwrap();
    let error = trainer.fit(two_tower(loss), &batches, |_| Ok(vec![])).unwrap_err();
    let expected = "Trainer::fit: expected batches that need no refresh of their source, \
                    found a refresh before epoch 2";
    assert_eq!(error.to_string(), expected);
    // A run that ends before the second stage needs none.
    Trainer::new(config(1)).unwrap().fit(two_tower(loss), &batches, |_| Ok(vec![])).unwrap();

    let other = SasrecConfig { loss, ..SasrecConfig::default() }.init(50, 1, &Device::flex()).unwrap();
    let error = batches.mine(&other, 1).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::LengthMismatch { expected: N_ITEMS, found: 50, .. }),
        "{error}"
    );
    batches.mine(&other, 0).unwrap();

    let mine = |_: &TwoTower, _| Err(ErrorKind::Interrupted.into());
    let error = trainer.fit_refreshing(two_tower(loss), &batches, mine, |_| Ok(vec![])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Interrupted), "{error}");
}
