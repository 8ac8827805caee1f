//! Published and measured values on the real MovieLens data. The data may not be copied into this
//! repository: set `RECSYS_DATA_DIR` to the folder that holds `ml-1m/` and run with `--include-ignored`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use recsys::data::Split;
use recsys::metrics::{DatasetFacts, Experiment, HeldOut, HeldOutUser, RankingMetric, evaluate};
use recsys::models::recall::PopularityRecaller;
use recsys::prelude::*;

/// The rows of `ratings.dat` with a rating of at least 4, in file order, of users with at least 5 of them.
fn positives() -> Vec<[u32; 3]> {
    let folder = std::env::var_os("RECSYS_DATA_DIR").expect("RECSYS_DATA_DIR is set");
    let file = PathBuf::from(folder).join("ml-1m").join("ratings.dat");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut rows = Vec::new();
    let mut positives: HashMap<u32, usize> = HashMap::new();
    for line in text.lines() {
        let fields: Vec<u32> = line.split("::").map(|field| field.parse().expect("a number")).collect();
        let [user, item, rating, time] = fields[..] else { panic!("four fields, found {line}") };
        if rating >= 4 {
            rows.push([user, item, time]);
            *positives.entry(user).or_default() += 1;
        }
    }
    rows.retain(|[user, ..]| positives[user] >= 5);
    rows
}

/// The table with dense ids in ascending order of the keys.
fn dense(rows: &[[u32; 3]]) -> Interactions {
    let ids = |column: usize| -> HashMap<u32, u32> {
        let mut keys: Vec<u32> =
            rows.iter().map(|row| row[column]).collect::<HashSet<_>>().into_iter().collect();
        keys.sort_unstable();
        keys.into_iter().zip(0..).collect()
    };
    let (users, items) = (ids(0), ids(1));
    let rows = rows.iter().map(|[user, item, time]| Interaction {
        user: UserId(users[user]),
        item: ItemId(items[item]),
        value: 1.0,
        timestamp: (*time).into(),
    });
    Interactions::from_rows(users.len(), items.len(), rows).unwrap()
}

/// The share of users whose target is among the first k if a tie always counts against it.
fn pessimistic_recall_at_k(scores: &[f32], held_out: &HeldOut, k: usize) -> f64 {
    let is_hit = |user: &&HeldOutUser| {
        let query = user.query();
        let target = scores[user.relevant[0].index()];
        let admitted = |item: &usize| query.filter().admits(ItemId(*item as u32));
        (0..scores.len()).filter(admitted).filter(|&item| scores[item] >= target).count() <= k
    };
    held_out.users().iter().filter(is_hit).count() as f64 / held_out.users().len() as f64
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn popularity_on_movielens_1m() {
    let table = dense(&positives());
    let Split { train, validation, test, .. } = Split::leave_one_out(&table);
    let held_out = HeldOut::test(&train, &validation, &test).unwrap();
    let popularity = PopularityRecaller::fit(&train);
    let evaluation = evaluate(&popularity, &held_out, &[10, 100, 200]).unwrap();
    let experiment = Experiment {
        protocol: "P2: rating ≥ 4, users with ≥ 5 positives, the last one held out".into(),
        dataset: DatasetFacts::new("MovieLens 1M", &table),
        model: "popularity".into(),
        loss: None,
        seed: 1,
    };
    println!("{}", evaluation.report(experiment).unwrap());
    assert_eq!((table.n_users(), table.n_items()), (6_034, 3_533));
    for (metric, k, expected) in [
        (RankingMetric::Recall, 10, 0.0404),
        (RankingMetric::Recall, 100, 0.2365),
        (RankingMetric::Recall, 200, 0.3545),
        (RankingMetric::Ndcg, 200, 0.0723),
    ] {
        let found = evaluation.mean(metric, k).unwrap();
        assert!((found - expected).abs() <= 0.001, "{metric}@{k}: {found}, measured elsewhere {expected}");
    }
    // The measurement elsewhere counts ties against the target; so counted, every digit is the same.
    for (k, expected) in [(10, 0.0404), (100, 0.2365), (200, 0.3545)] {
        let found = pessimistic_recall_at_k(popularity.scores(), &held_out, k);
        assert!((found - expected).abs() < 0.00005, "recall@{k} against ties: {found}, not {expected}");
    }
}
