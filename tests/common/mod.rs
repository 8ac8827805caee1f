//! What every implementation of a trait owes to its callers, as checks that any implementation can be
//! put through.

use recsys::prelude::*;
use recsys::top_k::by_score;

/// Puts a recaller over the items `0..n_items` (at least 8) through everything that [`Recaller`] promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check_recaller(recaller: &dyn Recaller, n_items: usize) {
    assert!(n_items >= 8, "the suite needs eight items");
    let some = [ItemId(3), ItemId(1), ItemId(4)];
    for history in [&[][..], &some[..1], &some] {
        let query = Query::new(history);
        check_answers(recaller, &query, n_items);
        check_answers(recaller, &query.clone().with_user(UserId(u32::MAX)), n_items);
        check_answers(recaller, &query.clone().excluding(history.iter().copied()), n_items);
        check_answers(recaller, &query.clone().allowing([5, 0, 7].map(ItemId)), n_items);
        check_answers(recaller, &query.clone().allowing(some).excluding([ItemId(4)]), n_items);
        check_answers(recaller, &query.clone().allowing([]), n_items);
        check_answers(recaller, &query.excluding((0..n_items as u32).map(ItemId)), n_items);
    }
    check_exclusion_comes_before_the_cut(recaller);
    check_batches(recaller, n_items);
    check_ids_out_of_range(recaller, n_items);
}

/// The answers to one query for k = 0, for few, and for more than there are.
fn check_answers(recaller: &dyn Recaller, query: &Query<'_>, n_items: usize) {
    let all = recall(recaller, query, n_items);
    for k in [0, 1, 3, n_items, n_items + 5] {
        let answer = recall(recaller, query, k);
        check_answer(&answer, query, k, n_items);
        assert_eq!(items(&answer), items(&all[..k.min(all.len())]), "k = {k} is not the start of all");
        assert_eq!(answer, recall(recaller, query, k), "the same question got another answer");
    }
}

/// At most k, distinct, finite, best first by the one order, admitted by the filter, in the catalogue.
fn check_answer(answer: &[Candidate], query: &Query<'_>, k: usize, n_items: usize) {
    assert!(answer.len() <= k, "{} candidates for k = {k}", answer.len());
    for Candidate { item, score, .. } in answer {
        assert!(score.is_finite(), "item {item} has score {score}");
        assert!(item.index() < n_items, "item {item} is not in the catalogue");
        assert!(query.filter().admits(*item), "item {item} is not admitted");
    }
    for pair in answer.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert!(by_score((a.item, a.score), (b.item, b.score)).is_lt(), "{a:?} stands before {b:?}");
    }
    let mut distinct = items(answer);
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), answer.len(), "an item comes twice: {answer:?}");
}

/// Denying the best item brings up the second: nothing is lost by a cut before the filter.
fn check_exclusion_comes_before_the_cut(recaller: &dyn Recaller) {
    let history = [ItemId(1), ItemId(2)];
    let query = Query::new(&history);
    let before = items(&recall(recaller, &query, 4));
    assert!(before.len() >= 2, "a recaller that knows fewer than two items cannot be checked");
    let after = items(&recall(recaller, &query.excluding([before[0]]), 3));
    assert_eq!(after, before[1..], "denying the best item changed more than that item");
}

/// A batch answers row by row as single questions do, whatever stands beside a row.
fn check_batches(recaller: &dyn Recaller, n_items: usize) {
    let (one, three) = ([ItemId(6)], [ItemId(3), ItemId(1), ItemId(4)]);
    let queries = [
        Query::new(&three),
        Query::default(),
        Query::new(&one).excluding(one),
        Query::new(&three).with_user(UserId(0)).allowing([ItemId(2), ItemId(5)]),
        Query::new(&three),
    ];
    for k in [0, 2, n_items + 1] {
        let answers = recaller.recall_batch(&queries, k).expect("a batch of good queries is answered");
        assert_eq!(answers.len(), queries.len());
        for (query, answer) in queries.iter().zip(&answers) {
            let single = recall(recaller, query, k);
            assert_eq!(answer.len(), single.len(), "the batch differs from the single answer");
            // A batched matrix product may round another way, and so swap what is nearly tied.
            for (a, b) in answer.iter().zip(&single) {
                let tolerance = 1e-5 * b.score.abs().max(1.0);
                assert!(
                    (a.score - b.score).abs() <= tolerance,
                    "the batch has {a:?}, the single answer {b:?}"
                );
            }
        }
    }
    assert!(recaller.recall_batch(&[], 3).expect("an empty batch is answered").is_empty());
}

/// An item that is not in the catalogue is an error that says so, alone and in a batch.
fn check_ids_out_of_range(recaller: &dyn Recaller, n_items: usize) {
    for id in [n_items as u32, u32::MAX] {
        let history = [ItemId(0), ItemId(id)];
        let queries = [
            Query::new(&history),
            Query::default().excluding([ItemId(id)]),
            Query::default().allowing([ItemId(id), ItemId(0)]),
        ];
        for query in queries {
            let single = recaller.recall(&query, 3).map(|_| ());
            let batch = recaller.recall_batch(&[Query::default(), query], 3).map(|_| ());
            for result in [single, batch] {
                let error = result.expect_err("an id outside the catalogue was accepted");
                let ErrorKind::IdOutOfRange { what, id: found, bound } = error.kind() else {
                    panic!("another error for an id outside the catalogue: {error}");
                };
                assert_eq!((*what, *found, *bound), ("item", id.into(), n_items as u64));
            }
        }
    }
}

fn recall(recaller: &dyn Recaller, query: &Query<'_>, k: usize) -> Vec<Candidate> {
    recaller.recall(query, k).expect("a good query is answered")
}

fn items(answer: &[Candidate]) -> Vec<ItemId> {
    answer.iter().map(|candidate| candidate.item).collect()
}
