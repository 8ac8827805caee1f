use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_size, check_weight};
use crate::features::{EncodedRows, FeatureSpace};
use crate::kernels;
use crate::layers::{
    AttentionWeights, Cross, CrossNetwork, FieldEmbedding, FirstOrder, HiddenNorm, Init, Linear, Mlp,
    MlpConfig, SequenceLayout, TableUpdate, TargetAttention, check_dropout, factorization_machine, id_tensor,
    read,
};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`Din`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `attention` | 64 → 32 → 1, ReLU | the activation unit | ends in width 1 |
/// | `weights` | raw | what is made of the activation unit's output | |
/// | `mlp` | 256 → 128, ReLU | the perceptron; its output layer ends with the activation, too | |
/// | `positions` | no | whether an item of the history knows its place there | |
/// | `cross` | none | a cross network beside the perceptron, and its layers | |
/// | `fm` | no | whether a factorization machine stands beside the perceptron | |
/// | `dropout` | 0 | of the field vectors and the interest | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The activation unit.
    pub attention: MlpConfig,
    /// What is made of the activation unit's output.
    pub weights: AttentionWeights,
    /// Whether an item of the history knows its place there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub positions: bool,
    /// The perceptron.
    pub mlp: MlpConfig,
    /// A cross network beside the perceptron, and the number of its layers.
    pub cross: Option<(Cross, usize)>,
    /// Whether a factorization machine stands beside the perceptron.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fm: bool,
    /// The dropout of the field vectors and the interest.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for DinConfig {
    fn default() -> Self {
        Self {
            d_embedding: 16,
            attention: MlpConfig::new(1).with_hidden([64, 32]),
            weights: AttentionWeights::Raw,
            positions: false,
            mlp: MlpConfig::new(128).with_hidden([256]),
            cross: None,
            fm: false,
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl DinConfig {
    /// With [`Dice`](crate::layers::Dice) in the place of ReLU, as in the paper (eq. 9).
    pub fn with_dice(mut self) -> Self {
        self.attention.norm = HiddenNorm::Dice;
        self.mlp.norm = HiddenNorm::Dice;
        self
    }
}

impl RankingConfig for DinConfig {
    type Model = Din;

    const NAME: &'static str = "din";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range, a space without a history, or, with positions, one with a history longer than 2²⁰.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Din> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("DinConfig::dropout", self.dropout)?;
        check_size("DinConfig::d_embedding", self.d_embedding)?;
        let Some((field, max_len)) = space.history() else {
            return Err(Error::config("DinConfig::space", "a space with a history", "none"));
        };
        if self.positions {
            check_size("FeatureSpace::max_len", max_len)?;
            check_weight("FeatureSpace::max_len", [max_len, self.d_embedding])?;
        }
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let width = (space.n_fields() + space.vector_dims().len() + 1) * d;
        let network = |(cross, n_layers)| CrossNetwork::new(cross, n_layers, width, rng, device);
        let cross = self.cross.map(network).transpose()?;
        let d_output = self.mlp.d_output + if cross.is_some() { width } else { 0 };
        Ok(Din {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            first_order: self.fm.then(|| FirstOrder::new(space, update, rng, device)),
            cross,
            attention: TargetAttention::new(d, &self.attention, self.weights, rng, device)?,
            positions: self.positions.then(|| Init::Normal { std: 0.01 }.param([max_len, d], rng, device)),
            mlp: self.mlp.init_activated(width, rng, device)?,
            output: Linear::new(d_output, 1, rng, device),
            field,
            spec,
            config: self.clone(),
        })
    }
}

/// A perceptron over the fields and over what of the history matters for the candidate: Zhou et al. 2018, "Deep interest
/// network for click-through rate prediction" (DIN).
///
/// The history's field is the candidate's own id: its vector v_A is the query, the vectors e_j of the history, from the
/// same table, are the keys, and v_U(A) = Σ_j a(e_j, v_A) e_j (eq. 3) stands beside the field vectors.
///
/// With [positions](DinConfig::positions) the keys are e_j + p_t, with a vector p_t for the place of the item, counted from the newest
/// (as in Chen et al. 2019, "Behavior sequence transformer", section 2.1): what was done last may count most.
///
/// With a [factorization machine](DinConfig::fm) the logit has y_FM of [DeepFM](super::DeepFm) beside the perceptron's, over the field
/// vectors and v_U(A): ⟨v_U(A), v_A⟩ is how like the candidate is to what of the history matters for it.
///
/// Deviations: the activation unit reads [q, k, q ∘ k] ([`TargetAttention`]) instead of the outer product; there may be a
/// cross network (DCN-V2) or a factorization machine beside the perceptron; the activation is ReLU unless it is [Dice](DinConfig::with_dice).
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | v and e |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `positions` | `[max_len, d_embedding]` | p, with positions; that of the newest is the last |
/// | `attention.mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | a |
/// | `cross.…` | | as in [`Dcn`](super::Dcn) |
/// | `first_order.…` | | of the factorization machine, as in [`DeepFm`](super::DeepFm) |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `attention.mlp.dices.{l}.…`, `mlp.dices.{l}.…` | `[d_output]` | with Dice, as in [`Mlp`] |
/// | `output.weight`, `.bias` | `[d_output, 1]`, `[1]` | |
#[derive(Module, Debug)]
pub struct Din {
    fields: FieldEmbedding,
    attention: TargetAttention,
    positions: Option<Param<Tensor<2>>>,
    cross: Option<CrossNetwork>,
    /// Of the factorization machine.
    first_order: Option<FirstOrder>,
    mlp: Mlp,
    output: Linear,
    /// The field of the candidate and the history.
    #[module(skip)]
    field: usize,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: DinConfig,
}

impl Din {
    /// The weight a(e_j, v_A) of each item j of the history of each row, oldest first: how much it counts for the candidate.
    ///
    /// # Errors
    /// Rows of another space; a device that fails to give its numbers back.
    pub fn attention(&self, rows: &EncodedRows) -> Result<Vec<Vec<f32>>> {
        rows.check_space(self.spec.space())?;
        let d = self.config.d_embedding;
        let (keys, histories) = self.histories(rows);
        if keys.dims()[0] == 0 {
            return Ok(vec![Vec::new(); rows.n_rows()]);
        }
        let candidates = self.fields.values(rows).narrow(1, self.field * d, d);
        let weights = read(self.attention.weights(candidates, keys, &histories))?;
        let mut weights = weights.into_iter();
        Ok(histories.into_iter().map(|items| weights.by_ref().take(items.len()).collect()).collect())
    }

    /// v_U(A) of each row.
    ///
    /// # Shapes
    /// - candidates: v_A, `[n_rows, d]`
    /// - output: `[n_rows, d]`
    fn interest(&self, candidates: Tensor<2>, rows: &EncodedRows, rng: Option<&mut Rng>) -> Tensor<2> {
        let (keys, histories) = self.histories(rows);
        self.attention.forward(candidates, keys, &histories, rng)
    }

    /// The keys of all histories, and where those of each row lie: rows of one history share them.
    fn histories(&self, rows: &EncodedRows) -> (Tensor<2>, Vec<Range<usize>>) {
        let (events, histories) = rows.sequences();
        let mut keys = self.fields.ids(&events);
        if let Some(positions) = self.positions.as_ref().filter(|_| !events.is_empty()) {
            let mut apart = histories.clone();
            apart.dedup();
            let layout = SequenceLayout::new(apart.iter().map(ExactSizeIterator::len));
            let slots: Vec<u32> = layout.slots(positions.dims()[0]).collect();
            keys = keys.clone() + kernels::select_rows(positions.val(), id_tensor(&slots, &keys.device()));
        }
        (keys, histories)
    }
}

impl RankingModel for Din {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let (d, p) = (self.config.d_embedding, self.config.dropout);
        let fields = self.fields.forward(rows);
        let candidates = fields.values().narrow(1, self.field * d, d);
        let fields = fields.and(self.interest(candidates, rows, rng.as_deref_mut()));
        let embeddings = fields.values();
        let x = fields.dropout(p, rng.as_deref_mut());
        let deep = self.mlp.forward(x.clone(), rng);
        let mut logits = self.output.forward_columns(0, deep);
        if let Some(cross) = &self.cross {
            let ([_, width], d_deep) = (embeddings.dims(), self.config.mlp.d_output);
            logits = logits + cross.inner_products(x, self.output.weight.val().narrow(0, d_deep, width));
        }
        if let Some(first_order) = &self.first_order {
            logits = logits + first_order.forward(rows) + factorization_machine(embeddings.clone(), d);
        }
        RankingOutput { logits, embeddings }
    }
}
