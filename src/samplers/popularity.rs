use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::alias::AliasTable;
use crate::samplers::{DrawContext, NegativeSampler};

/// Popular items more often, or rare ones: q(i) ∝ count(i)^α (Mikolov et al. 2013, with α = 0.75), drawn in
/// constant time. A negative α prefers the tail. An item with count 0 is never drawn, whatever α is.
#[derive(Clone, Debug)]
pub struct PopularitySampler {
    alpha: f64,
    table: AliasTable,
    log_q: Vec<f32>,
}

impl PopularitySampler {
    /// Draws with probability ∝ count^α: α = 0 is uniform over the items with a count, 1 follows the data, −1
    /// turns it round.
    ///
    /// # Errors
    /// No item with a count, or an α that is not finite.
    pub fn new(counts: &[u64], alpha: f64) -> Result<Self> {
        if !alpha.is_finite() {
            return Err(Error::config("PopularitySampler::alpha", "a finite number", alpha));
        }
        let positive = counts.iter().filter(|&&count| count > 0);
        let Some(&likeliest) = (if alpha < 0.0 { positive.min() } else { positive.max() }) else {
            return Err(Error::config("PopularitySampler::counts", "an item with a count", "none"));
        };
        // Relative to the likeliest item, so that no power overflows.
        let weight = |&count: &u64| match count {
            0 => 0.0,
            _ => (count as f64 / likeliest as f64).powf(alpha),
        };
        let weights: Vec<f64> = counts.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        let log_q = weights.iter().map(|weight| (weight / total).ln() as f32).collect();
        Ok(Self { alpha, table: AliasTable::new(&weights), log_q })
    }
}

impl NegativeSampler for PopularitySampler {
    fn draw(&self, _context: DrawContext<'_>, rng: &mut Rng) -> ItemId {
        ItemId(self.table.draw(rng) as u32)
    }

    fn log_q(&self, item: ItemId) -> f32 {
        self.log_q[item.index()]
    }

    fn n_items(&self) -> usize {
        self.log_q.len()
    }

    fn name(&self) -> String {
        format!("popularity^{}", self.alpha)
    }
}
