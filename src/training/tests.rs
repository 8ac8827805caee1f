//! The trainer as a whole, on a small network and planted data.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::rng::Rng;

const N_INPUTS: usize = 3;
const N_BATCHES: usize = 10;
const BATCH_SIZE: usize = 16;

/// y = tanh(x W + b) v
#[derive(Module, Debug)]
struct Mlp {
    hidden: Hidden,
    output: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Hidden {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Mlp {
    fn new(d_hidden: usize, seed: u64) -> Self {
        let device = Device::flex();
        let mut rng = Rng::new(seed);
        let mut normal = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| 0.5 * rng.normal() as f32).collect();
            TensorData::new(values, shape.to_vec())
        };
        Self {
            hidden: Hidden {
                weight: Param::from_data(normal(&[N_INPUTS, d_hidden]), &device),
                bias: Param::from_data(normal(&[d_hidden]), &device),
            },
            output: Param::from_data(normal(&[d_hidden, 1]), &device),
        }
    }

    fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        let hidden = inputs.matmul(self.hidden.weight.val()) + self.hidden.bias.val().unsqueeze();
        hidden.tanh().matmul(self.output.val())
    }

    /// The weights as bits.
    fn bits(&self) -> Vec<u32> {
        let parts = [
            self.hidden.weight.val().into_data(),
            self.hidden.bias.val().into_data(),
            self.output.val().into_data(),
        ];
        parts.iter().flat_map(|data| data.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>()).collect()
    }
}

/// Inputs and labels, row by row.
type Points = (Vec<f32>, Vec<f32>);

impl Trainable for Mlp {
    type Batch = Points;

    fn loss(&self, (inputs, labels): Points) -> Tensor<1> {
        let device = self.output.val().device();
        let n = labels.len();
        let inputs = Tensor::<2>::from_data(TensorData::new(inputs, [n, N_INPUTS]), &device);
        let labels = Tensor::<2>::from_data(TensorData::new(labels, [n, 1]), &device);
        (self.forward(inputs) - labels).square().mean()
    }
}

/// Points of the planted function, with one poisoned label at the steps (from 1) of `poison`.
#[derive(Default)]
struct Planted {
    n_batches: Option<usize>,
    poison: Option<usize>,
}

impl BatchSource for Planted {
    type Batch = Points;

    fn n_batches(&self) -> usize {
        self.n_batches.unwrap_or(N_BATCHES)
    }

    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = Points> + Send + '_> {
        Box::new((0..self.n_batches()).map(move |batch| {
            let mut rng = Rng::stream(77, &[epoch as u64, batch as u64]);
            let inputs: Vec<f32> = (0..BATCH_SIZE * N_INPUTS).map(|_| rng.normal() as f32).collect();
            let mut labels: Vec<f32> =
                inputs.chunks(N_INPUTS).map(|x| (x[0] - x[1]).tanh() + 0.5 * x[2].tanh()).collect();
            if self.poison == Some(epoch * self.n_batches() + batch + 1) {
                labels[0] = f32::NAN;
            }
            (inputs, labels)
        }))
    }
}

fn config() -> TrainingConfig {
    TrainingConfig::default().with_epochs(4).with_learning_rate(0.01).with_progress(false)
}

/// Minus the loss on a batch that no epoch of a test has.
fn validate(model: &Mlp) -> Result<Vec<(String, f64)>> {
    let held_out = Planted::default().epoch(1_000_000).next().unwrap();
    let loss = model.loss(held_out).into_data().iter::<f32>().next().unwrap();
    Ok(vec![("fit".into(), -f64::from(loss))])
}

fn fit(config: TrainingConfig, source: &Planted) -> Result<Fitted<Mlp>> {
    Trainer::new(config)?.fit(Mlp::new(8, 1), source, validate)
}

fn assert_same(found: &Fitted<Mlp>, expected: &Fitted<Mlp>) {
    assert_eq!(found.history, expected.history);
    assert_eq!(found.model.bits(), expected.model.bits());
}

fn checkpoints(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn loss_falls_and_the_result_is_the_best_epoch() {
    let fitted = fit(config().with_epochs(30), &Planted::default()).unwrap();
    let epochs = &fitted.history.epochs;
    assert_eq!(epochs.len(), 30);
    assert_eq!(fitted.history.steps(), 300);
    assert!(epochs[29].loss < 0.1 * epochs[0].loss, "{}", fitted.history);
    let best = fitted.history.best().unwrap().metrics.clone();
    assert_eq!(validate(&fitted.model).unwrap(), best);
    assert!(!fitted.model.output.val().is_autodiff());
}

#[test]
fn same_seed_same_bits_also_in_parallel() {
    let fitted: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fit(config(), &Planted::default()).unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for other in &fitted[1..] {
        assert_same(other, &fitted[0]);
    }
    let other = Trainer::new(config()).unwrap().fit(Mlp::new(8, 2), &Planted::default(), validate).unwrap();
    assert_ne!(other.model.bits(), fitted[0].model.bits());
}

#[test]
fn early_stopping_restores_the_best_epoch() {
    let metrics = [0.1, 0.3, 0.2, 0.3, 0.9];
    let mut seen = Vec::new();
    let fitted = Trainer::new(config().with_epochs(5).with_patience(2))
        .unwrap()
        .fit(Mlp::new(8, 1), &Planted::default(), |model: &Mlp| {
            seen.push(model.bits());
            Ok(vec![("scripted".into(), metrics[seen.len() - 1])])
        })
        .unwrap();
    assert_eq!(seen.len(), 4);
    assert_eq!(fitted.history.epochs.len(), 4);
    assert_eq!(fitted.history.best().unwrap().epoch, 2);
    assert_eq!(fitted.model.bits(), seen[1]);
    assert_ne!(seen[1], seen[3]);
}

#[test]
fn the_moving_average_takes_the_place_of_the_weights() {
    let config = config().with_epochs(2).with_weight_average(0.6);
    let mut stepper = Stepper::new(Mlp::new(8, 1), &config).unwrap();
    let (mut average, mut after_epochs, mut step) = (Vec::new(), Vec::new(), 0.0);
    let values = |bits: Vec<u32>| bits.into_iter().map(|bits| f64::from(f32::from_bits(bits)));
    for epoch in 0..2 {
        for batch in Planted::default().epoch(epoch) {
            (stepper, _) = stepper.step(1.0, |model| model.loss(batch));
            let weights: Vec<f64> = values(stepper.clone().into_model().bits()).collect();
            average.resize(weights.len(), 0.0);
            step += 1.0;
            let decay = if step == 1.0 { 0.0 } else { f64::min(0.6, step / (step + 10.0)) };
            for (average, weight) in average.iter_mut().zip(weights) {
                *average = decay * *average + (1.0 - decay) * weight;
            }
        }
        after_epochs.push(average.clone());
    }

    let mut validated = Vec::new();
    let fitted = Trainer::new(config)
        .unwrap()
        .fit(Mlp::new(8, 1), &Planted::default(), |model: &Mlp| {
            validated.push(model.bits());
            Ok(Vec::new())
        })
        .unwrap();
    assert_eq!(fitted.model.bits(), validated[1]);
    for (found, expected) in validated.into_iter().zip(after_epochs) {
        assert!(values(found).zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }
}

#[test]
fn validation_comes_at_its_intervals_and_at_the_end() {
    let fitted = fit(config().with_epochs(5).with_validate_every(2), &Planted::default()).unwrap();
    let validated: Vec<_> = fitted.history.epochs.iter().map(|epoch| !epoch.metrics.is_empty()).collect();
    assert_eq!(validated, [false, true, false, true, true]);

    let mut last = Vec::new();
    let fitted = Trainer::new(config())
        .unwrap()
        .fit(Mlp::new(8, 1), &Planted::default(), |model: &Mlp| {
            last = model.bits();
            Ok(Vec::new())
        })
        .unwrap();
    assert_eq!(fitted.model.bits(), last);
    assert_eq!(fitted.history.best(), None);
}

#[test]
fn a_loss_that_is_not_finite_names_its_step_and_keeps_the_last_good_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    // Steps 51 to 100 are read together; the poison is among them, three steps after a checkpoint.
    let source = Planted { poison: Some(73), n_batches: Some(200) };
    let config = config()
        .with_checkpoint_dir(dir.path())
        .with_checkpoint_every_steps(70)
        .with_schedule(LearningRateSchedule::LinearDecay { warmup_steps: 0 });
    let error = fit(config.clone(), &source).unwrap_err();
    let ErrorKind::Diverged { epoch, step, learning_rate, loss, checkpoint } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!((*epoch, *step), (1, 73));
    assert_eq!(*learning_rate, 0.01 * (1.0 - 72.0 / 800.0));
    assert!(loss.is_nan());
    let expected: PathBuf = dir.path().join("step-000000000070");
    assert_eq!(checkpoint.as_ref(), Some(&expected));

    // From there, sound batches lead where they lead without the accident.
    let sound = Planted { poison: None, n_batches: Some(200) };
    let resumed = fit(config.clone(), &sound).unwrap();
    let undisturbed =
        fit(TrainingConfig { checkpoint_dir: None, checkpoint_every_steps: None, ..config }, &sound);
    assert_same(&resumed, &undisturbed.unwrap());
}

#[test]
fn weights_that_are_not_finite_stop_the_run_before_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let source = Planted { n_batches: Some(1), poison: None };
    let error = fit(config().with_learning_rate(1e300).with_checkpoint_dir(dir.path()), &source).unwrap_err();
    let ErrorKind::Diverged { epoch: 1, step: 1, loss, checkpoint: None, .. } = error.kind() else {
        panic!("{error}")
    };
    assert!(loss.is_nan());
    assert!(checkpoints(dir.path()).is_empty());
}

#[test]
fn what_the_validation_does_wrong_ends_the_run() {
    let run = |config: TrainingConfig, validate: &mut dyn FnMut() -> Result<Vec<(String, f64)>>| {
        Trainer::new(config)
            .unwrap()
            .fit(Mlp::new(8, 1), &Planted::default(), |_: &Mlp| validate())
            .unwrap_err()
    };
    let error = run(config(), &mut || Err(ErrorKind::Interrupted.into()));
    assert!(matches!(error.kind(), ErrorKind::Interrupted));

    let error = run(config(), &mut || Ok(vec![("a".into(), 1.0), ("b".into(), f64::NAN)]));
    assert!(matches!(error.kind(), ErrorKind::NonFinite { what: "validation metric", index: 1, .. }));

    let error = run(config().with_patience(1), &mut || Ok(Vec::new()));
    assert!(matches!(error.kind(), ErrorKind::InvalidConfig { field: "TrainingConfig::patience", .. }));

    let error = run(config().with_plateau(Plateau::default()), &mut || Ok(Vec::new()));
    assert!(matches!(error.kind(), ErrorKind::InvalidConfig { field: "TrainingConfig::plateau", .. }));

    let mut names = ["a", "b"].into_iter();
    let error = run(config(), &mut || Ok(vec![(names.next().unwrap().into(), 1.0)]));
    assert_eq!(error.to_string(), "input: expected the validation metrics a, as before, found b");
}

#[test]
fn an_epoch_without_batches_is_refused() {
    let error = fit(config(), &Planted { n_batches: Some(0), poison: None }).unwrap_err();
    assert_eq!(error.to_string(), "input: expected at least one batch in an epoch, found none");
}

#[test]
fn an_interrupted_run_resumes_to_the_identical_result() {
    for (optimizer, weight_average) in [(Optimizer::adam(), None), (Optimizer::adamw(0.01), Some(0.9))] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainingConfig { weight_average, ..config() }
            .with_epochs(6)
            .with_optimizer(optimizer)
            .with_max_gradient_norm(0.1)
            .with_schedule(LearningRateSchedule::CosineDecay { warmup_steps: 7 });
        let undisturbed = fit(config.clone(), &Planted::default()).unwrap();
        let config = config.with_checkpoint_dir(dir.path()).with_checkpoint_every_steps(7);
        // Ends in the middle of an epoch, in the next one, and two epochs on.
        for poison in [18, 24, 46] {
            fit(config.clone(), &Planted { poison: Some(poison), n_batches: None }).unwrap_err();
        }
        assert_same(&fit(config, &Planted::default()).unwrap(), &undisturbed);
    }
}

#[test]
fn a_finished_run_returns_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // The best epoch is not the last one.
    let mut metrics = [0.1, 0.3, 0.2].into_iter();
    let trainer = Trainer::new(config().with_patience(1).with_checkpoint_dir(dir.path())).unwrap();
    let fitted = trainer
        .fit(Mlp::new(8, 1), &Planted::default(), |_: &Mlp| {
            Ok(vec![("scripted".into(), metrics.next().unwrap())])
        })
        .unwrap();
    assert_eq!(fitted.history.epochs.len(), 3);
    assert_eq!(fitted.history.best().unwrap().epoch, 2);
    let again = trainer
        .fit(Mlp::new(8, 9), &Planted::default(), |_: &Mlp| panic!("validated a finished run"))
        .unwrap();
    assert_same(&again, &fitted);
}

#[test]
fn parameter_ids_survive_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(config().with_checkpoint_dir(dir.path())).unwrap();
    let ids = |model: &Mlp| [model.hidden.weight.id, model.hidden.bias.id, model.output.id];
    let first = trainer.fit(Mlp::new(8, 1), &Planted::default(), validate).unwrap();
    let model = Mlp::new(8, 1);
    assert_ne!(ids(&model), ids(&first.model));
    assert_eq!(ids(&trainer.fit(model, &Planted::default(), validate).unwrap().model), ids(&first.model));
}

#[test]
fn the_checkpoint_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config().with_checkpoint_dir(dir.path());
    fit(config.clone(), &Planted::default()).unwrap();

    let error = fit(config.clone().with_learning_rate(0.02), &Planted::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "TrainingConfig::learning_rate: expected 0.01, as in the checkpoint, found 0.02"
    );

    let error = fit(config.clone(), &Planted { n_batches: Some(11), poison: None }).unwrap_err();
    let expected =
        "column n_batches: expected 11 batches in an epoch, as in this run, found 10 batches in an epoch";
    assert!(error.to_string().ends_with(expected), "{error}");

    let trainer = Trainer::new(config).unwrap();
    let error = trainer.fit(Mlp::new(9, 1), &Planted::default(), validate).unwrap_err();
    let expected = "column parameters: expected hidden.weight of shape [3, 9], as in this run, \
                    found hidden.weight of shape [3, 8]";
    assert!(error.to_string().ends_with(expected), "{error}");

    #[derive(Module, Debug)]
    struct Renamed {
        inner: Mlp,
    }
    impl Trainable for Renamed {
        type Batch = Points;
        fn loss(&self, batch: Points) -> Tensor<1> {
            self.inner.loss(batch)
        }
    }
    let model = Renamed { inner: Mlp::new(8, 1) };
    let error = trainer.fit(model, &Planted::default(), |_: &Renamed| Ok(Vec::new())).unwrap_err();
    assert!(error.to_string().contains("expected inner.hidden.weight of shape [3, 8]"), "{error}");
}

#[test]
fn damage_is_found_and_the_checkpoint_before_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config().with_checkpoint_dir(dir.path());
    let fitted = fit(config.clone(), &Planted::default()).unwrap();
    assert_eq!(checkpoints(dir.path()), ["step-000000000030", "step-000000000040"]);
    let (older, newer) = (dir.path().join("step-000000000030"), dir.path().join("step-000000000040"));

    // What a save leaves that is killed, and a byte that flipped.
    let unfinished = dir.path().join("step-000000000050");
    fs::create_dir_all(unfinished.join("files-1")).unwrap();
    fs::write(unfinished.join(".manifest.json.part"), b"").unwrap();
    fs::write(unfinished.join("files-1/model.bpk"), b"half").unwrap();
    let model = newer.join("files-1/model.bpk");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    assert_same(&fit(config.clone(), &Planted::default()).unwrap(), &fitted);
    assert_eq!(checkpoints(dir.path()), ["step-000000000030", "step-000000000040"]);

    // Each file in turn missing or cut short, in both checkpoints.
    for name in ["manifest.json", "files-1/run.json", "files-1/model.bpk", "files-1/optimizer.bpk"] {
        for checkpoint in [&older, &newer] {
            let path = checkpoint.join(name);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            if checkpoint == &older {
                assert_same(&fit(config.clone(), &Planted::default()).unwrap(), &fitted);
            } else {
                let error = fit(config.clone(), &Planted::default()).unwrap_err();
                let ErrorKind::Corrupt { path: found, .. } = error.kind() else { panic!("{error}") };
                assert_eq!(found, &path);
            }
        }
        fs::remove_dir_all(&older).unwrap();
        fs::remove_dir_all(&newer).unwrap();
        assert_same(&fit(config.clone(), &Planted::default()).unwrap(), &fitted);
    }
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config().with_checkpoint_dir(dir.path());
    fit(config.clone(), &Planted::default()).unwrap();
    let manifest = dir.path().join("step-000000000040/manifest.json");
    let json = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, json.replace("\"format_version\": 1", "\"format_version\": 2")).unwrap();
    let error = fit(config, &Planted::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnsupportedVersion { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error: Error =
        fit(config().with_checkpoint_dir(file.path().join("x")), &Planted::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
}

/// y = x · w, whose gradients are known in closed form.
#[derive(Module, Debug)]
struct Linear {
    weight: Param<Tensor<2>>,
}

impl Trainable for Linear {
    type Batch = Points;

    fn loss(&self, (inputs, labels): Points) -> Tensor<1> {
        let device = self.weight.val().device();
        let n = labels.len();
        let inputs = Tensor::<2>::from_data(TensorData::new(inputs, [n, N_INPUTS]), &device);
        let labels = Tensor::<2>::from_data(TensorData::new(labels, [n, 1]), &device);
        (inputs.matmul(self.weight.val()) - labels).square().mean()
    }
}

/// The textbook in float64: clipping, schedule and Adam or AdamW, one number at a time.
fn reference(config: &TrainingConfig, mut w: [f64; N_INPUTS]) -> [f64; N_INPUTS] {
    let source = Planted::default();
    let (adam, decoupled) = match config.optimizer {
        Optimizer::Adam(adam) => (adam, false),
        Optimizer::AdamW(adam) => (adam, true),
    };
    let (beta_1, beta_2) = (f64::from(adam.beta_1), f64::from(adam.beta_2));
    let (epsilon, decay) = (f64::from(adam.epsilon), f64::from(adam.weight_decay));
    let (mut m, mut v) = ([0.0; N_INPUTS], [0.0; N_INPUTS]);
    let batches = (0..config.epochs).flat_map(|epoch| source.epoch(epoch).collect::<Vec<_>>());
    for (step, (inputs, labels)) in batches.enumerate() {
        let mut grad = [0.0; N_INPUTS];
        for (x, &y) in inputs.chunks(N_INPUTS).zip(&labels) {
            let error = x.iter().zip(&w).map(|(&x, w)| f64::from(x) * w).sum::<f64>() - f64::from(y);
            for (grad, &x) in grad.iter_mut().zip(x) {
                *grad += 2.0 * error * f64::from(x) / labels.len() as f64;
            }
        }
        let norm = grad.iter().map(|grad| grad * grad).sum::<f64>().sqrt();
        let clip = config.max_gradient_norm.map_or(1.0, |max| (f64::from(max) / (norm + 1e-6)).min(1.0));
        let rate = config.learning_rate
            * config.schedule.factor(step as u64, (config.epochs * source.n_batches()) as u64);
        let t = step as i32 + 1;
        for i in 0..N_INPUTS {
            let mut grad = grad[i] * clip;
            if decoupled {
                w[i] -= rate * decay * w[i];
            } else {
                grad += decay * w[i];
            }
            m[i] = beta_1 * m[i] + (1.0 - beta_1) * grad;
            v[i] = beta_2 * v[i] + (1.0 - beta_2) * grad * grad;
            let mean = m[i] / (1.0 - beta_1.powi(t));
            let root = (v[i] / (1.0 - beta_2.powi(t))).sqrt();
            w[i] -= rate * mean / (root + epsilon);
        }
    }
    w
}

#[test]
fn steps_equal_a_float64_reference() {
    let start = [0.3, -0.2, 0.1];
    let adam = |weight_decay| AdamConfig { weight_decay, ..AdamConfig::default() };
    let mut results = Vec::new();
    for optimizer in [Optimizer::adam(), Optimizer::Adam(adam(0.1)), Optimizer::AdamW(adam(0.1))] {
        for max_norm in [None, Some(0.2)] {
            let config = TrainingConfig {
                max_gradient_norm: max_norm,
                ..config()
                    .with_optimizer(optimizer)
                    .with_schedule(LearningRateSchedule::LinearDecay { warmup_steps: 5 })
            };
            let expected = reference(&config, start);
            let weight = start.map(|w| [w as f32]);
            let model = Linear { weight: Param::from_data(weight, &Device::flex()) };
            let fitted = Trainer::new(config)
                .unwrap()
                .fit(model, &Planted::default(), |_: &Linear| Ok(Vec::new()))
                .unwrap();
            let found: Vec<f32> = fitted.model.weight.val().into_data().iter::<f32>().collect();
            for (&found, &expected) in found.iter().zip(&expected) {
                approx::assert_abs_diff_eq!(f64::from(found), expected, epsilon = 2e-6);
            }
            results.push(expected[0]);
        }
    }
    // The six settings are told apart.
    results.sort_by(f64::total_cmp);
    assert!(results.windows(2).all(|pair| pair[1] - pair[0] > 1e-5), "{results:?}");
}
