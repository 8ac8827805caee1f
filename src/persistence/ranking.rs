use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use crate::data::Vocab;
use crate::error::{ErrorKind, Result};
use crate::features::{EncodedRows, FeatureEncoder, FeatureStore};
use crate::models::ranking::FeatureRanker;
use crate::persistence::{Bundle, BundleWriter};
use crate::training::{RankingConfig, RankingModel};

const CONFIG: &str = "config.json";
const ENCODER: &str = "encoder.json";
const STATISTICS: &str = "statistics.json";
const USERS: &str = "users.json";
const ITEMS: &str = "items.json";
const USER_ROWS: &str = "user_rows.json";
const ITEM_ROWS: &str = "item_rows.json";
const USER_FIELDS: &str = "user_fields.json";
const WEIGHTS: &str = "weights.bpk";

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
        writer.write_json(USER_ROWS, self.ranker.users())?;
        writer.write_json(ITEM_ROWS, self.ranker.items())?;
        writer.write_json(USER_FIELDS, &self.ranker.user_fields().collect::<Vec<_>>())?;
        let weights = writer.path(WEIGHTS);
        model.clone().save_file(&weights).map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            ErrorKind::Io { path: weights, source }
        })?;
        writer.finish(C::NAME)
    }

    /// Reads a bundle that [`save`](Self::save) wrote, with the model on `device`.
    ///
    /// # Errors
    /// A folder that is no bundle of such a model, has a newer format, or is damaged.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let bundle = Bundle::open(folder, C::NAME)?;
        let encoder: FeatureEncoder = bundle.read_json(ENCODER)?;
        let path = bundle.path(WEIGHTS)?;
        let fresh = bundle.read_json::<C>(CONFIG)?.init(encoder.space(), 0, device)?;
        let model = fresh.try_load_file(&path).map_err(|error| {
            let expected = "weights that fit the configuration".into();
            ErrorKind::Corrupt { path, expected, found: error.to_string() }
        })?;
        let rows = |name| bundle.read_json::<EncodedRows>(name);
        let user_fields: Vec<String> = bundle.read_json(USER_FIELDS)?;
        let user_fields: Vec<&str> = user_fields.iter().map(String::as_str).collect();
        let loaded = Self {
            ranker: FeatureRanker::new(model, rows(USER_ROWS)?, rows(ITEM_ROWS)?, &user_fields)?,
            encoder,
            store: bundle.read_json(STATISTICS)?,
            users: bundle.read_json(USERS)?,
            items: bundle.read_json(ITEMS)?,
        };
        loaded.check()?;
        Ok(loaded)
    }

    fn check(&self) -> Result<()> {
        self.ranker.users().check_space(self.encoder.space())?;
        for (what, expected, found) in [
            ("number of users in the vocabulary", self.ranker.n_users(), self.users.len()),
            ("number of items in the vocabulary", self.ranker.n_items(), self.items.len()),
        ] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        Ok(())
    }
}
