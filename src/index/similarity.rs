use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};

/// How two vectors are compared; a larger value is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// `Σ qᵢ xᵢ`
    InnerProduct,
    /// `Σ qᵢ xᵢ / (|q| |x|)`, and 0 where either vector is 0.
    Cosine,
}

/// The longest vector whose inner product with another such vector is sure to be finite.
const MAX_NORM: f64 = 1e19;

impl Similarity {
    /// Checks the rows, and brings them into the form whose inner products are the similarity.
    pub(super) fn prepare(self, what: &'static str, rows: &mut [f32], dim: usize) -> Result<()> {
        check_finite(what, rows)?;
        match self {
            Self::InnerProduct => check_norms(rows, dim),
            Self::Cosine => {
                rows.chunks_exact_mut(dim).for_each(normalise);
                Ok(())
            }
        }
    }

    /// A checked copy of one query, in the form of [`prepare`](Self::prepare).
    pub(super) fn query(self, query: &[f32], dim: usize) -> Result<Vec<f32>> {
        check_width("query width", dim, query.len())?;
        let mut query = query.to_vec();
        self.prepare("query vector", &mut query, dim)?;
        Ok(query)
    }

    /// A checked copy of the rows of many queries, in the form of [`prepare`](Self::prepare).
    pub(super) fn queries(self, queries: &[f32], n_queries: usize, dim: usize) -> Result<Vec<f32>> {
        check_width("numbers in the query matrix", n_queries.saturating_mul(dim), queries.len())?;
        let mut queries = queries.to_vec();
        self.prepare("query vector", &mut queries, dim)?;
        Ok(queries)
    }
}

fn check_width(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}

pub(super) fn check_finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ErrorKind::NonFinite { what, index, value: values[index].into() }.into()),
    }
}

/// The sums are taken in `f64`, where the square of no `f32` overflows.
fn norm(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

pub(super) fn check_norms(rows: &[f32], dim: usize) -> Result<()> {
    for (row, vector) in rows.chunks_exact(dim).enumerate() {
        let norm = norm(vector);
        if norm > MAX_NORM {
            let location = Location::memory().line(row as u64 + 1);
            return Err(Error::input(
                location,
                "a vector of length at most 1e19",
                format!("length {norm:e}"),
            ));
        }
    }
    Ok(())
}

fn normalise(row: &mut [f32]) {
    let norm = norm(row);
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}
