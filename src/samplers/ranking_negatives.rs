use std::ops::Range;

use crate::data::{Csr, Interactions};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ItemId, UserId};
use crate::rng::Rng;
use crate::samplers::{DrawContext, NegativeSampler};

/// Negatives for a ranker that learns from what users chose: of each positive, `n_negatives` items that its user never
/// chose.
///
/// Where they come from decides what is learned. [Uniform](super::UniformSampler) ones tell what a user may like at all,
/// [popular](super::PopularitySampler) ones that popularity is not taste, and **recalled** ones, what a recaller answers to
/// that user, are the rows that the ranker will have to order in service. Recalled items are the mined part of a
/// [`HardNegatives`](super::HardNegatives), alone or in a [`MixedSampler`](super::MixedSampler).
///
/// ```
/// use recsys::prelude::*;
/// use recsys::samplers::{RankingNegatives, UniformSampler};
///
/// let event = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let positives = Interactions::from_rows(2, 9, [event(0, 1), event(0, 2), event(1, 8)])?;
/// let negatives = RankingNegatives::new(&positives, 4)?.draw(&positives, &UniformSampler::new(9)?, 1)?;
/// assert_eq!(negatives.len(), 3 * 4);
/// assert!(negatives[..8].iter().all(|&item| item != ItemId(1) && item != ItemId(2)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RankingNegatives {
    seen: Csr<UserId, ItemId>,
    n_items: usize,
    n_negatives: usize,
    recalled: Option<Csr<UserId, ItemId>>,
}

impl RankingNegatives {
    /// `n_negatives` of each positive, none of which its user has in `seen`: all that is known of the users, also from
    /// after the positives, lest what they chose later is taught to be wrong.
    ///
    /// # Errors
    /// No negatives.
    pub fn new(seen: &Interactions, n_negatives: usize) -> Result<Self> {
        if n_negatives == 0 {
            return Err(Error::config("RankingNegatives::n_negatives", "at least 1", 0));
        }
        let (n_items, seen) = (seen.n_items(), Csr::by_user(seen, |row| row.item).sorted());
        Ok(Self { seen, n_items, n_negatives, recalled: None })
    }

    /// Gives the sampler's [mined part](NegativeSampler::hard) what was recalled for each user, best first; of it, the
    /// items that the user never chose at these ranks (counted from 0 among themselves).
    ///
    /// # Errors
    /// Another number of users than there are, or an item that is none of the catalogue.
    pub fn with_recalled(mut self, recalled: &[Vec<ItemId>], ranks: Range<usize>) -> Result<Self> {
        let (expected, found) = (self.seen.n_rows(), recalled.len());
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what: "lists of recalled items", expected, found }.into());
        }
        if let Some(item) = recalled.iter().flatten().find(|item| item.index() >= self.n_items) {
            let (id, bound) = (item.0.into(), self.n_items as u64);
            return Err(ErrorKind::IdOutOfRange { what: "recalled item", id, bound }.into());
        }
        let unseen = |(seen, recalled): (&[ItemId], &Vec<ItemId>)| -> Vec<ItemId> {
            let unseen = recalled.iter().filter(|item| seen.binary_search(item).is_err());
            unseen.skip(ranks.start).take(ranks.len()).copied().collect()
        };
        self.recalled = Some(Csr::from_rows(self.seen.rows().zip(recalled).map(unseen)));
        Ok(self)
    }

    /// The negatives of all positives, `n_negatives` behind each other for each of them: with the positive before its
    /// own, they are the groups of [`RankingBatches`](crate::training::RankingBatches).
    ///
    /// A user who has nearly everything may get an item that they chose, as
    /// [`draw_unseen`](NegativeSampler::draw_unseen) says.
    ///
    /// # Errors
    /// Positives of users that are not known, or a sampler with a mined part where nothing was
    /// [recalled](Self::with_recalled).
    pub fn draw(
        &self,
        positives: &Interactions,
        sampler: &dyn NegativeSampler,
        seed: u64,
    ) -> Result<Vec<ItemId>> {
        if sampler.hard().is_some() && self.recalled.is_none() {
            return Err(Error::config("RankingNegatives::recalled", "recalled items", "none"));
        }
        let mut rng = Rng::stream(seed, &[0]);
        let mut negatives = Vec::with_capacity(positives.len() * self.n_negatives);
        for &user in positives.users() {
            let Some(seen) = self.seen.get(user) else {
                let bound = self.seen.n_rows() as u64;
                return Err(ErrorKind::IdOutOfRange { what: "user", id: user.0.into(), bound }.into());
            };
            let mined = self.recalled.as_ref().map_or(&[][..], |recalled| recalled.row(user));
            let context = DrawContext { positives: positives.items(), mined };
            let draws = (0..self.n_negatives).map(|_| sampler.draw_unseen(context, seen, &mut rng));
            negatives.extend(draws);
        }
        Ok(negatives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interaction;
    use crate::samplers::{HardNegatives, MixedSampler, PopularitySampler, UniformSampler};

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
        let draw = |seed| negatives.draw(&positives, &uniform, seed).unwrap();
        let (of_2, of_0) = (draw(5)[..200].to_vec(), draw(5)[200..].to_vec());
        assert!(of_2.iter().all(|item| item.0 < 7) && of_0.iter().all(|item| ![1, 3].contains(&item.0)));
        let distinct = |items: &[ItemId]| items.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!((distinct(&of_2), distinct(&of_0)), (7, 8));
        assert_ne!(draw(5), draw(6));
        let popular = PopularitySampler::new(&[0, 1, 0, 0, 2, 0, 0, 0, 0, 5], 1.0).unwrap();
        let drawn = negatives.draw(&positives, &popular, 1).unwrap();
        assert!(drawn[..200].iter().all(|item| [1, 4].contains(&item.0)));
    }

    #[test]
    fn recalled_items_are_drawn_at_their_ranks_without_those_seen() {
        let hard = || HardNegatives::new(0..3, 1, UniformSampler::new(10).unwrap()).unwrap();
        let lists =
            [vec![3, 5, 1, 6, 2, 4], vec![], vec![9]].map(|ids| ids.into_iter().map(ItemId).collect());
        let positives = interactions(&[(0, 3), (1, 0)]);
        let negatives = RankingNegatives::new(&seen(), 300).unwrap();
        assert!(negatives.draw(&positives, &hard(), 1).is_err(), "nothing is recalled yet");
        let negatives = negatives.with_recalled(&lists, 1..3).unwrap();
        let drawn = negatives.draw(&positives, &hard(), 1).unwrap();
        // Unseen are 5, 6, 2, 4, and at ranks 1 and 2 of them 6 and 2; user 1 falls back.
        let share = |item| drawn[..300].iter().filter(|&&drawn| drawn == ItemId(item)).count();
        assert_eq!(share(6) + share(2), 300);
        assert!(share(6) > 100 && share(2) > 100);
        assert!(drawn[300..].iter().any(|item| item.0 > 6) && !drawn[300..].contains(&ItemId(0)));
        let parts: Vec<(f64, Box<dyn NegativeSampler>)> =
            vec![(1.0, Box::new(hard())), (1.0, Box::new(UniformSampler::new(10).unwrap()))];
        let mixed = negatives.draw(&positives, &MixedSampler::new(parts).unwrap(), 1).unwrap();
        let recalled = mixed[..300].iter().filter(|item| [6, 2].contains(&item.0)).count();
        assert!((150..240).contains(&recalled), "{recalled}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(RankingNegatives::new(&seen(), 0).is_err());
        let negatives = RankingNegatives::new(&seen(), 2).unwrap();
        assert!(negatives.clone().with_recalled(&[vec![]], 0..5).is_err());
        assert!(negatives.clone().with_recalled(&[vec![ItemId(10)], vec![], vec![]], 0..5).is_err());
        let event = Interaction { user: UserId(3), item: ItemId(0), value: 1.0, timestamp: 0 };
        let others = Interactions::from_rows(4, 10, [event]).unwrap();
        assert!(negatives.draw(&others, &UniformSampler::new(10).unwrap(), 1).is_err());
    }
}
