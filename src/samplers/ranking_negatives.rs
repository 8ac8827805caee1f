use crate::data::{Csr, Interactions};
use crate::error::{ErrorKind, Result, check_size};
use crate::ids::{ItemId, UserId};
use crate::rng::Rng;
use crate::samplers::{DrawContext, HardNegatives, NegativeSampler};

/// Negatives for a ranker that learns from what users chose: of each positive, `n_negatives` items that its user never
/// chose.
///
/// Where they come from decides what is learned. [Uniform](super::UniformSampler) ones tell what a user may like at all,
/// [popular](super::PopularitySampler) ones that popularity is not taste, and **recalled** ones, what a recaller answers to
/// that user at that moment, are the rows that the ranker will have to order in service. Recalled items are the mined part of
/// a [`HardNegatives`](super::HardNegatives), alone or in a [`MixedSampler`](super::MixedSampler).
///
/// ```
/// use recsys::prelude::*;
/// use recsys::samplers::{RankingNegatives, UniformSampler};
///
/// let event = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let positives = Interactions::from_rows(2, 9, [event(0, 1), event(0, 2), event(1, 8)])?;
/// let negatives = RankingNegatives::new(&positives, 4)?.draw(&positives, &[], &UniformSampler::new(9)?, 1)?;
/// assert_eq!(negatives.len(), 3 * 4);
/// assert!(negatives[..8].iter().all(|&item| item != ItemId(1) && item != ItemId(2)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RankingNegatives {
    seen: Csr<UserId, ItemId>,
    n_items: usize,
    n_negatives: usize,
}

impl RankingNegatives {
    /// `n_negatives` of each positive, none of which its user has in `seen`: all that is known of the users, also from
    /// after the positives, lest what they chose later is taught to be wrong.
    ///
    /// # Errors
    /// No negatives, or more than 2²⁰.
    pub fn new(seen: &Interactions, n_negatives: usize) -> Result<Self> {
        check_size("RankingNegatives::n_negatives", n_negatives)?;
        let (n_items, seen) = (seen.n_items(), Csr::by_user(seen, |row| row.item).sorted());
        Ok(Self { seen, n_items, n_negatives })
    }

    /// The negatives of all positives, `n_negatives` behind each other for each of them: with the positive before its
    /// own, they are the groups of [`RankingBatches`](crate::training::RankingBatches).
    ///
    /// The [mined part](NegativeSampler::hard) of the sampler draws from what was `recalled` for each positive, best first:
    /// of the items that its user never chose, those at [its ranks](super::HardNegatives::ranks). A sampler without one needs
    /// no lists.
    ///
    /// A user who has nearly everything may get an item that they chose, as
    /// [`draw_unseen`](NegativeSampler::draw_unseen) says.
    ///
    /// # Errors
    /// Positives of users that are not known; for a sampler with a mined part, another number of lists than there are
    /// positives, or an item in them that is none of the catalogue.
    pub fn draw(
        &self,
        positives: &Interactions,
        recalled: &[Vec<ItemId>],
        sampler: &dyn NegativeSampler,
        seed: u64,
    ) -> Result<Vec<ItemId>> {
        let ranks = sampler.hard().map(HardNegatives::ranks);
        if ranks.is_some() {
            self.check_recalled(positives, recalled)?;
        }
        let mut rng = Rng::stream(seed, &[0]);
        let mut negatives = Vec::with_capacity(positives.len() * self.n_negatives);
        for (positive, &user) in positives.users().iter().enumerate() {
            let Some(seen) = self.seen.get(user) else {
                let bound = self.seen.n_rows() as u64;
                return Err(ErrorKind::IdOutOfRange { what: "user", id: user.0.into(), bound }.into());
            };
            let mined: Vec<ItemId> = match &ranks {
                Some(ranks) => {
                    let unseen = recalled[positive].iter().filter(|item| seen.binary_search(item).is_err());
                    unseen.skip(ranks.start).take(ranks.len()).copied().collect()
                }
                None => Vec::new(),
            };
            let context = DrawContext { positives: positives.items(), mined: &mined };
            let draws = (0..self.n_negatives).map(|_| sampler.draw_unseen(context, seen, &mut rng));
            negatives.extend(draws);
        }
        Ok(negatives)
    }

    fn check_recalled(&self, positives: &Interactions, recalled: &[Vec<ItemId>]) -> Result<()> {
        let (expected, found) = (positives.len(), recalled.len());
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what: "lists of recalled items", expected, found }.into());
        }
        match recalled.iter().flatten().find(|item| item.index() >= self.n_items) {
            Some(item) => {
                let (id, bound) = (item.0.into(), self.n_items as u64);
                Err(ErrorKind::IdOutOfRange { what: "recalled item", id, bound }.into())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interaction;
    use crate::samplers::{MixedSampler, PopularitySampler, UniformSampler};

    fn interactions(rows: &[(u32, u32)]) -> Interactions {
        let event =
            |&(user, item)| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
        Interactions::from_rows(3, 10, rows.iter().map(event)).unwrap()
    }

    fn seen() -> Interactions {
        interactions(&[(0, 3), (0, 1), (1, 0), (2, 9), (2, 8), (2, 7)])
    }

    #[test]
    fn negatives_are_unseen_and_a_function_of_the_seed() {
        let (positives, uniform) = (interactions(&[(2, 9), (0, 3)]), UniformSampler::new(10).unwrap());
        let negatives = RankingNegatives::new(&seen(), 200).unwrap();
        let draw = |seed| negatives.draw(&positives, &[], &uniform, seed).unwrap();
        let (of_2, of_0) = (draw(5)[..200].to_vec(), draw(5)[200..].to_vec());
        assert!(of_2.iter().all(|item| item.0 < 7) && of_0.iter().all(|item| ![1, 3].contains(&item.0)));
        let distinct = |items: &[ItemId]| items.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!((distinct(&of_2), distinct(&of_0)), (7, 8));
        assert_ne!(draw(5), draw(6));
        let popular = PopularitySampler::new(&[0, 1, 0, 0, 2, 0, 0, 0, 0, 5], 1.0).unwrap();
        let drawn = negatives.draw(&positives, &[], &popular, 1).unwrap();
        assert!(drawn[..200].iter().all(|item| [1, 4].contains(&item.0)));
    }

    #[test]
    fn recalled_items_are_drawn_at_their_ranks_without_those_seen() {
        let hard = || HardNegatives::new(1..3, 1, UniformSampler::new(10).unwrap()).unwrap();
        let lists = [vec![3, 5, 1, 6, 2, 4], vec![], vec![9, 1, 4, 3]]
            .map(|ids| ids.into_iter().map(ItemId).collect::<Vec<_>>());
        let positives = interactions(&[(0, 3), (1, 0), (0, 1)]);
        let negatives = RankingNegatives::new(&seen(), 300).unwrap();
        let drawn = negatives.draw(&positives, &lists, &hard(), 1).unwrap();
        // Unseen are 5, 6, 2, 4, and at ranks 1 and 2 of them 6 and 2; user 1 falls back.
        let share = |of: usize, item| {
            drawn[300 * of..300 * (of + 1)].iter().filter(|&&drawn| drawn == ItemId(item)).count()
        };
        assert_eq!(share(0, 6) + share(0, 2), 300);
        assert!(share(0, 6) > 100 && share(0, 2) > 100);
        assert!(drawn[300..600].iter().any(|item| item.0 > 6) && share(1, 0) == 0);
        // The same user at another moment, when 9, 4 were recalled beside what they chose.
        assert_eq!(share(2, 4), 300);
        let parts: Vec<(f64, Box<dyn NegativeSampler>)> =
            vec![(1.0, Box::new(hard())), (1.0, Box::new(UniformSampler::new(10).unwrap()))];
        let mixed = negatives.draw(&positives, &lists, &MixedSampler::new(parts).unwrap(), 1).unwrap();
        let recalled = mixed[..300].iter().filter(|item| [6, 2].contains(&item.0)).count();
        assert!((150..240).contains(&recalled), "{recalled}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(RankingNegatives::new(&seen(), 0).is_err());
        let negatives = RankingNegatives::new(&seen(), 2).unwrap();
        let uniform = UniformSampler::new(10).unwrap();
        let hard = HardNegatives::new(0..5, 1, UniformSampler::new(10).unwrap()).unwrap();
        let positives = interactions(&[(0, 3)]);
        assert!(negatives.draw(&positives, &[], &hard, 1).is_err(), "nothing was recalled");
        assert!(negatives.draw(&positives, &[vec![ItemId(10)]], &hard, 1).is_err());
        let event = Interaction { user: UserId(3), item: ItemId(0), value: 1.0, timestamp: 0 };
        let others = Interactions::from_rows(4, 10, [event]).unwrap();
        assert!(negatives.draw(&others, &[], &uniform, 1).is_err());
    }
}
