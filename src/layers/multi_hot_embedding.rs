use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::kernels::Bags;
use crate::layers::{Embedding, Init, TableUpdate, embedding_bag};
use crate::rng::Rng;

/// x(i) = e_id(i) + mean of e_c over the categories c of item i, from **one** table of
/// `n_items + n_features` rows with **one** gather.
///
/// The id `n_items` stands for padding, whose vector is 0.
#[derive(Module, Debug)]
pub struct MultiHotEmbedding {
    /// `[n_items + n_features, d]`
    table: Embedding,
    /// The rows of each item, the id's with weight 1, those of the categories with 1 / their number; and the
    /// empty bag of the padding item.
    #[module(skip)]
    bags: Arc<Bags>,
}

impl MultiHotEmbedding {
    /// A fresh table for items with these categories, each in `0..n_features`.
    pub fn new(
        n_features: usize,
        categories: &[&[u32]],
        d: usize,
        init: Init,
        update: TableUpdate,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let n_items = categories.len();
        let mut bags = Bags::default();
        for (item, list) in (0..).zip(categories) {
            let weight = 1.0 / list.len() as f32;
            let of_category = |&category: &u32| (n_items as u32 + category, weight);
            bags.push([(item, 1.0)].into_iter().chain(list.iter().map(of_category)));
        }
        bags.push([]);
        let table = Embedding::new([n_items + n_features, d], init, update, rng, device);
        Self { table, bags: Arc::new(bags) }
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.bags.len() - 1
    }

    /// The vectors of these items, each in `0..=n_items`.
    ///
    /// # Shapes
    /// - output: `[items.len(), d]`
    ///
    /// # Panics
    /// If an id is above `n_items`.
    pub fn forward(&self, items: &[u32]) -> Tensor<2> {
        let mut bags = self.bags.select(items);
        let (source, rows) = self.table.lookup(std::mem::take(&mut bags.rows));
        bags.rows = rows;
        embedding_bag(source, bags)
    }

    /// The vectors of all items, `[n_items, d]`.
    pub fn all(&self) -> Tensor<2> {
        self.forward(&(0..self.n_items() as u32).collect::<Vec<_>>())
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::layers::{read, row_tape};

    fn layer(update: TableUpdate, device: &Device) -> MultiHotEmbedding {
        let categories: [&[u32]; 3] = [&[1], &[], &[0, 1]];
        let init = Init::Normal { std: 1.0 };
        MultiHotEmbedding::new(2, &categories, 4, init, update, &mut Rng::new(1), device)
    }

    #[test]
    fn id_plus_the_mean_of_the_categories_and_zero_for_padding() {
        let layer = layer(TableUpdate::Dense, &Device::flex());
        let table = read(layer.table.weight()).unwrap();
        let row = |i: usize| &table[i * 4..(i + 1) * 4];
        let expected: Vec<f32> = [
            (0..4).map(|j| row(2)[j] + 0.5 * row(3)[j] + 0.5 * row(4)[j]).collect(),
            vec![0.0; 4],
            (0..4).map(|j| row(0)[j] + row(4)[j]).collect(),
            row(1).to_vec(),
        ]
        .concat();
        let found = read(layer.forward(&[2, 3, 0, 1])).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(read(layer.all()).unwrap(), read(layer.forward(&[0, 1, 2])).unwrap());
    }

    #[test]
    fn a_sparse_table_has_gradients_for_the_rows_of_its_bags_alone() {
        let items = [2, 3, 2];
        let dense = layer(TableUpdate::Dense, &Device::flex()).train();
        let loss = dense.forward(&items).square().sum();
        let expected = read(dense.table.weight().grad(&loss.backward()).unwrap()).unwrap();

        let sparse = layer(TableUpdate::Sparse, &Device::flex()).train();
        let (loss, tape) = row_tape::record(|| sparse.forward(&items).square().sum());
        let mut gradients = tape.gradients(&mut loss.backward());
        let found = gradients.pop().unwrap();
        assert_eq!(found.rows, [2, 3, 4]);
        assert_eq!(read(found.gradient).unwrap(), expected[8..]);
        assert!(expected[..8].iter().all(|&g| g == 0.0));

        // Nothing but padding: no row is touched.
        let (loss, tape) = row_tape::record(|| sparse.forward(&[3, 3]).sum());
        assert_eq!(loss.into_scalar::<f32>(), 0.0);
        assert!(tape.is_empty());
    }
}
