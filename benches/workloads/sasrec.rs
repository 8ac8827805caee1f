//! Two pre-norm transformer blocks over histories, the item table as input and output.

use recsys::burn;
use recsys::burn::module::{Module, Param};
use recsys::burn::tensor::{Device, Tensor};
use recsys::layers::{
    Init, LayerNorm, SequenceLayout, TransformerBlock, TransformerBlockConfig, id_tensor, sequence_embedding,
};
use recsys::losses::{SharedCandidates, binary_cross_entropy, candidate_logits};
use recsys::rng::Rng;
use recsys::training::{Stepper, TrainingConfig};

use super::{D, DROPOUT, N_ITEMS};

#[derive(Clone, Copy)]
enum Loss {
    /// Against one random item for each position.
    BinaryCrossEntropy,
    FullSoftmax,
}

#[derive(Clone, Copy)]
pub struct Sizes {
    loss: Loss,
    /// The longest history.
    len: usize,
    batch: usize,
    /// Whether lengths are uniform in len/2..=len, not all len.
    padded: bool,
}

impl Sizes {
    /// `sasrec_{bce|full}_l{length}[_b{batch, else 128}][_unpadded]`
    pub fn named(name: &str) -> Option<Self> {
        let mut words = name.split('_').skip_while(|&word| word == "sasrec");
        let loss = match words.next()? {
            "bce" => Loss::BinaryCrossEntropy,
            "full" => Loss::FullSoftmax,
            _ => return None,
        };
        let len = words.next()?.strip_prefix('l')?.parse().ok()?;
        let mut sizes = Self { loss, len, batch: 128, padded: true };
        for word in words {
            match word.strip_prefix('b') {
                Some(batch) => sizes.batch = batch.parse().ok()?,
                None if word == "unpadded" => sizes.padded = false,
                None => return None,
            }
        }
        Some(sizes)
    }
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
    fn draw(Sizes { len, batch, padded, .. }: Sizes, rng: &mut Rng) -> Self {
        let lengths: Vec<usize> =
            (0..batch).map(|_| if padded { len / 2 + rng.below(len - len / 2 + 1) } else { len }).collect();
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

pub fn steps(sizes: Sizes, device: &Device) -> Box<dyn FnMut()> {
    let (device, rng) = (device.clone(), &mut Rng::new(1));
    let batches: Vec<_> = (0..16).map(|_| Batch::draw(sizes, rng)).collect();
    let model = Sasrec::new(sizes.len, rng, &device);
    let mut stepper = Some(Stepper::new(model, &TrainingConfig::default()).expect("valid settings"));
    let mut batches = batches.into_iter().cycle();
    Box::new(move || {
        let (Some(before), Some(batch)) = (stepper.take(), batches.next()) else { return };
        stepper = Some(before.step(1.0, |model| model.loss(&batch, sizes.loss, &device)).0);
    })
}
