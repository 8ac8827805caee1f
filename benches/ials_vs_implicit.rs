//! Seconds per sweep of implicit ALS on invented data of the size of MovieLens 20M (138,493 users, 26,744 items, 20 million pairs, a long
//! tail), with 64 and 128 factors on two threads, and the objective where the sweeps end; with `RECSYS_PYTHON` set to a Python that has numpy, scipy and
//! `implicit`, the same of that library on the same pairs, by turns.
//!
//! ```text
//! RECSYS_PYTHON=python3 cargo bench --bench ials_vs_implicit
//! ```
//! `RECSYS_FACTORS` (default `64,128`), `RECSYS_SWEEPS` (default 5), `RECSYS_ROUNDS` (default 3), `RECSYS_THREADS` (default 2) and
//! `RECSYS_SCALE` (default 1; 0.1 is a tenth of the users and pairs) change the sizes.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use recsys::models::recall::{Ials, IalsConfig};
use recsys::prelude::*;

fn main() {
    let number = |name, default| env::var(name).map_or(default, |n| n.parse().expect("a number"));
    let (scale, threads) = (number("RECSYS_SCALE", 1.0), number("RECSYS_THREADS", 2.0) as usize);
    let (sweeps, rounds) = (number("RECSYS_SWEEPS", 5.0) as usize, number("RECSYS_ROUNDS", 3.0) as usize);
    let size = |n: f64| (n * scale) as usize;
    let data = SyntheticConfig::new(size(138_493.0), 26_744, size(20_000_000.0), 1).generate();
    let data = data.expect("a scale that leaves some rows").interactions().clone();
    println!("{} users, {} items, {} pairs; {threads} threads", data.n_users(), data.n_items(), data.len());
    let folder = env::temp_dir().join(format!("recsys-ials-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let pairs = folder.join("pairs.bin");
    fs::write(
        &pairs,
        data.iter().flat_map(|row| [row.user.0, row.item.0]).flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
    )
    .expect("the pairs are written");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let factors = env::var("RECSYS_FACTORS").unwrap_or_else(|_| "64,128".into());
    for n_factors in factors.split(',').map(|n| n.parse().expect("a list of numbers")) {
        let config = IalsConfig {
            n_factors,
            alpha: 10.0,
            lambda: 10.0,
            frequency_exponent: 0.0,
            n_sweeps: sweeps,
            ..IalsConfig::default()
        };
        for round in 1..=rounds {
            println!("{n_factors} factors, round {round} of {rounds}");
            pool.install(|| ours(&data, &config));
            if let Ok(python) = env::var("RECSYS_PYTHON") {
                peer(&python, &pairs, &data, &config, threads);
            }
        }
    }
    fs::remove_dir_all(&folder).expect("the temporary files are removed");
}

fn ours(data: &Interactions, config: &IalsConfig) {
    let (mut seconds, mut start) = (Vec::new(), None);
    let model = Ials::fit_watched(data, config, |_, _| {
        // The first sweep comes with the preparation of the data.
        let now = Instant::now();
        seconds.extend(start.replace(now).map(|start| now.duration_since(start).as_secs_f64()));
        Ok(ControlFlow::Continue(()))
    })
    .expect("good settings");
    let objective = model.objective(data).expect("the same data");
    println!("  recsys:   {:.3} s per sweep (median), objective {objective:.6e}", median(seconds));
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

fn peer(python: &str, pairs: &Path, data: &Interactions, config: &IalsConfig, threads: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/implicit_peer.py");
    let settings = [data.n_users(), data.n_items(), config.n_factors, config.n_sweeps, threads];
    let status = Command::new(python)
        .arg(script)
        .arg(pairs)
        .args(settings.map(|n| n.to_string()))
        .args([config.alpha, config.lambda].map(|x| x.to_string()))
        .env("OPENBLAS_NUM_THREADS", "1")
        .status();
    assert!(status.expect("RECSYS_PYTHON names a program").success(), "implicit_peer.py failed");
}
