//! Embedding tables in training: dense ones as Burn does them, sparse ones row by row.
#![cfg(feature = "flex")]

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use recsys::error::Result;
use recsys::kernels;
use recsys::layers::{Embedding, Init, TableUpdate, id_tensor};
use recsys::rng::Rng;
use recsys::training::{
    AdamConfig, BatchSource, Fitted, Optimizer, RowOptimizer, Trainable, Trainer, TrainingConfig,
};

const N: usize = 12;
const D: usize = 5;

/// Two lookups of one table and a bias: the loss is the mean of (x(a) · x(b) + c(a) − y)².
#[derive(Module, Debug)]
struct Pairs {
    vectors: Embedding,
    biases: Embedding,
    scale: Param<Tensor<1>>,
}

#[derive(Clone)]
struct Batch {
    a: Vec<u32>,
    b: Vec<u32>,
    y: Vec<f32>,
}

impl Pairs {
    fn new(update: TableUpdate) -> Self {
        let (device, rng) = (Device::flex(), &mut Rng::new(3));
        let init = Init::Normal { std: 0.5 };
        Self {
            vectors: Embedding::new([N, D], init, update, rng, &device),
            biases: Embedding::new([N, 1], init, update, rng, &device),
            scale: Param::from_data([1.0], &device),
        }
    }

    fn weights(&self) -> Vec<f32> {
        [self.vectors.weight(), self.biases.weight()].into_iter().flat_map(numbers).collect()
    }
}

fn numbers<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

impl Trainable for Pairs {
    type Batch = Batch;

    fn loss(&self, Batch { a, b, y }: Batch) -> Tensor<1> {
        let device = self.scale.val().device();
        let products = (self.vectors.forward(&a) * self.vectors.forward(&b)).sum_dim(1);
        let scores = products * self.scale.val().unsqueeze() + self.biases.forward(&a);
        (scores - Tensor::from_data(TensorData::new(y, [a.len(), 1]), &device)).square().mean()
    }
}

/// Pairs of rows below `n_named`, each of which stands in every batch, in both places; `poison` spoils the
/// label of a step, counted from 1.
struct Source {
    n_named: usize,
    poison: Option<usize>,
}

const EVERY_ROW: Source = Source { n_named: N, poison: None };

impl BatchSource for Source {
    type Batch = Batch;

    fn n_batches(&self) -> usize {
        6
    }

    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = Batch> + Send + '_> {
        Box::new((0..6).map(move |batch| {
            let mut rng = Rng::stream(7, &[epoch as u64, batch]);
            let mut draw = || {
                let mut ids: Vec<u32> = (0..self.n_named as u32).collect();
                ids.extend((0..9).map(|_| rng.below(self.n_named) as u32));
                rng.shuffle(&mut ids);
                ids
            };
            let (a, b) = (draw(), draw());
            let mut y: Vec<f32> = a.iter().zip(&b).map(|(a, b)| ((a + b) % 2) as f32).collect();
            if self.poison == Some(epoch * 6 + batch as usize + 1) {
                y[0] = f32::NAN;
            }
            Batch { a, b, y }
        }))
    }
}

fn config() -> TrainingConfig {
    TrainingConfig::default().with_epochs(5).with_learning_rate(0.02).with_progress(false)
}

fn fit(config: TrainingConfig, update: TableUpdate, source: &Source) -> Result<Fitted<Pairs>> {
    Trainer::new(config)?.fit(Pairs::new(update), source, |_| Ok(Vec::new()))
}

fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "[{at}] {found}, not {expected}");
    }
}

/// One lookup by Burn's own embedding.
#[derive(Module, Debug)]
struct BurnLookup {
    table: burn::nn::Embedding,
}

#[derive(Module, Debug)]
struct Lookup {
    table: Embedding,
}

/// A loss in which every row has another gradient.
fn lookup_loss(vectors: Tensor<2>) -> Tensor<1> {
    let [n, d] = vectors.dims();
    let weights = Tensor::<1, Int>::arange(0..(n * d) as i64, &vectors.device()).float().reshape([n, d]);
    (vectors.square() * weights.sin()).sum()
}

impl Trainable for Lookup {
    type Batch = Vec<u32>;

    fn loss(&self, ids: Vec<u32>) -> Tensor<1> {
        lookup_loss(self.table.forward(&ids))
    }
}

struct Ids;

impl BatchSource for Ids {
    type Batch = Vec<u32>;

    fn n_batches(&self) -> usize {
        4
    }

    fn epoch(&self, _epoch: usize) -> Box<dyn Iterator<Item = Vec<u32>> + Send + '_> {
        Box::new((0..4).map(|batch| {
            let mut rng = Rng::new(batch);
            (0..3_000).map(|_| rng.below(900) as u32).collect()
        }))
    }
}

#[test]
fn a_dense_table_has_the_bits_of_burns_embedding_and_adam() {
    let (device, rng) = (Device::flex(), &mut Rng::new(1));
    let model = Lookup {
        table: Embedding::new([1_000, 33], Init::Normal { std: 1.0 }, TableUpdate::Dense, rng, &device),
    };
    let weight = Param::from_tensor(model.table.weight());
    let mut burn = BurnLookup { table: burn::nn::Embedding { weight } }.train();
    let mut adam = burn::optim::AdamConfig::new().with_epsilon(1e-8).init();
    for ids in Ids.epoch(0) {
        let ids = id_tensor(&ids, &device).unsqueeze();
        let found = burn.table.forward(ids.clone()).squeeze_dim(0);
        let grads = GradientsParams::from_grads(lookup_loss(found).backward(), &burn);
        burn = adam.step(0.02, burn, grads);
    }
    let fitted = Trainer::new(config().with_epochs(1)).unwrap().fit(model, &Ids, |_| Ok(vec![])).unwrap();
    let bits = |x: Tensor<2>| numbers(x).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert!(bits(fitted.model.table.weight()) == bits(burn.table.weight.val().inner()));
}

#[test]
fn sparse_equals_dense_where_every_step_names_every_row() {
    let l2 = AdamConfig { weight_decay: 0.1, ..AdamConfig::default() };
    for optimizer in [Optimizer::adam(), Optimizer::adamw(0.1), Optimizer::Adam(l2)] {
        for max_norm in [None, Some(0.3)] {
            let config = TrainingConfig { max_gradient_norm: max_norm, ..config().with_optimizer(optimizer) };
            let dense = fit(config.clone(), TableUpdate::Dense, &EVERY_ROW).unwrap();
            let sparse = fit(config.clone(), TableUpdate::Sparse, &EVERY_ROW).unwrap();
            close(&sparse.model.weights(), &dense.model.weights(), 2e-5);
            let epochs = &sparse.history.epochs;
            assert!(epochs[4].loss < 0.7 * epochs[0].loss, "{}", sparse.history);
            let composed = kernels::composed(|| fit(config, TableUpdate::Sparse, &EVERY_ROW).unwrap());
            close(&composed.model.weights(), &dense.model.weights(), 2e-5);
        }
    }
}

#[test]
fn rows_that_no_batch_names_keep_every_bit_whatever_the_decay() {
    let source = Source { n_named: 7, poison: None };
    let before = Pairs::new(TableUpdate::Sparse).weights();
    for row_optimizer in [RowOptimizer::Lazy, RowOptimizer::adagrad(0.1)] {
        let config = config().with_optimizer(Optimizer::adamw(0.5)).with_row_optimizer(row_optimizer);
        let runs = [
            fit(config.clone(), TableUpdate::Sparse, &source).unwrap(),
            kernels::composed(|| fit(config.clone(), TableUpdate::Sparse, &source).unwrap()),
        ];
        for fitted in runs {
            let after = fitted.model.weights();
            assert_eq!(after[7 * D..N * D], before[7 * D..N * D]);
            assert!(after[..7 * D].iter().zip(&before).all(|(after, before)| after != before));
        }
    }
}

/// The textbook in float64: one row of D weights, one gradient a step.
#[test]
fn adagrad_equals_a_float64_reference() {
    let config = config().with_row_optimizer(RowOptimizer::Adagrad { learning_rate: 0.3, epsilon: 1e-3 });
    let model = Lookup {
        table: Embedding::new(
            [3, D],
            Init::Normal { std: 1.0 },
            TableUpdate::Sparse,
            &mut Rng::new(4),
            &Device::flex(),
        ),
    };
    /// Row 2 in every batch, row 0 in every other one, twice.
    struct Few;
    impl BatchSource for Few {
        type Batch = Vec<u32>;
        fn n_batches(&self) -> usize {
            4
        }
        fn epoch(&self, _epoch: usize) -> Box<dyn Iterator<Item = Vec<u32>> + Send + '_> {
            Box::new((0..4).map(|batch| if batch % 2 == 0 { vec![2] } else { vec![0, 2, 0] }))
        }
    }
    let mut w: Vec<f64> = numbers(model.table.weight()).into_iter().map(f64::from).collect();
    let mut sums = [0.0; 3];
    for ids in (0..5).flat_map(|epoch| Few.epoch(epoch)) {
        let mut gradient = vec![0.0; w.len()];
        for (place, &id) in ids.iter().enumerate() {
            for j in 0..D {
                let at = id as usize * D + j;
                gradient[at] += 2.0 * w[at] * ((place * D + j) as f64).sin();
            }
        }
        for id in [0, 2].into_iter().filter(|id| ids.contains(id)) {
            let row = id as usize * D..(id as usize + 1) * D;
            sums[id as usize] += gradient[row.clone()].iter().map(|g| g * g).sum::<f64>() / D as f64;
            for at in row {
                w[at] -= 0.3 * gradient[at] / (sums[id as usize].sqrt() + 1e-3);
            }
        }
    }
    let expected: Vec<f32> = w.into_iter().map(|w| w as f32).collect();
    let fit = || Trainer::new(config.clone()).unwrap().fit(model.clone(), &Few, |_| Ok(vec![])).unwrap();
    for fitted in [fit(), kernels::composed(fit)] {
        close(&numbers(fitted.model.table.weight()), &expected, 1e-5);
    }
}

#[test]
fn an_interrupted_run_resumes_to_the_identical_result() {
    for row_optimizer in [RowOptimizer::Lazy, RowOptimizer::adagrad(0.1)] {
        let dir = tempfile::tempdir().unwrap();
        let config = config().with_row_optimizer(row_optimizer).with_max_gradient_norm(0.5);
        let source = |poison| Source { n_named: 9, poison };
        let undisturbed = fit(config.clone(), TableUpdate::Sparse, &source(None)).unwrap();
        let config = config.with_checkpoint_dir(dir.path()).with_checkpoint_every_steps(4);
        for poison in [5, 11, 20] {
            fit(config.clone(), TableUpdate::Sparse, &source(Some(poison))).unwrap_err();
        }
        let resumed = fit(config.clone(), TableUpdate::Sparse, &source(None)).unwrap();
        assert_eq!(resumed.model.weights(), undisturbed.model.weights());
        assert_eq!(resumed.history, undisturbed.history);

        // Without the moments the run does not continue.
        for checkpoint in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::write(checkpoint.unwrap().path().join("files-1/rows.bpk"), b"damaged").unwrap();
        }
        let error = fit(config, TableUpdate::Sparse, &source(None)).unwrap_err().to_string();
        assert!(error.contains("rows.bpk is damaged"), "{error}");
    }
}

#[test]
fn the_best_epoch_stays_as_it_was_while_training_goes_on() {
    let mut metrics = [0.1, 0.3, 0.2, 0.1, 0.0].into_iter();
    let mut seen = Vec::new();
    let trainer = Trainer::new(config()).unwrap();
    let fitted = trainer
        .fit(Pairs::new(TableUpdate::Sparse), &EVERY_ROW, |model: &Pairs| {
            seen.push(model.weights());
            Ok(vec![("scripted".into(), metrics.next().unwrap())])
        })
        .unwrap();
    assert_eq!(fitted.model.weights(), seen[1]);
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_table_of_ones_own_is_changed_in_place() {
    #[derive(Module, Debug)]
    struct Bare {
        table: Embedding,
        bias: Param<Tensor<1>>,
    }
    impl Trainable for Bare {
        type Batch = Vec<u32>;
        fn loss(&self, ids: Vec<u32>) -> Tensor<1> {
            lookup_loss(self.table.forward(&ids)) * self.bias.val()
        }
    }
    for update in [TableUpdate::Sparse, TableUpdate::Dense] {
        let values = vec![0.5f32; 1_000 * 8];
        let address = values.as_ptr();
        let device = Device::flex();
        let weight = Tensor::from_data(TensorData::new(values, [1_000, 8]), &device);
        let model =
            Bare { table: Embedding::from_weight(weight, update), bias: Param::from_data([1.0], &device) };
        let fitted = Trainer::new(config()).unwrap().fit(model, &Ids, |_| Ok(vec![])).unwrap();
        let Bare { table, .. } = fitted.model;
        let after = table.into_weight().into_data().try_into_vec::<f32>().unwrap();
        assert!(after.as_ptr() == address, "{update:?}");
        assert!(after[..900 * 8].iter().all(|&w| w != 0.5), "{update:?}");
    }
}
