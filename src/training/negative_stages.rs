use std::sync::{Arc, PoisonError, RwLock};

use crate::data::Csr;
use crate::error::{Error, Result};
use crate::ids::{ItemId, UserId};
use crate::rng::Rng;
use crate::samplers::{DrawContext, HardNegatives, NegativeSampler};

/// What draws the negatives, stage by stage, and the items last mined for it.
#[derive(Debug)]
pub(super) struct NegativeStages {
    /// The first begins with epoch 0, each further one after the one before.
    stages: Vec<Stage>,
    mined: RwLock<Arc<Csr<UserId, ItemId>>>,
}

/// A sampler and the epoch from which it serves.
#[derive(Debug)]
struct Stage {
    from_epoch: usize,
    sampler: Box<dyn NegativeSampler>,
}

impl NegativeStages {
    /// One stage, nothing mined.
    pub(super) fn new(sampler: Box<dyn NegativeSampler>) -> Self {
        let nothing = Csr::from_rows::<[ItemId; 0]>([]);
        Self { stages: vec![Stage { from_epoch: 0, sampler }], mined: RwLock::new(Arc::new(nothing)) }
    }

    pub(super) fn set_first(&mut self, sampler: Box<dyn NegativeSampler>) {
        self.stages[0].sampler = sampler;
    }

    pub(super) fn push(&mut self, from_epoch: usize, sampler: Box<dyn NegativeSampler>) -> Result<()> {
        let last = self.stages[self.stages.len() - 1].from_epoch;
        if from_epoch <= last {
            let expected = format!("an epoch after {last}, with which a stage begins already");
            return Err(Error::config("RetrievalBatches::from_epoch", expected, from_epoch));
        }
        self.stages.push(Stage { from_epoch, sampler });
        Ok(())
    }

    /// The first epoch and the name of each stage.
    pub(super) fn names(&self) -> Vec<(usize, String)> {
        self.stages.iter().map(|stage| (stage.from_epoch, stage.sampler.name())).collect()
    }

    /// The mined part of the sampler of an epoch.
    pub(super) fn hard(&self, epoch: usize) -> Option<&HardNegatives> {
        self.stage(epoch).sampler.hard()
    }

    /// Whether to mine before an epoch: where a stage with a mined part begins, and then as often as it says.
    pub(super) fn needs_mining(&self, epoch: usize) -> bool {
        let Stage { from_epoch, sampler } = self.stage(epoch);
        sampler.hard().is_some_and(|hard| (epoch - from_epoch).is_multiple_of(hard.every()))
    }

    /// The items of each user, best first, as they were last mined; no row at all before that.
    pub(super) fn mined(&self) -> Arc<Csr<UserId, ItemId>> {
        Arc::clone(&self.mined.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_mined(&self, mined: Csr<UserId, ItemId>) {
        *self.mined.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(mined);
    }

    /// What an epoch draws from, whatever is mined later.
    pub(super) fn epoch(&self, epoch: usize) -> EpochNegatives<'_> {
        EpochNegatives { sampler: self.stage(epoch).sampler.as_ref(), mined: self.mined() }
    }

    fn stage(&self, epoch: usize) -> &Stage {
        let later = self.stages.partition_point(|stage| stage.from_epoch <= epoch);
        &self.stages[later - 1]
    }
}

/// What the negatives of one epoch are drawn from.
pub(super) struct EpochNegatives<'a> {
    sampler: &'a dyn NegativeSampler,
    mined: Arc<Csr<UserId, ItemId>>,
}

impl EpochNegatives<'_> {
    pub(super) fn log_q(&self, item: ItemId) -> f32 {
        self.sampler.log_q(item)
    }

    /// `n` negatives for all rows; what is mined among them is mined for rows drawn at random.
    pub(super) fn shared(&self, n: usize, users: &[u32], positives: &[ItemId], rng: &mut Rng) -> Vec<ItemId> {
        let is_mined = self.sampler.hard().is_some();
        let mut draw = |_| {
            let mined = if is_mined { self.mined_for(users[rng.below(users.len())]) } else { &[] };
            self.sampler.draw(DrawContext { positives, mined }, rng)
        };
        (0..n).map(&mut draw).collect()
    }

    /// `n` negatives for each row, outside what its user has seen; `seen` has no row where that does not matter.
    pub(super) fn per_row(
        &self,
        n: usize,
        users: &[u32],
        positives: &[ItemId],
        seen: &[Vec<ItemId>],
        rng: &mut Rng,
    ) -> Vec<ItemId> {
        let mut drawn = Vec::with_capacity(users.len() * n);
        for &user in users {
            let seen = seen.get(user as usize).map_or(&[][..], Vec::as_slice);
            let context = DrawContext { positives, mined: self.mined_for(user) };
            drawn.extend((0..n).map(|_| self.sampler.draw_unseen(context, seen, rng)));
        }
        drawn
    }

    fn mined_for(&self, user: u32) -> &[ItemId] {
        self.mined.get(UserId(user)).unwrap_or_default()
    }
}
