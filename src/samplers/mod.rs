//! What did not happen? Negative items for training, and the probability q with which each is drawn.
//!
//! | sampler | q(i) | when |
//! |---|---|---|
//! | [`UniformSampler`] | 1 / n | the start; scores over the whole catalogue become comparable |
//! | [`PopularitySampler`], α > 0 | ∝ count^α | popular items crowd the answers; softmax with logQ correction |
//! | [`PopularitySampler`], α < 0 | ∝ count^α | rare items, hardly ever a positive or a negative, stand too high |
//! | [`InBatchSampler`] | the share of the positives | the negatives cost nothing: they are in the batch |
//! | [`HardNegatives`] | not known | late: most other negatives are told apart already and teach nothing |
//! | [`MixedSampler`] | Σ_s w_s q_s(i) | beside hard negatives, which alone leave the rest unordered |
//!
//! Retrieval draws them while it trains; [`RankingNegatives`] draws them beforehand, for rows of a positive and its negatives.
//! Where negatives are real and too many, [`DownSampling`] keeps a share and corrects the probabilities.

mod alias;
mod down_sampling;
mod hard;
mod in_batch;
mod mixed;
mod popularity;
mod ranking_negatives;
mod uniform;

use std::fmt::Debug;

use crate::ids::ItemId;
use crate::rng::Rng;

pub use down_sampling::DownSampling;
pub use hard::HardNegatives;
pub use in_batch::InBatchSampler;
pub use mixed::MixedSampler;
pub use popularity::PopularitySampler;
pub use ranking_negatives::RankingNegatives;
pub use uniform::UniformSampler;

/// What a negative is drawn for.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrawContext<'a> {
    /// The positive items of the batch in preparation.
    pub positives: &'a [ItemId],
    /// The items mined for the user; empty for a user without any.
    pub mined: &'a [ItemId],
}

/// Draws negative items from a distribution q over the catalogue.
pub trait NegativeSampler: Debug + Send + Sync {
    /// One draw.
    fn draw(&self, context: DrawContext<'_>, rng: &mut Rng) -> ItemId;

    /// log q(item): the log-probability that one draw gives `item`, for the logQ correction; −∞ for an
    /// item that is never drawn. NaN for a sampler with a [mined part](Self::hard), whose q differs from user
    /// to user.
    fn log_q(&self, item: ItemId) -> f32;

    /// The part of it that draws from mined items, if it has one.
    fn hard(&self) -> Option<&HardNegatives> {
        None
    }

    /// The number of items of the catalogue it draws from: every draw is below.
    fn n_items(&self) -> usize;

    /// Its name and settings, for reports and checkpoints.
    fn name(&self) -> String;

    /// One draw outside `seen` (sorted). After 64 draws in vain the last one is returned, so that a user
    /// who has seen nearly everything does not stop the training.
    fn draw_unseen(&self, context: DrawContext<'_>, seen: &[ItemId], rng: &mut Rng) -> ItemId {
        const MAX_DRAWS: usize = 64;
        let mut item = self.draw(context, rng);
        for _ in 1..MAX_DRAWS {
            if seen.binary_search(&item).is_err() {
                break;
            }
            item = self.draw(context, rng);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 200_000;

    /// The share of each item among many draws is exp(log q) within four standard deviations.
    fn check(sampler: &dyn NegativeSampler, positives: &[ItemId], n_items: usize) {
        let context = DrawContext { positives, ..DrawContext::default() };
        check_shares(sampler, context, n_items, |item| f64::from(sampler.log_q(item).exp()));
    }

    fn check_shares(
        sampler: &dyn NegativeSampler,
        context: DrawContext<'_>,
        n_items: usize,
        q: impl Fn(ItemId) -> f64,
    ) {
        let mut rng = Rng::new(11);
        let mut counts = vec![0usize; n_items];
        for _ in 0..DRAWS {
            counts[sampler.draw(context, &mut rng).index()] += 1;
        }
        let mut total = 0.0;
        for (item, &count) in counts.iter().enumerate() {
            let q = q(ItemId(item as u32));
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
        check(&uniform(7), &[], 7);
        for alpha in [0.0, 0.5, 1.0, -0.5, -1.0] {
            check(&PopularitySampler::new(&counts(), alpha).unwrap(), &[], 5);
        }
        let batch: Vec<ItemId> =
            counts().iter().enumerate().flat_map(|(i, &n)| vec![ItemId(i as u32); n as usize]).collect();
        check(&InBatchSampler::new(&counts()).unwrap(), &batch, 5);
        let mixed = MixedSampler::new(vec![
            (3.0, Box::new(uniform(5))),
            (1.0, Box::new(PopularitySampler::new(&counts(), 1.0).unwrap())),
        ]);
        check(&mixed.unwrap(), &[], 5);
    }

    fn uniform(n_items: usize) -> UniformSampler {
        UniformSampler::new(n_items).unwrap()
    }

    #[test]
    fn a_negative_alpha_prefers_the_tail_and_extremes_stay_finite() {
        let tail = PopularitySampler::new(&counts(), -1.0).unwrap();
        let q = |item| tail.log_q(ItemId(item)).exp();
        assert!((q(2) / q(0) - 5.0).abs() < 1e-4 && (q(2) / q(3) - 30.0).abs() < 1e-3);
        assert_eq!(q(1), 0.0);
        let context = DrawContext::default();
        for (alpha, only) in [(-1e4, ItemId(1)), (1e4, ItemId(0))] {
            let sampler = PopularitySampler::new(&[300, 2, 0, 7], alpha).unwrap();
            assert_eq!(sampler.log_q(only), 0.0);
            assert!((0..100).all(|seed| sampler.draw(context, &mut Rng::new(seed)) == only));
        }
    }

    #[test]
    fn a_mixture_with_a_mined_part_follows_its_weights() {
        let tail = PopularitySampler::new(&counts(), -1.0).unwrap();
        let mixed = MixedSampler::new(vec![
            (2.0, Box::new(uniform(5))),
            (1.0, Box::new(tail.clone())),
            (1.0, Box::new(HardNegatives::new(0..2, 3, uniform(5)).unwrap())),
        ])
        .unwrap();
        let mined = [ItemId(4), ItemId(1)];
        let from_tail = |item| 0.25 * f64::from(tail.log_q(item).exp());
        check_shares(&mixed, DrawContext { mined: &mined, ..DrawContext::default() }, 5, |item| {
            0.5 / 5.0 + from_tail(item) + if mined.contains(&item) { 0.25 / 2.0 } else { 0.0 }
        });
        // A user without mined items: that share goes to the fallback.
        check_shares(&mixed, DrawContext::default(), 5, |item| 0.75 / 5.0 + from_tail(item));
        assert!(mixed.log_q(ItemId(0)).is_nan());
        assert_eq!(mixed.hard().unwrap().every(), 3);
        assert_eq!(
            mixed.name(),
            "0.500 uniform + 0.250 popularity^-1 + 0.250 hard (ranks 0..2 every 3 epochs, else uniform)"
        );
    }

    #[test]
    fn seen_items_are_rejected_and_a_full_history_does_not_hang() {
        let sampler = uniform(4);
        let context = DrawContext::default();
        let mut rng = Rng::new(5);
        let seen = [ItemId(0), ItemId(1), ItemId(3)];
        for _ in 0..100 {
            assert_eq!(sampler.draw_unseen(context, &seen, &mut rng), ItemId(2));
        }
        let everything: Vec<_> = (0..4).map(ItemId).collect();
        assert!(sampler.draw_unseen(context, &everything, &mut rng).index() < 4);
    }

    #[test]
    fn nothing_to_draw_from_is_an_error() {
        assert!(UniformSampler::new(0).is_err());
        assert!(PopularitySampler::new(&[], 1.0).is_err());
        assert!(PopularitySampler::new(&[0, 0], 1.0).is_err());
        assert!(PopularitySampler::new(&[1], f64::NAN).is_err());
        assert!(InBatchSampler::new(&[0]).is_err());
        assert!(MixedSampler::new(vec![]).is_err());
        let negative: Box<dyn NegativeSampler> = Box::new(uniform(1));
        assert!(MixedSampler::new(vec![(-1.0, negative)]).is_err());
        let hard = || HardNegatives::new(0..2, 1, uniform(5)).unwrap();
        assert!(MixedSampler::new(vec![(1.0, Box::new(hard())), (1.0, Box::new(hard()))]).is_err());
        assert!(HardNegatives::new(0..2, 1, hard()).is_err());
        assert!(HardNegatives::new(2..2, 1, uniform(5)).is_err());
        assert!(HardNegatives::new(0..2, 0, uniform(5)).is_err());
    }
}
