//! Rows of equal width, one for each user or item: what factorizations learn.

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

use super::simd::{axpy, dots};
use crate::error::{ErrorKind, Result};
use crate::rng::Rng;

/// A dense matrix `[n_rows, dim]` of finite numbers, row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Matrix", into = "Matrix")]
pub(crate) struct Factors {
    dim: usize,
    values: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
struct Matrix {
    dim: usize,
    values: Vec<f32>,
}

/// Rows that are read side by side.
const ROWS: usize = 4;

impl Factors {
    /// # Panics
    /// A width of 0.
    pub(crate) fn zeros(n_rows: usize, dim: usize) -> Self {
        assert!(dim > 0, "rows of at least one number");
        Self { dim, values: vec![0.0; n_rows * dim] }
    }

    /// Normal numbers of mean 0.
    pub(crate) fn normal(n_rows: usize, dim: usize, std: f64, rng: &mut Rng) -> Self {
        let mut factors = Self::zeros(n_rows, dim);
        factors.values.fill_with(|| (std * rng.normal()) as f32);
        factors
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.values.len() / self.dim
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.dim..][..self.dim]
    }

    /// The inner product of every row with `x`.
    pub(crate) fn products(&self, x: &[f32]) -> Vec<f32> {
        Arch::new().dispatch(Products { factors: self, x })
    }

    /// The cosine of every row with row `at`; 0 where either is 0.
    pub(crate) fn cosines(&self, at: usize) -> Vec<f32> {
        let norm = |row: &[f32]| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let own = norm(self.row(at));
        let mut cosines = self.products(self.row(at));
        for (cosine, row) in cosines.iter_mut().zip(self.values.chunks_exact(self.dim)) {
            let norms = own * norm(row);
            *cosine = if norms > 0.0 { (f64::from(*cosine) / norms) as f32 } else { 0.0 };
        }
        cosines
    }

    /// Σ of these rows.
    pub(crate) fn sum_rows(&self, rows: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let mut sum = vec![0.0; self.dim];
        rows.into_iter().for_each(|row| axpy(&mut sum, 1.0, self.row(row)));
        sum
    }

    /// Checks that there are so many rows of such a width.
    ///
    /// # Errors
    /// Another number, of `what`.
    pub(crate) fn check_shape(&self, what: &'static str, n_rows: usize, dim: usize) -> Result<()> {
        for (expected, found) in [(dim, self.dim), (n_rows, self.n_rows())] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        Ok(())
    }
}

/// [`Factors::products`], compiled for the widest instructions of the machine.
struct Products<'a> {
    factors: &'a Factors,
    x: &'a [f32],
}

impl WithSimd for Products<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self { factors: Factors { dim, values }, x } = self;
        let mut products = Vec::with_capacity(values.len() / dim);
        let mut groups = values.chunks_exact(ROWS * dim);
        for group in &mut groups {
            let rows: [&[f32]; ROWS] = std::array::from_fn(|r| &group[r * dim..][..*dim]);
            products.extend(dots(simd, x, rows));
        }
        products.extend(groups.remainder().chunks_exact(*dim).map(|row| dots(simd, x, [row])[0]));
        products
    }
}

/// Checks that all numbers are finite.
///
/// # Errors
/// The first that is not.
pub(crate) fn check_finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(ErrorKind::NonFinite { what, index, value: values[index].into() }.into()),
        None => Ok(()),
    }
}

impl From<Factors> for Matrix {
    fn from(factors: Factors) -> Self {
        Self { dim: factors.dim, values: factors.values }
    }
}

impl TryFrom<Matrix> for Factors {
    type Error = crate::error::Error;

    fn try_from(matrix: Matrix) -> Result<Self> {
        let Matrix { dim, values } = matrix;
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let (what, found) = ("numbers in a matrix of factors, a multiple of its width", values.len());
            let expected = values.len().checked_div(dim).map_or(0, |rows| rows * dim);
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        check_finite("factor", &values)?;
        Ok(Self { dim, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_cosines_equal_their_float64_twin() {
        for (n_rows, dim) in [(1, 1), (4, 16), (7, 19), (13, 64)] {
            let factors = Factors::normal(n_rows, dim, 0.7, &mut Rng::new(3));
            let product = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let x = factors.row(0);
            let (products, cosines) = (factors.products(x), factors.cosines(0));
            for row in 0..n_rows {
                let expected = product(x, factors.row(row));
                let norms = (product(x, x) * product(factors.row(row), factors.row(row))).sqrt();
                assert!((f64::from(products[row]) - expected).abs() < 1e-4);
                assert!((f64::from(cosines[row]) - expected / norms).abs() < 1e-5);
            }
        }
        assert_eq!(Factors::zeros(2, 3).cosines(0), [0.0, 0.0]);
        assert!(Factors::zeros(0, 3).products(&[1.0; 3]).is_empty());
    }

    #[test]
    fn a_matrix_altered_by_hand_is_an_error() {
        let factors = Factors::normal(2, 3, 1.0, &mut Rng::new(1));
        let json = serde_json::to_string(&factors).unwrap();
        assert_eq!(serde_json::from_str::<Factors>(&json).unwrap(), factors);
        for bad in [
            r#"{"dim":0,"values":[]}"#,
            r#"{"dim":2,"values":[1.0]}"#,
            r#"{"dim":1,"values":[1e39]}"#,
            r#"{"dim":1,"values":[null]}"#,
        ] {
            assert!(serde_json::from_str::<Factors>(bad).is_err(), "{bad}");
        }
        assert!(factors.check_shape("rows", 2, 3).is_ok() && factors.check_shape("rows", 3, 3).is_err());
    }
}
