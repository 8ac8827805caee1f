use std::ops::Range;

use burn::module::Param;
use burn::tensor::Tensor;

use crate::features::EncodedRows;
use crate::layers::{Linear, linear::linear};

/// Which columns of a matrix are the same in all rows, so that a linear layer multiplies them once: the fields of a user
/// where the rows are the user's candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedColumns {
    shared: Vec<Range<usize>>,
    own: Vec<Range<usize>>,
}

impl SharedColumns {
    /// Of the field vectors of these rows, `d` columns each, and `n_more` columns behind them that every row has of its own.
    /// None are shared in training, where dropout changes them.
    pub fn of(rows: &EncodedRows, d: usize, n_more: usize, in_training: bool) -> Self {
        let mut columns = Self::default();
        if in_training {
            return columns;
        }
        let n_fields = rows.space().n_fields() + rows.space().vector_dims().len();
        for field in 0..n_fields {
            let ranges = if rows.is_shared(field) { &mut columns.shared } else { &mut columns.own };
            extend(ranges, field * d..(field + 1) * d);
        }
        extend(&mut columns.own, n_fields * d..n_fields * d + n_more);
        columns
    }

    /// Whether no column is shared.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// The other columns of the rows x, and a layer that makes of them what `layer` makes of x: what it makes of the shared
    /// ones is in its bias.
    pub(super) fn split(&self, x: Tensor<2>, layer: &Linear) -> (Tensor<2>, Linear) {
        if self.is_empty() || self.own.is_empty() || x.dims()[0] == 0 {
            return (x, layer.clone());
        }
        let (weight, bias) = (layer.weight.val(), layer.bias.val());
        let first = take(x.clone().narrow(0, 0, 1), 1, &self.shared);
        let bias = linear(first, take(weight.clone(), 0, &self.shared), bias, None).squeeze_dim(0);
        let weight = take(weight, 0, &self.own);
        let layer = Linear { weight: Param::from_tensor(weight), bias: Param::from_tensor(bias) };
        (take(x, 1, &self.own), layer)
    }
}

/// Adds a range, to the last one if it goes on where that ends.
fn extend(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ if range.is_empty() => {}
        _ => ranges.push(range),
    }
}

/// These slices along a dimension, one behind another.
fn take(x: Tensor<2>, dim: usize, ranges: &[Range<usize>]) -> Tensor<2> {
    let slices = ranges.iter().map(|range| x.clone().narrow(dim, range.start, range.len()));
    Tensor::cat(slices.collect(), dim)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::kernels::twin::normal;
    use crate::layers::read;
    use crate::rng::Rng;

    #[test]
    fn a_layer_taken_apart_is_the_layer() {
        let device = Device::flex();
        let layer = Linear::new(5, 3, &mut Rng::new(1), &device);
        let mut x = normal(4 * 5, 2);
        for row in 1..4 {
            for column in [0, 3] {
                x[row * 5 + column] = x[column];
            }
        }
        let x = Tensor::<2>::from_data(TensorData::new(x, [4, 5]), &device);
        let columns = SharedColumns { shared: vec![0..1, 3..4], own: vec![1..3, 4..5] };
        let (own, rest) = columns.split(x.clone(), &layer);
        assert_eq!(own.dims(), [4, 3]);
        let (found, expected) = (read(rest.forward(own)).unwrap(), read(layer.forward(x)).unwrap());
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }

    #[test]
    fn neighbouring_ranges_are_one() {
        let mut ranges = Vec::new();
        for range in [0..2, 2..4, 6..7, 7..7] {
            extend(&mut ranges, range);
        }
        assert_eq!(ranges, [0..4, 6..7]);
    }
}
