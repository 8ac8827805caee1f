use std::fmt::Debug;
use std::io::{self, Write};
use std::path::Path;

use crate::disk;
use crate::error::Result;
use crate::ids::{ItemFilter, ItemId};
use crate::index::file::SavedIndex;
use crate::index::{ExactIndex, HnswIndex, Similarity};

/// Finds the items whose vectors are most similar to a query vector.
///
/// The filter acts **inside** the search: `k` admissible items come back whenever the index holds as
/// many, and all admissible ones where it holds fewer. Ids in a filter that the index does not hold
/// change nothing. Results are in the order of [`by_score`](crate::top_k::by_score), with the true
/// similarity as the score: two indexes of the same vectors give an item the same score to the last bit.
pub trait VectorIndex: Debug + Send + Sync {
    /// The number of items.
    fn len(&self) -> usize;

    /// Whether there is no item.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The width of a vector.
    fn dim(&self) -> usize;

    /// How vectors are compared.
    fn similarity(&self) -> Similarity;

    /// The vector of an item, as the index holds it: of length 1 (or 0) under [`Similarity::Cosine`].
    ///
    /// # Errors
    /// An item that the index does not hold.
    fn vector(&self, item: ItemId) -> Result<Vec<f32>>;

    /// The `k` admissible items most similar to `query`, best first, with their similarities.
    ///
    /// # Errors
    /// A query of another width than [`dim`](Self::dim), with a number that is not finite, or (for inner
    /// products) longer than 1e19.
    fn search(&self, query: &[f32], k: usize, filter: &ItemFilter) -> Result<Vec<(ItemId, f32)>>;

    /// The answers to many queries, the rows of a row-major matrix, each with its filter: row by row
    /// equal to [`search`](Self::search), and computed on all threads of the current rayon pool.
    ///
    /// # Errors
    /// As [`search`](Self::search), and a matrix that is not `filters.len()` × [`dim`](Self::dim).
    fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        filters: &[&ItemFilter],
    ) -> Result<Vec<Vec<(ItemId, f32)>>>;

    /// Writes the index in the [format](crate::index#file-format) that [`load`] and [`parse`] read.
    ///
    /// # Errors
    /// What `to` returns.
    fn write(&self, to: &mut dyn Write) -> io::Result<()>;

    /// Writes the index to one file, which appears whole or not at all.
    ///
    /// # Errors
    /// What the file system refuses.
    fn save(&self, path: &Path) -> Result<()> {
        disk::write_file(path, |file| self.write(file))
    }
}

/// Reads an index of either kind, as [`VectorIndex::save`] wrote it.
///
/// # Errors
/// A file that cannot be read, is damaged, or has a newer format.
pub fn load(path: impl AsRef<Path>) -> Result<Box<dyn VectorIndex>> {
    parse(&disk::read_file(path.as_ref())?, path.as_ref())
}

/// The index of either kind in these bytes, as [`VectorIndex::write`] wrote it; `path` says in errors where they stood.
///
/// # Errors
/// Bytes that are damaged, or of a newer format.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Box<dyn VectorIndex>> {
    Ok(match SavedIndex::parse(bytes, path)? {
        SavedIndex { exact, graph: None } => Box::new(exact) as Box<dyn VectorIndex>,
        SavedIndex { exact, graph: Some(graph) } => Box::new(HnswIndex::from_saved(exact, graph)),
    })
}

impl ExactIndex {
    /// Reads an index that [`VectorIndex::save`] wrote; of a graph, the vectors alone.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Ok(SavedIndex::parse(&disk::read_file(path.as_ref())?, path.as_ref())?.exact)
    }
}
