//! What every [`VectorIndex`] must do, run over the exact index and over graphs that really answer.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::error::ErrorKind;
use crate::ids::{ItemFilter, ItemId};
use crate::index::{ExactIndex, Fallback, HnswConfig, HnswIndex, Similarity, VectorIndex, load};
use crate::rng::Rng;
use crate::top_k::by_score;

/// Small whole numbers, whose inner products have no rounding.
fn whole_numbers(n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n * dim).map(|_| rng.below(9) as f32 - 4.0).collect()
}

fn gaussian(n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n * dim).map(|_| rng.normal() as f32).collect()
}

/// Every item sorted by the float64 inner product or cosine.
fn naive(similarity: Similarity, vectors: &[f32], query: &[f32], filter: &ItemFilter) -> Vec<(ItemId, f32)> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    // A sum of no or of negative zeros is -0, which the order puts below 0.
    let dot = |a: &[f32], b: &[f32]| dot(a, b) + 0.0;
    let score = |row: &[f32]| match (similarity, (dot(row, row) * dot(query, query)).sqrt()) {
        (Similarity::InnerProduct, _) => dot(row, query),
        (Similarity::Cosine, 0.0) => 0.0,
        (Similarity::Cosine, norms) => dot(row, query) / norms,
    };
    let rows = vectors.chunks_exact(query.len()).enumerate();
    let mut scored: Vec<_> = rows
        .map(|(item, row)| (ItemId(item as u32), score(row) as f32))
        .filter(|&(item, _)| filter.admits(item))
        .collect();
    scored.sort_by(|&a, &b| by_score(a, b));
    scored
}

fn exact(similarity: Similarity, dim: usize, vectors: &[f32]) -> Box<dyn VectorIndex> {
    Box::new(ExactIndex::new(similarity, dim, vectors.to_vec()).unwrap())
}

/// A graph of any size, whatever its recall.
const GRAPH: HnswConfig = HnswConfig {
    ef_construction: 64,
    ef_search: 64,
    seed: 3,
    min_items_for_graph: 0,
    min_recall: 0.0,
    n_recall_queries: 50,
    n_build_threads: 1,
};

fn hnsw(similarity: Similarity, dim: usize, vectors: &[f32]) -> Box<dyn VectorIndex> {
    Box::new(HnswIndex::build(similarity, dim, vectors.to_vec(), &GRAPH).unwrap())
}

type Build = fn(Similarity, usize, &[f32]) -> Box<dyn VectorIndex>;

const INDEXES: [Build; 2] = [exact, hnsw];
const SIMILARITIES: [Similarity; 2] = [Similarity::InnerProduct, Similarity::Cosine];

/// Filters over 500 items: none, a few or most denied, few or most allowed, ids that do not exist.
fn filters() -> Vec<ItemFilter> {
    let ids = |range: std::ops::Range<u32>| range.map(ItemId);
    vec![
        ItemFilter::all(),
        ItemFilter::all().deny(ids(3..30)),
        ItemFilter::all().deny(ids(7..495)),
        ItemFilter::all().deny(ids(0..9999)),
        ItemFilter::all().allow([ItemId(499), ItemId(0), ItemId(250)]),
        ItemFilter::all().allow(ids(20..450)).deny(ids(0..100)),
        ItemFilter::all().allow(ids(490..600)).deny([ItemId(495), ItemId(700)]),
        ItemFilter::all().allow([]),
    ]
}

#[test]
fn all_admissible_items_come_back_in_order_up_to_k() {
    for build in INDEXES {
        for similarity in SIMILARITIES {
            let (vectors, queries) = (gaussian(500, 13, 1), gaussian(8, 13, 2));
            let index = build(similarity, 13, &vectors);
            assert_eq!((index.len(), index.dim(), index.is_empty()), (500, 13, false));
            for (query, filter) in queries.chunks_exact(13).zip(filters()) {
                let truth = naive(similarity, &vectors, query, &filter);
                for k in [0, 1, 10, 499, 500, 501, usize::MAX] {
                    let found = index.search(query, k, &filter).unwrap();
                    assert_eq!(found.len(), truth.len().min(k), "{index:?} {filter:?} {k}");
                    assert!(found.iter().all(|&(item, _)| filter.admits(item)));
                    assert!(found.is_sorted_by(|&a, &b| by_score(a, b).is_lt()));
                    for &(item, score) in &found {
                        let (_, true_score) = truth.iter().find(|&&(other, _)| other == item).unwrap();
                        assert!((score - true_score).abs() < 1e-5, "{item}: {score} {true_score}");
                    }
                }
            }
        }
    }
}

/// With nothing denied, and with the 100 nearest items of the query denied.
#[test]
fn a_graph_finds_what_a_scan_finds_with_the_same_scores() {
    for similarity in SIMILARITIES {
        let (vectors, queries) = (gaussian(2000, 37, 4), gaussian(50, 37, 5));
        let (exact, graph) = (exact(similarity, 37, &vectors), hnsw(similarity, 37, &vectors));
        for n_denied in [0, 100] {
            let mut hits = 0;
            for query in queries.chunks_exact(37) {
                let sorted = exact.search(query, 2000, &ItemFilter::all()).unwrap();
                let (denied, truth) = sorted.split_at(n_denied);
                let filter = ItemFilter::all().deny(denied.iter().map(|&(item, _)| item));
                let found = graph.search(query, 10, &filter).unwrap();
                assert_eq!(found.len(), 10);
                assert!(found.iter().all(|answer| truth.contains(answer)));
                hits += found.iter().filter(|answer| truth[..10].contains(answer)).count();
            }
            assert!(hits >= 450, "{hits} of 500");
        }
    }
}

#[test]
fn a_batch_equals_its_rows() {
    for build in INDEXES {
        for similarity in SIMILARITIES {
            let vectors = gaussian(500, 10, 6);
            let index = build(similarity, 10, &vectors);
            for n_queries in [0, 1, 5, 8, 101] {
                let queries = gaussian(n_queries, 10, 7);
                let filters: Vec<_> = filters().into_iter().cycle().take(n_queries).collect();
                let batch = index.search_batch(&queries, 12, &filters.iter().collect::<Vec<_>>()).unwrap();
                let rows = queries.chunks_exact(10).zip(&filters);
                let single: Vec<_> = rows.map(|(q, filter)| index.search(q, 12, filter).unwrap()).collect();
                assert_eq!(batch, single);
            }
        }
    }
}

#[test]
fn equal_scores_come_in_the_order_of_ids() {
    for build in INDEXES {
        let index = build(Similarity::InnerProduct, 3, &[1.0, -2.0, 0.5].repeat(200));
        let found = index.search(&[1.0, 1.0, 1.0], 200, &ItemFilter::all()).unwrap();
        assert_eq!(found, (0..200).map(|i| (ItemId(i), -0.5)).collect::<Vec<_>>());
    }
}

#[test]
fn a_zero_vector_has_similarity_zero() {
    for build in INDEXES {
        for similarity in SIMILARITIES {
            let index = build(similarity, 2, &[0.0, 0.0, 3.0, 4.0, -3.0, -4.0]);
            let found = index.search(&[0.6, 0.8], 3, &ItemFilter::all()).unwrap();
            let ids: Vec<_> = found.iter().map(|(item, _)| item.0).collect();
            assert_eq!(ids, [1, 0, 2]);
            assert_eq!(found[1].1, 0.0);
            let found = index.search(&[0.0, 0.0], 3, &ItemFilter::all()).unwrap();
            assert!(found.iter().all(|&(_, score)| score == 0.0) && found.len() == 3);
        }
    }
}

#[test]
fn an_empty_index_answers_nothing() {
    for build in INDEXES {
        let index = build(Similarity::Cosine, 4, &[]);
        assert!(index.is_empty());
        assert_eq!(index.search(&[1.0; 4], 5, &ItemFilter::all()).unwrap(), []);
        let folder = tempfile::tempdir().unwrap();
        index.save(&folder.path().join("index")).unwrap();
        assert!(load(folder.path().join("index")).unwrap().is_empty());
    }
}

#[test]
fn bad_queries_are_refused() {
    for build in INDEXES {
        let index = build(Similarity::InnerProduct, 4, &gaussian(50, 4, 8));
        let filter = ItemFilter::all();
        let error = |query: &[f32]| index.search(query, 1, &filter).unwrap_err();
        for query in [&[][..], &[1.0; 3], &[1.0; 5]] {
            assert!(matches!(error(query).kind(), ErrorKind::LengthMismatch { expected: 4, .. }));
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = error(&[0.0, 0.0, bad, 0.0]);
            assert!(matches!(error.kind(), ErrorKind::NonFinite { index: 2, .. }), "{error}");
            let error = index.search_batch(&[1.0, 1.0, 1.0, 1.0, bad, 0.0, 0.0, 0.0], 1, &[&filter, &filter]);
            assert!(matches!(error.unwrap_err().kind(), ErrorKind::NonFinite { index: 4, .. }));
        }
        assert!(matches!(error(&[1e30; 4]).kind(), ErrorKind::InvalidInput { .. }));
        let error = index.search_batch(&[1.0; 9], 1, &[&filter, &filter]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::LengthMismatch { expected: 8, found: 9, .. }));
        assert!(index.search_batch(&[1.0; 8], 1, &[&filter]).is_err());
        let error = index.vector(ItemId(50)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::IdOutOfRange { id: 50, bound: 50, .. }));
    }
}

#[test]
fn bad_vectors_are_refused() {
    for similarity in SIMILARITIES {
        let error = |dim, vectors: &[f32]| ExactIndex::new(similarity, dim, vectors.to_vec()).unwrap_err();
        for dim in [0, usize::MAX] {
            assert!(matches!(error(dim, &[]).kind(), ErrorKind::InvalidConfig { .. }));
        }
        assert!(matches!(error(2, &[1.0; 3]).kind(), ErrorKind::LengthMismatch { .. }));
        assert!(matches!(error(2, &[1.0, f32::NAN]).kind(), ErrorKind::NonFinite { index: 1, .. }));
    }
    let error = ExactIndex::new(Similarity::InnerProduct, 1, vec![1.0, 2e19]).unwrap_err().to_string();
    assert!(
        error.starts_with("input, line 2: expected a vector of length at most 1e19, found length"),
        "{error}"
    );
    let huge = ExactIndex::new(Similarity::Cosine, 2, vec![3e38, 0.0, 1e-44, 0.0]).unwrap();
    let found = huge.search(&[1e38, 0.0], 2, &ItemFilter::all()).unwrap();
    assert_eq!(found, [(ItemId(0), 1.0), (ItemId(1), 1.0)]);
}

#[test]
fn a_saved_index_answers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for build in INDEXES {
        for similarity in SIMILARITIES {
            let path = folder.path().join("index");
            let index = build(similarity, 9, &gaussian(700, 9, 9));
            index.save(&path).unwrap();
            let loaded = load(&path).unwrap();
            assert_eq!(
                format!("{loaded:?}").split("build_time").next(),
                format!("{index:?}").split("build_time").next()
            );
            for query in gaussian(20, 9, 10).chunks_exact(9) {
                for filter in filters() {
                    let answers = [&loaded, &index].map(|index| index.search(query, 10, &filter).unwrap());
                    assert_eq!(answers[0], answers[1]);
                }
            }
            loaded.save(&folder.path().join("again")).unwrap();
            assert_eq!(fs::read(&path).unwrap(), fs::read(folder.path().join("again")).unwrap());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no scratch file is left");
        }
    }
}

#[test]
fn a_seed_gives_one_graph() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, config: &HnswConfig| {
        let path = folder.path().join(name);
        HnswIndex::build(Similarity::Cosine, 8, gaussian(3000, 8, 11), config).unwrap().save(&path).unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(bytes("a", &GRAPH), bytes("b", &GRAPH));
    assert_ne!(bytes("a", &GRAPH), bytes("c", &HnswConfig { seed: 4, ..GRAPH }));
}

#[test]
fn a_graph_that_does_not_pay_is_not_used() {
    let vectors = gaussian(3000, 24, 12);
    let build = |config: &HnswConfig| HnswIndex::build(Similarity::InnerProduct, 24, vectors.clone(), config);
    let small = build(&HnswConfig::default()).unwrap();
    assert_eq!((small.report().fallback, small.report().recall_at_10), (Some(Fallback::FewItems), None));

    let poor = build(&HnswConfig { ef_construction: 1, ef_search: 1, min_recall: 1.0, ..GRAPH }).unwrap();
    assert_eq!(poor.report().fallback, Some(Fallback::LowRecall));
    assert!(poor.report().recall_at_10.unwrap() < 1.0);
    assert!(poor.report().to_string().ends_with("too low, so every query is a scan"));
    let query = gaussian(1, 24, 13);
    let truth = exact(Similarity::InnerProduct, 24, &vectors).search(&query, 10, &ItemFilter::all()).unwrap();
    assert_eq!(poor.search(&query, 10, &ItemFilter::all()).unwrap(), truth);

    let good = build(&GRAPH).unwrap();
    assert_eq!(good.report().fallback, None);
    let before = good.report().recall_at_10.unwrap();
    let wide = good.with_ef_search(500).unwrap();
    let after = wide.report().recall_at_10.unwrap();
    assert!(after >= before.max(0.98), "{before} {after}");
    assert_eq!(wide.config().ef_search, 500);
    assert!(wide.with_ef_search(0).is_err());
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |config: HnswConfig| {
        let error = HnswIndex::build(Similarity::Cosine, 2, vec![1.0; 8], &config).unwrap_err();
        matches!(error.kind(), ErrorKind::InvalidConfig { .. })
    };
    assert!(refused(HnswConfig { ef_construction: 0, ..GRAPH }));
    assert!(refused(HnswConfig { ef_search: 0, ..GRAPH }));
    assert!(refused(HnswConfig { n_recall_queries: 0, ..GRAPH }));
    assert!(refused(HnswConfig { n_build_threads: 0, ..GRAPH }));
    assert!(refused(HnswConfig { min_recall: 1.5, ..GRAPH }));
    assert!(refused(HnswConfig { min_recall: f64::NAN, ..GRAPH }));
}

/// The bytes of a small graph's file.
fn saved_graph(folder: &Path) -> Vec<u8> {
    let path = folder.join("whole");
    hnsw(Similarity::InnerProduct, 3, &gaussian(60, 3, 14)).save(&path).unwrap();
    fs::read(path).unwrap()
}

fn load_bytes(folder: &Path, bytes: &[u8]) -> crate::error::Result<Box<dyn VectorIndex>> {
    fs::write(folder.join("bytes"), bytes).unwrap();
    load(folder.join("bytes"))
}

/// Puts the right checksum behind a body that was changed.
fn reseal(mut bytes: Vec<u8>) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let body = bytes.len() - 32;
    let checksum = Sha256::digest(&bytes[..body]);
    bytes[body..].copy_from_slice(&checksum);
    bytes
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = saved_graph(folder.path());
    let refused = |bytes: &[u8]| {
        let error = load_bytes(folder.path(), bytes).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
    };
    for end in [0, 7, 8, 11, 12, 40, 300, bytes.len() - 33, bytes.len() - 1] {
        refused(&bytes[..end]);
    }
    for place in [0, 17, 200, bytes.len() / 2, bytes.len() - 5] {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x40;
        refused(&damaged);
    }
    let mut newer = bytes.clone();
    newer[8] = 2;
    let error = load_bytes(folder.path(), &newer).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnsupportedVersion { found: 2, supported: 1, .. }));
    assert!(matches!(load(folder.path().join("none")).unwrap_err().kind(), ErrorKind::Io { .. }));

    let path = folder.path().join("exact");
    exact(Similarity::Cosine, 2, &[1.0; 6]).save(&path).unwrap();
    assert!(matches!(HnswIndex::load(&path).unwrap_err().kind(), ErrorKind::WrongKind { .. }));
    assert_eq!(ExactIndex::load(folder.path().join("whole")).unwrap().len(), 60);
}

/// Every word of the numbers set to a large value under a right checksum: refused, or harmless.
#[test]
fn no_forged_number_makes_a_search_panic() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = saved_graph(folder.path());
    let header = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let n_vectors = 60 * 3;
    let mut refused = 0;
    for word in (header..bytes.len() - 32).step_by(4) {
        for forged in [60, u32::MAX] {
            let mut bytes = bytes.clone();
            bytes[word..word + 4].copy_from_slice(&forged.to_le_bytes());
            match load_bytes(folder.path(), &reseal(bytes)) {
                Ok(index) => {
                    assert!(word < header + n_vectors * 4 && forged == 60, "word at {word}");
                    index.search(&[1.0, 2.0, 3.0], 10, &ItemFilter::all()).unwrap();
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 60);
}

proptest! {
    /// Whole numbers have exact scores, so that the exact index equals a sort to the last bit.
    #[test]
    fn exact_equals_a_sort(
        n in 0usize..300,
        dim in 1usize..40,
        k in 0usize..320,
        seed in any::<u64>(),
        denied in prop::collection::vec(0u32..310, 0..50),
        allowed in prop::option::of(prop::collection::vec(0u32..310, 0..50)),
    ) {
        let (vectors, query) = (whole_numbers(n, dim, seed), whole_numbers(1, dim, seed ^ 1));
        let mut filter = ItemFilter::all().deny(denied.into_iter().map(ItemId));
        if let Some(allowed) = allowed {
            filter = filter.allow(allowed.into_iter().map(ItemId));
        }
        let mut truth = naive(Similarity::InnerProduct, &vectors, &query, &filter);
        truth.truncate(k);
        let index = exact(Similarity::InnerProduct, dim, &vectors);
        prop_assert_eq!(index.search(&query, k, &filter).unwrap(), &truth[..]);
        let batch = index.search_batch(&query.repeat(7), k, &[&filter; 7]).unwrap();
        prop_assert_eq!(batch, vec![truth; 7]);
    }

    #[test]
    fn no_bytes_make_loading_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), sealed: bool) {
        let folder = tempfile::tempdir().unwrap();
        if sealed {
            bytes.splice(0..0, *b"RECSYSIX\x01\0\0\0");
            bytes.extend([0; 32]);
            bytes = reseal(bytes);
        }
        prop_assert!(load_bytes(folder.path(), &bytes).is_err());
    }
}
