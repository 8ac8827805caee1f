use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels::Bags;
use crate::layers::{SequenceLayout, embedding_bag};

/// The length and the number of the columns in which [`SequenceLayout::time_first`] puts sequences; of no items at
/// all, one line of padding.
pub(super) fn columns(layout: &SequenceLayout) -> [usize; 2] {
    [layout.max_len().max(1), layout.n_sequences()]
}

/// Which places of [`SequenceLayout::time_first`] hold an item.
///
/// # Shapes
/// - output: `[len, b]`, 1 for an item and 0 for padding
pub(super) fn validity(layout: &SequenceLayout, device: &Device) -> Tensor<2> {
    let [len, b] = columns(layout);
    let mut valid = vec![0f32; len * b];
    layout.time_first().for_each(|place| valid[place] = 1.0);
    Tensor::from_data(TensorData::new(valid, [len, b]), device)
}

/// Rows at their places of [`SequenceLayout::time_first`], 0 elsewhere.
///
/// # Shapes
/// - x: `[layout.n_rows(), d]`
/// - output: `[len, b, d]`
pub(super) fn time_first(x: Tensor<2>, layout: &SequenceLayout) -> Tensor<3> {
    let ([len, b], [_, d]) = (columns(layout), x.dims());
    let mut rows = vec![None; len * b];
    layout.time_first().zip(0..).for_each(|(place, row)| rows[place] = Some(row));
    embedding_bag(x, one_or_none(rows)).reshape([len, b, d])
}

/// The last row of each sequence, 0 for an empty one.
///
/// # Shapes
/// - x: `[layout.n_rows(), d]`
/// - output: `[layout.n_sequences(), d]`
pub(super) fn last_rows(x: Tensor<2>, layout: &SequenceLayout) -> Tensor<2> {
    let last = layout.iter().map(|rows| (!rows.is_empty()).then(|| rows.end as u32 - 1));
    embedding_bag(x, one_or_none(last))
}

/// Bags of one row, or of none.
fn one_or_none(rows: impl IntoIterator<Item = Option<u32>>) -> Bags {
    let mut bags = Bags::default();
    rows.into_iter().for_each(|row| bags.push(row.map(|row| (row, 1.0))));
    bags
}
