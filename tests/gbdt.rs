//! Gradient-boosted trees over the fields of a row.
#![cfg(feature = "gbdt")]

use recsys::features::{CandidateRows, EncodedRow, EncodedRows, FeatureSpace};
use recsys::models::ranking::{FeatureRanker, Gbdt, GbdtConfig};
use recsys::prelude::*;
use recsys::training::RowScorer;

/// Of 50 ids the even ones are liked; the second field's only id says nothing; the first number is the answer where the
/// id is missing.
fn rows() -> EncodedRows {
    let space = FeatureSpace::default()
        .with_field("item", 50)
        .and_then(|space| space.with_field("constant", 1))
        .and_then(|space| space.with_vectors("number", 2))
        .unwrap();
    let mut rows = EncodedRows::new(space, 1);
    for i in 0..1_000u32 {
        let (item, is_liked) = (i % 50, f32::from(i % 2 == 0));
        let id = [(item, 1.0)];
        let item: &[(u32, f32)] = if i % 10 < 8 { &id } else { &[] };
        let vectors = [if item.is_empty() { is_liked } else { 0.5 }, 7.0];
        let bags: [&[(u32, f32)]; 2] = [item, &[(50, 1.0)]];
        rows.push(EncodedRow {
            bags: &bags,
            vectors: &vectors,
            labels: &[is_liked],
            ..EncodedRow::default()
        })
        .unwrap();
    }
    rows
}

#[test]
fn trees_learn_from_statistics_and_numbers() {
    let rows = rows();
    let config = GbdtConfig { n_trees: 50, ..GbdtConfig::default() };
    let trees = config.fit(&rows).unwrap();
    let scores = trees.score_rows(&rows).unwrap();
    assert!(scores.iter().zip(rows.labels()).all(|(&score, &label)| (score > 0.0) == (label > 0.5)));
    assert!(trees.score_rows(&rows.select(&[])).unwrap().is_empty());

    let json = serde_json::to_string(&trees).unwrap();
    let read: Gbdt = serde_json::from_str(&json).unwrap();
    assert_eq!(read.score_rows(&rows).unwrap(), scores);
    assert_eq!(config.fit(&rows).unwrap().score_rows(&rows).unwrap(), scores);

    let whole = serde_json::to_value(&trees).unwrap();
    for (place, value) in [
        ("/columns/0/Target/field", 9.into()),
        ("/columns/0/Target/statistic/sums", serde_json::json!([1.0])),
        ("/columns/1/Number/at", 2.into()),
    ] {
        let mut altered = whole.clone();
        *altered.pointer_mut(place).unwrap() = value;
        let error = serde_json::from_value::<Gbdt>(altered).unwrap_err().to_string();
        assert!(error.contains("a column that the space does not have"), "{error}");
    }
}

#[test]
fn a_row_does_not_see_its_own_label() {
    let space = FeatureSpace::default().with_field("row", 40).unwrap();
    let mut rows = EncodedRows::new(space, 1);
    for i in 0..40 {
        let label = [f32::from(i % 3 == 0)];
        rows.push(EncodedRow { bags: &[&[(i, 1.0)]], labels: &label, ..EncodedRow::default() }).unwrap();
    }
    // An id that is met once has the mean of all labels in its only row: a constant column, and no column is left.
    let error = GbdtConfig::default().fit(&rows).unwrap_err().to_string();
    assert!(error.contains("differ in some field"), "{error}");
}

#[test]
fn no_id_is_not_an_id_of_one_weight() {
    for weight in [0.0, 1.0, -1.0, 1e9] {
        let mut rows = EncodedRows::new(FeatureSpace::default().with_field("kind", 1).unwrap(), 1);
        for i in 0..400u32 {
            let bag: &[(u32, f32)] = if i % 2 == 0 { &[] } else { &[(0, weight)] };
            let label = [f32::from(bag.is_empty())];
            rows.push(EncodedRow { bags: &[bag], labels: &label, ..EncodedRow::default() }).unwrap();
        }
        let scores = GbdtConfig::default().fit(&rows).unwrap().score_rows(&rows).unwrap();
        assert!(scores[0] > 1.0 && scores[1] < -1.0, "{weight}: {:?}", &scores[..2]);
    }
}

#[test]
fn shares_of_rows_and_columns_are_drawn_from_the_seed() {
    let rows = rows();
    let scores = |config: GbdtConfig| {
        GbdtConfig { n_trees: 20, ..config }.fit(&rows).unwrap().score_rows(&rows).unwrap()
    };
    let by_rows = |seed| GbdtConfig { subsample: 0.5, seed, ..GbdtConfig::default() };
    let by_columns = |seed| GbdtConfig { colsample_bytree: 0.5, seed, ..GbdtConfig::default() };
    let of_all = scores(GbdtConfig::default());
    for config in [by_rows, by_columns] {
        assert_eq!(scores(config(1)), scores(config(1)));
        assert!(scores(config(1)) != scores(config(2)) && scores(config(1)) != of_all);
    }
    for (field, bad) in [
        ("GbdtConfig::subsample", GbdtConfig { subsample: 0.0, ..GbdtConfig::default() }),
        ("GbdtConfig::colsample_bytree", GbdtConfig { colsample_bytree: f64::NAN, ..GbdtConfig::default() }),
    ] {
        assert!(bad.fit(&rows).unwrap_err().to_string().starts_with(field));
    }
}

#[test]
fn rows_count_for_as_many_as_their_weight_says() {
    // Rows of two kinds, each with both labels; the weights decide which label prevails.
    let mut rows = EncodedRows::new(FeatureSpace::default().with_field("kind", 2).unwrap(), 1);
    for i in 0..400u32 {
        let label = [f32::from(i % 4 < 2)];
        rows.push(EncodedRow { bags: &[&[(i % 2, 1.0)]], labels: &label, ..EncodedRow::default() }).unwrap();
    }
    let config = GbdtConfig { n_trees: 50, ..GbdtConfig::default() };
    let weights: Vec<f32> = (0..400).map(|i| if (i % 4 < 2) == (i % 2 == 0) { 3.0 } else { 1.0 }).collect();
    let scores = config.fit_weighted(&rows, &weights).unwrap().score_rows(&rows).unwrap();
    // Three of four are positive: the logit is ln 3.
    assert!((scores[0] - 3f32.ln()).abs() < 0.1 && (scores[1] + 3f32.ln()).abs() < 0.1, "{:?}", &scores[..2]);
    let least = GbdtConfig { min_child_weight: 1_000.0, ..config.clone() };
    let scores = least.fit_weighted(&rows, &weights).unwrap().score_rows(&rows).unwrap();
    assert_eq!(scores[0], scores[1], "no leaf of so few rows");
    for (weights, expected) in [
        (vec![1.0; 399], "number of weights: expected 400, found 399"),
        ([vec![1.0; 399], vec![-1.0]].concat(), "Gbdt::weights"),
        ([vec![1.0; 399], vec![f32::NAN]].concat(), "Gbdt::weights"),
        (vec![0.0; 400], "Gbdt::rows"),
    ] {
        let error = config.fit_weighted(&rows, &weights).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Groups of three rows; the first has the number 2, the others 1 and 3, so that no threshold alone tells it.
fn groups(n: usize) -> EncodedRows {
    let mut rows = EncodedRows::new(FeatureSpace::default().with_vectors("number", 1).unwrap(), 1);
    for _ in 0..n {
        for (at, number) in [2.0, 1.0, 3.0].into_iter().enumerate() {
            let label = [f32::from(at == 0)];
            rows.push(EncodedRow { vectors: &[number], labels: &label, ..EncodedRow::default() }).unwrap();
        }
    }
    rows
}

#[test]
fn trees_place_the_first_of_a_group_before_the_others() {
    let config = GbdtConfig { n_trees: 40, learning_rate: 0.3, ..GbdtConfig::default() };
    let trees = config.fit_grouped(&groups(200), &groups(50), &[0.0, 1.0]).unwrap();
    let rows = groups(2);
    let scores = trees.score_rows(&rows).unwrap();
    assert!(scores.chunks(3).all(|group| group[0] > group[1].max(group[2]) + 2.0), "{scores:?}");
    let read: Gbdt = serde_json::from_str(&serde_json::to_string(&trees).unwrap()).unwrap();
    assert_eq!(read.score_rows(&rows).unwrap(), scores);
}

#[test]
fn counts_say_for_how_many_a_negative_stands() {
    // Of a pair one has the number 0, the other 1; in three pairs of four that is the first.
    let mut rows = EncodedRows::new(FeatureSpace::default().with_vectors("number", 1).unwrap(), 1);
    for i in 0..400 {
        for at in 0..2 {
            let number = if (at == 0) == (i % 4 < 3) { 1.0 } else { 0.0 };
            let label = [f32::from(at == 0)];
            rows.push(EncodedRow { vectors: &[number], labels: &label, ..EncodedRow::default() }).unwrap();
        }
    }
    let config = GbdtConfig { n_trees: 100, learning_rate: 0.3, ..GbdtConfig::default() };
    // With u = exp(x₁ − x₀) and a count c, 3/4 · c / (c + u) = 1/4 · c u / (1 + c u): u² − 2 c u − 3 = 0.
    for c in [1f32, 3.0] {
        let trees = config.fit_grouped(&rows, &rows, &[c.ln()]).unwrap();
        let scores = trees.score_rows(&rows.select(&[0, 1])).unwrap();
        let expected = (c + (c * c + 3.0).sqrt()).ln();
        assert!((scores[0] - scores[1] - expected).abs() < 0.02, "{c}: {scores:?}, {expected}");
    }
}

#[test]
fn groups_that_do_not_fit_are_refused() {
    let (rows, config) = (groups(20), GbdtConfig { n_trees: 3, ..GbdtConfig::default() });
    let refused = |rows: &EncodedRows, held_out: &EncodedRows, log_counts: &[f32]| {
        config.fit_grouped(rows, held_out, log_counts).unwrap_err().to_string()
    };
    let short = rows.select(&[0, 1, 2, 3]);
    assert_eq!(refused(&short, &rows, &[0.0; 2]), "rows of all groups: expected 6, found 4");
    assert_eq!(refused(&rows, &short, &[0.0; 2]), "held-out rows of all groups: expected 6, found 4");
    assert_eq!(
        refused(&rows, &rows.select(&[]), &[0.0; 2]),
        "held-out rows of all groups: expected 3, found 0"
    );
    assert!(refused(&rows, &self::rows(), &[0.0; 2]).contains("EncodedRows::space"));
    assert!(refused(&rows, &rows, &[]).contains("RankingLoss::log_counts"));
    assert!(refused(&rows, &rows, &[0.0, f32::NAN]).contains("RankingLoss::log_counts"));
    let config = GbdtConfig { patience: 0, ..config.clone() };
    assert!(config.fit_grouped(&rows, &rows, &[0.0; 2]).unwrap_err().to_string().contains("patience"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let rows = rows();
    let fit = |config: GbdtConfig| config.fit(&rows).map(|_| ());
    assert!(fit(GbdtConfig { learning_rate: 0.0, ..GbdtConfig::default() }).is_err());
    assert!(fit(GbdtConfig { max_depth: 0, ..GbdtConfig::default() }).is_err());
    assert!(fit(GbdtConfig { min_child_weight: f64::NAN, ..GbdtConfig::default() }).is_err());
    assert!(fit(GbdtConfig { prior: f64::NAN, ..GbdtConfig::default() }).is_err());
    assert!(fit(GbdtConfig { n_trees: 0, ..GbdtConfig::default() }).is_err());
    let one_class: Vec<usize> = (0..rows.n_rows()).step_by(2).collect();
    assert!(GbdtConfig::default().fit(&rows.select(&one_class)).is_err());
    assert!(GbdtConfig::default().fit(&rows.select(&[])).is_err());
    let trees = GbdtConfig { n_trees: 3, ..GbdtConfig::default() }.fit(&rows).unwrap();
    assert!(trees.score_rows(&EncodedRows::default()).is_err());
}

#[test]
fn trees_answer_behind_the_ranker_as_any_model() {
    let rows = rows();
    let trees = GbdtConfig { n_trees: 20, ..GbdtConfig::default() }.fit(&rows).unwrap();
    let scores = trees.score_rows(&rows).unwrap();
    let users = rows.select(&[0]);
    let ranker = FeatureRanker::new(trees, CandidateRows::new(users, rows, &["constant"]).unwrap()).unwrap();
    let items = [ItemId(0), ItemId(1), ItemId(8)];
    let found = ranker.score(&Query::default(), &items).unwrap();
    assert_eq!(found, items.map(|item| scores[item.index()]));
    let requests = [(Query::default(), &items[1..]), (Query::default(), &[]), (Query::default(), &items)];
    assert_eq!(ranker.score_batch(&requests).unwrap(), [found[1..].to_vec(), Vec::new(), found]);
}
