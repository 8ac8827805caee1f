use crate::error::Result;
use crate::ids::ItemId;
use crate::layers::{SequenceLayout, check_ids};

/// The last `max_len` items of each history, one history behind another.
///
/// # Errors
/// An item outside the catalogue of `n_items`.
pub(crate) fn recent_items<'h>(
    histories: impl Iterator<Item = &'h [ItemId]> + Clone,
    max_len: usize,
    n_items: usize,
) -> Result<(SequenceLayout, Vec<u32>)> {
    check_ids("item", histories.clone().flatten().map(|item| item.0), n_items)?;
    let recent = histories.map(|items| &items[items.len().saturating_sub(max_len)..]);
    let layout = SequenceLayout::new(recent.clone().map(<[_]>::len));
    Ok((layout, recent.flatten().map(|item| item.0).collect()))
}
