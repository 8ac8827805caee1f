use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_depth, check_size, check_weight};
use crate::features::{EncodedRows, FeatureSpace};
use crate::kernels;
use crate::layers::{
    FieldEmbedding, Init, Linear, Mlp, MlpConfig, NormPlacement, SequenceLayout, TableUpdate,
    TransformerBlock, TransformerBlockConfig, check_dropout, id_tensor, sequence_embedding,
};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`Bst`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `n_blocks` | 1 | transformer blocks over the history and the candidate | ≥ 1 |
/// | `n_heads` | 2 | heads of a block | divides `d_embedding` |
/// | `d_hidden` | 64 | width of a block's hidden layer | ≥ 1 |
/// | `mlp` | 256 → 128, ReLU | the perceptron; its output layer ends with the activation, too | |
/// | `dropout` | 0 | of the field vectors and in the blocks | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BstConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The number of transformer blocks.
    pub n_blocks: usize,
    /// The heads of a block.
    pub n_heads: usize,
    /// The width of a block's hidden layer.
    pub d_hidden: usize,
    /// The perceptron.
    pub mlp: MlpConfig,
    /// The dropout of the field vectors and in the blocks.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for BstConfig {
    fn default() -> Self {
        Self {
            d_embedding: 16,
            n_blocks: 1,
            n_heads: 2,
            d_hidden: 64,
            mlp: MlpConfig::new(128).with_hidden([256]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for BstConfig {
    type Model = Bst;

    const NAME: &'static str = "bst";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range, or a space without a history or with one longer than 2²⁰.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Bst> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("BstConfig::dropout", self.dropout)?;
        check_size("BstConfig::d_embedding", self.d_embedding)?;
        if self.n_blocks == 0 {
            return Err(Error::config("BstConfig::n_blocks", "at least 1", 0));
        }
        check_depth("BstConfig::n_blocks", self.n_blocks)?;
        let Some((field, max_len)) = space.history() else {
            return Err(Error::config("BstConfig::space", "a space with a history", "none"));
        };
        check_size("FeatureSpace::max_len", max_len)?;
        check_weight("FeatureSpace::max_len", [max_len + 1, self.d_embedding])?;
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let block = TransformerBlockConfig::new(d)
            .with_heads(self.n_heads)
            .with_hidden(self.d_hidden)
            .with_norm(NormPlacement::Post)
            .with_dropout(self.dropout);
        let width = (space.n_fields() + space.vector_dims().len() + 1) * d;
        Ok(Bst {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            positions: Init::Normal { std: 0.01 }.param([max_len + 1, d], rng, device),
            blocks: (0..self.n_blocks).map(|_| block.init(rng, device)).collect::<Result<_>>()?,
            mlp: self.mlp.init_activated(width, rng, device)?,
            output: Linear::new(self.mlp.d_output, 1, rng, device),
            field,
            spec,
            config: self.clone(),
        })
    }
}

/// A transformer over what the user did and the candidate behind it: Chen et al. 2019, "Behavior sequence transformer for
/// e-commerce recommendation in Alibaba" (BST).
///
/// The vectors of the history and of the candidate, from one table, each with that of its position (section 2.1), go
/// through blocks F = LayerNorm(S' + FFN(S')), S' = LayerNorm(S + MH(S)) (eqs. 2–5), and what comes of them stands beside
/// the field vectors as the input of a perceptron.
///
/// Deviations: a position is the distance from the candidate, counted in items, instead of a time. The attention looks
/// back only, which the candidate, being the last, does not notice: it sees the whole history. It alone has seen the
/// candidate, so that the perceptron reads its output and not those of all positions, whose number would have to be
/// fixed. The perceptron ends with ReLU instead of LeakyReLU.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `positions` | `[max_len + 1, d_embedding]` | the candidate's is the last |
/// | `blocks.{b}.…` | | as in [`TransformerBlock`] |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `output.weight`, `.bias` | `[d_output, 1]`, `[1]` | |
#[derive(Module, Debug)]
pub struct Bst {
    fields: FieldEmbedding,
    positions: Param<Tensor<2>>,
    blocks: Vec<TransformerBlock>,
    mlp: Mlp,
    output: Linear,
    /// The field of the candidate and the history.
    #[module(skip)]
    field: usize,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: BstConfig,
}

impl Bst {
    /// What the blocks make of each candidate behind its history.
    ///
    /// # Shapes
    /// - candidates: `[n_rows, d]`
    /// - output: `[n_rows, d]`
    fn transform(&self, candidates: Tensor<2>, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> Tensor<2> {
        let histories = || (0..rows.n_rows()).map(|row| rows.history(row));
        let events: Vec<u32> = histories().flatten().copied().collect();
        let layout = SequenceLayout::new(histories().map(|history| history.len() + 1));
        let device = candidates.device();
        let x = match events.len() {
            0 => candidates,
            _ => Tensor::cat(vec![self.fields.ids(&events), candidates], 0),
        };
        let order = behind_histories(histories().map(<[u32]>::len), events.len());
        let positions = self.positions.val();
        let p = self.config.dropout;
        let mut x = sequence_embedding(x, positions, &order, &layout, p, rng.as_deref_mut());
        for block in &self.blocks {
            x = block.forward(x, &layout, rng.as_deref_mut());
        }
        let last: Vec<u32> = layout.last_rows().map(|row| row as u32).collect();
        kernels::select_rows(x, id_tensor(&last, &device))
    }
}

/// The rows of \[all events, all candidates\] in the order of each history and the candidate behind it.
fn behind_histories(lengths: impl Iterator<Item = usize>, n_events: usize) -> Vec<u32> {
    let mut order = Vec::new();
    let mut start = 0;
    for (row, length) in lengths.enumerate() {
        order.extend(start as u32..(start + length) as u32);
        order.push((n_events + row) as u32);
        start += length;
    }
    order
}

impl RankingModel for Bst {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let d = self.config.d_embedding;
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let candidates = embeddings.clone().narrow(1, self.field * d, d);
        let x = fields.dropout(self.config.dropout, rng.as_deref_mut());
        let transformed = self.transform(candidates, rows, rng.as_deref_mut());
        let deep = self.mlp.forward(x.and(transformed), rng);
        RankingOutput { logits: self.output.forward(deep), embeddings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_stand_behind_their_histories() {
        assert_eq!(behind_histories([2, 0, 1].into_iter(), 3), [0, 1, 3, 4, 2, 5]);
    }
}
