//! The same seed gives the same bits on any number of threads: whole training runs, losses and weights.
#![cfg(feature = "flex")]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use recsys::layers::{
    Init, LayerNorm, SequenceLayout, TableUpdate, TransformerBlock, TransformerBlockConfig, id_tensor, read,
    sequence_embedding,
};
use recsys::losses::{RetrievalLoss, SharedCandidates};
use recsys::models::recall::TwoTowerConfig;
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::{RetrievalBatches, Stepper, Trainer, TrainingConfig};

/// Runs `train` with so many threads.
fn on<R: Send>(n_threads: usize, train: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap().install(train)
}

fn bits(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

/// The losses of the epochs and the item vectors of a two-tower model.
fn two_tower(loss: RetrievalLoss, table_update: TableUpdate) -> (Vec<u64>, Vec<u32>) {
    let data = SyntheticConfig::new(400, 300, 12_000, 3).generate().unwrap();
    let config = TwoTowerConfig { loss, table_update, ..TwoTowerConfig::default() };
    let features = ItemFeatures::genres(data.item_table().unwrap());
    let model = config.init(data.n_users(), &features, 1, &Device::flex()).unwrap();
    let batches = RetrievalBatches::new(data.interactions(), loss, config.max_len).unwrap();
    let training = TrainingConfig::default().with_epochs(1);
    let fitted = Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap();
    let losses = fitted.history.epochs.iter().map(|epoch| epoch.loss.to_bits()).collect();
    (losses, bits(fitted.model.item_vectors().unwrap()))
}

#[test]
fn two_tower_training() {
    let in_batch =
        RetrievalLoss::InBatchSoftmax { log_q: true, symmetric: true, n_negatives: 100, n_hard: None };
    for (loss, update) in [
        (RetrievalLoss::default(), TableUpdate::Dense),
        (RetrievalLoss::FullSoftmax, TableUpdate::Dense),
        (in_batch, TableUpdate::Sparse),
        (RetrievalLoss::BinaryCrossEntropy { n_negatives: 3 }, TableUpdate::Sparse),
    ] {
        let one = on(1, || two_tower(loss, update));
        for n_threads in [2, 5] {
            assert!(on(n_threads, || two_tower(loss, update)) == one, "{loss} on {n_threads} threads");
        }
    }
}

#[derive(Module, Debug)]
struct Sequential {
    items: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    block: TransformerBlock,
    norm: LayerNorm,
}

/// The losses of some steps of a transformer with dropout, and its item table.
fn transformer() -> (Vec<u32>, Vec<u32>) {
    const D: usize = 32;
    const N_ITEMS: usize = 700;
    let (device, rng) = (Device::flex(), &mut Rng::new(4));
    let block = TransformerBlockConfig::new(D).with_heads(2).with_dropout(0.2);
    let model = Sequential {
        items: Init::Normal { std: 0.1 }.param([N_ITEMS, D], rng, &device),
        positions: Init::Normal { std: 0.1 }.param([40, D], rng, &device),
        block: block.init(rng, &device).unwrap(),
        norm: LayerNorm::new(D, &device),
    };
    let mut stepper = Stepper::new(model, &TrainingConfig::default()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..5 {
        let layout = SequenceLayout::new((0..64).map(|_| rng.below(41)));
        let mut ids = || (0..layout.n_rows()).map(|_| rng.below(N_ITEMS) as u32).collect::<Vec<_>>();
        let (items, targets) = (ids(), ids());
        let loss;
        (stepper, loss) = stepper.step(1.0, |model| {
            let (table, positions) = (model.items.val(), model.positions.val());
            let x = sequence_embedding(table.clone(), positions, &items, &layout, 0.2, Some(&mut *rng));
            let x = model.norm.forward(model.block.forward(x, &layout, Some(rng)));
            SharedCandidates::new(table).cross_entropy(x, id_tensor(&targets, &device))
        });
        losses.push(loss.into_scalar());
    }
    (bits(losses), bits(read(stepper.into_model().items.val()).unwrap()))
}

#[test]
fn transformer_training() {
    let one = on(1, transformer);
    for n_threads in [2, 5] {
        assert!(on(n_threads, transformer) == one, "{n_threads} threads");
    }
}
