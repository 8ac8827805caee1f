//! Every re-ranker goes through the one contract suite.

use std::panic::catch_unwind;

use recsys::features::ItemVectors;
use recsys::models::reranking::{
    Blend, BlendWeights, Boost, Calibration, CalibrationConfig, Cap, Dpp, Freshness, Mmr, Pin,
    PopularityDebias, Rules, RulesConfig,
};
use recsys::prelude::*;
use recsys::rng::Rng;

const N_ITEMS: usize = 30;

fn candidates(items: impl IntoIterator<Item = u32>) -> Vec<Candidate> {
    let score = |item: u32| (item * item % 11) as f32 - 3.0;
    let candidate = |item| Candidate::new(ItemId(item), score(item)).from_channel("recall", 1);
    let mut ranked: Vec<Candidate> = items.into_iter().map(candidate).collect();
    ranked.sort_by(|a, b| recsys::top_k::by_score((a.item, a.score), (b.item, b.score)));
    ranked
}

fn items(list: &[Candidate]) -> Vec<ItemId> {
    list.iter().map(|candidate| candidate.item).collect()
}

/// Puts a re-ranker over the items `0..N_ITEMS` through everything that [`Reranker`] promises.
///
/// # Panics
/// Where a promise is broken.
fn check_reranker(reranker: &dyn Reranker) {
    let history = [ItemId(3), ItemId(1), ItemId(4)];
    for query in [Query::default(), Query::new(&history), Query::new(&history).with_user(UserId(u32::MAX))] {
        for ranked in [candidates([]), candidates([7]), candidates(5..25), candidates(0..N_ITEMS as u32)] {
            let rerank = |k| reranker.rerank(&query, ranked.clone(), k).expect("a good list is re-ranked");
            let all = rerank(N_ITEMS);
            for k in [0, 1, 3, ranked.len(), N_ITEMS + 5] {
                let list = rerank(k);
                check_list(&list, &ranked, k);
                assert_eq!(list, all[..k.min(all.len())], "k = {k} is not the beginning of all");
            }
        }
    }
    check_equal_scores(reranker);
    check_strange_candidates(reranker);
}

/// At most k distinct candidates of the input, with finite scores and with what their channels said.
fn check_list(list: &[Candidate], ranked: &[Candidate], k: usize) {
    assert!(list.len() <= k, "{} candidates for k = {k}", list.len());
    let mut distinct = items(list);
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), list.len(), "an item comes twice: {list:?}");
    for shown in list {
        let Some(given) = ranked.iter().find(|given| given.item == shown.item) else {
            panic!("item {} was not among the candidates", shown.item)
        };
        assert!(shown.score.is_finite() && shown.channels == given.channels, "{given:?} became {shown:?}");
    }
}

/// Scores that say nothing make no trouble.
fn check_equal_scores(reranker: &dyn Reranker) {
    let mut ranked = candidates(0..9);
    ranked.iter_mut().for_each(|candidate| candidate.score = 0.5);
    check_list(&reranker.rerank(&Query::default(), ranked.clone(), 9).expect("ties are fine"), &ranked, 9);
}

/// An item that is not in the catalogue and a score that is not finite are errors that say so.
fn check_strange_candidates(reranker: &dyn Reranker) {
    for id in [N_ITEMS as u32, u32::MAX] {
        let mut ranked = candidates(0..4);
        ranked[2].item = ItemId(id);
        let error = reranker.rerank(&Query::default(), ranked, 2).expect_err("a strange item was accepted");
        let ErrorKind::IdOutOfRange { what, id: found, bound } = error.kind() else {
            panic!("another error for an id outside the catalogue: {error}");
        };
        assert_eq!((*what, *found, *bound), ("item", id.into(), N_ITEMS as u64));
    }
    for score in [f32::NAN, f32::INFINITY] {
        let mut ranked = candidates(0..4);
        ranked[2].score = score;
        let error = reranker.rerank(&Query::default(), ranked, 2).expect_err("a strange score was accepted");
        assert!(matches!(error.kind(), ErrorKind::NonFinite { index: 2, .. }), "{error}");
    }
}

fn vectors(dim: usize) -> ItemVectors {
    let mut rng = Rng::new(5);
    ItemVectors::new(dim, (0..N_ITEMS * dim).map(|_| rng.normal() as f32).collect()).unwrap()
}

fn genres() -> ItemFeatures {
    let genres = |item: u32| (0..5).filter(move |genre| item.is_multiple_of(genre + 2)).collect::<Vec<u32>>();
    ItemFeatures::new(5, (0..N_ITEMS as u32).map(genres)).unwrap()
}

/// Scores the items of its catalogue by their ids.
#[derive(Debug)]
struct ById;

impl Ranker for ById {
    fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        let score = |item: &ItemId| match item.index() < N_ITEMS {
            true => Ok(item.0 as f32),
            false => {
                let (id, bound) = (item.0.into(), N_ITEMS as u64);
                Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into())
            }
        };
        items.iter().map(score).collect()
    }
}

#[test]
fn blend_with_a_ranker() {
    for (score, ranker) in [(1.0, 0.0), (0.0, 1.0), (-0.5, 2.0)] {
        check_reranker(&Blend::new(ById, BlendWeights { score, ranker }).unwrap());
    }
}

#[test]
fn maximal_marginal_relevance() {
    for (lambda, dim) in [(0.0, 4), (0.7, 4), (1.0, 33), (0.5, 1)] {
        check_reranker(&Mmr::new(lambda, vectors(dim)).unwrap());
    }
}

#[test]
fn determinantal_point_process() {
    for (theta, dim) in [(0.0, 4), (0.7, 4), (1.0, 33), (0.5, 1)] {
        check_reranker(&Dpp::new(theta, vectors(dim)).unwrap());
    }
}

#[test]
fn popularity_debias() {
    let rows = (0..200u32).map(|event| Interaction {
        user: UserId(event % 7),
        item: ItemId(event * event % N_ITEMS as u32),
        value: 1.0,
        timestamp: 0,
    });
    let train = Interactions::from_rows(7, N_ITEMS, rows).unwrap();
    for gamma in [0.0, 0.5, 1.0] {
        check_reranker(&PopularityDebias::fit(&train, gamma).unwrap());
    }
}

#[test]
fn rules() {
    check_reranker(&Rules::new(RulesConfig::default(), N_ITEMS).unwrap());
    let ids = |ids: &[u32]| ids.iter().copied().map(ItemId).collect::<Vec<_>>();
    let config = RulesConfig {
        hide_history: true,
        deny: ids(&[7, 8]),
        allow: Some((0..28).map(ItemId).collect()),
        pins: vec![Pin { item: ItemId(20), place: 2 }, Pin { item: ItemId(9), place: 40 }],
        caps: vec![Cap { keys: genres(), limit: 4 }],
        bury: ids(&[10]),
        boosts: vec![Boost { items: ids(&[11, 12]), share: 0.3 }],
        freshness: Some(Freshness { times: (0..N_ITEMS as i64).map(Some).collect(), half_life: 10.0 }),
    };
    check_reranker(&Rules::new(config, N_ITEMS).unwrap());
}

#[test]
fn calibration() {
    for lambda in [0.0, 0.5, 1.0] {
        let config = CalibrationConfig { lambda, ..CalibrationConfig::default() };
        check_reranker(&Calibration::new(config, genres()).unwrap());
    }
}

type Flaw = fn(&Mmr, &Query<'_>, Vec<Candidate>, usize) -> Result<Vec<Candidate>>;

/// A re-ranker that keeps its promises but one.
#[derive(Debug)]
struct Flawed {
    good: Mmr,
    flaw: Flaw,
}

impl Reranker for Flawed {
    fn rerank(&self, query: &Query<'_>, ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        (self.flaw)(&self.good, query, ranked, k)
    }
}

#[test]
fn the_suite_finds_every_flaw() {
    let good = Mmr::new(0.7, vectors(4)).unwrap();
    let flaws: [(&str, Flaw); 6] = [
        ("one too many", |good, query, ranked, k| good.rerank(query, ranked, k + 1)),
        ("twice the same", |good, query, ranked, k| {
            good.rerank(query, ranked, k).map(|mut list| {
                if let [first, .., last] = &mut list[..] {
                    last.item = first.item;
                }
                list
            })
        }),
        ("an item of its own", |good, query, ranked, k| {
            good.rerank(query, ranked, k).map(|mut list| {
                list.iter_mut()
                    .for_each(|candidate| candidate.item.0 = (candidate.item.0 + 1) % N_ITEMS as u32);
                list
            })
        }),
        ("forgets the channels", |good, query, ranked, k| {
            good.rerank(query, ranked, k).map(|mut list| {
                list.iter_mut().for_each(|candidate| candidate.channels = Default::default());
                list
            })
        }),
        ("blind to strange items", |good, query, mut ranked, k| {
            ranked.retain(|candidate| candidate.item.index() < N_ITEMS);
            good.rerank(query, ranked, k)
        }),
        ("blind to strange scores", |good, query, mut ranked, k| {
            ranked.retain(|candidate| candidate.score.is_finite());
            good.rerank(query, ranked, k)
        }),
    ];
    for (name, flaw) in flaws {
        let flawed = Flawed { good: good.clone(), flaw };
        assert!(catch_unwind(|| check_reranker(&flawed)).is_err(), "not found: {name}");
    }
    check_reranker(&Flawed { good, flaw: |good, query, ranked, k| good.rerank(query, ranked, k) });
}
