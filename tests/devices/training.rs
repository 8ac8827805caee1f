//! Training with dropout, from the same seeds: losses of the epochs, vectors, and runs that are interrupted.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use recsys::layers::{
    Embedding, Init, LayerNorm, Linear, MlpConfig, SequenceLayout, TableUpdate, TransformerBlock,
    TransformerBlockConfig, id_tensor, read, sequence_embedding,
};
use recsys::losses::{RetrievalLoss, SharedCandidates, binary_cross_entropy, candidate_logits};
use recsys::models::recall::{TwoTower, TwoTowerConfig};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{
    AdamConfig, BatchSource, Fitted, Optimizer, RetrievalBatches, RowOptimizer, Stepper, Trainable, Trainer,
    TrainingConfig,
};

use super::others::{Part, agree, compare, normal, others};

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

fn vectors(model: &TwoTower) -> [Part; 2] {
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
        RetrievalLoss::SampledSoftmax { n_negatives: 20 },
        RetrievalLoss::FullSoftmax,
        in_batch(false, 0, None),
        in_batch(true, 8, None),
        in_batch(false, 8, Some(5)),
        RetrievalLoss::Bpr { n_negatives: 3 },
        RetrievalLoss::BinaryCrossEntropy { n_negatives: 3 },
    ] {
        two_tower(&format!("two towers, {loss}"), &small(loss));
    }
}

#[test]
fn of_a_two_tower_model_with_sparse_tables_and_users() {
    two_tower("two towers, sparse", &with_everything());
}

fn with_everything() -> TwoTowerConfig {
    let config = small(RetrievalLoss::SampledSoftmax { n_negatives: 20 });
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
                compare(&format!("{first:?}, then {second:?} ({})", other.name()), &found, &expected);
            }
        });
    }
}

/// The body of a sequence model: the item table as input and output, two transformer blocks between.
#[derive(Module, Debug)]
struct Sequential {
    items: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    #[module(skip)]
    loss: SequenceLoss,
}

#[derive(Clone, Copy, Debug)]
enum SequenceLoss {
    FullSoftmax,
    SampledSoftmax,
    BinaryCrossEntropy,
}

const N_ITEMS: usize = 90;
const MAX_LEN: usize = 30;
const WIDTH: usize = 16;
const DROPOUT: f64 = 0.2;

impl Sequential {
    fn new(loss: SequenceLoss, device: &Device) -> Self {
        let rng = &mut Rng::new(7);
        let block = TransformerBlockConfig::new(WIDTH).with_heads(2).with_dropout(DROPOUT);
        Self {
            items: Init::Normal { std: 0.2 }.param([N_ITEMS, WIDTH], rng, device),
            positions: Init::Normal { std: 0.2 }.param([MAX_LEN, WIDTH], rng, device),
            blocks: (0..2).map(|_| block.init(rng, device).unwrap()).collect(),
            norm: LayerNorm::new(WIDTH, device),
            loss,
        }
    }

    fn encode(&self, items: &[u32], layout: &SequenceLayout, mut rng: Option<&mut Rng>) -> Tensor<2> {
        let (table, positions) = (self.items.val(), self.positions.val());
        let x = sequence_embedding(table, positions, items, layout, DROPOUT, rng.as_deref_mut());
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, layout, rng.as_deref_mut()));
        self.norm.forward(x)
    }
}

/// Histories and the item that follows each of theirs.
#[derive(Clone)]
struct Histories {
    layout: SequenceLayout,
    items: Vec<u32>,
    next: Vec<u32>,
    seed: u64,
}

impl Histories {
    /// Walks in which the item k is mostly followed by 7 k + 1.
    fn draw(rng: &mut Rng) -> Self {
        let layout = SequenceLayout::new((0..12).map(|_| rng.below(MAX_LEN + 1)));
        let (mut items, mut next) = (Vec::new(), Vec::new());
        for history in layout.iter() {
            let mut item = rng.below(N_ITEMS);
            for _ in history {
                items.push(item as u32);
                item = if rng.below(5) == 0 { rng.below(N_ITEMS) } else { (7 * item + 1) % N_ITEMS };
                next.push(item as u32);
            }
        }
        Self { layout, items, next, seed: rng.next_u64() }
    }
}

impl Trainable for Sequential {
    type Batch = Histories;

    fn loss(&self, Histories { layout, items, next, seed }: Histories) -> Tensor<1> {
        let (rng, table) = (&mut Rng::new(seed), self.items.val());
        let device = table.device();
        let x = self.encode(&items, &layout, Some(&mut *rng));
        let mut negatives = |n: usize| (0..n).map(|_| rng.below(N_ITEMS) as u32).collect::<Vec<_>>();
        match self.loss {
            SequenceLoss::FullSoftmax => {
                SharedCandidates::new(table).cross_entropy(x, id_tensor(&next, &device))
            }
            SequenceLoss::SampledSoftmax => {
                let [positives, negatives] = [next, negatives(25)].map(|ids| id_tensor(&ids, &device));
                SharedCandidates::new(table.clone().select(0, negatives.clone()))
                    .without_accidental_hits(positives.clone(), negatives)
                    .sampled_cross_entropy(x, table.select(0, positives))
            }
            SequenceLoss::BinaryCrossEntropy => {
                let pairs: Vec<i64> = next
                    .iter()
                    .zip(negatives(next.len()))
                    .flat_map(|(&positive, negative)| [positive.into(), negative.into()])
                    .collect();
                let pairs = Tensor::from_data(TensorData::new(pairs, [next.len(), 2]), &device);
                binary_cross_entropy(candidate_logits(x, table, pairs))
            }
        }
    }
}

/// The same batches in every epoch.
struct Walks;

impl BatchSource for Walks {
    type Batch = Histories;

    fn n_batches(&self) -> usize {
        8
    }

    fn epoch(&self, _epoch: usize) -> Box<dyn Iterator<Item = Histories> + Send + '_> {
        Box::new((0..8).map(|batch| Histories::draw(&mut Rng::new(batch))))
    }
}

#[test]
fn of_a_sequence_model_with_each_loss() {
    for loss in [SequenceLoss::FullSoftmax, SequenceLoss::SampledSoftmax, SequenceLoss::BinaryCrossEntropy] {
        agree(&format!("a sequence model, {loss:?}"), |device| {
            let trainer = Trainer::new(config()).unwrap();
            let fitted = trainer.fit(Sequential::new(loss, device), &Walks, |_| Ok(vec![])).unwrap();
            let Histories { layout, items, .. } = Histories::draw(&mut Rng::new(100));
            let encoded = read(fitted.model.encode(&items, &layout, None)).unwrap();
            vec![
                losses(&fitted),
                ("the vectors of the items", read(fitted.model.items.val()).unwrap()),
                ("the vectors of the histories", encoded),
            ]
        });
    }
}
