use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ItemId, UserId};
use crate::metrics::beyond_accuracy::catalog_coverage;
use crate::metrics::held_out::{DroppedRows, HeldOut};
use crate::metrics::ranking::{Hits, RankingMetric};
use crate::metrics::report::{ComparisonReport, Experiment, Report};
use crate::metrics::significance::{Estimate, compare_means, estimate_means};
use crate::metrics::table::thousands;
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::by_score;

/// How many queries a recaller answers at a time.
const BLOCK: usize = 512;

/// Asks the recaller every question of `held_out`, against the whole catalogue, and measures its answers
/// at the cut-offs `ks`.
///
/// Every answer is checked first: a candidate that the query's filter does not admit, that comes twice,
/// that is out of order or not finite, or one too many, is an error and not a wrong number. An answer without
/// candidates counts as 0; how many there were, and how many users without a history were asked, is counted.
///
/// ```
/// use recsys::metrics::{Experiment, HeldOut, RankingMetric, DatasetFacts, evaluate};
/// use recsys::models::recall::PopularityRecaller;
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 3, [row(0, 2), row(1, 2), row(1, 0)])?;
/// let test = Interactions::from_rows(2, 3, [row(0, 0), row(1, 1)])?;
/// let validation = Interactions::from_rows(2, 3, [])?;
/// let held_out = HeldOut::test(&Split { train: train.clone(), validation, test, dropped: None })?;
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
/// Nobody to ask, no cut-off or a cut-off of 0, a recaller that fails, or an answer that is not what a
/// [`Recaller`] promises ([`ErrorKind::InvalidAnswer`]).
pub fn evaluate(recaller: &dyn Recaller, held_out: &HeldOut, ks: &[usize]) -> Result<Evaluation> {
    held_out.check_some()?;
    let conditions = Conditions {
        split: held_out.split().into(),
        candidates: format!("full, {} items", thousands(held_out.n_items())),
        masked: format!("{}, never a target", held_out.masked()),
        dropped: held_out.dropped(),
    };
    let mut evaluation = Evaluation::new(conditions, held_out.n_items(), ks)?;
    let k = evaluation.ks.last().copied().unwrap_or(0);
    let mut without_answer = 0;
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
            without_answer += usize::from(ranked.is_empty());
        }
    }
    evaluation.asked = Some(Asked { without_history: held_out.users_without_history(), without_answer });
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

/// What was ranked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Conditions {
    pub(super) split: String,
    pub(super) candidates: String,
    pub(super) masked: String,
    pub(super) dropped: Option<DroppedRows>,
}

/// Users to whom a recaller owes nothing, or gave nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Asked {
    without_history: usize,
    without_answer: usize,
}

/// What [`evaluate`] measured: every metric for every user, and what was recommended how often. Or what
/// [`Predictions::rank`](crate::metrics::Predictions::rank) measured within the rows of each user.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    conditions: Conditions,
    n_items: usize,
    /// Ascending, distinct.
    ks: Vec<usize>,
    users: Vec<UserId>,
    /// One column of per-user values for each metric and, within it, each cut-off.
    columns: Vec<Vec<f64>>,
    /// Whether every user has exactly one relevant item.
    one_relevant: bool,
    /// For each cut-off, how often each item was recommended; nothing without a catalogue.
    counts: Vec<Vec<u64>>,
    /// Nothing where the rows of each user were ranked.
    asked: Option<Asked>,
}

impl Evaluation {
    /// No user yet, over a catalogue of `n_items`, or none.
    pub(super) fn new(conditions: Conditions, n_items: usize, ks: &[usize]) -> Result<Self> {
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
            conditions,
            n_items,
            one_relevant: true,
            users: Vec::new(),
            columns: vec![Vec::new(); RankingMetric::ALL.len() * ks.len()],
            counts: if n_items > 0 { vec![vec![0; n_items]; ks.len()] } else { Vec::new() },
            asked: None,
            ks,
        })
    }

    pub(super) fn record(&mut self, user: UserId, ranked: &[ItemId], relevant: &[ItemId]) {
        let hits = Hits::new(ranked, relevant);
        self.users.push(user);
        self.one_relevant &= hits.n_relevant() == 1;
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

    /// The users who were asked for without a history, such as those who came after the training; `None` where the
    /// rows of each user were ranked, which have none.
    pub fn users_without_history(&self) -> Option<usize> {
        self.asked.map(|asked| asked.without_history)
    }

    /// The users who got no candidate at all, and count as 0 in every metric; `None` where the rows of each user were
    /// ranked.
    pub fn users_without_answer(&self) -> Option<usize> {
        self.asked.map(|asked| asked.without_answer)
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

    /// How often each item was among the first `k`; `None` where `k` is not one of the cut-offs, or there
    /// is no catalogue.
    pub fn recommendation_counts(&self, k: usize) -> Option<&[u64]> {
        let index = self.ks.iter().position(|&own| own == k)?;
        self.counts.get(index).map(Vec::as_slice)
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
        let report = ComparisonReport::new([name, other_name], self.users.len(), self.one_relevant, metrics);
        let without_answer = self.users_without_answer().zip(other.users_without_answer());
        Ok(report.with_users_without_answer(without_answer.map(|(a, b)| [a, b])))
    }

    /// Whether every user has exactly one relevant item, as after leave-one-out. Then hit rate is recall,
    /// MAP is MRR, and precision is recall / k.
    pub fn one_relevant(&self) -> bool {
        self.one_relevant
    }

    /// The number of items of the catalogue; 0 where the rows of each user were ranked.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Where the relevant items come from, as [`HeldOut::split`].
    pub fn split(&self) -> &str {
        &self.conditions.split
    }

    /// What was ranked.
    pub fn candidates(&self) -> &str {
        &self.conditions.candidates
    }

    /// Which items were excluded.
    pub fn masked(&self) -> &str {
        &self.conditions.masked
    }

    /// The rows that the split left out, as [`HeldOut::dropped`].
    pub fn dropped(&self) -> Option<DroppedRows> {
        self.conditions.dropped
    }
}

/// The columns of an evaluation.
fn keys(ks: &[usize]) -> impl Iterator<Item = (RankingMetric, usize)> + '_ {
    RankingMetric::ALL.into_iter().flat_map(|metric| ks.iter().map(move |&k| (metric, k)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use serde_json::json;

    use super::*;
    use crate::data::DropReason;
    use crate::metrics::held_out::HeldOutUser;
    use crate::metrics::report::DatasetFacts;

    const N_ITEMS: usize = 6;

    type Accident = fn(&mut Vec<Candidate>);

    /// Ranks the admitted items by a score of user and item, and then lets an accident happen.
    #[derive(Debug)]
    struct Scripted {
        score: fn(u32, u32) -> f32,
        accident: Accident,
    }

    impl Scripted {
        fn new(score: fn(u32, u32) -> f32) -> Self {
            Self { score, accident: |_| () }
        }
    }

    /// Has no answer for a user without a history.
    #[derive(Debug)]
    struct OnlyKnown(Scripted);

    impl Recaller for OnlyKnown {
        fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            if query.history().is_empty() { Ok(Vec::new()) } else { self.0.recall(query, k) }
        }
    }

    impl Recaller for Scripted {
        fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            let user = query.user().unwrap().0;
            let admitted = (0..N_ITEMS as u32).filter(|&item| query.filter().admits(ItemId(item)));
            let mut answer: Vec<Candidate> =
                admitted.map(|item| Candidate::new(ItemId(item), (self.score)(user, item))).collect();
            answer.sort_by(|a, b| by_score((a.item, a.score), (b.item, b.score)));
            answer.truncate(k);
            (self.accident)(&mut answer);
            Ok(answer)
        }
    }

    fn ids(ids: &[u32]) -> Vec<ItemId> {
        ids.iter().copied().map(ItemId).collect()
    }

    fn question(user: u32, seen: &[u32], relevant: &[u32]) -> HeldOutUser {
        HeldOutUser { user: UserId(user), history: ids(seen), seen: ids(seen), relevant: ids(relevant) }
    }

    fn held_out(users: Vec<HeldOutUser>) -> HeldOut {
        HeldOut::new("test", "items seen", N_ITEMS, users).unwrap()
    }

    fn experiment() -> Experiment {
        let dataset = DatasetFacts { name: "six items".into(), users: 2, items: 6, interactions: 1_234 };
        Experiment { protocol: "by hand".into(), dataset, model: "scripted".into(), loss: None, seed: 3 }
    }

    /// Best first: item 0, 1, 2, …
    fn by_id(_: u32, item: u32) -> f32 {
        -(item as f32)
    }

    #[test]
    fn worked_out_by_hand() {
        let held_out = held_out(vec![question(0, &[0, 1], &[3]), question(1, &[2], &[0, 5])]);
        let evaluation = evaluate(&Scripted::new(by_id), &held_out, &[3, 1, 3]).unwrap();
        assert_eq!((evaluation.ks(), evaluation.users()), (&[1, 3][..], &[UserId(0), UserId(1)][..]));
        // User 0 is shown 2, 3, 4; user 1 is shown 0, 1, 3.
        assert_eq!(evaluation.values(RankingMetric::Mrr, 3), Some(&[0.5, 1.0][..]));
        assert_eq!(evaluation.values(RankingMetric::Recall, 3), Some(&[1.0, 0.5][..]));
        assert_eq!(evaluation.mean(RankingMetric::HitRate, 1), Some(0.5));
        assert_eq!(evaluation.mean(RankingMetric::HitRate, 2), None, "2 is not a cut-off");
        assert_eq!(evaluation.recommendation_counts(3), Some(&[1, 1, 1, 2, 1, 0][..]));
        assert_eq!(evaluation.recommendation_counts(1), Some(&[1, 0, 1, 0, 0, 0][..]));
    }

    #[test]
    fn a_target_that_was_seen_before_competes() {
        let held_out = held_out(vec![question(0, &[0, 1], &[1])]);
        let evaluation = evaluate(&Scripted::new(by_id), &held_out, &[1]).unwrap();
        assert_eq!(evaluation.mean(RankingMetric::HitRate, 1), Some(1.0));
    }

    #[test]
    fn more_users_than_a_block() {
        let users = (0..BLOCK as u32 + 3).map(|user| question(user, &[], &[user % 2])).collect();
        let evaluation = evaluate(&Scripted::new(by_id), &held_out(users), &[1]).unwrap();
        let expected: Vec<f64> = (0..BLOCK + 3).map(|user| (1 - user % 2) as f64).collect();
        assert_eq!(evaluation.values(RankingMetric::HitRate, 1), Some(&expected[..]));
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        let accidents: [(Accident, &str); 7] = [
            (|answer| answer.push(Candidate::new(ItemId(5), -9.0)), "expected at most 2 candidates, found 3"),
            (
                |answer| answer.reverse(),
                "expected the best candidate first, found item 2 (-2) before item 1 (-1)",
            ),
            (|answer| answer[1].score = f32::NAN, "expected finite scores, found NaN for item 2"),
            (|answer| answer[0].score = f32::INFINITY, "expected finite scores, found inf for item 1"),
            (|answer| answer[1].item = ItemId(1), "expected distinct items, found item 1 twice"),
            (|answer| answer[0].item = ItemId(0), "expected only items that the filter admits, found item 0"),
            (|answer| answer[0].item = ItemId(6), "expected only items that the filter admits, found item 6"),
        ];
        let held_out = held_out(vec![question(7, &[0], &[3])]);
        for (accident, message) in accidents {
            let error = evaluate(&Scripted { score: by_id, accident }, &held_out, &[2]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidAnswer { user: UserId(7), .. }), "{error}");
            assert_eq!(error.to_string(), format!("the recaller's answer to user 7: {message}"));
        }
        let tie = Scripted { score: |_, _| 0.0, accident: |answer| answer.reverse() };
        assert!(evaluate(&tie, &held_out, &[2]).is_err(), "ties stand in the order of ids");
    }

    #[test]
    fn bad_questions_are_named() {
        let recaller = Scripted::new(by_id);
        for ks in [&[][..], &[5, 0]] {
            assert!(evaluate(&recaller, &held_out(vec![question(0, &[], &[1])]), ks).is_err());
        }
        let nobody = evaluate(&recaller, &held_out(vec![question(0, &[1], &[])]), &[1]);
        assert_eq!(
            nobody.unwrap_err().to_string(),
            "input: expected at least one user to ask in the part \"test\", found none"
        );
    }

    #[test]
    fn a_report_says_what_was_measured_on_what() {
        let held_out = held_out(vec![question(0, &[0, 1], &[3]), question(1, &[2], &[0, 5])]);
        let report = evaluate(&Scripted::new(by_id), &held_out, &[3]).unwrap().report(experiment()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["protocol"], "by hand");
        assert_eq!(json["dataset"]["interactions"], 1_234);
        assert_eq!((&json["split"], &json["seed"]), (&"test".into(), &3.into()));
        assert_eq!(json["candidates"], "full, 6 items");
        assert_eq!(json["metrics"]["recall@3"]["value"], 0.75);
        assert_eq!(json["metrics"]["recall@3"]["low"], 0.5);
        assert_eq!(json["metrics"]["recall@3"]["high"], 1.0);
        assert_eq!(json["metrics"]["coverage@3"]["value"], 5.0 / 6.0);
        assert_eq!(json["metrics"]["coverage@3"].as_object().unwrap().len(), 1, "no interval");
        assert_eq!(report.metric("recall@3").unwrap().value, 0.75);
        assert_eq!(report.metric("recall@4"), None);
        let text = report.to_string();
        assert!(text.contains("Candidates: full, 6 items. Masked: items seen, never a target."), "{text}");
        assert!(text.contains("\nrecall@3     0.7500  [0.5000, 1.0000]      2\n"), "{text}");
        assert!(report.to_markdown().contains("\n| recall@3 | 0.7500 | [0.5000, 1.0000] | 2 |\n"));
    }

    #[test]
    fn what_was_not_measured_is_counted() {
        // Three of ten users have no history; the recaller has an answer for those with one.
        let history = |user: u32| if user < 3 { &[][..] } else { &[2] };
        let users: Vec<_> = (0..10).map(|user| question(user, history(user), &[0])).collect();
        let dropped = DroppedRows { number: 600, of: 1_780, reason: DropReason::TooFewRows { needed: 3 } };
        let held_out = held_out(users).with_dropped(Some(dropped));
        let strangers_get_nothing = OnlyKnown(Scripted::new(by_id));
        let known = evaluate(&strangers_get_nothing, &held_out, &[1]).unwrap();
        let all = evaluate(&Scripted::new(by_id), &held_out, &[1]).unwrap();
        assert_eq!((known.users_without_history(), known.users_without_answer()), (Some(3), Some(3)));
        assert_eq!((all.users_without_history(), all.users_without_answer()), (Some(3), Some(0)));
        assert_eq!((known.dropped(), known.mean(RankingMetric::Recall, 1)), (Some(dropped), Some(0.7)));

        let report = known.report(experiment()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["users_without_history"], &json["users_without_answer"]), (&3.into(), &3.into()));
        let reason = "users with fewer than 3 rows";
        assert_eq!(json["dropped_rows"], json!({ "number": 600, "of": 1_780, "reason": reason }));
        for text in [report.to_string(), report.to_markdown()] {
            assert!(
                text.contains(
                    "Split: test. Dropped by the split: 600 of 1,780 rows, of users with fewer than 3 rows. Candidates: "
                ),
                "{text}"
            );
            let counted = " 3 of 10 users have no history; 3 got no answer and count as 0. ";
            assert!(text.contains(counted), "{text}");
        }
        let text = all.report(experiment()).unwrap().to_string();
        assert!(text.contains(" 3 of 10 users have no history. One relevant"), "{text}");

        let comparison = all.compare("all", &known, "known", 1).unwrap();
        assert_eq!(comparison.users_without_answer(), Some([0, 3]));
        let json = serde_json::to_value(&comparison).unwrap();
        assert_eq!(json["users_without_answer"], json!({ "a": 0, "b": 3 }));
        let text = comparison.to_string();
        assert!(text.contains("Without an answer, which counts as 0: 0 users of all, 3 of known."), "{text}");
    }

    #[test]
    fn a_report_of_all_users_says_nothing_of_gaps() {
        let held_out = held_out(vec![question(0, &[0], &[3]), question(1, &[2], &[0])]);
        let evaluation = evaluate(&Scripted::new(by_id), &held_out, &[3]).unwrap();
        let report = evaluation.report(experiment()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["users_without_history"], &json["users_without_answer"]), (&0.into(), &0.into()));
        assert_eq!(json["dropped_rows"], json!(null));
        let text = report.to_string();
        assert!(text.contains("Split: test. Candidates") && !text.contains("of 2 users"), "{text}");
        let comparison = evaluation.compare("a", &evaluation, "b", 1).unwrap();
        assert!(!comparison.to_string().contains("Without an answer"), "{comparison}");
    }

    #[test]
    fn two_recallers_side_by_side() {
        let users = (0..40).map(|user| question(user, &[], &[if user < 30 { 0 } else { 5 }])).collect();
        let held_out = held_out(users);
        let a = evaluate(&Scripted::new(by_id), &held_out, &[1]).unwrap();
        let b = evaluate(&Scripted::new(|_, item| item as f32), &held_out, &[1]).unwrap();
        let comparison = a.compare("a", &b, "b", 1).unwrap();
        let hits = comparison.metric("hit_rate@1").unwrap();
        assert_eq!((hits.a, hits.b, hits.difference.value), (0.75, 0.25, 0.5));
        assert!(hits.p_value < 0.01 && hits.difference.interval.unwrap().low > 0.0);
        assert!(comparison.to_string().contains("+0.5000"), "{comparison}");
        assert_eq!(serde_json::to_value(&comparison).unwrap()["metrics"]["recall@1"]["a"], 0.75);
        let other = evaluate(&Scripted::new(by_id), &held_out, &[2]).unwrap();
        assert!(a.compare("a", &other, "other", 1).is_err(), "other cut-offs");
    }

    proptest! {
        #[test]
        fn the_order_of_users_does_not_matter(
            users in prop::collection::vec(
                (prop::collection::vec(0u32..6, 0..4), prop::collection::vec(0u32..6, 1..4)), 1..20
            ),
            k in 1usize..8,
        ) {
            let mut users: Vec<HeldOutUser> = users.iter().enumerate()
                .map(|(user, (seen, relevant))| question(user as u32, seen, relevant)).collect();
            let recaller = Scripted::new(|user, item| ((user * 7 + item * 13) % 5) as f32);
            let forward = evaluate(&recaller, &held_out(users.clone()), &[k]).unwrap();
            users.reverse();
            let backward = evaluate(&recaller, &held_out(users), &[k]).unwrap();
            for metric in RankingMetric::ALL {
                let (a, b) = (forward.mean(metric, k).unwrap(), backward.mean(metric, k).unwrap());
                prop_assert!((a - b).abs() < 1e-12, "{}", metric);
            }
            prop_assert_eq!(forward.recommendation_counts(k), backward.recommendation_counts(k));
        }
    }
}
