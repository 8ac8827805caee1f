//! Which vectors are near? Two indexes behind one trait: an exact scan, and a graph with measured recall.
//!
//! Row `i` of the vectors given to an index is [`ItemId`](crate::ids::ItemId)`(i)`. The scan
//! ([`ExactIndex`]) is the oracle, and the right choice up to some ten thousand items; the graph
//! ([`HnswIndex`]) is for larger catalogues, and falls back to the scan where a graph does not pay.
//!
//! # File format
//! Both indexes are saved in one format, version 1, all numbers little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | the text `RECSYSIX` |
//! | 4 | format version, `u32` |
//! | 4 | length of the header, `u32` |
//! | header | JSON: similarity, width, number of items; for a graph its settings, report and layer sizes |
//! | 4·n·d | the vectors, `f32`, row-major in the order of item ids (normalised for cosine) |
//! | graph only | item of each node, `u32`; then for each layer, top first, the degree of each node and all links, `u32` |
//! | 32 | SHA-256 of everything before |

mod exact;
mod file;
mod graph;
mod hnsw;
mod kernels;
mod similarity;
mod vector_index;

#[cfg(test)]
mod contract;

pub use exact::ExactIndex;
pub use hnsw::{BuildReport, Fallback, HnswConfig, HnswIndex};
pub use similarity::Similarity;
pub use vector_index::{VectorIndex, load, parse};
