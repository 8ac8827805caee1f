use std::fmt;
use std::iter;
use std::ops::Deref;
use std::sync::Arc;

use crate::ids::ItemId;

/// An item with its score, and the channels that brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The item.
    pub item: ItemId,
    /// The score of the last stage that scored it; higher is better. Scores of different recallers are
    /// not comparable.
    pub score: f32,
    /// Where it came from, so that an answer can be explained. Empty where a stage has one channel and
    /// nothing to tell.
    pub channels: ChannelScores,
}

/// What one channel said of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelScore {
    /// The channel's name.
    pub channel: Arc<str>,
    /// Its score, on the channel's own scale.
    pub score: f32,
    /// The item's place in its answer, from 1.
    pub rank: u32,
}

/// What channels said of a candidate: a slice of what they said of all candidates of an answer, which these share.
///
/// A candidate that is kept long after the others should keep its [own copy](Self::detached).
#[derive(Clone, Default)]
pub struct ChannelScores {
    /// None for an empty slice: most candidates come from a channel that has nothing to tell, and would all count on one number.
    of_all: Option<Arc<[ChannelScore]>>,
    start: u32,
    end: u32,
}

impl ChannelScores {
    /// Those of candidates that lie one behind another, each up to its end.
    pub(super) fn of_all(told: Vec<ChannelScore>, ends: &[u32]) -> impl Iterator<Item = Self> {
        let told: Arc<[ChannelScore]> = told.into();
        let starts = iter::once(0).chain(ends.iter().copied());
        starts.zip(ends).map(move |(start, &end)| {
            if start == end { Self::default() } else { Self { of_all: Some(Arc::clone(&told)), start, end } }
        })
    }

    /// The same scores, on which no other candidate of the answer depends.
    pub fn detached(&self) -> Self {
        self.iter().cloned().collect()
    }
}

impl Deref for ChannelScores {
    type Target = [ChannelScore];

    fn deref(&self) -> &[ChannelScore] {
        self.of_all.as_ref().map_or(&[], |told| &told[self.start as usize..self.end as usize])
    }
}

impl FromIterator<ChannelScore> for ChannelScores {
    fn from_iter<I: IntoIterator<Item = ChannelScore>>(told: I) -> Self {
        let told: Vec<ChannelScore> = told.into_iter().collect();
        let end = told.len() as u32;
        Self::of_all(told, &[end]).next().unwrap_or_default()
    }
}

impl PartialEq for ChannelScores {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for ChannelScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Candidate {
    /// A candidate of one unnamed channel.
    pub fn new(item: ItemId, score: f32) -> Self {
        Self { item, score, channels: ChannelScores::default() }
    }

    /// The same candidate, brought by this channel at this place of its answer, from 1, with its present score.
    pub fn from_channel(mut self, channel: impl Into<Arc<str>>, rank: u32) -> Self {
        let told = ChannelScore { channel: channel.into(), score: self.score, rank };
        self.channels = self.channels.iter().cloned().chain([told]).collect();
        self
    }
}

impl From<(ItemId, f32)> for Candidate {
    fn from((item, score): (ItemId, f32)) -> Self {
        Self::new(item, score)
    }
}
