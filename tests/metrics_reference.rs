//! Our metrics against the values of independent libraries (RecTools, ranx, trec_eval, scikit-learn, scipy)
//! on the fixed inputs of `tests/data/metrics_ref.json`, which `tests/data/metrics_ref.py` made, and of
//! `tests/data/predictions_ref.json`, which `tests/data/predictions_ref.py` made.

use std::collections::BTreeMap;

use recsys::metrics::{
    CalibrationBins, Hits, Predictions, RankingMetric, auc, calibration_ratio, catalog_coverage,
    expected_calibration_error, gauc, gini, graded_ndcg_at_k, intra_list_diversity, log_loss, novelty,
    novelty_miuf, recommendation_counts,
};
use recsys::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;
const CUTOFFS: [usize; 5] = [1, 3, 5, 10, 20];

/// The reference cases of one kind.
fn cases<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    let text = include_str!("data/metrics_ref.json");
    let mut file: Value = serde_json::from_str(text).expect("the reference file is JSON");
    let cases: Vec<Value> = serde_json::from_value(file["cases"].take()).expect("it has cases");
    let of_kind = cases.into_iter().filter(|case| case["kind"] == kind);
    let cases: Vec<T> = of_kind.map(|case| serde_json::from_value(case).expect(kind)).collect();
    assert!(!cases.is_empty(), "no case of kind {kind}");
    cases
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= TOLERANCE, "{what}: found {found}, reference {expected}");
}

#[derive(Deserialize)]
struct RankingCase {
    n_users: usize,
    n_items: usize,
    recs: Vec<Vec<ItemId>>,
    relevant: Vec<Vec<ItemId>>,
    train: Vec<Vec<ItemId>>,
    item_vectors: Vec<Vec<f64>>,
    per_user: BTreeMap<String, Vec<f64>>,
    mean: BTreeMap<String, f64>,
    aggregate: BTreeMap<String, f64>,
}

impl RankingCase {
    /// The first k of each user's list.
    fn shown(&self, k: usize) -> impl Iterator<Item = &[ItemId]> {
        self.recs.iter().map(move |list| &list[..k.min(list.len())])
    }

    /// Compares one value per user, and their mean.
    fn assert_users(&self, key: &str, found: &[f64]) {
        let expected = &self.per_user[key];
        assert_eq!(found.len(), expected.len());
        for (user, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            assert_near(found, expected, &format!("{key} of user {user}"));
        }
        assert_near(found.iter().sum::<f64>() / found.len() as f64, self.mean[key], key);
    }
}

#[test]
fn ranking_metrics() {
    type Metric = fn(&Hits, usize) -> f64;
    let metrics: [(&str, Metric); 10] = [
        ("hit_rate", Hits::hit_rate_at_k),
        ("recall", Hits::recall_at_k),
        ("precision", Hits::precision_at_k),
        ("f1", Hits::f1_at_k),
        ("mrr", Hits::mrr_at_k),
        ("ndcg", Hits::ndcg_at_k),
        ("ndcg_div_k", Hits::ndcg_div_k_at_k),
        ("map", Hits::map_div_relevant_at_k),
        ("map_min_k", Hits::map_at_k),
        ("map_div_k", Hits::map_div_k_at_k),
    ];
    for case in cases::<RankingCase>("ranking") {
        assert_eq!(case.recs.len(), case.n_users);
        let hits: Vec<Hits> =
            case.recs.iter().zip(&case.relevant).map(|(list, relevant)| Hits::new(list, relevant)).collect();
        for (name, metric) in metrics {
            for k in CUTOFFS {
                let found: Vec<f64> = hits.iter().map(|hits| metric(hits, k)).collect();
                case.assert_users(&format!("{name}@{k}"), &found);
            }
        }
    }
}

#[test]
fn novelty_of_lists() {
    for case in cases::<RankingCase>("ranking") {
        let train = case.train.iter().map(Vec::as_slice);
        let user_counts = recommendation_counts(train, case.n_items).unwrap();
        let n_users = case.n_users as u64;
        for k in CUTOFFS {
            let smoothed: Vec<f64> =
                case.shown(k).map(|list| novelty(list, &user_counts, n_users).unwrap().unwrap()).collect();
            case.assert_users(&format!("novelty_smoothed@{k}"), &smoothed);
            let miuf: Vec<f64> = case
                .shown(k)
                .map(|list| novelty_miuf(list, &user_counts, n_users).unwrap().unwrap())
                .collect();
            case.assert_users(&format!("novelty_miuf@{k}"), &miuf);
        }
    }
}

#[test]
fn diversity_of_lists() {
    for case in cases::<RankingCase>("ranking") {
        for k in CUTOFFS.into_iter().filter(|&k| k > 1) {
            let diversity = |list: &[ItemId]| {
                let vectors: Vec<&[f64]> =
                    list.iter().map(|item| case.item_vectors[item.index()].as_slice()).collect();
                intra_list_diversity(&vectors).unwrap().unwrap()
            };
            let found: Vec<f64> = case.shown(k).map(diversity).collect();
            case.assert_users(&format!("ild_cosine@{k}"), &found);
        }
    }
}

#[test]
fn coverage_and_gini_of_all_lists() {
    for case in cases::<RankingCase>("ranking") {
        for k in CUTOFFS {
            let counts = recommendation_counts(case.shown(k), case.n_items).unwrap();
            let expected = |name: &str| case.aggregate[&format!("{name}@{k}")];
            assert_near(catalog_coverage(&counts), expected("catalog_coverage"), "coverage");
            assert_near(gini(&counts), expected("gini"), "gini");
        }
    }
}

#[derive(Deserialize)]
struct GradedCase {
    relevance: Vec<Vec<i32>>,
    scores: Vec<Vec<f64>>,
    per_user: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

#[test]
fn graded_ndcg() {
    type Gain = fn(i32) -> f64;
    let gains: [(&str, Gain); 2] =
        [("linear_gain", f64::from), ("exponential_gain", |relevance| 2f64.powi(relevance) - 1.0)];
    for case in cases::<GradedCase>("graded_ndcg") {
        for (kind, gain) in gains {
            for k in [1, 3, 5, 10, 15] {
                let expected = &case.per_user[kind][&format!("ndcg@{k}")];
                for (user, (relevance, scores)) in case.relevance.iter().zip(&case.scores).enumerate() {
                    let mut ranked: Vec<usize> = (0..scores.len()).collect();
                    ranked.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                    let gains: Vec<f64> = ranked.iter().map(|&item| gain(relevance[item])).collect();
                    assert_near(graded_ndcg_at_k(&gains, k), expected[user], &format!("{kind}, {k}"));
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct PointwiseCase {
    label: Vec<u8>,
    prob: Vec<f64>,
    group: Vec<UserId>,
    expected: BTreeMap<String, f64>,
}

#[test]
fn classification_metrics() {
    for case in cases::<PointwiseCase>("pointwise") {
        let labels: Vec<bool> = case.label.iter().map(|&label| label == 1).collect();
        assert_near(auc(&labels, &case.prob).unwrap().unwrap(), case.expected["auc"], "auc");
        assert_near(log_loss(&labels, &case.prob).unwrap(), case.expected["logloss"], "log loss");
        let ratio = calibration_ratio(&labels, &case.prob).unwrap().unwrap();
        assert_near(ratio, case.expected["calibration_ratio"], "calibration ratio");
        let found = gauc(&case.group, &labels, &case.prob).unwrap();
        assert_near(found.value.unwrap(), case.expected["gauc_by_impressions"], "gauc");
        assert_eq!(found.n_users as f64, case.expected["gauc_groups_used"]);
        assert_eq!(found.n_left_out, 2, "groups 3 and 7 have one class only");
    }
}

#[derive(Deserialize)]
struct AucEdges {
    rows: Vec<AucEdge>,
}

#[derive(Deserialize)]
struct AucEdge {
    name: String,
    label: Vec<u8>,
    score: Vec<f64>,
    auc: f64,
}

#[test]
fn auc_at_its_edges() {
    for edge in cases::<AucEdges>("auc_edges").into_iter().flat_map(|case| case.rows) {
        let labels: Vec<bool> = edge.label.iter().map(|&label| label == 1).collect();
        assert_near(auc(&labels, &edge.score).unwrap().unwrap(), edge.auc, &edge.name);
    }
}

#[derive(Deserialize)]
struct PredictionsCase {
    user: Vec<UserId>,
    label: Vec<u8>,
    score: Vec<f32>,
    probability: Vec<f32>,
    n_without_positive: usize,
    per_user: BTreeMap<u32, BTreeMap<String, f64>>,
    expected: BTreeMap<String, f64>,
}

#[test]
fn predictions() {
    let case: PredictionsCase = serde_json::from_str(include_str!("data/predictions_ref.json")).unwrap();
    let labels: Vec<bool> = case.label.iter().map(|&label| label == 1).collect();
    let predictions = Predictions {
        users: &case.user,
        labels: &labels,
        scores: &case.score,
        probabilities: Some(&case.probability),
    };
    let report = predictions.report(1).unwrap();
    for (name, estimate) in report.metrics().filter(|(name, _)| *name != "gauc") {
        assert_near(estimate.value, case.expected[name], name);
    }
    for (bins, n_bins, name) in [
        (CalibrationBins::EqualWidth, 10, "ece_equal_width_10"),
        (CalibrationBins::EqualFrequency, 7, "ece_equal_frequency_7"),
    ] {
        let found = expected_calibration_error(&labels, &case.probability, bins, n_bins).unwrap();
        assert_near(found, case.expected[name], name);
    }

    let items: Vec<ItemId> = (0..).map(ItemId).take(labels.len()).collect();
    let ranking = predictions.rank(&items, &[1, 3, 10, 100]).unwrap();
    assert!(case.per_user.keys().copied().eq(ranking.users().iter().map(|user| user.0)));
    assert!(ranking.candidates().ends_with(&format!(": {}", case.n_without_positive)));
    let metrics = [RankingMetric::Ndcg, RankingMetric::HitRate, RankingMetric::Mrr, RankingMetric::Map];
    for (metric, k) in metrics.into_iter().flat_map(|metric| [1, 3, 10, 100].map(|k| (metric, k))) {
        let name = format!("{metric}@{k}");
        for (expected, &found) in case.per_user.values().zip(ranking.values(metric, k).unwrap()) {
            match expected.get(&name) {
                Some(&expected) => assert_near(found, expected, &name),
                None => assert!(metric == RankingMetric::Map && k < 100, "{name}"),
            }
        }
    }
}
