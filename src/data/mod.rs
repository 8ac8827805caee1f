//! What happened? Interactions, the keys behind their ids, and how they are read, filtered and split.

mod csr;
mod dataset;
mod filters;
mod interactions;
mod item_table;
mod sequences;
mod splits;
mod synthetic;
#[cfg(test)]
mod testing;
mod user_table;
mod vocab;

pub use csr::Csr;
pub use dataset::Dataset;
pub use filters::Keep;
pub use interactions::{Interaction, Interactions};
pub use item_table::ItemTable;
pub use sequences::Sequences;
pub use splits::{DropReason, Dropped, Split};
pub use synthetic::SyntheticConfig;
pub use user_table::UserTable;
pub use vocab::{Key, Vocab};
