use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::{DrawContext, NegativeSampler};

/// Every item alike: q(i) = 1 / n_items.
#[derive(Clone, Debug, PartialEq)]
pub struct UniformSampler {
    n_items: usize,
}

impl UniformSampler {
    /// Draws from `0..n_items`.
    ///
    /// # Errors
    /// An empty catalogue.
    pub fn new(n_items: usize) -> Result<Self> {
        if n_items == 0 {
            return Err(Error::config("UniformSampler::n_items", "at least 1", n_items));
        }
        Ok(Self { n_items })
    }
}

impl NegativeSampler for UniformSampler {
    fn draw(&self, _context: DrawContext<'_>, rng: &mut Rng) -> ItemId {
        ItemId(rng.below(self.n_items) as u32)
    }

    fn log_q(&self, _item: ItemId) -> f32 {
        -(self.n_items as f32).ln()
    }

    fn n_items(&self) -> usize {
        self.n_items
    }

    fn name(&self) -> String {
        "uniform".into()
    }
}
