//! Where the data of an example come from.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recsys::data::{MovieLens, SyntheticConfig};
use recsys::prelude::*;

/// Where the interactions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasetName {
    /// MovieLens 100K: 943 users, 1,682 films.
    #[value(name = "ml-100k")]
    Ml100k,
    /// MovieLens 1M: 6,040 users, 3,706 films.
    #[value(name = "ml-1m")]
    Ml1m,
    /// MovieLens latest-small: 610 users, 9,742 films.
    #[value(name = "ml-latest-small")]
    MlLatestSmall,
    /// Made up, and needs neither files nor a network.
    Synthetic,
}

impl DatasetName {
    /// Its name in reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ml100k => "MovieLens 100K",
            Self::Ml1m => "MovieLens 1M",
            Self::MlLatestSmall => "MovieLens latest-small",
            Self::Synthetic => "SYNTHETIC",
        }
    }
}

/// The options that say where the data come from.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// The data set [default: ml-100k if it is found or can be downloaded, else synthetic]
    #[arg(long, value_enum)]
    pub dataset: Option<DatasetName>,
    /// The folder that holds the data sets as subfolders; what is not there is fetched into it [default:
    /// $RECSYS_DATA_DIR, then the cache folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl SourceArgs {
    /// The data set asked for; MovieLens 100K if none is, and made-up data, loudly, where that is not at hand.
    ///
    /// # Errors
    /// Data that cannot be read or fetched.
    pub fn read_or_synthetic(&self, seed: u64) -> Result<(DatasetName, Dataset)> {
        let read = |name| self.read(name, seed).map(|data| (name, data));
        match self.dataset {
            Some(name) => read(name),
            None => read(DatasetName::Ml100k).or_else(|error| {
                eprintln!("\n*** MovieLens 100K is not at hand: {error}");
                eprintln!("*** Going on with SYNTHETIC data: the films and the people below are made up.\n");
                read(DatasetName::Synthetic)
            }),
        }
    }

    fn read(&self, name: DatasetName, seed: u64) -> Result<Dataset> {
        let release = match name {
            DatasetName::Ml100k => MovieLens::Ml100k,
            DatasetName::Ml1m => MovieLens::Ml1m,
            DatasetName::MlLatestSmall => MovieLens::LatestSmall,
            DatasetName::Synthetic => return SyntheticConfig::new(1_000, 1_500, 100_000, seed).generate(),
        };
        release.read(self.folder(release)?)
    }

    #[cfg(feature = "download")]
    fn folder(&self, release: MovieLens) -> Result<PathBuf> {
        release.find_or_download(self.data_dir.as_deref())
    }

    #[cfg(not(feature = "download"))]
    fn folder(&self, release: MovieLens) -> Result<PathBuf> {
        use recsys::error::ErrorKind;
        let needed_for = "MovieLens is not in --data-dir or $RECSYS_DATA_DIR; fetching it".into();
        let absent = ErrorKind::FeatureDisabled { feature: "download", needed_for };
        release.find(self.data_dir.as_deref()).ok_or_else(|| absent.into())
    }
}
