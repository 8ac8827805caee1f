//! What is fuzzed: readers of outside bytes, and everything that can be saved and loaded.

use std::path::{Path, PathBuf};

use recsys::rng::Rng;

use crate::{binary, forms, json, tables, text};

/// Nothing where an input was accepted; where it was refused, the error.
pub type Told = Result<(), String>;

/// An input: which of the target's settings or files it belongs to, and the damaged bytes.
pub struct Input {
    pub variant: usize,
    pub content: Content,
}

pub enum Content {
    /// All that is read.
    Bytes(Vec<u8>),
    /// What stands in some of the files of a folder, by name; nothing where a file is gone.
    Files(Vec<(String, Option<Vec<u8>>)>),
}

impl Input {
    pub fn bytes(variant: usize, bytes: Vec<u8>) -> Self {
        Self { variant, content: Content::Bytes(bytes) }
    }

    /// The bytes of a reader of bytes.
    pub fn of_reader(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Files(_) => panic!("the reader takes bytes"),
        }
    }
}

/// A reader with its seeds.
pub trait Target {
    /// An input that depends on `rng` alone.
    fn input(&self, rng: &mut Rng) -> Input;

    /// Reads an input and uses what was read.
    fn read(&self, input: &Input) -> Told;

    /// All files of an input in a folder that is damaged; the undamaged ones too.
    fn whole(&self, input: &Input) -> Vec<(String, Vec<u8>)> {
        vec![("input".into(), input.of_reader().to_vec())]
    }

    /// The input of files that [`whole`](Self::whole) gave.
    fn again(&self, variant: usize, mut files: Vec<(String, Vec<u8>)>) -> Input {
        Input::bytes(variant, files.pop().expect("there is one file").1)
    }
}

/// How a target is made; the folder is for its files.
type Make = fn(&Path) -> Box<dyn Target>;

/// All targets by name, and their share of the time.
pub const TARGETS: &[(&str, u32, Make)] = &[
    ("csv", 2, text::csv),
    ("csv_quoted", 2, text::csv_quoted),
    ("csv_escaped", 2, text::csv_escaped),
    ("csv_values", 2, text::csv_values),
    ("item_lists", 1, text::item_lists),
    ("json_lines", 2, text::json_lines),
    ("gzip", 1, text::gzip),
    ("zip", 1, text::zip),
    ("tables", 2, tables::tables),
    ("json_tables", 2, tables::json_tables),
    ("known_tables", 2, tables::known),
    ("libfm", 1, tables::libfm),
    ("movielens", 2, text::movielens),
    ("parquet", 3, binary::parquet),
    ("parquet_tables", 3, binary::parquet_tables),
    ("parquet_vectors", 3, binary::parquet_vectors),
    ("npy", 1, binary::npy),
    ("safetensors_vectors", 1, binary::safetensors_vectors),
    ("safetensors_weights", 2, binary::safetensors_weights),
    ("index", 3, binary::index),
    ("schema", 2, json::schema),
    ("json_data", 1, json::data),
    ("json_features", 3, json::features),
    ("json_configs", 2, json::configs),
    ("json_stages", 3, json::stages),
    ("recaller_bundles", 4, forms::recallers),
    ("ranker_bundles", 4, forms::rankers),
    ("reranker_bundles", 2, forms::rerankers),
    ("embedding_bundles", 3, forms::embeddings),
    ("ranking_bundles", 3, forms::rankings),
    ("checkpoints", 4, forms::checkpoints),
];

pub fn make(name: &str, folder: &Path) -> Box<dyn Target> {
    let (_, _, make) = TARGETS.iter().find(|target| target.0 == name).expect("a name of the list");
    make(folder)
}

/// A reader of bytes: seeds, settings, and what it does with a file or the bytes themselves.
pub struct Reader {
    /// For each setting, in turn.
    pub seeds: Vec<Vec<Vec<u8>>>,
    /// How many settings there are.
    pub n_variants: usize,
    /// Where to put a file.
    pub file: PathBuf,
    /// How a seed is damaged; the default knows nothing of the reader.
    pub damage: fn(&mut Rng, &[Vec<u8>]) -> Vec<u8>,
    pub read: Box<ReadBytes>,
}

/// Reads bytes with the settings of a number; the path is for those that read files.
pub type ReadBytes = dyn Fn(usize, &[u8], &Path) -> Told;

impl Target for Reader {
    fn input(&self, rng: &mut Rng) -> Input {
        let variant = rng.below(self.n_variants);
        Input::bytes(variant, (self.damage)(rng, &self.seeds[variant % self.seeds.len()]))
    }

    fn read(&self, input: &Input) -> Told {
        (self.read)(input.variant, input.of_reader(), &self.file)
    }
}

/// Some seed, damaged; at times as it is.
pub fn damaged_seed(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let seed = &seeds[rng.below(seeds.len())];
    if crate::damage::one_in(rng, 100) {
        return seed.clone();
    }
    crate::damage::damaged(rng, seed, seeds)
}

/// What an input was told by whatever it met.
pub fn told<T>(result: recsys::error::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// Puts the bytes into the file and gives its path.
pub fn on_disk<'p>(file: &'p Path, bytes: &[u8]) -> &'p Path {
    std::fs::write(file, bytes).expect("the scratch folder can be written");
    file
}
