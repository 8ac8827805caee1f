//! Small runs that leave checkpoints and go on from them.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use recsys::error::{ErrorKind, Result};
use recsys::layers::{Embedding, Init, TableUpdate, id_tensor};
use recsys::losses::RetrievalLoss;
use recsys::models::recall::SasrecConfig;
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::samplers::{HardNegatives, UniformSampler};
use recsys::training::{BatchSource, RetrievalBatches, Trainable, Trainer, TrainingConfig};

use crate::forms::{Load, Save};
use crate::samples::{N_ITEMS, small_sasrec, train};
use crate::target::{Told, told};

const WIDTH: usize = 2;
const N_ROWS: usize = 6;
const N_BATCHES: usize = 2;
const BATCH_SIZE: usize = 4;

/// Scores of users and items whose vectors are updated sparsely and densely.
#[derive(Module, Debug)]
struct Factors {
    users: Embedding,
    items: Embedding,
    bias: Param<Tensor<1>>,
}

impl Factors {
    fn new() -> Self {
        let device = Device::flex();
        let mut rng = Rng::new(3);
        let mut table =
            |update| Embedding::new([N_ROWS, WIDTH], Init::Normal { std: 0.1 }, update, &mut rng, &device);
        Self {
            users: table(TableUpdate::Sparse),
            items: table(TableUpdate::Dense),
            bias: Param::from_data(TensorData::new(vec![0.0f32; N_ROWS], [N_ROWS]), &device),
        }
    }
}

impl Trainable for Factors {
    type Batch = (Vec<u32>, Vec<u32>);

    fn loss(&self, (users, items): Self::Batch) -> Tensor<1> {
        let vectors = self.users.forward(&users) * self.items.forward(&items);
        let biases = self.bias.val().select(0, id_tensor(&items, &self.bias.val().device()));
        (vectors.sum_dim(1).squeeze_dim::<1>(1) + biases).powi_scalar(2).mean()
    }
}

struct Pairs;

impl BatchSource for Pairs {
    type Batch = (Vec<u32>, Vec<u32>);

    fn n_batches(&self) -> usize {
        N_BATCHES
    }

    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = Self::Batch> + Send + '_> {
        Box::new((0..N_BATCHES).map(move |batch| {
            let mut rng = Rng::stream(11, &[epoch as u64, batch as u64]);
            let mut ids = || (0..BATCH_SIZE).map(|_| rng.below(N_ROWS) as u32).collect();
            (ids(), ids())
        }))
    }
}

fn settings(folder: &Path) -> TrainingConfig {
    TrainingConfig::default()
        .with_epochs(2)
        .with_weight_average(0.9)
        .with_patience(5)
        .with_progress(false)
        .with_checkpoint_dir(folder)
        .with_checkpoint_every_steps(1)
}

/// What is measured after each epoch; a run that is to stop in the middle fails in the second.
fn metrics(is_cut_short: bool) -> impl FnMut() -> Result<Vec<(String, f64)>> {
    let mut n_done = 0;
    move || {
        n_done += 1;
        match is_cut_short && n_done == 2 {
            true => Err(ErrorKind::Interrupted.into()),
            false => Ok(vec![("fit".into(), 1.0 / f64::from(n_done))]),
        }
    }
}

fn factors(folder: &Path, is_cut_short: bool) -> Told {
    let mut measured = metrics(is_cut_short);
    let trainer = told(Trainer::new(settings(folder)))?;
    told(trainer.fit(Factors::new(), &Pairs, |_| measured())).map(drop)
}

/// A transformer whose negatives are mined.
fn transformer(folder: &Path, is_cut_short: bool) -> Told {
    let uniform = || UniformSampler::new(N_ITEMS).unwrap();
    let loss = RetrievalLoss::BinaryCrossEntropy { n_negatives: 1 };
    let config = SasrecConfig { loss, ..small_sasrec() };
    let model = config.init(N_ITEMS, 3, &Device::flex()).unwrap();
    let batches = RetrievalBatches::new(&train(), loss, config.max_len)
        .and_then(|batches| batches.with_batch_size(3))
        .and_then(|batches| batches.with_stage(1, HardNegatives::new(0..2, 1, uniform())?))
        .unwrap();
    let mut measured = metrics(is_cut_short);
    let mine = |model: &_, epoch| batches.mine(model, epoch);
    let trainer = told(Trainer::new(settings(folder)))?;
    told(trainer.fit_refreshing(model, &batches, mine, |_| measured())).map(drop)
}

/// Leaves the newest checkpoint alone: another would take the place of one that is damaged.
fn keep_newest(folder: &Path) {
    let entries = fs::read_dir(folder).expect("checkpoints").map(|entry| entry.expect("a checkpoint").path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.pop();
    folders.iter().for_each(|old| fs::remove_dir_all(old).expect("the scratch folder can be written"));
}

type Run = fn(&Path, bool) -> Told;

/// Runs that ended and runs that were cut short: how their checkpoints are made, and how they are gone on from.
pub fn runs() -> Vec<(&'static str, Save, Load)> {
    let run = |name, run: Run, is_cut_short: bool| {
        let save: Save = Box::new(move |folder| {
            let ended = run(folder, is_cut_short);
            assert!(is_cut_short || ended.is_ok(), "{name}: {ended:?}");
            keep_newest(folder);
        });
        let load: Load = Box::new(move |folder| run(folder, false));
        (name, save, load)
    };
    vec![
        run("ended", factors, false),
        run("cut_short", factors, true),
        run("mined_ended", transformer, false),
        run("mined_cut_short", transformer, true),
    ]
}
