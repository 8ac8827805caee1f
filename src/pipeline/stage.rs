use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::ItemId;
use crate::pipeline::{Candidate, Query, Ranker, Reranker};
use crate::top_k::by_score;

/// The runs of one stage that may go on after they were given up; with more, the stage is not asked.
const MAX_LATE: usize = 4;

/// How a stage of a [`Pipeline`](crate::pipeline::Pipeline) ended. After all but the first the order is as it was before.
#[derive(Debug)]
#[non_exhaustive]
pub enum StageOutcome {
    /// It scored or ordered the candidates.
    Done,
    /// It returned an error, or an answer that no stage may give.
    Failed(Error),
    /// It panicked, with this message.
    Panicked(String),
    /// It took longer than its budget.
    TooLate,
    /// It was not asked: several runs that took too long still go on, or the system has no thread to give.
    Busy,
}

impl StageOutcome {
    /// Whether the stage did its work.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// What a stage makes of candidates, or how it failed.
type Answered = std::result::Result<Verdict, StageOutcome>;

/// What a stage makes of candidates.
enum Verdict {
    /// A score for each.
    Scores(Vec<f32>),
    /// Some of them, in this order.
    List(Vec<Candidate>),
}

/// A stage behind recall.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) n_kept: usize,
    pub(crate) budget: Option<Duration>,
    pub(crate) work: Work,
    /// Runs that were given up and still go on.
    n_late: Arc<AtomicUsize>,
}

/// What a stage behind recall does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Rank(Arc<dyn Ranker>),
    Rerank(Arc<dyn Reranker>),
}

impl Stage {
    pub(super) fn new(name: String, work: Work, n_kept: usize) -> Self {
        Self { name, n_kept, budget: None, work, n_late: Arc::default() }
    }

    /// Orders the candidates, or leaves them as they are.
    pub(super) fn run(&self, query: &Query<'_>, candidates: &mut Vec<Candidate>) -> StageOutcome {
        let answered = match self.budget {
            None => self.work.guarded(query, candidates, self.n_kept),
            Some(budget) => self.run_within(budget, query, candidates),
        };
        match answered {
            Ok(Verdict::Scores(scores)) => {
                candidates.iter_mut().zip(scores).for_each(|(candidate, score)| candidate.score = score);
                candidates.sort_unstable_by(|a, b| by_score((a.item, a.score), (b.item, b.score)));
            }
            Ok(Verdict::List(list)) => *candidates = list,
            Err(outcome) => return outcome,
        }
        StageOutcome::Done
    }

    /// On a thread of its own, which is left to itself when the time is up.
    fn run_within(&self, budget: Duration, query: &Query<'_>, candidates: &[Candidate]) -> Answered {
        if self.n_late.load(Ordering::Relaxed) > MAX_LATE {
            return Err(StageOutcome::Busy);
        }
        let (sender, receiver) = sync_channel(1);
        let (work, n_kept, candidates) = (self.work.clone(), self.n_kept, candidates.to_vec());
        let (user, history, filter) = (query.user(), query.history().to_vec(), query.filter().clone());
        let is_over = Arc::new(AtomicBool::new(false));
        let (n_late, is_over_there) = (Arc::clone(&self.n_late), Arc::clone(&is_over));
        let spawned = thread::Builder::new().spawn(move || {
            let query = Query::of_parts(user, &history, filter);
            let answered = work.guarded(&query, &candidates, n_kept);
            // Whoever is second finds the run over on both sides.
            if is_over_there.swap(true, Ordering::AcqRel) {
                n_late.fetch_sub(1, Ordering::Relaxed);
            }
            // Nobody may wait any more.
            sender.send(answered).ok();
        });
        if spawned.is_err() {
            return Err(StageOutcome::Busy);
        }
        receiver.recv_timeout(budget).unwrap_or_else(|_| {
            self.n_late.fetch_add(1, Ordering::Relaxed);
            if is_over.swap(true, Ordering::AcqRel) {
                self.n_late.fetch_sub(1, Ordering::Relaxed);
            }
            Err(StageOutcome::TooLate)
        })
    }
}

impl Work {
    /// What the stage makes of the candidates; a panic ends here.
    fn guarded(&self, query: &Query<'_>, candidates: &[Candidate], n_kept: usize) -> Answered {
        match catch_unwind(AssertUnwindSafe(|| self.run(query, candidates, n_kept))) {
            Ok(answered) => answered.map_err(StageOutcome::Failed),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                Err(StageOutcome::Panicked(text.unwrap_or_else(|| "without a message".into())))
            }
        }
    }

    fn run(&self, query: &Query<'_>, candidates: &[Candidate], n_kept: usize) -> Result<Verdict> {
        match self {
            Self::Rank(ranker) => {
                let scores = ranker.score_candidates(query, candidates)?;
                Ok(Verdict::Scores(checked(scores, candidates.len())?))
            }
            Self::Rerank(reranker) => {
                let list = reranker.rerank(query, candidates.to_vec(), n_kept)?;
                check_order(&list, candidates, n_kept)?;
                Ok(Verdict::List(list))
            }
        }
    }
}

/// A ranker's scores of so many candidates, if there is one finite score for each.
pub(super) fn checked(scores: Vec<f32>, expected: usize) -> Result<Vec<f32>> {
    if scores.len() != expected {
        let (what, found) = ("number of scores", scores.len());
        return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
    }
    if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
        let value = scores[index].into();
        return Err(ErrorKind::NonFinite { what: "score of a candidate", index, value }.into());
    }
    Ok(scores)
}

/// Checks that a re-ranker kept its promise: at most so many of the candidates, each once.
fn check_order(order: &[Candidate], candidates: &[Candidate], n_kept: usize) -> Result<()> {
    let expected = "distinct items of those given";
    if order.len() > n_kept {
        return Err(Error::config("Reranker::rerank", format!("at most {n_kept} items"), order.len()));
    }
    let mut left: HashSet<ItemId> = candidates.iter().map(|candidate| candidate.item).collect();
    match order.iter().find(|candidate| !left.remove(&candidate.item)) {
        Some(candidate) => {
            Err(Error::config("Reranker::rerank", expected, format!("item {}", candidate.item)))
        }
        None => Ok(()),
    }
}
