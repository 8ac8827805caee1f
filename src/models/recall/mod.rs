//! Models of the recall stage: each narrows the catalogue to candidates.

mod popularity;

pub use popularity::PopularityRecaller;
