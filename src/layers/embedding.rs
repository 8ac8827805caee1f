use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::{ErrorKind, Result};
use crate::layers::Init;
use crate::rng::Rng;

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
}

impl MultiHotEmbedding {
    /// A fresh table, N(0, std²), for items with these categories, each in `0..n_features`.
    pub fn new(
        n_features: usize,
        categories: &[&[u32]],
        d: usize,
        std: f64,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let n_items = categories.len();
        let width = 1 + categories.iter().map(|list| list.len()).max().unwrap_or(0);
        let mut rows = vec![0i64; (n_items + 1) * width];
        let mut weights = vec![0f32; (n_items + 1) * width];
        for (item, list) in categories.iter().enumerate() {
            rows[item * width] = item as i64;
            weights[item * width] = 1.0;
            for (slot, &category) in list.iter().enumerate() {
                rows[item * width + 1 + slot] = (n_items + category as usize) as i64;
                weights[item * width + 1 + slot] = 1.0 / list.len() as f32;
            }
        }
        let shape = [n_items + 1, width];
        let rows = Tensor::from_data(TensorData::new(rows, shape), device);
        Self {
            table: Init::Normal { std }.param([n_items + n_features, d], rng, device),
            rows: Param::initialized(ParamId::new(), rows),
            weights: Param::from_data(TensorData::new(weights, shape), device).set_require_grad(false),
        }
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.rows.shape().dims::<2>()[0] - 1
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
        let gathered =
            self.table.val().select(0, self.rows.val().reshape([n * width])).reshape([n, width, d]);
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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::layers::{id_tensor, read};

    #[test]
    fn id_plus_the_mean_of_the_categories_and_zero_for_padding() {
        let device = Device::flex();
        let categories: [&[u32]; 3] = [&[1], &[], &[0, 1]];
        let layer = MultiHotEmbedding::new(2, &categories, 4, 1.0, &mut Rng::new(1), &device);
        let table = read(layer.table.val()).unwrap();
        let row = |i: usize| &table[i * 4..(i + 1) * 4];
        let expected: Vec<f32> = [
            (0..4).map(|j| row(2)[j] + 0.5 * row(3)[j] + 0.5 * row(4)[j]).collect(),
            vec![0.0; 4],
            (0..4).map(|j| row(0)[j] + row(4)[j]).collect(),
            row(1).to_vec(),
        ]
        .concat();
        let found = read(layer.forward(id_tensor(&[2, 3, 0, 1], &device))).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let all = read(layer.all()).unwrap();
        assert_eq!(all, read(layer.forward(id_tensor(&[0, 1, 2, 3], &device))).unwrap());
    }
}
