//! The layers, with dropout: outputs, and the gradients of inputs and weights.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use recsys::layers::{
    Activation, BatchNorm, CausalSelfAttentionConfig, Dice, Embedding, Init, LayerNorm, Linear, MlpConfig,
    MultiHot, MultiHotEmbedding, Pooling, SequenceLayout, TableUpdate, TransformerBlockConfig, dropout_add,
    l2_normalize, read, sequence_embedding,
};
use recsys::rng::Rng;

use super::others::{Part, agree, normal};

const D: usize = 12;
const DROPOUT: f64 = 0.3;

/// Lengths of histories: an ordinary one, none, one of a single item, and one beyond a workgroup.
const LENGTHS: [usize; 4] = [5, 0, 1, 70];

fn layout() -> SequenceLayout {
    SequenceLayout::new(LENGTHS)
}

/// Appends the gradient of every weight.
struct Gradients<'a> {
    found: &'a GradientsParams,
    parts: Vec<Part>,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        if let Some(gradient) = self.found.get::<R>(param.id) {
            self.parts.push(("the gradient of a weight", read(gradient).unwrap()));
        }
    }
}

/// Compares a layer over `n` rows of width [`D`].
fn layer<M: Module>(
    what: &str,
    n: usize,
    fresh: impl Fn(&mut Rng, &Device) -> M,
    forward: impl Fn(&M, Tensor<2>, &mut Rng) -> Tensor<2>,
) {
    agree(what, |device| {
        let module = fresh(&mut Rng::new(1), device).train();
        let autodiff = device.clone().autodiff();
        let x = normal([n, D], 2, &autodiff).require_grad();
        let y = forward(&module, x.clone(), &mut Rng::new(3));
        let gradients = (y.clone() * normal(y.dims(), 4, &autodiff)).sum().backward();
        let mut parts = vec![("the output", read(y).unwrap())];
        parts.extend(x.grad(&gradients).map(|gradient| ("the gradient of x", read(gradient).unwrap())));
        let found = &GradientsParams::from_grads(gradients, &module);
        let mut gradients = Gradients { found, parts };
        module.visit(&mut gradients);
        gradients.parts
    });
}

/// No weights.
fn nothing(_: &mut Rng, _: &Device) -> Vec<Linear> {
    Vec::new()
}

#[test]
fn norms_of_a_batch() {
    layer("batch norm", 33, |_, device| BatchNorm::new(D, device), |norm, x, _| norm.forward(x, true));
    layer("Dice", 33, |_, device| Dice::new(D, device), |dice, x, _| dice.forward(x, true));
}

#[test]
fn rows() {
    for n in [1, 33] {
        layer("layer norm", n, |_, device| LayerNorm::new(D, device), |norm, x, _| norm.forward(x));
        layer("a linear layer", n, |rng, device| Linear::new(D, 7, rng, device), |map, x, _| map.forward(x));
        for activation in [Activation::Relu, Activation::Gelu] {
            let mlp = MlpConfig::new(5).with_hidden([9, 8]).with_activation(activation).with_dropout(DROPOUT);
            layer(
                &format!("an MLP, {activation:?}"),
                n,
                |rng, device| mlp.init(D, rng, device).unwrap(),
                |mlp, x, rng| mlp.forward(x, Some(rng)),
            );
        }
        layer("l2_normalize", n, nothing, |_, x, _| l2_normalize(x));
        let residual = |x: &Tensor<2>| x.clone() * 0.5;
        layer("dropout", n, nothing, |_, x, rng| dropout_add(x.clone(), residual(&x), DROPOUT, Some(rng)));
    }
}

#[test]
fn attention() {
    let n = layout().n_rows();
    let attention = CausalSelfAttentionConfig::new(D).with_heads(3);
    // The gradient of ReLU jumps at 0, and rounding may stand on either side of it.
    let block =
        TransformerBlockConfig::new(D).with_heads(2).with_hidden(10).with_activation(Activation::Gelu);
    for dropout in [0.0, DROPOUT] {
        layer(
            "attention",
            n,
            |rng, device| attention.with_dropout(dropout).init(rng, device).unwrap(),
            |attention, x, rng| attention.forward(x, &layout(), Some(rng)),
        );
        layer(
            "a transformer block",
            n,
            |rng, device| block.with_dropout(dropout).init(rng, device).unwrap(),
            |block, x, rng| block.forward(x, &layout(), Some(rng)),
        );
    }
}

#[test]
fn embeddings() {
    const N: usize = 40;
    let init = Init::Normal { std: 1.0 };
    let ids: Vec<u32> = (0..layout().n_rows() as u32).map(|i| i * i % N as u32).collect();
    // Gradients flow into a sparsely updated table only in a training step: `training` compares those.
    for update in [TableUpdate::Dense, TableUpdate::Sparse] {
        layer(
            "an embedding",
            1,
            |rng, device| Embedding::new([N, D], init, update, rng, device),
            |table, x, _| table.forward(&ids).add(x),
        );
    }
    let categories: Vec<Vec<u32>> =
        (0..30u32).map(|item| (0..item % 4).map(|k| (item + k) % 10).collect()).collect();
    let items: Vec<MultiHot<'_>> =
        categories.iter().map(|list| MultiHot { cold: list.len() == 3, categories: list }).collect();
    let with_padding: Vec<u32> = ids.iter().map(|id| id.min(&30)).copied().collect();
    layer(
        "a multi-hot embedding",
        1,
        |rng, device| MultiHotEmbedding::new(10, &items, D, init, TableUpdate::Dense, rng, device),
        |table, x, _| table.forward(&with_padding).add(x),
    );
    layer(
        "the input of a sequence model",
        N,
        |rng, device| vec![init.param([70, D], rng, device)],
        |positions, x, rng| sequence_embedding(x, positions[0].val(), &ids, &layout(), DROPOUT, Some(rng)),
    );
}

#[test]
fn pooling() {
    let (len, b) = (7, 5);
    for pooling in [Pooling::Mean, Pooling::Recency { n_scales: 3 }] {
        for whole in [false, true] {
            layer(
                "pooling",
                len * b,
                |_, device| pooling.init(9, device).unwrap(),
                |layer, x, _| {
                    // History i begins after i positions of padding.
                    let valid = (0..len * b).map(|at| f32::from(u8::from(at / b >= at % b)));
                    let valid = Tensor::<1>::from_floats(&valid.collect::<Vec<_>>()[..], &x.device());
                    let x = (x * valid.clone().unsqueeze_dim::<2>(1)).reshape([len, b, D]);
                    let valid = valid.reshape([len, b]);
                    if whole { layer.last(x, valid) } else { layer.forward(x, valid) }
                },
            );
        }
    }
}
