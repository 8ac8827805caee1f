use super::stage::checked;
use crate::error::Result;
use crate::ids::ItemId;
use crate::pipeline::{Candidate, Query, Ranker, Recaller};
use crate::top_k::TopK;

/// The items that a ranker is asked for at once.
const ITEMS_PER_PASS: usize = 4_096;

/// Any [`Ranker`] as a [`Recaller`]: it scores every admissible item of the catalogue.
///
/// A request costs as many scores as there are items, which suits small catalogues, cheap rankers, and the question of
/// what a funnel would answer if its recall lost nothing. Whom the ranker refuses, a user it does not know perhaps, the
/// recaller refuses too.
///
/// ```
/// use recsys::models::ranking::{BiasedMf, BiasedMfConfig};
/// use recsys::pipeline::ExhaustiveRecaller;
/// use recsys::prelude::*;
///
/// let data = SyntheticConfig::new(50, 40, 1_000, 1).generate()?;
/// let ratings = BiasedMf::fit(data.interactions(), &BiasedMfConfig::default())?;
/// let recaller = ExhaustiveRecaller::new(ratings, data.n_items());
/// let answer = recaller.recall(&Query::default().with_user(UserId(7)), 10)?;
/// assert_eq!(answer.len(), 10);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ExhaustiveRecaller<R> {
    ranker: R,
    n_items: usize,
}

impl<R: Ranker> ExhaustiveRecaller<R> {
    /// Asks this ranker for all of `n_items` items.
    pub fn new(ranker: R, n_items: usize) -> Self {
        Self { ranker, n_items }
    }

    /// The ranker.
    pub fn ranker(&self) -> &R {
        &self.ranker
    }

    /// The number of items it is asked for.
    pub fn n_items(&self) -> usize {
        self.n_items
    }
}

impl<R: Ranker + 'static> Recaller for ExhaustiveRecaller<R> {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.n_items)?;
        let items = match query.filter().allowed() {
            Some(allowed) => allowed.to_vec(),
            None => (0..self.n_items as u32).map(ItemId).collect(),
        };
        let admitted: Vec<ItemId> = items.into_iter().filter(|&item| query.filter().admits(item)).collect();
        let mut top = TopK::new(k);
        for items in admitted.chunks(ITEMS_PER_PASS) {
            let scores = checked(self.ranker.score(query, items)?, items.len())?;
            items.iter().zip(scores).for_each(|(&item, score)| top.push(item, score));
        }
        Ok(top.into_sorted().into_iter().map(Candidate::from).collect())
    }
}
