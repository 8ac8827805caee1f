use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::index::file::{self, GraphHeader, Header, SavedIndex};
use crate::index::graph::Graph;
use crate::index::{ExactIndex, Similarity, VectorIndex};
use crate::rng::Rng;

/// The settings of an [`HnswIndex`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `ef_construction` | 100 | ≥ 1 | more makes a better graph, slower |
/// | `ef_search` | 64 | ≥ 1 | more finds more, slower |
/// | `seed` | 0 | any | the graph, and the sample that measures recall |
/// | `min_items_for_graph` | 10,000 | any | with fewer items a scan is as fast, and exact |
/// | `min_recall` | 0.95 | 0..=1 | with a lower measured recall@10 every query is a scan |
/// | `n_recall_queries` | 500 | ≥ 1 | more measures the recall more precisely |
/// | `n_build_threads` | 1 | 1 to 1,024 | more builds faster, and no longer the same graph each time |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HnswConfig {
    /// Nodes kept in sight while a node is linked.
    pub ef_construction: usize,
    /// Admissible nodes kept in sight while a query is answered; `k` where that is more.
    pub ef_search: usize,
    /// The seed of the graph's layers and of the sample that measures recall.
    pub seed: u64,
    /// With fewer items no graph is built.
    pub min_items_for_graph: usize,
    /// With a lower measured recall@10 the graph is not used.
    pub min_recall: f64,
    /// Items drawn as queries to measure the recall.
    pub n_recall_queries: usize,
    /// Threads that build the graph. With several, the links depend on which thread comes first, so that
    /// a seed gives one graph with one thread only.
    pub n_build_threads: usize,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self {
            ef_construction: 100,
            ef_search: 64,
            seed: 0,
            min_items_for_graph: 10_000,
            min_recall: 0.95,
            n_recall_queries: 500,
            n_build_threads: 1,
        }
    }
}

const MAX_THREADS: usize = 1024;

impl HnswConfig {
    pub(super) fn validate(&self) -> Result<()> {
        let counts = [
            ("HnswConfig::ef_construction", self.ef_construction),
            ("HnswConfig::ef_search", self.ef_search),
            ("HnswConfig::n_recall_queries", self.n_recall_queries),
            ("HnswConfig::n_build_threads", self.n_build_threads),
        ];
        if let Some((field, count)) = counts.into_iter().find(|&(_, count)| count == 0) {
            return Err(Error::config(field, "at least 1", count));
        }
        if self.n_build_threads > MAX_THREADS {
            let expected = format!("at most {MAX_THREADS}");
            return Err(Error::config("HnswConfig::n_build_threads", expected, self.n_build_threads));
        }
        if !(0.0..=1.0).contains(&self.min_recall) {
            return Err(Error::config("HnswConfig::min_recall", "a number in 0..=1", self.min_recall));
        }
        Ok(())
    }
}

/// What came of building an [`HnswIndex`]; prints as one sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildReport {
    /// The number of items.
    pub n_items: usize,
    /// Share of the true 10 nearest items that the graph finds, over `n_recall_queries` items of the
    /// index as queries, each without itself; `None` where no graph was built.
    pub recall_at_10: Option<f64>,
    /// The number of items that served as queries.
    pub n_recall_queries: usize,
    /// Why every query is answered by a scan; `None` where the graph answers.
    pub fallback: Option<Fallback>,
    /// Wall time of the build, without the measurement of recall; zero for an index that was loaded.
    #[serde(skip)]
    pub build_time: Duration,
}

/// Why an [`HnswIndex`] scans.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// There are fewer items than [`HnswConfig::min_items_for_graph`].
    FewItems,
    /// The measured recall is below [`HnswConfig::min_recall`].
    LowRecall,
}

impl fmt::Display for BuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items in {:.1} s", self.n_items, self.build_time.as_secs_f64())?;
        if let Some(recall) = self.recall_at_10 {
            write!(f, ", recall@10 {recall:.4} over {} items as queries", self.n_recall_queries)?;
        }
        f.write_str(match self.fallback {
            None => "",
            Some(Fallback::FewItems) => ": too few for a graph, so every query is a scan",
            Some(Fallback::LowRecall) => ": too low, so every query is a scan",
        })
    }
}

/// A hierarchical navigable small-world graph (Malkov & Yashunin 2018): approximate, with the recall
/// measured when it is built, and a scan where a graph does not pay.
///
/// A query is answered by an exact scan when there are few items, when the measured recall is too low
/// (both are said in the [report](Self::report)), when `k` or a deny list is so large or an allow list
/// so small that the graph would have to visit much of the catalogue, and when the graph has not found
/// `k` admissible items. The index holds its vectors twice, for the graph and for the scan.
///
/// ```
/// use recsys::index::{Fallback, HnswIndex};
/// use recsys::prelude::*;
///
/// # fn main() -> Result<()> {
/// let vectors = vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0];
/// let index = HnswIndex::build(Similarity::Cosine, 2, vectors, &HnswConfig::default())?;
/// assert_eq!(index.report().fallback, Some(Fallback::FewItems));
/// assert_eq!(index.search(&[1.0, 0.0], 1, &ItemFilter::all())?, [(ItemId(0), 1.0)]);
/// # Ok(())
/// # }
/// ```
pub struct HnswIndex {
    exact: ExactIndex,
    graph: Option<Graph>,
    config: HnswConfig,
    report: BuildReport,
}

/// What [`file`] holds of an [`HnswIndex`] besides its vectors.
pub(super) struct SavedGraph {
    pub(super) graph: Option<Graph>,
    pub(super) config: HnswConfig,
    pub(super) report: BuildReport,
}

/// A graph whose search would visit more than one in this many items is not used: a scan reads items in
/// order, at a fraction of the cost of each.
const SCAN_SHARE: usize = 4;
const RECALL_K: usize = 10;

impl HnswIndex {
    /// Builds the index of these row-major vectors, `dim` numbers each; row `i` is `ItemId(i)`.
    ///
    /// # Errors
    /// A setting out of range, and as [`ExactIndex::new`].
    pub fn build(similarity: Similarity, dim: usize, vectors: Vec<f32>, config: &HnswConfig) -> Result<Self> {
        config.validate()?;
        let start = Instant::now();
        let exact = ExactIndex::new(similarity, dim, vectors)?;
        let n_items = exact.len();
        let graph = if n_items == 0 || n_items < config.min_items_for_graph {
            None
        } else {
            Some(Graph::build(&exact, config.ef_construction, config.seed, config.n_build_threads)?)
        };
        let report = BuildReport {
            n_items,
            recall_at_10: None,
            n_recall_queries: 0,
            fallback: graph.is_none().then_some(Fallback::FewItems),
            build_time: start.elapsed(),
        };
        Ok(Self { exact, graph, config: config.clone(), report }.measured())
    }

    /// The same index with another [`HnswConfig::ef_search`]; the recall is measured again, and decides
    /// again whether the graph answers.
    ///
    /// # Errors
    /// 0.
    pub fn with_ef_search(mut self, ef_search: usize) -> Result<Self> {
        self.config.ef_search = ef_search;
        self.config.validate()?;
        Ok(self.measured())
    }

    /// The settings.
    pub fn config(&self) -> &HnswConfig {
        &self.config
    }

    /// What came of the build.
    pub fn report(&self) -> &BuildReport {
        &self.report
    }

    /// Reads an index that [`VectorIndex::save`] wrote.
    ///
    /// # Errors
    /// As [`load`](crate::index::load), and a file that holds an [`ExactIndex`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let SavedIndex { exact, graph } = SavedIndex::parse(&disk::read_file(path)?, path)?;
        let (expected, found) = ("an HNSW index".into(), "an exact index".into());
        let other = || ErrorKind::WrongKind { path: path.to_path_buf(), expected, found }.into();
        graph.map(|graph| Self::from_saved(exact, graph)).ok_or_else(other)
    }

    pub(super) fn from_saved(exact: ExactIndex, saved: SavedGraph) -> Self {
        let SavedGraph { graph, config, report } = saved;
        Self { exact, graph, config, report }
    }

    /// Measures the recall on a seeded sample of the items, and decides whether the graph answers.
    fn measured(mut self) -> Self {
        let Some(graph) = &self.graph else { return self };
        let mut rng = Rng::stream(self.config.seed, &[1]);
        let n_queries = self.config.n_recall_queries.min(self.exact.len());
        let mut items: Vec<_> = (0..self.exact.len() as u32).map(ItemId).collect();
        rng.shuffle(&mut items);
        let near = RECALL_K.min(self.exact.len() - 1);
        let hits: usize = items[..n_queries].par_iter().map(|&item| self.hits(graph, item)).sum();
        let recall = if near == 0 { 1.0 } else { hits as f64 / (n_queries * near) as f64 };
        self.report.recall_at_10 = Some(recall);
        self.report.n_recall_queries = n_queries;
        self.report.fallback = (recall < self.config.min_recall).then_some(Fallback::LowRecall);
        self
    }

    /// How many of the items near this one the graph finds; any of several with one score will do.
    fn hits(&self, graph: &Graph, item: ItemId) -> usize {
        let query: Vec<f32> = self.exact.row(item.index()).collect();
        let others = ItemFilter::all().deny([item]);
        let truth = self.exact.top_k(&query, RECALL_K, &others);
        let worst = truth.last().map_or(f32::INFINITY, |&(_, score)| score);
        let found = graph.top_k(&query, truth.len(), self.config.ef_search, &others, usize::MAX);
        found.into_iter().flatten().filter(|&(_, score)| score >= worst).count()
    }

    fn top_k(&self, query: &[f32], k: usize, filter: &ItemFilter) -> Vec<(ItemId, f32)> {
        self.graph_answer(query, k, filter).unwrap_or_else(|| self.exact.top_k(query, k, filter))
    }

    /// The graph's answer, where it has one and is likely to be cheaper than a scan.
    fn graph_answer(&self, query: &[f32], k: usize, filter: &ItemFilter) -> Option<Vec<(ItemId, f32)>> {
        let graph = self.graph.as_ref().filter(|_| self.report.fallback.is_none())?;
        let budget = self.exact.len() / SCAN_SHARE;
        let few_allowed = filter.allowed().is_some_and(|allowed| allowed.len() < budget);
        if few_allowed || k > budget {
            return None;
        }
        graph.top_k(query, k, self.config.ef_search, filter, budget)
    }
}

impl VectorIndex for HnswIndex {
    fn len(&self) -> usize {
        self.exact.len()
    }

    fn dim(&self) -> usize {
        self.exact.dim()
    }

    fn similarity(&self) -> Similarity {
        self.exact.similarity()
    }

    fn vector(&self, item: ItemId) -> Result<Vec<f32>> {
        self.exact.vector(item)
    }

    fn search(&self, query: &[f32], k: usize, filter: &ItemFilter) -> Result<Vec<(ItemId, f32)>> {
        Ok(self.top_k(&self.similarity().query(query, self.dim())?, k, filter))
    }

    fn search_batch(
        &self,
        queries: &[f32],
        k: usize,
        filters: &[&ItemFilter],
    ) -> Result<Vec<Vec<(ItemId, f32)>>> {
        if self.report.fallback.is_some() {
            return self.exact.search_batch(queries, k, filters);
        }
        let queries = self.similarity().queries(queries, filters.len(), self.dim())?;
        let rows = queries.par_chunks_exact(self.dim()).zip(filters);
        Ok(rows.map(|(query, filter)| self.top_k(query, k, filter)).collect())
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let parts = self.graph.as_ref().map(Graph::parts);
        let header = GraphHeader::new(&self.config, &self.report, parts.as_ref());
        let numbers = parts.iter().flat_map(|parts| parts.numbers()).collect::<Vec<_>>();
        file::write(to, &Header::new(&self.exact, Some(header)), &self.exact.rows(), &numbers)
    }
}

impl fmt::Debug for HnswIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HnswIndex")
            .field("exact", &self.exact)
            .field("config", &self.config)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
