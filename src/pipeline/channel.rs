use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{Candidate, Query, Recaller};

/// The settings of one channel of a [`Fusion`](crate::pipeline::Fusion).
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `name` | | what candidates say they come from | not empty, one channel only |
/// | `n_candidates` | | items the channel is asked for, however many the fusion is asked for | ≥ 1 |
/// | `weight` | 1 | factor of the channel's part in a fused score | ≥ 0, in one channel > 0 |
/// | `quota` | 0 | best items of the channel that stand before all that no channel reserves | ≤ `n_candidates` |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// What candidates say they come from.
    pub name: String,
    /// The items the channel is asked for.
    pub n_candidates: usize,
    /// The factor of the channel's part in a fused score.
    #[serde(default = "equal_weight")]
    pub weight: f32,
    /// How many of the channel's best items stand before all that no channel reserves.
    #[serde(default)]
    pub quota: usize,
}

fn equal_weight() -> f32 {
    1.0
}

impl ChannelConfig {
    /// A channel of this name that is asked for so many items.
    pub fn new(name: impl Into<String>, n_candidates: usize) -> Self {
        Self { name: name.into(), n_candidates, weight: equal_weight(), quota: 0 }
    }

    /// With another weight.
    pub fn with_weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// With places for the channel's best items.
    pub fn with_quota(mut self, quota: usize) -> Self {
        self.quota = quota;
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let Self { name, n_candidates, weight, quota } = self;
        if name.is_empty() {
            return Err(Error::config("ChannelConfig::name", "a name", "an empty one"));
        }
        if *n_candidates == 0 {
            return Err(Error::config("ChannelConfig::n_candidates", "at least 1", 0));
        }
        if !(weight.is_finite() && *weight >= 0.0) {
            return Err(Error::config("ChannelConfig::weight", "a finite number of 0 or more", weight));
        }
        if quota > n_candidates {
            return Err(Error::config("ChannelConfig::quota", format!("at most {n_candidates}"), quota));
        }
        Ok(())
    }
}

/// A recaller under a name, as a part of a [`Fusion`](crate::pipeline::Fusion).
#[derive(Clone, Debug)]
pub struct Channel {
    pub(super) config: ChannelConfig,
    recaller: Arc<dyn Recaller>,
}

impl Channel {
    /// Gives a recaller its name and its settings.
    pub fn new(config: ChannelConfig, recaller: Box<dyn Recaller>) -> Self {
        Self { config, recaller: recaller.into() }
    }

    /// The settings.
    pub fn config(&self) -> &ChannelConfig {
        &self.config
    }

    /// The recaller.
    pub fn recaller(&self) -> &dyn Recaller {
        self.recaller.as_ref()
    }

    /// The channel's own answer, whatever its weight.
    pub(crate) fn recall(&self, query: &Query<'_>) -> Result<Vec<Candidate>> {
        let answer =
            self.recaller.recall(query, self.config.n_candidates).map_err(|error| self.named(error))?;
        self.check_scores(&answer)?;
        Ok(answer)
    }

    /// The channel's own answers, whatever its weight.
    pub(crate) fn recall_batch(&self, queries: &[Query<'_>]) -> Result<Vec<Vec<Candidate>>> {
        let answers = self.recaller.recall_batch(queries, self.config.n_candidates);
        let answers = answers.map_err(|error| self.named(error))?;
        if answers.len() != queries.len() {
            let (what, expected, found) = ("number of answers", queries.len(), answers.len());
            return Err(self.named(ErrorKind::LengthMismatch { what, expected, found }.into()));
        }
        answers.iter().try_for_each(|answer| self.check_scores(answer))?;
        Ok(answers)
    }

    fn check_scores(&self, answer: &[Candidate]) -> Result<()> {
        match answer.iter().position(|candidate| !candidate.score.is_finite()) {
            Some(index) => {
                let value = answer[index].score.into();
                Err(self.named(ErrorKind::NonFinite { what: "score of a candidate", index, value }.into()))
            }
            None => Ok(()),
        }
    }

    /// An error with the channel's name; but what is wrong with the query is no channel's doing.
    fn named(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::IdOutOfRange { .. } => error,
            _ => ErrorKind::Channel { channel: self.config.name.clone(), source: error }.into(),
        }
    }
}
