use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::Vocab;
use crate::error::{Error, ErrorKind, Result, check_id_count};
use crate::features::{FeatureEncoder, FeatureStore};
use crate::ids::{ItemId, UserId};
use crate::models::reranking::Blend;
use crate::persistence::{Bundle, BundleWriter, Part, PartReader, PartWriter, Registry};
use crate::pipeline::{
    Candidate, Channel, ChannelConfig, ExhaustiveRecaller, Fusion, FusionMethod, Pipeline, Query, Ranker,
    Recaller, Reranker, Work,
};

const KIND: &str = "pipeline";
const USERS: &str = "users.cbor";
const ITEMS: &str = "items.cbor";
const FEATURES: &str = "features.cbor";
const STAGES: &str = "stages.json";
const CHANNELS: &str = "channels.json";
const WEIGHTS: &str = "weights.json";
const N_ITEMS: &str = "n_items.json";
/// The folder of the ranker within a stage.
const RANKER: &str = "ranker";
/// The folder of the channels.
const RECALL: &str = "recall";

/// A whole pipeline with the keys behind its ids: what a service opens to answer requests.
///
/// Saved and loaded in another process, it gives the same answers, to the bit where the device computes alike. A
/// [`Registry`] knows how each stage is saved. Beside the manifest ([`disk`](crate::disk)) the folder holds:
///
/// | file or folder | content |
/// |---|---|
/// | `users.cbor`, `items.cbor` | the keys |
/// | `features.cbor` | encoders and statistics of ranking stages |
/// | `stages.json` | candidates kept by recall; name, candidates kept and time budget of each stage behind it |
/// | `recall/channels.json` | fusion method; name, number of candidates, weight and quota of each channel |
/// | `recall/0`, `recall/1`, … | a folder for each channel, in their order |
/// | `stages/0`, `stages/1`, … | a folder for each stage behind recall |
///
#[cfg_attr(feature = "flex", doc = "```")]
#[cfg_attr(not(feature = "flex"), doc = "```ignore")]
/// use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller, PopularityRecaller};
/// use recsys::models::reranking::PopularityDebias;
/// use recsys::persistence::{PipelineBundle, Registry};
/// use recsys::prelude::*;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let train = data.interactions();
/// let pipeline = Pipeline::recall("item_knn", ItemKnnRecaller::fit(train, &ItemKnnConfig::default())?, 50)
///     .and_recall("popularity", PopularityRecaller::fit(train), 20)
///     .rerank("debias", PopularityDebias::fit(train, 0.2)?, 10)
///     .build()?;
/// let query = Query::new(&[ItemId(3), ItemId(8)]);
/// let answer = pipeline.recommend(&query)?.items;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("pipeline");
/// let (users, items, registry) = (data.users().clone(), data.items().clone(), Registry::default());
/// PipelineBundle::new(pipeline, users, items).save(&path, &registry)?;
///
/// let loaded = PipelineBundle::load(&path, &registry, &Device::flex())?;
/// assert_eq!(loaded.pipeline.recommend(&query)?.items, answer);
/// assert_eq!(loaded.items.key(answer[0].item.0), data.items().key(answer[0].item.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PipelineBundle {
    /// The stages.
    pub pipeline: Pipeline,
    /// The keys of the users.
    pub users: Vocab,
    /// The keys of the items.
    pub items: Vocab,
    /// What makes rows of records, by the name of the ranking stage that takes them.
    pub features: BTreeMap<String, RowFeatures>,
}

/// What makes the rows that a ranking stage takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFeatures {
    /// What makes rows of records.
    pub encoder: FeatureEncoder,
    /// The statistics of users and items, if fields are made of them.
    pub store: Option<FeatureStore>,
}

/// The settings of all stages.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stages {
    n_recalled: usize,
    stages: Vec<StageSettings>,
}

/// The settings of one stage behind recall.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageSettings {
    name: String,
    role: Role,
    n_kept: usize,
    budget: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Rank,
    Rerank,
}

impl PipelineBundle {
    /// A pipeline whose stages take no rows of records, or from elsewhere.
    pub fn new(pipeline: Pipeline, users: Vocab, items: Vocab) -> Self {
        Self { pipeline, users, items, features: BTreeMap::new() }
    }

    /// With what makes the rows of the ranking stage `stage`.
    pub fn with_features(mut self, stage: impl Into<String>, features: RowFeatures) -> Self {
        self.features.insert(stage.into(), features);
        self
    }

    /// Writes the bundle to a folder, all or nothing; a bundle that stood there is replaced.
    ///
    /// # Errors
    /// Before anything is written: a stage or channel of a type that the registry does not know, or of another catalogue than the
    /// vocabularies', and features of other rows than the stage scores or of a
    /// stage that is not there; a stage of one's own that panics where an id is outside its catalogue. A folder that exists
    /// and is no bundle, or what the file system refuses.
    pub fn save(&self, folder: impl AsRef<Path>, registry: &Registry) -> Result<()> {
        self.check(registry)?;
        let files = BundleWriter::create(folder)?;
        files.write_cbor(USERS, &self.users)?;
        files.write_cbor(ITEMS, &self.items)?;
        files.write_cbor(FEATURES, &self.features)?;
        self.pipeline.write(&PartWriter::new(files.clone(), registry))?;
        files.finish(KIND)
    }

    /// Reads a bundle that [`save`](Self::save) wrote, with weights on `device`. Stages are read in parallel.
    ///
    /// # Errors
    /// A folder that is no bundle of a pipeline, has a newer format, or is damaged; a stage of a kind that the registry does
    /// not know; parts that do not fit each other.
    pub fn load(folder: impl AsRef<Path>, registry: &Registry, device: &Device) -> Result<Self> {
        let files = Bundle::open(folder, KIND)?;
        let loaded = Self {
            users: files.read_cbor(USERS)?,
            items: files.read_cbor(ITEMS)?,
            features: files.read_cbor(FEATURES)?,
            pipeline: Pipeline::read(&PartReader::new(files, registry, device))?,
        };
        loaded.check(registry)?;
        Ok(loaded)
    }

    /// Every stage is of a registered type and of the vocabularies' users and items, and takes the rows that are made for it.
    fn check(&self, registry: &Registry) -> Result<()> {
        let catalogue = Catalogue { n_users: self.users.len(), n_items: self.items.len(), registry };
        catalogue.check_recaller(RECALL, self.pipeline.fusion())?;
        for stage in self.pipeline.stages() {
            match &stage.work {
                Work::Rank(ranker) => {
                    let features = self.features.get(&stage.name);
                    catalogue.check_ranker(&stage.name, ranker.as_ref(), features)?;
                }
                Work::Rerank(reranker) => catalogue.check_reranker(&stage.name, reranker.as_ref())?,
            }
        }
        let is_ranker = |name: &str| {
            let mut stages = self.pipeline.stages().iter();
            stages.any(|stage| stage.name == name && matches!(stage.work, Work::Rank(_)))
        };
        match self.features.keys().find(|name| !is_ranker(name)) {
            Some(name) => Err(Error::config("PipelineBundle::features", "the name of a ranking stage", name)),
            None => Ok(()),
        }
    }
}

/// Whose ids the stages must know, and the types that they may have.
struct Catalogue<'a> {
    n_users: usize,
    n_items: usize,
    registry: &'a Registry,
}

impl Catalogue<'_> {
    /// A recaller and all within it.
    fn check_recaller(&self, place: &str, recaller: &dyn Recaller) -> Result<()> {
        let (_, part) = self.registry.recallers().part(place, recaller)?;
        for (name, inner) in part.inner() {
            self.check_recaller(&format!("{place}/{name}"), inner)?;
        }
        self.check_ids(place, || recaller.recall(&Query::default().excluding([BEYOND_ITEMS]), 1))
    }

    /// A ranker, and whether what makes rows for it makes those that it scores.
    fn check_ranker(&self, place: &str, ranker: &dyn Ranker, features: Option<&RowFeatures>) -> Result<()> {
        let (_, part) = self.registry.rankers().part(place, ranker)?;
        if features.is_some_and(|features| part.row_space() != Some(features.encoder.space())) {
            let expected = format!("an encoder of the rows that {place} scores");
            return Err(Error::config("PipelineBundle::features", expected, "one of other rows"));
        }
        self.check_ids(place, || ranker.score(&Query::default(), &[BEYOND_ITEMS]))?;
        self.check_ids(place, || ranker.score(&Query::default().with_user(UserId(u32::MAX)), &[]))
    }

    fn check_reranker(&self, place: &str, reranker: &dyn Reranker) -> Result<()> {
        self.registry.rerankers().part(place, reranker)?;
        let beyond = || vec![Candidate::new(BEYOND_ITEMS, 0.0)];
        self.check_ids(place, || reranker.rerank(&Query::default(), beyond(), 1))
    }

    /// Checks the bound in a stage's answer to an id that no catalogue holds; a stage that does not mind has none.
    fn check_ids<T>(&self, place: &str, ask: impl Fn() -> Result<T>) -> Result<()> {
        let Ok(answer) = catch_unwind(AssertUnwindSafe(ask)) else {
            let expected = format!("an error of {place} for an id outside the catalogue");
            return Err(Error::config("PipelineBundle::pipeline", expected, "a panic"));
        };
        let Some(error) = answer.err() else { return Ok(()) };
        let ErrorKind::IdOutOfRange { what, bound, .. } = *error.kind() else { return Ok(()) };
        let (field, expected) = match what {
            "item" => ("PipelineBundle::items", self.n_items),
            "user" => ("PipelineBundle::users", self.n_users),
            _ => return Ok(()),
        };
        if bound == expected as u64 {
            return Ok(());
        }
        Err(Error::config(field, format!("{bound} {what}s, as {place} knows"), expected))
    }
}

/// No catalogue is so large: ids are below their number, which is a `u32` too.
const BEYOND_ITEMS: ItemId = ItemId(u32::MAX);

impl Part for Pipeline {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        let settings = self.stages().iter().map(|stage| StageSettings {
            name: stage.name.clone(),
            role: match stage.work {
                Work::Rank(_) => Role::Rank,
                Work::Rerank(_) => Role::Rerank,
            },
            n_kept: stage.n_kept,
            budget: stage.budget,
        });
        let stages = Stages { n_recalled: self.n_recalled(), stages: settings.collect() };
        writer.files().write_json(STAGES, &stages)?;
        self.fusion().write(&writer.within(RECALL)?)?;
        let registry = writer.registry();
        for (at, stage) in self.stages().iter().enumerate() {
            let folder = stage_folder(at);
            match &stage.work {
                Work::Rank(ranker) => registry.rankers().write(&folder, ranker.as_ref(), writer)?,
                Work::Rerank(reranker) => registry.rerankers().write(&folder, reranker.as_ref(), writer)?,
            }
        }
        Ok(())
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        let Stages { n_recalled, stages } = reader.files().read_json(STAGES)?;
        let registry = reader.registry();
        let work = |(at, settings): (usize, &StageSettings)| -> Result<Work> {
            let folder = stage_folder(at);
            Ok(match settings.role {
                Role::Rank => Work::Rank(Arc::from(registry.rankers().read(&folder, reader)?)),
                Role::Rerank => Work::Rerank(Arc::from(registry.rerankers().read(&folder, reader)?)),
            })
        };
        let (fusion, works): (_, Vec<Result<Work>>) = rayon::join(
            || Fusion::read(&reader.within(RECALL)),
            || stages.par_iter().enumerate().map(|(at, settings)| work((at, settings))).collect(),
        );
        let mut builder = Pipeline::of(fusion?, n_recalled);
        for (StageSettings { name, n_kept, budget, .. }, work) in stages.into_iter().zip(works) {
            builder = builder.stage(name, work?, n_kept);
            if let Some(budget) = budget {
                builder = builder.within(budget);
            }
        }
        builder.build()
    }
}

fn stage_folder(at: usize) -> String {
    format!("stages/{at}")
}

/// The settings of a fusion.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Channels {
    method: FusionMethod,
    channels: Vec<ChannelConfig>,
}

impl Part for Fusion {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        let configs = self.channels().iter().map(|channel| channel.config().clone());
        let settings = Channels { method: self.method(), channels: configs.collect() };
        writer.files().write_json(CHANNELS, &settings)?;
        let mut channels = self.channels().iter().enumerate();
        channels.try_for_each(|(at, channel)| writer.write_recaller(&at.to_string(), channel.recaller()))
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        let Channels { method, channels } = reader.files().read_json(CHANNELS)?;
        let recallers = (0..channels.len()).into_par_iter().map(|at| reader.read_recaller(&at.to_string()));
        let recallers: Vec<Result<Box<dyn Recaller>>> = recallers.collect();
        let channel = |(config, recaller): (_, Result<_>)| Ok(Channel::new(config, recaller?));
        Fusion::new(method, channels.into_iter().zip(recallers).map(channel).collect::<Result<_>>()?)
    }

    fn inner(&self) -> Vec<(&str, &dyn Recaller)> {
        let channels = self.channels().iter();
        channels.map(|channel| (channel.config().name.as_str(), channel.recaller())).collect()
    }
}

/// With a ranker of any registered type.
impl Part for Blend<Arc<dyn Ranker>> {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        writer.files().write_json(WEIGHTS, &self.weights())?;
        writer.registry().rankers().write(RANKER, self.ranker().as_ref(), writer)
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        let ranker = reader.registry().rankers().read(RANKER, reader)?;
        Self::new(ranker.into(), reader.files().read_json(WEIGHTS)?)
    }
}

/// Of a ranker of any registered type.
impl Part for ExhaustiveRecaller<Arc<dyn Ranker>> {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        writer.files().write_json(N_ITEMS, &self.n_items())?;
        writer.registry().rankers().write(RANKER, self.ranker().as_ref(), writer)
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        let ranker = reader.registry().rankers().read(RANKER, reader)?;
        let n_items: usize = reader.files().read_json(N_ITEMS)?;
        check_id_count("ExhaustiveRecaller::n_items", n_items)?;
        if let Some(last) = n_items.checked_sub(1) {
            // Before it is asked for all of them, the ranker must know the last.
            ranker.score(&Query::default(), &[ItemId(last as u32)])?;
        }
        Ok(Self::new(ranker.into(), n_items))
    }
}
