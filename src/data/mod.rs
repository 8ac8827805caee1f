//! What happened? Interactions, the keys behind their ids, and how they are read, filtered and split.

//T mod csr;
//T mod dataset;
mod interactions;
mod sequences;
//T mod item_table;
//T mod user_table;
mod vocab;

//T pub use csr::Csr;
//T pub use dataset::Dataset;
pub use sequences::Sequences;
pub use interactions::{Interaction, Interactions};
//T pub use item_table::ItemTable;
//T pub use user_table::UserTable;
pub use vocab::{Key, Vocab};
