//! What the MovieLens examples share: their data sets, devices and protocols, and a run from data to report.

mod device;
mod embedding_map;
pub mod run;
#[allow(dead_code, reason = "not every example trains it")]
pub mod sasrec;
mod source;
pub mod two_tower;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recsys::data::MovieLens;
use recsys::metrics::DatasetFacts;
use recsys::prelude::*;

pub use device::DeviceName;
pub use source::{DatasetName, SourceArgs};

/// How results are measured. All hold out each user's last item for the test and the one before for
/// validation, rank the whole catalogue and mask what the user has seen; P2, P3 and P5 keep ratings of at least 4
/// and users with at least 5 of them. They differ in what they report; P5 also holds out more for validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Published results of sequence models: every row of a preprocessed file, hit rate and NDCG at 10.
    P1,
    /// The recall stage: recall at 10, 100 and 200.
    P2,
    /// Small data: hit rate at 10 and 100.
    P3,
    /// The funnel, out of fold: the later tenth of what each user did before the test is for validation, and for rankers.
    P5,
}

impl Protocol {
    /// The cut-offs to report.
    pub fn cutoffs(self) -> &'static [usize] {
        match self {
            Self::P2 | Self::P5 => &[10, 100, 200],
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
            Self::P5 => "p5",
        }
    }
}

/// The options that say which data to use, and how.
#[derive(Args, Debug)]
pub struct DataArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// How results are measured [default: p1 for a file of sequences, p2 for ml-1m, p3 otherwise]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
}

/// The share of each user's rows before the test that rankers learn from under P5.
const RANKING_SHARE: f64 = 0.1;

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
    fn new(name: Option<DatasetName>, protocol: Protocol, dataset: Dataset, label: String) -> Result<Self> {
        let facts = DatasetFacts::new(label, dataset.interactions());
        let split = match protocol {
            Protocol::P5 => Split::out_of_fold(dataset.interactions(), RANKING_SHARE)?,
            _ => Split::leave_one_out(dataset.interactions()),
        };
        Ok(Self { name, protocol, dataset, facts, split })
    }

    /// Whether it is one of the small data sets.
    pub fn is_small(&self) -> bool {
        self.name.is_some_and(|name| name != DatasetName::Ml1m)
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
            if self.source.dataset.is_some() || self.protocol.is_some_and(|protocol| protocol != Protocol::P1)
            {
                return Err("--sequences is measured under p1 and goes without --dataset".into());
            }
            return Ok(Self::prepare_sequences(file, file.display().to_string())?);
        }
        if self.protocol == Some(Protocol::P1) {
            if self.source.dataset.is_some_and(|name| name != DatasetName::Ml1m) {
                return Err("--protocol p1 is that of ml-1m, or of a file given by --sequences".into());
            }
            let file = MovieLens::Ml1m
                .find(self.source.data_dir.as_deref())
                .map(|folder| folder.join("sasrec/ml-1m.txt"));
            let file = file.filter(|file| file.exists()).ok_or(
                "--protocol p1 reads ml-1m/sasrec/ml-1m.txt in --data-dir or $RECSYS_DATA_DIR, the sequence file of \
                 the SASRec paper (lines `user item` in time order); name it by --sequences where it stands elsewhere",
            )?;
            return Ok(Self::prepare_sequences(&file, "MovieLens 1M, the SASRec paper's file".into())?);
        }
        let (name, dataset) = self.source.read_or_synthetic(seed)?;
        let protocol =
            self.protocol.unwrap_or(if name == DatasetName::Ml1m { Protocol::P2 } else { Protocol::P3 });
        let dataset = dataset.filter(|rows| rows.min_value(4.0).min_per_user(5))?.compact();
        let label = name.label();
        Prepared::new(Some(name), protocol, dataset, format!("{label}, rating ≥ 4, users with ≥ 5"))
            .map_err(Into::into)
    }

    /// Lines `user item`, each user's in the order of time.
    fn prepare_sequences(file: &PathBuf, label: String) -> Result<Prepared> {
        let reader = DelimitedReader::new(ColumnMap::new(1, 2)).delimiter(" ").without_header();
        Prepared::new(None, Protocol::P1, reader.read(file)?, label)
    }
}
