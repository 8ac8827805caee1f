//! What the item-item models of a large catalogue cost: minutes, and no more memory than their documentation says.
//!
//! ```text
//! cargo test --release --test large_catalogue -- --ignored --nocapture --test-threads 1
//! ```

use std::fs;
use std::time::Instant;

use recsys::models::recall::{EaseConfig, EaseRecaller, ItemKnnConfig, ItemKnnRecaller};
use recsys::prelude::*;

const N_ITEMS: usize = 20_000;

/// A line of what Linux says of this process, in bytes.
fn memory(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a known line");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// Fits once, and says how long it took and by how much the highest memory of the process exceeded that before.
fn fit(name: &str, data: &Interactions, bound: usize, fit: impl FnOnce() -> Result<Box<dyn Recaller>>) {
    // The peak is counted from here on.
    fs::write("/proc/self/clear_refs", "5").expect("the peak is set back");
    let (before, start) = (memory("VmRSS"), Instant::now());
    let recaller = fit().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let peak = memory("VmHWM") - before;
    println!(
        "{name}: {} users, {} items, {} pairs: {seconds:.1} s, {:.2} GB more at the peak, bound {:.2} GB",
        data.n_users(),
        data.n_items(),
        data.len(),
        peak as f64 / 1e9,
        bound as f64 / 1e9
    );
    assert!(peak <= bound, "{name}: {peak} bytes");
    assert!(!recaller.recall(&Query::new(&[ItemId(0)]), 10).unwrap().is_empty());
}

#[test]
#[ignore = "takes minutes"]
fn fitting_takes_minutes_and_the_memory_stated() {
    let data = SyntheticConfig::new(100_000, N_ITEMS, 10_000_000, 1).generate().unwrap();
    let data = data.interactions();
    // Some slack for what the allocator keeps.
    let slack = 100 << 20;
    let kept = |n_neighbours: usize| N_ITEMS * n_neighbours * (8 + 8);
    let (knn, ease) = (ItemKnnConfig::default(), EaseConfig::default());
    let bound = 16 * data.len() + kept(knn.n_neighbours) + slack;
    fit("item-CF", data, bound, || Ok(Box::new(ItemKnnRecaller::fit(data, &knn)?)));
    let bound = 16 * data.len() + 4 * N_ITEMS * N_ITEMS + kept(ease.n_neighbours) + slack;
    fit("EASE", data, bound, || Ok(Box::new(EaseRecaller::fit(data, &ease)?)));
}
