use std::fmt;
use std::path::Path;
use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::ItemId;
use crate::metrics::beyond_accuracy::{
    catalog_coverage, intra_list_diversity, novelty, recommendation_counts,
};
use crate::metrics::funnel_plot::write_svg;
use crate::metrics::held_out::{DroppedRows, HeldOut, HeldOutUser};
use crate::metrics::report::{dropped_text, gaps_text, interval, number};
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
    /// Those of them without a history.
    pub users_without_history: usize,
    /// Those to whom nothing was shown, and who count as 0.
    pub users_without_answer: usize,
    /// The rows that the split left out, if there are any.
    pub dropped_rows: Option<DroppedRows>,
    /// Every stage, recall first.
    pub stages: Vec<FunnelStage>,
    /// The users by how much is known of them, those with the shortest histories first.
    pub segments: Vec<FunnelSegment>,
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
    /// Mean over users of the [`novelty`] of the first k, in bits: of each item −log₂ of the share of users in whose past it is.
    pub novelty: f64,
    /// Mean over users of the mean cosine of all pairs of the first k; see [`Funnel::with_item_vectors`].
    pub similarity: Option<f64>,
    /// The median of the stage's time, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile of it.
    pub p99_ms: f64,
    /// The requests in which the stage did not do its work.
    pub n_fallbacks: usize,
    /// The first k of the order that the stage made for each user, in the order of the held-out users.
    #[serde(skip)]
    pub lists: Vec<Vec<ItemId>>,
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
    /// The share of the catalogue that was shown to somebody.
    pub coverage: f64,
    /// Mean over users of the [`novelty`] of what was shown, in bits.
    pub novelty: f64,
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
    held_out.check_some()?;
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
    let popularity = Popularity::of(held_out)?;
    let stage = |(at, name): (usize, &str)| -> Result<FunnelStage> {
        let of_stage = || followed.iter().map(|stages| &stages[at]);
        let column = |value: fn(&Followed) -> f64| of_stage().map(value).collect::<Vec<f64>>();
        let (retentions, recalls) = (column(|user| user.retention), column(|user| user.recall));
        let estimates = estimate_means(&[&retentions, &recalls], seed)?;
        let lists: Vec<Vec<ItemId>> = of_stage().map(|user| user.first.clone()).collect();
        let mut times = column(|user| 1e3 * user.time.as_secs_f64());
        times.sort_unstable_by(f64::total_cmp);
        Ok(FunnelStage {
            name: name.into(),
            n_kept: column(|user| user.n_kept as f64).iter().sum::<f64>() / users.len() as f64,
            retention: estimates[0],
            recall: estimates[1],
            coverage: coverage(&lists, held_out.n_items())?,
            novelty: popularity.mean_novelty(&lists)?,
            similarity: None,
            p50_ms: percentile(&times, 0.5),
            p99_ms: percentile(&times, 0.99),
            n_fallbacks: of_stage().filter(|user| !user.is_done).count(),
            lists,
        })
    };
    let stages: Vec<FunnelStage> = pipeline.stage_names().enumerate().map(stage).collect::<Result<_>>()?;
    let shown = users.iter().zip(&followed).filter_map(|(user, stages)| {
        let last = stages.last()?;
        let list = last.first[..k.min(last.n_kept)].to_vec();
        Some(Shown { n_known: user.history.len(), recall: last.recall, list })
    });
    let shown: Vec<Shown> = shown.collect();
    Ok(Funnel {
        k,
        n_users: users.len(),
        users_without_history: held_out.users_without_history(),
        users_without_answer: shown.iter().filter(|user| user.list.is_empty()).count(),
        dropped_rows: held_out.dropped(),
        stages,
        segments: segments(shown, &popularity, seed)?,
    })
}

/// How many users have each item in their past.
struct Popularity {
    n_users: u64,
    counts: Vec<u64>,
}

impl Popularity {
    fn of(held_out: &HeldOut) -> Result<Self> {
        let pasts: Vec<Vec<ItemId>> = held_out
            .users()
            .iter()
            .map(|user| {
                let mut past = user.history.clone();
                past.sort_unstable();
                past.dedup();
                past
            })
            .collect();
        let counts = recommendation_counts(pasts.iter().map(Vec::as_slice), held_out.n_items())?;
        Ok(Self { n_users: pasts.len() as u64, counts })
    }

    fn mean_novelty(&self, lists: &[Vec<ItemId>]) -> Result<f64> {
        mean_of_some(lists.iter().map(|list| novelty(list, &self.counts, self.n_users)))
    }
}

/// The mean over those lists that have a value; 0 where none has.
fn mean_of_some(values: impl Iterator<Item = Result<Option<f64>>>) -> Result<f64> {
    let values: Vec<f64> = values.filter_map(Result::transpose).collect::<Result<_>>()?;
    Ok(values.iter().sum::<f64>() / values.len().max(1) as f64)
}

fn coverage(lists: &[Vec<ItemId>], n_items: usize) -> Result<f64> {
    Ok(catalog_coverage(&recommendation_counts(lists.iter().map(Vec::as_slice), n_items)?))
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

/// What a user was shown.
struct Shown {
    /// The length of their history.
    n_known: usize,
    recall: f64,
    list: Vec<ItemId>,
}

/// Thirds of the users by the length of their histories.
fn segments(mut shown: Vec<Shown>, popularity: &Popularity, seed: u64) -> Result<Vec<FunnelSegment>> {
    shown.sort_by_key(|user| user.n_known);
    let n = shown.len();
    let mut segments = Vec::new();
    for (third, name) in ["cold", "warm", "hot"].into_iter().enumerate() {
        let users = &shown[third * n / 3..(third + 1) * n / 3];
        let (Some(first), Some(last)) = (users.first(), users.last()) else { continue };
        let recalls: Vec<f64> = users.iter().map(|user| user.recall).collect();
        let lists: Vec<Vec<ItemId>> = users.iter().map(|user| user.list.clone()).collect();
        segments.push(FunnelSegment {
            name,
            n_users: users.len(),
            history: [first.n_known, last.n_known],
            recall: estimate_means(&[&recalls], seed)?[0],
            coverage: coverage(&lists, popularity.counts.len())?,
            novelty: popularity.mean_novelty(&lists)?,
        });
    }
    Ok(segments)
}

impl Funnel {
    /// Also measures how alike the items of a list are ([`FunnelStage::similarity`]), by vectors of width `dim` that stand in
    /// `values` item by item.
    ///
    /// # Errors
    /// A width of 0, an item of a list without a vector, or a number that is not finite.
    pub fn with_item_vectors(mut self, dim: usize, values: &[f32]) -> Result<Self> {
        if dim == 0 {
            return Err(Error::config("Funnel::with_item_vectors dim", "at least 1", 0));
        }
        let bound = values.len() / dim;
        let vector = |item: &ItemId| {
            let vector = values.get(item.index() * dim..(item.index() + 1) * dim);
            vector.ok_or(ErrorKind::IdOutOfRange { what: "item", id: item.0.into(), bound: bound as u64 })
        };
        for stage in &mut self.stages {
            let similarity = |list: &Vec<ItemId>| -> Result<Option<f64>> {
                let vectors: Vec<&[f32]> = list.iter().map(vector).collect::<Result<_, _>>()?;
                Ok(intra_list_diversity(&vectors)?.map(|diversity| 1.0 - diversity))
            };
            stage.similarity = Some(mean_of_some(stage.lists.iter().map(similarity))?);
        }
        Ok(self)
    }

    /// Draws retention and Recall@k of each stage as bars, with their intervals, into an SVG file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn plot_svg(&self, path: impl AsRef<Path>) -> Result<()> {
        write_svg(self, path.as_ref())
    }

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
            "novelty@k",
            "similarity@k",
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
                format!("{:.2}", stage.novelty),
                stage.similarity.map_or_else(|| "–".into(), number),
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
        let dropped = self.dropped_rows.map(dropped_text).unwrap_or_default();
        let gaps = gaps_text(self.n_users, self.users_without_history, self.users_without_answer);
        writeln!(f, "{} users, k = {}.{dropped}{gaps}", thousands(self.n_users), self.k)?;
        self.table().fmt(f)?;
        for FunnelSegment { name, n_users, history: [shortest, longest], recall, coverage, novelty } in
            &self.segments
        {
            let (n, value, range) = (thousands(*n_users), number(recall.value), interval(recall));
            writeln!(
                f,
                "{name}: {n} users with {shortest} to {longest} past items, recall@k {value} {range}, \
                 coverage@k {coverage:.4}, novelty@k {novelty:.2}"
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
        assert_eq!(rank.lists, [0, 3, 3, 3].map(|item| vec![ItemId(item)]));
        // Item 0 is in the past of three of four users, item 3 in that of nobody: (3 + 1) / 5 and 1 / 5 of five.
        let bits = [0.8f64, 0.2].map(|p| -p.log2());
        assert!((recall.novelty - bits[0]).abs() < 1e-12);
        assert!((rank.novelty - (bits[0] + 3.0 * bits[1]) / 4.0).abs() < 1e-12);
        let hot = &funnel.segments[2];
        assert!((hot.novelty - bits[1]).abs() < 1e-12 && hot.coverage == 0.1);
        let segments: Vec<_> = funnel
            .segments
            .iter()
            .map(|segment| (segment.name, segment.history, segment.recall.value))
            .collect();
        assert_eq!(segments, [("cold", [0, 0], 0.0), ("warm", [1, 1], 1.0), ("hot", [2, 3], 0.5)]);
        assert_eq!((funnel.users_without_history, funnel.users_without_answer), (1, 0));
        let text = funnel.to_string();
        assert!(text.starts_with("4 users, k = 1. 1 of 4 users has no history.\n"), "{text}");
        assert!(
            text.contains("three_first") && text.contains("hot: 2 users with 2 to 3 past items"),
            "{text}"
        );
        assert!(funnel.to_markdown().contains("| three_first | 1 | 0.5000 |"));
        let json = serde_json::to_value(&funnel).unwrap();
        assert_eq!(json["stages"][1]["n_fallbacks"], 1);
        assert_eq!((&json["users_without_history"], &json["dropped_rows"]), (&1.into(), &().into()));
        assert!(evaluate_funnel(&pipeline, &held_out, 0, 1).is_err());

        // Of the first two of recall, items 0 and 1, the vectors have the cosine 0.6.
        let funnel = evaluate_funnel(&pipeline, &held_out, 2, 1).unwrap();
        assert_eq!(funnel.stages[0].similarity, None);
        let vectors: Vec<f32> = (0..10).flat_map(|item| [[3.0, 4.0], [2.0, 0.0]][item % 2]).collect();
        let measured = funnel.clone().with_item_vectors(2, &vectors).unwrap();
        assert!((measured.stages[0].similarity.unwrap() - 0.6).abs() < 1e-6);
        assert!(measured.to_markdown().contains("| 0.6000 |"));
        let error = funnel.clone().with_item_vectors(2, &vectors[..2]).unwrap_err().to_string();
        assert_eq!(error, "item id 1 is not below 1");
        assert!(funnel.with_item_vectors(0, &vectors).is_err());
    }
}
