use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::data::Interactions;
use crate::metrics::evaluate::Evaluation;
use crate::metrics::held_out::DroppedRows;
use crate::metrics::significance::{Comparison, Estimate};
use crate::metrics::table::{Table, thousands};

/// The facts of a data set after filtering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// Its name and filter: `"MovieLens 1M, rating ≥ 4"`.
    pub name: String,
    /// The users with at least one interaction.
    pub users: usize,
    /// The items with at least one interaction.
    pub items: usize,
    /// The interactions.
    pub interactions: usize,
}

impl DatasetFacts {
    /// Counts what is in the table.
    pub fn new(name: impl Into<String>, interactions: &Interactions) -> Self {
        let distinct = |ids: &mut dyn Iterator<Item = usize>, n: usize| {
            let mut there = vec![false; n];
            ids.for_each(|id| there[id] = true);
            there.into_iter().filter(|&there| there).count()
        };
        let users = &mut interactions.users().iter().map(|user| user.index());
        let items = &mut interactions.items().iter().map(|item| item.index());
        Self {
            name: name.into(),
            users: distinct(users, interactions.n_users()),
            items: distinct(items, interactions.n_items()),
            interactions: interactions.len(),
        }
    }
}

/// What was measured on what: the conditions that a number means nothing without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// The name of the protocol: how the data were filtered and split.
    pub protocol: String,
    /// The whole data set, before the split.
    pub dataset: DatasetFacts,
    /// The model.
    pub model: String,
    /// The loss it was trained with, if it was.
    pub loss: Option<String>,
    /// The seed of the training, and of the bootstrap.
    pub seed: u64,
}

/// The result of an evaluation with its conditions; prints as a table, serialises to JSON.
///
/// Among the conditions is what was left out of the measurement or counts as 0 in it: the rows that the split dropped
/// (`dropped_rows`), and the users without a history and without an answer (`users_without_history`,
/// `users_without_answer`). The text tells of them where there are any.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    #[serde(flatten)]
    experiment: Experiment,
    split: String,
    dropped_rows: Option<DroppedRows>,
    candidates: String,
    masked: String,
    cutoffs: Vec<usize>,
    evaluated_users: usize,
    users_without_history: Option<usize>,
    users_without_answer: Option<usize>,
    one_relevant: bool,
    #[serde(serialize_with = "as_map")]
    metrics: Vec<(String, Estimate)>,
}

impl Report {
    pub(super) fn new(
        experiment: Experiment,
        evaluation: &Evaluation,
        metrics: Vec<(String, Estimate)>,
    ) -> Self {
        Self {
            experiment,
            split: evaluation.split().into(),
            dropped_rows: evaluation.dropped(),
            candidates: evaluation.candidates().into(),
            masked: evaluation.masked().into(),
            cutoffs: evaluation.ks().to_vec(),
            evaluated_users: evaluation.users().len(),
            users_without_history: evaluation.users_without_history(),
            users_without_answer: evaluation.users_without_answer(),
            one_relevant: evaluation.one_relevant(),
            metrics,
        }
    }

    /// The conditions.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// The estimates by name, `recall@200`, in the order of the table.
    pub fn metrics(&self) -> &[(String, Estimate)] {
        &self.metrics
    }

    /// The estimate of this name: `report.metric("recall@200")`.
    pub fn metric(&self, name: &str) -> Option<Estimate> {
        self.metrics.iter().find(|(own, _)| own == name).map(|(_, estimate)| *estimate)
    }

    /// The report in Markdown: the conditions as a paragraph, the metrics as a table.
    pub fn to_markdown(&self) -> String {
        format!("{}\n\n{}", self.conditions(), self.table().to_markdown())
    }

    fn conditions(&self) -> String {
        let Experiment { protocol, dataset, model, loss, seed } = &self.experiment;
        let loss = loss.as_ref().map_or(String::new(), |loss| format!(", {loss}"));
        format!(
            "{model}{loss}, seed {seed}. Protocol: {protocol}. Data: {}; {} users, {} items, {} interactions. \
             Split: {}.{} Candidates: {}. Masked: {}.{}{}",
            dataset.name,
            thousands(dataset.users),
            thousands(dataset.items),
            thousands(dataset.interactions),
            self.split,
            self.dropped_rows.map(dropped_text).unwrap_or_default(),
            self.candidates,
            self.masked,
            gaps_text(
                self.evaluated_users,
                self.users_without_history.unwrap_or(0),
                self.users_without_answer.unwrap_or(0)
            ),
            if self.one_relevant { ONE_RELEVANT } else { "" }
        )
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["metric", "mean", "95 % interval", "users"]);
        for (name, estimate) in told(&self.metrics, self.one_relevant) {
            let users = thousands(self.evaluated_users);
            table.push([name.clone(), number(estimate.value), interval(estimate), users]);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.conditions(), self.table())
    }
}

/// Two systems on the same questions; prints as a table, serialises to JSON. Both say how many users of each system got no
/// answer and count as 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonReport {
    a: String,
    b: String,
    evaluated_users: usize,
    users_without_answer: Option<Sides>,
    one_relevant: bool,
    #[serde(serialize_with = "as_map")]
    metrics: Vec<(String, Comparison)>,
}

/// A number of each system.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Sides {
    a: usize,
    b: usize,
}

impl ComparisonReport {
    pub(super) fn new(
        [a, b]: [&str; 2],
        evaluated_users: usize,
        one_relevant: bool,
        metrics: Vec<(String, Comparison)>,
    ) -> Self {
        let (a, b) = (a.into(), b.into());
        Self { a, b, evaluated_users, users_without_answer: None, one_relevant, metrics }
    }

    pub(super) fn with_users_without_answer(mut self, users: Option<[usize; 2]>) -> Self {
        self.users_without_answer = users.map(|[a, b]| Sides { a, b });
        self
    }

    /// The users to whom each system answered nothing, and who count as 0; `None` where nobody was asked, but rows were
    /// ranked or classified.
    pub fn users_without_answer(&self) -> Option<[usize; 2]> {
        self.users_without_answer.map(|Sides { a, b }| [a, b])
    }

    /// The comparisons by name, `recall@200`, in the order of the table.
    pub fn metrics(&self) -> &[(String, Comparison)] {
        &self.metrics
    }

    /// The comparison of this name.
    pub fn metric(&self, name: &str) -> Option<Comparison> {
        self.metrics.iter().find(|(own, _)| own == name).map(|(_, comparison)| *comparison)
    }

    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        format!("{}\n\n{}", self.title(), self.table().to_markdown())
    }

    fn title(&self) -> String {
        format!(
            "{} against {}, the same {} users; p: share of paired resamples in which {} is not above {}.{}",
            self.a,
            self.b,
            thousands(self.evaluated_users),
            self.a,
            self.b,
            self.without_answer_text()
        )
    }

    fn without_answer_text(&self) -> String {
        match self.users_without_answer() {
            None | Some([0, 0]) => String::new(),
            Some(users) => {
                let [a, b] = users.map(thousands);
                format!(" Without an answer, which counts as 0: {a} users of {}, {b} of {}.", self.a, self.b)
            }
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["metric", &self.a, &self.b, "difference", "95 % interval", "p"]);
        for (name, comparison) in told(&self.metrics, self.one_relevant) {
            let Comparison { a, b, difference, p_value } = comparison;
            let p = if *p_value == 0.0 { "< 0.001".into() } else { format!("{p_value:.3}") };
            let difference_text = format!("{:+.4}", difference.value);
            table.push([name.clone(), number(*a), number(*b), difference_text, interval(difference), p]);
        }
        table
    }
}

impl fmt::Display for ComparisonReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.title(), self.table())
    }
}

const ONE_RELEVANT: &str =
    " One relevant item a user: hit rate is recall, MAP is MRR, precision is recall / k.";

/// A sentence on the rows that a split left out, behind others.
pub(super) fn dropped_text(dropped: DroppedRows) -> String {
    format!(" Dropped by the split: {dropped}.")
}

/// A sentence on the users without a history and without an answer, behind others; nothing where there are none.
pub(super) fn gaps_text(n_users: usize, without_history: usize, without_answer: usize) -> String {
    let of_all = format!(" of {} users", thousands(n_users));
    let have = if without_history == 1 { "has" } else { "have" };
    let count = if without_answer == 1 { "counts" } else { "count" };
    let history = format!(" {}{of_all} {have} no history", thousands(without_history));
    let answer =
        |of_all: &str| format!(" {}{of_all} got no answer and {count} as 0.", thousands(without_answer));
    match (without_history, without_answer) {
        (0, 0) => String::new(),
        (_, 0) => history + ".",
        (0, _) => answer(&of_all),
        _ => history + ";" + &answer(""),
    }
}

pub(super) fn number(value: f64) -> String {
    format!("{value:.4}")
}

pub(super) fn interval(estimate: &Estimate) -> String {
    let text = estimate.interval.map(|interval| format!("[{:.4}, {:.4}]", interval.low, interval.high));
    text.unwrap_or_else(|| "–".into())
}

/// The metrics that a table shows: all, but for those that repeat others where one item is relevant.
fn told<T>(metrics: &[(String, T)], one_relevant: bool) -> impl Iterator<Item = &(String, T)> {
    const REPEATS: [&str; 3] = ["hit_rate@", "precision@", "map@"];
    let repeats = move |name: &str| one_relevant && REPEATS.iter().any(|repeat| name.starts_with(repeat));
    metrics.iter().filter(move |(name, _)| !repeats(name))
}

/// Named values as one JSON object, in their order.
fn as_map<T: Serialize, S: Serializer>(named: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(named.iter().map(|(name, value)| (name, value)))
}
