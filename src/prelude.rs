//! The names that most programs need: `use recsys::prelude::*;`.

pub use burn::tensor::Device;

pub use crate::data::{
    ColumnMap, Csr, Dataset, DelimitedReader, Encoding, Interaction, Interactions, ItemTable,
    JsonLinesReader, Keep, Key, MovieLens, Sequences, Split, SyntheticConfig, TimeUnit, UserTable, Vocab,
};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::features::ItemFeatures;
pub use crate::ids::{ItemFilter, ItemId, UserId};
pub use crate::index::{ExactIndex, HnswConfig, HnswIndex, Similarity, VectorIndex};
pub use crate::pipeline::{
    Candidate, EmbeddingModel, Pipeline, Query, QueryEncoder, Ranker, Recaller, Reranker,
};
