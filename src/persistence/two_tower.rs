use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use crate::data::Vocab;
use crate::error::{ErrorKind, Result};
use crate::features::ItemFeatures;
use crate::index::{self, VectorIndex};
use crate::models::recall::{EmbeddingRecaller, PopularityRecaller, TwoTower, TwoTowerConfig};
use crate::persistence::{Bundle, BundleWriter};
use crate::pipeline::QueryEncoder;

const KIND: &str = "two_tower";
const CONFIG: &str = "config.json";
const FEATURES: &str = "item_features.json";
const USERS: &str = "users.json";
const ITEMS: &str = "items.json";
const POPULARITY: &str = "popularity.json";
const WEIGHTS: &str = "weights.bpk";
const INDEX: &str = "index.bin";

/// Everything that answers with a trained two-tower model: the model, the index over its item vectors, the
/// popularity that answers for strangers, and the keys behind the ids.
///
/// Saved and loaded in another process, it gives identical recommendations.
#[derive(Debug)]
pub struct TwoTowerBundle {
    /// The model.
    pub model: TwoTower,
    /// The index over [`TwoTower::item_vectors`].
    pub index: Box<dyn VectorIndex>,
    /// The answer for strangers.
    pub popularity: PopularityRecaller,
    /// The keys of the users.
    pub users: Vocab,
    /// The keys of the items.
    pub items: Vocab,
}

impl TwoTowerBundle {
    /// Writes the bundle to a folder, all or nothing; a bundle that stood there is replaced.
    ///
    /// # Errors
    /// Parts that do not fit each other, a folder that exists and is no bundle, or what the file system
    /// refuses.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.check()?;
        let writer = BundleWriter::create(folder)?;
        writer.write_json(CONFIG, self.model.config())?;
        writer.write_json(FEATURES, self.model.item_features())?;
        writer.write_json(USERS, &self.users)?;
        writer.write_json(ITEMS, &self.items)?;
        writer.write_json(POPULARITY, &self.popularity)?;
        let weights = writer.path(WEIGHTS);
        self.model.clone().save_file(&weights).map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            ErrorKind::Io { path: weights, source }
        })?;
        self.index.save(&writer.path(INDEX))?;
        writer.finish(KIND)
    }

    /// Reads a bundle that [`save`](Self::save) wrote, with the model on `device`.
    ///
    /// # Errors
    /// A folder that is no such bundle, has a newer format, or is damaged.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let bundle = Bundle::open(folder, KIND)?;
        let config: TwoTowerConfig = bundle.read_json(CONFIG)?;
        let features: ItemFeatures = bundle.read_json(FEATURES)?;
        let users: Vocab = bundle.read_json(USERS)?;
        let path = bundle.path(WEIGHTS)?;
        let fresh = config.init(users.len(), &features, 0, device)?;
        let model = fresh.try_load_file(&path).map_err(|error| {
            let expected = "weights that fit the configuration".into();
            ErrorKind::Corrupt { path, expected, found: error.to_string() }
        })?;
        let loaded = Self {
            model,
            index: index::load(bundle.path(INDEX)?)?,
            popularity: bundle.read_json(POPULARITY)?,
            users,
            items: bundle.read_json(ITEMS)?,
        };
        loaded.check()?;
        Ok(loaded)
    }

    /// The recaller of these parts.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn into_recaller(self) -> Result<EmbeddingRecaller<TwoTower>> {
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
