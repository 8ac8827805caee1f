//! What happened? Interactions, the keys behind their ids, and how they are read, filtered and split.

mod csr;
mod dataset;
mod interactions;
mod item_table;
mod user_table;
mod vocab;

pub use csr::Csr;
pub use dataset::Dataset;
pub use interactions::{Interaction, Interactions};
pub use item_table::ItemTable;
pub use user_table::UserTable;
pub use vocab::{Key, Vocab};
