//! Two id tables, a GELU tower above each, in-batch softmax.

use recsys::burn;
use recsys::burn::module::{Module, Param};
use recsys::burn::optim::{AdamConfig, GradientsParams};
use recsys::burn::tensor::{Device, Int, Tensor};
use recsys::layers::{Activation, Init, Mlp, MlpConfig, id_tensor, l2_normalize};
use recsys::losses::SharedCandidates;
use recsys::rng::Rng;

use super::D;

#[derive(Module, Debug)]
struct Tower {
    table: Param<Tensor<2>>,
    mlp: Mlp,
}

impl Tower {
    fn new(n: usize, rng: &mut Rng, device: &Device) -> Self {
        let mlp = MlpConfig::new(D).with_hidden([2 * D]).with_activation(Activation::Gelu);
        Self {
            table: Init::Normal { std: 0.1 }.param([n, D], rng, device),
            mlp: mlp.init(D, rng, device).expect("valid settings"),
        }
    }

    fn forward(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        l2_normalize(self.mlp.forward(self.table.val().select(0, id_tensor(ids, device)), None))
    }
}

#[derive(Module, Debug)]
struct TwoTower {
    users: Tower,
    items: Tower,
}

pub fn steps(n_users: usize, n_items: usize, batch: usize) -> Box<dyn FnMut()> {
    let device = Device::flex().autodiff();
    let rng = &mut Rng::new(1);
    let mut draw = |n: usize| -> Vec<u32> { (0..batch).map(|_| rng.below(n) as u32).collect() };
    let batches: Vec<_> = (0..16).map(|_| (draw(n_users), draw(n_items))).collect();
    let mut model =
        Some(TwoTower { users: Tower::new(n_users, rng, &device), items: Tower::new(n_items, rng, &device) });
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let diagonal = Tensor::<1, Int>::arange(0..batch as i64, &device);
    let mut batches = batches.into_iter().cycle();
    Box::new(move || {
        let (Some(two_tower), Some((users, items))) = (model.take(), batches.next()) else { return };
        let users = two_tower.users.forward(&users, &device).mul_scalar(10.0);
        let items = SharedCandidates::new(two_tower.items.forward(&items, &device));
        let loss = items.cross_entropy(users, diagonal.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &two_tower);
        model = Some(optimizer.step(1e-3, two_tower, gradients));
    })
}
