use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::NegativeSampler;
use crate::samplers::alias::AliasTable;

/// Popular items more often: q(i) ∝ count(i)^α (Mikolov et al. 2013, with α = 0.75), drawn in constant
/// time. An item with count 0 is never drawn.
#[derive(Clone, Debug)]
pub struct PopularitySampler {
    alpha: f64,
    table: AliasTable,
    log_q: Vec<f32>,
}

impl PopularitySampler {
    /// Draws with probability ∝ count^α: α = 0 is uniform over the items with a count, 1 follows the data.
    ///
    /// # Errors
    /// No item with a count, or an α that is negative or not finite.
    pub fn new(counts: &[u64], alpha: f64) -> Result<Self> {
        if !(alpha.is_finite() && alpha >= 0.0) {
            return Err(Error::config("PopularitySampler::alpha", "a finite number of at least 0", alpha));
        }
        let weight = |&count: &u64| if count == 0 { 0.0 } else { (count as f64).powf(alpha) };
        let weights: Vec<f64> = counts.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return Err(Error::config("PopularitySampler::counts", "an item with a count", "none"));
        }
        let log_q = weights.iter().map(|weight| (weight / total).ln() as f32).collect();
        Ok(Self { alpha, table: AliasTable::new(&weights), log_q })
    }
}

impl NegativeSampler for PopularitySampler {
    fn draw(&self, _batch: &[ItemId], rng: &mut Rng) -> ItemId {
        ItemId(self.table.draw(rng) as u32)
    }

    fn log_q(&self, item: ItemId) -> f32 {
        self.log_q[item.index()]
    }

    fn name(&self) -> String {
        format!("popularity^{}", self.alpha)
    }
}
