use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::NegativeSampler;
use crate::samplers::alias::AliasTable;

/// A mixture: q(i) = Σ_s w_s q_s(i), the weights normalised to 1 (Yang et al. 2020, mixed negative
/// sampling).
#[derive(Debug)]
pub struct MixedSampler {
    parts: Vec<(f64, Box<dyn NegativeSampler>)>,
    table: AliasTable,
}

impl MixedSampler {
    /// Draws from each sampler in proportion to its weight.
    ///
    /// # Errors
    /// No sampler, or a weight that is not a positive finite number.
    pub fn new(mut parts: Vec<(f64, Box<dyn NegativeSampler>)>) -> Result<Self> {
        let weights: Vec<f64> = parts.iter().map(|(weight, _)| *weight).collect();
        if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
            return Err(Error::config("MixedSampler::weight", "a positive finite number", weight));
        }
        if parts.is_empty() {
            return Err(Error::config("MixedSampler::parts", "at least one sampler", "none"));
        }
        let total: f64 = weights.iter().sum();
        parts.iter_mut().for_each(|(weight, _)| *weight /= total);
        Ok(Self { parts, table: AliasTable::new(&weights) })
    }
}

impl NegativeSampler for MixedSampler {
    fn draw(&self, batch: &[ItemId], rng: &mut Rng) -> ItemId {
        self.parts[self.table.draw(rng)].1.draw(batch, rng)
    }

    fn log_q(&self, item: ItemId) -> f32 {
        let q: f64 = self.parts.iter().map(|(weight, part)| weight * f64::from(part.log_q(item)).exp()).sum();
        q.ln() as f32
    }

    fn name(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(weight, part)| format!("{weight:.3} {}", part.name())).collect();
        parts.join(" + ")
    }
}
