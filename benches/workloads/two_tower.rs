//! Two id tables, a GELU tower above each, in-batch softmax.

use recsys::burn;
use recsys::burn::module::Module;
use recsys::burn::tensor::{Device, Int, Tensor};
use recsys::layers::{Activation, Embedding, Init, Mlp, MlpConfig, TableUpdate, l2_normalize};
use recsys::losses::SharedCandidates;
use recsys::rng::Rng;
use recsys::training::{Stepper, TrainingConfig};

use super::D;

#[derive(Module, Debug)]
struct Tower {
    table: Embedding,
    mlp: Mlp,
}

impl Tower {
    fn new(n: usize, update: TableUpdate, rng: &mut Rng, device: &Device) -> Self {
        let mlp = MlpConfig::new(D).with_hidden([2 * D]).with_activation(Activation::Gelu);
        Self {
            table: Embedding::new([n, D], Init::Normal { std: 0.1 }, update, rng, device),
            mlp: mlp.init(D, rng, device).expect("valid settings"),
        }
    }

    fn forward(&self, ids: &[u32]) -> Tensor<2> {
        l2_normalize(self.mlp.forward(self.table.forward(ids), None))
    }
}

#[derive(Module, Debug)]
struct TwoTower {
    users: Tower,
    items: Tower,
}

pub fn steps(
    n_users: usize,
    n_items: usize,
    batch: usize,
    update: TableUpdate,
    device: &Device,
) -> Box<dyn FnMut()> {
    let rng = &mut Rng::new(1);
    let mut draw = |n: usize| -> Vec<u32> { (0..batch).map(|_| rng.below(n) as u32).collect() };
    let batches: Vec<_> = (0..16).map(|_| (draw(n_users), draw(n_items))).collect();
    let model = TwoTower {
        users: Tower::new(n_users, update, rng, device),
        items: Tower::new(n_items, update, rng, device),
    };
    let mut stepper = Some(Stepper::new(model, &TrainingConfig::default()).expect("valid settings"));
    let diagonal = Tensor::<1, Int>::arange(0..batch as i64, device);
    let mut batches = batches.into_iter().cycle();
    Box::new(move || {
        let (Some(before), Some((users, items))) = (stepper.take(), batches.next()) else { return };
        let (after, _) = before.step(1.0, |model| {
            let users = model.users.forward(&users).mul_scalar(10.0);
            SharedCandidates::new(model.items.forward(&items)).cross_entropy(users, diagonal.clone())
        });
        stepper = Some(after);
    })
}
