//! What happened? Interactions, the keys behind their ids, and how they are read, filtered and split.

mod interactions;
mod vocab;

pub use interactions::{Interaction, Interactions};
pub use vocab::{Key, Vocab};
