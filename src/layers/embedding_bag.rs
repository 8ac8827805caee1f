use burn::tensor::Tensor;

use crate::kernels::{self, Bags};
use crate::layers::id_tensor;

/// Rows of a table, `[rows.len(), d]`.
///
/// # Panics
/// If a row stands beyond the table.
pub(super) fn gather(table: Tensor<2>, rows: Vec<u32>) -> Tensor<2> {
    let bags = Bags::of_one(rows, 1.0);
    if kernels::fused(&table) {
        return embedding_bag(table, bags);
    }
    bags.check(table.dims()[0]);
    let rows = id_tensor(&bags.rows, &table.device());
    kernels::select_rows(table, rows)
}

/// Σ_k w_ik · table[row_ik] for each bag i, `[bags.len(), d]`; 0 for an empty bag.
///
/// # Panics
/// If a row stands beyond the table.
pub(super) fn embedding_bag(table: Tensor<2>, bags: Bags) -> Tensor<2> {
    let [n_rows, d] = table.dims();
    #[cfg(feature = "flex")]
    if kernels::fused(&table) {
        return kernels::apply_1(kernels::EmbeddingBag::new(bags, n_rows), table);
    }
    bags.check(n_rows);
    let device = table.device();
    let zeros = Tensor::zeros([bags.len(), d], &device);
    if bags.rows.is_empty() {
        return zeros;
    }
    let bag_of_each = id_tensor(&bags.bag_of_each(), &device);
    let weights = Tensor::<1>::from_floats(&bags.weights[..], &device).unsqueeze_dim(1);
    let terms = kernels::select_rows(table, id_tensor(&bags.rows, &device)) * weights;
    kernels::add_to_rows(zeros, bag_of_each, terms)
}

/// The sums of the rows of `x` that have the same position, in their order, `[n, d]`.
pub(super) fn sum_by_position(x: Tensor<2>, positions: Vec<u32>, n: usize) -> Tensor<2> {
    embedding_bag(x, Bags::of_one(positions, 1.0).transpose(n))
}

/// The distinct ids in ascending order, and the position of each id among them.
pub(super) fn unique(ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut sorted: Vec<u64> =
        ids.iter().zip(0..).map(|(&id, place): (&u32, u64)| u64::from(id) << 32 | place).collect();
    sorted.sort_unstable();
    let (mut distinct, mut positions) = (Vec::with_capacity(ids.len()), vec![0; ids.len()]);
    for entry in sorted {
        let (id, place) = ((entry >> 32) as u32, entry as u32);
        if distinct.last() != Some(&id) {
            distinct.push(id);
        }
        positions[place as usize] = distinct.len() as u32 - 1;
    }
    (distinct, positions)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::kernels::twin;
    use crate::layers::read;
    use crate::rng::Rng;

    const N_ROWS: usize = 37;

    /// Bags of 0 to 6 rows with random weights.
    fn bags(n: usize, n_rows: usize, seed: u64) -> Bags {
        let mut rng = Rng::new(seed);
        let mut bags = Bags::default();
        for _ in 0..n {
            let entry = |rng: &mut Rng| (rng.below(n_rows) as u32, rng.normal() as f32);
            let list: Vec<_> = (0..rng.below(7)).map(|_| entry(&mut rng)).collect();
            bags.push(list);
        }
        bags
    }

    #[test]
    fn equals_its_float64_twin() {
        for (n, d) in [(2, 1), (23, 13), (9, 32)] {
            let bags = bags(n, N_ROWS, n as u64);
            twin::check(
                &[twin::normal(N_ROWS * d, 5)],
                1e-5,
                |x| embedding_bag(x[0].clone().reshape([N_ROWS, d]), bags.clone()).reshape([n * d]),
                |x| {
                    let mut y = vec![0.0; n * d];
                    for bag in 0..n {
                        let (rows, weights) = bags.bag(bag);
                        for (&row, &weight) in rows.iter().zip(weights) {
                            for j in 0..d {
                                y[bag * d + j] += f64::from(weight) * x[0][row as usize * d + j];
                            }
                        }
                    }
                    y
                },
            );
        }
    }

    #[test]
    fn no_bag_and_empty_bags() {
        let table = || Tensor::ones([3, 2], &Device::flex());
        let mut empty = Bags::default();
        empty.push([]);
        let run = || (embedding_bag(table(), Bags::default()).dims(), embedding_bag(table(), empty.clone()));
        for (none, empty) in [run(), kernels::composed(run)] {
            assert_eq!((none, read(empty).unwrap()), ([0, 2], vec![0.0; 2]));
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        twin::is_deterministic(|| {
            let device = Device::flex().autodiff();
            let table = Tensor::<1>::from_floats(&twin::normal(5_000 * 64, 1)[..], &device);
            let table = table.reshape([5_000, 64]).require_grad();
            let y = embedding_bag(table.clone(), bags(4_000, 5_000, 2));
            let gradients = (y.clone() * y.clone()).sum().backward();
            let gradient = table.grad(&gradients).unwrap();
            [read(y.inner()).unwrap(), read(gradient).unwrap()].concat()
        });
    }

    #[test]
    fn a_row_beyond_the_table_is_refused() {
        let run = || gather(Tensor::zeros([4, 2], &Device::flex()), vec![3, 4]);
        for panic in [std::panic::catch_unwind(run), std::panic::catch_unwind(|| kernels::composed(run))] {
            let message = panic.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(*message, "row 4 of a table of 4 rows");
        }
    }

    #[test]
    fn unique_ids_and_sums_by_position() {
        let ids = [7, 3, 7, 9, 3, 7];
        let (distinct, positions) = unique(&ids);
        assert_eq!((&distinct[..], &positions[..]), (&[3, 7, 9][..], &[1, 0, 1, 2, 0, 1][..]));
        assert_eq!(unique(&[]), (vec![], vec![]));
        let x = Tensor::<1>::from_floats([1., 2., 4., 8., 16., 32.], &Device::flex()).reshape([6, 1]);
        for sums in [
            sum_by_position(x.clone(), positions.clone(), 3),
            kernels::composed(|| sum_by_position(x, positions, 3)),
        ] {
            assert_eq!(read(sums).unwrap(), [18.0, 37.0, 8.0]);
        }
    }
}
