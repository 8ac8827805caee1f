use std::fmt;
use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::metrics::beyond_accuracy::{catalog_coverage, recommendation_counts};
use crate::metrics::held_out::{HeldOut, HeldOutUser};
use crate::metrics::report::{interval, number};
use crate::metrics::significance::{Estimate, estimate_means, percentile};
use crate::metrics::table::{Table, thousands};
use crate::pipeline::{Pipeline, Trace};

/// What a pipeline does with the items that users are known to have chosen, stage by stage. As text it is a table, as JSON it
/// is complete.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Funnel {
    /// The cut-off of recall and coverage.
    pub k: usize,
    /// The users who were asked for.
    pub n_users: usize,
    /// Every stage, recall first.
    pub stages: Vec<FunnelStage>,
    /// The users by how much is known of them, those with the shortest histories first.
    pub segments: Vec<FunnelSegment>,
    /// What was shown to each user, in the order of the held-out users.
    #[serde(skip)]
    pub shown: Vec<Vec<ItemId>>,
}

/// One stage of a [`Funnel`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunnelStage {
    /// The name of the stage.
    pub name: String,
    /// The mean number of candidates that went on.
    pub n_kept: f64,
    /// The share of a user's relevant items that are among those, mean over users.
    pub retention: Estimate,
    /// Recall@k of the order that the stage made.
    pub recall: Estimate,
    /// The share of the catalogue that stands among the first k of somebody.
    pub coverage: f64,
    /// The median of the stage's time, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile of it.
    pub p99_ms: f64,
    /// The requests in which the stage did not do its work.
    pub n_fallbacks: usize,
}

/// A third of the users of a [`Funnel`], by the length of their histories.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunnelSegment {
    /// `cold`, `warm` or `hot`.
    pub name: &'static str,
    /// Its users.
    pub n_users: usize,
    /// The length of its shortest history, and of its longest.
    pub history: [usize; 2],
    /// Recall@k of what was shown.
    pub recall: Estimate,
}

/// Asks a pipeline for every user of `held_out`, and follows the relevant items through its stages. The intervals are those
/// of the bootstrap over users with this seed.
///
/// Times are of requests that share the cores: take those of a machine that answers one at a time from
/// [`Pipeline::recommend`].
///
/// # Errors
/// A cut-off of 0, no users, or a request that fails.
pub fn evaluate_funnel(pipeline: &Pipeline, held_out: &HeldOut, k: usize, seed: u64) -> Result<Funnel> {
    let users = held_out.users();
    if k == 0 {
        return Err(Error::config("evaluate_funnel::k", "at least 1", 0));
    }
    if users.is_empty() {
        return Err(Error::config("evaluate_funnel::held_out", "at least one user", "none"));
    }
    let follow = |user: &HeldOutUser| -> Result<Vec<Followed>> {
        let Trace { orders, answer } = pipeline.trace(&user.query())?;
        let share = |items: &[ItemId]| {
            let found = items.iter().filter(|item| user.relevant.binary_search(item).is_ok()).count();
            found as f64 / user.relevant.len() as f64
        };
        let followed = orders.iter().zip(&answer.stages).map(|(order, report)| {
            let items: Vec<ItemId> = order.order.iter().map(|candidate| candidate.item).collect();
            let first = items[..k.min(items.len())].to_vec();
            Followed {
                n_kept: order.n_kept,
                retention: share(&items[..order.n_kept]),
                recall: share(&first),
                first,
                time: report.time,
                is_done: report.outcome.is_done(),
            }
        });
        Ok(followed.collect())
    };
    let followed: Vec<Vec<Followed>> = users.par_iter().map(follow).collect::<Result<_>>()?;
    let stage = |(at, name): (usize, &str)| -> Result<FunnelStage> {
        let of_stage = || followed.iter().map(|stages| &stages[at]);
        let column = |value: fn(&Followed) -> f64| of_stage().map(value).collect::<Vec<f64>>();
        let (retentions, recalls) = (column(|user| user.retention), column(|user| user.recall));
        let estimates = estimate_means(&[&retentions, &recalls], seed)?;
        let lists = of_stage().map(|user| user.first.as_slice());
        let mut times = column(|user| 1e3 * user.time.as_secs_f64());
        times.sort_unstable_by(f64::total_cmp);
        Ok(FunnelStage {
            name: name.into(),
            n_kept: column(|user| user.n_kept as f64).iter().sum::<f64>() / users.len() as f64,
            retention: estimates[0],
            recall: estimates[1],
            coverage: catalog_coverage(&recommendation_counts(lists, held_out.n_items())?),
            p50_ms: percentile(&times, 0.5),
            p99_ms: percentile(&times, 0.99),
            n_fallbacks: of_stage().filter(|user| !user.is_done).count(),
        })
    };
    let stages = pipeline.stage_names().enumerate().map(stage).collect::<Result<_>>()?;
    let last = |user: &Vec<Followed>| user.last().map_or(0.0, |stage| stage.recall);
    let known: Vec<(usize, f64)> =
        users.iter().zip(&followed).map(|(user, stages)| (user.history.len(), last(stages))).collect();
    let shown = followed
        .into_iter()
        .map(|mut stages| {
            stages.pop().map_or_else(Vec::new, |last| last.first[..k.min(last.n_kept)].to_vec())
        })
        .collect();
    Ok(Funnel { k, n_users: users.len(), stages, segments: segments(known, seed)?, shown })
}

/// What became of one user's relevant items at one stage.
struct Followed {
    n_kept: usize,
    retention: f64,
    recall: f64,
    /// The first k of the order.
    first: Vec<ItemId>,
    time: Duration,
    is_done: bool,
}

/// Thirds of the users by the length of their histories, of which each has a recall.
fn segments(mut known: Vec<(usize, f64)>, seed: u64) -> Result<Vec<FunnelSegment>> {
    known.sort_by_key(|&(length, _)| length);
    let n = known.len();
    let mut segments = Vec::new();
    for (third, name) in ["cold", "warm", "hot"].into_iter().enumerate() {
        let users = &known[third * n / 3..(third + 1) * n / 3];
        let (Some(first), Some(last)) = (users.first(), users.last()) else { continue };
        let recalls: Vec<f64> = users.iter().map(|&(_, recall)| recall).collect();
        let recall = estimate_means(&[&recalls], seed)?[0];
        segments.push(FunnelSegment { name, n_users: users.len(), history: [first.0, last.0], recall });
    }
    Ok(segments)
}

impl Funnel {
    /// The table of the stages in Markdown.
    pub fn to_markdown(&self) -> String {
        self.table().to_markdown()
    }

    fn table(&self) -> Table {
        let header = [
            "stage",
            "kept",
            "retention",
            "95 % interval",
            "recall@k",
            "95 % interval ",
            "coverage@k",
            "p50 ms",
            "p99 ms",
            "fell back",
        ];
        let mut table = Table::new(header);
        for stage in &self.stages {
            table.push([
                stage.name.clone(),
                format!("{:.0}", stage.n_kept),
                number(stage.retention.value),
                interval(&stage.retention),
                number(stage.recall.value),
                interval(&stage.recall),
                number(stage.coverage),
                format!("{:.3}", stage.p50_ms),
                format!("{:.3}", stage.p99_ms),
                thousands(stage.n_fallbacks),
            ]);
        }
        table
    }
}

impl fmt::Display for Funnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} users, k = {}", thousands(self.n_users), self.k)?;
        self.table().fmt(f)?;
        for FunnelSegment { name, n_users, history: [shortest, longest], recall } in &self.segments {
            let (n, value, range) = (thousands(*n_users), number(recall.value), interval(recall));
            writeln!(
                f,
                "{name}: {n} users with {shortest} to {longest} past items, recall@k {value} {range}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::ids::UserId;
    use crate::metrics::held_out::HeldOutUser;
    use crate::pipeline::{Candidate, Query, Ranker, Recaller};

    /// Items 0, 1, 2, … for everybody.
    #[derive(Debug)]
    struct InOrder;

    impl Recaller for InOrder {
        fn recall(&self, _: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            Ok((0..k as u32).map(|item| Candidate::new(ItemId(item), -(item as f32))).collect())
        }
    }

    /// Item 3 first, or an error for user 0.
    #[derive(Debug)]
    struct ThreeFirst;

    impl Ranker for ThreeFirst {
        fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
            if query.user() == Some(UserId(0)) {
                return Err(ErrorKind::Interrupted.into());
            }
            Ok(items.iter().map(|&item| f32::from(item == ItemId(3))).collect())
        }
    }

    #[test]
    fn relevant_items_are_followed_through_the_stages() {
        // Users 0, 1 and 2 want item 3, user 3 wants items 1 and 7; one user's history is longer than another's.
        let user = |user: u32, relevant: &[u32]| HeldOutUser {
            user: UserId(user),
            history: vec![ItemId(0); user as usize],
            seen: vec![],
            relevant: relevant.iter().map(|&item| ItemId(item)).collect(),
        };
        let users = vec![user(0, &[3]), user(1, &[3]), user(2, &[3]), user(3, &[1, 7])];
        let held_out = HeldOut::new("test", "nothing", 10, users).unwrap();
        let pipeline =
            Pipeline::recall("in_order", InOrder, 5).rank("three_first", ThreeFirst, 1).build().unwrap();
        let funnel = evaluate_funnel(&pipeline, &held_out, 1, 1).unwrap();
        let [recall, rank] = &funnel.stages[..] else { panic!("{funnel}") };
        assert_eq!((recall.name.as_str(), recall.n_kept, recall.n_fallbacks), ("recall", 5.0, 0));
        assert_eq!((recall.retention.value, recall.recall.value, recall.coverage), (0.875, 0.0, 0.1));
        assert_eq!((rank.name.as_str(), rank.n_kept, rank.n_fallbacks), ("three_first", 1.0, 1));
        // User 0 sees item 0, for whom the ranker failed, and the others item 3.
        assert_eq!((rank.retention.value, rank.recall.value, rank.coverage), (0.5, 0.5, 0.2));
        assert_eq!(funnel.shown, [0, 3, 3, 3].map(|item| vec![ItemId(item)]));
        let segments: Vec<_> = funnel
            .segments
            .iter()
            .map(|segment| (segment.name, segment.history, segment.recall.value))
            .collect();
        assert_eq!(segments, [("cold", [0, 0], 0.0), ("warm", [1, 1], 1.0), ("hot", [2, 3], 0.5)]);
        let text = funnel.to_string();
        assert!(
            text.contains("three_first") && text.contains("hot: 2 users with 2 to 3 past items"),
            "{text}"
        );
        assert!(funnel.to_markdown().contains("| three_first | 1 | 0.5000 |"));
        let json = serde_json::to_value(&funnel).unwrap();
        assert_eq!(json["stages"][1]["n_fallbacks"], 1);
        assert!(evaluate_funnel(&pipeline, &held_out, 0, 1).is_err());
    }
}
