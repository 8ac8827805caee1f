use std::fmt;
use std::io::{self, Write};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::index::file::{self, Header};
use crate::index::kernels::{BLOCK, TILE_ITEMS, TILE_QUERIES, dispatch, tile};
use crate::index::{Similarity, VectorIndex};
use crate::top_k::TopK;

/// Scores every item: the oracle, and the fastest index for small catalogues.
///
/// Vectors are held in blocks of 64 items, coordinate by coordinate, so that one instruction works on
/// several items. A query with an allow list reads only the blocks that hold an allowed item.
///
/// ```
/// use recsys::prelude::*;
///
/// # fn main() -> Result<()> {
/// let index = ExactIndex::new(Similarity::Cosine, 2, vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0])?;
/// let seen = ItemFilter::all().deny([ItemId(0)]);
/// let nearest = index.search(&[3.0, 0.0], 2, &seen)?;
/// assert_eq!(nearest, [(ItemId(1), 0.5f32.sqrt()), (ItemId(2), 0.0)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExactIndex {
    similarity: Similarity,
    dim: usize,
    n_items: usize,
    /// Blocks of `dim` × [`BLOCK`] numbers; zeros pad the last block.
    blocks: Vec<f32>,
}

/// The widest vector.
pub(super) const MAX_DIM: usize = 1 << 20;

/// Queries that share one pass over the items: they stay in the first cache beside a block.
const BATCH: usize = 8 * TILE_QUERIES;

impl ExactIndex {
    /// The index of these row-major vectors, `dim` numbers each; row `i` is `ItemId(i)`.
    ///
    /// # Errors
    /// A width of 0 or above 2²⁰, a length that is no multiple of the width, 2³² − 1 vectors or more, a number that is
    /// not finite, or (for inner products) a vector longer than 1e19.
    pub fn new(similarity: Similarity, dim: usize, mut vectors: Vec<f32>) -> Result<Self> {
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(Error::config("ExactIndex::dim", "a width in 1..=1048576", dim));
        }
        let n_items = vectors.len() / dim;
        if n_items * dim != vectors.len() {
            let expected = n_items * dim;
            let what = "numbers in the item matrix, a multiple of the width";
            return Err(ErrorKind::LengthMismatch { what, expected, found: vectors.len() }.into());
        }
        if n_items >= u32::MAX as usize {
            let (id, bound) = (n_items as u64, u64::from(u32::MAX));
            return Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into());
        }
        similarity.prepare("item vector", &mut vectors, dim)?;
        Ok(Self::from_prepared(similarity, dim, &vectors))
    }

    /// The index of vectors that [`Similarity::prepare`] has seen.
    pub(super) fn from_prepared(similarity: Similarity, dim: usize, vectors: &[f32]) -> Self {
        let n_items = vectors.len() / dim;
        let mut blocks = vec![0.0; n_items.div_ceil(BLOCK) * BLOCK * dim];
        for (block, rows) in blocks.chunks_exact_mut(BLOCK * dim).zip(vectors.chunks(BLOCK * dim)) {
            for (lane, row) in rows.chunks_exact(dim).enumerate() {
                for (lanes, &x) in block.chunks_exact_mut(BLOCK).zip(row) {
                    lanes[lane] = x;
                }
            }
        }
        Self { similarity, dim, n_items, blocks }
    }

    /// The prepared vectors, row-major in the order of item ids.
    pub(super) fn rows(&self) -> Vec<f32> {
        (0..self.n_items).flat_map(|item| self.row(item)).collect()
    }

    pub(super) fn row(&self, item: usize) -> impl Iterator<Item = f32> + '_ {
        let block = &self.blocks[item / BLOCK * BLOCK * self.dim..][..BLOCK * self.dim];
        block[item % BLOCK..].iter().step_by(BLOCK).copied()
    }

    /// [`search`](VectorIndex::search) with a query that is prepared.
    pub(super) fn top_k(&self, query: &[f32], k: usize, filter: &ItemFilter) -> Vec<(ItemId, f32)> {
        let mut best = Best::new(k, self.n_items, filter);
        match (k, filter.allowed()) {
            (0, _) => {}
            (_, None) => dispatch(Scan { index: self, query, best: &mut best }),
            (_, Some(allowed)) => dispatch(Pick { index: self, query, allowed, best: &mut best }),
        }
        best.top.into_sorted()
    }

    /// [`top_k`](Self::top_k) for at most [`BATCH`] queries: those without an allow list share one pass.
    fn top_k_batch(&self, queries: &[f32], k: usize, filters: &[&ItemFilter]) -> Vec<Vec<(ItemId, f32)>> {
        let row = |row: usize| &queries[row * self.dim..][..self.dim];
        let (scanned, picked): (Vec<_>, Vec<_>) =
            (0..filters.len()).partition(|&row| k > 0 && filters[row].allowed().is_none());
        let mut answers = vec![Vec::new(); filters.len()];
        for i in picked {
            answers[i] = self.top_k(row(i), k, filters[i]);
        }
        let mut groups: Vec<_> = scanned
            .chunks(TILE_QUERIES)
            .map(|rows| Group {
                packed: pack(rows.iter().map(|&i| row(i)), self.dim),
                best: rows.iter().map(|&i| Best::new(k, self.n_items, filters[i])).collect(),
            })
            .collect();
        dispatch(ScanGroups { index: self, groups: &mut groups });
        let best = groups.into_iter().flat_map(|group| group.best);
        for (i, best) in scanned.into_iter().zip(best) {
            answers[i] = best.top.into_sorted();
        }
        answers
    }

    fn blocks(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.blocks.chunks_exact(BLOCK * self.dim).enumerate().map(|(b, block)| (b * BLOCK, block))
    }
}

impl VectorIndex for ExactIndex {
    fn len(&self) -> usize {
        self.n_items
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn similarity(&self) -> Similarity {
        self.similarity
    }

    fn vector(&self, item: ItemId) -> Result<Vec<f32>> {
        if item.index() < self.n_items {
            return Ok(self.row(item.index()).collect());
        }
        let (id, bound) = (item.0.into(), self.n_items as u64);
        Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into())
    }

    fn search(&self, query: &[f32], k: usize, filter: &ItemFilter) -> Result<Vec<(ItemId, f32)>> {
        Ok(self.top_k(&self.similarity.query(query, self.dim)?, k, filter))
    }

    fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        filters: &[&ItemFilter],
    ) -> Result<Vec<Vec<(ItemId, f32)>>> {
        let queries = self.similarity.queries(queries, filters.len(), self.dim)?;
        let share = filters.len().div_ceil(rayon::current_num_threads());
        let batch = share.next_multiple_of(TILE_QUERIES).clamp(TILE_QUERIES, BATCH);
        let answers: Vec<_> = filters
            .par_chunks(batch)
            .zip(queries.par_chunks(batch * self.dim))
            .map(|(filters, queries)| self.top_k_batch(queries, k, filters))
            .collect();
        Ok(answers.into_iter().flatten().collect())
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        file::write(to, &Header::new(self, None), &self.rows(), &[])
    }
}

impl fmt::Debug for ExactIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactIndex")
            .field("similarity", &self.similarity)
            .field("dim", &self.dim)
            .field("n_items", &self.n_items)
            .finish_non_exhaustive()
    }
}

/// The best admissible items of one query so far.
struct Best<'a> {
    top: TopK,
    /// `top.threshold()`, beside the scores it is compared with.
    threshold: f32,
    n_items: usize,
    filter: &'a ItemFilter,
}

impl<'a> Best<'a> {
    fn new(k: usize, n_items: usize, filter: &'a ItemFilter) -> Self {
        Self { top: TopK::new(k.min(n_items)), threshold: f32::NEG_INFINITY, n_items, filter }
    }

    /// Offers the items from `first` on; one comparison a vector of scores when none of them is kept.
    #[inline(always)]
    fn offer(&mut self, first: usize, scores: &[f32]) {
        let threshold = self.threshold;
        if scores.iter().fold(false, |any, &score| any | (score >= threshold)) {
            self.push(first, scores);
        }
    }

    #[inline(never)]
    fn push(&mut self, first: usize, scores: &[f32]) {
        for (item, &score) in (first..self.n_items).zip(scores) {
            let item = ItemId(item as u32);
            if score >= self.threshold && self.filter.admits(item) {
                self.top.push(item, score);
                self.threshold = self.top.threshold();
            }
        }
    }
}

/// One query over all items.
struct Scan<'a, 'f> {
    index: &'a ExactIndex,
    query: &'a [f32],
    best: &'a mut Best<'f>,
}

impl WithSimd for Scan<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (first, block) in self.index.blocks() {
            let [scores] = tile::<S, 1, BLOCK>(self.query, block, 0);
            self.best.offer(first, &scores);
        }
    }
}

/// One query over the tiles that hold an allowed item.
struct Pick<'a, 'f> {
    index: &'a ExactIndex,
    query: &'a [f32],
    /// Sorted.
    allowed: &'a [ItemId],
    best: &'a mut Best<'f>,
}

impl WithSimd for Pick<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let held = self.allowed.partition_point(|item| item.index() < self.index.n_items);
        let tile_of = |item: &ItemId| item.index() / TILE_ITEMS;
        for items in self.allowed[..held].chunk_by(|a, b| tile_of(a) == tile_of(b)) {
            let first = tile_of(&items[0]) * TILE_ITEMS;
            let width = BLOCK * self.index.dim;
            let block = &self.index.blocks[first / BLOCK * width..][..width];
            let [scores] = tile::<S, 1, TILE_ITEMS>(self.query, block, first % BLOCK);
            self.best.offer(first, &scores);
        }
    }
}

/// As many queries as a register tile has rows, packed for [`tile`].
struct Group<'a> {
    packed: Vec<f32>,
    best: Vec<Best<'a>>,
}

/// Up to [`TILE_QUERIES`] rows coordinate by coordinate, with zeros for those that lack.
fn pack<'a>(rows: impl Iterator<Item = &'a [f32]>, dim: usize) -> Vec<f32> {
    let mut packed = vec![0.0; dim * TILE_QUERIES];
    for (q, row) in rows.enumerate() {
        for (lanes, &x) in packed.chunks_exact_mut(TILE_QUERIES).zip(row) {
            lanes[q] = x;
        }
    }
    packed
}

/// Many queries over all items: each block is read once for all groups.
struct ScanGroups<'a, 'f> {
    index: &'a ExactIndex,
    groups: &'a mut [Group<'f>],
}

impl WithSimd for ScanGroups<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (first, block) in self.index.blocks() {
            for group in &mut *self.groups {
                for lane in (0..BLOCK).step_by(TILE_ITEMS) {
                    let scores = tile::<S, TILE_QUERIES, TILE_ITEMS>(&group.packed, block, lane);
                    for (best, scores) in group.best.iter_mut().zip(&scores) {
                        best.offer(first + lane, scores);
                    }
                }
            }
        }
    }
}
