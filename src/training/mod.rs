//! How do we fit? A module that yields a loss, and the trainer that lowers it.

mod trainable;

pub use trainable::{BatchSource, Trainable};
