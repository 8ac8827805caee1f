//! What the MovieLens examples share: their data sets, devices and protocols.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recsys::data::{Dataset, MovieLens, Split, SyntheticConfig};
use recsys::error::Result;
use recsys::metrics::DatasetFacts;

mod device;

pub use device::DeviceName;

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

/// How results are measured. Both protocols keep ratings of at least 4 and users with at least 5 of them,
/// hold out each user's last item for the test and the one before for validation, rank the whole catalogue
/// and mask what the user has seen; they differ in what they report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The recall stage: recall at 10, 100 and 200.
    P2,
    /// Small data: hit rate at 10 and 100.
    P3,
}

impl Protocol {
    /// The cut-offs to report.
    pub fn cutoffs(self) -> &'static [usize] {
        match self {
            Self::P2 => &[10, 100, 200],
            Self::P3 => &[10, 100],
        }
    }

    /// The metric that early stopping watches.
    pub fn monitored(self) -> usize {
        10
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::P2 => "p2",
            Self::P3 => "p3",
        }
    }
}

/// The options that say which data to use.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// The data set [default: ml-100k if it is found or can be downloaded, else synthetic]
    #[arg(long, value_enum)]
    pub dataset: Option<DatasetName>,
    /// The folder that holds the data sets as subfolders; what is not there is fetched into it [default:
    /// $RECSYS_DATA_DIR, then the cache folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How results are measured [default: p2 for ml-1m, p3 otherwise]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
}

/// A data set ready for a protocol.
pub struct Prepared {
    pub name: DatasetName,
    pub protocol: Protocol,
    pub dataset: Dataset,
    pub facts: DatasetFacts,
    pub split: Split,
}

impl DataArgs {
    /// Reads, filters and splits the data.
    pub fn prepare(&self, seed: u64) -> Result<Prepared> {
        let (name, dataset) = match self.dataset {
            Some(name) => (name, self.read(name, seed)?),
            None => self.read(DatasetName::Ml100k, seed).map(|data| (DatasetName::Ml100k, data)).or_else(
                |error| {
                    eprintln!("\n*** MovieLens 100K is not at hand: {error}");
                    eprintln!(
                        "*** Going on with SYNTHETIC data: the films and the people below are made up.\n"
                    );
                    self.read(DatasetName::Synthetic, seed).map(|data| (DatasetName::Synthetic, data))
                },
            )?,
        };
        let protocol =
            self.protocol.unwrap_or(if name == DatasetName::Ml1m { Protocol::P2 } else { Protocol::P3 });
        let dataset = dataset.filter(|rows| rows.min_value(4.0).min_per_user(5))?.compact();
        let label = match name {
            DatasetName::Ml100k => "MovieLens 100K",
            DatasetName::Ml1m => "MovieLens 1M",
            DatasetName::MlLatestSmall => "MovieLens latest-small",
            DatasetName::Synthetic => "SYNTHETIC",
        };
        let facts = DatasetFacts::new(format!("{label}, rating ≥ 4, users with ≥ 5"), dataset.interactions());
        let split = Split::leave_one_out(dataset.interactions());
        Ok(Prepared { name, protocol, dataset, facts, split })
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
