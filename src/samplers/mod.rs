//! What did not happen? Negative items for training, and the probability q with which each is drawn.

mod alias;
mod in_batch;
mod mixed;
mod popularity;
mod uniform;

use std::fmt::Debug;

use crate::ids::ItemId;
use crate::rng::Rng;

pub use in_batch::InBatchSampler;
pub use mixed::MixedSampler;
pub use popularity::PopularitySampler;
pub use uniform::UniformSampler;

/// Draws negative items from a distribution q over the catalogue.
pub trait NegativeSampler: Debug + Send + Sync {
    /// One draw. `batch` holds the positive items of the batch in preparation.
    fn draw(&self, batch: &[ItemId], rng: &mut Rng) -> ItemId;

    /// log q(item): the log-probability that one draw gives `item`, for the logQ correction; −∞ for an
    /// item that is never drawn.
    fn log_q(&self, item: ItemId) -> f32;

    /// Its name and settings, for reports and checkpoints.
    fn name(&self) -> String;

    /// One draw outside `seen` (sorted). After 64 draws in vain the last one is returned, so that a user
    /// who has seen nearly everything does not stop the training.
    fn draw_unseen(&self, batch: &[ItemId], seen: &[ItemId], rng: &mut Rng) -> ItemId {
        const MAX_DRAWS: usize = 64;
        let mut item = self.draw(batch, rng);
        for _ in 1..MAX_DRAWS {
            if seen.binary_search(&item).is_err() {
                break;
            }
            item = self.draw(batch, rng);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 200_000;

    /// The share of each item among many draws is exp(log q) within four standard deviations.
    fn check(sampler: &dyn NegativeSampler, batch: &[ItemId], n_items: usize) {
        let mut rng = Rng::new(11);
        let mut counts = vec![0usize; n_items];
        for _ in 0..DRAWS {
            counts[sampler.draw(batch, &mut rng).index()] += 1;
        }
        let mut total = 0.0;
        for (item, &count) in counts.iter().enumerate() {
            let q = f64::from(sampler.log_q(ItemId(item as u32)).exp());
            let deviation = (q * (1.0 - q) / DRAWS as f64).sqrt();
            let share = count as f64 / DRAWS as f64;
            assert!((share - q).abs() <= 4.0 * deviation + 1e-6, "item {item}: {share} drawn, q = {q}");
            total += q;
        }
        assert!((total - 1.0).abs() < 1e-5, "q sums to {total}");
    }

    fn counts() -> Vec<u64> {
        vec![5, 0, 1, 30, 4]
    }

    #[test]
    fn draws_follow_log_q() {
        let uniform = UniformSampler::new(7).unwrap();
        check(&uniform, &[], 7);
        for alpha in [0.0, 0.5, 1.0] {
            check(&PopularitySampler::new(&counts(), alpha).unwrap(), &[], 5);
        }
        let batch: Vec<ItemId> =
            counts().iter().enumerate().flat_map(|(i, &n)| vec![ItemId(i as u32); n as usize]).collect();
        check(&InBatchSampler::new(&counts()).unwrap(), &batch, 5);
        let mixed = MixedSampler::new(vec![
            (3.0, Box::new(UniformSampler::new(5).unwrap())),
            (1.0, Box::new(PopularitySampler::new(&counts(), 1.0).unwrap())),
        ]);
        check(&mixed.unwrap(), &[], 5);
    }

    #[test]
    fn seen_items_are_rejected_and_a_full_history_does_not_hang() {
        let sampler = UniformSampler::new(4).unwrap();
        let mut rng = Rng::new(5);
        let seen = [ItemId(0), ItemId(1), ItemId(3)];
        for _ in 0..100 {
            assert_eq!(sampler.draw_unseen(&[], &seen, &mut rng), ItemId(2));
        }
        let everything: Vec<_> = (0..4).map(ItemId).collect();
        assert!(sampler.draw_unseen(&[], &everything, &mut rng).index() < 4);
    }

    #[test]
    fn nothing_to_draw_from_is_an_error() {
        assert!(UniformSampler::new(0).is_err());
        assert!(PopularitySampler::new(&[], 1.0).is_err());
        assert!(PopularitySampler::new(&[0, 0], 1.0).is_err());
        assert!(PopularitySampler::new(&[1], f64::NAN).is_err());
        assert!(InBatchSampler::new(&[0]).is_err());
        assert!(MixedSampler::new(vec![]).is_err());
        let negative: Box<dyn NegativeSampler> = Box::new(UniformSampler::new(1).unwrap());
        assert!(MixedSampler::new(vec![(-1.0, negative)]).is_err());
    }
}
