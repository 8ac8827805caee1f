//! What happened? Interactions, the keys behind their ids, and how they are read, filtered and split.

mod column_map;
mod csr;
mod dataset;
mod decode;
pub(crate) mod delimited;
#[cfg(feature = "download")]
mod download;
mod fields;
mod filters;
mod incidence;
mod interactions;
mod inverted_index;
mod item_similarities;
mod item_table;
pub(crate) mod json_lines;
mod movielens;
mod packed;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
mod recency;
mod rows;
mod sequences;
pub(crate) mod source;
mod sparse_accumulator;
mod splits;
mod synthetic;
#[cfg(test)]
mod testing;
pub(crate) mod text;
mod texts;
mod times;
mod user_item_matrix;
mod user_table;
mod vocab;
mod vocab_builder;

pub(crate) use column_map::find_column;
pub use column_map::{Column, ColumnMap};
pub use csr::Csr;
pub use dataset::Dataset;
pub(crate) use decode::decode;
pub use delimited::{DelimitedReader, ItemListReader};
pub use fields::Encoding;
pub(crate) use fields::{natural_number, number};
pub use filters::Keep;
pub(crate) use incidence::Incidence;
pub use interactions::{Interaction, Interactions};
pub(crate) use inverted_index::InvertedIndex;
pub(crate) use item_similarities::ItemSimilarities;
pub use item_table::ItemTable;
pub use json_lines::JsonLinesReader;
pub use movielens::MovieLens;
#[cfg(feature = "parquet")]
pub use parquet::{read_parquet, read_record_batches, to_record_batches, write_parquet};
pub(crate) use recency::{check_half_life, recency_weights};
pub use sequences::Sequences;
pub(crate) use sparse_accumulator::SparseAccumulator;
pub use splits::{DropReason, Dropped, Split};
pub use synthetic::SyntheticConfig;
pub(crate) use texts::Texts;
pub use times::TimeUnit;
pub use user_item_matrix::UserItemMatrix;
pub use user_table::UserTable;
pub use vocab::{Key, Vocab};
