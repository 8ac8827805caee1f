use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, Result};
use crate::layers::{Init, gather, row_tape, unique};
use crate::rng::Rng;

/// Which rows of a table a training step updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableUpdate {
    /// All, by the optimizer of all other weights: a row that the batch does not name still moves with its
    /// moments. A step costs what the table holds.
    #[default]
    Dense,
    /// Those that the batch names, by [`RowOptimizer`](crate::training::RowOptimizer); the others keep
    /// every bit. A step costs what the batch touches, whatever the size of the table.
    Sparse,
}

/// A table of `n` vectors of width `d`, one for each id in `0..n`.
///
/// Ids are plain numbers on the host, where batches are made: a sparse update needs the distinct ones, and
/// nothing is read back from a device to find them. The gradients of sparsely updated rows are collected by a
/// [`Trainer`](crate::training::Trainer) or [`Stepper`](crate::training::Stepper); in another training loop
/// such a table is a constant.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[n, d]`
    weight: Param<Tensor<2>>,
    #[module(skip)]
    update: TableUpdate,
}

impl Embedding {
    /// A fresh table.
    pub fn new([n, d]: [usize; 2], init: Init, update: TableUpdate, rng: &mut Rng, device: &Device) -> Self {
        Self::of(init.param([n, d], rng, device), update)
    }

    /// The table of these vectors, `[n, d]`.
    pub fn from_weight(weight: Tensor<2>, update: TableUpdate) -> Self {
        Self::of(Param::from_tensor(weight), update)
    }

    fn of(weight: Param<Tensor<2>>, update: TableUpdate) -> Self {
        Self { weight: weight.set_require_grad(update == TableUpdate::Dense), update }
    }

    /// The number of vectors n and their width d.
    pub fn dims(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }

    /// Where the table lies.
    pub fn device(&self) -> Device {
        self.weight.lazy_device()
    }

    /// The whole table, `[n, d]`. If it is updated sparsely, no gradient flows into it this way.
    pub fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// The whole table, given away: without a copy where nobody else holds it.
    pub fn into_weight(self) -> Tensor<2> {
        self.weight.into_value()
    }

    /// The vectors of these ids.
    ///
    /// # Shapes
    /// - output: `[ids.len(), d]`
    ///
    /// # Panics
    /// If an id is not below n.
    pub fn forward(&self, ids: &[u32]) -> Tensor<2> {
        let (source, rows) = self.lookup(ids.to_vec());
        gather(source, rows)
    }

    /// The vectors of all ids in order, `[n, d]`, through which gradients flow also if updates are sparse.
    pub fn all(&self) -> Tensor<2> {
        match self.update {
            TableUpdate::Dense => self.weight.val(),
            TableUpdate::Sparse => self.forward(&(0..self.dims()[0] as u32).collect::<Vec<_>>()),
        }
    }

    /// A table and rows of it that are the vectors of these ids: this table and the ids themselves, or, where
    /// a sparse update is being recorded, the distinct vectors as a leaf of the graph.
    pub(crate) fn lookup(&self, ids: Vec<u32>) -> (Tensor<2>, Vec<u32>) {
        let weight = self.weight.val();
        if self.update == TableUpdate::Dense
            || !weight.is_autodiff()
            || ids.is_empty()
            || !row_tape::is_recording()
        {
            return (weight, ids);
        }
        let (rows, positions) = unique(&ids);
        let leaf = Tensor::from_inner(gather(weight.inner(), rows.clone())).require_grad();
        row_tape::push(self.weight.id, rows, leaf.clone());
        (leaf, positions)
    }
}

/// Ids that are all below a bound, for [`Embedding::forward`].
pub(crate) fn check_ids(what: &'static str, ids: impl IntoIterator<Item = u32>, bound: usize) -> Result<()> {
    match ids.into_iter().find(|&id| id as usize >= bound) {
        Some(id) => Err(ErrorKind::IdOutOfRange { what, id: id.into(), bound: bound as u64 }.into()),
        None => Ok(()),
    }
}
