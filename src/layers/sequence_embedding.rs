use burn::tensor::Tensor;

use crate::kernels;
use crate::layers::{SequenceLayout, dropout, id_tensor};
use crate::rng::Rng;

/// The input of a sequence model, dropout(√d · item + position) for every item of every history (Kang &
/// McAuley 2018, "Self-attentive sequential recommendation", section III-A; √d from Vaswani et al. 2017,
/// section 3.4).
///
/// Positions are the slots of a window of `max_len` that ends with the newest item: the newest has position
/// `max_len − 1` in every history, whatever its length.
///
/// # Shapes
/// - items: `[n_items, d]`, the vectors that `ids` names
/// - positions: `[max_len, d]`
/// - ids: `layout.n_rows()` ids in `0..n_items`
/// - output: `[layout.n_rows(), d]`
///
/// # Panics
/// If `ids` has another length, or a history is longer than `max_len`.
pub fn sequence_embedding(
    items: Tensor<2>,
    positions: Tensor<2>,
    ids: &[u32],
    layout: &SequenceLayout,
    p: f64,
    rng: Option<&mut Rng>,
) -> Tensor<2> {
    let [max_len, d] = positions.dims();
    assert_eq!(ids.len(), layout.n_rows(), "an id for each row");
    let slots = layout.slots(max_len);
    #[cfg(feature = "flex")]
    if kernels::fused(&items) {
        let (ids, slots) = (ids.into(), slots.collect());
        let mask = kernels::Mask::draw(p, rng);
        return kernels::apply_2(kernels::SequenceEmbedding { ids, slots, mask }, items, positions);
    }
    let device = items.device();
    let slots: Vec<u32> = slots.collect();
    let items = kernels::select_rows(items, id_tensor(ids, &device)).mul_scalar((d as f64).sqrt());
    dropout(items.add(kernels::select_rows(positions, id_tensor(&slots, &device))), p, rng)
}
