use std::path::Path;

use burn::tensor::Device;

use crate::data::Vocab;
use crate::error::{ErrorKind, Result};
use crate::features::{CandidateRows, FeatureEncoder, FeatureSpace, FeatureStore};
use crate::models::ranking::{
    Bst, BstConfig, Dcn, DcnConfig, DeepFm, DeepFmConfig, Din, DinConfig, Esmm, EsmmConfig, FeatureRanker,
    FinalMlp, FinalMlpConfig, Fm, FmConfig, InteractionMlp, InteractionMlpConfig, Logistic, LogisticConfig,
    Mmoe, MmoeConfig, NeuMf, NeuMfConfig, Ple, PleConfig, WideDeep, WideDeepConfig,
};
use crate::persistence::weights::{read_weights, write_weights};
use crate::persistence::{Bundle, BundleWriter, Part, PartReader, PartWriter};
use crate::training::{RankingConfig, RankingModel, RowScorer};

const CONFIG: &str = "config.json";
const ENCODER: &str = "encoder.json";
const STATISTICS: &str = "statistics.json";
const USERS: &str = "users.json";
const ITEMS: &str = "items.json";
const ROWS: &str = "rows.cbor";
const SPACE: &str = "space.json";
const MODEL: &str = "model";

/// Everything that ranks with a trained model of rows of fields: the model with what is known of users and items, the
/// encoder of its fields, the statistics as they stand, and the keys behind the ids.
///
/// Saved and loaded in another process, it gives identical scores.
#[derive(Debug)]
pub struct RankingBundle<C: RankingConfig> {
    /// The model, with what is known of users and items.
    pub ranker: FeatureRanker<C::Model>,
    /// What makes rows of records.
    pub encoder: FeatureEncoder,
    /// The statistics of users and items, if fields are made of them.
    pub store: Option<FeatureStore>,
    /// The keys of the users.
    pub users: Vocab,
    /// The keys of the items.
    pub items: Vocab,
}

impl<C: RankingConfig> RankingBundle<C> {
    /// Writes the bundle to a folder, all or nothing; a bundle that stood there is replaced.
    ///
    /// # Errors
    /// Parts that do not fit each other, a folder that exists and is no bundle, or what the file system refuses.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.check()?;
        let model = self.ranker.model();
        let writer = BundleWriter::create(folder)?;
        writer.write_json(CONFIG, model.spec().settings())?;
        writer.write_json(ENCODER, &self.encoder)?;
        writer.write_json(STATISTICS, &self.store)?;
        writer.write_json(USERS, &self.users)?;
        writer.write_json(ITEMS, &self.items)?;
        writer.write_cbor(ROWS, self.ranker.known())?;
        write_weights(model, &writer)?;
        writer.finish(C::NAME)
    }

    /// Reads a bundle that [`save`](Self::save) wrote, with the model on `device`.
    ///
    /// # Errors
    /// A folder that is no bundle of such a model, has a newer format, or is damaged.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let bundle = Bundle::open(folder, C::NAME)?;
        let encoder: FeatureEncoder = bundle.read_json(ENCODER)?;
        let known: CandidateRows = bundle.read_cbor(ROWS)?;
        let config = bundle.read_json::<C>(CONFIG)?;
        let model = read_weights(|| config.init(known.space(), 0, device), &bundle)?;
        let loaded = Self {
            ranker: FeatureRanker::new(model, known)?,
            encoder,
            store: bundle.read_json(STATISTICS)?,
            users: bundle.read_json(USERS)?,
            items: bundle.read_json(ITEMS)?,
        };
        loaded.check()?;
        Ok(loaded)
    }

    fn check(&self) -> Result<()> {
        let known = self.ranker.known();
        known.users().check_space(self.encoder.space())?;
        for (what, expected, found) in [
            ("number of users in the vocabulary", known.n_users(), self.users.len()),
            ("number of items in the vocabulary", known.n_items(), self.items.len()),
        ] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        Ok(())
    }
}

/// Writes a network of rows of fields as a [`Part`]: what it was made for and from, and its weights.
///
/// # Errors
/// A file that cannot be written.
pub fn write_network(model: &impl RankingModel, writer: &PartWriter<'_>) -> Result<()> {
    writer.files().write_json(CONFIG, model.spec().settings())?;
    writer.files().write_json(SPACE, model.spec().space())?;
    write_weights(model, writer.files())
}

/// Reads a network that [`write_network`] wrote.
///
/// # Errors
/// A file that is missing or damaged, or settings that do not fit each other.
pub fn read_network<C: RankingConfig>(reader: &PartReader<'_>) -> Result<C::Model> {
    let files = reader.files();
    let (config, space) = (files.read_json::<C>(CONFIG)?, files.read_json(SPACE)?);
    read_weights(|| config.init(&space, 0, reader.device()), files)
}

macro_rules! networks_are_parts {
    ($($model:ty: $config:ty),*) => {$(
        impl Part for $model {
            fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
                write_network(self, writer)
            }

            fn read(reader: &PartReader<'_>) -> Result<Self> {
                read_network::<$config>(reader)
            }
        }
    )*};
}

networks_are_parts!(
    Bst: BstConfig,
    Dcn: DcnConfig,
    DeepFm: DeepFmConfig,
    Din: DinConfig,
    Esmm: EsmmConfig,
    FinalMlp: FinalMlpConfig,
    Fm: FmConfig,
    InteractionMlp: InteractionMlpConfig,
    Logistic: LogisticConfig,
    Mmoe: MmoeConfig,
    NeuMf: NeuMfConfig,
    Ple: PleConfig,
    WideDeep: WideDeepConfig
);

impl<M: RowScorer + Part> Part for FeatureRanker<M> {
    fn row_space(&self) -> Option<&FeatureSpace> {
        Some(self.known().users().space())
    }

    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        self.model().write(&writer.within(MODEL)?)?;
        writer.files().write_cbor(ROWS, self.known())
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        Self::new(M::read(&reader.within(MODEL))?, reader.files().read_cbor(ROWS)?)
    }
}
