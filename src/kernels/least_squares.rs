//! Weighted ridge regression on the rows of a table, once for each of many sparse sets of them: a sweep of
//! alternating least squares.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Factors;
use super::simd::{add_rows, dot, dots, vectorized};

/// Rows that are read side by side.
const ROWS: usize = 4;

/// Rows of a table that make one part of its Gramian.
const ROWS_PER_PART: usize = 4096;

/// The squared residual, as a share of the first, below which a solution is exact in single precision.
const TOLERANCE: f32 = 1e-10;

/// All regressions on one table Y: for a set S of its rows with weights wᵢ = α rᵢ,
/// `argmin_x Σ_{i ∈ S} (1 + wᵢ) (1 − x·yᵢ)² + Σ_{i ∉ S} (x·yᵢ)² + λ |x|²`, which is A x = b with
/// A = YᵀY + Σ_S wᵢ yᵢ yᵢᵀ + λ I and b = Σ_S (1 + wᵢ) yᵢ (Hu, Koren & Volinsky 2008, equation 4). Neither A nor the rows
/// outside S are ever looked at.
#[derive(Debug)]
pub(crate) struct LeastSquares<'a> {
    table: &'a Factors,
    gramian: &'a [f32],
}

/// One regression: the rows i of S with their rᵢ, α, and λ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System<'a, R> {
    pub(crate) entries: &'a [(R, f32)],
    pub(crate) alpha: f32,
    pub(crate) ridge: f32,
}

impl<'a> LeastSquares<'a> {
    /// `gramian` is the table's ([`gramian`]).
    pub(crate) fn new(table: &'a Factors, gramian: &'a [f32]) -> Self {
        assert_eq!(gramian.len(), table.dim() * table.dim(), "the Gramian of another table");
        Self { table, gramian }
    }

    /// Improves `x` by at most `n_steps` steps of conjugate gradients (Takács, Pilászy & Tikk 2011, section 4.1); `dim` steps
    /// solve the system up to rounding.
    pub(crate) fn improve<R: Copy + Into<usize>>(
        &self,
        x: &mut [f32],
        system: System<'_, R>,
        n_steps: usize,
    ) {
        Arch::new().dispatch(Improve { regressions: self, x, system, n_steps });
    }

    /// The solution, by Cholesky's factorization in float64: at less cost than conjugate gradients from nowhere. `None` where
    /// A is not positive definite to the precision of its numbers.
    pub(crate) fn solve<R: Copy + Into<usize>>(&self, system: System<'_, R>) -> Option<Vec<f32>> {
        let dim = self.table.dim();
        let mut a: Vec<f64> = self.gramian.iter().map(|&x| x.into()).collect();
        let mut b = vec![0.0; dim];
        (0..dim).for_each(|i| a[i * dim + i] += f64::from(system.ridge));
        vectorized(
            #[inline(always)]
            move || {
                let mut y = vec![0.0; dim];
                for &(row, r) in system.entries {
                    y.iter_mut().zip(self.table.row(row.into())).for_each(|(y, &x)| *y = x.into());
                    let weight = f64::from(system.alpha * r);
                    for (i, a) in a.chunks_exact_mut(dim).enumerate() {
                        let factor = weight * y[i];
                        a[..=i].iter_mut().zip(&y).for_each(|(a, y)| *a += factor * y);
                    }
                    b.iter_mut().zip(&y).for_each(|(b, y)| *b += (1.0 + weight) * y);
                }
                solve_in_place(&mut a, &mut b)?;
                Some(b.into_iter().map(|x| x as f32).collect())
            },
        )
    }

    #[inline(always)]
    fn conjugate_gradients<S: Simd, R: Copy + Into<usize>>(
        &self,
        simd: S,
        x: &mut [f32],
        system: System<'_, R>,
        n_steps: usize,
    ) {
        let System { entries, alpha, ridge } = system;
        let mut product = vec![0.0; x.len()];
        // b − A x.
        let mut residual = vec![0.0; x.len()];
        self.add_gramian_product(simd, &mut product, x, ridge);
        self.add_weighted_rows(simd, &mut residual, x, entries, |r, score| 1.0 + alpha * r * (1.0 - score));
        residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= p);
        let mut direction = residual.clone();
        let mut square = dot(&residual, &residual);
        let enough = TOLERANCE * square;
        for _ in 0..n_steps {
            if square <= enough {
                break;
            }
            product.fill(0.0);
            self.add_gramian_product(simd, &mut product, &direction, ridge);
            self.add_weighted_rows(simd, &mut product, &direction, entries, |r, score| alpha * r * score);
            let step = square / dot(&direction, &product);
            for (((x, residual), &direction), &product) in
                x.iter_mut().zip(&mut residual).zip(&direction).zip(&product)
            {
                *x += step * direction;
                *residual -= step * product;
            }
            let before = std::mem::replace(&mut square, dot(&residual, &residual));
            let keep = square / before;
            for (direction, &residual) in direction.iter_mut().zip(&residual) {
                *direction = keep * *direction + residual;
            }
        }
    }

    /// out ← out + (YᵀY + λ I) v.
    #[inline(always)]
    fn add_gramian_product<S: Simd>(&self, simd: S, out: &mut [f32], v: &[f32], ridge: f32) {
        let dim = v.len();
        let groups = self.gramian.chunks(ROWS * dim).zip(v.chunks(ROWS));
        for (rows, v) in groups {
            if let Some(v) = v.as_array::<ROWS>() {
                add_rows(simd, out, std::array::from_fn(|r| &rows[r * dim..][..dim]), *v);
            } else {
                rows.chunks(dim).zip(v).for_each(|(row, &v)| add_rows(simd, out, [row], [v]));
            }
        }
        add_rows(simd, out, [v], [ridge]);
    }

    /// out ← out + Σ f(rᵢ, v·yᵢ) yᵢ over the entries.
    #[inline(always)]
    fn add_weighted_rows<S: Simd, R: Copy + Into<usize>>(
        &self,
        simd: S,
        out: &mut [f32],
        v: &[f32],
        entries: &[(R, f32)],
        f: impl Fn(f32, f32) -> f32,
    ) {
        let (groups, rest) = entries.as_chunks::<ROWS>();
        for group in groups {
            let rows = group.map(|(row, _)| self.table.row(row.into()));
            let scores = dots(simd, v, rows);
            add_rows(simd, out, rows, std::array::from_fn(|r| f(group[r].1, scores[r])));
        }
        for &(row, r) in rest {
            let row = self.table.row(row.into());
            add_rows(simd, out, [row], [f(r, dots(simd, v, [row])[0])]);
        }
    }
}

/// x of A x = b in the place of b, from the lower triangle of A, which makes room for its factor.
#[inline(always)]
fn solve_in_place(a: &mut [f64], b: &mut [f64]) -> Option<()> {
    let dim = b.len();
    let mut column = vec![0.0; dim];
    // L, and y of L y = b.
    for k in 0..dim {
        let pivot = a[k * dim + k];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        let root = pivot.sqrt();
        a[k * dim + k] = root;
        b[k] /= root;
        for i in k + 1..dim {
            column[i] = a[i * dim + k] / root;
        }
        for i in k + 1..dim {
            let row = &mut a[i * dim..][..=i];
            row[k] = column[i];
            row[k + 1..].iter_mut().zip(&column[k + 1..]).for_each(|(a, x)| *a -= column[i] * x);
            b[i] -= column[i] * b[k];
        }
    }
    // x of Lᵀ x = y.
    for k in (0..dim).rev() {
        b[k] /= a[k * dim + k];
        let (before, x) = b.split_at_mut(k);
        before.iter_mut().zip(&a[k * dim..]).for_each(|(b, l)| *b -= l * x[0]);
    }
    Some(())
}

/// [`LeastSquares::improve`], compiled for the widest instructions of the machine.
struct Improve<'a, R> {
    regressions: &'a LeastSquares<'a>,
    x: &'a mut [f32],
    system: System<'a, R>,
    n_steps: usize,
}

impl<R: Copy + Into<usize>> WithSimd for Improve<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.regressions.conjugate_gradients(simd, self.x, self.system, self.n_steps);
    }
}

/// YᵀY, `[dim, dim]`: the sum, in order, of the Gramians of parts of equal size.
pub(crate) fn gramian(table: &Factors) -> Vec<f32> {
    let dim = table.dim();
    let parts: Vec<Vec<f32>> = table
        .values()
        .par_chunks(ROWS_PER_PART * dim)
        .map(|part| {
            let mut gramian = vec![0.0; dim * dim];
            Arch::new().dispatch(PartGramian { rows: part, dim, gramian: &mut gramian });
            gramian
        })
        .collect();
    let mut sum = vec![0.0; dim * dim];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sum
}

/// gramian ← gramian + YᵀY of some rows.
struct PartGramian<'a> {
    rows: &'a [f32],
    dim: usize,
    gramian: &'a mut [f32],
}

impl WithSimd for PartGramian<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, dim, gramian } = self;
        let mut groups = rows.chunks_exact(ROWS * dim);
        for group in &mut groups {
            let rows: [&[f32]; ROWS] = std::array::from_fn(|r| &group[r * dim..][..dim]);
            for (i, out) in gramian.chunks_exact_mut(dim).enumerate() {
                add_rows(simd, out, rows, rows.map(|row| row[i]));
            }
        }
        for row in groups.remainder().chunks_exact(dim) {
            for (out, &x) in gramian.chunks_exact_mut(dim).zip(row) {
                add_rows(simd, out, [row], [x]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn product(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    /// A and b, entry by entry in double precision.
    fn dense(table: &Factors, entries: &[(usize, f32)], ridge: f64) -> (Vec<Vec<f64>>, Vec<f64>) {
        let dim = table.dim();
        let (mut a, mut b) = (vec![vec![0.0; dim]; dim], vec![0.0; dim]);
        let at = |row: usize, i: usize| f64::from(table.row(row)[i]);
        for i in 0..dim {
            for (j, a) in a[i].iter_mut().enumerate() {
                *a = if i == j { ridge } else { 0.0 };
                *a += (0..table.n_rows()).map(|row| at(row, i) * at(row, j)).sum::<f64>();
                *a += entries.iter().map(|&(row, w)| f64::from(w) * at(row, i) * at(row, j)).sum::<f64>();
            }
            b[i] = entries.iter().map(|&(row, w)| (1.0 + f64::from(w)) * at(row, i)).sum();
        }
        (a, b)
    }

    /// Gauss–Jordan, without pivots: A is positive definite.
    fn solve((mut a, mut b): (Vec<Vec<f64>>, Vec<f64>)) -> Vec<f64> {
        for i in 0..b.len() {
            let (pivot, value) = (a[i].clone(), b[i]);
            for j in (0..b.len()).filter(|&j| j != i) {
                let factor = a[j][i] / pivot[i];
                a[j].iter_mut().zip(&pivot).for_each(|(a, p)| *a -= factor * p);
                b[j] -= factor * value;
            }
        }
        b.iter().zip(&a).enumerate().map(|(i, (b, a))| b / a[i]).collect()
    }

    #[test]
    fn as_many_steps_as_factors_solve_the_normal_equations() {
        for (n_rows, dim, entries) in [
            (3, 1, vec![(1, 2.0)]),
            (40, 7, vec![(0, 1.0), (3, 0.5), (39, 4.0), (11, 10.0), (12, 0.0)]),
            (200, 19, (0..60).map(|i| (3 * i, i as f32 / 7.0)).collect()),
            (50, 32, vec![]),
        ] {
            let table = Factors::normal(n_rows, dim, 0.5, &mut Rng::new(7));
            let gramian = gramian(&table);
            let doubled: Vec<_> = entries.iter().map(|&(row, r)| (row, 2.0 * r)).collect();
            let expected = solve(dense(&table, &doubled, 0.3));
            let mut found = vec![0.1; dim];
            let system = System { entries: &entries, alpha: 2.0, ridge: 0.3 };
            let regressions = LeastSquares::new(&table, &gramian);
            regressions.improve(&mut found, system, 3 * dim);
            let at_once = regressions.solve(system).unwrap();
            for ((found, at_once), expected) in found.iter().zip(at_once).zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{n_rows} × {dim}: {found}, {expected}");
                assert!(
                    (f64::from(at_once) - expected).abs() < 1e-5,
                    "{n_rows} × {dim}: {at_once}, {expected}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        let table = Factors::zeros(2, 3);
        let system = System { entries: &[(0usize, 1.0)], alpha: 1.0, ridge: 0.0 };
        assert!(LeastSquares::new(&table, &[0.0; 9]).solve(system).is_none());
        let ridge = System { ridge: 0.1, ..system };
        assert_eq!(LeastSquares::new(&table, &[0.0; 9]).solve(ridge).unwrap(), [0.0; 3]);
    }

    #[test]
    fn every_step_brings_the_solution_nearer() {
        let table = Factors::normal(80, 24, 0.5, &mut Rng::new(2));
        let (gramian, entries) = (gramian(&table), [(4usize, 3.0), (70, 1.0), (22, 9.0)]);
        let (a, b) = dense(&table, &entries, 0.5);
        let energy = |x: &[f32]| -> f64 {
            let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let dot = |a: &[f64]| a.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>();
            0.5 * a.iter().zip(&x).map(|(row, x)| x * dot(row)).sum::<f64>() - dot(&b)
        };
        let mut last = f64::INFINITY;
        for n_steps in 0..10 {
            let mut x = vec![0.0; 24];
            let system = System { entries: &entries, alpha: 1.0, ridge: 0.5 };
            LeastSquares::new(&table, &gramian).improve(&mut x, system, n_steps);
            assert!(energy(&x) < last, "step {n_steps}");
            last = energy(&x);
        }
    }

    #[test]
    fn the_gramian_equals_its_float64_twin_on_any_number_of_threads() {
        for (n_rows, dim) in [(0, 3), (1, 1), (9, 5), (ROWS_PER_PART + 13, 17)] {
            let table = Factors::normal(n_rows, dim, 0.3, &mut Rng::new(5));
            let found = gramian(&table);
            for (at, &found) in found.iter().enumerate() {
                let (i, j) = (at / dim, at % dim);
                let column = |i: usize| -> Vec<f32> { (0..n_rows).map(|row| table.row(row)[i]).collect() };
                let expected = product(&column(i), &column(j));
                assert!((f64::from(found) - expected).abs() < 1e-5 * expected.abs().max(100.0));
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(pool.install(|| gramian(&table)), found);
            }
        }
    }
}
