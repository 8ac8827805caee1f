//! Every recaller goes through the one contract suite.

use std::panic::catch_unwind;

use crate::common::check_recaller;
use recsys::models::ranking::{BiasedMf, BiasedMfConfig};
use recsys::models::recall::{
    BprMf, BprMfConfig, CoVisitationConfig, CoVisitationRecaller, ContentConfig, ContentRecaller, EaseConfig,
    EaseRecaller, FavouriteGenresConfig, FavouriteGenresRecaller, Ials, IalsConfig, ItemKnnConfig,
    ItemKnnRecaller, PopularityRecaller, SessionKnnConfig, SessionKnnRecaller, SlimConfig, SlimRecaller,
};
use recsys::pipeline::{Channel, ChannelConfig, ExhaustiveRecaller, Fusion, FusionMethod};
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
        check_recaller(&PopularityRecaller::fit_recent(&table, 50.0).unwrap(), n_items);
    }
}

/// Two or three of five categories each; some twice.
fn categories(n_items: usize) -> ItemFeatures {
    let of_item = |item: u32| [item % 5, (item + 1) % 5, item * item % 5];
    ItemFeatures::new(5, (0..n_items as u32).map(of_item)).unwrap()
}

#[test]
fn content() {
    for n_items in [8, 40] {
        let content = ContentRecaller::fit(&categories(n_items), &ContentConfig::default()).unwrap();
        check_recaller(&content, n_items);
    }
}

/// An item without any interaction is found by what is said of it, and by nothing else.
#[test]
fn content_finds_what_nobody_chose_yet() {
    let films = ItemFeatures::words(&["Space Horror", "Space Opera", "Court Drama", "Horror in Space"]);
    let history = [ItemId(0)];
    let query = Query::new(&history).excluding(history);
    let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
    let train = Interactions::from_rows(2, 4, [row(0, 0), row(0, 1), row(1, 0), row(1, 2)]).unwrap();
    assert!(train.items().iter().all(|&item| item != ItemId(3)));
    let content = ContentRecaller::fit(&films, &ContentConfig::default()).unwrap();
    let found = content.recall(&query, 9).unwrap();
    assert_eq!(found.iter().map(|found| found.item.0).collect::<Vec<_>>(), [3, 1]);
    let knn = ItemKnnRecaller::fit(&train, &ItemKnnConfig::default()).unwrap();
    assert!(knn.recall(&query, 9).unwrap().iter().all(|found| found.item != ItemId(3)));
}

#[test]
fn favourite_genres() {
    for n_items in [8, 40] {
        let genres = ItemFeatures::new(3, (0..n_items as u32).map(|item| [item % 3])).unwrap();
        for half_life in [None, Some(2.0)] {
            let config = FavouriteGenresConfig { half_life };
            let fitted =
                FavouriteGenresRecaller::fit(&interactions(n_items), genres.clone(), &config).unwrap();
            check_recaller(&fitted, n_items);
        }
    }
}

#[test]
fn item_knn() {
    for n_items in [8, 40] {
        check_recaller(
            &ItemKnnRecaller::fit(&interactions(n_items), &ItemKnnConfig::default()).unwrap(),
            n_items,
        );
    }
}

#[test]
fn co_visitation() {
    for n_items in [8, 40] {
        let config = CoVisitationConfig::default();
        check_recaller(&CoVisitationRecaller::fit(&interactions(n_items), &config).unwrap(), n_items);
    }
}

#[test]
fn session_knn() {
    for n_items in [8, 40] {
        let config = SessionKnnConfig { idf_exponent: 0.0, ..SessionKnnConfig::default() };
        check_recaller(&SessionKnnRecaller::fit(&interactions(n_items), &config).unwrap(), n_items);
    }
}

#[test]
fn ease() {
    for n_items in [8, 40] {
        let config = EaseConfig { l2: 2.0, ..EaseConfig::default() };
        check_recaller(&EaseRecaller::fit(&interactions(n_items), &config).unwrap(), n_items);
    }
}

#[test]
fn slim() {
    for n_items in [8, 40] {
        for non_negative in [true, false] {
            let config = SlimConfig { l1: 0.1, l2: 2.0, non_negative, ..SlimConfig::default() };
            check_recaller(&SlimRecaller::fit(&interactions(n_items), &config).unwrap(), n_items);
        }
    }
}

/// A cluster of items for each remainder by 4: users choose eight items of their cluster, in the order of ids, and a
/// third of them item 0 too, which so is the most popular.
fn clusters() -> Interactions {
    let choices = (0..120u32).flat_map(|user| {
        let own = (0..8).map(move |i| (user, 4 * ((user / 4 + i) % 10) + user % 4, i64::from(i)));
        own.chain((user % 3 == 0).then_some((user, 0, 99)))
    });
    let rows = choices.map(|(user, item, timestamp)| Interaction {
        user: UserId(user),
        item: ItemId(item),
        value: 1.0,
        timestamp,
    });
    Interactions::from_rows(120, 40, rows).unwrap()
}

/// Every item model tells which items belong together, where popularity answers item 0, and is the same on one thread
/// and on several, and after it was saved.
#[test]
fn clusters_are_found_by_every_item_model() {
    let train = clusters();
    assert_eq!(PopularityRecaller::fit(&train).recall(&Query::default(), 1).unwrap()[0].item, ItemId(0));
    let pool = |n_threads| rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    fn check<R: Recaller + PartialEq + serde::Serialize + serde::de::DeserializeOwned>(one: &R, many: &R) {
        assert!(one == many, "the threads decide");
        assert!(&serde_json::from_str::<R>(&serde_json::to_string(one).unwrap()).unwrap() == one);
        for cluster in 1..4 {
            let history = [4 + cluster, 8 + cluster, 12 + cluster].map(ItemId);
            let answer = one.recall(&Query::new(&history).excluding(history), 2).unwrap();
            let found: Vec<u32> = answer.iter().map(|candidate| candidate.item.0 % 4).collect();
            assert_eq!(found, [cluster; 2], "{}", std::any::type_name::<R>());
        }
    }
    macro_rules! check {
        ($recaller:ident, $config:expr) => {
            let fit = |n_threads| pool(n_threads).install(|| $recaller::fit(&train, &$config).unwrap());
            check(&fit(1), &fit(3));
        };
    }
    check!(ItemKnnRecaller, ItemKnnConfig::default());
    check!(CoVisitationRecaller, CoVisitationConfig::default());
    check!(SessionKnnRecaller, SessionKnnConfig::default());
    check!(EaseRecaller, EaseConfig { l2: 2.0, ..EaseConfig::default() });
    check!(SlimRecaller, SlimConfig { l1: 0.1, l2: 2.0, ..SlimConfig::default() });
}

#[test]
fn matrix_factorizations() {
    for n_items in [8, 40] {
        let table = interactions(n_items);
        let ials = IalsConfig { n_factors: 5, ..IalsConfig::default() };
        check_recaller(&Ials::fit(&table, &ials).unwrap(), n_items);
        let bpr = BprMfConfig { n_factors: 5, ..BprMfConfig::default() };
        check_recaller(&BprMf::fit(&table, &bpr).unwrap(), n_items);
    }
}

#[test]
fn any_ranker_as_a_channel() {
    for n_items in [8, 40, 5_000] {
        let ratings = BiasedMf::fit(&interactions(n_items), &BiasedMfConfig::default()).unwrap();
        let recaller = ExhaustiveRecaller::new(ratings.clone(), n_items);
        check_recaller(&recaller, n_items);
        assert!(ExhaustiveRecaller::new(ratings, n_items + 1).recall(&Query::default(), 1).is_err());
    }
}

/// A ranker that answers this whatever it is asked.
#[derive(Debug)]
struct Says(Vec<f32>);

impl Ranker for Says {
    fn score(&self, _: &Query<'_>, _: &[ItemId]) -> Result<Vec<f32>> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_ranker_that_breaks_its_promise_is_an_error_of_its_channel() {
    let recall =
        |scores: &[f32]| ExhaustiveRecaller::new(Says(scores.to_vec()), 2).recall(&Query::default(), 2);
    assert_eq!(recall(&[0.5, 1.0]).unwrap()[0], Candidate::new(ItemId(1), 1.0));
    assert!(recall(&[0.5]).unwrap_err().to_string().contains("number of scores"));
    assert!(matches!(recall(&[0.5, f32::NAN]).unwrap_err().kind(), ErrorKind::NonFinite { .. }));
}

#[test]
fn fusion() {
    for n_items in [8, 40] {
        let table = interactions(n_items);
        let methods = [FusionMethod::default(), FusionMethod::MinMax, FusionMethod::ZScore];
        for (method, quota) in methods.into_iter().flat_map(|method| [(method, 0), (method, 2)]) {
            let knn = Box::new(ItemKnnRecaller::fit(&table, &ItemKnnConfig::default()).unwrap());
            let popularity = Box::new(PopularityRecaller::fit(&table));
            let knn = Channel::new(ChannelConfig::new("item_knn", 9).with_weight(2.0).with_quota(quota), knn);
            let popularity = Channel::new(ChannelConfig::new("popularity", n_items), popularity);
            check_recaller(&Fusion::new(method, vec![knn, popularity]).unwrap(), n_items);
        }
    }
}

/// Nothing at all, a single row, and rows at the ends of what a row may hold.
fn extremes() -> Vec<Interactions> {
    let row = |user, item, value, timestamp| Interaction {
        user: UserId(user),
        item: ItemId(item),
        value,
        timestamp,
    };
    let table = |n_users, n_items, rows: &[Interaction]| {
        Interactions::from_rows(n_users, n_items, rows.iter().copied()).unwrap()
    };
    let ends = [
        row(0, 0, f32::MAX, 0),
        row(0, 1, f32::MIN, i64::MAX),
        row(0, 1, 0.0, 1),
        row(2, 1, f32::MIN_POSITIVE, 0),
        row(2, 0, f32::MAX, i64::MAX),
    ];
    vec![
        table(0, 0, &[]),
        table(3, 0, &[]),
        table(0, 3, &[]),
        table(1, 1, &[row(0, 0, 1.0, 0)]),
        table(3, 3, &ends),
    ]
}

/// Every model either answers with at most k finite scores or says by an error why it cannot; none panics.
#[test]
fn no_model_panics_on_extreme_tables() {
    for table in extremes() {
        let n_items = table.n_items();
        let by_value = IalsConfig { by_value: true, n_factors: 3, ..IalsConfig::default() };
        let boxed = |recaller: Result<Box<dyn Recaller>>| recaller.ok();
        let genres = ItemFeatures::new(2, (0..n_items as u32).map(|item| [item % 2])).unwrap();
        let rated = BiasedMf::fit(&table, &BiasedMfConfig::default());
        let fitted = [
            Some(Box::new(PopularityRecaller::fit(&table)) as Box<dyn Recaller>),
            boxed(PopularityRecaller::fit_recent(&table, 1e-300).map(|x| Box::new(x) as _)),
            boxed(ContentRecaller::fit(&genres, &ContentConfig::default()).map(|x| Box::new(x) as _)),
            boxed(
                FavouriteGenresRecaller::fit(&table, genres, &FavouriteGenresConfig::default())
                    .map(|x| Box::new(x) as _),
            ),
            boxed(ItemKnnRecaller::fit(&table, &ItemKnnConfig::default()).map(|x| Box::new(x) as _)),
            boxed(
                CoVisitationRecaller::fit(&table, &CoVisitationConfig::default()).map(|x| Box::new(x) as _),
            ),
            boxed(SessionKnnRecaller::fit(&table, &SessionKnnConfig::default()).map(|x| Box::new(x) as _)),
            boxed(EaseRecaller::fit(&table, &EaseConfig::default()).map(|x| Box::new(x) as _)),
            boxed(SlimRecaller::fit(&table, &SlimConfig::default()).map(|x| Box::new(x) as _)),
            boxed(Ials::fit(&table, &by_value).map(|x| Box::new(x) as _)),
            boxed(Ials::fit(&table, &IalsConfig::default()).map(|x| Box::new(x) as _)),
            boxed(BprMf::fit(&table, &BprMfConfig::default()).map(|x| Box::new(x) as _)),
        ];
        let history: Vec<ItemId> = (0..n_items.min(2) as u32).map(ItemId).collect();
        for query in
            [Query::default(), Query::new(&history), Query::new(&history).with_user(UserId(u32::MAX))]
        {
            for recaller in fitted.iter().flatten() {
                if let Ok(answer) = recaller.recall(&query, 5) {
                    assert!(answer.len() <= n_items && answer.iter().all(|found| found.score.is_finite()));
                }
            }
            if let Ok(Ok(scores)) = rated.as_ref().map(|model| model.score(&query, &history)) {
                assert!(scores.len() == history.len() && scores.iter().all(|score| score.is_finite()));
            }
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
