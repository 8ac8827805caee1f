use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::pipeline::stage::{Stage, Work};
use crate::pipeline::{
    Candidate, Channel, ChannelConfig, Fusion, FusionMethod, Query, Ranker, Recaller, Reranker, StageOutcome,
};

/// The name of the first stage of every pipeline.
pub(super) const RECALL: &str = "recall";

/// Recall, rank, re-rank: narrows a catalogue to the few items to show, stage by stage.
///
/// ```
/// use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller, PopularityRecaller};
/// use recsys::models::reranking::PopularityDebias;
/// use recsys::pipeline::Pipeline;
/// use recsys::prelude::*;
///
/// /// Items of an even number first.
/// #[derive(Debug)]
/// struct EvenFirst;
///
/// impl Ranker for EvenFirst {
///     fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
///         Ok(items.iter().map(|item| f32::from(item.0 % 2 == 0)).collect())
///     }
/// }
///
/// let train = SyntheticConfig::new(200, 100, 4_000, 1).generate()?.interactions().clone();
/// let pipeline = Pipeline::recall("item_knn", ItemKnnRecaller::fit(&train, &ItemKnnConfig::default())?, 50)
///     .and_recall("popularity", PopularityRecaller::fit(&train), 20)
///     .rank("even_first", EvenFirst, 20)
///     .rerank("debias", PopularityDebias::fit(&train, 0.2)?, 10)
///     .build()?;
/// let answer = pipeline.recommend(&Query::new(&[ItemId(3), ItemId(8)]))?;
/// assert_eq!(answer.items.len(), 10);
/// assert!(answer.is_whole());
/// # Ok::<(), Error>(())
/// ```
///
/// A stage behind recall that returns an error, panics, gives an answer that no stage may give (another number of scores, a
/// score that is not finite, an item that it was not given) or takes longer than its [budget](PipelineBuilder::within) leaves
/// the order as it was before, and the [`Answer`] says so. Without candidates there is nothing to fall back to: an
/// error of recall is that of the request.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(super) fusion: Fusion,
    pub(super) n_recalled: usize,
    pub(super) stages: Vec<Stage>,
}

/// A [`Pipeline`] that is put together.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PipelineBuilder {
    channels: Vec<Channel>,
    method: FusionMethod,
    n_recalled: Option<usize>,
    stages: Vec<Stage>,
    /// A budget that stood before any stage.
    misplaced_budget: bool,
}

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    /// The items to show, in this order, with what every channel said of them.
    pub items: Vec<Candidate>,
    /// What each stage did, recall first.
    pub stages: Vec<StageReport>,
}

/// What one stage did for one request.
#[derive(Debug)]
pub struct StageReport {
    /// The name of the stage.
    pub name: String,
    /// The candidates that it left to the next.
    pub n_kept: usize,
    /// How long it took; of requests that were recalled together, each one's share.
    pub time: Duration,
    /// How it ended.
    pub outcome: StageOutcome,
}

impl Answer {
    /// Whether every stage did its work.
    pub fn is_whole(&self) -> bool {
        self.stages.iter().all(|stage| stage.outcome.is_done())
    }
}

impl Pipeline {
    /// Begins with the channel `name`: a recaller, asked for `n_candidates` items.
    pub fn recall(
        name: impl Into<String>,
        recaller: impl Recaller + 'static,
        n_candidates: usize,
    ) -> PipelineBuilder {
        PipelineBuilder::default().and_recall(name, recaller, n_candidates)
    }

    /// Begins with channels that are already fused, of whose candidates `n_recalled` are kept.
    pub fn of(fusion: Fusion, n_recalled: usize) -> PipelineBuilder {
        PipelineBuilder {
            method: fusion.method(),
            channels: fusion.channels().to_vec(),
            n_recalled: Some(n_recalled),
            ..PipelineBuilder::default()
        }
    }

    /// The channels.
    pub fn fusion(&self) -> &Fusion {
        &self.fusion
    }

    /// The most candidates that recall leaves to the next stage.
    pub fn n_recalled(&self) -> usize {
        self.n_recalled
    }

    /// The stages behind recall.
    pub(crate) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The names of all stages, recall first.
    pub fn stage_names(&self) -> impl Iterator<Item = &str> {
        [RECALL].into_iter().chain(self.stages.iter().map(|stage| stage.name.as_str()))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// As those of the [`Fusion`] of its channels.
    pub fn recommend(&self, query: &Query<'_>) -> Result<Answer> {
        let start = Instant::now();
        let recalled = self.fusion.recall(query, self.n_recalled)?;
        Ok(self.narrow(query, recalled, start.elapsed(), |_| ()))
    }

    /// Answers many requests, each as [`recommend`](Self::recommend) would, up to the rounding of batched recall.
    ///
    /// # Errors
    /// As [`recommend`](Self::recommend), for the first query that fails.
    pub fn recommend_batch(&self, queries: &[Query<'_>]) -> Result<Vec<Answer>> {
        let start = Instant::now();
        let recalled = self.fusion.recall_batch(queries, self.n_recalled)?;
        let share = start.elapsed() / u32::try_from(queries.len()).unwrap_or(u32::MAX).max(1);
        let narrow = |(query, recalled)| self.narrow(query, recalled, share, |_| ());
        Ok(queries.par_iter().zip(recalled).map(narrow).collect())
    }

    /// Passes candidates through all stages behind recall; `see` is shown the order of each before it is cut.
    pub(super) fn narrow(
        &self,
        query: &Query<'_>,
        mut candidates: Vec<Candidate>,
        recall_time: Duration,
        mut see: impl FnMut(&[Candidate]),
    ) -> Answer {
        see(&candidates);
        let report =
            |name: &str, n_kept, time, outcome| StageReport { name: name.into(), n_kept, time, outcome };
        let mut stages = vec![report(RECALL, candidates.len(), recall_time, StageOutcome::Done)];
        for stage in &self.stages {
            let start = Instant::now();
            let outcome = stage.run(query, &mut candidates);
            see(&candidates);
            candidates.truncate(stage.n_kept);
            stages.push(report(&stage.name, candidates.len(), start.elapsed(), outcome));
        }
        if candidates.len() < stages[0].n_kept {
            // Those that were dropped are told of no more.
            let detach = |candidate: &mut Candidate| candidate.channels = candidate.channels.detached();
            candidates.iter_mut().for_each(detach);
        }
        Answer { items: candidates, stages }
    }
}

impl PipelineBuilder {
    /// Adds a channel: its candidates are joined with those of the others.
    pub fn and_recall(
        mut self,
        name: impl Into<String>,
        recaller: impl Recaller + 'static,
        n_candidates: usize,
    ) -> Self {
        self.channels.push(Channel::new(ChannelConfig::new(name, n_candidates), Box::new(recaller)));
        self
    }

    /// Says how the channels are joined and how many of their candidates are kept; by default all are, by reciprocal
    /// ranks.
    pub fn fuse(mut self, method: FusionMethod, n_recalled: usize) -> Self {
        (self.method, self.n_recalled) = (method, Some(n_recalled));
        self
    }

    /// Adds a stage that scores the candidates, of which the `n_kept` best go on.
    pub fn rank(self, name: impl Into<String>, ranker: impl Ranker + 'static, n_kept: usize) -> Self {
        self.stage(name, Work::Rank(Arc::new(ranker)), n_kept)
    }

    /// Adds a stage that chooses and orders `n_kept` of the candidates.
    pub fn rerank(self, name: impl Into<String>, reranker: impl Reranker + 'static, n_kept: usize) -> Self {
        self.stage(name, Work::Rerank(Arc::new(reranker)), n_kept)
    }

    /// Gives the stage added last a time budget: when it is up, the request goes on in the order that it had. The stage then
    /// runs on a thread of its own, which costs some tens of microseconds; a run that is given up goes on unseen, and while
    /// more than four of a stage do, the stage is not asked.
    pub fn within(mut self, budget: Duration) -> Self {
        match self.stages.last_mut() {
            Some(stage) => stage.budget = Some(budget),
            None => self.misplaced_budget = true,
        }
        self
    }

    /// Adds a stage of either kind.
    pub(crate) fn stage(mut self, name: impl Into<String>, work: Work, n_kept: usize) -> Self {
        self.stages.push(Stage::new(name.into(), work, n_kept));
        self
    }

    /// The pipeline.
    ///
    /// # Errors
    /// Channels that cannot be fused; a stage without a name, with that of another or "recall"; a stage that keeps no item, or
    /// more than reach it; a budget before the first stage behind recall.
    pub fn build(self) -> Result<Pipeline> {
        let Self { channels, method, n_recalled, stages, misplaced_budget } = self;
        let n_all =
            channels.iter().map(|channel| channel.config().n_candidates).fold(0, usize::saturating_add);
        let n_recalled = n_recalled.unwrap_or(n_all);
        let mut n_left = n_recalled;
        for (at, Stage { name, n_kept, .. }) in stages.iter().enumerate() {
            if name.is_empty() || name == RECALL || stages[..at].iter().any(|other| other.name == *name) {
                return Err(Error::config("Pipeline::stage", "a name of its own", format!("{name:?}")));
            }
            if !(1..=n_left).contains(n_kept) {
                let expected = format!("1 to {n_left} items kept by {name}, as reach it");
                return Err(Error::config("Pipeline::n_kept", expected, n_kept));
            }
            n_left = *n_kept;
        }
        if n_recalled == 0 {
            return Err(Error::config("Pipeline::n_recalled", "at least 1", 0));
        }
        if misplaced_budget {
            let expected = "a stage behind recall that it is for";
            return Err(Error::config("PipelineBuilder::within", expected, "none"));
        }
        Ok(Pipeline { fusion: Fusion::new(method, channels)?, n_recalled, stages })
    }
}
