//! Weights that `tests/pytorch/write_weights.py` wrote give PyTorch's logits.
#![cfg(all(feature = "flex", feature = "safetensors"))]

use recsys::layers::{HistoryEncoderConfig, MlpConfig, Pooling};
use recsys::models::recall::{SasrecConfig, TwoTowerConfig};
use recsys::persistence::{WeightLayout, load_safetensors};
use recsys::prelude::*;
use serde::Deserialize;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pytorch");
const D: usize = 8;
const N_ITEMS: usize = 23;

#[derive(Deserialize)]
struct Expected {
    categories: Vec<Vec<u32>>,
    histories: Vec<Vec<u32>>,
    sasrec: Vec<Vec<f32>>,
    two_tower: Vec<Vec<f32>>,
    two_tower_gru: Vec<Vec<f32>>,
    two_tower_lstm: Vec<Vec<f32>>,
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(format!("{FOLDER}/logits.json")).unwrap()).unwrap()
}

/// Reads the weights into a model and compares ⟨query, item⟩ for every history and item.
fn check<M: EmbeddingModel + burn::module::Module>(name: &str, model: M, logits: &[Vec<f32>]) {
    let path = format!("{FOLDER}/{name}.safetensors");
    let model = load_safetensors(model, path, WeightLayout::PyTorch).unwrap();
    let items = model.item_vectors().unwrap();
    for (history, logits) in expected().histories.iter().zip(logits) {
        let history: Vec<ItemId> = history.iter().copied().map(ItemId).collect();
        let query = model.encode(&[&Query::new(&history)]).unwrap();
        assert_eq!(logits.len(), N_ITEMS);
        for (item, logit) in items.chunks(D).zip(logits) {
            let found: f32 = item.iter().zip(&query).map(|(x, y)| x * y).sum();
            assert!((found - logit).abs() < 1e-4, "{name} {history:?}: {found}, PyTorch {logit}");
        }
    }
}

#[test]
fn sasrec() {
    let config = SasrecConfig { d_model: D, n_heads: 2, d_hidden: D, max_len: 6, ..SasrecConfig::default() };
    check("sasrec", config.init(N_ITEMS, 1, &Device::flex()).unwrap(), &expected().sasrec);
}

#[test]
fn two_towers() {
    let mlp = MlpConfig::new(D).with_hidden([2 * D]);
    let features = ItemFeatures::new(4, expected().categories).unwrap();
    for (name, history, logits) in [
        ("two_tower", Pooling::Recency { n_scales: 3 }.into(), expected().two_tower),
        ("two_tower_gru", HistoryEncoderConfig::Gru { d_state: 5 }, expected().two_tower_gru),
        ("two_tower_lstm", HistoryEncoderConfig::Lstm { d_state: 5 }, expected().two_tower_lstm),
    ] {
        let config = TwoTowerConfig {
            d_embedding: D,
            query_mlp: mlp.clone(),
            item_mlp: mlp.clone(),
            history,
            max_len: 6,
            ..TwoTowerConfig::default()
        };
        check(name, config.init(0, &features, 1, &Device::flex()).unwrap(), &logits);
    }
}
