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

    /// The fused score of each item, Σ weight · part over the channels that name it, by item. Reserved items are
    /// raised by twice the best fused score, and so stand before all others.
    pub(crate) fn scores(&self, weights: &[f32]) -> Vec<(ItemId, f32)> {
        let part = |entry: &Entry| f64::from(weights[entry.channel as usize]) * f64::from(entry.part);
        let fused = |entries: &[Entry]| {
            let score: f64 = entries.iter().map(part).sum();
            (entries[0].item, score, entries.iter().any(|entry| entry.is_reserved))
        };
        let fused: Vec<(ItemId, f64, bool)> = self.by_item().map(fused).collect();
        let raise = 2.0 * fused.iter().map(|&(_, score, _)| score).fold(0.0, f64::max);
        let raised = |score, is_reserved| (score + if is_reserved { raise } else { 0.0 }) as f32;
        fused.into_iter().map(|(item, score, is_reserved)| (item, raised(score, is_reserved))).collect()
    }

    /// What the channels say of each item, in the order of the channels; by item, as the scores.
    pub(super) fn by_item(&self) -> impl Iterator<Item = &[Entry]> {
        self.entries.chunk_by(|a, b| a.item == b.item)
    }
}
