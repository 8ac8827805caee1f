use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::rng::Rng;
use crate::samplers::alias::AliasTable;
use crate::samplers::{DrawContext, HardNegatives, NegativeSampler};

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
    /// No sampler, samplers of different catalogues, a weight that is not a positive finite number, or two samplers with a mined
    /// part: a user has one list of mined items.
    pub fn new(mut parts: Vec<(f64, Box<dyn NegativeSampler>)>) -> Result<Self> {
        let weights: Vec<f64> = parts.iter().map(|(weight, _)| *weight).collect();
        if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
            return Err(Error::config("MixedSampler::weight", "a positive finite number", weight));
        }
        if parts.is_empty() {
            return Err(Error::config("MixedSampler::parts", "at least one sampler", "none"));
        }
        let n_items = parts[0].1.n_items();
        if let Some((_, part)) = parts.iter().find(|(_, part)| part.n_items() != n_items) {
            let expected = format!("samplers of {n_items} items, as the first");
            return Err(Error::config("MixedSampler::parts", expected, part.n_items()));
        }
        let n_hard = parts.iter().filter(|(_, part)| part.hard().is_some()).count();
        if n_hard > 1 {
            return Err(Error::config("MixedSampler::parts", "at most one with mined items", n_hard));
        }
        let total: f64 = weights.iter().sum();
        parts.iter_mut().for_each(|(weight, _)| *weight /= total);
        Ok(Self { parts, table: AliasTable::new(&weights) })
    }
}

impl NegativeSampler for MixedSampler {
    fn draw(&self, context: DrawContext<'_>, rng: &mut Rng) -> ItemId {
        self.parts[self.table.draw(rng)].1.draw(context, rng)
    }

    fn log_q(&self, item: ItemId) -> f32 {
        let q: f64 = self.parts.iter().map(|(weight, part)| weight * f64::from(part.log_q(item)).exp()).sum();
        q.ln() as f32
    }

    fn hard(&self) -> Option<&HardNegatives> {
        self.parts.iter().find_map(|(_, part)| part.hard())
    }

    fn n_items(&self) -> usize {
        self.parts[0].1.n_items()
    }

    fn name(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(weight, part)| format!("{weight:.3} {}", part.name())).collect();
        parts.join(" + ")
    }
}
