//! Published and measured values under the protocols, on the real MovieLens data. The data may not be copied
//! into this repository: set `RECSYS_DATA_DIR` to the folder that holds `ml-1m/` and run with
//! `--include-ignored`.

use recsys::data::{MovieLens, Split};
use recsys::metrics::{DatasetFacts, Experiment, HeldOut, HeldOutUser, RankingMetric, evaluate, mae, rmse};
use recsys::models::ranking::{BiasedMf, BiasedMfConfig};
use recsys::models::recall::{BprMf, BprMfConfig, Ials, IalsConfig, PopularityRecaller};
use recsys::prelude::*;

/// P2: ratings of at least 4, users with at least 5 of them, the last two held out.
fn p2() -> (Interactions, Split) {
    let folder = MovieLens::Ml1m.find(None).expect("RECSYS_DATA_DIR names a folder that holds ml-1m");
    let data = MovieLens::Ml1m.read(folder).unwrap();
    let data = data.filter(|rows| rows.min_value(4.0).min_per_user(5)).unwrap().compact();
    let table = data.interactions().clone();
    let split = Split::leave_one_out(&table);
    (table, split)
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
    let (table, Split { train, validation, test, .. }) = p2();
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

/// Recall@200 under P2 of a model fitted to the training part.
fn recall_at_200(model: &str, seed: u64, fit: impl FnOnce(&Interactions) -> Box<dyn Recaller>) -> f64 {
    let (table, Split { train, validation, test, .. }) = p2();
    let held_out = HeldOut::test(&train, &validation, &test).unwrap();
    let evaluation = evaluate(fit(&train).as_ref(), &held_out, &[10, 100, 200]).unwrap();
    let experiment = Experiment {
        protocol: "P2: rating ≥ 4, users with ≥ 5 positives, the last one held out".into(),
        dataset: DatasetFacts::new("MovieLens 1M", &table),
        model: model.into(),
        loss: None,
        seed,
    };
    println!("{}", evaluation.report(experiment).unwrap());
    evaluation.mean(RankingMetric::Recall, 200).unwrap()
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn ials_on_movielens_1m() {
    let config = IalsConfig::default();
    let recall = recall_at_200("iALS", config.seed, |train| Box::new(Ials::fit(train, &config).unwrap()));
    assert!(recall >= 0.60, "{recall}; implicit, 64 factors: 0.5966");
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn bpr_on_movielens_1m() {
    let config = BprMfConfig::default();
    let recall = recall_at_200("BPR-MF", config.seed, |train| Box::new(BprMf::fit(train, &config).unwrap()));
    assert!(recall >= 0.50, "{recall}; popularity: 0.3545");
}

/// P6: the published five folds of MovieLens 100K; the mean RMSE and MAE.
#[test]
#[ignore = "needs MovieLens 100K: set RECSYS_DATA_DIR and pass --include-ignored"]
fn ratings_on_movielens_100k() {
    let folder = MovieLens::Ml100k.find(None).expect("RECSYS_DATA_DIR names a folder that holds ml-100k");
    let folds: Vec<Split> = (1..=5).map(|fold| MovieLens::read_fold(&folder, fold).unwrap().1).collect();
    for (name, implicit_feedback, target) in [("biased MF", false, 0.935), ("SVD++", true, 0.91)] {
        let config = BiasedMfConfig { implicit_feedback, ..BiasedMfConfig::default() };
        let errors = folds.iter().map(|Split { train, test, .. }| {
            let predicted = BiasedMf::fit(train, &config).unwrap().predict_all(test).unwrap();
            [rmse(test.values(), &predicted).unwrap(), mae(test.values(), &predicted).unwrap()]
        });
        let errors: Vec<[f64; 2]> = errors.collect();
        let [rmse, mae] = [0, 1].map(|at| errors.iter().map(|error| error[at]).sum::<f64>() / 5.0);
        println!("P6, MovieLens 100K, u1 to u5, {name}, seed {}: RMSE {rmse:.4}, MAE {mae:.4}", config.seed);
        assert!(rmse <= target, "{name}: {rmse}");
    }
}
