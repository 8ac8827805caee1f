//! Ranking models learn what is planted, the same on every path.
#![cfg(feature = "flex")]

use recsys::error::{ErrorKind, Result};
use recsys::features::{
    AggregateConfig, CandidateRows, ChannelFeatures, Column, EncodedRow, EncodedRows, FeatureEncoder,
    FeatureSpace, FeatureStore, FieldKind, Ids, Schema, Table,
};
use recsys::layers::{AttentionWeights, Cross, HiddenNorm, MlpConfig, TableUpdate};
use recsys::losses::RankingLoss;
use recsys::metrics::auc;
use recsys::models::ranking::{
    BstConfig, DcnConfig, DcnStructure, DeepFmConfig, Din, DinConfig, EsmmConfig, FeatureRanker,
    FinalMlpConfig, FmConfig, InteractionMlpConfig, LogisticConfig, MmoeConfig, NeuMfConfig, PleConfig,
    WideDeepConfig,
};
use recsys::persistence::RankingBundle;
use recsys::pipeline::{Channel, ChannelConfig, ExhaustiveRecaller, Fusion, FusionMethod};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::samplers::{RankingNegatives, UniformSampler};
use recsys::training::{
    Fitted, Plateau, RankingBatch, RankingBatches, RankingConfig, RankingModel, RankingObjective, RowScorer,
    Trainable, Trainer, TrainingConfig, predict,
};

const N: u32 = 40;

/// Even users like even items, odd users odd ones; a user's history are some of the items they like.
fn checkerboard() -> [EncodedRows; 2] {
    checkerboard_with(|likes, _, _| [likes])
}

/// The same rows with labels made of whether the user likes the item, the user and the item.
fn checkerboard_with<const L: usize>(labels: impl Fn(bool, u32, u32) -> [bool; L]) -> [EncodedRows; 2] {
    let space = FeatureSpace::default()
        .with_field("user", N as usize)
        .and_then(|space| space.with_field("item", N as usize))
        .and_then(|space| space.with_history("liked", "item", 5))
        .unwrap();
    let mut rows = EncodedRows::new(space, L);
    let mut pairs: Vec<(u32, u32)> = (0..N).flat_map(|user| (0..N).map(move |item| (user, item))).collect();
    Rng::new(3).shuffle(&mut pairs);
    for (user, item) in pairs {
        let liked: Vec<u32> = (0..4).map(|n| N + (user % 2 + 2 * n + 8 * (user % 3)) % N).collect();
        let history = rows.push_events(&liked).unwrap();
        let bags: [&[(u32, f32)]; 2] = [&[(user, 1.0)], &[(N + item, 1.0)]];
        let labels = labels((user + item) % 2 == 0, user, item).map(f32::from);
        rows.push(EncodedRow { bags: &bags, history, labels: &labels, group: user, ..EncodedRow::default() })
            .unwrap();
    }
    let order: Vec<usize> = (0..rows.n_rows()).collect();
    let cut = order.len() * 7 / 10;
    [rows.select(&order[..cut]), rows.select(&order[cut..])]
}

fn fit<M: RankingModel + Trainable<Batch = RankingBatch>>(model: M, rows: &EncodedRows) -> Result<M> {
    let batches = RankingBatches::new(rows.clone(), 64, 1)?;
    let config = TrainingConfig::default().with_epochs(25).with_learning_rate(0.01).with_progress(false);
    Ok(Trainer::new(config)?.fit(model, &batches, |_| Ok(vec![]))?.model)
}

fn auc_of(model: &impl RankingModel, rows: &EncodedRows) -> f64 {
    aucs_of(model, rows)[0]
}

/// The AUC of each label.
fn aucs_of(model: &impl RankingModel, rows: &EncodedRows) -> Vec<f64> {
    let (probabilities, n) = (predict(model, rows).unwrap(), rows.n_labels());
    let of = |label: usize| {
        let labels = rows.labels().iter().skip(label).step_by(n).map(|&label| label > 0.5);
        let probabilities = probabilities.iter().skip(label).step_by(n).copied();
        auc(&labels.collect::<Vec<_>>(), &probabilities.collect::<Vec<_>>()).unwrap().unwrap()
    };
    (0..n).map(of).collect()
}

fn space() -> FeatureSpace {
    checkerboard()[0].space().clone()
}

fn mlp(d_output: usize) -> MlpConfig {
    MlpConfig::new(d_output).with_hidden([16])
}

#[test]
fn what_is_planted_is_learned_where_fields_meet() {
    let [train, test] = checkerboard();
    let (space, device) = (space(), Device::flex());
    let learned = |name: &str, auc: f64| assert!(auc > 0.95, "{name}: {auc}");
    for table_update in [TableUpdate::Dense, TableUpdate::Sparse] {
        let fm = FmConfig { d_embedding: 8, table_update, ..FmConfig::default() };
        learned("FM", auc_of(&fit(fm.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
        let din = DinConfig {
            d_embedding: 8,
            attention: mlp(1),
            mlp: mlp(8),
            table_update,
            ..DinConfig::default()
        };
        learned("DIN", auc_of(&fit(din.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    }
    let deep_fm = DeepFmConfig { d_embedding: 8, mlp: mlp(1), ..DeepFmConfig::default() };
    learned("DeepFM", auc_of(&fit(deep_fm.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    let wide_deep = WideDeepConfig { d_embedding: 8, mlp: mlp(1), ..WideDeepConfig::default() };
    learned("Wide & Deep", auc_of(&fit(wide_deep.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    let widths = |name: &str, width| [(name.to_owned(), width)].into();
    let narrow = DcnConfig { field_widths: widths("user", 3), ..DcnConfig::default() };
    learned("narrow DCN", auc_of(&fit(narrow.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    for (name, width) in [("town", 3), ("item", 17)] {
        let config = WideDeepConfig { field_widths: widths(name, width), ..WideDeepConfig::default() };
        let error = config.init(&space, 1, &device).unwrap_err().to_string();
        assert!(error.starts_with("FieldEmbedding::widths"), "{error}");
    }
    for cross in [Cross::Vector, Cross::Matrix, Cross::LowRank { rank: 4 }] {
        for structure in [DcnStructure::Parallel, DcnStructure::Stacked] {
            let dcn = DcnConfig { d_embedding: 8, cross, structure, mlp: mlp(8), ..DcnConfig::default() };
            let auc = auc_of(&fit(dcn.init(&space, 1, &device).unwrap(), &train).unwrap(), &test);
            learned(&format!("{cross:?} {structure:?}"), auc);
        }
    }
    let din = DinConfig {
        d_embedding: 8,
        attention: mlp(1),
        weights: AttentionWeights::Softmax,
        mlp: mlp(8),
        cross: Some((Cross::Matrix, 1)),
        ..DinConfig::default()
    };
    learned("DIN + cross", auc_of(&fit(din.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    // One hidden unit cannot know a checkerboard: the products must.
    let din = DinConfig { fm: true, cross: None, mlp: MlpConfig::new(1), ..din };
    learned("DIN + FM", auc_of(&fit(din.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));

    let logistic = LogisticConfig::default().init(&space, 1, &device).unwrap();
    let auc = auc_of(&fit(logistic, &train).unwrap(), &test);
    assert!(auc < 0.6, "a sum over fields cannot know a checkerboard: {auc}");
}

#[test]
fn what_is_planted_is_learned_by_networks_of_every_kind() {
    let [train, test] = checkerboard();
    let (space, device) = (space(), Device::flex());
    let learned = |name: &str, auc: f64| assert!(auc > 0.95, "{name}: {auc}");
    for table_update in [TableUpdate::Dense, TableUpdate::Sparse] {
        let bst = BstConfig {
            d_embedding: 8,
            d_hidden: 16,
            mlp: mlp(8),
            dropout: 0.05,
            table_update,
            ..Default::default()
        };
        learned("BST", auc_of(&fit(bst.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    }
    for table_update in [TableUpdate::Dense, TableUpdate::Sparse] {
        let neu_mf = NeuMfConfig { d_gmf: 8, d_mlp: 8, mlp: mlp(8), table_update, ..NeuMfConfig::default() };
        learned("NeuMF", auc_of(&fit(neu_mf.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    }
    let norms = [HiddenNorm::None, HiddenNorm::Layer, HiddenNorm::Batch, HiddenNorm::Dice];
    for norm in norms {
        let mlp = mlp(1).with_norm(norm);
        let model = InteractionMlpConfig { d_embedding: 8, mlp, ..InteractionMlpConfig::default() };
        let auc = auc_of(&fit(model.init(&space, 1, &device).unwrap(), &train).unwrap(), &test);
        learned(&format!("interaction MLP, {norm:?}"), auc);
    }
    let din =
        DinConfig { d_embedding: 8, attention: mlp(1), mlp: mlp(8), ..DinConfig::default() }.with_dice();
    learned("DIN with Dice", auc_of(&fit(din.init(&space, 1, &device).unwrap(), &train).unwrap(), &test));
    for contexts in [[vec![], vec![]], [vec!["user".to_owned()], vec!["item".to_owned()]]] {
        let model = FinalMlpConfig {
            d_embedding: 8,
            contexts: contexts.clone(),
            d_gate: 8,
            mlps: [mlp(8), mlp(8)],
            n_heads: 2,
            ..FinalMlpConfig::default()
        };
        let auc = auc_of(&fit(model.init(&space, 1, &device).unwrap(), &train).unwrap(), &test);
        learned(&format!("FinalMLP, {contexts:?}"), auc);
    }
}

#[test]
fn every_label_is_learned_together() {
    // What is liked, and of it what has the user's half of the catalogue.
    let [train, test] =
        checkerboard_with(|likes, user, item| [likes, likes && (user / 2 + item / 2) % 2 == 0]);
    let (space, device) = (space(), Device::flex());
    let learned =
        |name: &str, aucs: Vec<f64>| assert!(aucs.iter().all(|&auc| auc > 0.93), "{name}: {aucs:?}");
    let mmoe =
        MmoeConfig { d_embedding: 8, n_experts: 3, d_expert: 16, tower: mlp(1), ..MmoeConfig::default() };
    let mmoe = fit(mmoe.init(&space, 1, &device).unwrap(), &train).unwrap();
    learned("MMoE", aucs_of(&mmoe, &test));
    for n_levels in [1, 2] {
        let ple = PleConfig {
            d_embedding: 8,
            n_levels,
            n_task_experts: 2,
            n_shared_experts: 3,
            d_expert: 16,
            tower: mlp(1),
            ..PleConfig::default()
        };
        let ple = fit(ple.init(&space, 1, &device).unwrap(), &train).unwrap();
        learned(&format!("PLE of {n_levels}"), aucs_of(&ple, &test));
    }
    let esmm = EsmmConfig { d_embedding: 8, tower: mlp(1), ..EsmmConfig::default() };
    let esmm = fit(esmm.init(&space, 1, &device).unwrap(), &train).unwrap();
    learned("ESMM", aucs_of(&esmm, &test));
    let steps = predict(&esmm, &test).unwrap();
    assert!(steps.chunks(2).all(|p| p[1] <= p[0]), "who converts has clicked");
}

#[test]
fn a_task_of_weight_zero_teaches_nothing() {
    let [train, test] = checkerboard_with(|likes, user, item| [likes, (user + item) % 3 == 0]);
    let objective = |task_weights: &[f64]| RankingObjective {
        task_weights: task_weights.to_vec(),
        ..RankingObjective::default()
    };
    let model = |task_weights: &[f64]| {
        let objective = objective(task_weights);
        let config =
            MmoeConfig { d_embedding: 8, n_experts: 2, d_expert: 8, objective, ..MmoeConfig::default() };
        config.init(&space(), 1, &Device::flex()).unwrap()
    };
    let aucs = aucs_of(&fit(model(&[1.0, 0.0]), &train).unwrap(), &test);
    assert!(aucs[0] > 0.93 && (0.3..0.7).contains(&aucs[1]), "{aucs:?}");
    assert!(fit(model(&[1.0]), &train).is_err(), "a weight for each label");
    assert!(fit(model(&[]), &checkerboard()[0]).is_err(), "rows with one label");
}

/// Every user did the same four things in an order of their own, and likes the two that they did last.
#[test]
fn the_order_of_a_history_tells_whoever_knows_positions() {
    let space = FeatureSpace::default().with_field("item", 4).unwrap();
    let mut rows = EncodedRows::new(space.with_history("past", "item", 4).unwrap(), 1);
    let mut rng = Rng::new(5);
    for _ in 0..300 {
        let mut past = [0, 1, 2, 3];
        rng.shuffle(&mut past);
        let history = rows.push_events(&past).unwrap();
        for (place, item) in past.into_iter().enumerate() {
            let (bags, label): ([&[(u32, f32)]; 1], _) = ([&[(item, 1.0)]], f32::from(place >= 2));
            rows.push(EncodedRow { bags: &bags, history, labels: &[label], ..EncodedRow::default() })
                .unwrap();
        }
    }
    let [train, test] = [0..800, 800..1_200].map(|part| rows.select(&part.collect::<Vec<_>>()));
    let auc_of = |positions| {
        let config =
            DinConfig { d_embedding: 8, attention: mlp(1), positions, mlp: mlp(8), ..DinConfig::default() };
        auc_of(&fit(config.init(rows.space(), 1, &Device::flex()).unwrap(), &train).unwrap(), &test)
    };
    let (with, without) = (auc_of(true), auc_of(false));
    assert!(with > 0.95 && without < 0.6, "{with} with positions, {without} without");
}

/// Statistics that run along are saved, and so is the best epoch's copy of them, apart from the newest one.
#[test]
fn interrupted_training_with_batch_statistics_resumes_to_the_identical_result() {
    let [train, test] = checkerboard();
    let config = DinConfig { d_embedding: 4, attention: mlp(1), mlp: mlp(8), ..DinConfig::default() };
    let mut config = config.with_dice();
    config.mlp.norm = HiddenNorm::Batch;
    let batches = RankingBatches::new(train, 128, 1).unwrap();
    let training = TrainingConfig::default()
        .with_epochs(5)
        .with_learning_rate(0.01)
        .with_plateau(Plateau { factor: 0.5, patience: 1 })
        .with_progress(false);
    // The metric of an epoch is scripted; the best epoch is an early one, or the last.
    for metrics in [[0.1, 0.5, 0.2, 0.3, 0.4], [0.1, 0.2, 0.2, 0.1, 0.5]] {
        let run =
            |training: &TrainingConfig, first_epoch: usize, fails_in: Option<usize>| -> Result<Fitted<Din>> {
                let model = config.init(&space(), 1, &Device::flex())?;
                let mut epochs = first_epoch..;
                Trainer::new(training.clone())?.fit(model, &batches, |_| match epochs.next() {
                    epoch if epoch == fails_in => Err(ErrorKind::Interrupted.into()),
                    epoch => Ok(vec![("scripted".into(), metrics[epoch.unwrap_or(0)])]),
                })
            };
        let undisturbed = run(&training, 0, None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let training = training.clone().with_checkpoint_dir(dir.path()).with_checkpoint_every_steps(2);
        // Stopped in the third epoch and in the fifth one.
        run(&training, 0, Some(2)).unwrap_err();
        run(&training, 2, Some(4)).unwrap_err();
        let resumed = run(&training, 4, None).unwrap();
        assert_eq!(resumed.history, undisturbed.history);
        assert_eq!(predict(&resumed.model, &test).unwrap(), predict(&undisturbed.model, &test).unwrap());
        let rates: Vec<f64> = resumed.history.epochs.iter().map(|epoch| epoch.learning_rate).collect();
        assert_eq!(rates, [0.01, 0.01, 0.01, 0.005, 0.0025]);
    }
}

#[test]
fn groups_of_a_positive_and_its_negatives_are_learned_from() {
    let [train, test] = checkerboard();
    let labels = train.labels();
    let of = |label: f32| (0..train.n_rows()).filter(move |&row| labels[row] == label);
    // Each positive and behind it two negatives of the same user.
    let groups: Vec<usize> = of(1.0)
        .flat_map(|row| {
            let user = train.groups()[row];
            let negatives: Vec<usize> = of(0.0).filter(|&row| train.groups()[row] == user).take(2).collect();
            if negatives.len() == 2 { vec![row, negatives[0], negatives[1]] } else { vec![] }
        })
        .collect();
    let groups = train.select(&groups);
    for loss in [
        RankingLoss::Bpr { n_negatives: 2 },
        RankingLoss::Softmax { n_negatives: 2 },
        RankingLoss::SampledSoftmax { log_counts: vec![0.0, 2.0] },
    ] {
        let objective = RankingObjective { loss: loss.clone(), ..RankingObjective::default() };
        let config = FmConfig { d_embedding: 8, objective, ..FmConfig::default() };
        let model = config.init(&space(), 1, &Device::flex()).unwrap();
        let batches = RankingBatches::new(groups.clone(), 96, 1).unwrap();
        let training = || {
            let config = TrainingConfig::default().with_epochs(25).with_learning_rate(0.01);
            Trainer::new(config.with_progress(false)).unwrap()
        };
        assert!(training().fit(model.clone(), &batches, |_| Ok(vec![])).is_err(), "rows must stay together");
        let batches = batches.with_groups_of(3).unwrap();
        let model = training().fit(model, &batches, |_| Ok(vec![])).unwrap().model;
        let auc = auc_of(&model, &test);
        assert!(auc > 0.9, "{loss:?}: {auc}");
    }
}

#[test]
fn a_ranker_scores_a_users_candidates_as_the_model_scores_their_rows() {
    let space = space();
    // What is known of each user and item; the last user is a stranger, of whom nothing is.
    let side = |n: u32, offset: u32, field: usize| {
        let mut rows = EncodedRows::new(space.clone(), 0);
        for id in 0..=n {
            let entry = [(offset + id, 1.0)];
            let known: &[(u32, f32)] = if id < n { &entry } else { &[] };
            let mut bags: [&[(u32, f32)]; 2] = [&[], &[]];
            bags[field] = known;
            rows.push(EncodedRow { bags: &bags, ..EncodedRow::default() }).unwrap();
        }
        rows
    };
    let users = side(N, 0, 0);
    let items = side(N, N, 1).select(&(0..N as usize).collect::<Vec<_>>());
    let config = DinConfig { d_embedding: 8, attention: mlp(1), mlp: mlp(8), ..DinConfig::default() };
    let model = fit(config.init(&space, 1, &Device::flex()).unwrap(), &checkerboard()[0]).unwrap();
    let known = |users: &EncodedRows, field| CandidateRows::new(users.clone(), items.clone(), &[field]);
    let ranker = FeatureRanker::new(model.clone(), known(&users, "user").unwrap()).unwrap();

    let history = [1, 3, 5, 7, 9, 11, 13].map(ItemId);
    let candidates = [ItemId(4), ItemId(5), ItemId(39)];
    let scores = ranker.score(&Query::new(&history).with_user(UserId(3)), &candidates).unwrap();
    let mut rows = EncodedRows::new(space.clone(), 0);
    let events: Vec<u32> = history[2..].iter().map(|item| N + item.0).collect();
    let history_range = rows.push_events(&events).unwrap();
    for item in candidates {
        let bags: [&[(u32, f32)]; 2] = [&[(3, 1.0)], &[(N + item.0, 1.0)]];
        rows.push(EncodedRow { bags: &bags, history: history_range, ..EncodedRow::default() }).unwrap();
    }
    for (score, probability) in scores.iter().zip(predict(&model, &rows).unwrap()) {
        assert!((1.0 / (1.0 + (-score).exp()) - probability).abs() < 1e-6, "{score} {probability}");
    }
    assert!(scores[1] > scores[0] && scores[2] > scores[0], "user 3 likes odd items: {scores:?}");

    let stranger = ranker.score(&Query::default(), &candidates).unwrap();
    assert!(stranger.len() == 3 && stranger.iter().all(|score| score.is_finite()) && stranger != scores);
    assert!(ranker.score(&Query::default(), &[]).unwrap().is_empty());
    let requests = [
        (Query::new(&history).with_user(UserId(3)), &candidates[..]),
        (Query::default(), &[]),
        (Query::default(), &candidates[..]),
    ];
    assert_eq!(ranker.score_batch(&requests).unwrap(), [scores, Vec::new(), stranger]);
    assert!(ranker.score_batch(&[(Query::new(&[ItemId(N)]), &candidates[..])]).is_err());
    for query in [Query::default().with_user(UserId(N)), Query::new(&[ItemId(N)])] {
        assert!(ranker.score(&query, &candidates).is_err());
    }
    assert!(ranker.score(&Query::default(), &[ItemId(N)]).is_err());
    assert!(known(&users, "town").is_err());
    assert!(known(&users.select(&[]), "user").is_err());
    let with_channels = known(&users, "user")
        .unwrap()
        .with_channels(ChannelFeatures::fit(["knn"], &[Candidate::new(ItemId(1), 1.0)]).unwrap());
    assert!(FeatureRanker::new(model, with_channels.unwrap()).is_err(), "the model knows no channels");
}

#[test]
fn what_channels_said_of_a_candidate_is_learned_and_read_in_a_pipeline() {
    // Whether an item is liked is known to nobody but to one of two channels, by the item's rank.
    let mut rng = Rng::new(5);
    let mut order = |channel: &'static str| -> Vec<Candidate> {
        let mut items: Vec<u32> = (0..N).collect();
        rng.shuffle(&mut items);
        let told = |(rank, item): (u32, u32)| {
            Candidate::new(ItemId(item), -(rank as f32)).from_channel(channel, rank)
        };
        (1..).zip(items).map(told).collect()
    };
    let answers: Vec<[Vec<Candidate>; 2]> = (0..60).map(|_| [order("wise"), order("noisy")]).collect();
    let joined = |[wise, noisy]: &[Vec<Candidate>; 2]| -> Vec<Candidate> {
        let of = |item| {
            let told = [wise, noisy].map(|answer| answer.iter().find(|told| told.item == item).unwrap());
            let channels = told.iter().map(|candidate| candidate.channels[0].clone()).collect();
            Candidate { item, score: 0.0, channels }
        };
        (0..N).map(|item| of(ItemId(item))).collect()
    };
    let space = FeatureSpace::default().with_field("user", 1).unwrap();
    let space = space.with_field("item", N as usize).unwrap();
    let side = |bags: &[[&[(u32, f32)]; 2]]| {
        let mut rows = EncodedRows::new(space.clone(), 0);
        bags.iter().for_each(|bags| rows.push(EncodedRow { bags, ..EncodedRow::default() }).unwrap());
        rows
    };
    let ids: Vec<[(u32, f32); 1]> = (1..=N).map(|id| [(id, 1.0)]).collect();
    let items: Vec<[&[(u32, f32)]; 2]> = ids.iter().map(|id| [&[][..], &id[..]]).collect();
    let known = CandidateRows::new(side(&[[&[], &[]]]), side(&items), &["user"]).unwrap();
    let all: Vec<Candidate> = answers.iter().flat_map(joined).collect();
    let known = known.with_channels(ChannelFeatures::fit(["wise", "noisy"], &all).unwrap()).unwrap();
    let mut rows = EncodedRows::new(known.space().clone(), 1);
    for candidates in answers.iter().map(joined) {
        let labels = candidates.iter().map(|candidate| f32::from(candidate.channels[0].rank <= 10));
        let labels = labels.collect();
        let of_user = known.of_candidates(None, &[], &candidates).unwrap();
        rows.append(&of_user.with_labels(1, labels).unwrap()).unwrap();
    }
    let model = LogisticConfig::default().init(known.space(), 1, &Device::flex()).unwrap();
    let ranker = FeatureRanker::new(fit(model, &rows).unwrap(), known).unwrap();

    let channel = |name: &str, answer: &[Candidate]| {
        let items = answer.iter().map(|told| told.item).collect();
        Channel::new(ChannelConfig::new(name, N as usize), Box::new(Listed(items)))
    };
    let (wise, noisy) = (order("wise"), order("noisy"));
    let fusion = vec![channel("wise", &wise), channel("noisy", &noisy)];
    let fusion = Fusion::new(FusionMethod::default(), fusion).unwrap();
    let ranked = Pipeline::of(fusion, N as usize).rank("stacked", ranker, 10).build().unwrap();
    let items = |candidates: &[Candidate]| {
        let mut items: Vec<ItemId> = candidates.iter().map(|candidate| candidate.item).collect();
        items.sort_unstable();
        items
    };
    let answer = ranked.recommend(&Query::default()).unwrap();
    assert!(answer.is_whole());
    let right = items(&answer.items).iter().filter(|item| items(&wise[..10]).contains(item)).count();
    assert!(right >= 9, "{right} of the ten that the channel named first");
}

/// Gives the same items to every query.
#[derive(Debug)]
struct Listed(Vec<ItemId>);

impl Recaller for Listed {
    fn recall(&self, _: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        let scored = |(rank, &item): (u32, &ItemId)| Candidate::new(item, -(rank as f32));
        Ok((1..).zip(&self.0).take(k).map(scored).collect())
    }
}

#[test]
fn a_users_candidates_score_as_rows_of_their_own() {
    let device = Device::flex();
    let space = FeatureSpace::default()
        .with_field("user", 3)
        .and_then(|space| space.with_field("item", 7))
        .and_then(|space| space.with_field("town", 2))
        .and_then(|space| space.with_vectors("title", 2))
        .and_then(|space| space.with_vectors("mood", 1))
        .and_then(|space| space.with_history("liked", "item", 4))
        .unwrap();
    let mut sides = EncodedRows::new(space.clone(), 0);
    for i in 0..7u32 {
        let bags: [&[(u32, f32)]; 3] = [&[(i % 3, 1.0)], &[(3 + i, 1.0)], &[(10 + i % 2, 0.5)]];
        let vectors = [0.1 * i as f32, 1.0, -0.2 * i as f32];
        sides.push(EncodedRow { bags: &bags, vectors: &vectors, ..EncodedRow::default() }).unwrap();
    }
    let left = ["user", "town", "mood"].map(str::to_owned);
    let joined = sides.join(2, &left, &sides, &[0, 1, 2, 3, 4, 5, 6], &[3, 5, 4, 9, 9]).unwrap();
    assert!(joined.is_shared(0) && !joined.is_shared(1) && joined.is_shared(2));
    assert!(!joined.is_shared(3) && joined.is_shared(4));
    let mut apart = EncodedRows::new(space.clone(), 0);
    apart.append(&joined).unwrap();
    assert!(!apart.is_shared(0));
    fn check<C: RankingConfig>(config: C, joined: &EncodedRows, apart: &EncodedRows, device: &Device) {
        let model = config.init(joined.space(), 1, device).unwrap();
        let [found, expected] = [joined, apart].map(|rows| model.score_rows(rows).unwrap());
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(found.iter().zip(&expected).all(close), "{}: {found:?} {expected:?}", C::NAME);
    }
    let dcn = |cross, structure| DcnConfig { cross, structure, n_cross: 2, ..DcnConfig::default() };
    for structure in [DcnStructure::Parallel, DcnStructure::Stacked] {
        for cross in [Cross::Vector, Cross::Matrix, Cross::LowRank { rank: 3 }] {
            check(dcn(cross, structure), &joined, &apart, &device);
        }
    }
    for norm in [HiddenNorm::None, HiddenNorm::Layer, HiddenNorm::Batch, HiddenNorm::Dice] {
        let din = DinConfig {
            attention: mlp(1).with_norm(norm),
            mlp: mlp(8).with_norm(norm),
            ..Default::default()
        };
        let softmax =
            DinConfig { weights: AttentionWeights::Softmax, cross: Some((Cross::Matrix, 2)), ..din.clone() };
        check(DinConfig { positions: true, fm: true, ..din.clone() }, &joined, &apart, &device);
        check(din, &joined, &apart, &device);
        check(softmax, &joined, &apart, &device);
    }
    check(DeepFmConfig::default(), &joined, &apart, &device);
    check(WideDeepConfig::default(), &joined, &apart, &device);
    check(BstConfig::default(), &joined, &apart, &device);
    check(InteractionMlpConfig::default(), &joined, &apart, &device);
    check(NeuMfConfig::default(), &joined, &apart, &device);
}

/// From choices alone, with negatives drawn: even users choose four in five of the even items, odd users of the odd ones;
/// the two best of the others should be of the same kind.
#[test]
fn neural_collaborative_filtering_is_a_recall_channel() {
    let chooses = |user, item| (user + item) % 2 == 0 && (user / 2 * 3 + item / 2) % 5 != 0;
    let choices = (0..N).flat_map(|user| (0..N).map(move |item| (user, item)));
    let choices = choices.filter(|&(user, item)| chooses(user, item));
    let choice =
        |(user, item)| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
    let positives = Interactions::from_rows(N as usize, N as usize, choices.map(choice)).unwrap();
    let sampler = UniformSampler::new(N as usize).unwrap();
    let negatives = RankingNegatives::new(&positives, 4).unwrap().draw(&positives, &[], &sampler, 1).unwrap();

    let space = FeatureSpace::default().with_field("user", N as usize + 1).unwrap();
    let space = space.with_field("item", N as usize).unwrap();
    let rows = |pairs: &mut dyn Iterator<Item = (u32, u32, f32)>| {
        let mut rows = EncodedRows::new(space.clone(), 1);
        for (user, item, label) in pairs {
            let bags: [&[(u32, f32)]; 2] = [&[(user, 1.0)], &[(N + 1 + item, 1.0)]];
            rows.push(EncodedRow { bags: &bags, labels: &[label], ..EncodedRow::default() }).unwrap();
        }
        rows
    };
    let groups = positives.iter().zip(negatives.chunks(4));
    let train = rows(&mut groups.flat_map(|(row, negatives)| {
        let negatives = negatives.iter().map(move |item| (row.user.0, item.0, 0.0));
        std::iter::once((row.user.0, row.item.0, 1.0)).chain(negatives)
    }));
    let small = NeuMfConfig { d_gmf: 2, d_mlp: 2, mlp: mlp(2), ..NeuMfConfig::default() };
    let model = small.init(&space, 1, &Device::flex()).unwrap();
    let users = rows(&mut (0..=N).map(|user| (user, 0, 0.0)));
    let items = rows(&mut (0..N).map(|item| (0, item, 0.0)));
    let ranker =
        FeatureRanker::new(fit(model, &train).unwrap(), CandidateRows::new(users, items, &["user"]).unwrap())
            .unwrap();
    let recaller = ExhaustiveRecaller::new(ranker, N as usize);
    let histories = Sequences::new(&positives);
    let n_right = |user: UserId| {
        let history = histories.items(user);
        let query = Query::new(history).with_user(user).excluding(history.iter().copied());
        let answer = recaller.recall(&query, 2).unwrap();
        answer.iter().filter(|found| found.item.0 % 2 == user.0 % 2).count()
    };
    // By chance one in six: 4 of the 24 others.
    let share = (0..N).map(|user| n_right(UserId(user))).sum::<usize>() as f64 / f64::from(2 * N);
    assert!(share > 0.8, "{share}");
}

#[test]
fn a_bundle_gives_the_same_scores_again() {
    let (n_users, n_items, device) = (6u32, 9u32, Device::flex());
    let pairs = || (0..n_users).flat_map(|user| (0..n_items).map(move |item| (Some(user), Some(item))));
    let table = |pairs: &[(Option<u32>, Option<u32>)]| {
        let label = |pair: &(Option<u32>, Option<u32>)| Some(i64::from((pair.0? + pair.1?) % 2));
        Table::default()
            .with_column("user", Column::ints(pairs.iter().map(|pair| pair.0.map(i64::from))))
            .and_then(|table| {
                table.with_column("item", Column::ints(pairs.iter().map(|pair| pair.1.map(i64::from))))
            })
            .and_then(|table| {
                table.with_column("liked", Column::int_lists(pairs.iter().map(|_| Some(vec![1]))))
            })
            .and_then(|table| table.with_column("label", Column::ints(pairs.iter().map(label))))
            .unwrap()
    };
    let all: Vec<_> = pairs().collect();
    let history = FieldKind::History { of: "item".into(), max_len: 3, separator: None };
    let schema = Schema::default()
        .with_field("user", Ids::default())
        .with_field("item", Ids::default())
        .with_field("liked", history)
        .with_label("label", 1.0);
    let encoder = FeatureEncoder::fit(schema, [Ok(table(&all))]).unwrap();
    let config = DinConfig { attention: mlp(1), mlp: mlp(4), ..DinConfig::default() };
    let rows = encoder.encode(&table(&all)).unwrap();
    let model = fit(config.init(encoder.space(), 1, &device).unwrap(), &rows).unwrap();
    let users: Vec<_> = (0..n_users).map(|user| (Some(user), None)).chain([(None, None)]).collect();
    let items: Vec<_> = (0..n_items).map(|item| (None, Some(item))).collect();
    let side = |pairs: &[_]| encoder.encode_features(&table(pairs)).unwrap();
    let mut store = FeatureStore::new(AggregateConfig::default()).unwrap();
    store.observe(Interaction { user: UserId(1), item: ItemId(2), value: 4.0, timestamp: 3 }).unwrap();
    let keys = |n: u32| Vocab::from_ints((0..n.into()).collect()).unwrap();
    let bundle = RankingBundle::<DinConfig> {
        ranker: FeatureRanker::new(model, CandidateRows::new(side(&users), side(&items), &["user"]).unwrap())
            .unwrap(),
        encoder: encoder.clone(),
        store: Some(store),
        users: keys(n_users),
        items: keys(n_items),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ranker");
    bundle.save(&path).unwrap();
    let loaded = RankingBundle::<DinConfig>::load(&path, &device).unwrap();
    let history = [ItemId(3), ItemId(0)];
    let query = Query::new(&history).with_user(UserId(4));
    let candidates: Vec<ItemId> = (0..n_items).map(ItemId).collect();
    let scores = |bundle: &RankingBundle<DinConfig>| bundle.ranker.score(&query, &candidates).unwrap();
    assert_eq!(scores(&loaded), scores(&bundle));
    assert_eq!((&loaded.encoder, &loaded.store), (&bundle.encoder, &bundle.store));

    let other = RankingBundle::<BstConfig>::load(&path, &device).unwrap_err();
    assert!(matches!(other.kind(), ErrorKind::WrongKind { .. }), "{other}");
    std::fs::write(path.join("files-1/weights.bpk"), b"short").unwrap();
    assert!(RankingBundle::<DinConfig>::load(&path, &device).is_err());
    let strangers = RankingBundle { users: keys(n_users + 1), ..bundle };
    assert!(strangers.save(folder.path().join("other")).is_err());
}

#[test]
fn rows_of_another_space_are_refused() {
    let [train, _] = checkerboard();
    let other = FeatureSpace::default().with_field("user", 3).unwrap();
    let model = LogisticConfig::default().init(&other, 1, &Device::flex()).unwrap();
    assert!(predict(&model, &train).is_err());
    assert!(fit(model, &train).is_err());
    assert!(DinConfig::default().init(&other, 1, &Device::flex()).is_err());
}

#[test]
fn settings_out_of_range_are_errors() {
    let (space, device) = (space(), Device::flex());
    let objective = || RankingObjective { l2: -1.0, ..RankingObjective::default() };
    assert!(FmConfig { d_embedding: 0, ..FmConfig::default() }.init(&space, 1, &device).is_err());
    assert!(
        LogisticConfig { objective: objective(), ..Default::default() }.init(&space, 1, &device).is_err()
    );
    assert!(DeepFmConfig { dropout: 1.0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(DeepFmConfig { mlp: mlp(2), ..Default::default() }.init(&space, 1, &device).is_err());
    let low_rank = Cross::LowRank { rank: 0 };
    assert!(DcnConfig { cross: low_rank, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(DinConfig { attention: mlp(2), ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(BstConfig { n_blocks: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(BstConfig { n_heads: 3, ..Default::default() }.init(&space, 1, &device).is_err());
    let cross = Some((Cross::Vector, 1));
    let wide = DinConfig { d_embedding: usize::MAX, cross, ..DinConfig::default() };
    assert!(wide.init(&space, 1, &device).is_err());
    let many = MmoeConfig { n_experts: usize::MAX, d_expert: 1, ..MmoeConfig::default() };
    assert!(many.init(&space, 1, &device).is_err());
    assert!(PleConfig { d_embedding: usize::MAX, ..PleConfig::default() }.init(&space, 1, &device).is_err());
    assert!(
        PleConfig { n_task_experts: usize::MAX, ..PleConfig::default() }.init(&space, 1, &device).is_err()
    );
    let endless = FeatureSpace::default().with_field("item", 3).unwrap();
    let endless = endless.with_history("past", "item", 1 << 32).unwrap();
    let mut rows = EncodedRows::new(endless.clone(), 0);
    let history = rows.push_events(&[0, 1, 2]).unwrap();
    rows.push(EncodedRow { bags: &[&[(0, 1.0)]], history, ..EncodedRow::default() }).unwrap();
    assert_eq!(rows.history(0), [0, 1, 2]);
    assert!(BstConfig::default().init(&endless, 1, &device).is_err(), "no table of so many positions");
    assert!(DinConfig { positions: true, ..Default::default() }.init(&endless, 1, &device).is_err());
    assert!(DinConfig::default().init(&endless, 1, &device).is_ok());
    let nobody = || "nobody".to_owned();
    assert!(InteractionMlpConfig { user: nobody(), ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(InteractionMlpConfig { mlp: mlp(2), ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(NeuMfConfig { item: nobody(), ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(NeuMfConfig { d_gmf: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(NeuMfConfig { d_mlp: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    let contexts = [vec![], vec![nobody()]];
    assert!(FinalMlpConfig { contexts, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(FinalMlpConfig { n_heads: 3, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(FinalMlpConfig { d_gate: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(MmoeConfig { n_experts: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(MmoeConfig { n_labels: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(MmoeConfig { tower: mlp(2), ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(PleConfig { n_levels: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    let many = PleConfig { n_levels: 900, n_labels: 900, ..Default::default() };
    assert!(many.init(&space, 1, &device).unwrap_err().to_string().contains("levels times labels"));
    assert!(PleConfig { n_shared_experts: 0, ..Default::default() }.init(&space, 1, &device).is_err());
    assert!(EsmmConfig { n_labels: 1, ..Default::default() }.init(&space, 1, &device).is_err());
    let other = FeatureSpace::default().with_field("user", 3).unwrap();
    assert!(BstConfig::default().init(&other, 1, &device).is_err(), "no history");
}

/// Two passes over rows of numbers alone, and over those of a space that holds nothing.
fn check_without_ids<M: RankingModel + Trainable<Batch = RankingBatch>>(
    n_labels: usize,
    init: impl Fn(&FeatureSpace) -> Result<M>,
) {
    let space = FeatureSpace::default().with_vectors("title", 2).unwrap();
    let mut rows = EncodedRows::new(space.clone(), n_labels);
    for i in 0..20 {
        let y = f32::from(i % 2 == 0);
        let (vectors, labels) = ([y - 0.5, 1.0], vec![y; n_labels]);
        rows.push(EncodedRow { vectors: &vectors, labels: &labels, ..EncodedRow::default() }).unwrap();
    }
    let model = fit(init(&space).unwrap(), &rows).unwrap();
    assert_eq!(auc_of(&model, &rows), 1.0, "{}", model.spec().settings());
    assert!(init(&FeatureSpace::default()).is_err());
}

#[test]
fn rows_may_hold_vectors_alone() {
    let device = &Device::flex();
    for table_update in [TableUpdate::Dense, TableUpdate::Sparse] {
        check_without_ids(1, |space| {
            LogisticConfig { table_update, ..Default::default() }.init(space, 1, device)
        });
        check_without_ids(1, |space| {
            DeepFmConfig { table_update, mlp: mlp(1), ..Default::default() }.init(space, 1, device)
        });
    }
    check_without_ids(1, |space| WideDeepConfig { mlp: mlp(1), ..Default::default() }.init(space, 1, device));
    check_without_ids(1, |space| DcnConfig { mlp: mlp(8), ..Default::default() }.init(space, 1, device));
    check_without_ids(1, |space| FinalMlpConfig::default().init(space, 1, device));
    check_without_ids(2, |space| MmoeConfig::default().init(space, 1, device));
    check_without_ids(2, |space| PleConfig::default().init(space, 1, device));
    check_without_ids(2, |space| EsmmConfig { tower: mlp(1), ..Default::default() }.init(space, 1, device));
    assert!(FmConfig::default().init(&FeatureSpace::default(), 1, device).is_err());
}
