//! What fusion and re-ranking do on MovieLens 1M (ratings of at least 4, users with at least 5 of them, the last
//! one held out). Set `RECSYS_DATA_DIR` to the folder that holds `ml-1m/` and run with `--include-ignored`.

use std::sync::Arc;

use rayon::prelude::*;
use recsys::data::{MovieLens, Split};
use recsys::features::ItemVectors;
use recsys::metrics::{Evaluation, HeldOut, RankingMetric, ablate, evaluate, intra_list_diversity};
use recsys::models::recall::{
    CoVisitationConfig, CoVisitationRecaller, EaseConfig, EaseRecaller, Ials, IalsConfig, ItemKnnConfig,
    ItemKnnRecaller, PopularityRecaller, SessionKnnConfig, SessionKnnRecaller,
};
use recsys::models::reranking::{Calibration, CalibrationConfig, Dpp, Mmr, PopularityDebias};
use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::FusionWeightsConfig;

const RECALL: RankingMetric = RankingMetric::Recall;

fn p2() -> (Dataset, Split) {
    let folder = MovieLens::Ml1m.find(None).expect("RECSYS_DATA_DIR names a folder that holds ml-1m");
    let data = MovieLens::Ml1m.read(folder).unwrap();
    let data = data.filter(|rows| rows.min_value(4.0).min_per_user(5)).unwrap().compact();
    let split = Split::leave_one_out(data.interactions());
    (data, split)
}

fn channels(train: &Interactions) -> Vec<(&'static str, Box<dyn Recaller>)> {
    vec![
        ("popularity", Box::new(PopularityRecaller::fit(train))),
        ("item_knn", Box::new(ItemKnnRecaller::fit(train, &ItemKnnConfig::default()).unwrap())),
        (
            "co_visitation",
            Box::new(CoVisitationRecaller::fit(train, &CoVisitationConfig::default()).unwrap()),
        ),
        ("session_knn", Box::new(SessionKnnRecaller::fit(train, &SessionKnnConfig::default()).unwrap())),
        ("ease", Box::new(EaseRecaller::fit(train, &EaseConfig::default()).unwrap())),
        ("ials", Box::new(Ials::fit(train, &IalsConfig::default()).unwrap())),
    ]
}

fn fusion(train: &Interactions, method: FusionMethod) -> Fusion {
    let channels = channels(train).into_iter();
    let channel = |(name, recaller)| Channel::new(ChannelConfig::new(name, 500), recaller);
    Fusion::new(method, channels.map(channel).collect()).unwrap()
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn fusion_is_not_worse_than_its_best_channel() {
    let (_, split) = p2();
    let on_validation = HeldOut::validation(&split).unwrap();
    let on_test = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let ks = [10, 100, 200];
    let print = |name: &str, evaluation: &Evaluation| {
        let recalls = ks.map(|k| format!("{:.4}", evaluation.mean(RECALL, k).unwrap()));
        println!("{name:<40} recall@10/100/200 {}", recalls.join(" / "));
    };
    let mut singles = Vec::new();
    for (name, recaller) in channels(train) {
        let evaluation = evaluate(recaller.as_ref(), &on_test, &ks).unwrap();
        print(name, &evaluation);
        singles.push(evaluation);
    }
    for method in [FusionMethod::default(), FusionMethod::MinMax] {
        let equal = fusion(train, method);
        print(&format!("{method:?}, equal weights"), &evaluate(&equal, &on_test, &ks).unwrap());
        let fitted = FusionWeightsConfig { ks: vec![100], ..FusionWeightsConfig::default() };
        let fitted = fitted.fit(equal, &on_validation).unwrap();
        let weights: Vec<f32> = fitted.channels().iter().map(|channel| channel.config().weight).collect();
        let evaluation = evaluate(&fitted, &on_test, &ks).unwrap();
        print(&format!("{method:?}, {weights:.2?}"), &evaluation);
        for single in &singles {
            let comparison = evaluation.compare("fusion", single, "channel", 1).unwrap();
            let interval =
                |k| comparison.metric(&format!("recall@{k}")).unwrap().difference.interval.unwrap();
            assert!(interval(100).high >= 0.0, "{method:?} is worse than a channel: {:?}", interval(100));
            let is_better = method != FusionMethod::default() || interval(200).low > 0.0;
            assert!(is_better, "reciprocal ranks add nothing: {:?}", interval(200));
        }
        if weights.iter().filter(|&&weight| weight > 0.0).count() > 1 {
            println!("{}", ablate(&fitted, &on_test, &ks, 1).unwrap());
        }
    }
}

/// The best of a recaller, in the order of a re-ranker.
#[derive(Debug)]
struct Reranked {
    recaller: Arc<dyn Recaller>,
    n_candidates: usize,
    reranker: Arc<dyn Reranker>,
}

impl Recaller for Reranked {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        Ok(self.recall_batch(std::slice::from_ref(query), k)?.remove(0))
    }

    fn recall_batch(&self, queries: &[Query<'_>], k: usize) -> Result<Vec<Vec<Candidate>>> {
        let recalled = self.recaller.recall_batch(queries, self.n_candidates)?;
        let rerank = |(query, ranked)| {
            let mut list = self.reranker.rerank(query, ranked, k)?;
            (0u16..).zip(&mut list).for_each(|(place, candidate)| candidate.score = -f32::from(place));
            Ok(list)
        };
        queries.par_iter().zip(recalled).map(rerank).collect()
    }
}

/// Leaves the list as it is.
#[derive(Debug)]
struct AsItIs;

impl Reranker for AsItIs {
    fn rerank(&self, _: &Query<'_>, mut ranked: Vec<Candidate>, k: usize) -> Result<Vec<Candidate>> {
        ranked.truncate(k);
        Ok(ranked)
    }
}

/// The users of each item, projected at random onto 256 axes: cosines are those of item-CF, but for 1/16.
fn audiences(train: &Interactions) -> ItemVectors {
    const DIM: usize = 256;
    let mut values = vec![0.0; train.n_items() * DIM];
    for row in train.iter() {
        let mut rng = Rng::stream(1, &[row.user.0.into()]);
        let vector = &mut values[row.item.index() * DIM..][..DIM];
        vector.iter_mut().for_each(|x| *x += rng.normal() as f32);
    }
    ItemVectors::new(DIM, values).unwrap()
}

fn multi_hot(genres: &ItemFeatures) -> ItemVectors {
    let mut values = vec![0.0; genres.n_items() * genres.n_features()];
    for (row, genres) in values.chunks_mut(genres.n_features()).zip(genres.iter()) {
        genres.iter().for_each(|&genre| row[genre as usize] = 1.0);
    }
    ItemVectors::new(genres.n_features(), values).unwrap()
}

#[test]
#[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR and pass --include-ignored"]
fn diversity_costs_little_recall() {
    let (data, split) = p2();
    let held_out = HeldOut::test(&split).unwrap();
    let train = &split.train;
    let genres = ItemFeatures::genres(data.item_table().unwrap());
    let (by_genre, by_audience) = (multi_hot(&genres), audiences(train));
    let calibration = CalibrationConfig { lambda: 0.5, ..CalibrationConfig::default() };
    let mut rerankers: Vec<(String, Arc<dyn Reranker>)> = vec![("as recalled".into(), Arc::new(AsItIs))];
    for lambda in [0.9, 0.8, 0.7, 0.5] {
        let mmr = Mmr::new(lambda, by_genre.clone()).unwrap();
        rerankers.push((format!("MMR {lambda}, genres"), Arc::new(mmr)));
        let mmr = Mmr::new(lambda, by_audience.clone()).unwrap();
        rerankers.push((format!("MMR {lambda}, audiences"), Arc::new(mmr)));
    }
    for theta in [0.9, 0.7] {
        let dpp = Dpp::new(theta, by_audience.clone()).unwrap();
        rerankers.push((format!("DPP {theta}, audiences"), Arc::new(dpp)));
    }
    rerankers.push(("calibration 0.5".into(), Arc::new(Calibration::new(calibration, genres).unwrap())));
    for gamma in [0.1, 0.2] {
        let debias = PopularityDebias::fit(train, gamma).unwrap();
        rerankers.push((format!("debias {gamma}"), Arc::new(debias)));
    }
    let recaller: Arc<dyn Recaller> = Arc::new(fusion(train, FusionMethod::MinMax));
    let mut measured = Vec::new();
    for (name, reranker) in &rerankers {
        let reranked =
            Reranked { recaller: Arc::clone(&recaller), n_candidates: 200, reranker: Arc::clone(reranker) };
        let recall = evaluate(&reranked, &held_out, &[10]).unwrap();
        let counts = recall.recommendation_counts(10).unwrap();
        let coverage = recsys::metrics::catalog_coverage(counts);
        let queries: Vec<Query<'_>> = held_out.users().iter().map(|user| user.query()).collect();
        let lists = reranked.recall_batch(&queries, 10).unwrap();
        let diversity = |list: &Vec<Candidate>| {
            let rows: Vec<&[f32]> = list.iter().map(|candidate| by_genre.row(candidate.item)).collect();
            intra_list_diversity(&rows).unwrap().unwrap()
        };
        let diversity = lists.iter().map(diversity).sum::<f64>() / lists.len() as f64;
        let recall = recall.mean(RECALL, 10).unwrap();
        println!(
            "{name:<24} recall@10 {recall:.4}, coverage@10 {coverage:.4}, genre diversity {diversity:.4}"
        );
        measured.push((name.as_str(), recall, coverage, diversity));
    }
    let find = |name: &str| measured.iter().find(|row| row.0 == name).unwrap();
    let before = measured[0];
    assert!(find("MMR 0.7, genres").3 > 1.1 * before.3, "MMR by genres makes lists more diverse in genres");
    let (_, recall, coverage, _) = *find("MMR 0.7, audiences");
    assert!(recall > 0.95 * before.1 && coverage > 1.2 * before.2, "recall {recall}, coverage {coverage}");
}
