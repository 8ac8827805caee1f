use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::pipeline::pool::{Entry, Pool};
use crate::pipeline::{Candidate, Channel, ChannelScore, ChannelScores, FusionMethod, Query, Recaller};
use crate::top_k::TopK;

/// Joins several recallers into one: score(i) = Σ w_c · part_c(i) over the channels c that name item i, where the
/// [`FusionMethod`] says what a channel's part is.
///
/// Every channel is asked for its own number of candidates, however many the fusion is asked for, so that the first
/// ten of an answer do not depend on how many follow. The best items of each channel, as many as its quota, stand
/// before all others; among themselves, and behind them, items stand by fused score. Each candidate keeps what every
/// channel said of it, on the channel's own scale ([`Candidate::channels`]); what a channel's own channels said
/// follows as `channel/inner`.
///
/// A channel of weight 0 without a quota is not asked. One that fails makes the fusion fail, by an error with its
/// name ([`ErrorKind::Channel`](crate::error::ErrorKind::Channel)); but an id outside the catalogue is the query's
/// mistake, and its error comes back as it is.
///
/// ```
/// use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller, PopularityRecaller};
/// use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
/// use recsys::prelude::*;
///
/// let train = SyntheticConfig::new(200, 100, 4_000, 1).generate()?.interactions().clone();
/// let knn = ItemKnnRecaller::fit(&train, &ItemKnnConfig::default())?;
/// let popularity = PopularityRecaller::fit(&train);
/// let fusion = Fusion::new(
///     FusionMethod::default(),
///     vec![
///         Channel::new(ChannelConfig::new("item_knn", 50), Box::new(knn)),
///         Channel::new(ChannelConfig::new("popularity", 20).with_weight(0.3), Box::new(popularity)),
///     ],
/// )?;
/// let answer = fusion.recall(&Query::new(&[ItemId(3), ItemId(8)]), 10)?;
/// assert_eq!(answer.len(), 10);
/// assert!(answer.iter().all(|candidate| !candidate.channels.is_empty()));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fusion {
    method: FusionMethod,
    channels: Vec<Channel>,
}

impl Fusion {
    /// Joins these channels.
    ///
    /// # Errors
    /// No channel, two of one name, a setting outside its range, or weights that are all 0.
    pub fn new(method: FusionMethod, channels: Vec<Channel>) -> Result<Self> {
        method.validate()?;
        for (i, Channel { config, .. }) in channels.iter().enumerate() {
            config.validate()?;
            if channels[..i].iter().any(|other| other.config.name == config.name) {
                return Err(Error::config(
                    "ChannelConfig::name",
                    "distinct names",
                    format!("{} again", config.name),
                ));
            }
        }
        if channels.iter().all(|channel| channel.config.weight == 0.0) {
            let expected = "at least one channel of a weight above 0";
            return Err(Error::config("Fusion::channels", expected, format!("none of {}", channels.len())));
        }
        Ok(Self { method, channels })
    }

    /// What a channel's part in a fused score is.
    pub fn method(&self) -> FusionMethod {
        self.method
    }

    /// The channels, in the order in which candidates tell of them.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// The same channels with other weights, in the order of the channels.
    ///
    /// # Errors
    /// Another number of weights, a weight that is negative or not finite, or weights that are all 0.
    pub fn with_weights(mut self, weights: &[f32]) -> Result<Self> {
        if weights.len() != self.channels.len() {
            let expected = format!("{} weights", self.channels.len());
            return Err(Error::config("Fusion::with_weights", expected, weights.len()));
        }
        for (channel, &weight) in self.channels.iter_mut().zip(weights) {
            channel.config.weight = weight;
        }
        Self::new(self.method, self.channels)
    }

    /// The fusion of all channels but one.
    ///
    /// # Errors
    /// A channel that is not there, or without which nothing is left.
    pub fn without(&self, channel: &str) -> Result<Self> {
        let (gone, rest): (Vec<Channel>, Vec<Channel>) =
            self.channels.iter().cloned().partition(|other| other.config.name == channel);
        if gone.is_empty() {
            let names: Vec<&str> = self.channels.iter().map(|channel| channel.config.name.as_str()).collect();
            return Err(Error::config("Fusion::without", format!("one of {}", names.join(", ")), channel));
        }
        Self::new(self.method, rest)
    }

    fn weights(&self) -> Vec<[f32; 1]> {
        self.channels.iter().map(|channel| [channel.config.weight]).collect()
    }

    /// Joins the answers of all channels.
    fn fuse(&self, answers: &[&[Candidate]], weights: &[[f32; 1]], k: usize) -> Vec<Candidate> {
        let configs = self.channels.iter().map(Channel::config);
        let pool = Pool::new(self.method, configs.zip(answers.iter().copied()));
        let by_item: Vec<&[Entry]> = pool.by_item().collect();
        // Each item's place stands for it: places rise with ids, so that equal scores stay in the order of ids.
        let mut top = TopK::new(k);
        (0..).zip(pool.scores(weights)).for_each(|(place, (_, [score]))| top.push(ItemId(place), score));
        let names: Vec<Arc<str>> =
            self.channels.iter().map(|channel| channel.config.name[..].into()).collect();
        let has_inner = answers.iter().copied().flatten().any(|candidate| !candidate.channels.is_empty());
        let best = top.into_sorted();
        let n_told = best.iter().map(|(place, _)| by_item[place.index()].len()).sum();
        let (mut of_all, mut ends) = (Vec::with_capacity(n_told), Vec::with_capacity(best.len()));
        for (place, _) in &best {
            for entry in by_item[place.index()] {
                of_all.push(told(&names, entry));
                if has_inner {
                    of_all.extend(told_within(&names, entry, answers));
                }
            }
            ends.push(of_all.len() as u32);
        }
        let candidate = |((place, score), channels): ((ItemId, f32), ChannelScores)| Candidate {
            item: by_item[place.index()][0].item,
            score,
            channels,
        };
        best.into_iter().zip(ChannelScores::of_all(of_all, &ends)).map(candidate).collect()
    }
}

/// What a channel said.
fn told(names: &[Arc<str>], entry: &Entry) -> ChannelScore {
    let channel = Arc::clone(&names[entry.channel as usize]);
    ChannelScore { channel, score: entry.score, rank: entry.place + 1 }
}

/// What a channel's own channels said.
fn told_within<'a>(
    names: &'a [Arc<str>],
    entry: &Entry,
    answers: &'a [&[Candidate]],
) -> impl Iterator<Item = ChannelScore> + 'a {
    let channel = entry.channel as usize;
    let inner = answers[channel][entry.place as usize].channels.iter();
    inner.map(move |inner| ChannelScore {
        channel: format!("{}/{}", names[channel], inner.channel).into(),
        ..inner.clone()
    })
}

/// Whether a channel can change an answer.
fn is_asked(channel: &Channel) -> bool {
    channel.config.weight > 0.0 || channel.config.quota > 0
}

impl Recaller for Fusion {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        let ask = |channel: &Channel| if is_asked(channel) { channel.recall(query) } else { Ok(Vec::new()) };
        // Each channel is a part of its own: some take ten times as long as others.
        let channels = self.channels.par_iter().with_max_len(1);
        let answers: Vec<Result<Vec<Candidate>>> = channels.map(ask).collect();
        // The first error, whichever came first.
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        let answers: Vec<&[Candidate]> = answers.iter().map(Vec::as_slice).collect();
        Ok(self.fuse(&answers, &self.weights(), k))
    }

    fn recall_batch(&self, queries: &[Query<'_>], k: usize) -> Result<Vec<Vec<Candidate>>> {
        let ask = |channel: &Channel| {
            if is_asked(channel) {
                channel.recall_batch(queries)
            } else {
                Ok(vec![Vec::new(); queries.len()])
            }
        };
        let answers = self.channels.iter().map(ask).collect::<Result<Vec<_>>>()?;
        let weights = self.weights();
        let fuse = |query: usize| {
            let answers: Vec<&[Candidate]> =
                answers.iter().map(|answers| answers[query].as_slice()).collect();
            self.fuse(&answers, &weights, k)
        };
        Ok((0..queries.len()).into_par_iter().map(fuse).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::pipeline::ChannelConfig;

    /// Gives one answer to every query.
    #[derive(Debug)]
    struct Fixed(Vec<Candidate>);

    impl Recaller for Fixed {
        fn recall(&self, _: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            Ok(self.0.iter().take(k).cloned().collect())
        }
    }

    #[derive(Debug)]
    struct Failing(fn() -> ErrorKind);

    impl Recaller for Failing {
        fn recall(&self, _: &Query<'_>, _: usize) -> Result<Vec<Candidate>> {
            Err((self.0)().into())
        }
    }

    fn answer(scores: &[(u32, f32)]) -> Box<Fixed> {
        Box::new(Fixed(scores.iter().map(|&(item, score)| Candidate::new(ItemId(item), score)).collect()))
    }

    fn fusion(method: FusionMethod, configs: [ChannelConfig; 2]) -> Fusion {
        let [a, b] = configs;
        let left = answer(&[(7, 9.0), (1, 5.0), (2, 1.0)]);
        let right = answer(&[(2, 30.0), (7, 10.0), (5, 10.0)]);
        Fusion::new(method, vec![Channel::new(a, left), Channel::new(b, right)]).unwrap()
    }

    fn two() -> [ChannelConfig; 2] {
        [ChannelConfig::new("left", 3), ChannelConfig::new("right", 3)]
    }

    fn scores(fusion: &Fusion) -> Vec<(u32, f32)> {
        let answer = fusion.recall(&Query::default(), 9).unwrap();
        assert_eq!(fusion.recall_batch(&[Query::default()], 9).unwrap(), std::slice::from_ref(&answer));
        answer.iter().map(|candidate| (candidate.item.0, candidate.score)).collect()
    }

    #[test]
    fn reciprocal_ranks_by_hand() {
        let fused = scores(&fusion(FusionMethod::default(), two()));
        let part = |rank: f64| 1.0 / (60.0 + rank);
        let expected =
            [(7, part(1.0) + part(2.0)), (2, part(3.0) + part(1.0)), (1, part(2.0)), (5, part(3.0))];
        assert_eq!(fused.len(), expected.len());
        for ((item, score), (known_item, known)) in fused.into_iter().zip(expected) {
            assert_eq!(item, known_item);
            assert!((f64::from(score) - known).abs() < 1e-8);
        }
    }

    #[test]
    fn normalised_scores_by_hand() {
        let fused = scores(&fusion(FusionMethod::MinMax, two()));
        assert_eq!(fused, [(2, 1.0), (7, 1.0), (1, 0.5), (5, 0.0)], "a tie goes to the smaller id");
        let [left, right] = two();
        let fused = scores(&fusion(FusionMethod::MinMax, [left.with_weight(2.0), right.with_weight(0.5)]));
        assert_eq!(fused, [(7, 2.0), (1, 1.0), (2, 0.5), (5, 0.0)]);
        // σ of (9, 5, 1) is √(32/3), of (30, 10, 10) it is √(800/9).
        let fused = scores(&fusion(FusionMethod::ZScore, two()));
        let expected = [
            (7, 8.0 / (32f32 / 3.0).sqrt()),
            (2, 20.0 / (800f32 / 9.0).sqrt()),
            (1, 4.0 / (32f32 / 3.0).sqrt()),
        ];
        for (found, expected) in fused.iter().zip(expected) {
            assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-6, "{fused:?}");
        }
        assert_eq!(fused[3], (5, 0.0));
    }

    #[test]
    fn quotas_come_first_and_scores_say_so() {
        let [left, right] = two();
        let fused =
            fusion(FusionMethod::MinMax, [left.with_weight(0.1).with_quota(2), right.with_weight(3.0)]);
        let fused = scores(&fused);
        let order: Vec<u32> = fused.iter().map(|&(item, _)| item).collect();
        assert_eq!(order, [7, 1, 2, 5], "the best two of the left, then the rest by fused score");
        assert!(fused.is_sorted_by(|a, b| a.1 > b.1), "{fused:?}");
    }

    #[test]
    fn a_candidate_keeps_what_the_channels_said() {
        let [left, right] = two();
        let inner = fusion(FusionMethod::default(), [left, right]);
        let outer = vec![
            Channel::new(ChannelConfig::new("inner", 9), Box::new(inner)),
            Channel::new(ChannelConfig::new("third", 9), answer(&[(1, -4.0)])),
        ];
        let fusion = Fusion::new(FusionMethod::default(), outer).unwrap();
        let answer = fusion.recall(&Query::default(), 1).unwrap().remove(0);
        let told: Vec<_> =
            answer.channels.iter().map(|told| (&*told.channel, told.score, told.rank)).collect();
        assert_eq!(answer.item, ItemId(1));
        assert_eq!(told, [("inner", 1.0 / 62.0, 3), ("inner/left", 5.0, 2), ("third", -4.0, 1)]);
    }

    #[test]
    fn a_channel_of_no_weight_is_not_asked() {
        let fail = || ErrorKind::Interrupted;
        let channels = |weight| {
            let failing =
                Channel::new(ChannelConfig::new("failing", 3).with_weight(weight), Box::new(Failing(fail)));
            vec![Channel::new(ChannelConfig::new("good", 3), answer(&[(1, 1.0)])), failing]
        };
        let silent = Fusion::new(FusionMethod::default(), channels(0.0)).unwrap();
        assert_eq!(scores(&silent).len(), 1);
        let loud = Fusion::new(FusionMethod::default(), channels(1.0)).unwrap();
        let error = loud.recall(&Query::default(), 3).unwrap_err();
        assert_eq!(error.to_string(), "channel failing: interrupted");
        assert_eq!(loud.recall_batch(&[Query::default()], 3).unwrap_err().to_string(), error.to_string());
        assert_eq!(scores(&loud.without("failing").unwrap()).len(), 1);
    }

    #[test]
    fn scores_that_are_not_finite_name_the_channel() {
        let channel = Channel::new(ChannelConfig::new("wild", 3), answer(&[(1, 1.0), (2, f32::NAN)]));
        let error = Fusion::new(FusionMethod::MinMax, vec![channel]).unwrap();
        let error = error.recall(&Query::default(), 3).unwrap_err().to_string();
        let expected = "channel wild: score of a candidate at position 1 is NaN; expected a finite number";
        assert_eq!(error, expected);
    }

    #[test]
    fn bad_settings_are_named() {
        let refused = |method, configs: Vec<ChannelConfig>| {
            let channels = configs.into_iter().map(|config| Channel::new(config, answer(&[]))).collect();
            Fusion::new(method, channels).unwrap_err().to_string()
        };
        let config = || ChannelConfig::new("a", 3);
        let rank = FusionMethod::default();
        assert_eq!(
            refused(rank, vec![config(), config()]),
            "ChannelConfig::name: expected distinct names, found a again"
        );
        let none = "Fusion::channels: expected at least one channel of a weight above 0, found none of";
        assert_eq!(refused(rank, vec![]), format!("{none} 0"));
        assert_eq!(refused(rank, vec![config().with_weight(0.0).with_quota(1)]), format!("{none} 1"));
        for bad in [
            ChannelConfig::new("", 3),
            ChannelConfig::new("a", 0),
            config().with_weight(-1.0),
            config().with_weight(f32::NAN),
            config().with_quota(4),
        ] {
            assert!(refused(rank, vec![bad]).starts_with("ChannelConfig::"));
        }
        for k in [-1.0, f32::NAN, f32::INFINITY] {
            let refused = refused(FusionMethod::ReciprocalRank { k }, vec![config()]);
            assert!(refused.starts_with("FusionMethod::ReciprocalRank::k"), "{refused}");
        }
        let fusion = fusion(rank, two());
        let error = fusion.without("middle").unwrap_err().to_string();
        assert_eq!(error, "Fusion::without: expected one of left, right, found middle");
        assert!(fusion.without("left").unwrap().without("right").is_err());
        assert!(fusion.clone().with_weights(&[1.0]).is_err() && fusion.with_weights(&[0.0, 0.0]).is_err());
    }

    #[test]
    fn settings_come_back_from_json() {
        let config = ChannelConfig::new("a", 3).with_weight(0.25).with_quota(2);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ChannelConfig>(&json).unwrap(), config);
        let short: ChannelConfig = serde_json::from_str(r#"{"name": "a", "n_candidates": 3}"#).unwrap();
        assert_eq!(short, ChannelConfig::new("a", 3));
        for method in [FusionMethod::default(), FusionMethod::MinMax, FusionMethod::ZScore] {
            let json = serde_json::to_string(&method).unwrap();
            assert_eq!(serde_json::from_str::<FusionMethod>(&json).unwrap(), method);
        }
    }
}
