use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::features::FeatureSpace;
use crate::features::moments::Moments;
use crate::pipeline::{Candidate, ChannelScore};

/// Ids of a channel's field: one weighted by the reciprocal rank, one by the score, and one for each bin of ranks.
const N_IDS: usize = 2 + N_BINS;

/// Ranks from 2^b on, below 2^(b + 1), are bin b; all others the last one.
const N_BINS: usize = 12;

/// The k of reciprocal ranks, as in [`FusionMethod::ReciprocalRank`](crate::pipeline::FusionMethod::ReciprocalRank).
const K: f32 = 60.0;

/// Standardised scores are cut at this distance from 0.
const MAX_DEVIATION: f32 = 8.0;

/// What recall channels said of a candidate, as fields of the row that a ranker scores: which channels named it, at which
/// rank, and with what score.
///
/// A ranker that does not see this must learn from few examples what recall knows from all of the log. Of each channel there
/// is a field `channel/NAME`; its bag holds
///
/// - an id of weight 61 / (60 + rank), so that a linear model of these weights contains the fusion of the channels by reciprocal
///   ranks (Cormack et al. 2009, "Reciprocal rank fusion");
/// - an id of weight (score − μ) / σ, with the mean μ and standard deviation σ of the channel's scores that it was fitted to, cut
///   at ± 8;
/// - the id of the bin ⌊log₂ rank⌋,
///
/// and nothing where the channel did not name the candidate. A channel within a channel is called `outer/inner`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ChannelScale>", into = "Vec<ChannelScale>")]
pub struct ChannelFeatures {
    channels: Vec<ChannelScale>,
}

/// The scores of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelScale {
    name: String,
    mean: f32,
    deviation: f32,
}

impl From<ChannelFeatures> for Vec<ChannelScale> {
    fn from(features: ChannelFeatures) -> Self {
        features.channels
    }
}

impl TryFrom<Vec<ChannelScale>> for ChannelFeatures {
    type Error = Error;

    fn try_from(channels: Vec<ChannelScale>) -> Result<Self> {
        for ChannelScale { name, mean, deviation } in &channels {
            if !(mean.is_finite() && deviation.is_finite() && *deviation > 0.0) {
                let expected = format!("a finite mean and a deviation above 0 for channel {name}");
                return Err(Error::config("ChannelFeatures", expected, format!("{mean} and {deviation}")));
            }
        }
        let features = Self { channels };
        features.extend(&FeatureSpace::default())?;
        Ok(features)
    }
}

impl ChannelFeatures {
    /// Features of these channels, with the means and deviations of what they said of these candidates.
    ///
    /// # Errors
    /// Two channels of one name, or a score that is not finite.
    pub fn fit<'a>(
        names: impl IntoIterator<Item = impl Into<String>>,
        candidates: impl IntoIterator<Item = &'a Candidate>,
    ) -> Result<Self> {
        let mut channels: Vec<(String, Moments)> =
            names.into_iter().map(|name| (name.into(), Moments::default())).collect();
        for told in candidates.into_iter().flat_map(|candidate| candidate.channels.iter()) {
            let Some(place) = channels.iter().position(|(name, _)| **name == *told.channel) else { continue };
            if !told.score.is_finite() {
                let (what, value) = ("score of a channel", told.score.into());
                return Err(ErrorKind::NonFinite { what, index: place, value }.into());
            }
            channels[place].1.push(told.score.into());
        }
        let scale = |(name, moments): (String, Moments)| {
            let deviation = moments.variance().sqrt() as f32;
            let deviation = if deviation.is_normal() { deviation } else { 1.0 };
            ChannelScale { name, mean: moments.mean() as f32, deviation }
        };
        channels.into_iter().map(scale).collect::<Vec<_>>().try_into()
    }

    /// The names of the channels.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.channels.iter().map(|channel| channel.name.as_str())
    }

    /// The space with a field for each channel behind its own.
    pub(super) fn extend(&self, space: &FeatureSpace) -> Result<FeatureSpace> {
        self.names().try_fold(space.clone(), |space, name| space.with_field(format!("channel/{name}"), N_IDS))
    }

    /// Writes the bag of a channel's field, whose ids start at `first`.
    pub(super) fn write_bag(
        &self,
        candidate: &Candidate,
        channel: usize,
        first: u32,
        bag: &mut Vec<(u32, f32)>,
    ) {
        let ChannelScale { name, mean, deviation } = &self.channels[channel];
        let told = candidate.channels.iter().find(|told| *told.channel == **name);
        let Some(&ChannelScore { score, rank, .. }) = told else { return };
        let bin = (rank.max(1).ilog2() as usize).min(N_BINS - 1) as u32;
        let score = ((score - mean) / deviation).clamp(-MAX_DEVIATION, MAX_DEVIATION);
        bag.extend([(first, (1.0 + K) / (K + rank as f32)), (first + 1, score), (first + 2 + bin, 1.0)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ItemId;

    fn told(score: f32, rank: u32, channel: &str) -> Candidate {
        Candidate::new(ItemId(0), score).from_channel(channel, rank)
    }

    fn fitted() -> ChannelFeatures {
        let candidates = [told(1.0, 1, "a"), told(5.0, 2, "a"), told(7.0, 1, "b"), told(9.0, 1, "unknown")];
        ChannelFeatures::fit(["a", "b"], &candidates).unwrap()
    }

    fn bag(candidate: &Candidate, channel: usize) -> Vec<(u32, f32)> {
        let mut bag = Vec::new();
        fitted().write_bag(candidate, channel, 100, &mut bag);
        bag
    }

    #[test]
    fn a_bag_holds_reciprocal_rank_score_and_bin() {
        // Of a the mean is 3 and the deviation 2; one score has the deviation 1.
        assert_eq!(bag(&told(6.0, 1, "a"), 0), [(100, 1.0), (101, 1.5), (102, 1.0)]);
        assert_eq!(bag(&told(2.0, 62, "a"), 0), [(100, 0.5), (101, -0.5), (107, 1.0)]);
        assert_eq!(bag(&told(8.0, 3, "b"), 1), [(100, 61.0 / 63.0), (101, 1.0), (103, 1.0)]);
        assert_eq!(bag(&told(8.0, 3, "b"), 0), []);
        let far = told(f32::MAX, u32::MAX, "a");
        assert_eq!(bag(&far, 0)[1..], [(101, 8.0), (102 + N_BINS as u32 - 1, 1.0)]);
    }

    #[test]
    fn every_id_is_one_of_the_field() {
        let space = fitted().extend(&FeatureSpace::default().with_field("item", 4).unwrap()).unwrap();
        assert_eq!(space.names().collect::<Vec<_>>(), ["item", "channel/a", "channel/b"]);
        assert_eq!(space.ids(2), 4 + N_IDS as u32..4 + 2 * N_IDS as u32);
        let last = bag(&told(0.0, u32::MAX, "a"), 0)[2].0;
        assert_eq!(last, 100 + N_IDS as u32 - 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let none: [&Candidate; 0] = [];
        assert!(ChannelFeatures::fit(["a", "a"], none).is_err());
        assert!(ChannelFeatures::fit(["a"], [&told(f32::NAN, 1, "a")]).is_err());
        let saved = serde_json::to_string(&fitted()).unwrap();
        assert_eq!(serde_json::from_str::<ChannelFeatures>(&saved).unwrap(), fitted());
        for (old, new) in [("\"b\"", "\"a\""), ("2.0", "0.0"), ("2.0", "-1.0"), ("3.0", "1e99")] {
            let damaged = saved.replacen(old, new, 1);
            assert_ne!(damaged, saved);
            assert!(serde_json::from_str::<ChannelFeatures>(&damaged).is_err(), "{damaged}");
        }
    }
}
