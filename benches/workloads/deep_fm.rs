//! DeepFM over eight fields that share a number of ids, whose rows alone a step updates.

use recsys::burn::tensor::Device;
use recsys::features::{EncodedRow, EncodedRows, FeatureSpace};
use recsys::layers::TableUpdate;
use recsys::models::ranking::DeepFmConfig;
use recsys::rng::Rng;
use recsys::training::{RankingBatch, RankingConfig, Stepper, Trainable, TrainingConfig};

const N_FIELDS: usize = 8;
const BATCH: usize = 4_096;

pub fn steps(n_ids: usize, device: &Device) -> Box<dyn FnMut()> {
    let rng = &mut Rng::new(1);
    let per_field = n_ids / N_FIELDS;
    let space = (0..N_FIELDS).try_fold(FeatureSpace::default(), |space, field| {
        space.with_field(format!("field {field}"), per_field)
    });
    let space = space.expect("valid fields");
    let mut batch = || {
        let mut rows = EncodedRows::new(space.clone(), 1);
        for _ in 0..BATCH {
            let ids: Vec<[(u32, f32); 1]> = (0..N_FIELDS)
                .map(|field| [((field * per_field + rng.below(per_field)) as u32, 1.0)])
                .collect();
            let bags: Vec<&[(u32, f32)]> = ids.iter().map(|id| &id[..]).collect();
            let label = [rng.below(2) as f32];
            rows.push(EncodedRow { bags: &bags, labels: &label, ..EncodedRow::default() })
                .expect("valid rows");
        }
        rows
    };
    let batches: Vec<EncodedRows> = (0..16).map(|_| batch()).collect();
    let config = DeepFmConfig { table_update: TableUpdate::Sparse, ..DeepFmConfig::default() };
    let model = config.init(&space, 1, device).expect("valid settings");
    let mut stepper = Some(Stepper::new(model, &TrainingConfig::default()).expect("valid settings"));
    let mut batches = batches.into_iter().cycle();
    Box::new(move || {
        let (Some(before), Some(rows)) = (stepper.take(), batches.next()) else { return };
        let (after, _) = before.step(1.0, |model| model.loss(RankingBatch { rows, seed: 1 }));
        stepper = Some(after);
    })
}
