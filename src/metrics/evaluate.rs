use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ItemId, UserId};
use crate::metrics::beyond_accuracy::catalog_coverage;
use crate::metrics::held_out::HeldOut;
use crate::metrics::ranking::{Hits, RankingMetric};
use crate::metrics::report::{ComparisonReport, Experiment, Report};
use crate::metrics::significance::{Estimate, compare_means, estimate_means};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::by_score;

/// How many queries a recaller answers at a time.
const BLOCK: usize = 512;

/// Asks the recaller every question of `held_out`, against the whole catalogue, and measures its answers
/// at the cut-offs `ks`.
///
/// Every answer is checked first: a candidate that the query's filter does not admit, that comes twice,
/// that is out of order or not finite, or one too many, is an error and not a wrong number.
///
/// ```
/// use recsys::metrics::{Experiment, HeldOut, RankingMetric, DatasetFacts, evaluate};
/// use recsys::models::recall::PopularityRecaller;
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 3, [row(0, 2), row(1, 2), row(1, 0)])?;
/// let test = Interactions::from_rows(2, 3, [row(0, 0), row(1, 1)])?;
/// let held_out = HeldOut::validation(&train, &test)?;
/// let popularity = PopularityRecaller::fit(&train);
///
/// let evaluation = evaluate(&popularity, &held_out, &[1])?;
/// assert_eq!(evaluation.mean(RankingMetric::HitRate, 1), Some(1.0));
///
/// let report = evaluation.report(Experiment {
///     protocol: "leave one out".into(),
///     dataset: DatasetFacts::new("a tiny example", &train),
///     model: "popularity".into(),
///     loss: None,
///     seed: 1,
/// })?;
/// println!("{report}");
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// No cut-off or a cut-off of 0, a recaller that fails, or an answer that is not what a [`Recaller`]
/// promises ([`ErrorKind::InvalidAnswer`]).
pub fn evaluate(recaller: &dyn Recaller, held_out: &HeldOut, ks: &[usize]) -> Result<Evaluation> {
    let mut evaluation = Evaluation::new(held_out, ks)?;
    let k = evaluation.ks.last().copied().unwrap_or(0);
    for block in held_out.users().chunks(BLOCK) {
        let queries: Vec<Query<'_>> = block.iter().map(|user| user.query()).collect();
        let answers = recaller.recall_batch(&queries, k)?;
        if answers.len() != queries.len() {
            let what = "number of answers of the recaller";
            return Err(
                ErrorKind::LengthMismatch { what, expected: queries.len(), found: answers.len() }.into()
            );
        }
        for ((user, query), answer) in block.iter().zip(&queries).zip(answers) {
            let ranked = checked_answer(user.user, query, k, held_out.n_items(), &answer)?;
            evaluation.record(user.user, &ranked, &user.relevant);
        }
    }
    Ok(evaluation)
}

/// The items of an answer that is what a recaller promises.
fn checked_answer(
    user: UserId,
    query: &Query<'_>,
    k: usize,
    n_items: usize,
    answer: &[Candidate],
) -> Result<Vec<ItemId>> {
    let refuse = |expected: String, found: String| -> Result<Vec<ItemId>> {
        Err(ErrorKind::InvalidAnswer { user, expected, found }.into())
    };
    if answer.len() > k {
        return refuse(format!("at most {k} candidates"), answer.len().to_string());
    }
    for candidate in answer {
        let Candidate { item, score, .. } = candidate;
        if !score.is_finite() {
            return refuse("finite scores".into(), format!("{score} for item {item}"));
        }
        if item.index() >= n_items || !query.filter().admits(*item) {
            return refuse("only items that the filter admits".into(), format!("item {item}"));
        }
    }
    let place = |candidate: &Candidate| (candidate.item, candidate.score);
    if let Some([a, b]) = answer.array_windows().find(|[a, b]| by_score(place(a), place(b)).is_gt()) {
        let found = format!("item {} ({}) before item {} ({})", a.item, a.score, b.item, b.score);
        return refuse("the best candidate first".into(), found);
    }
    let items: Vec<ItemId> = answer.iter().map(|candidate| candidate.item).collect();
    let mut sorted = items.clone();
    sorted.sort_unstable();
    if let Some([item, _]) = sorted.array_windows().find(|[a, b]| a == b) {
        return refuse("distinct items".into(), format!("item {item} twice"));
    }
    Ok(items)
}

/// What [`evaluate`] measured: every metric for every user, and what was recommended how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    split: String,
    masked: String,
    n_items: usize,
    /// Ascending, distinct.
    ks: Vec<usize>,
    users: Vec<UserId>,
    /// One column of per-user values for each metric and, within it, each cut-off.
    columns: Vec<Vec<f64>>,
    /// For each cut-off, how often each item was recommended.
    counts: Vec<Vec<u64>>,
}

impl Evaluation {
    fn new(held_out: &HeldOut, ks: &[usize]) -> Result<Self> {
        let mut ks = ks.to_vec();
        ks.sort_unstable();
        ks.dedup();
        if ks.first().is_none_or(|&k| k == 0) {
            return Err(Error::config(
                "evaluate::ks",
                "at least one cut-off, each 1 or more",
                format!("{ks:?}"),
            ));
        }
        Ok(Self {
            split: held_out.split().into(),
            masked: held_out.masked().into(),
            n_items: held_out.n_items(),
            users: Vec::with_capacity(held_out.users().len()),
            columns: vec![Vec::with_capacity(held_out.users().len()); RankingMetric::ALL.len() * ks.len()],
            counts: vec![vec![0; held_out.n_items()]; ks.len()],
            ks,
        })
    }

    fn record(&mut self, user: UserId, ranked: &[ItemId], relevant: &[ItemId]) {
        let hits = Hits::new(ranked, relevant);
        self.users.push(user);
        for (column, (metric, k)) in self.columns.iter_mut().zip(keys(&self.ks)) {
            column.push(metric.at_k(&hits, k));
        }
        for (counts, &k) in self.counts.iter_mut().zip(&self.ks) {
            ranked.iter().take(k).for_each(|item| counts[item.index()] += 1);
        }
    }

    /// The users asked, in the order of the values.
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    /// The cut-offs, ascending.
    pub fn ks(&self) -> &[usize] {
        &self.ks
    }

    /// The value of each user; `None` where `k` is not one of the cut-offs.
    pub fn values(&self, metric: RankingMetric, k: usize) -> Option<&[f64]> {
        let column = keys(&self.ks).position(|key| key == (metric, k))?;
        Some(&self.columns[column])
    }

    /// The mean over users; `None` where `k` is not one of the cut-offs or nobody was asked.
    pub fn mean(&self, metric: RankingMetric, k: usize) -> Option<f64> {
        let values = self.values(metric, k)?;
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// How often each item was among the first `k`; `None` where `k` is not one of the cut-offs.
    pub fn recommendation_counts(&self, k: usize) -> Option<&[u64]> {
        let index = self.ks.iter().position(|&own| own == k)?;
        Some(&self.counts[index])
    }

    /// Every mean with its 95 % interval, and the conditions under which it was measured. The bootstrap
    /// takes the experiment's seed.
    ///
    /// # Errors
    /// Nobody was asked.
    pub fn report(&self, experiment: Experiment) -> Result<Report> {
        let columns: Vec<&[f64]> = self.columns.iter().map(Vec::as_slice).collect();
        let names = keys(&self.ks).map(|(metric, k)| format!("{metric}@{k}"));
        let mut metrics: Vec<_> = names.zip(estimate_means(&columns, experiment.seed)?).collect();
        metrics.extend(self.ks.iter().zip(&self.counts).map(|(k, counts)| {
            (format!("coverage@{k}"), Estimate { value: catalog_coverage(counts), interval: None })
        }));
        Ok(Report::new(experiment, self, metrics))
    }

    /// Sets this evaluation (A) beside another of the same questions (B), user by user.
    ///
    /// # Errors
    /// Other users or other cut-offs, or nobody asked.
    pub fn compare(&self, name: &str, other: &Self, other_name: &str, seed: u64) -> Result<ComparisonReport> {
        if (&self.users, &self.ks) != (&other.users, &other.ks) {
            let about = |one: &Self| format!("{} users at {:?}", one.users.len(), one.ks);
            return Err(Error::config("Evaluation::compare", about(self), about(other)));
        }
        let pairs: Vec<(&[f64], &[f64])> =
            self.columns.iter().zip(&other.columns).map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
        let names = keys(&self.ks).map(|(metric, k)| format!("{metric}@{k}"));
        let metrics = names.zip(compare_means(&pairs, seed)?).collect();
        Ok(ComparisonReport::new([name, other_name], self.users.len(), metrics))
    }

    /// The number of items of the catalogue.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Where the relevant items come from, as [`HeldOut::split`].
    pub fn split(&self) -> &str {
        &self.split
    }

    /// Which items were excluded, as [`HeldOut::masked`].
    pub fn masked(&self) -> &str {
        &self.masked
    }
}

/// The columns of an evaluation.
fn keys(ks: &[usize]) -> impl Iterator<Item = (RankingMetric, usize)> + '_ {
    RankingMetric::ALL.into_iter().flat_map(|metric| ks.iter().map(move |&k| (metric, k)))
}
