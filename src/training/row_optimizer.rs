use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{AdamState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::TrainingConfig;
use super::adam::Adam;
use crate::error::{Error, Result};
use crate::kernels;
use crate::layers::id_tensor;
use crate::layers::row_tape::RowGradient;

/// How the rows of a sparsely updated table ([`TableUpdate::Sparse`](crate::layers::TableUpdate::Sparse))
/// step. Rows that a batch does not name keep every bit, their moments too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOptimizer {
    /// The run's [`Optimizer`](super::Optimizer) on the rows that the batch names and on their moments alone (PyTorch calls it
    /// SparseAdam): moments decay only in the steps that name their row, and bias is corrected by the number
    /// of the table's steps. Weight decay, L2 or decoupled, likewise reaches only the rows named. If every
    /// step names every row, it is the dense optimizer.
    #[default]
    Lazy,
    /// Row-wise Adagrad (Naumov et al. 2019, "Deep learning recommendation model for personalization and
    /// recommendation systems"; `rowwise_adagrad` in FBGEMM): one number for each row instead of two for each
    /// weight, s ← s + mean of g² over the row, w ← w − η g / (√s + ε). No weight decay.
    Adagrad {
        /// η, multiplied by the factor of the run's learning-rate schedule; > 0. Adagrad wants some ten times
        /// the rate of Adam.
        learning_rate: f64,
        /// ε, added to the root of the sum; > 0.
        epsilon: f32,
    },
}

impl RowOptimizer {
    /// Row-wise Adagrad with this learning rate, and ε = 10⁻⁸.
    pub fn adagrad(learning_rate: f64) -> Self {
        Self::Adagrad { learning_rate, epsilon: 1e-8 }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let Self::Adagrad { learning_rate, epsilon } = *self else { return Ok(()) };
        let settings = [
            ("RowOptimizer::Adagrad::learning_rate", learning_rate),
            ("RowOptimizer::Adagrad::epsilon", epsilon.into()),
        ];
        match settings.into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((field, value)) => Err(Error::config(field, "a finite number above 0", value)),
            None => Ok(()),
        }
    }
}

/// The row optimizer of a run, with its state.
#[derive(Clone)]
pub(super) struct RowSteps {
    rule: Rule,
    tables: BTreeMap<u64, RowState>,
}

/// The moments of some tables.
pub(super) type Moments = Vec<Vec<Param<Tensor<2>>>>;

#[derive(Clone)]
enum Rule {
    LazyAdam { adam: Adam, learning_rate: f64 },
    Adagrad { learning_rate: f64, epsilon: f32 },
}

/// The state of one table.
#[derive(Clone)]
struct RowState {
    /// The steps done.
    steps: usize,
    /// Both moments of every weight, `[n, d]` each; or the sum of every row, `[n, 1]`.
    moments: Vec<Tensor<2>>,
}

impl RowSteps {
    /// Without state: that of a table begins, as zeros, when it first steps.
    pub(super) fn new(config: &TrainingConfig) -> Self {
        let rule = match config.row_optimizer {
            RowOptimizer::Lazy => {
                let adam = config.optimizer.rule();
                Rule::LazyAdam { adam, learning_rate: config.learning_rate }
            }
            RowOptimizer::Adagrad { learning_rate, epsilon } => Rule::Adagrad { learning_rate, epsilon },
        };
        Self { rule, tables: BTreeMap::new() }
    }

    /// The steps of each table that has stepped, by parameter id.
    pub(super) fn steps(&self) -> BTreeMap<u64, usize> {
        self.tables.iter().map(|(&id, table)| (id, table.steps)).collect()
    }

    /// The moments of each of these tables, for a checkpoint.
    pub(super) fn moments(&self) -> Moments {
        let param = |moment: &Tensor<2>| Param::initialized(ParamId::new(), moment.clone());
        self.tables.values().map(|table| table.moments.iter().map(param).collect()).collect()
    }

    /// The optimizer after these steps of tables of `model`; the moments, yet 0, come from
    /// [`with_moments`](Self::with_moments).
    pub(super) fn after<M: Module>(mut self, steps: &BTreeMap<u64, usize>, model: &M) -> Self {
        model.visit(&mut Restore { optimizer: &mut self, steps });
        self
    }

    /// The same optimizer with these moments.
    pub(super) fn with_moments(mut self, moments: Moments) -> Self {
        for (table, moments) in self.tables.values_mut().zip(moments) {
            table.moments = moments.into_iter().map(Param::into_value).collect();
        }
        self
    }

    /// The state of a table that has not stepped yet.
    fn fresh(&self, table: &Tensor<2>) -> RowState {
        let [n, d] = table.dims();
        let widths: &[usize] = match self.rule {
            Rule::LazyAdam { .. } => &[d, d],
            Rule::Adagrad { .. } => &[1],
        };
        RowState { steps: 0, moments: widths.iter().map(|&width| zeros([n, width], table)).collect() }
    }

    /// Steps the rows that have gradients; `factor` is that of the learning-rate schedule.
    pub(super) fn step<M: Module>(&mut self, factor: f64, model: M, gradients: Vec<RowGradient>) -> M {
        if gradients.is_empty() {
            return model;
        }
        let gradients = gradients.into_iter().map(|gradient| (gradient.table.val(), gradient)).collect();
        model.map(&mut Steps { optimizer: self, factor, gradients })
    }

    fn step_table(&mut self, factor: f64, table: Tensor<2>, gradient: RowGradient) -> Tensor<2> {
        let id = gradient.table.val();
        let mut state = self.tables.remove(&id).unwrap_or_else(|| self.fresh(&table));
        state.steps += 1;
        let table = self.rule.step(factor, table, &mut state, gradient);
        self.tables.insert(id, state);
        table
    }
}

/// Zeros beside the table. On Flex they take memory only where they are written.
fn zeros(shape: [usize; 2], beside: &Tensor<2>) -> Tensor<2> {
    if kernels::fused(beside) {
        let values = vec![0.0f32; shape[0] * shape[1]];
        return Tensor::from_data(TensorData::new(values, shape), (&beside.device(), beside.dtype()));
    }
    Tensor::zeros(shape, (&beside.device(), beside.dtype()))
}

impl Rule {
    fn step(&self, factor: f64, table: Tensor<2>, state: &mut RowState, gradient: RowGradient) -> Tensor<2> {
        let moments = std::mem::take(&mut state.moments);
        let (table, moments) = match self {
            Self::LazyAdam { adam, learning_rate } => {
                let [first, second] = exactly(moments);
                let arrays = [table, first, second];
                let [table, first, second] =
                    lazy_adam(adam, learning_rate * factor, state.steps, arrays, gradient);
                (table, vec![first, second])
            }
            Self::Adagrad { learning_rate, epsilon } => {
                let [sums] = exactly(moments);
                let [table, sums] =
                    rowwise_adagrad((learning_rate * factor) as f32, *epsilon, [table, sums], gradient);
                (table, vec![sums])
            }
        };
        state.moments = moments;
        table
    }
}

fn exactly<const N: usize>(moments: Vec<Tensor<2>>) -> [Tensor<2>; N] {
    moments.try_into().unwrap_or_else(|_| unreachable!("as many moments as the optimizer has"))
}

fn lazy_adam(
    adam: &Adam,
    learning_rate: f64,
    time: usize,
    arrays: [Tensor<2>; 3],
    RowGradient { rows, gradient, .. }: RowGradient,
) -> [Tensor<2>; 3] {
    #[cfg(feature = "flex")]
    if kernels::fused(&arrays[0]) {
        let (d, step) = (arrays[0].dims()[1], adam.kernel().step(learning_rate, time));
        let gradient = kernels::into_values(gradient);
        let arrays =
            kernels::in_place(arrays, |arrays| kernels::lazy_adam(step, arrays, d, &rows, &gradient));
        kernels::recycle(gradient);
        return arrays;
    }
    on_rows(arrays, &rows, |[table, first, second]| {
        let state = AdamState::new(AdaptiveMomentumState::new(time - 1, first, second));
        let (table, state) = adam.step(learning_rate, table, gradient, Some(state));
        let Some(AdamState { momentum }) = state else { unreachable!("Adam keeps its moments") };
        [table, momentum.moment_1, momentum.moment_2]
    })
}

fn rowwise_adagrad(
    learning_rate: f32,
    epsilon: f32,
    arrays: [Tensor<2>; 2],
    RowGradient { rows, gradient, .. }: RowGradient,
) -> [Tensor<2>; 2] {
    #[cfg(feature = "flex")]
    if kernels::fused(&arrays[0]) {
        let d = arrays[0].dims()[1];
        let gradient = kernels::into_values(gradient);
        let arrays = kernels::in_place(arrays, |arrays| {
            kernels::rowwise_adagrad(learning_rate, epsilon, arrays, d, &rows, &gradient);
        });
        kernels::recycle(gradient);
        return arrays;
    }
    on_rows(arrays, &rows, |[table, sums]| {
        let sums = sums + gradient.clone().square().mean_dim(1);
        let scale = sums.clone().sqrt().add_scalar(epsilon).recip().mul_scalar(learning_rate);
        [table - gradient * scale, sums]
    })
}

/// Replaces these rows of the arrays by `f` of them.
fn on_rows<const N: usize>(
    arrays: [Tensor<2>; N],
    rows: &[u32],
    f: impl FnOnce([Tensor<2>; N]) -> [Tensor<2>; N],
) -> [Tensor<2>; N] {
    let rows = id_tensor(rows, &arrays[0].device());
    let mut stepped =
        f(arrays.each_ref().map(|array| kernels::select_rows(array.clone(), rows.clone()))).into_iter();
    arrays.map(|array| match stepped.next() {
        Some(values) => kernels::replace_rows(array, rows.clone(), values),
        None => unreachable!("as many results as arrays"),
    })
}

/// Makes room for the states of the tables of a module.
struct Restore<'a> {
    optimizer: &'a mut RowSteps,
    steps: &'a BTreeMap<u64, usize>,
}

impl ModuleVisitor for Restore<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 2
            && let Some(&steps) = self.steps.get(&param.id.val())
        {
            let state = self.optimizer.fresh(&matrix(param.val()));
            self.optimizer.tables.insert(param.id.val(), RowState { steps, ..state });
        }
    }
}

/// The tensor, which is a matrix, as a matrix.
fn matrix<const D: usize>(tensor: Tensor<D>) -> Tensor<2> {
    let shape: [usize; D] = tensor.dims();
    tensor.inner().reshape([shape[0], shape[1]])
}

/// Steps the tables of a module.
struct Steps<'a> {
    optimizer: &'a mut RowSteps,
    factor: f64,
    gradients: BTreeMap<u64, RowGradient>,
}

impl ModuleMapper for Steps<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove(&param.id.val()) else { return param };
        // The parameter gives its tensor away: nobody else holds it, and it is changed in place.
        param.map(|table| {
            let shape: [usize; D] = table.dims();
            Tensor::from_inner(self.optimizer.step_table(self.factor, matrix(table), gradient).reshape(shape))
        })
    }
}
