//! Pipelines: orders, fall-backs, budgets, and what they tell of an item.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use recsys::error::ErrorKind;
use recsys::models::recall::PopularityRecaller;
use recsys::pipeline::{Fate, FusionMethod, Pipeline, PipelineBuilder, Ranker, Reranker, StageOutcome};
use recsys::prelude::*;

const N_ITEMS: u32 = 20;

/// Item 0 is the most popular, item 19 the least.
fn popularity() -> PopularityRecaller {
    let rows = (0..N_ITEMS).flat_map(|item| {
        (0..=N_ITEMS - item).map(move |user| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp: 0,
        })
    });
    PopularityRecaller::fit(&Interactions::from_rows(N_ITEMS as usize + 1, N_ITEMS as usize, rows).unwrap())
}

/// Scores by the item alone.
struct By(fn(ItemId) -> f32);

impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("By")
    }
}

impl Ranker for By {
    fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        Ok(items.iter().map(|&item| (self.0)(item)).collect())
    }
}

/// The higher the id the better.
fn by_id() -> By {
    By(|item| item.0 as f32)
}

/// Last first.
#[derive(Debug)]
struct Reverse;

impl Reranker for Reverse {
    fn rerank(&self, _: &Query<'_>, mut ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        ranked.reverse();
        ranked.truncate(k);
        Ok(ranked)
    }
}

fn ids(list: &[Candidate]) -> Vec<u32> {
    list.iter().map(|candidate| candidate.item.0).collect()
}

fn recall_ten() -> PipelineBuilder {
    Pipeline::recall("popularity", popularity(), 10)
}

fn pipeline() -> Pipeline {
    recall_ten().rank("by_id", by_id(), 5).rerank("reverse", Reverse, 3).build().unwrap()
}

#[test]
fn each_stage_orders_what_the_one_before_left() {
    let pipeline = pipeline();
    assert_eq!(pipeline.stage_names().collect::<Vec<_>>(), ["recall", "by_id", "reverse"]);
    let answer = pipeline.recommend(&Query::default()).unwrap();
    // Of the items 0 to 9 ranking keeps 9 to 5, of which re-ranking shows the last three, last first.
    assert_eq!(ids(&answer.items), [5, 6, 7]);
    assert_eq!(answer.items[0].score, 5.0);
    assert_eq!(&*answer.items[0].channels[0].channel, "popularity");
    assert_eq!(answer.stages.iter().map(|stage| stage.n_kept).collect::<Vec<_>>(), [10, 5, 3]);
    assert!(answer.is_whole());
}

#[test]
fn filters_reach_recall_and_strange_items_are_refused() {
    let pipeline = pipeline();
    let answer = pipeline.recommend(&Query::default().excluding([6, 7].map(ItemId))).unwrap();
    // Items 0 to 11 less two are recalled.
    assert_eq!(ids(&answer.items), [5, 8, 9]);
    let answer = pipeline.recommend(&Query::default().allowing([1, 2, 19].map(ItemId))).unwrap();
    assert_eq!(ids(&answer.items), [1, 2, 19]);
    let error = pipeline.recommend(&Query::new(&[ItemId(N_ITEMS)])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IdOutOfRange { .. }), "{error}");
    assert!(pipeline.inspect(&Query::default(), ItemId(N_ITEMS)).is_err());
}

#[test]
fn many_requests_are_answered_as_one_is() {
    let pipeline = pipeline();
    let histories = [[0, 1], [6, 9], [12, 3]].map(|items| items.map(ItemId));
    let queries: Vec<Query<'_>> =
        histories.iter().map(|history| Query::new(history).excluding(history.iter().copied())).collect();
    let answers = pipeline.recommend_batch(&queries).unwrap();
    for (query, answer) in queries.iter().zip(&answers) {
        assert_eq!(answer.items, pipeline.recommend(query).unwrap().items);
    }
    assert!(pipeline.recommend_batch(&[]).unwrap().is_empty());
}

/// A re-ranker that answers with what it is told.
struct Says(fn(Vec<Candidate>) -> Result<Vec<Candidate>>);

impl std::fmt::Debug for Says {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Says")
    }
}

impl Reranker for Says {
    fn rerank(&self, _: &Query<'_>, ranked: Vec<Candidate>, _: usize) -> Result<Vec<Candidate>> {
        (self.0)(ranked)
    }
}

/// A ranker that forgets an item.
#[derive(Debug)]
struct Short;

impl Ranker for Short {
    fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        Ok(vec![0.0; items.len() - 1])
    }
}

#[test]
fn a_stage_that_fails_leaves_the_order_and_is_named() {
    fn fails(_: Vec<Candidate>) -> Result<Vec<Candidate>> {
        Err(ErrorKind::Interrupted.into())
    }
    fn panics(_: Vec<Candidate>) -> Result<Vec<Candidate>> {
        panic!("out of luck")
    }
    fn invents(mut ranked: Vec<Candidate>) -> Result<Vec<Candidate>> {
        ranked.truncate(1);
        ranked[0].item = ItemId(0);
        Ok(ranked)
    }
    fn repeats(mut ranked: Vec<Candidate>) -> Result<Vec<Candidate>> {
        ranked.truncate(1);
        ranked.push(ranked[0].clone());
        Ok(ranked)
    }
    let reranked = |says: fn(Vec<Candidate>) -> Result<Vec<Candidate>>| {
        recall_ten().rank("by_id", by_id(), 5).rerank("last", Says(says), 3)
    };
    for (builder, expected, what) in [
        (reranked(fails), [9, 8, 7], "Failed"),
        (reranked(panics), [9, 8, 7], "Panicked(\"out of luck\")"),
        (reranked(invents), [9, 8, 7], "distinct items of those given"),
        (reranked(repeats), [9, 8, 7], "distinct items of those given"),
        (reranked(Ok), [9, 8, 7], "at most 3 items"),
        (recall_ten().rank("last", Short, 3), [0, 1, 2], "LengthMismatch"),
        (recall_ten().rank("last", By(|_| f32::NAN), 3), [0, 1, 2], "NonFinite"),
    ] {
        for within in [None, Some(Duration::from_secs(60))] {
            let builder = builder.clone();
            let builder = if let Some(budget) = within { builder.within(budget) } else { builder };
            let answer = builder.build().unwrap().recommend(&Query::default()).unwrap();
            assert_eq!(ids(&answer.items), expected, "{what}");
            let last = answer.stages.last().unwrap();
            assert!(!answer.is_whole() && last.name == "last" && !last.outcome.is_done());
            assert!(format!("{:?}", last.outcome).contains(what), "{what}: {:?}", last.outcome);
        }
    }
}

/// Scores as soon as the gate is open.
#[derive(Clone, Debug)]
struct Gated(Arc<RwLock<()>>);

impl Ranker for Gated {
    fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        let _open = self.0.read();
        assert_eq!((query.user(), query.history()), (Some(UserId(3)), &[ItemId(7)][..]));
        Ok(items.iter().map(|item| item.0 as f32).collect())
    }
}

#[test]
fn a_stage_that_is_too_late_leaves_the_order() {
    let gate = Arc::new(RwLock::new(()));
    let gated =
        |budget| recall_ten().rank("gated", Gated(Arc::clone(&gate)), 2).within(budget).build().unwrap();
    let query = Query::new(&[ItemId(7)]).with_user(UserId(3));
    let patient = gated(Duration::from_secs(60));
    assert_eq!(ids(&patient.recommend(&query).unwrap().items), [9, 8]);

    let hasty = gated(Duration::from_millis(1));
    let closed = gate.write().unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..7 {
        let answer = hasty.recommend(&query).unwrap();
        assert_eq!(ids(&answer.items), [0, 1]);
        outcomes.push(format!("{:?}", answer.stages[1].outcome));
    }
    assert_eq!(outcomes, ["TooLate", "TooLate", "TooLate", "TooLate", "TooLate", "Busy", "Busy"]);
    drop(closed);
    // The late runs end some time, and the stage is asked again.
    while matches!(hasty.recommend(&query).unwrap().stages[1].outcome, StageOutcome::Busy) {
        std::thread::yield_now();
    }
}

#[test]
fn an_item_is_followed_through_the_stages() {
    let pipeline = recall_ten()
        .and_recall("again", popularity(), 4)
        .fuse(FusionMethod::default(), 8)
        .rank("by_id", by_id(), 5)
        .rerank("reverse", Reverse, 3)
        .build()
        .unwrap();
    let query = Query::default().excluding([ItemId(0)]);
    // Items 1 to 8 are kept of the ten recalled, then 8 to 4, of which 4, 5 and 6 are shown.
    for (item, fate, places) in [
        (0, Fate::Excluded, [None, None, None]),
        (15, Fate::NotNamed, [None, None, None]),
        (10, Fate::Lost { stage: "recall".into() }, [None, None, None]),
        (2, Fate::Lost { stage: "by_id".into() }, [Some(2), Some(7), None]),
        (8, Fate::Lost { stage: "reverse".into() }, [Some(8), Some(1), None]),
        (5, Fate::Shown { rank: 2 }, [Some(5), Some(4), Some(2)]),
    ] {
        let inspection = pipeline.inspect(&query, ItemId(item)).unwrap();
        let found: Vec<Option<usize>> =
            inspection.stages.iter().map(|(_, place)| place.map(|place| place.rank)).collect();
        assert_eq!((inspection.fate.clone(), &found[..]), (fate, &places[..]), "item {item}:\n{inspection}");
    }
    let inspection = pipeline.inspect(&query, ItemId(5)).unwrap();
    assert_eq!(inspection.channels, [("popularity".to_owned(), Some(5)), ("again".to_owned(), None)]);

    let explanation = pipeline.explain(&query).unwrap();
    let items: Vec<u32> = explanation.items.iter().map(|item| item.item.0).collect();
    assert_eq!(items, [4, 5, 6, 8, 7, 3, 2, 1]);
    assert_eq!(explanation.items[7].channels.len(), 2);
    assert_eq!(explanation.items[7].places[1].unwrap().score, 1.0);
    let text = explanation.to_string();
    assert!(text.lines().count() == 9 && text.contains("reverse") && text.contains('↓'), "{text}");
}

#[test]
fn what_cannot_be_built_is_named() {
    let message = |builder: PipelineBuilder| builder.build().unwrap_err().to_string();
    for (builder, expected) in [
        (recall_ten().rank("a", by_id(), 11), "Pipeline::n_kept: expected 1 to 10 items kept by a"),
        (recall_ten().rank("a", by_id(), 5).rank("b", by_id(), 0), "1 to 5 items kept by b"),
        (recall_ten().rank("a", by_id(), 5).rank("a", by_id(), 5), "a name of its own"),
        (recall_ten().rank("", by_id(), 5), "a name of its own"),
        (recall_ten().rerank("recall", Reverse, 5), "a name of its own"),
        (recall_ten().within(Duration::ZERO), "PipelineBuilder::within"),
        (recall_ten().and_recall("popularity", popularity(), 3), "distinct names"),
        (recall_ten().fuse(FusionMethod::default(), 0), "n_recalled"),
        (Pipeline::recall("popularity", popularity(), 0), "at least 1"),
    ] {
        let error = message(builder);
        assert!(error.contains(expected), "{error}");
    }
}
