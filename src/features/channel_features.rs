use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::features::FeatureSpace;
use crate::features::encoded_rows::Bags;
use crate::features::moments::Moments;
use crate::pipeline::{Candidate, ChannelScore};

/// Ids of a channel's field: one weighted by the reciprocal rank, one by the score, and one for each bin of ranks.
const N_IDS: usize = 2 + N_BINS;

/// Ranks from 2^b on, below 2^(b + 1), are bin b; all others the last one.
const N_BINS: usize = 12;

/// The k of reciprocal ranks, as in [`FusionMethod::ReciprocalRank`](crate::pipeline::FusionMethod::ReciprocalRank).
const K: f32 = 60.0;

/// Names of channels that are known by their place in memory; more are looked up by their letters.
const MAX_SEEN: usize = 64;

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
///
/// [With weights](Self::with_weights) w, a field `fusion` comes last, of one id: its weight is Σ w (1 + k) / (k + rank) over the
/// channels that named the candidate, with k = 60, over Σ w of all. What a linear model finds by itself, trees would need
/// hundreds of splits for; and a later stage sees it when the score of recall is long replaced.
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
    /// In the field of the fusion.
    #[serde(default)]
    weight: f32,
}

impl From<ChannelFeatures> for Vec<ChannelScale> {
    fn from(features: ChannelFeatures) -> Self {
        features.channels
    }
}

impl TryFrom<Vec<ChannelScale>> for ChannelFeatures {
    type Error = Error;

    fn try_from(channels: Vec<ChannelScale>) -> Result<Self> {
        let sum: f32 = channels.iter().map(|channel| channel.weight).sum();
        if !sum.is_finite() || channels.iter().any(|channel| channel.weight < 0.0) {
            let weights = channels.iter().map(|channel| channel.weight).collect::<Vec<_>>();
            let expected = "weights of 0 or more, of a finite sum";
            return Err(Error::config("ChannelFeatures::weights", expected, format!("{weights:?}")));
        }
        for ChannelScale { name, mean, deviation, .. } in &channels {
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
            ChannelScale { name, mean: moments.mean() as f32, deviation, weight: 0.0 }
        };
        channels.into_iter().map(scale).collect::<Vec<_>>().try_into()
    }

    /// With the field of the fusion by these weights, in the order of the channels; without it if all are 0.
    ///
    /// # Errors
    /// Another number of weights than channels, or one that is negative or not finite.
    pub fn with_weights(mut self, weights: &[f32]) -> Result<Self> {
        if weights.len() != self.channels.len() {
            let (expected, found) = (self.channels.len(), weights.len());
            return Err(ErrorKind::LengthMismatch { what: "number of weights", expected, found }.into());
        }
        self.channels.iter_mut().zip(weights).for_each(|(channel, &weight)| channel.weight = weight);
        self.channels.try_into()
    }

    /// The names of the channels.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.channels.iter().map(|channel| channel.name.as_str())
    }

    /// The sum of all weights, if there is a field of the fusion.
    fn total_weight(&self) -> Option<f32> {
        Some(self.channels.iter().map(|channel| channel.weight).sum()).filter(|&sum| sum > 0.0)
    }

    /// The space with a field for each channel behind its own, and that of the fusion.
    pub(super) fn extend(&self, space: &FeatureSpace) -> Result<FeatureSpace> {
        let mut names = self.names();
        let space = names
            .try_fold(space.clone(), |space, name| space.with_field(format!("channel/{name}"), N_IDS))?;
        match self.total_weight() {
            Some(_) => space.with_field("fusion", 1),
            None => Ok(space),
        }
    }

    /// What writes the bags of these fields, which are the last of `space`.
    pub(super) fn bags<'a>(&'a self, space: &FeatureSpace) -> ChannelBags<'a> {
        let total_weight = self.total_weight();
        let n_own = self.channels.len() + usize::from(total_weight.is_some());
        let fields = space.n_fields() - n_own..space.n_fields();
        let first_ids = fields.map(|field| space.ids(field).start).collect();
        ChannelBags {
            channels: &self.channels,
            total_weight,
            first_ids,
            told: vec![None; self.channels.len()],
            seen: Vec::new(),
        }
    }
}

/// Writes the channels' fields of candidates.
pub(super) struct ChannelBags<'a> {
    channels: &'a [ChannelScale],
    total_weight: Option<f32>,
    /// Of each channel's field, and that of the fusion.
    first_ids: Vec<u32>,
    /// What each channel said of one candidate: score and rank.
    told: Vec<Option<(f32, u32)>>,
    /// Names by their place in memory, which candidates of one answer share, with the channels of those names.
    seen: Vec<(Arc<str>, Option<usize>)>,
}

impl ChannelBags<'_> {
    pub(super) fn write(&mut self, told: &[ChannelScore], bags: &mut Bags) {
        self.told.fill(None);
        for ChannelScore { channel, score, rank } in told {
            if let Some(place) = self.place(channel) {
                self.told[place].get_or_insert((*score, *rank));
            }
        }
        let mut fused = 0.0;
        for ((told, &first), ChannelScale { mean, deviation, weight, .. }) in
            self.told.iter().zip(&self.first_ids).zip(self.channels)
        {
            if let Some((score, rank)) = *told {
                let reciprocal = (1.0 + K) / (K + rank as f32);
                fused += weight * reciprocal;
                let score = ((score - mean) / deviation).clamp(-MAX_DEVIATION, MAX_DEVIATION);
                let bin = (rank.max(1).ilog2()).min(N_BINS as u32 - 1);
                bags.extend([first, first + 1, first + 2 + bin], [reciprocal, score, 1.0]);
            }
            bags.close();
        }
        if let Some(total) = self.total_weight {
            bags.push(self.first_ids[self.channels.len()], fused / total);
            bags.close();
        }
    }

    fn place(&mut self, name: &Arc<str>) -> Option<usize> {
        if let Some((_, place)) = self.seen.iter().find(|(seen, _)| Arc::ptr_eq(seen, name)) {
            return *place;
        }
        let place = self.channels.iter().position(|channel| *channel.name == **name);
        if self.seen.len() < MAX_SEEN {
            self.seen.push((Arc::clone(name), place));
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{EncodedRow, EncodedRows};
    use crate::ids::ItemId;

    fn told(score: f32, rank: u32, channel: &str) -> Candidate {
        Candidate::new(ItemId(0), score).from_channel(channel, rank)
    }

    fn fitted() -> ChannelFeatures {
        let candidates = [told(1.0, 1, "a"), told(5.0, 2, "a"), told(7.0, 1, "b"), told(9.0, 1, "unknown")];
        ChannelFeatures::fit(["a", "b"], &candidates).unwrap()
    }

    fn bags(candidate: &Candidate) -> [Vec<(u32, f32)>; 2] {
        bags_of(&fitted(), candidate).try_into().unwrap()
    }

    /// The bags of the channels' fields, whose ids are the only ones.
    fn bags_of(features: &ChannelFeatures, candidate: &Candidate) -> Vec<Vec<(u32, f32)>> {
        let space = features.extend(&FeatureSpace::default()).unwrap();
        let mut rows = EncodedRows::new(FeatureSpace::default(), 0);
        rows.push(EncodedRow::default()).unwrap();
        let mut bags = features.bags(&space);
        let rows = rows
            .join_extended(0, &[], &rows, &[0], &[], &space, |_, out| bags.write(&candidate.channels, out));
        let rows = rows.unwrap();
        let bag = |field| {
            let (ids, weights) = rows.bag(0, field);
            ids.iter().copied().zip(weights.iter().copied()).collect()
        };
        (0..space.n_fields()).map(bag).collect()
    }

    #[test]
    fn a_bag_holds_reciprocal_rank_score_and_bin() {
        // Of a the mean is 3 and the deviation 2; one score has the deviation 1.
        let b = N_IDS as u32;
        assert_eq!(bags(&told(6.0, 1, "a")), [vec![(0, 1.0), (1, 1.5), (2, 1.0)], vec![]]);
        assert_eq!(bags(&told(2.0, 62, "a")), [vec![(0, 0.5), (1, -0.5), (7, 1.0)], vec![]]);
        let rank_3 = vec![(b, 61.0 / 63.0), (b + 1, 1.0), (b + 3, 1.0)];
        assert_eq!(bags(&told(8.0, 3, "b")), [vec![], rank_3.clone()]);
        let [of_a, of_b] = bags(&told(8.0, 3, "b").from_channel("a", 1).from_channel("b", 9));
        assert_eq!(
            (of_a, of_b),
            (vec![(0, 1.0), (1, 2.5), (2, 1.0)], rank_3),
            "the first word of a channel counts"
        );
        let far = bags(&told(f32::MAX, u32::MAX, "a"));
        assert_eq!(far[0][1..], [(1, 8.0), (2 + N_BINS as u32 - 1, 1.0)]);
    }

    #[test]
    fn every_id_is_one_of_the_field() {
        let space = fitted().extend(&FeatureSpace::default().with_field("item", 4).unwrap()).unwrap();
        assert_eq!(space.names().collect::<Vec<_>>(), ["item", "channel/a", "channel/b"]);
        assert_eq!(space.ids(2), 4 + N_IDS as u32..4 + 2 * N_IDS as u32);
        assert_eq!(bags(&told(0.0, u32::MAX, "a"))[0][2].0, N_IDS as u32 - 1);
    }

    #[test]
    fn the_fusion_is_a_field_of_the_weighted_reciprocal_ranks() {
        let weighted = fitted().with_weights(&[3.0, 1.0]).unwrap();
        let space = weighted.extend(&FeatureSpace::default()).unwrap();
        assert_eq!(space.names().collect::<Vec<_>>(), ["channel/a", "channel/b", "fusion"]);
        let of = |candidate: &Candidate| {
            let bags = bags_of(&weighted, candidate);
            let [(id, weight)] = bags[2][..] else { panic!("{bags:?}") };
            assert_eq!(id, 2 * N_IDS as u32);
            weight
        };
        assert_eq!(of(&told(6.0, 1, "a").from_channel("b", 62)), (3.0 + 0.5) / 4.0);
        assert_eq!(of(&told(6.0, 62, "b")), 0.125);
        assert_eq!(of(&told(6.0, 1, "unknown")), 0.0);
        let saved = serde_json::to_string(&weighted).unwrap();
        assert_eq!(serde_json::from_str::<ChannelFeatures>(&saved).unwrap(), weighted);
        assert_eq!(weighted.with_weights(&[0.0; 2]).unwrap(), fitted());
        for bad in [&[1.0][..], &[1.0, -1.0], &[f32::NAN, 1.0], &[f32::MAX; 2]] {
            assert!(fitted().with_weights(bad).is_err());
        }
    }

    #[test]
    fn more_names_than_are_remembered_are_known_by_their_letters() {
        let features = fitted();
        let space = features.extend(&FeatureSpace::default()).unwrap();
        let mut bags = features.bags(&space);
        for _ in 0..2 * MAX_SEEN {
            assert_eq!([bags.place(&"b".into()), bags.place(&"unknown".into())], [Some(1), None]);
        }
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
