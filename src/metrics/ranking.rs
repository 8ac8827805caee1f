use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ItemId;

/// Where the relevant items stand in one ranked list: all that the ranking metrics need to know.
///
/// Below, *r* runs over the ranks (counted from 1) at which the first k places hold a relevant item, and
/// *n* is the number of relevant items. Every metric lies in `[0, 1]`, is 0 for `k = 0` and where
/// nothing is relevant, and treats a list shorter than k as if wrong items followed it.
///
/// ```
/// use recsys::metrics::Hits;
/// use recsys::prelude::*;
///
/// let ranked = [ItemId(7), ItemId(2), ItemId(5)];
/// let hits = Hits::new(&ranked, &[ItemId(2), ItemId(9)]);
/// assert_eq!(hits.recall_at_k(3), 0.5);
/// assert_eq!(hits.mrr_at_k(3), 0.5);
/// assert_eq!(hits.hit_rate_at_k(1), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    /// Ascending, counted from 1.
    ranks: Vec<usize>,
    n_relevant: usize,
}

impl Hits {
    /// Finds the relevant items in a ranked list (best first). The order of `relevant` is free; an item
    /// that comes twice in either list counts once, at its first place.
    pub fn new(ranked: &[ItemId], relevant: &[ItemId]) -> Self {
        let mut relevant = relevant.to_vec();
        relevant.sort_unstable();
        relevant.dedup();
        let mut found = vec![false; relevant.len()];
        let mut ranks = Vec::new();
        for (place, item) in ranked.iter().enumerate() {
            if let Ok(index) = relevant.binary_search(item)
                && !std::mem::replace(&mut found[index], true)
            {
                ranks.push(place + 1);
            }
        }
        Self { ranks, n_relevant: relevant.len() }
    }

    /// The ranks of the relevant items found, ascending, counted from 1.
    pub fn ranks(&self) -> &[usize] {
        &self.ranks
    }

    /// The number of distinct relevant items, found or not.
    pub fn n_relevant(&self) -> usize {
        self.n_relevant
    }

    /// 1 if a relevant item is among the first k, else 0. (Also called success@k.)
    pub fn hit_rate_at_k(&self, k: usize) -> f64 {
        f64::from(u8::from(!self.within(k).is_empty()))
    }

    /// |{r}| / n: the share of the relevant items that is among the first k.
    pub fn recall_at_k(&self, k: usize) -> f64 {
        ratio(self.within(k).len() as f64, self.n_relevant as f64)
    }

    /// |{r}| / k: the share of the first k places that holds relevant items. The divisor is k also where
    /// the list is shorter.
    pub fn precision_at_k(&self, k: usize) -> f64 {
        ratio(self.within(k).len() as f64, k as f64)
    }

    /// The harmonic mean of precision and recall at k: 2 |{r}| / (k + n).
    pub fn f1_at_k(&self, k: usize) -> f64 {
        ratio(2.0 * self.within(k).len() as f64, (k + self.n_relevant) as f64)
    }

    /// Σ 1/log₂(r + 1), divided by its largest possible value, Σ 1/log₂(i + 1) over i = 1 … min(k, n).
    /// (Järvelin & Kekäläinen 2002, with gains 0 and 1.)
    pub fn ndcg_at_k(&self, k: usize) -> f64 {
        ratio(self.dcg(k), ideal_dcg(k.min(self.n_relevant)))
    }

    /// As [`ndcg_at_k`](Self::ndcg_at_k), but divided by Σ over i = 1 … k, as if k items were relevant;
    /// below 1 for a perfect list when n < k.
    pub fn ndcg_div_k_at_k(&self, k: usize) -> f64 {
        ratio(self.dcg(k), if self.n_relevant == 0 { 0.0 } else { ideal_dcg(k) })
    }

    /// 1/r of the first hit, 0 where there is none among the first k. Its mean over users is the mean
    /// reciprocal rank.
    pub fn mrr_at_k(&self, k: usize) -> f64 {
        self.within(k).first().map_or(0.0, |&rank| 1.0 / rank as f64)
    }

    /// Average precision: Σ precision@r, divided by its largest possible value, min(k, n). Its mean over
    /// users is the mean average precision.
    pub fn map_at_k(&self, k: usize) -> f64 {
        ratio(self.precision_sum(k), k.min(self.n_relevant) as f64)
    }

    /// Average precision as `trec_eval` has it: Σ precision@r / n; below 1 for a perfect list when
    /// n > k.
    pub fn map_div_relevant_at_k(&self, k: usize) -> f64 {
        ratio(self.precision_sum(k), self.n_relevant as f64)
    }

    /// Σ precision@r / k; below 1 for a perfect list when n < k.
    pub fn map_div_k_at_k(&self, k: usize) -> f64 {
        ratio(self.precision_sum(k), k as f64)
    }

    /// The ranks up to k.
    fn within(&self, k: usize) -> &[usize] {
        &self.ranks[..self.ranks.partition_point(|&rank| rank <= k)]
    }

    fn dcg(&self, k: usize) -> f64 {
        self.within(k).iter().map(|&rank| discount(rank)).sum()
    }

    fn precision_sum(&self, k: usize) -> f64 {
        self.within(k).iter().enumerate().map(|(before, &rank)| (before + 1) as f64 / rank as f64).sum()
    }
}

/// NDCG with graded relevance: Σ gᵢ/log₂(i + 1) over the first k places, divided by the same sum over
/// the gains in descending order (Järvelin & Kekäläinen 2002); 0 where no gain is positive.
///
/// `gains` are the gains of *all* candidates in the order of their ranks, each ≥ 0. For the exponential
/// gain of Burges et al. 2005 pass 2^relevance − 1.
///
/// ```
/// # use recsys::metrics::graded_ndcg_at_k;
/// assert_eq!(graded_ndcg_at_k(&[3.0, 2.0, 0.0], 2), 1.0);
/// assert!(graded_ndcg_at_k(&[2.0, 3.0, 0.0], 2) < 1.0);
/// ```
pub fn graded_ndcg_at_k(gains: &[f64], k: usize) -> f64 {
    let dcg = |gains: &[f64]| -> f64 {
        gains.iter().take(k).enumerate().map(|(place, gain)| gain * discount(place + 1)).sum()
    };
    let mut ideal = gains.to_vec();
    ideal.sort_unstable_by(|a, b| b.total_cmp(a));
    ratio(dcg(gains), dcg(&ideal))
}

fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 1) as f64).log2()
}

fn ideal_dcg(n: usize) -> f64 {
    (1..=n).map(discount).sum()
}

/// a / b, and 0 for b = 0.
fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

/// The ranking metrics that an evaluation measures; each is the method of [`Hits`] of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankingMetric {
    /// [`Hits::hit_rate_at_k`].
    HitRate,
    /// [`Hits::recall_at_k`].
    Recall,
    /// [`Hits::precision_at_k`].
    Precision,
    /// [`Hits::ndcg_at_k`].
    Ndcg,
    /// [`Hits::mrr_at_k`].
    Mrr,
    /// [`Hits::map_at_k`].
    Map,
}

impl RankingMetric {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 6] =
        [Self::HitRate, Self::Recall, Self::Precision, Self::Ndcg, Self::Mrr, Self::Map];

    /// The metric of one list at cut-off `k`.
    pub fn at_k(self, hits: &Hits, k: usize) -> f64 {
        match self {
            Self::HitRate => hits.hit_rate_at_k(k),
            Self::Recall => hits.recall_at_k(k),
            Self::Precision => hits.precision_at_k(k),
            Self::Ndcg => hits.ndcg_at_k(k),
            Self::Mrr => hits.mrr_at_k(k),
            Self::Map => hits.map_at_k(k),
        }
    }
}

impl fmt::Display for RankingMetric {
    /// The name in reports: `recall` in `recall@200`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HitRate => "hit_rate",
            Self::Recall => "recall",
            Self::Precision => "precision",
            Self::Ndcg => "ndcg",
            Self::Mrr => "mrr",
            Self::Map => "map",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(ids: &[u32]) -> Vec<ItemId> {
        ids.iter().copied().map(ItemId).collect()
    }

    fn hits(ranked: &[u32], relevant: &[u32]) -> Hits {
        Hits::new(&ids(ranked), &ids(relevant))
    }

    #[test]
    fn a_list_worked_out_by_hand() {
        let hits = hits(&[9, 1, 8, 2], &[1, 2, 3]);
        assert_eq!((hits.ranks(), hits.n_relevant()), (&[2, 4][..], 3));
        assert_eq!(hits.hit_rate_at_k(1), 0.0);
        assert_eq!(hits.hit_rate_at_k(2), 1.0);
        assert_eq!(hits.recall_at_k(4), 2.0 / 3.0);
        assert_eq!(hits.precision_at_k(4), 0.5);
        assert_eq!(hits.precision_at_k(10), 0.2, "divides by k, not by the length of the list");
        assert_eq!(hits.mrr_at_k(4), 0.5);
        assert_eq!(hits.map_at_k(4), (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
        let (dcg, ideal) =
            (1.0 / 3f64.log2() + 1.0 / 5f64.log2(), 1.0 + 1.0 / 3f64.log2() + 1.0 / 4f64.log2());
        assert!((hits.ndcg_at_k(4) - dcg / ideal).abs() < 1e-15);
    }

    #[test]
    fn the_ideal_is_cut_at_the_smaller_of_k_and_relevant() {
        assert_eq!(hits(&[1], &[1]).ndcg_at_k(10), 1.0);
        assert_eq!(hits(&[1, 2], &[1, 2, 3]).ndcg_at_k(2), 1.0);
        assert_eq!(hits(&[1, 2], &[1, 2, 3]).map_at_k(2), 1.0);
        assert!(hits(&[1], &[1]).ndcg_div_k_at_k(10) < 1.0);
    }

    #[test]
    fn nothing_relevant_nothing_shown_and_no_places_give_zero() {
        for hits in [hits(&[1, 2], &[]), hits(&[], &[1]), hits(&[], &[])] {
            for metric in RankingMetric::ALL {
                assert_eq!(metric.at_k(&hits, 5), 0.0, "{metric}");
            }
            assert_eq!(hits.f1_at_k(5) + hits.ndcg_div_k_at_k(5) + hits.map_div_k_at_k(5), 0.0);
        }
        for metric in RankingMetric::ALL {
            assert_eq!(metric.at_k(&hits(&[1], &[1]), 0), 0.0, "{metric}");
        }
    }

    #[test]
    fn an_item_that_comes_twice_counts_once() {
        assert_eq!(hits(&[1, 1, 2], &[2, 1, 1]), Hits { ranks: vec![1, 3], n_relevant: 2 });
    }

    #[test]
    fn names_are_those_of_the_serialised_form() {
        for metric in RankingMetric::ALL {
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{metric}\""));
        }
    }

    /// A ranked list of distinct items and a relevant set that overlaps it.
    fn lists() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
        let ranked = Just((0..30).collect::<Vec<u32>>()).prop_shuffle();
        (ranked, 0usize..30, prop::collection::vec(0u32..40, 1..12)).prop_map(|(mut ranked, n, relevant)| {
            ranked.truncate(n);
            (ranked, relevant)
        })
    }

    proptest! {
        #[test]
        fn bounded_and_free_of_the_order_of_the_relevant(
            (ranked, mut relevant) in lists(), k in 0usize..40
        ) {
            let forward = hits(&ranked, &relevant);
            relevant.reverse();
            prop_assert_eq!(&forward, &hits(&ranked, &relevant));
            for metric in RankingMetric::ALL {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&metric.at_k(&forward, k)), "{}", metric);
            }
        }

        #[test]
        fn a_longer_list_never_loses_hits((ranked, relevant) in lists(), k in 0usize..40) {
            let hits = hits(&ranked, &relevant);
            for metric in [RankingMetric::HitRate, RankingMetric::Recall, RankingMetric::Mrr] {
                prop_assert!(metric.at_k(&hits, k) <= metric.at_k(&hits, k + 1), "{}", metric);
            }
        }

        #[test]
        fn a_perfect_list_gives_one((_, relevant) in lists(), k in 1usize..40) {
            let mut ranked = relevant.clone();
            ranked.sort_unstable();
            ranked.dedup();
            let hits = hits(&ranked, &relevant);
            for value in [hits.hit_rate_at_k(k), hits.ndcg_at_k(k), hits.mrr_at_k(k), hits.map_at_k(k)] {
                prop_assert!((value - 1.0).abs() < 1e-12);
            }
            prop_assert_eq!(hits.recall_at_k(ranked.len()), 1.0);
            prop_assert_eq!(hits.precision_at_k(ranked.len()), 1.0);
        }

        #[test]
        fn graded_with_gains_of_one_is_binary((ranked, relevant) in lists(), k in 1usize..40) {
            let ranked: Vec<u32> =
                ranked.iter().copied().chain((0..40).filter(|item| !ranked.contains(item))).collect();
            let gains: Vec<f64> =
                ranked.iter().map(|item| f64::from(u8::from(relevant.contains(item)))).collect();
            let (graded, binary) = (graded_ndcg_at_k(&gains, k), hits(&ranked, &relevant).ndcg_at_k(k));
            prop_assert!((graded - binary).abs() < 1e-12);
        }
    }
}
