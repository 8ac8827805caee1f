//! Two pre-norm transformer blocks over histories, the item table as input and output.

use recsys::burn;
use recsys::burn::module::{Module, Param};
use recsys::burn::optim::{AdamConfig, GradientsParams};
use recsys::burn::tensor::{Device, Tensor};
use recsys::layers::{
    Init, LayerNorm, SequenceLayout, TransformerBlock, TransformerBlockConfig, id_tensor, sequence_embedding,
};
use recsys::losses::{SharedCandidates, binary_cross_entropy, candidate_logits};
use recsys::rng::Rng;

use super::{D, DROPOUT, N_ITEMS};

const BATCH: usize = 128;

#[derive(Clone, Copy)]
pub enum Loss {
    /// Against one random item for each position.
    BinaryCrossEntropy,
    FullSoftmax,
}

#[derive(Module, Debug)]
struct Sasrec {
    items: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
}

#[derive(Clone)]
struct Batch {
    layout: SequenceLayout,
    items: Vec<u32>,
    positives: Vec<u32>,
    negatives: Vec<u32>,
    seed: u64,
}

impl Batch {
    fn draw(len: usize, padded: bool, rng: &mut Rng) -> Self {
        let lengths: Vec<usize> =
            (0..BATCH).map(|_| if padded { len / 2 + rng.below(len - len / 2 + 1) } else { len }).collect();
        let layout = SequenceLayout::new(lengths);
        let mut ids = || (0..layout.n_rows()).map(|_| rng.below(N_ITEMS) as u32).collect();
        let (items, positives, negatives) = (ids(), ids(), ids());
        Self { layout, items, positives, negatives, seed: rng.next_u64() }
    }
}

impl Sasrec {
    fn new(len: usize, rng: &mut Rng, device: &Device) -> Self {
        let block = TransformerBlockConfig::new(D).with_heads(2).with_hidden(D).with_dropout(DROPOUT);
        Self {
            items: Init::Normal { std: 0.1 }.param([N_ITEMS, D], rng, device),
            positions: Init::Normal { std: 0.1 }.param([len, D], rng, device),
            blocks: (0..2).map(|_| block.init(rng, device).expect("valid settings")).collect(),
            norm: LayerNorm::new(D, device),
        }
    }

    fn loss(&self, batch: &Batch, loss: Loss, device: &Device) -> Tensor<1> {
        let (items, layout) = (self.items.val(), &batch.layout);
        let rng = &mut Rng::new(batch.seed);
        let positions = self.positions.val();
        let mut x =
            sequence_embedding(items.clone(), positions, &batch.items, layout, DROPOUT, Some(&mut *rng));
        for block in &self.blocks {
            x = block.forward(x, layout, Some(&mut *rng));
        }
        let x = self.norm.forward(x);
        match loss {
            Loss::FullSoftmax => {
                SharedCandidates::new(items).cross_entropy(x, id_tensor(&batch.positives, device))
            }
            Loss::BinaryCrossEntropy => {
                let pairs: Vec<u32> =
                    batch.positives.iter().zip(&batch.negatives).flat_map(|(&p, &n)| [p, n]).collect();
                let candidates = id_tensor(&pairs, device).reshape([batch.positives.len(), 2]);
                binary_cross_entropy(candidate_logits(x, items, candidates))
            }
        }
    }
}

pub fn steps(loss: Loss, len: usize, padded: bool) -> Box<dyn FnMut()> {
    let device = Device::flex().autodiff();
    let rng = &mut Rng::new(1);
    let batches: Vec<_> = (0..16).map(|_| Batch::draw(len, padded, rng)).collect();
    let mut model = Some(Sasrec::new(len, rng, &device));
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let mut batches = batches.into_iter().cycle();
    Box::new(move || {
        let (Some(sasrec), Some(batch)) = (model.take(), batches.next()) else { return };
        let loss = sasrec.loss(&batch, loss, &device);
        let gradients = GradientsParams::from_grads(loss.backward(), &sasrec);
        model = Some(optimizer.step(1e-3, sasrec, gradients));
    })
}
