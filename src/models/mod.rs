//! Which model? One file a model: its paper and equation, its configuration, its tests.

pub mod recall;
