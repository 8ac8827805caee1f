use std::ops::Range;

use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::{DrawContext, NegativeSampler};

/// Hard negatives: items that the model of some epochs ago scored highest for the user, though the user never
/// chose them (Xiong et al. 2021, "Approximate nearest neighbor negative contrastive learning for dense text
/// retrieval", ANCE, §4.1).
///
/// Each user's unseen items are ranked by score, and a draw is uniform among those at some of the ranks. The
/// very first ranks hold what the user would like and has not met yet: false negatives, which score as high as
/// hard ones (Ding et al. 2020, "Simplify and robustify negative sampling for implicit collaborative
/// filtering", §3). A range that starts above 0 leaves them out.
///
/// The sampler says what to mine;
/// [`RetrievalBatches::mine`](crate::training::RetrievalBatches::mine) does it. Alone it is seldom right: in a
/// [`MixedSampler`](super::MixedSampler) the easy negatives keep the rest of the catalogue in order. The
/// calibration of gBCE supposes uniform negatives and is off where hard ones are mixed in.
#[derive(Debug)]
pub struct HardNegatives {
    ranks: Range<usize>,
    every: usize,
    fallback: Box<dyn NegativeSampler>,
}

impl HardNegatives {
    /// Draws among the `ranks` (counted from 0) of each user's unseen items, mined anew after `every` epochs; for
    /// a user who has none, from `fallback`.
    ///
    /// # Errors
    /// No rank, 0 epochs, or a fallback that itself draws from mined items.
    pub fn new(ranks: Range<usize>, every: usize, fallback: impl NegativeSampler + 'static) -> Result<Self> {
        if ranks.is_empty() {
            let found = format!("{ranks:?}");
            return Err(Error::config("HardNegatives::ranks", "a range that is not empty", found));
        }
        if every == 0 {
            return Err(Error::config("HardNegatives::every", "at least 1", every));
        }
        if fallback.hard().is_some() {
            let expected = "a sampler that needs no mined items";
            return Err(Error::config("HardNegatives::fallback", expected, fallback.name()));
        }
        Ok(Self { ranks, every, fallback: Box::new(fallback) })
    }

    /// The ranks among a user's unseen items, counted from 0.
    pub fn ranks(&self) -> Range<usize> {
        self.ranks.clone()
    }

    /// For how many epochs the mined items serve.
    pub fn every(&self) -> usize {
        self.every
    }
}

impl NegativeSampler for HardNegatives {
    fn draw(&self, context: DrawContext<'_>, rng: &mut Rng) -> ItemId {
        match context.mined {
            [] => self.fallback.draw(context, rng),
            mined => mined[rng.below(mined.len())],
        }
    }

    fn log_q(&self, _item: ItemId) -> f32 {
        f32::NAN
    }

    fn hard(&self) -> Option<&HardNegatives> {
        Some(self)
    }

    fn n_items(&self) -> usize {
        self.fallback.n_items()
    }

    fn name(&self) -> String {
        let Self { ranks, every, fallback } = self;
        format!("hard (ranks {ranks:?} every {every} epochs, else {})", fallback.name())
    }
}
