//! Saved on one device and loaded on another, a model recommends the same.

use std::path::Path;

use burn::tensor::Device;
use recsys::losses::RetrievalLoss;
use recsys::models::recall::{PopularityRecaller, TwoTower};
use recsys::persistence::EmbeddingBundle;
use recsys::prelude::*;

use super::others::{Other, others};
use super::training::{data, fit, small};

const K: usize = 10;

/// Trains on a device, and saves.
fn save(folder: &Path, device: &Device) {
    let model = fit(&small(RetrievalLoss::SampledSoftmax { n_negatives: 20, log_q: false }), device).model;
    let (data, split) = data();
    let index =
        ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors().unwrap()).unwrap();
    let bundle = EmbeddingBundle {
        index: Box::new(index),
        model,
        popularity: PopularityRecaller::fit(&split.train),
        users: data.users().clone(),
        items: data.items().clone(),
    };
    bundle.save(folder).unwrap();
}

/// The whole catalogue, best first, for each of some histories.
fn answers(folder: &Path, device: &Device) -> Vec<Vec<Candidate>> {
    let recaller = EmbeddingBundle::<TwoTower>::load(folder, device).unwrap().into_recaller().unwrap();
    let histories: Vec<Vec<ItemId>> =
        (0..20).map(|i| (0..i % 7).map(|k| ItemId((11 * i + 5 * k) % 80)).collect()).collect();
    let queries: Vec<Query<'_>> = histories.iter().map(|history| Query::new(history)).collect();
    recaller.recall_batch(&queries, 80).unwrap()
}

/// Whether the best are the same: items in the same places, but for those that all but tie.
fn assert_same(other: &Other, found: &[Candidate], expected: &[Candidate]) {
    assert!(expected.len() == 80 && found.len() == 80, "{}: the whole catalogue", other.name());
    let score = |item| expected.iter().find(|candidate| candidate.item == item).map(|found| found.score);
    for (place, (found, expected)) in found.iter().zip(expected).take(K).enumerate() {
        let tolerance = 0.1 * other.tolerance() * expected.score.abs().max(1.0);
        let near = |score: f32| (score - expected.score).abs() <= tolerance;
        let same = near(found.score) && score(found.item).is_some_and(near);
        assert!(same, "{}, place {place}: {found:?}, not {expected:?}", other.name());
    }
}

#[test]
fn are_those_of_the_device_that_trained_the_model() {
    let flex = Device::flex();
    for other in others() {
        other.run(|device| {
            for (trained_on, asked_on) in [(&flex, device), (device, &flex)] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("bundle");
                save(&path, trained_on);
                let expected = answers(&path, trained_on);
                for (found, expected) in answers(&path, asked_on).iter().zip(&expected) {
                    assert_same(other, found, expected);
                }
            }
        });
    }
}
