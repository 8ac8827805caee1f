//! Training with dropout, from the same seeds: losses of the epochs, vectors, and runs that are interrupted.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use recsys::features::ItemVectors;
use recsys::layers::{
    Embedding, HistoryEncoderConfig, Init, Linear, MlpConfig, NormPlacement, Pooling, TableUpdate, read,
};
use recsys::losses::RetrievalLoss;
use recsys::models::recall::{SasrecConfig, TwoTower, TwoTowerConfig};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{
    AdamConfig, Fitted, Optimizer, RetrievalBatches, RowOptimizer, Stepper, Trainer, TrainingConfig,
};

use super::others::{Part, agree, normal, others};

fn config() -> TrainingConfig {
    TrainingConfig::default().with_epochs(2).with_learning_rate(3e-3).with_progress(false)
}

fn losses<M>(fitted: &Fitted<M>) -> Part {
    ("the losses of the epochs", fitted.history.epochs.iter().map(|epoch| epoch.loss as f32).collect())
}

/// One linear score of one vector.
#[derive(Module, Debug)]
struct Scorer {
    table: Embedding,
    head: Linear,
}

/// The weights after some steps, in which not every row is named.
fn scorer(config: &TrainingConfig, update: TableUpdate, device: &Device) -> Vec<Part> {
    let rng = &mut Rng::new(1);
    let table = Embedding::new([40, 6], Init::Normal { std: 1.0 }, update, rng, device);
    let model = Scorer { table, head: Linear::new(6, 1, rng, device) };
    let mut stepper = Stepper::new(model, config).unwrap();
    for step in 0..6 {
        let ids: Vec<u32> = (0..50).map(|_| rng.below(30) as u32).collect();
        (stepper, _) = stepper.step(1.0 / (1.0 + step as f64), |model| {
            let scores = model.head.forward(model.table.forward(&ids));
            let labels = normal(scores.dims(), step, &scores.device());
            (scores - labels).square().mean()
        });
    }
    let Scorer { table, head } = stepper.into_model();
    vec![
        ("the table", read(table.weight()).unwrap()),
        ("the weights of the head", read(head.weight.val()).unwrap()),
        ("the bias of the head", read(head.bias.val()).unwrap()),
    ]
}

#[test]
fn optimizers() {
    let l2 = Optimizer::Adam(AdamConfig { weight_decay: 0.1, ..AdamConfig::default() });
    for optimizer in [Optimizer::adam(), Optimizer::adamw(0.1), l2] {
        for max_gradient_norm in [None, Some(0.1)] {
            let config = TrainingConfig { max_gradient_norm, ..config().with_optimizer(optimizer) };
            let what = format!("{optimizer:?}, clipped at {max_gradient_norm:?}");
            agree(&what, |device| scorer(&config, TableUpdate::Dense, device));
            for rows in [RowOptimizer::Lazy, RowOptimizer::adagrad(0.1)] {
                let config = config.clone().with_row_optimizer(rows);
                agree(&format!("{what}, {rows:?}"), |device| scorer(&config, TableUpdate::Sparse, device));
            }
        }
    }
}

/// A few hundred histories.
pub fn data() -> (Dataset, Split) {
    let data = SyntheticConfig::new(150, 80, 3_000, 5).with_follow_probability(0.8).generate().unwrap();
    let split = Split::leave_one_out(data.interactions());
    (data, split)
}

pub fn small(loss: RetrievalLoss) -> TwoTowerConfig {
    let mlp = MlpConfig::new(16).with_hidden([24]).with_dropout(0.1);
    let base = TwoTowerConfig { d_embedding: 16, max_len: 12, ..TwoTowerConfig::default() };
    TwoTowerConfig { query_mlp: mlp.clone(), item_mlp: mlp, loss, ..base }
}

pub fn fresh(config: &TwoTowerConfig, device: &Device) -> TwoTower {
    let (data, _) = data();
    config.init(data.n_users(), &ItemFeatures::genres(data.item_table().unwrap()), 1, device).unwrap()
}

fn batches(config: &TwoTowerConfig) -> RetrievalBatches {
    let batches = RetrievalBatches::new(&data().1.train, config.loss, config.max_len).unwrap();
    batches.with_batch_size(16).unwrap().with_seed(2)
}

pub fn fit(config: &TwoTowerConfig, device: &Device) -> Fitted<TwoTower> {
    let trainer = Trainer::new(self::config()).unwrap();
    trainer.fit(fresh(config, device), &batches(config), |_| Ok(vec![])).unwrap()
}

fn vectors(model: &impl EmbeddingModel) -> [Part; 2] {
    let history: Vec<ItemId> = (0..9).map(ItemId).collect();
    let queries = [Query::new(&history), Query::new(&history[..1]), Query::default().with_user(UserId(3))];
    let queries: Vec<&Query<'_>> = queries.iter().collect();
    [
        ("the vectors of the items", model.item_vectors().unwrap()),
        ("the vectors of queries", model.encode(&queries).unwrap()),
    ]
}

fn two_tower(what: &str, config: &TwoTowerConfig) {
    agree(what, |device| {
        let fitted = fit(config, device);
        let [items, queries] = vectors(&fitted.model);
        vec![losses(&fitted), items, queries]
    });
}

#[test]
fn of_a_two_tower_model_with_each_loss() {
    let in_batch = |symmetric, n_negatives, n_hard| RetrievalLoss::InBatchSoftmax {
        log_q: true,
        symmetric,
        n_negatives,
        n_hard,
    };
    for loss in [
        RetrievalLoss::SampledSoftmax { n_negatives: 20, log_q: false },
        RetrievalLoss::FullSoftmax,
        in_batch(false, 0, None),
        in_batch(true, 8, None),
        in_batch(false, 8, Some(5)),
        RetrievalLoss::Bpr { n_negatives: 3 },
        RetrievalLoss::BinaryCrossEntropy { n_negatives: 3 },
        RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 3, t: 0.5 },
    ] {
        two_tower(&format!("two towers, {loss}"), &small(loss));
    }
}

#[test]
fn of_a_two_tower_model_with_sparse_tables_and_users() {
    two_tower("two towers, sparse", &with_everything());
}

#[test]
fn of_a_two_tower_model_with_each_history_encoder() {
    for history in [
        HistoryEncoderConfig::Transformer { n_blocks: 1, n_heads: 2, pooling: Pooling::Mean },
        HistoryEncoderConfig::Gru { d_state: 12 },
        HistoryEncoderConfig::Lstm { d_state: 12 },
    ] {
        let config = TwoTowerConfig { history, ..small(RetrievalLoss::FullSoftmax) };
        two_tower(&format!("two towers, {history:?}"), &config);
    }
}

#[test]
fn of_a_two_tower_model_with_content() {
    let (data, split) = data();
    let vectors = ItemVectors::new(4, (0..80 * 4).map(|i| (i * i % 23) as f32 / 23.0).collect()).unwrap();
    let features = ItemFeatures::genres(data.item_table().unwrap()).with_vectors(vectors).unwrap();
    // Items are cold that the users from 4 on alone have chosen.
    let features = features.with_cold(&split.train.clone().retain(|row| row.user.0 < 4)).unwrap();
    assert!(!features.cold().is_empty());
    let config = TwoTowerConfig { id_dropout: 0.2, ..small(RetrievalLoss::default()) };
    let batches = RetrievalBatches::new(&split.train, config.loss, config.max_len).unwrap();
    agree("two towers with content", |device| {
        let model = config.init(data.n_users(), &features, 1, device).unwrap();
        let fitted = Trainer::new(self::config()).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap();
        let [items, queries] = self::vectors(&fitted.model);
        vec![losses(&fitted), items, queries]
    });
}

fn with_everything() -> TwoTowerConfig {
    let config = small(RetrievalLoss::SampledSoftmax { n_negatives: 20, log_q: false });
    TwoTowerConfig { table_update: TableUpdate::Sparse, user_embedding: true, ..config }
}

/// Trains on one device until the second validation fails, and goes on from the checkpoint, in the middle
/// of an epoch, on another.
fn interrupted(folder: &Path, first: &Device, second: &Device) -> Vec<Part> {
    let config = with_everything();
    let training = config_of_resumption().with_checkpoint_dir(folder).with_checkpoint_every_steps(3);
    let trainer = Trainer::new(training).unwrap();
    let mut n_validations = 0;
    let error = trainer.fit(fresh(&config, first), &batches(&config), |_| {
        n_validations += 1;
        let interruption = ("not a number".to_owned(), f64::NAN);
        Ok(if n_validations < 2 { vec![] } else { vec![interruption] })
    });
    assert!(error.is_err() && n_validations == 2);
    let fitted = trainer.fit(fresh(&config, second), &batches(&config), |_| Ok(vec![])).unwrap();
    let [items, queries] = vectors(&fitted.model);
    vec![losses(&fitted), items, queries]
}

fn config_of_resumption() -> TrainingConfig {
    config().with_epochs(3).with_max_gradient_norm(0.3)
}

#[test]
fn goes_on_where_it_was_interrupted_on_whatever_device() {
    let config = with_everything();
    let trainer = Trainer::new(config_of_resumption()).unwrap();
    let flex = Device::flex();
    let undisturbed = trainer.fit(fresh(&config, &flex), &batches(&config), |_| Ok(vec![])).unwrap();
    let [items, queries] = vectors(&undisturbed.model);
    let expected = [losses(&undisturbed), items, queries];
    for other in others() {
        other.run(|device| {
            for (first, second) in [(device, device), (&flex, device), (device, &flex)] {
                let folder = tempfile::tempdir().unwrap();
                let found = interrupted(folder.path(), first, second);
                other.compare(&format!("{first:?}, then {second:?},"), &found, &expected);
            }
        });
    }
}

#[test]
fn of_sasrec_with_each_loss() {
    let small = |loss| {
        let base =
            SasrecConfig { d_model: 16, n_heads: 2, d_hidden: 24, max_len: 12, ..SasrecConfig::default() };
        SasrecConfig { loss, ..base }
    };
    for config in [
        small(RetrievalLoss::FullSoftmax),
        small(RetrievalLoss::SampledSoftmax { n_negatives: 25, log_q: true }),
        small(RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 3, t: 0.75 }),
        SasrecConfig { norm: NormPlacement::Post, ..small(RetrievalLoss::FullSoftmax) },
        SasrecConfig { table_update: TableUpdate::Sparse, ..small(RetrievalLoss::default()) },
    ] {
        let batches = RetrievalBatches::new(&data().1.train, config.loss, config.max_len).unwrap();
        let batches = batches.with_batch_size(16).unwrap().with_seed(2);
        agree(&format!("SASRec, {config:?}"), |device| {
            let model = config.init(80, 7, device).unwrap();
            let fitted = Trainer::new(self::config()).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap();
            let [items, queries] = vectors(&fitted.model);
            vec![losses(&fitted), items, queries]
        });
    }
}
