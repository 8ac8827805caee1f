//! What happened? Interactions, the keys behind their ids, and how they are read, filtered and split.

mod column_map;
mod csr;
mod dataset;
mod delimited;
mod interactions;
mod item_table;
mod rows;
mod source;
mod user_table;
mod vocab;
mod vocab_builder;

pub use column_map::{Column, ColumnMap};
pub use csr::Csr;
pub use dataset::Dataset;
pub use delimited::{DelimitedReader, Encoding};
pub use interactions::{Interaction, Interactions};
pub use item_table::ItemTable;
pub use user_table::UserTable;
pub use vocab::{Key, Vocab};
