//! The navigable small-world graph of an [`HnswIndex`](crate::index::HnswIndex): `instant-distance`
//! builds it, and this module searches it, with a beam that can be widened and filtered per query.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use instant_distance::{Builder, Heuristic};
use pulp::{Simd, WithSimd};
use rayon::ThreadPoolBuilder;
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::index::ExactIndex;
use crate::index::VectorIndex;
use crate::index::kernels::{ROW_LANES, dispatch, dot, dots, score};
use crate::top_k::TopK;

/// A hierarchical graph over the vectors of an [`ExactIndex`] of the same items.
pub(super) struct Graph {
    /// The vector of each node, padded with zeros to `width`.
    rows: Vec<f32>,
    width: usize,
    dim: usize,
    /// The item of each node.
    items: Vec<ItemId>,
    /// From the top to the layer that holds every node; node 0 is in all of them.
    layers: Vec<Layer>,
    scratch: Mutex<Vec<Scratch>>,
}

/// The links of the nodes `0..n` of one layer.
pub(super) struct Layer {
    /// Where each node's links start in `links`, and their end.
    starts: Vec<usize>,
    links: Vec<u32>,
}

/// A graph in parts, as a file holds it.
pub(super) struct GraphParts {
    pub(super) items: Vec<u32>,
    pub(super) layers: Vec<LayerParts>,
}

/// The number of links of each node, and all links.
pub(super) struct LayerParts {
    pub(super) degrees: Vec<u32>,
    pub(super) links: Vec<u32>,
}

/// Rows scored together, so that their reads of memory overlap.
const TOGETHER: usize = 4;

impl Graph {
    /// Builds the graph of these items.
    pub(super) fn build(
        exact: &ExactIndex,
        ef_construction: usize,
        seed: u64,
        threads: usize,
    ) -> Result<Self> {
        let (rows, width) = equal_norm_rows(exact);
        let points = rows.chunks_exact(width).map(Point).collect();
        // A link to a node that another link leads to anyway is dropped, not kept to fill the slots: fewer
        // links are faster to build and to search.
        let heuristic = Heuristic { extend_candidates: false, keep_pruned: false };
        let builder =
            Builder::default().ef_construction(ef_construction).select_heuristic(Some(heuristic)).seed(seed);
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
            Error::config("HnswConfig::n_build_threads", "a number of threads that can be started", error)
        })?;
        let (hnsw, nodes) = pool.install(|| builder.build_hnsw(points));
        let mut items = vec![0; nodes.len()];
        for (item, node) in nodes.into_iter().enumerate() {
            items[node.into_inner() as usize] = item as u32;
        }
        let layers = Built::from(&hnsw).layers();
        Ok(Self::from_valid(exact, GraphParts { items, layers }))
    }

    /// The graph of these parts, or what is wrong with them.
    pub(super) fn from_parts(exact: &ExactIndex, parts: GraphParts) -> Result<Self, &'static str> {
        let n = exact.len();
        let mut found = vec![false; n];
        for &item in &parts.items {
            match found.get_mut(item as usize) {
                Some(found @ false) => *found = true,
                _ => return Err("a node whose item is unknown or has two nodes"),
            }
        }
        if parts.items.len() != n || parts.layers.last().is_none_or(|layer| layer.degrees.len() != n) {
            return Err("another number of nodes than items");
        }
        if !parts.layers.is_sorted_by_key(|layer| layer.degrees.len()) {
            return Err("a layer with more nodes than the one below");
        }
        for layer in &parts.layers {
            let size = layer.degrees.len();
            if size == 0 || size > n {
                return Err("a layer without nodes, or with more than there are items");
            }
            if layer.degrees.iter().map(|&degree| degree as usize).sum::<usize>() != layer.links.len() {
                return Err("another number of links than the degrees add up to");
            }
            if layer.links.iter().any(|&node| node as usize >= size) {
                return Err("a link to a node that is not in the layer");
            }
        }
        Ok(Self::from_valid(exact, parts))
    }

    fn from_valid(exact: &ExactIndex, parts: GraphParts) -> Self {
        let dim = exact.dim();
        let width = dim.next_multiple_of(ROW_LANES);
        let mut rows = vec![0.0; parts.items.len() * width];
        for (row, &item) in rows.chunks_exact_mut(width).zip(&parts.items) {
            row.iter_mut().zip(exact.row(item as usize)).for_each(|(to, x)| *to = x);
        }
        let items = parts.items.into_iter().map(ItemId).collect();
        let layers = parts.layers.into_iter().map(Layer::from).collect();
        Self { rows, width, dim, items, layers, scratch: Mutex::default() }
    }

    pub(super) fn parts(&self) -> GraphParts {
        let items = self.items.iter().map(|item| item.0).collect();
        let layers = self.layers.iter().map(Layer::parts).collect();
        GraphParts { items, layers }
    }

    /// The `k` admissible items nearest to a prepared query, by a beam of `ef` admissible nodes; `None`
    /// when fewer were found in the first `budget` nodes.
    pub(super) fn top_k(
        &self,
        query: &[f32],
        k: usize,
        ef: usize,
        filter: &ItemFilter,
        budget: usize,
    ) -> Option<Vec<(ItemId, f32)>> {
        let mut scratch = self.scratch().pop().unwrap_or_default();
        scratch.query.clear();
        scratch.query.extend_from_slice(query);
        scratch.query.resize(self.width, 0.0);
        let search = Search { graph: self, scratch: &mut scratch, k, ef: ef.max(k), filter, budget };
        let answer = dispatch(search);
        self.scratch().push(scratch);
        answer
    }

    fn scratch(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, node: u32) -> &[f32] {
        &self.rows[node as usize * self.width..][..self.width]
    }
}

impl Layer {
    #[inline(always)]
    fn links(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.links[self.starts[node]..self.starts[node + 1]]
    }

    fn parts(&self) -> LayerParts {
        let degrees = self.starts.windows(2).map(|ends| (ends[1] - ends[0]) as u32).collect();
        LayerParts { degrees, links: self.links.clone() }
    }
}

impl From<LayerParts> for Layer {
    fn from(parts: LayerParts) -> Self {
        let mut starts = vec![0];
        starts.extend(parts.degrees.iter().scan(0, |end, &degree| {
            *end += degree as usize;
            Some(*end)
        }));
        Self { starts, links: parts.links }
    }
}

/// A vector of the graph, as its builder sees it.
#[derive(Clone, Copy)]
struct Point<'a>(&'a [f32]);

impl instant_distance::Point for Point<'_> {
    /// Between vectors of one norm M, and from any query to them, the negated inner product orders as
    /// the Euclidean distance does: `|a − b|² = |a|² + M² − 2 a·b`.
    fn distance(&self, other: &Self) -> f32 {
        -dot(self.0, other.0)
    }
}

/// The vectors are known already: only the links are read from a built graph.
impl Serialize for Point<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// The rows, lengthened to one norm M by a coordinate `√(M² − |x|²)`, which turns the largest inner
/// product into the smallest distance (Bachrach et al. 2014, "Speeding up the Xbox recommender system
/// using a Euclidean transformation for inner-product spaces"); a query has 0 there. Rows that have one
/// norm already stay as they are.
fn equal_norm_rows(exact: &ExactIndex) -> (Vec<f32>, usize) {
    let norms: Vec<f64> =
        (0..exact.len()).map(|item| exact.row(item).map(|x| f64::from(x).powi(2)).sum()).collect();
    let largest = norms.iter().copied().fold(0.0, f64::max);
    let equal = norms.iter().all(|norm| largest - norm <= 1e-5 * largest);
    let width = (exact.dim() + usize::from(!equal)).next_multiple_of(ROW_LANES);
    let mut rows = vec![0.0; exact.len() * width];
    for (item, row) in rows.chunks_exact_mut(width).enumerate() {
        row.iter_mut().zip(exact.row(item)).for_each(|(to, x)| *to = x);
        if !equal {
            row[exact.dim()] = (largest - norms[item]).sqrt() as f32;
        }
    }
    (rows, width)
}

/// The part of a serialised `instant_distance::Hnsw` that this module needs: the one way to its links.
#[derive(Deserialize)]
struct Built {
    zero: Vec<Vec<u32>>,
    /// From the layer above `zero` to the top.
    layers: Vec<Vec<Vec<u32>>>,
}

impl Built {
    fn from(hnsw: &instant_distance::Hnsw<Point<'_>>) -> Self {
        serde_json::to_vec(hnsw)
            .and_then(|json| serde_json::from_slice(&json))
            .expect("a graph of instant-distance 0.6 has the fields `zero` and `layers`")
    }

    fn layers(self) -> Vec<LayerParts> {
        let mut layers: Vec<_> = [self.zero].into_iter().chain(self.layers).map(LayerParts::from).collect();
        layers.reverse();
        layers
    }
}

impl From<Vec<Vec<u32>>> for LayerParts {
    /// Each node has a fixed number of slots; `u32::MAX` ends the links.
    fn from(nodes: Vec<Vec<u32>>) -> Self {
        let mut parts = Self { degrees: Vec::with_capacity(nodes.len()), links: Vec::new() };
        for slots in nodes {
            let before = parts.links.len();
            parts.links.extend(slots.into_iter().take_while(|&node| node != u32::MAX));
            parts.degrees.push((parts.links.len() - before) as u32);
        }
        parts
    }
}

/// What a search writes on, kept for the next.
#[derive(Default)]
struct Scratch {
    query: Vec<f32>,
    visited: Visited,
    /// Unvisited links of the node at hand, and their scores.
    nodes: Vec<u32>,
    scores: Vec<f32>,
    /// Nodes to expand, the best on top.
    open: BinaryHeap<Key>,
    /// The best admissible nodes, the worst on top.
    beam: BinaryHeap<Reverse<Key>>,
}

/// A node with its score, in one word whose order is the order of the scores, then of smaller nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    #[inline(always)]
    fn new(node: u32, score: f32) -> Self {
        // The bits of an f32 order as an integer once the negative ones are flipped (IEEE 754, totalOrder).
        let bits = score.to_bits();
        let ordered = bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000);
        Self(u64::from(ordered) << 32 | u64::from(!node))
    }

    #[inline(always)]
    fn node(self) -> u32 {
        !(self.0 as u32)
    }
}

/// A set of nodes that empties in constant time.
#[derive(Default)]
struct Visited {
    marks: Vec<u8>,
    mark: u8,
}

impl Visited {
    fn clear(&mut self, n: usize) {
        if self.marks.len() != n || self.mark == u8::MAX {
            self.marks.clear();
            self.marks.resize(n, 0);
            self.mark = 0;
        }
        self.mark += 1;
    }

    /// Whether the node is new.
    #[inline(always)]
    fn insert(&mut self, node: u32) -> bool {
        let mark = &mut self.marks[node as usize];
        let new = *mark != self.mark;
        *mark = self.mark;
        new
    }
}

/// One query: greedy descent to the lowest layer, then a beam (Malkov & Yashunin 2018, algorithms 2
/// and 5). Nodes that the filter refuses are walked through, but take no place in the beam.
struct Search<'a> {
    graph: &'a Graph,
    scratch: &'a mut Scratch,
    k: usize,
    ef: usize,
    filter: &'a ItemFilter,
    budget: usize,
}

impl WithSimd for Search<'_> {
    type Output = Option<Vec<(ItemId, f32)>>;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> Self::Output {
        let (lowest, upper) = self.graph.layers.split_last()?;
        let [score] = dots(simd, &self.scratch.query, [self.graph.row(0)]);
        let mut entry = Key::new(0, score);
        for layer in upper {
            entry = self.descend(simd, layer, entry);
        }
        self.spread(simd, lowest, entry).then(|| self.answer::<S>())
    }
}

impl Search<'_> {
    /// The node of this layer from which no link leads nearer.
    #[inline(always)]
    fn descend<S: Simd>(&mut self, simd: S, layer: &Layer, mut nearest: Key) -> Key {
        loop {
            self.scratch.nodes.clear();
            self.scratch.nodes.extend_from_slice(layer.links(nearest.node()));
            self.score_nodes(simd);
            let keys =
                self.scratch.nodes.iter().zip(&self.scratch.scores).map(|(&node, &s)| Key::new(node, s));
            match keys.max() {
                Some(next) if next > nearest => nearest = next,
                _ => return nearest,
            }
        }
    }

    /// Fills the beam from `entry`; whether `k` admissible nodes were found within the budget.
    #[inline(always)]
    fn spread<S: Simd>(&mut self, simd: S, layer: &Layer, entry: Key) -> bool {
        self.scratch.visited.clear(self.graph.items.len());
        self.scratch.open.clear();
        self.scratch.beam.clear();
        self.scratch.visited.insert(entry.node());
        self.offer(entry);
        let mut n_visited = 1;
        while let Some(node) = self.scratch.open.pop() {
            if self.is_full() && self.scratch.beam.peek().is_some_and(|worst| node < worst.0) {
                break;
            }
            let Scratch { nodes, visited, .. } = &mut *self.scratch;
            nodes.clear();
            nodes.extend(layer.links(node.node()).iter().filter(|&&link| visited.insert(link)));
            n_visited += nodes.len();
            if n_visited > self.budget {
                return false;
            }
            self.score_nodes(simd);
            for i in 0..self.scratch.nodes.len() {
                self.offer(Key::new(self.scratch.nodes[i], self.scratch.scores[i]));
            }
        }
        self.scratch.beam.len() >= self.k
    }

    fn is_full(&self) -> bool {
        self.scratch.beam.len() >= self.ef
    }

    #[inline(always)]
    fn offer(&mut self, key: Key) {
        let full = self.is_full();
        if full && self.scratch.beam.peek().is_some_and(|worst| key < worst.0) {
            return;
        }
        self.scratch.open.push(key);
        if !self.filter.admits(self.graph.items[key.node() as usize]) {
            return;
        }
        if !full {
            self.scratch.beam.push(Reverse(key));
        } else if let Some(mut worst) = self.scratch.beam.peek_mut() {
            *worst = Reverse(key);
        }
    }

    /// Scores `scratch.nodes` into `scratch.scores`.
    #[inline(always)]
    fn score_nodes<S: Simd>(&mut self, simd: S) {
        let Scratch { query, nodes, scores, .. } = &mut *self.scratch;
        scores.clear();
        let (together, rest) = nodes.as_chunks::<TOGETHER>();
        for nodes in together {
            scores.extend(dots(simd, query, nodes.map(|node| self.graph.row(node))));
        }
        for &node in rest {
            scores.extend(dots(simd, query, [self.graph.row(node)]));
        }
    }

    /// The best of the beam, scored as a scan scores them.
    #[inline(always)]
    fn answer<S: Simd>(&self) -> Vec<(ItemId, f32)> {
        let mut top = TopK::new(self.k);
        let query = &self.scratch.query[..self.graph.dim];
        for Reverse(key) in &self.scratch.beam {
            let row = &self.graph.row(key.node())[..self.graph.dim];
            top.push(self.graph.items[key.node() as usize], score::<S>(query, row));
        }
        top.into_sorted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Similarity;

    #[test]
    fn layers_grow_downwards() {
        let exact = ExactIndex::new(Similarity::InnerProduct, 1, vec![1.0, 2.0, 3.0]).unwrap();
        let of_sizes = |sizes: &[usize]| {
            let layer = |&size: &usize| LayerParts { degrees: vec![0; size], links: Vec::new() };
            let layers = sizes.iter().map(layer).collect();
            Graph::from_parts(&exact, GraphParts { items: vec![0, 1, 2], layers }).map(|_| ())
        };
        assert_eq!(of_sizes(&[1, 2, 3]), Ok(()));
        assert_eq!(of_sizes(&[3, 1, 3]), Err("a layer with more nodes than the one below"));
    }
}
