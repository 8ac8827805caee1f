use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::data::Vocab;
use crate::error::{ErrorKind, Result, check_size};
use crate::features::ItemFeatures;
use crate::index::{self, VectorIndex};
use crate::models::recall::{
    EmbeddingRecaller, PopularityRecaller, Sasrec, SasrecConfig, TwoTower, TwoTowerConfig,
};
use crate::persistence::weights::{read_weights, write_weights};
use crate::persistence::{Bundle, BundleWriter, Part, PartReader, PartWriter};
use crate::pipeline::{EmbeddingModel, Recaller};

const CONFIG: &str = "config.json";
const FEATURES: &str = "item_features.json";
const CONTENT: &str = "content.json";
const USERS: &str = "users.json";
const ITEMS: &str = "items.json";
const POPULARITY: &str = "popularity.json";
const INDEX: &str = "index.bin";
const SIZE: &str = "size.json";
const ENCODER: &str = "encoder";
const FALLBACK: &str = "fallback";

/// A model that an [`EmbeddingBundle`] holds: what stands beside its weights.
pub trait BundledModel: EmbeddingModel + Module {
    /// The kind of its bundles.
    const KIND: &'static str;

    /// Writes what [`fresh`](Self::fresh) needs.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn write_settings(&self, writer: &BundleWriter) -> Result<()>;

    /// A model of the bundle's settings; its weights are never made, the bundle's take their place.
    ///
    /// # Errors
    /// Settings that are missing, damaged or out of range.
    fn fresh(bundle: &Bundle, n_users: usize, n_items: usize, device: &Device) -> Result<Self>;
}

impl BundledModel for TwoTower {
    const KIND: &'static str = "two_tower";

    fn write_settings(&self, writer: &BundleWriter) -> Result<()> {
        writer.write_json(CONFIG, self.config())?;
        writer.write_json(FEATURES, self.item_features())?;
        writer.write_json(CONTENT, &self.d_content())
    }

    fn fresh(bundle: &Bundle, n_users: usize, _n_items: usize, device: &Device) -> Result<Self> {
        let features: ItemFeatures = bundle.read_json(FEATURES)?;
        let d_content: Option<usize> = bundle.read_json(CONTENT)?;
        d_content.map_or(Ok(()), |d_content| check_size("TwoTower::d_content", d_content))?;
        // The content itself is among the weights.
        let content = d_content.map(|d_content| (d_content, [].as_slice()));
        bundle.read_json::<TwoTowerConfig>(CONFIG)?.init_with(n_users, &features, content, 0, device)
    }
}

impl BundledModel for Sasrec {
    const KIND: &'static str = "sasrec";

    fn write_settings(&self, writer: &BundleWriter) -> Result<()> {
        writer.write_json(CONFIG, self.config())
    }

    fn fresh(bundle: &Bundle, _n_users: usize, n_items: usize, device: &Device) -> Result<Self> {
        bundle.read_json::<SasrecConfig>(CONFIG)?.init(n_items, 0, device)
    }
}

/// Everything that answers with a trained model of queries and items: the model, the index over its item
/// vectors, the popularity that answers for strangers, and the keys behind the ids.
///
/// Saved and loaded in another process, it gives identical recommendations.
#[derive(Debug)]
pub struct EmbeddingBundle<M> {
    /// The model.
    pub model: M,
    /// The index over [`EmbeddingModel::item_vectors`].
    pub index: Box<dyn VectorIndex>,
    /// The answer for strangers.
    pub popularity: PopularityRecaller,
    /// The keys of the users.
    pub users: Vocab,
    /// The keys of the items.
    pub items: Vocab,
}

impl<M: BundledModel> EmbeddingBundle<M> {
    /// Writes the bundle to a folder, all or nothing; a bundle that stood there is replaced.
    ///
    /// # Errors
    /// Parts that do not fit each other, a folder that exists and is no bundle, or what the file system
    /// refuses.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.check()?;
        let writer = BundleWriter::create(folder)?;
        self.model.write_settings(&writer)?;
        writer.write_json(USERS, &self.users)?;
        writer.write_json(ITEMS, &self.items)?;
        writer.write_json(POPULARITY, &self.popularity)?;
        write_weights(&self.model, &writer)?;
        writer.write(INDEX, |file| self.index.write(file))?;
        writer.finish(M::KIND)
    }

    /// Reads a bundle that [`save`](Self::save) wrote, with the model on `device`.
    ///
    /// # Errors
    /// A folder that is no such bundle, has a newer format, or is damaged.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let bundle = Bundle::open(folder, M::KIND)?;
        let (users, items): (Vocab, Vocab) = (bundle.read_json(USERS)?, bundle.read_json(ITEMS)?);
        let loaded = Self {
            model: read_weights(|| M::fresh(&bundle, users.len(), items.len(), device), &bundle)?,
            index: index::parse(&bundle.read(INDEX)?, &bundle.path(INDEX))?,
            popularity: bundle.read_json(POPULARITY)?,
            users,
            items,
        };
        loaded.check()?;
        Ok(loaded)
    }

    /// The recaller of these parts.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn into_recaller(self) -> Result<EmbeddingRecaller<M>> {
        self.check()?;
        EmbeddingRecaller::new(self.model, self.index, Box::new(self.popularity))
    }

    fn check(&self) -> Result<()> {
        let n_items = self.model.n_items();
        for (what, expected, found) in [
            ("number of items in the vocabulary", n_items, self.items.len()),
            ("number of items in the index", n_items, self.index.len()),
            ("number of items with a popularity", n_items, self.popularity.scores().len()),
            ("width of the vectors in the index", self.model.dim(), self.index.dim()),
        ] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        Ok(())
    }
}

/// What a model was made for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    n_users: usize,
    n_items: usize,
}

fn write_model(model: &impl BundledModel, n_users: usize, writer: &BundleWriter) -> Result<()> {
    writer.write_json(SIZE, &Size { n_users, n_items: model.n_items() })?;
    model.write_settings(writer)?;
    write_weights(model, writer)
}

fn read_model<M: BundledModel>(reader: &PartReader<'_>) -> Result<M> {
    let Size { n_users, n_items } = reader.files().read_json(SIZE)?;
    read_weights(|| M::fresh(reader.files(), n_users, n_items, reader.device()), reader.files())
}

impl Part for TwoTower {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        write_model(self, self.n_users(), writer.files())
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        read_model(reader)
    }
}

impl Part for Sasrec {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        write_model(self, 0, writer.files())
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        read_model(reader)
    }
}

impl<M: EmbeddingModel + Part> Part for EmbeddingRecaller<M> {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        self.encoder().write(&writer.within(ENCODER)?)?;
        writer.files().write(INDEX, |file| self.index().write(file))?;
        writer.write_recaller(FALLBACK, self.fallback())
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        let encoder = M::read(&reader.within(ENCODER))?;
        let index = index::parse(&reader.files().read(INDEX)?, &reader.files().path(INDEX))?;
        let (what, expected, found) = ("number of items in the index", encoder.n_items(), index.len());
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        Self::new(encoder, index, reader.read_recaller(FALLBACK)?)
    }

    fn inner(&self) -> Vec<(&str, &dyn Recaller)> {
        vec![(FALLBACK, self.fallback())]
    }
}
