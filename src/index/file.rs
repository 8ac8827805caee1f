//! The file of an index; the format is in the documentation of the folder's module.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::disk::corrupt;
use crate::error::{ErrorKind, Result};
use crate::index::exact::MAX_DIM;
use crate::index::graph::{Graph, GraphParts, LayerParts};
use crate::index::hnsw::SavedGraph;
use crate::index::similarity::{check_finite, check_norms};
use crate::index::{BuildReport, ExactIndex, HnswConfig, Similarity, VectorIndex};

const MAGIC: &[u8; 8] = b"RECSYSIX";
const VERSION: u32 = 1;
const CHECKSUM: usize = 32;
/// Numbers that are written at once.
const BLOCK: usize = 1 << 13;

#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    similarity: Similarity,
    dim: usize,
    n_items: usize,
    graph: Option<GraphHeader>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GraphHeader {
    config: HnswConfig,
    report: BuildReport,
    /// The numbers of nodes and of links of each layer, top first; none where no graph was built.
    layers: Vec<(usize, usize)>,
}

impl Header {
    pub(super) fn new(exact: &ExactIndex, graph: Option<GraphHeader>) -> Self {
        let (similarity, dim, n_items) = (exact.similarity(), exact.dim(), exact.len());
        Self { similarity, dim, n_items, graph }
    }
}

impl GraphHeader {
    pub(super) fn new(config: &HnswConfig, report: &BuildReport, parts: Option<&GraphParts>) -> Self {
        let layers = parts.iter().flat_map(|parts| &parts.layers);
        let layers = layers.map(|layer| (layer.degrees.len(), layer.links.len())).collect();
        Self { config: config.clone(), report: report.clone(), layers }
    }
}

impl GraphParts {
    /// All numbers in the order of the file.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let layers = self.layers.iter().flat_map(|layer| layer.degrees.iter().chain(&layer.links));
        self.items.iter().chain(layers).copied()
    }
}

/// Writes an index.
pub(super) fn write(to: &mut dyn Write, header: &Header, vectors: &[f32], graph: &[u32]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let mut to = Hashed { to, hash: Sha256::new() };
    to.write_all(MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    to.write_all(&(header.len() as u32).to_le_bytes())?;
    to.write_all(&header)?;
    write_words(&mut to, vectors, |x| x.to_le_bytes())?;
    write_words(&mut to, graph, |x| x.to_le_bytes())?;
    let checksum = to.hash.finalize();
    to.to.write_all(&checksum)
}

fn write_words<T: Copy>(to: &mut impl Write, words: &[T], bytes: impl Fn(T) -> [u8; 4]) -> io::Result<()> {
    let mut block = Vec::with_capacity(4 * BLOCK);
    words.chunks(BLOCK).try_for_each(|words| {
        block.clear();
        block.extend(words.iter().flat_map(|&word| bytes(word)));
        to.write_all(&block)
    })
}

/// What is written is hashed on its way.
struct Hashed<'a> {
    to: &'a mut dyn Write,
    hash: Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What a file holds.
pub(super) struct SavedIndex {
    pub(super) exact: ExactIndex,
    pub(super) graph: Option<SavedGraph>,
}

impl SavedIndex {
    /// Checks and reads the bytes of a file.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut rest = Rest { bytes: checked_body(path, bytes)?, path };
        let header_len = rest.u32s(1)?[0] as usize;
        let header: Header = serde_json::from_slice(rest.take(header_len)?)
            .map_err(|error| corrupt(path, "a header in JSON", error.to_string()))?;
        let exact = rest.exact(&header)?;
        let graph = header.graph.map(|graph| rest.graph(&exact, graph)).transpose()?;
        match rest.bytes.len() {
            0 => Ok(Self { exact, graph }),
            more => Err(corrupt(path, "the end of the file", format!("{more} more bytes"))),
        }
    }
}

/// What stands between the version and the checksum, once both are found right.
fn checked_body<'a>(path: &'a Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| corrupt(path, "a file that starts with `RECSYSIX`", "another start"))?;
    let mut rest = Rest { bytes: body, path };
    match rest.u32s(1)?[0] {
        VERSION => {}
        found => {
            let (path, supported) = (path.to_path_buf(), VERSION);
            return Err(ErrorKind::UnsupportedVersion { path, found, supported }.into());
        }
    }
    let Some((body, checksum)) = rest.bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(corrupt(path, "a checksum", "the end of the file"));
    };
    let end = bytes.len() - CHECKSUM;
    if Sha256::digest(&bytes[..end])[..] != checksum[..] {
        return Err(corrupt(path, "the SHA-256 that the file ends with", "other bytes"));
    }
    Ok(body)
}

/// The bytes not yet read.
struct Rest<'a> {
    bytes: &'a [u8],
    path: &'a Path,
}

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(n) else {
            let found = format!("{}", self.bytes.len());
            return Err(corrupt(self.path, format!("{n} more bytes"), found));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn words(&mut self, n: usize) -> Result<impl Iterator<Item = [u8; 4]> + 'a> {
        Ok(self.take(n.saturating_mul(4))?.as_chunks().0.iter().copied())
    }

    fn u32s(&mut self, n: usize) -> Result<Vec<u32>> {
        Ok(self.words(n)?.map(u32::from_le_bytes).collect())
    }

    fn exact(&mut self, header: &Header) -> Result<ExactIndex> {
        let &Header { similarity, dim, n_items, .. } = header;
        if !(1..=MAX_DIM).contains(&dim) || n_items >= u32::MAX as usize {
            let found = format!("{n_items} items of width {dim}");
            return Err(corrupt(self.path, "fewer than 2^32 - 1 items, of width 1 to 2^20", found));
        }
        let vectors: Vec<f32> = self.words(n_items.saturating_mul(dim))?.map(f32::from_le_bytes).collect();
        check_finite("item vector", &vectors)
            .and_then(|()| check_norms(&vectors, dim))
            .map_err(|error| corrupt(self.path, "finite vectors", error.to_string()))?;
        Ok(ExactIndex::from_prepared(similarity, dim, &vectors))
    }

    fn graph(&mut self, exact: &ExactIndex, header: GraphHeader) -> Result<SavedGraph> {
        let GraphHeader { config, report, layers } = header;
        config.validate().map_err(|error| corrupt(self.path, "settings of a graph", error.to_string()))?;
        if layers.is_empty() {
            return Ok(SavedGraph { graph: None, config, report });
        }
        let items = self.u32s(exact.len())?;
        let layers = layers
            .into_iter()
            .map(|(nodes, links)| Ok(LayerParts { degrees: self.u32s(nodes)?, links: self.u32s(links)? }))
            .collect::<Result<_>>()?;
        let graph = Graph::from_parts(exact, GraphParts { items, layers })
            .map_err(|found| corrupt(self.path, "a graph over the items", found))?;
        Ok(SavedGraph { graph: Some(graph), config, report })
    }
}
