//! An HNSW index of 100,000 × 64 clustered unit vectors: build time, queries per second and recall@10 at
//! several widths of the beam, one thread each; with `RECSYS_PYTHON` set to a Python that has numpy and
//! hnswlib, the same of hnswlib on the same vectors, by turns.
//!
//! ```text
//! RECSYS_PYTHON=python3 cargo bench --bench hnsw_vs_hnswlib
//! ```
//! `RECSYS_BASE` and `RECSYS_QUERIES` name `.npy` files (f32, two axes) to use instead;
//! `RECSYS_BUILD_THREADS` sets the threads of both builds (default 1), `RECSYS_ROUNDS` the rounds (default 3).

use std::env;
use std::fs::{self, File};
use std::io::{Result as IoResult, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use recsys::prelude::*;
use recsys::rng::Rng;

const K: usize = 10;

/// Row-major vectors.
struct Matrix {
    dim: usize,
    values: Vec<f32>,
}

fn main() {
    let folder = env::temp_dir().join(format!("recsys-hnsw-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let (base, queries) = vectors();
    let (base_file, queries_file) = (folder.join("base.npy"), folder.join("queries.npy"));
    write_npy(&base_file, &base).expect("base.npy is written");
    write_npy(&queries_file, &queries).expect("queries.npy is written");
    let number = |name, default| env::var(name).map_or(default, |n| n.parse().expect("a whole number"));
    let (threads, rounds) = (number("RECSYS_BUILD_THREADS", 1), number("RECSYS_ROUNDS", 3));

    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        ours(&base, &queries, threads, round == 1);
        if let Ok(python) = env::var("RECSYS_PYTHON") {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hnswlib_peer.py");
            let status = Command::new(python)
                .args([script.as_path(), &base_file, &queries_file])
                .arg(threads.to_string())
                .status();
            assert!(status.expect("RECSYS_PYTHON names a program").success(), "hnswlib_peer.py failed");
        }
    }
    fs::remove_dir_all(&folder).expect("the temporary files are removed");
}

fn ours(base: &Matrix, queries: &Matrix, threads: usize, with_exact: bool) {
    let config = HnswConfig { n_build_threads: threads, min_recall: 0.0, ..HnswConfig::default() };
    let start = Instant::now();
    let exact =
        ExactIndex::new(Similarity::InnerProduct, base.dim, base.values.clone()).expect("finite vectors");
    let exact_build = start.elapsed().as_secs_f64();
    let everything = ItemFilter::all();
    let filters = vec![&everything; queries.values.len() / queries.dim];
    let truth = one_thread(|| exact.search_batch(&queries.values, K, &filters).expect("finite queries"));
    if with_exact {
        let start = Instant::now();
        let n = 1024.min(filters.len());
        one_thread(|| exact.search_batch(&queries.values[..n * queries.dim], K, &filters[..n]))
            .expect("finite queries");
        let rate = n as f64 / start.elapsed().as_secs_f64();
        println!("  recsys exact: build {exact_build:.2} s, batch of {n}: {rate:.0} queries/s");
    }
    let mut index = HnswIndex::build(Similarity::InnerProduct, base.dim, base.values.clone(), &config)
        .expect("finite vectors");
    println!("  recsys HNSW (M 32, ef_construction {}): {}", config.ef_construction, index.report());
    for ef in [10, 20, 40, 80, 160] {
        index = index.with_ef_search(ef).expect("at least 1");
        let start = Instant::now();
        let found: Vec<_> = queries
            .values
            .chunks_exact(queries.dim)
            .map(|query| index.search(query, K, &everything).expect("a finite query"))
            .collect();
        let rate = filters.len() as f64 / start.elapsed().as_secs_f64();
        println!("    ef {ef:4}: {rate:7.0} queries/s, recall@10 {:.4}", recall(&found, &truth));
    }
}

fn one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread").install(work)
}

fn recall(found: &[Vec<(ItemId, f32)>], truth: &[Vec<(ItemId, f32)>]) -> f64 {
    let hits = found.iter().zip(truth).map(|(found, truth)| {
        found.iter().filter(|(item, _)| truth.iter().any(|(near, _)| near == item)).count()
    });
    hits.sum::<usize>() as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64
}

/// The files named by the environment, or unit vectors around 1,000 random centres with noise of the
/// centres' length: 100,000 items and 10,000 queries.
fn vectors() -> (Matrix, Matrix) {
    if let (Ok(base), Ok(queries)) = (env::var("RECSYS_BASE"), env::var("RECSYS_QUERIES")) {
        return (read_npy(&base.into()), read_npy(&queries.into()));
    }
    let (dim, n_centres) = (64, 1000);
    let mut rng = Rng::new(1);
    let mut centres = vec![0.0; n_centres * dim];
    centres.chunks_exact_mut(dim).for_each(|centre| {
        centre.fill_with(|| rng.normal() as f32);
        normalise(centre);
    });
    let mut draw = |n: usize| {
        let mut values = vec![0.0; n * dim];
        for row in values.chunks_exact_mut(dim) {
            let centre = rng.below(n_centres) * dim;
            for (x, centre) in row.iter_mut().zip(&centres[centre..]) {
                *x = centre + (rng.normal() / (dim as f64).sqrt()) as f32;
            }
            normalise(row);
        }
        Matrix { dim, values }
    };
    (draw(100_000), draw(10_000))
}

fn normalise(row: &mut [f32]) {
    let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter_mut().for_each(|x| *x /= norm);
}

/// Version 1 of numpy's format: magic, version, length of the header, header, numbers.
fn write_npy(path: &PathBuf, matrix: &Matrix) -> IoResult<()> {
    let rows = matrix.values.len() / matrix.dim;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {}), }}", matrix.dim);
    let padded = format!("{header:<117}\n");
    let mut file = File::create(path)?;
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(padded.len() as u16).to_le_bytes())?;
    file.write_all(padded.as_bytes())?;
    file.write_all(&matrix.values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

fn read_npy(path: &PathBuf) -> Matrix {
    let bytes = fs::read(path).expect("the .npy file can be read");
    assert!(bytes.starts_with(b"\x93NUMPY\x01"), "version 1 of the .npy format");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..end]);
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "f32 rows: {header}");
    let shape =
        header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).expect("a shape").0;
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let values = bytes[end..].as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
    Matrix { dim: shape[1], values }
}
