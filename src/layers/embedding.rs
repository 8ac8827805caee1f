use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::layers::Init;
use crate::rng::Rng;

/// The categories of each item: genres, tags, brands, … A list of lists, stored flat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFeatures {
    n_features: usize,
    /// The categories of item `i` are `features[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
    features: Vec<u32>,
}

impl ItemFeatures {
    /// One list of categories, each in `0..n_features`, per item.
    ///
    /// # Errors
    /// A category outside its range, with the item's number (counted from 1).
    pub fn new<L: AsRef<[u32]>>(n_features: usize, items: impl IntoIterator<Item = L>) -> Result<Self> {
        let (mut offsets, mut features) = (vec![0], Vec::new());
        for list in items {
            let list = list.as_ref();
            if let Some(feature) = list.iter().find(|&&feature| feature as usize >= n_features) {
                let location = Location::memory().line(offsets.len() as u64);
                let expected = format!("a feature below {n_features}");
                return Err(Error::input(location, expected, feature.to_string()));
            }
            features.extend_from_slice(list);
            offsets.push(features.len());
        }
        Ok(Self { n_features, offsets, features })
    }

    /// `n_items` items of which nothing is known.
    pub fn none(n_items: usize) -> Self {
        Self { n_features: 0, offsets: vec![0; n_items + 1], features: Vec::new() }
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The number of categories.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// The categories of an item.
    ///
    /// # Panics
    /// If `item` is not below [`n_items`](Self::n_items).
    pub fn of(&self, item: usize) -> &[u32] {
        &self.features[self.offsets[item]..self.offsets[item + 1]]
    }
}

/// x(i) = e_id(i) + mean of e_c over the categories c of item i, from **one** table of
/// `n_items + n_features` rows with **one** gather.
///
/// Row `n_items` of the lookup is the padding item, whose vector is 0.
#[derive(Module, Debug)]
pub struct MultiHotEmbedding {
    /// `[n_items + n_features, d]`
    table: Param<Tensor<2>>,
    /// The table's rows of each item, and of the padding item: `[n_items + 1, width]`.
    rows: Param<Tensor<2, Int>>,
    /// Their weights: 1 for the id, 1 / number of categories, 0 for padding: `[n_items + 1, width]`.
    weights: Param<Tensor<2>>,
    #[module(skip)]
    features: ItemFeatures,
}

impl MultiHotEmbedding {
    /// A fresh table, N(0, std²).
    pub fn new(features: &ItemFeatures, d: usize, std: f64, rng: &mut Rng, device: &Device) -> Self {
        let n_items = features.n_items();
        let most = (0..n_items).map(|item| features.of(item).len()).max().unwrap_or(0);
        let width = 1 + most;
        let mut rows = vec![0i64; (n_items + 1) * width];
        let mut weights = vec![0f32; (n_items + 1) * width];
        for item in 0..n_items {
            rows[item * width] = item as i64;
            weights[item * width] = 1.0;
            let categories = features.of(item);
            for (slot, &category) in categories.iter().enumerate() {
                rows[item * width + 1 + slot] = (n_items + category as usize) as i64;
                weights[item * width + 1 + slot] = 1.0 / categories.len() as f32;
            }
        }
        let shape = [n_items + 1, width];
        let rows = Tensor::from_data(TensorData::new(rows, shape), device);
        Self {
            table: Init::Normal { std }.param([n_items + features.n_features(), d], rng, device),
            rows: Param::initialized(burn::module::ParamId::new(), rows),
            weights: Param::from_data(TensorData::new(weights, shape), device).set_require_grad(false),
            features: features.clone(),
        }
    }

    /// The categories it was made for.
    pub fn features(&self) -> &ItemFeatures {
        &self.features
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.features.n_items()
    }

    /// The vectors of these items; the id `n_items` stands for padding and gives 0.
    ///
    /// # Shapes
    /// - items: `[n]`, ids in `0..=n_items`
    /// - output: `[n, d]`
    pub fn forward(&self, items: Tensor<1, Int>) -> Tensor<2> {
        let n = items.dims()[0];
        let [_, d] = self.table.shape().dims();
        let rows = self.rows.val().select(0, items.clone());
        let width = rows.dims()[1];
        let weights = self.weights.val().select(0, items).reshape([n, 1, width]);
        let gathered = self.table.val().select(0, rows.reshape([n * width])).reshape([n, width, d]);
        weights.matmul(gathered).reshape([n, d])
    }

    /// All item vectors and, last, the padding item's.
    ///
    /// # Shapes
    /// - output: `[n_items + 1, d]`
    pub fn all(&self) -> Tensor<2> {
        let [n, width] = self.rows.shape().dims();
        let [_, d] = self.table.shape().dims();
        let gathered = self.table.val().select(0, self.rows.val().reshape([n * width])).reshape([n, width, d]);
        self.weights.val().reshape([n, 1, width]).matmul(gathered).reshape([n, d])
    }
}

/// Ids that are all below a bound, for [`MultiHotEmbedding::forward`].
pub(crate) fn check_ids(what: &'static str, ids: impl IntoIterator<Item = u32>, bound: usize) -> Result<()> {
    match ids.into_iter().find(|&id| id as usize >= bound) {
        Some(id) => Err(ErrorKind::IdOutOfRange { what, id: id.into(), bound: bound as u64 }.into()),
        None => Ok(()),
    }
}
