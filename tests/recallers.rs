//! Every recaller goes through the one contract suite.

mod common;

use std::panic::catch_unwind;

use common::check_recaller;
use recsys::models::recall::{ItemKnnRecaller, PopularityRecaller};
use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
use recsys::prelude::*;

fn interactions(n_items: usize) -> Interactions {
    let rows = (0..300u32).map(|event| Interaction {
        user: UserId(event % 17),
        // Squares crowd at few remainders, so some items are popular, some tie, and some are never chosen.
        item: ItemId(event * event % n_items as u32),
        value: (event % 5) as f32,
        timestamp: event.into(),
    });
    Interactions::from_rows(17, n_items, rows).unwrap()
}

#[test]
fn popularity() {
    for n_items in [8, 40] {
        let table = interactions(n_items);
        check_recaller(&PopularityRecaller::fit(&table), n_items);
        check_recaller(&PopularityRecaller::fit_values(&table).unwrap(), n_items);
    }
}

#[test]
fn item_knn() {
    for n_items in [8, 40] {
        check_recaller(&ItemKnnRecaller::fit(&interactions(n_items), 20).unwrap(), n_items);
    }
}

#[test]
fn fusion() {
    for n_items in [8, 40] {
        let table = interactions(n_items);
        let methods = [FusionMethod::default(), FusionMethod::MinMax, FusionMethod::ZScore];
        for (method, quota) in methods.into_iter().flat_map(|method| [(method, 0), (method, 2)]) {
            let knn = Box::new(ItemKnnRecaller::fit(&table, 20).unwrap());
            let popularity = Box::new(PopularityRecaller::fit(&table));
            let knn = Channel::new(ChannelConfig::new("item_knn", 9).with_weight(2.0).with_quota(quota), knn);
            let popularity = Channel::new(ChannelConfig::new("popularity", n_items), popularity);
            check_recaller(&Fusion::new(method, vec![knn, popularity]).unwrap(), n_items);
        }
    }
}

type Flaw = fn(&PopularityRecaller, &Query<'_>, usize) -> Result<Vec<Candidate>>;

/// A recaller that keeps its promises but one.
#[derive(Debug)]
struct Flawed {
    good: PopularityRecaller,
    flaw: Flaw,
}

impl Recaller for Flawed {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        (self.flaw)(&self.good, query, k)
    }
}

#[test]
fn the_suite_finds_every_flaw() {
    let good = PopularityRecaller::fit(&interactions(8));
    let flaws: [(&str, Flaw); 7] = [
        ("one too many", |good, query, k| good.recall(query, k + 1)),
        ("worst first", |good, query, k| {
            good.recall(query, k).map(|mut answer| {
                answer.reverse();
                answer
            })
        }),
        ("not finite", |good, query, k| {
            good.recall(query, k).map(|mut answer| {
                answer.iter_mut().for_each(|candidate| candidate.score = f32::NAN);
                answer
            })
        }),
        ("twice the same", |good, query, k| {
            good.recall(query, k).map(|mut answer| {
                if let [first, .., last] = &mut answer[..] {
                    last.item = first.item;
                }
                answer
            })
        }),
        ("blind to the filter", |good, query, k| {
            query.check_items(good.scores().len())?;
            good.recall(&Query::new(query.history()), k)
        }),
        ("filters after the cut", |good, query, k| {
            query.check_items(good.scores().len())?;
            let mut answer = good.recall(&Query::new(query.history()), k)?;
            answer.retain(|candidate| query.filter().admits(candidate.item));
            Ok(answer)
        }),
        ("blind to strange ids", |good, query, k| match good.recall(query, k) {
            Err(_) => Ok(Vec::new()),
            answer => answer,
        }),
    ];
    for (name, flaw) in flaws {
        let flawed = Flawed { good: good.clone(), flaw };
        assert!(catch_unwind(|| check_recaller(&flawed, 8)).is_err(), "not found: {name}");
    }
    let flawless = Flawed { good, flaw: |good, query, k| good.recall(query, k) };
    check_recaller(&flawless, 8);
}
