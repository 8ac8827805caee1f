//! The names that most programs need: `use recsys::prelude::*;`.

pub use crate::data::{
    Csr, Dataset, Interaction, Interactions, ItemTable, Keep, Key, Sequences, Split, SyntheticConfig,
    UserTable, Vocab,
};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::ids::{ItemFilter, ItemId, UserId};
pub use crate::pipeline::{Candidate, Query, Ranker, Recaller, Reranker};
