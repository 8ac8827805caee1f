//! Ranking models: DeepFM over tables of many ids, and DeepFM, DCN-V2 and DIN over the fields of MovieLens.

use recsys::burn::tensor::Device;
use recsys::features::{EncodedRow, EncodedRows, FeatureSpace};
use recsys::layers::TableUpdate;
use recsys::models::ranking::{DcnConfig, DeepFmConfig, DinConfig};
use recsys::rng::Rng;
use recsys::training::{RankingBatch, RankingConfig, Stepper, Trainable, TrainingConfig};

const BATCH: usize = 4_096;
/// User, item, gender, age, occupation, the first digits of the zip code, genre and year.
const MOVIELENS_FIELDS: [usize; 8] = [6_040, 3_706, 2, 7, 21, 700, 18, 81];
/// The items of each history.
const HISTORY: usize = 50;

/// DeepFM over eight fields that share a number of ids, whose rows alone a step updates.
pub fn deep_fm_of(n_ids: usize, device: &Device) -> Box<dyn FnMut()> {
    let config = DeepFmConfig { table_update: TableUpdate::Sparse, ..DeepFmConfig::default() };
    steps(&config, &[n_ids / MOVIELENS_FIELDS.len(); MOVIELENS_FIELDS.len()], 0, device)
}

pub fn deep_fm(device: &Device) -> Box<dyn FnMut()> {
    steps(&DeepFmConfig::default(), &MOVIELENS_FIELDS, 0, device)
}

pub fn dcn_v2(device: &Device) -> Box<dyn FnMut()> {
    steps(&DcnConfig::default(), &MOVIELENS_FIELDS, 0, device)
}

pub fn din(device: &Device) -> Box<dyn FnMut()> {
    steps(&DinConfig::default(), &MOVIELENS_FIELDS, HISTORY, device)
}

/// Steps on rows of an id of each field and, where `n_past` is not 0, as many past ids of field 1.
fn steps<C: RankingConfig>(config: &C, fields: &[usize], n_past: usize, device: &Device) -> Box<dyn FnMut()> {
    let named = |mut space: FeatureSpace| {
        for (field, &n_ids) in fields.iter().enumerate() {
            space = space.with_field(format!("field {field}"), n_ids)?;
        }
        if n_past > 0 { space.with_history("past", "field 1", n_past) } else { Ok(space) }
    };
    let space = named(FeatureSpace::default()).expect("valid fields");
    let rng = &mut Rng::new(1);
    let mut id_of = |field: usize| {
        let ids = space.ids(field);
        ids.start + rng.below(ids.len()) as u32
    };
    let mut batch = || {
        let mut rows = EncodedRows::new(space.clone(), 1);
        for row in 0..BATCH {
            let ids: Vec<[(u32, f32); 1]> = (0..fields.len()).map(|field| [(id_of(field), 1.0)]).collect();
            let bags: Vec<&[(u32, f32)]> = ids.iter().map(|id| &id[..]).collect();
            let past: Vec<u32> = (0..n_past).map(|_| id_of(1)).collect();
            let history = if past.is_empty() { [0, 0] } else { rows.push_events(&past).expect("valid ids") };
            let label = [(row % 2) as f32];
            rows.push(EncodedRow { bags: &bags, labels: &label, history, ..EncodedRow::default() })
                .expect("valid rows");
        }
        rows
    };
    let batches: Vec<EncodedRows> = (0..16).map(|_| batch()).collect();
    let model = config.init(&space, 1, device).expect("valid settings");
    let mut stepper = Some(Stepper::new(model, &TrainingConfig::default()).expect("valid settings"));
    let mut batches = batches.into_iter().cycle();
    Box::new(move || {
        let (Some(before), Some(rows)) = (stepper.take(), batches.next()) else { return };
        let (after, _) = before.step(1.0, |model| model.loss(RankingBatch { rows, seed: 1 }));
        stepper = Some(after);
    })
}
