//! What the MovieLens examples share: their data sets, devices and protocols, and a run from data to report.

mod device;
mod embedding_map;
pub mod run;
pub mod two_tower;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recsys::data::{MovieLens, SyntheticConfig};
use recsys::metrics::DatasetFacts;
use recsys::prelude::*;

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

/// How results are measured. All hold out each user's last item for the test and the one before for
/// validation, rank the whole catalogue and mask what the user has seen; P2 and P3 keep ratings of at least 4
/// and users with at least 5 of them. They differ in what they report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Published results of sequence models: every row of a preprocessed file, hit rate and NDCG at 10.
    P1,
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
            Self::P1 | Self::P3 => &[10, 100],
        }
    }

    /// The cut-off of the metric that early stopping watches.
    pub fn monitored(self) -> usize {
        10
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "p1",
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
    /// How results are measured [default: p1 for a file of sequences, p2 for ml-1m, p3 otherwise]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
}

/// A data set ready for a protocol.
pub struct Prepared {
    /// `None` for a file of sequences.
    pub name: Option<DatasetName>,
    pub protocol: Protocol,
    pub dataset: Dataset,
    pub facts: DatasetFacts,
    pub split: Split,
}

impl Prepared {
    /// The filtered rows of a data set, split.
    fn new(name: Option<DatasetName>, protocol: Protocol, dataset: Dataset, label: String) -> Self {
        let facts = DatasetFacts::new(label, dataset.interactions());
        let split = Split::leave_one_out(dataset.interactions());
        Self { name, protocol, dataset, facts, split }
    }

    /// How often each item occurs in the training data.
    pub fn item_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.dataset.n_items()];
        self.split.train.items().iter().for_each(|item| counts[item.index()] += 1);
        counts
    }
}

impl DataArgs {
    /// Reads, filters and splits the data; `sequences` is a file to be read in place of a data set.
    ///
    /// # Errors
    /// Options that exclude each other, or data that cannot be read.
    pub fn prepare(
        &self,
        sequences: Option<&PathBuf>,
        seed: u64,
    ) -> Result<Prepared, Box<dyn std::error::Error>> {
        if let Some(file) = sequences {
            if self.dataset.is_some() || self.protocol.is_some_and(|protocol| protocol != Protocol::P1) {
                return Err("--sequences is measured under p1 and goes without --dataset".into());
            }
            return Ok(Self::prepare_sequences(file, file.display().to_string())?);
        }
        if self.protocol == Some(Protocol::P1) {
            if self.dataset.is_some_and(|name| name != DatasetName::Ml1m) {
                return Err("--protocol p1 is that of ml-1m, or of a file given by --sequences".into());
            }
            let file =
                MovieLens::Ml1m.find(self.data_dir.as_deref()).map(|folder| folder.join("sasrec/ml-1m.txt"));
            let file = file.filter(|file| file.exists()).ok_or(
                "--protocol p1 reads ml-1m/sasrec/ml-1m.txt in --data-dir or $RECSYS_DATA_DIR, the sequence file of \
                 the SASRec paper (lines `user item` in time order); name it by --sequences where it stands elsewhere",
            )?;
            return Ok(Self::prepare_sequences(&file, "MovieLens 1M, the SASRec paper's file".into())?);
        }
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
        Ok(Prepared::new(Some(name), protocol, dataset, format!("{label}, rating ≥ 4, users with ≥ 5")))
    }

    /// Lines `user item`, each user's in the order of time.
    fn prepare_sequences(file: &PathBuf, label: String) -> Result<Prepared> {
        let reader = DelimitedReader::new(ColumnMap::new(1, 2)).delimiter(" ").without_header();
        Ok(Prepared::new(None, Protocol::P1, reader.read(file)?, label))
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
