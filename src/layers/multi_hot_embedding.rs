use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::kernels::Bags;
use crate::layers::{Embedding, Init, TableUpdate, embedding_bag};
use crate::rng::Rng;

/// An item as [`MultiHotEmbedding`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiHot<'a> {
    /// Whether nothing can be learned of the item itself: it has no vector of its own, that is, 0.
    pub cold: bool,
    /// Its categories.
    pub categories: &'a [u32],
}

/// x(i) = e_id(i) + mean of e_c over the categories c of item i, from **one** table of
/// `n_ids + n_features` rows with **one** gather.
///
/// The `n_ids` items that are not [cold](MultiHot::cold) have a vector e_id of their own. The id `n_items` stands
/// for padding, whose vector is 0.
#[derive(Module, Debug)]
pub struct MultiHotEmbedding {
    /// `[n_ids + n_features, d]`
    table: Embedding,
    #[module(skip)]
    n_ids: usize,
    /// The rows of each item, the id's with weight 1, those of the categories with 1 / their number; and the
    /// empty bag of the padding item.
    #[module(skip)]
    bags: Arc<Bags>,
}

impl MultiHotEmbedding {
    /// A fresh table for these items, with categories in `0..n_features`.
    pub fn new(
        n_features: usize,
        items: &[MultiHot<'_>],
        d: usize,
        init: Init,
        update: TableUpdate,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        let n_ids = items.iter().filter(|item| !item.cold).count();
        let table = Embedding::new([n_ids + n_features, d], init, update, rng, device);
        let mut bags = Bags::default();
        push_items(&mut bags, items, n_ids);
        Self { table, n_ids, bags: Arc::new(bags) }
    }

    /// With more items behind these, all of them cold, with the same table.
    ///
    /// # Panics
    /// If a category is none of the table's.
    pub fn with_cold_items(&self, categories: &[&[u32]]) -> Self {
        let n_features = self.table.dims()[0] - self.n_ids;
        let known = |category: &u32| (*category as usize) < n_features;
        assert!(categories.iter().copied().flatten().all(known), "a category beyond {n_features}");
        let mut bags = self.bags.select(&(0..self.n_items() as u32).collect::<Vec<_>>());
        let items: Vec<_> = categories.iter().map(|categories| MultiHot { cold: true, categories }).collect();
        push_items(&mut bags, &items, self.n_ids);
        Self { bags: Arc::new(bags), ..self.clone() }
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
        self.sum(self.bags.select(items))
    }

    /// As [`forward`](Self::forward), but in training, where there is an `rng`, each e_id becomes 0 with
    /// probability `p`, so that what is learned of the categories, and of whatever else is known, does without.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_with_id_dropout(&self, items: &[u32], p: f64, rng: Option<&mut Rng>) -> Tensor<2> {
        let Some(rng) = rng.filter(|_| p > 0.0) else {
            return self.forward(items);
        };
        let mut bags = Bags::default();
        for &item in items {
            let (rows, weights) = self.bags.bag(item as usize);
            let has_id = rows.first().is_some_and(|&row| (row as usize) < self.n_ids);
            let dropped = usize::from(rng.uniform() < p && has_id);
            bags.push(rows.iter().copied().zip(weights.iter().copied()).skip(dropped));
        }
        self.sum(bags)
    }

    fn sum(&self, mut bags: Bags) -> Tensor<2> {
        let (source, rows) = self.table.lookup(std::mem::take(&mut bags.rows));
        bags.rows = rows;
        embedding_bag(source, bags)
    }

    /// The vectors of all items, `[n_items, d]`.
    pub fn all(&self) -> Tensor<2> {
        self.forward(&(0..self.n_items() as u32).collect::<Vec<_>>())
    }
}

/// Bags for items, the rows of those that are not cold following those of the bags before, and one for padding.
fn push_items(bags: &mut Bags, items: &[MultiHot<'_>], n_ids: usize) {
    let mut next_id = 0;
    for item in items {
        let weight = 1.0 / item.categories.len() as f32;
        let of_category = |&category: &u32| (n_ids as u32 + category, weight);
        let id = (!item.cold).then_some((next_id, 1.0));
        next_id += u32::from(!item.cold);
        bags.push(id.into_iter().chain(item.categories.iter().map(of_category)));
    }
    bags.push([]);
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::layers::{read, row_tape};

    fn layer(update: TableUpdate, device: &Device) -> MultiHotEmbedding {
        let items = [&[1][..], &[], &[0, 1]].map(|categories| MultiHot { cold: false, categories });
        let init = Init::Normal { std: 1.0 };
        MultiHotEmbedding::new(2, &items, 4, init, update, &mut Rng::new(1), device)
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
    fn cold_items_and_dropped_ids_are_their_categories_alone() {
        let (device, rng) = (Device::flex(), &mut Rng::new(1));
        let item = |cold, categories| MultiHot { cold, categories };
        let items = [item(false, &[1][..]), item(true, &[]), item(true, &[0]), item(false, &[])];
        let init = Init::Normal { std: 1.0 };
        let layer = MultiHotEmbedding::new(2, &items, 4, init, TableUpdate::Dense, rng, &device);
        let table = read(layer.table.weight()).unwrap();
        let row = |i: usize| table[i * 4..(i + 1) * 4].to_vec();
        let sum = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(table.len(), 4 * 4);
        let expected = [sum(row(0), row(3)), vec![0.0; 4], row(2), row(1), vec![0.0; 4]];
        assert_eq!(read(layer.forward(&[0, 1, 2, 3, 4])).unwrap(), expected.concat());

        let more = layer.with_cold_items(&[&[1], &[]]);
        let expected = [expected[3].clone(), row(3), vec![0.0; 4], vec![0.0; 4]];
        assert_eq!(more.n_items(), 6);
        assert_eq!(read(more.forward(&[3, 4, 5, 6])).unwrap(), expected.concat());

        let many = [0; 400];
        let dropped = |p, rng: Option<&mut Rng>| read(layer.forward_with_id_dropout(&many, p, rng)).unwrap();
        let found = dropped(0.25, Some(&mut Rng::new(2)));
        let share = found.chunks(4).filter(|x| **x == row(3)).count() as f64 / 400.0;
        assert!((share - 0.25).abs() < 0.08, "{share}");
        assert!(found.chunks(4).all(|x| *x == row(3) || *x == expected_of(&layer, 0)));
        assert_eq!(dropped(0.25, Some(&mut Rng::new(2))), found);
        assert_eq!(dropped(0.25, None), dropped(0.0, Some(&mut Rng::new(2))));
    }

    fn expected_of(layer: &MultiHotEmbedding, item: u32) -> Vec<f32> {
        read(layer.forward(&[item])).unwrap()
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
