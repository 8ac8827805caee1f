use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::ItemId;

/// One vector for each item: a dense matrix `[n_items, dim]` of finite numbers, row by row.
///
/// It is what is known of an item beside its id, from whatever made it: an image or language model
/// ([`read_npy`](Self::read_npy), [`read_safetensors`](Self::read_safetensors),
/// [`read_parquet`](Self::read_parquet)) or the words of its title ([`TextEncoder`](super::TextEncoder)).
///
/// ```
/// use recsys::features::ItemVectors;
/// use recsys::prelude::*;
///
/// let colours = ItemVectors::new(2, vec![3.0, 4.0, 0.0, 0.0])?.l2_normalized();
/// let prices = ItemVectors::new(1, vec![9.5, 20.0])?;
/// let both = colours.concat(&prices)?;
/// assert_eq!((both.n_items(), both.dim()), (2, 3));
/// assert_eq!(both.row(ItemId(0)), [0.6, 0.8, 9.5]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Matrix", into = "Matrix")]
pub struct ItemVectors {
    dim: usize,
    values: Vec<f32>,
}

/// The widest vector. A file without items can state any width, and others multiply it.
const MAX_DIM: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Matrix {
    dim: usize,
    values: Vec<f32>,
}

impl ItemVectors {
    /// The vectors of width `dim` whose numbers stand in `values` row by row, in the order of the ids.
    ///
    /// # Errors
    /// A width of 0 or above 2²⁰, a number of values that is no multiple of it, or a value that is not finite, with
    /// its row and column (both counted from 1).
    pub fn new(dim: usize, values: Vec<f32>) -> Result<Self> {
        Self::from_source(dim, values, Location::memory())
    }

    /// As [`new`](Self::new), of values that come from `source`.
    pub(super) fn from_source(dim: usize, values: Vec<f32>, source: Location) -> Result<Self> {
        if dim == 0 {
            return Err(Error::input(source, "vectors of at least one number", "none"));
        }
        if dim > MAX_DIM {
            return Err(Error::input(
                source,
                format!("vectors of at most {MAX_DIM} numbers"),
                dim.to_string(),
            ));
        }
        if !values.len().is_multiple_of(dim) {
            let (what, found) = ("number of values of the last item", values.len() % dim);
            return Err(ErrorKind::LengthMismatch { what, expected: dim, found }.into());
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let place = source.line((at / dim) as u64 + 1).column((at % dim + 1).to_string());
            return Err(Error::input(place, "a finite number", values[at].to_string()));
        }
        Ok(Self { dim, values })
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The width of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The vector of an item.
    ///
    /// # Panics
    /// An item that is not below [`n_items`](Self::n_items).
    pub fn row(&self, item: ItemId) -> &[f32] {
        let start = item.index() * self.dim;
        &self.values[start..start + self.dim]
    }

    /// The vectors of these items, row by row.
    ///
    /// # Panics
    /// An item that is not below [`n_items`](Self::n_items).
    pub(crate) fn gather(&self, items: impl IntoIterator<Item = ItemId>) -> Vec<f32> {
        items.into_iter().flat_map(|item| self.row(item)).copied().collect()
    }

    /// All numbers, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// These vectors with those of `other` to their right, item by item: `[n_items, dim + other.dim]`.
    ///
    /// Columns keep their scale, so vectors of different origin are best
    /// [normalised](Self::l2_normalized) before.
    ///
    /// # Errors
    /// Another number of items.
    pub fn concat(&self, other: &Self) -> Result<Self> {
        let (what, expected, found) = ("number of items", self.n_items(), other.n_items());
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        let rows = self.values.chunks_exact(self.dim).zip(other.values.chunks_exact(other.dim));
        let values = rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
        Ok(Self { dim: self.dim + other.dim, values })
    }

    /// Every vector divided by its length, x / ‖x‖₂; a vector of zeros stays as it is, and so does one of length 1,
    /// so that normalising twice changes nothing.
    pub fn l2_normalized(mut self) -> Self {
        self.values.chunks_exact_mut(self.dim).for_each(l2_normalize);
        self
    }
}

/// So many vectors of zeros. Their number and their width may come from different files, and no memory may hold so
/// much.
pub(super) fn zeros(n: usize, dim: usize, place: Location) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let room = n.checked_mul(dim).filter(|&n| values.try_reserve_exact(n).is_ok());
    let Some(len) = room else {
        let found = format!("{n} of {dim} numbers");
        return Err(Error::input(place, "vectors that fit into memory", found));
    };
    values.resize(len, 0.0);
    Ok(values)
}

/// Divides a vector by its length, unless that is 0, or 1 but for rounding.
pub(super) fn l2_normalize(vector: &mut [f32]) {
    const ROUNDING: f64 = 1e-6;
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if norm > 0.0 && (norm - 1.0).abs() > ROUNDING {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

impl TryFrom<Matrix> for ItemVectors {
    type Error = Error;

    fn try_from(matrix: Matrix) -> Result<Self> {
        Self::new(matrix.dim, matrix.values)
    }
}

impl From<ItemVectors> for Matrix {
    fn from(vectors: ItemVectors) -> Self {
        Self { dim: vectors.dim, values: vectors.values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> ItemVectors {
        ItemVectors::new(2, vec![3.0, -4.0, 0.0, 0.0, 1e30, 1e30]).unwrap()
    }

    #[test]
    fn no_more_vectors_are_made_than_memory_holds() {
        assert_eq!(zeros(2, 3, Location::memory()).unwrap(), [0.0; 6]);
        for (n, dim) in [(usize::MAX, 2), (1 << 40, 1 << 20)] {
            let error = zeros(n, dim, Location::memory()).unwrap_err().to_string();
            assert!(error.starts_with("input: expected vectors that fit into memory, found"), "{error}");
        }
        assert!(ItemVectors::new(MAX_DIM + 1, Vec::new()).is_err());
    }

    #[test]
    fn rows_stand_side_by_side() {
        let more = ItemVectors::new(1, vec![7.0, 8.0, 9.0]).unwrap();
        let both = vectors().concat(&more).unwrap();
        assert_eq!(both.values(), [3.0, -4.0, 7.0, 0.0, 0.0, 8.0, 1e30, 1e30, 9.0]);
        assert_eq!((both.n_items(), both.dim(), both.row(ItemId(1))), (3, 3, &[0.0, 0.0, 8.0][..]));
        let error = vectors().concat(&ItemVectors::new(2, vec![1.0, 2.0]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "number of items: expected 3, found 1");
    }

    #[test]
    fn rows_of_any_length_get_length_one() {
        let half = 0.5_f32.sqrt();
        let unit = vectors().l2_normalized();
        assert_eq!(unit.values(), [0.6, -0.8, 0.0, 0.0, half, half]);
        assert_eq!(unit.clone().l2_normalized(), unit);
    }

    #[test]
    fn bad_values_are_refused() {
        let message = |dim, values| ItemVectors::new(dim, values).unwrap_err().to_string();
        assert_eq!(message(0, vec![]), "input: expected vectors of at least one number, found none");
        assert_eq!(message(2, vec![0.0; 5]), "number of values of the last item: expected 2, found 1");
        assert_eq!(
            message(2, vec![0.0, 1.0, 2.0, f32::NEG_INFINITY, 3.0, f32::NAN]),
            "input, line 2, column 2: expected a finite number, found -inf"
        );
        assert_eq!(ItemVectors::new(3, vec![]).unwrap().n_items(), 0);
    }

    #[test]
    fn saved_vectors_are_the_same_and_checked_again() {
        let json = serde_json::to_string(&vectors()).unwrap();
        assert_eq!(serde_json::from_str::<ItemVectors>(&json).unwrap(), vectors());
        assert!(serde_json::from_str::<ItemVectors>(&json.replace("\"dim\":2", "\"dim\":4")).is_err());
    }
}
