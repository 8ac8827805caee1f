//! The recall channels and their fusion.

use std::error::Error;
use std::path::Path;

use recsys::features::{ItemFeatures, ItemVectors, item_texts};
use recsys::losses::RetrievalLoss;
use recsys::metrics::{Evaluation, RankingMetric, evaluate};
use recsys::models::recall::{
    CoVisitationConfig, CoVisitationRecaller, ContentConfig, ContentRecaller, EaseConfig, EaseRecaller,
    EmbeddingRecaller, FavouriteGenresConfig, FavouriteGenresRecaller, Ials, IalsConfig, ItemKnnConfig,
    ItemKnnRecaller, PopularityRecaller, Sasrec, SasrecConfig, SessionKnnConfig, SessionKnnRecaller,
    TwoTower,
};
use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
use recsys::prelude::*;
use recsys::training::{FusionWeightsConfig, RetrievalBatch, RetrievalBatches, Trainable, TrainingConfig};
use serde_json::{Map, Value, json};

use crate::bench::Bench;
use crate::common::run::fit;
use crate::common::{Prepared, Protocol, sasrec, two_tower};
use crate::saved;

/// The candidates of each channel.
const N_CANDIDATES: usize = 500;

/// The loss of the second sequence channel.
const GBCE: RetrievalLoss = RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 256, t: 0.75 };

/// The methods of fusion that are compared.
const METHODS: [(&str, FusionMethod); 5] = [
    ("reciprocal rank, k = 60", FusionMethod::ReciprocalRank { k: 60.0 }),
    ("reciprocal rank, k = 30", FusionMethod::ReciprocalRank { k: 30.0 }),
    ("reciprocal rank, k = 10", FusionMethod::ReciprocalRank { k: 10.0 }),
    ("min-max", FusionMethod::MinMax),
    ("z-score", FusionMethod::ZScore),
];

pub struct Channels {
    pub all: Vec<Channel>,
    /// What tells films apart in re-ranking: the vectors of iALS.
    pub vectors: ItemVectors,
}

impl Channels {
    /// Fits every channel to the training part.
    pub fn fit(bench: &Bench) -> Result<Self> {
        let (train, seed) = (&bench.data.split.train, bench.args.seed);
        let ials = Ials::fit(train, &IalsConfig { seed, ..IalsConfig::default() })?;
        let vectors = ItemVectors::new(ials.dim(), ials.item_vectors()?)?;
        let mut recallers: Vec<(&str, Box<dyn Recaller>)> = vec![
            ("popularity", Box::new(PopularityRecaller::fit(train))),
            ("item_knn", Box::new(ItemKnnRecaller::fit(train, &ItemKnnConfig::default())?)),
            ("co_visitation", Box::new(CoVisitationRecaller::fit(train, &CoVisitationConfig::default())?)),
            ("session_knn", Box::new(SessionKnnRecaller::fit(train, &SessionKnnConfig::default())?)),
            ("ease", Box::new(EaseRecaller::fit(train, &EaseConfig::default())?)),
            ("ials", Box::new(ials)),
        ];
        if let Some(table) = bench.data.dataset.item_table() {
            let genres = FavouriteGenresRecaller::fit(
                train,
                ItemFeatures::genres(table),
                &FavouriteGenresConfig::default(),
            )?;
            recallers.push(("favourite_genres", Box::new(genres)));
            let words = ItemFeatures::words(&item_texts(table));
            recallers.push(("content", Box::new(ContentRecaller::fit(&words, &ContentConfig::default())?)));
        }
        if bench.args.epochs != Some(0) {
            recallers.push(("two_tower", Box::new(fit_two_tower(bench)?)));
            let config = sasrec::config(&bench.data);
            recallers.push(("sasrec", Box::new(fit_sasrec(bench, &config)?)));
            // Two losses err differently. Under p5 rankers order what is recalled, and requests are to be quick.
            if bench.data.protocol != Protocol::P5 {
                let config = SasrecConfig { loss: GBCE, ..config };
                recallers.push(("sasrec_gbce", Box::new(fit_sasrec(bench, &config)?)));
            }
        }
        let channel = |(name, recaller)| Channel::new(ChannelConfig::new(name, N_CANDIDATES), recaller);
        Ok(Self { all: recallers.into_iter().map(channel).collect(), vectors })
    }

    /// Takes the channels of a pipeline that was fitted to the same training part.
    pub fn load(folder: &Path, bench: &Bench) -> std::result::Result<Self, Box<dyn Error>> {
        let all = saved::load(folder, bench)?.fusion().channels().to_vec();
        let popularity = find::<PopularityRecaller>(&all);
        if popularity.map(PopularityRecaller::scores)
            != Some(PopularityRecaller::fit(&bench.data.split.train).scores())
        {
            return Err(format!("{} holds channels of another protocol", folder.display()).into());
        }
        let ials =
            find::<Ials>(&all).ok_or_else(|| format!("{} has no channel of iALS", folder.display()))?;
        let vectors = ItemVectors::new(ials.dim(), ials.item_vectors()?)?;
        Ok(Self { all, vectors })
    }

    /// Joins the channels with the weights that recall most of the validation part.
    pub fn fuse(&self, method: FusionMethod, bench: &Bench) -> Result<Fusion> {
        let ks = bench.data.protocol.cutoffs().to_vec();
        let config = FusionWeightsConfig { ks, ..FusionWeightsConfig::default() };
        config.fit(Fusion::new(method, self.all.clone())?, &bench.tune)
    }

    /// Joins the channels by every method, each with weights of its own.
    pub fn fuse_by_all(&self, bench: &Bench) -> Result<Vec<(&'static str, Fusion)>> {
        METHODS.iter().map(|&(name, method)| Ok((name, self.fuse(method, bench)?))).collect()
    }
}

/// The fusion that recalls most of the validation part.
pub fn best(fused: &[(&str, Fusion)], bench: &Bench) -> Result<Fusion> {
    let mut best: Option<(f64, &Fusion)> = None;
    for (name, fusion) in fused {
        let evaluation = evaluate(fusion, &bench.tune, bench.data.protocol.cutoffs())?;
        let recall = recalls(&evaluation).sum::<f64>() / evaluation.ks().len() as f64;
        println!("Fused by {name}: mean recall {recall:.4} of the validation part.");
        if best.is_none_or(|(highest, _)| recall > highest) {
            best = Some((recall, fusion));
        }
    }
    Ok(best.expect("there are methods").1.clone())
}

/// The first channel of this type.
fn find<R: Recaller + 'static>(channels: &[Channel]) -> Option<&R> {
    channels.iter().find_map(|channel| channel.recaller().as_any().downcast_ref())
}

/// Trains the sequence channel.
pub fn fit_sasrec(bench: &Bench, config: &SasrecConfig) -> Result<EmbeddingRecaller<Sasrec>> {
    let (data, seed) = (&bench.data, bench.args.seed);
    let model = config.init(data.dataset.n_items(), seed, &bench.device)?;
    let batches = sasrec::batches(data, config, seed)?;
    fit_embeddings(bench, model, &batches, sasrec::training(data))
}

/// Trains the two-tower channel.
fn fit_two_tower(bench: &Bench) -> Result<EmbeddingRecaller<TwoTower>> {
    let (data, seed) = (&bench.data, bench.args.seed);
    let model = two_tower::model(data, two_tower::LOSS, seed, &bench.device)?;
    let batches = two_tower::batches(data, two_tower::LOSS, seed)?;
    fit_embeddings(bench, model, &batches, two_tower::training(data))
}

/// Trains a model for as many epochs as its settings and the options allow.
fn fit_embeddings<M: EmbeddingModel + Trainable<Batch = RetrievalBatch>>(
    bench: &Bench,
    model: M,
    batches: &RetrievalBatches,
    training: TrainingConfig,
) -> Result<EmbeddingRecaller<M>> {
    let epochs = bench.args.epochs.unwrap_or(training.epochs);
    let training = training.with_epochs(epochs).with_seed(bench.args.seed).with_progress(true);
    let fitted = fit(&bench.data, model, batches, training)?;
    EmbeddingRecaller::exact(fitted.model, Box::new(PopularityRecaller::fit(&bench.data.split.train)))
}

/// The names of the recalls that [`line`] prints.
pub fn header(data: &Prepared) -> String {
    let recalls = data.protocol.cutoffs().iter().map(|k| format!("{:>12}", format!("recall@{k}")));
    format!("{:<16}{}", "channel", recalls.collect::<String>())
}

/// The recalls of a channel at every cut-off.
pub fn line(name: &str, evaluation: &Evaluation) -> String {
    format!("{name:<16}{}", recalls(evaluation).map(|recall| format!("{recall:>12.4}")).collect::<String>())
}

/// The recalls at every cut-off.
pub fn recalls(evaluation: &Evaluation) -> impl Iterator<Item = f64> {
    let recall = |&k: &usize| evaluation.mean(RankingMetric::Recall, k).unwrap_or(0.0);
    evaluation.ks().iter().map(recall)
}

/// The weight of each channel by its name.
pub fn weights(fusion: &Fusion) -> Value {
    let weight = |channel: &Channel| (channel.config().name.clone(), json!(channel.config().weight));
    fusion.channels().iter().map(weight).collect::<Map<_, _>>().into()
}
