use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::{DrawContext, NegativeSampler};

/// The positives of the other rows serve as negatives, so q is the share of an item among all training
/// positives (Yi et al. 2019, §3: the sampling bias that the logQ correction removes).
#[derive(Clone, Debug)]
pub struct InBatchSampler {
    log_q: Vec<f32>,
}

impl InBatchSampler {
    /// q from how often each item is a positive of the training data.
    ///
    /// # Errors
    /// No positive at all.
    pub fn new(counts: &[u64]) -> Result<Self> {
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return Err(Error::config("InBatchSampler::counts", "an item with a count", "none"));
        }
        Ok(Self { log_q: counts.iter().map(|&count| (count as f64 / total as f64).ln() as f32).collect() })
    }
}

impl NegativeSampler for InBatchSampler {
    fn draw(&self, context: DrawContext<'_>, rng: &mut Rng) -> ItemId {
        context.positives[rng.below(context.positives.len())]
    }

    fn log_q(&self, item: ItemId) -> f32 {
        self.log_q[item.index()]
    }

    fn n_items(&self) -> usize {
        self.log_q.len()
    }

    fn name(&self) -> String {
        "in-batch".into()
    }
}
