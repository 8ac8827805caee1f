//! A training that is killed, over and over, ends with the bits of one that was left alone.
#![cfg(feature = "flex")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use recsys::error::Result;
use recsys::layers::{Embedding, Init, TableUpdate, id_tensor};
use recsys::rng::Rng;
use recsys::training::{
    BatchSource, History, LearningRateSchedule, Optimizer, Trainable, Trainer, TrainingConfig,
};
use serde::{Deserialize, Serialize};

const DIR: &str = "RECSYS_RESUME_TEST_DIR";
const N_USERS: usize = 200;
const N_ITEMS: usize = 100;
const WIDTH: usize = 8;
const BATCH_SIZE: usize = 64;
const N_BATCHES: usize = 40;

/// Logistic matrix factorisation: the score of a user and an item is u · v + b; users are updated sparsely.
#[derive(Module, Debug)]
struct Factors {
    users: Embedding,
    items: Embedding,
    bias: Param<Tensor<1>>,
}

/// Users, items, and 1 where the user likes the item, else 0.
type Events = (Vec<u32>, Vec<u32>, Vec<f32>);

impl Factors {
    fn new() -> Self {
        let device = Device::flex();
        let mut rng = Rng::new(3);
        let mut table = |rows: usize, update| {
            Embedding::new([rows, WIDTH], Init::Normal { std: 0.1 }, update, &mut rng, &device)
        };
        Self {
            users: table(N_USERS, TableUpdate::Sparse),
            items: table(N_ITEMS, TableUpdate::Dense),
            bias: Param::from_data(TensorData::new(vec![0.0f32; N_ITEMS], [N_ITEMS]), &device),
        }
    }

    fn bits(&self) -> Vec<u32> {
        let parts =
            [self.users.weight().into_data(), self.items.weight().into_data(), self.bias.val().into_data()];
        parts.iter().flat_map(|data| data.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>()).collect()
    }
}

impl Trainable for Factors {
    type Batch = Events;

    fn loss(&self, (users, items, labels): Events) -> Tensor<1> {
        let device = self.bias.val().device();
        let labels = Tensor::<1>::from_data(TensorData::new(labels, [BATCH_SIZE]), &device);
        let vectors = self.users.forward(&users) * self.items.forward(&items);
        let biases = self.bias.val().select(0, id_tensor(&items, &device));
        let logits = vectors.sum_dim(1).squeeze_dim::<1>(1) + biases;
        // −log σ(±x) = log(1 + e^∓x)
        let signs = labels.mul_scalar(-2.0).add_scalar(1.0);
        (logits * signs).exp().add_scalar(1.0).log().mean()
    }
}

/// A checkerboard: even users like even items, odd users odd ones.
struct Checkerboard;

impl BatchSource for Checkerboard {
    type Batch = Events;

    fn n_batches(&self) -> usize {
        N_BATCHES
    }

    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = Events> + Send + '_> {
        Box::new((0..N_BATCHES).map(move |batch| {
            let mut rng = Rng::stream(11, &[epoch as u64, batch as u64]);
            let users: Vec<u32> = (0..BATCH_SIZE).map(|_| rng.below(N_USERS) as u32).collect();
            let items: Vec<u32> = (0..BATCH_SIZE).map(|_| rng.below(N_ITEMS) as u32).collect();
            let labels = users.iter().zip(&items).map(|(u, i)| f32::from((u + i) % 2 == 0)).collect();
            (users, items, labels)
        }))
    }
}

/// What a run ends with.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    bits: Vec<u32>,
    history: History,
}

fn config() -> TrainingConfig {
    TrainingConfig::default()
        .with_epochs(25)
        .with_learning_rate(0.02)
        .with_optimizer(Optimizer::adamw(0.01))
        .with_schedule(LearningRateSchedule::CosineDecay { warmup_steps: 30 })
        .with_max_gradient_norm(0.05)
        .with_patience(24)
        .with_progress(false)
}

/// Minus the loss on held-out events.
fn validate(model: &Factors) -> Result<Vec<(String, f64)>> {
    let held_out = Checkerboard.epoch(1_000_000).next().expect("an epoch has batches");
    let loss = model.loss(held_out).into_data().iter::<f32>().next().expect("a loss is one number");
    Ok(vec![("fit".into(), -f64::from(loss))])
}

fn train(config: TrainingConfig) -> Outcome {
    let trainer = Trainer::new(config).unwrap();
    let fitted = trainer.fit(Factors::new(), &Checkerboard, validate).unwrap();
    Outcome { bits: fitted.model.bits(), history: fitted.history }
}

#[test]
#[ignore = "the child process of a_killed_training_ends_with_the_same_bits"]
fn child() {
    let dir = env::var_os(DIR).expect("the parent names a folder");
    let dir = Path::new(&dir);
    let config = config().with_checkpoint_dir(dir.join("checkpoints")).with_checkpoint_every_steps(9);
    let outcome = serde_json::to_vec(&train(config)).unwrap();
    fs::write(dir.join("outcome.json"), outcome).unwrap();
}

fn spawn_child(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["resume::child", "--exact", "--ignored"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until a checkpoint that was not there before is, or the child ended.
fn await_new_checkpoint(checkpoints: &Path, child: &mut Child) {
    let newest = || fs::read_dir(checkpoints).ok()?.filter_map(|entry| Some(entry.ok()?.file_name())).max();
    let before = newest();
    let deadline = Instant::now() + Duration::from_secs(120);
    while newest() == before && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no checkpoint in two minutes");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_killed_training_ends_with_the_same_bits() {
    let expected = train(config());
    let (first, last) = (&expected.history.epochs[0], expected.history.epochs.last().unwrap());
    assert!(last.loss < 0.5 * first.loss, "{}", expected.history);

    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(u64::from(std::process::id()));
    let mut n_killed = 0;
    for _ in 0..8 {
        let mut child = spawn_child(dir.path());
        // So that each round makes some progress; what follows may be anything, a half-written
        // checkpoint too.
        await_new_checkpoint(&dir.path().join("checkpoints"), &mut child);
        thread::sleep(Duration::from_micros(rng.below(20_000) as u64));
        let running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        if !running {
            break;
        }
        n_killed += 1;
    }
    assert!(n_killed >= 3, "the child ended by itself after {n_killed} kills");
    assert!(spawn_child(dir.path()).wait().unwrap().success());
    let outcome = fs::read(dir.path().join("outcome.json")).unwrap();
    let outcome: Outcome = serde_json::from_slice(&outcome).unwrap();
    assert_eq!(outcome.history, expected.history);
    assert_eq!(outcome.bits, expected.bits);
}
