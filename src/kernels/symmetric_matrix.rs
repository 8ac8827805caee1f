use rayon::prelude::*;

use super::simd::vectorized;

/// Rows and columns of a tile: three tiles of float64 fit the second cache.
const TILE: usize = 96;
/// Rows and columns of the register tile: 12 sums of four lanes fill 12 of the 16 registers of AVX2.
const ROWS: usize = 4;
const COLUMNS: usize = 12;

/// [`TILE`] × [`TILE`] numbers, row-major.
type Tile = Vec<f64>;

/// A symmetric matrix of float64, of which the lower triangle is stored in square tiles: 4 n² bytes.
#[derive(Clone, Debug)]
pub(crate) struct SymmetricMatrix {
    n: usize,
    /// Tile (I, J) with J ≤ I is number I (I + 1) / 2 + J. The tiles of the diagonal hold both triangles; beyond `n`
    /// stands an identity.
    tiles: Vec<Tile>,
}

impl SymmetricMatrix {
    /// The n × n matrix whose row i is the sum of what `row(i, scratch)` gives as (column, number), zero elsewhere; each
    /// thread has a scratch.
    pub(crate) fn from_sparse_rows<S, I: IntoIterator<Item = (usize, f64)>>(
        n: usize,
        scratch: impl Fn() -> S + Sync + Send,
        row: impl Fn(usize, &mut S) -> I + Sync + Send,
    ) -> Self {
        let tile_row = |scratch: &mut S, i: usize| {
            let mut tiles = vec![vec![0.0; TILE * TILE]; i + 1];
            for lane in 0..TILE {
                if i * TILE + lane >= n {
                    tiles[i][lane * TILE + lane] = 1.0;
                    continue;
                }
                for (column, number) in row(i * TILE + lane, scratch) {
                    if let Some(tile) = tiles.get_mut(column / TILE) {
                        tile[lane * TILE + column % TILE] += number;
                    }
                }
            }
            tiles
        };
        let tile_rows: Vec<Vec<Tile>> =
            (0..n.div_ceil(TILE)).into_par_iter().map_init(scratch, tile_row).collect();
        Self { n, tiles: tile_rows.into_iter().flatten().collect() }
    }

    /// The number at one place.
    #[inline]
    pub(crate) fn get(&self, row: usize, column: usize) -> f64 {
        let (row, column) = (row.max(column), row.min(column));
        self.tiles[place(row / TILE, column / TILE)][row % TILE * TILE + column % TILE]
    }

    /// The inverse, in the memory of the matrix, which must be positive definite; `None` where it is not. Takes n³
    /// floating-point operations; the result is the same on any number of threads.
    ///
    /// A sweep of each block of columns in turn (the sweep operator: Goodnight 1979, "A tutorial on the SWEEP operator").
    /// With K the block and P = A_KK⁻¹, for all I, J ≠ K: A_IJ ← A_IJ − A_IK P A_KJ, then A_IK ← A_IK P and
    /// A_KK ← −P. Swept over all blocks, A is −A⁻¹.
    pub(crate) fn inverse(mut self) -> Option<Self> {
        (0..self.n.div_ceil(TILE)).try_for_each(|block| self.sweep(block))?;
        self.tiles.par_iter_mut().flatten().for_each(|number| *number = -*number);
        Some(self)
    }

    fn sweep(&mut self, k: usize) -> Option<()> {
        let n_blocks = self.n.div_ceil(TILE);
        negative_inverse(&mut self.tiles[place(k, k)])?;
        let pivot = &self.tiles[place(k, k)];
        // A_KJ for every J, and −A_IK P for every I; nothing for K itself.
        let panel = |i: usize| match i {
            _ if i == k => (Tile::new(), Tile::new()),
            _ => {
                let (above, below) = if i < k {
                    let row = self.tiles[place(k, i)].clone();
                    let column = transposed(&row);
                    (row, column)
                } else {
                    let column = self.tiles[place(i, k)].clone();
                    (transposed(&column), column)
                };
                let mut product = vec![0.0; TILE * TILE];
                add_product(&mut product, &below, pivot);
                (above, product)
            }
        };
        let panels: Vec<(Tile, Tile)> = (0..n_blocks).into_par_iter().map(panel).collect();
        let places: Vec<(usize, usize)> = (0..n_blocks).flat_map(|i| (0..=i).map(move |j| (i, j))).collect();
        self.tiles.par_iter_mut().zip(places).with_max_len(1).for_each(|(tile, (i, j))| {
            match (i == k, j == k) {
                (true, true) => {}
                (true, false) => {
                    let column = &panels[j].1;
                    let transposed = |at: usize| column[at % TILE * TILE + at / TILE];
                    tile.iter_mut().enumerate().for_each(|(at, number)| *number = -transposed(at));
                }
                (false, true) => tile.iter_mut().zip(&panels[i].1).for_each(|(number, x)| *number = -x),
                (false, false) => add_product(tile, &panels[i].1, &panels[j].0),
            }
        });
        Some(())
    }
}

/// Where tile (i, j) of the lower triangle stands.
fn place(i: usize, j: usize) -> usize {
    i * (i + 1) / 2 + j
}

fn transposed(tile: &[f64]) -> Tile {
    (0..TILE * TILE).map(|at| tile[at % TILE * TILE + at / TILE]).collect()
}

/// −A⁻¹ in place of a tile A, swept column by column; `None` unless it is positive definite.
fn negative_inverse(tile: &mut [f64]) -> Option<()> {
    for k in 0..TILE {
        let pivot = tile[k * TILE + k];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        let row: Vec<f64> = tile[k * TILE..][..TILE].to_vec();
        for (i, out) in tile.chunks_exact_mut(TILE).enumerate().filter(|&(i, _)| i != k) {
            let factor = row[i] / pivot;
            for (number, &above) in out.iter_mut().zip(&row) {
                *number -= factor * above;
            }
            out[k] = factor;
        }
        for (number, &above) in tile[k * TILE..][..TILE].iter_mut().zip(&row) {
            *number = above / pivot;
        }
        tile[k * TILE + k] = -1.0 / pivot;
    }
    Some(())
}

/// C ← C + A B, of tiles.
fn add_product(c: &mut [f64], a: &[f64], b: &[f64]) {
    vectorized(
        #[inline(always)]
        move || {
            for column in (0..TILE).step_by(COLUMNS) {
                for (rows, a) in c.chunks_exact_mut(ROWS * TILE).zip(a.chunks_exact(ROWS * TILE)) {
                    add_register_tile(rows, a, b, column);
                }
            }
        },
    );
}

/// Four rows of C, at the twelve columns from `column` on.
#[inline(always)]
fn add_register_tile(c: &mut [f64], a: &[f64], b: &[f64], column: usize) {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (k, b) in b.chunks_exact(TILE).enumerate() {
        let b: &[f64; COLUMNS] = b[column..].first_chunk().expect("a tile is some columns wide");
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = a[row * TILE + k];
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = a.mul_add(b, *sum);
            }
        }
    }
    for (row, sums) in c.chunks_exact_mut(TILE).zip(&sums) {
        for (number, sum) in row[column..].iter_mut().zip(sums) {
            *number += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// XᵀX + I for a random 0-1 matrix X of `m` rows.
    fn random(n: usize, m: usize) -> Vec<Vec<f64>> {
        let mut rng = Rng::new(n as u64);
        let x: Vec<Vec<f64>> =
            (0..m).map(|_| (0..n).map(|_| f64::from(u8::from(rng.uniform() < 0.3))).collect()).collect();
        let entry = |i: usize, j: usize| {
            x.iter().map(|row| row[i] * row[j]).sum::<f64>() + f64::from(u8::from(i == j))
        };
        (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
    }

    fn stored(rows: &[Vec<f64>]) -> SymmetricMatrix {
        let row = |i: usize, _: &mut ()| rows[i].iter().copied().enumerate().collect::<Vec<_>>();
        SymmetricMatrix::from_sparse_rows(rows.len(), || (), row)
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        for n in [0, 1, 7, TILE, TILE + 1, 3 * TILE - 5] {
            let rows = random(n, 40);
            let inverse = stored(&rows).inverse().unwrap();
            for (i, row) in rows.iter().enumerate() {
                for j in 0..n {
                    let product: f64 = (0..n).map(|k| row[k] * inverse.get(k, j)).sum();
                    let expected = f64::from(u8::from(i == j));
                    assert!((product - expected).abs() < 1e-11, "{n}: ({i}, {j}) is {product}");
                    assert_eq!(inverse.get(i, j), inverse.get(j, i));
                }
            }
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let rows = random(2 * TILE + 31, 25);
        let inverse = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| stored(&rows).inverse().unwrap().tiles)
        };
        assert!(inverse(1) == inverse(2) && inverse(1) == inverse(5));
    }

    #[test]
    fn only_a_positive_definite_matrix_has_one() {
        let indefinite = vec![vec![1.0, 2.0], vec![2.0, 1.0]];
        assert!(stored(&indefinite).inverse().is_none());
        assert!(stored(&[vec![f64::NAN]]).inverse().is_none());
        assert!(stored(&[vec![0.0]]).inverse().is_none());
    }
}
