use std::sync::Arc;

use super::{Array, Bags, Kernel, Mask, buffer, embedding_bag, parallel, simd};

/// The rows that are embedded together.
const PART: usize = 256;

/// y_r = (√d · items[ids_r] + positions[slots_r]) · mask.
#[derive(Debug)]
pub(crate) struct SequenceEmbedding {
    pub(crate) ids: Arc<[u32]>,
    pub(crate) slots: Arc<[u32]>,
    pub(crate) mask: Option<Mask>,
}

impl Kernel<2> for SequenceEmbedding {
    fn forward(&self, [items, positions]: [Array; 2], _: bool) -> (Array, Vec<Array>) {
        let ([n_items, d], [n_slots, width]) = (items.shape(), positions.shape());
        assert!(width == d && self.slots.len() == self.ids.len(), "{self:?} of {items:?} and {positions:?}");
        let below = |ids: &[u32], bound: usize| ids.iter().all(|&id| (id as usize) < bound);
        assert!(below(&self.ids, n_items), "an id beyond the {n_items} rows of the table");
        assert!(below(&self.slots, n_slots), "a slot beyond the {n_slots} positions");

        let scale = (d as f32).sqrt();
        let (item_values, position_values) = (items.values(), positions.values());
        let mut y = buffer::take(self.ids.len() * d);
        parallel::rows(&mut y, d, PART, |rows, y| {
            let (ids, slots) = (&self.ids[rows.clone()], &self.slots[rows.clone()]);
            let out = &mut *y;
            simd::vectorized(
                #[inline(always)]
                move || {
                    for ((y, &id), &slot) in out.chunks_exact_mut(d).zip(ids).zip(slots) {
                        let (item, position) = (row(item_values, id, d), row(position_values, slot, d));
                        for ((y, item), position) in y.iter_mut().zip(item).zip(position) {
                            *y = item.mul_add(scale, *position);
                        }
                    }
                },
            );
            if let Some(mask) = self.mask {
                mask.apply(rows.start * d, y);
            }
        });
        // The tables are saved for their shapes; clones share their memory.
        (Array::new(y, [self.ids.len(), d]), vec![items, positions])
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 2]) -> [Option<Array>; 2] {
        let [items, positions] = &saved[..] else { unreachable!("saved by the forward pass") };
        let d = items.width();
        let mut grad = grad.into_values();
        if let Some(mask) = self.mask {
            parallel::rows(&mut grad, d, PART, |rows, grad| mask.apply(rows.start * d, grad));
        }
        let scatter = |table: &Array, ids: &[u32], scale: f32| {
            let [n_rows, d] = table.shape();
            let bags = Bags::of_one(ids.to_vec(), scale).transpose(n_rows);
            table.with_values(embedding_bag::sum(&bags, &grad, d, 0.0))
        };
        let grads = [
            needed[0].then(|| scatter(items, &self.ids, (d as f32).sqrt())),
            needed[1].then(|| scatter(positions, &self.slots, 1.0)),
        ];
        buffer::give(grad);
        grads
    }
}

#[inline(always)]
fn row(table: &[f32], id: u32, d: usize) -> &[f32] {
    &table[id as usize * d..(id as usize + 1) * d]
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use crate::kernels::{Mask, SequenceLayout, twin};
    use crate::layers::{read, sequence_embedding};
    use crate::rng::Rng;

    const SEED: u64 = 3;

    #[test]
    fn equals_its_float64_twin() {
        let cases: [(&[usize], usize, usize, usize); 4] =
            [(&[2, 0, 4, 1], 4, 3, 5), (&[1], 1, 1, 1), (&[0], 2, 2, 3), (&[7, 7, 9], 12, 33, 40)];
        for (lengths, window, d, n_items) in cases {
            let layout = SequenceLayout::new(lengths.iter().copied());
            let (n, mut rng) = (layout.n_rows(), Rng::new(9));
            let ids: Vec<u32> = (0..n).map(|_| rng.below(n_items) as u32).collect();
            let slots: Vec<usize> = lengths.iter().flat_map(|&n| window - n..window).collect();
            for p in [0.0, 0.3] {
                let mask = Mask::new(p, Rng::new(SEED).next_u64()).from(0);
                let mask = |at: usize| if p > 0.0 { f64::from(mask(at as u32)) } else { 1.0 };
                twin::check(
                    &[twin::normal(n_items * d, 1), twin::normal(window * d, 2)],
                    1e-5,
                    |x| {
                        let [items, positions] = [(0, n_items), (1, window)]
                            .map(|(input, rows)| x[input].clone().reshape([rows, d]));
                        let rng = &mut Rng::new(SEED);
                        sequence_embedding(items, positions, &ids, &layout, p, Some(rng)).reshape([n * d])
                    },
                    |x| {
                        let element = |at: usize| {
                            let (row, j) = (at / d, at % d);
                            let item = x[0][ids[row] as usize * d + j];
                            ((d as f64).sqrt() * item + x[1][slots[row] * d + j]) * mask(at)
                        };
                        (0..n * d).map(element).collect()
                    },
                );
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let layout = SequenceLayout::new((0..60).map(|i| i % 23));
        let (n_items, d) = (50, 8);
        let mut rng = Rng::new(1);
        let ids: Vec<u32> = (0..layout.n_rows()).map(|_| rng.below(n_items) as u32).collect();
        let weights = twin::normal(ids.len() * d, 2);
        let (items, positions) = (twin::normal(n_items * d, 3), twin::normal(23 * d, 4));
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let tensor =
                |x: &[f32]| Tensor::<2>::from_data(TensorData::new(x.to_vec(), [x.len() / d, d]), &device);
            let (items, positions) = (tensor(&items).require_grad(), tensor(&positions).require_grad());
            let rng = &mut Rng::new(5);
            let y = sequence_embedding(items.clone(), positions.clone(), &ids, &layout, 0.2, Some(rng));
            let gradients = (y.clone() * tensor(&weights)).sum().backward();
            let tensors = [y.inner(), items.grad(&gradients).unwrap(), positions.grad(&gradients).unwrap()];
            tensors.map(|x| read(x).unwrap()).concat()
        });
    }

    #[test]
    #[should_panic(expected = "an id beyond the 3 rows")]
    fn an_id_beyond_the_table_panics() {
        let device = Device::flex();
        let (items, positions) = (Tensor::ones([3, 2], &device), Tensor::ones([4, 2], &device));
        let _ = sequence_embedding(items, positions, &[1, 3], &SequenceLayout::new([2]), 0.0, None);
    }
}
