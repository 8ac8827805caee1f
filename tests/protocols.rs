//! Published and measured values under the protocols, on the real MovieLens data. The data may not be copied
//! into this repository: set `RECSYS_DATA_DIR` to the folder that holds `ml-1m/` and run with
//! `--include-ignored`.

use recsys::data::{MovieLens, Split};
use recsys::features::item_texts;
use recsys::metrics::{DatasetFacts, Experiment, HeldOut, HeldOutUser, RankingMetric, evaluate, mae, rmse};
use recsys::models::ranking::{BiasedMf, BiasedMfConfig};
use recsys::models::recall::{
    BprMf, BprMfConfig, CoVisitationConfig, CoVisitationRecaller, ContentConfig, ContentRecaller, EaseConfig,
    EaseRecaller, FavouriteGenresConfig, FavouriteGenresRecaller, Ials, IalsConfig, ItemKnnConfig,
    ItemKnnRecaller, PopularityRecaller, SessionKnnConfig, SessionKnnRecaller, SlimConfig, SlimRecaller,
};
use recsys::prelude::*;

/// P2: ratings of at least 4, users with at least 5 of them.
fn p2_data() -> Dataset {
    let folder = MovieLens::Ml1m.find(None).expect("RECSYS_DATA_DIR names a folder that holds ml-1m");
    let data = MovieLens::Ml1m.read(folder).unwrap();
    data.filter(|rows| rows.min_value(4.0).min_per_user(5)).unwrap().compact()
}

/// P2, the last two of each user held out.
fn p2() -> (Interactions, Split) {
    let table = p2_data().interactions().clone();
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
    let (table, split) = p2();
    let held_out = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let popularity = PopularityRecaller::fit(train);
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

/// Measures a recaller under P2: Recall@200.
fn recall_at_200(
    table: &Interactions,
    held_out: &HeldOut,
    model: &str,
    seed: u64,
    recaller: &dyn Recaller,
) -> f64 {
    let evaluation = evaluate(recaller, held_out, &[10, 100, 200]).unwrap();
    let experiment = Experiment {
        protocol: "P2: rating ≥ 4, users with ≥ 5 positives, the last one held out".into(),
        dataset: DatasetFacts::new("MovieLens 1M", table),
        model: model.into(),
        loss: None,
        seed,
    };
    println!("{}", evaluation.report(experiment).unwrap());
    evaluation.mean(RankingMetric::Recall, 200).unwrap()
}

/// Fits one channel after another to the training part and measures it on the test part. Settings are the defaults, which
/// were chosen on the validation part.
#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn item_channels_on_movielens_1m() {
    let (table, split) = p2();
    let held_out = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let measure = |model: &str, recaller: &dyn Recaller| recall_at_200(&table, &held_out, model, 1, recaller);
    let cosine = ItemKnnConfig {
        n_neighbours: table.n_items(),
        popularity_exponent: 0.5,
        user_exponent: 0.0,
        shrinkage: 0.0,
        half_life: None,
    };
    let cosine = measure("item-CF, plain cosine", &ItemKnnRecaller::fit(train, &cosine).unwrap());
    let item_knn = measure("item-CF", &ItemKnnRecaller::fit(train, &ItemKnnConfig::default()).unwrap());
    let co_visitation = CoVisitationRecaller::fit(train, &CoVisitationConfig::default()).unwrap();
    let co_visitation = measure("co-visitation", &co_visitation);
    let session_knn = SessionKnnRecaller::fit(train, &SessionKnnConfig::default()).unwrap();
    let session_knn = measure("session kNN", &session_knn);
    let steck =
        EaseConfig { l2: 600.0, n_neighbours: table.n_items(), half_life: None, ..EaseConfig::default() };
    let steck = measure("EASE, λ 600, as published", &EaseRecaller::fit(train, &steck).unwrap());
    let ease = measure("EASE", &EaseRecaller::fit(train, &EaseConfig::default()).unwrap());
    let slim = measure("SLIM", &SlimRecaller::fit(train, &SlimConfig::default()).unwrap());
    // What another implementation measured of the same model.
    for (model, found, expected) in [("plain cosine", cosine, 0.4340), ("EASE, λ 600", steck, 0.5902)] {
        assert!((found - expected).abs() <= 0.001, "{model}: {found}, measured elsewhere {expected}");
    }
    for (model, found, target) in [
        ("item-CF", item_knn, 0.45),
        ("co-visitation", co_visitation, item_knn),
        ("session kNN", session_knn, 0.45),
        ("EASE", ease, 0.59),
        ("SLIM", slim, 0.59),
    ] {
        assert!(found >= target, "{model}: recall@200 {found}, the target is {target}");
    }
}

/// What is said of the films, and what is popular: channels for those of whom, or of which, little is known.
#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn simple_channels_on_movielens_1m() {
    let data = p2_data();
    let (films, table) = (data.item_table().unwrap(), data.interactions());
    let split = Split::leave_one_out(table);
    let held_out = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let measure = |model: &str, recaller: &dyn Recaller| recall_at_200(table, &held_out, model, 1, recaller);
    let popularity = measure("popularity", &PopularityRecaller::fit(train));
    let recent = PopularityRecaller::fit_recent(train, 300.0 * 86_400.0).unwrap();
    let recent = measure("popularity, half-life 300 days", &recent);
    let genres = FavouriteGenresConfig::default();
    let genres = FavouriteGenresRecaller::fit(train, ItemFeatures::genres(films), &genres).unwrap();
    let genres = measure("favourite genres", &genres);
    let words = ItemFeatures::words(&item_texts(films));
    let content = measure("content", &ContentRecaller::fit(&words, &ContentConfig::default()).unwrap());
    // Half of the users came within a few months, so that age tells next to nothing here.
    assert!((recent - popularity).abs() < 0.02, "{recent}; popularity: {popularity}");
    assert!(genres >= 0.45 && content >= 0.30, "favourite genres {genres}, content {content}");
}

/// Neural matrix factorization with four negatives for each positive, asked for the whole catalogue.
#[test]
#[cfg(feature = "flex")]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn neu_mf_on_movielens_1m() {
    use recsys::features::{CandidateRows, EncodedRow, EncodedRows, FeatureSpace};
    use recsys::models::ranking::{FeatureRanker, NeuMfConfig};
    use recsys::pipeline::ExhaustiveRecaller;
    use recsys::samplers::{RankingNegatives, UniformSampler};
    use recsys::training::{RankingBatches, RankingConfig, Trainer, TrainingConfig};

    let (table, split) = p2();
    let held_out = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let (n_users, n_items) = (table.n_users(), table.n_items());
    let sampler = UniformSampler::new(n_items).unwrap();
    let negatives = RankingNegatives::new(train, 4).unwrap().draw(train, &[], &sampler, 1).unwrap();
    let space = FeatureSpace::default().with_field("user", n_users + 1).unwrap();
    let space = space.with_field("item", n_items).unwrap();
    let rows = |pairs: &mut dyn Iterator<Item = (usize, usize, f32)>| {
        let mut rows = EncodedRows::new(space.clone(), 1);
        for (user, item, label) in pairs {
            let bags: [&[(u32, f32)]; 2] = [&[(user as u32, 1.0)], &[((n_users + 1 + item) as u32, 1.0)]];
            rows.push(EncodedRow { bags: &bags, labels: &[label], ..EncodedRow::default() }).unwrap();
        }
        rows
    };
    let labelled = rows(&mut train.iter().zip(negatives.chunks(4)).flat_map(|(row, negatives)| {
        let items = std::iter::once((row.item, 1.0)).chain(negatives.iter().map(|&item| (item, 0.0)));
        items.map(move |(item, label)| (row.user.index(), item.index(), label))
    }));
    let model = NeuMfConfig::default().init(&space, 1, &Device::flex()).unwrap();
    let batches = RankingBatches::new(labelled, 4_096, 1).unwrap();
    let training = TrainingConfig::default().with_epochs(8).with_learning_rate(0.002);
    let model = Trainer::new(training).unwrap().fit(model, &batches, |_| Ok(vec![])).unwrap().model;
    let users = rows(&mut (0..=n_users).map(|user| (user, 0, 0.0)));
    let items = rows(&mut (0..n_items).map(|item| (0, item, 0.0)));
    let ranker = FeatureRanker::new(model, CandidateRows::new(users, items, &["user"]).unwrap()).unwrap();
    let recall = recall_at_200(&table, &held_out, "NeuMF", 1, &ExhaustiveRecaller::new(ranker, n_items));
    assert!(recall >= 0.50, "{recall}; popularity: 0.3545");
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn factorizations_on_movielens_1m() {
    let (table, split) = p2();
    let held_out = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let (ials, bpr) = (IalsConfig::default(), BprMfConfig::default());
    let fitted = Ials::fit(train, &ials).unwrap();
    let recall = recall_at_200(&table, &held_out, "iALS", ials.seed, &fitted);
    assert!(recall >= 0.60, "{recall}; implicit, 64 factors: 0.5966");
    let fitted = BprMf::fit(train, &bpr).unwrap();
    let recall = recall_at_200(&table, &held_out, "BPR-MF", bpr.seed, &fitted);
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
