use std::array::from_fn;

use crate::ids::ItemId;
use crate::pipeline::{Candidate, ChannelConfig, FusionMethod};

/// The answers of several channels to one query, put together by item: what weights turn into fused scores.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// By item, then by channel.
    entries: Vec<Entry>,
}

/// One candidate of one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) item: ItemId,
    /// The channel's number.
    pub(super) channel: u32,
    /// Where the candidate stands in the channel's answer, counted from 0.
    pub(super) place: u32,
    /// The channel's score.
    pub(super) score: f32,
    /// What the channel gives, before its weight.
    part: f32,
    /// Whether it stands within the channel's quota.
    is_reserved: bool,
}

impl Pool {
    /// The answers of the channels, in the order of these.
    pub(crate) fn new<'a>(
        method: FusionMethod,
        answers: impl Iterator<Item = (&'a ChannelConfig, &'a [Candidate])>,
    ) -> Self {
        let mut unsorted = Vec::new();
        for (channel, (config, answer)) in (0..).zip(answers) {
            let parts = (0..).zip(answer).zip(method.parts(answer));
            unsorted.extend(parts.map(|((place, candidate), part)| {
                let is_reserved = (place as usize) < config.quota;
                let Candidate { item, score, .. } = *candidate;
                Entry { item, channel, place, score, part, is_reserved }
            }));
        }
        // They lie by channel and place; one number for the item and where it lies sorts faster than a comparison of entries.
        let mut order: Vec<u64> =
            unsorted.iter().zip(0..).map(|(entry, at)| u64::from(entry.item.0) << 32 | at).collect();
        order.sort_unstable();
        Self { entries: order.into_iter().map(|key| unsorted[key as u32 as usize]).collect() }
    }

    /// The fused scores of each item, Σ weight · part over the channels that name it, by item: one score for each of the `N`
    /// weights that a channel has. Reserved items are raised by twice the best fused score, and so stand before all others.
    pub(crate) fn scores<const N: usize>(&self, weights: &[[f32; N]]) -> Vec<(ItemId, [f32; N])> {
        let fused = |entries: &[Entry]| {
            let mut scores = [0.0; N];
            for &Entry { channel, part, .. } in entries {
                let weights = weights[channel as usize];
                scores = from_fn(|i| scores[i] + f64::from(weights[i]) * f64::from(part));
            }
            (entries[0].item, scores, entries.iter().any(|entry| entry.is_reserved))
        };
        let fused: Vec<(ItemId, [f64; N], bool)> = self.by_item().map(fused).collect();
        let raise: [f64; N] =
            from_fn(|i| 2.0 * fused.iter().map(|(_, scores, _)| scores[i]).fold(0.0, f64::max));
        let raised = |(item, scores, is_reserved): (ItemId, [f64; N], bool)| {
            (item, from_fn(|i| (scores[i] + if is_reserved { raise[i] } else { 0.0 }) as f32))
        };
        fused.into_iter().map(raised).collect()
    }

    /// What the channels say of each item, in the order of the channels; by item, as the scores.
    pub(super) fn by_item(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries.chunk_by(|a, b| a.item == b.item)
    }
}
