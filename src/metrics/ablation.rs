use std::fmt;

use serde::Serialize;

use crate::error::Result;
use crate::metrics::evaluate::evaluate;
use crate::metrics::held_out::HeldOut;
use crate::metrics::ranking::RankingMetric;
use crate::metrics::report::{ComparisonReport, interval, number};
use crate::metrics::table::Table;
use crate::pipeline::Fusion;

/// What each channel of a fusion is worth: the fusion of all against that of all others, user by user.
///
/// Prints Recall at each cut-off; serialises to JSON with every metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablation {
    ks: Vec<usize>,
    channels: Vec<AblatedChannel>,
}

/// What one channel of a fusion is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AblatedChannel {
    /// The channel's name.
    pub channel: String,
    /// All channels against all but this one: a positive difference is what the channel adds.
    pub comparison: ComparisonReport,
}

/// Asks the fusion every question of `held_out`, and again without each of its channels, at the cut-offs `ks`. The
/// intervals are those of the paired bootstrap with this seed. The weights of the others stay what they are.
///
/// ```
/// use recsys::metrics::{HeldOut, ablate};
/// use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller, PopularityRecaller};
/// use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
/// use recsys::prelude::*;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let split = Split::leave_one_out(data.interactions());
/// let popularity = Box::new(PopularityRecaller::fit(&split.train));
/// let knn = Box::new(ItemKnnRecaller::fit(&split.train, &ItemKnnConfig::default())?);
/// let fusion = Fusion::new(
///     FusionMethod::default(),
///     vec![
///         Channel::new(ChannelConfig::new("popularity", 20), popularity),
///         Channel::new(ChannelConfig::new("item_knn", 50), knn),
///     ],
/// )?;
/// let ablation = ablate(&fusion, &HeldOut::validation(&split)?, &[10], 1)?;
/// let adds = ablation.channel("item_knn").and_then(|knn| knn.metric("recall@10"));
/// assert!(adds.is_some_and(|recall| recall.difference.interval.is_some()));
/// println!("{ablation}");
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`evaluate`]; a fusion of one channel, or one in which a channel alone has a weight, of which nothing is left
/// without it.
pub fn ablate(fusion: &Fusion, held_out: &HeldOut, ks: &[usize], seed: u64) -> Result<Ablation> {
    let all = evaluate(fusion, held_out, ks)?;
    let without = |channel: &str| -> Result<AblatedChannel> {
        let rest = evaluate(&fusion.without(channel)?, held_out, ks)?;
        let comparison = all.compare("all channels", &rest, &format!("without {channel}"), seed)?;
        Ok(AblatedChannel { channel: channel.into(), comparison })
    };
    let channels =
        fusion.channels().iter().map(|channel| without(&channel.config().name)).collect::<Result<_>>()?;
    Ok(Ablation { ks: all.ks().to_vec(), channels })
}

impl Ablation {
    /// The channels, in the order of the fusion.
    pub fn channels(&self) -> &[AblatedChannel] {
        &self.channels
    }

    /// What the channel of this name is worth.
    pub fn channel(&self, name: &str) -> Option<&ComparisonReport> {
        self.channels.iter().find(|ablated| ablated.channel == name).map(|ablated| &ablated.comparison)
    }

    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        self.table().to_markdown()
    }

    fn table(&self) -> Table {
        let header = ["channel", "metric", "all channels", "without it", "difference", "95 % interval"];
        let mut table = Table::new(header);
        for AblatedChannel { channel, comparison } in &self.channels {
            for k in &self.ks {
                let metric = format!("{}@{k}", RankingMetric::Recall);
                let Some(recall) = comparison.metric(&metric) else { continue };
                let difference = format!("{:+.4}", recall.difference.value);
                let [all, rest] = [recall.a, recall.b].map(number);
                table.push([channel.clone(), metric, all, rest, difference, interval(&recall.difference)]);
            }
        }
        table
    }
}

impl fmt::Display for Ablation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ItemId, UserId};
    use crate::metrics::held_out::HeldOutUser;
    use crate::pipeline::{Candidate, Channel, ChannelConfig, FusionMethod, Query, Recaller};

    /// Always names one item.
    #[derive(Debug)]
    struct Only(ItemId);

    impl Recaller for Only {
        fn recall(&self, _: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            Ok([Candidate::new(self.0, 1.0)].into_iter().take(k).collect())
        }
    }

    fn fusion(items: &[u32]) -> Fusion {
        let channel = |&item: &u32| {
            Channel::new(ChannelConfig::new(format!("only {item}"), 1), Box::new(Only(ItemId(item))))
        };
        Fusion::new(FusionMethod::default(), items.iter().map(channel).collect()).unwrap()
    }

    #[test]
    fn a_channel_is_worth_what_is_lost_without_it() {
        // Three quarters of the users want item 0, nobody item 1, the others item 2.
        let user = |user: u32| HeldOutUser {
            user: UserId(user),
            history: vec![],
            seen: vec![],
            relevant: vec![ItemId(if user.is_multiple_of(4) { 2 } else { 0 })],
        };
        let held_out = HeldOut::new("test", "nothing", 3, (0..100).map(user).collect()).unwrap();
        let ablation = ablate(&fusion(&[0, 1, 2]), &held_out, &[3], 1).unwrap();
        let names: Vec<_> = ablation.channels().iter().map(|ablated| ablated.channel.as_str()).collect();
        assert_eq!(names, ["only 0", "only 1", "only 2"]);
        for (name, expected) in [("only 0", 0.75), ("only 1", 0.0), ("only 2", 0.25)] {
            let recall = ablation.channel(name).unwrap().metric("recall@3").unwrap();
            assert_eq!((recall.a, recall.difference.value), (1.0, expected));
            let interval = recall.difference.interval.unwrap();
            assert!(interval.low <= expected && expected <= interval.high);
            assert_eq!(interval.low > 0.0, expected > 0.0);
        }
        let text = ablation.to_string();
        assert!(
            text.contains("\nonly 1   recall@3        1.0000      1.0000     +0.0000  [0.0000, 0.0000]\n"),
            "{text}"
        );
        assert!(ablation.to_markdown().contains("\n| only 0 | recall@3 | 1.0000 | 0.2500 | +0.7500 |"));
        let json = serde_json::to_value(&ablation).unwrap();
        assert_eq!(json["channels"][2]["comparison"]["metrics"]["recall@3"]["difference"]["value"], 0.25);
        assert!(ablate(&fusion(&[0]), &held_out, &[3], 1).is_err(), "nothing is left");
    }
}
