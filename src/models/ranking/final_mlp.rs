use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_size};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{
    BilinearFusion, FieldEmbedding, Init, Mlp, MlpConfig, TableUpdate, check_dropout, dropout,
};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`FinalMlp`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `contexts` | none | the fields that each stream's gate reads; none: a learned vector | fields of the space |
/// | `d_gate` | 64 | width of the gates' hidden layer | ≥ 1 |
/// | `mlps` | 256 → 128, ReLU, both | the streams; their output layers end with the activation, too | |
/// | `n_heads` | 8 | heads of the fusion | divides the width of both streams |
/// | `dropout` | 0 | of the field vectors | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinalMlpConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The names of the fields that each stream's gate reads; none makes it read a learned vector.
    pub contexts: [Vec<String>; 2],
    /// The width of the gates' hidden layer.
    pub d_gate: usize,
    /// The two streams.
    pub mlps: [MlpConfig; 2],
    /// The heads of the fusion.
    pub n_heads: usize,
    /// The dropout of the field vectors.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for FinalMlpConfig {
    fn default() -> Self {
        let mlp = MlpConfig::new(128).with_hidden([256]);
        Self {
            d_embedding: 16,
            contexts: [Vec::new(), Vec::new()],
            d_gate: 64,
            mlps: [mlp.clone(), mlp],
            n_heads: 8,
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl FinalMlpConfig {
    /// The gate of stream `i`, for field vectors of this width together.
    fn gate(
        &self,
        i: usize,
        space: &FeatureSpace,
        width: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Gate> {
        let field = |name: &String| {
            space
                .field(name)
                .ok_or_else(|| Error::config("FinalMlpConfig::contexts", "fields of the space", name))
        };
        let fields: Vec<usize> = self.contexts[i].iter().map(field).collect::<Result<_>>()?;
        let d_context = fields.len().max(1) * self.d_embedding;
        let mlp = MlpConfig::new(width).with_hidden([self.d_gate]);
        let learned = || Init::Normal { std: 0.01 }.param([1, d_context], rng, device);
        Ok(Gate { context: fields.is_empty().then(learned), mlp: mlp.init(d_context, rng, device)?, fields })
    }
}

impl RankingConfig for FinalMlpConfig {
    type Model = FinalMlp;

    const NAME: &'static str = "final_mlp";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range, or a context that is no field of the space.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<FinalMlp> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("FinalMlpConfig::dropout", self.dropout)?;
        check_size("FinalMlpConfig::d_embedding", self.d_embedding)?;
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let width = (space.n_fields() + space.vector_dims().len()) * d;
        Ok(FinalMlp {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            gates: (0..2).map(|i| self.gate(i, space, width, rng, device)).collect::<Result<_>>()?,
            mlps: self
                .mlps
                .iter()
                .map(|mlp| mlp.init_activated(width, rng, device))
                .collect::<Result<_>>()?,
            fusion: BilinearFusion::new(
                self.mlps[0].d_output,
                self.mlps[1].d_output,
                self.n_heads,
                rng,
                device,
            )?,
            spec,
            config: self.clone(),
        })
    }
}

/// Two perceptrons that each see the fields in another light, and a bilinear form that joins them: Mao et al. 2023,
/// "FinalMLP: an enhanced two-stream MLP model for CTR prediction".
///
/// With all field vectors e = [v_1, …, v_m] (section "Stream-specific feature selection" and "Stream-level interaction
/// aggregation"):
///
/// h_i = 2 σ(Gate_i(c_i)) ∘ e,  o_i = MLP_i(h_i),  logit = b + ⟨w_1, o_1⟩ + ⟨w_2, o_2⟩ + Σ_h o_1hᵀ W_h o_2h
///
/// where the context c_i is the vectors of some fields (the user's for the one stream and the item's for the other, say),
/// or a learned vector.
///
/// Deviation: the gates read the field vectors that the streams read, instead of vectors of their own.
///
/// It stands here for xDeepFM (Lian et al. 2018): the paper reports it ahead on all four of its benchmarks (Criteo, Avazu,
/// MovieLens, Frappe), and two perceptrons and a batched product cost less than xDeepFM's products of every field
/// map with every field.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `gates.{i}.context` | `[1, d_embedding]` | of a gate without fields |
/// | `gates.{i}.mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | Gate_i |
/// | `mlps.{i}.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | MLP_i |
/// | `fusion.linear.weight`, `.bias` | `[d_1 + d_2, 1]`, `[1]` | w_1, w_2 and b |
/// | `fusion.matrices` | `[n_heads, d_1 / n_heads, d_2 / n_heads]` | W |
#[derive(Module, Debug)]
pub struct FinalMlp {
    fields: FieldEmbedding,
    gates: Vec<Gate>,
    mlps: Vec<Mlp>,
    fusion: BilinearFusion,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: FinalMlpConfig,
}

/// What a stream sees of each number of the field vectors: 2 σ(MLP(context)).
#[derive(Module, Debug)]
struct Gate {
    /// `[1, d_context]`, where no field is the context.
    context: Option<Param<Tensor<2>>>,
    mlp: Mlp,
    #[module(skip)]
    fields: Vec<usize>,
}

impl Gate {
    /// # Shapes
    /// - embeddings: `[n, m · d]`
    /// - output: `[n, m · d]`
    fn forward(&self, embeddings: Tensor<2>, d: usize, rng: Option<&mut Rng>) -> Tensor<2> {
        let context = match &self.context {
            Some(context) => context.val(),
            None => {
                let field = |&field: &usize| embeddings.clone().narrow(1, field * d, d);
                Tensor::cat(self.fields.iter().map(field).collect(), 1)
            }
        };
        embeddings * activation::sigmoid(self.mlp.forward(context, rng)).mul_scalar(2.0)
    }
}

impl RankingModel for FinalMlp {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let embeddings = self.fields.values(rows);
        let x = dropout(embeddings.clone(), self.config.dropout, rng.as_deref_mut());
        let mut stream = |i: usize| {
            let gated = self.gates[i].forward(x.clone(), self.config.d_embedding, rng.as_deref_mut());
            self.mlps[i].forward(gated, rng.as_deref_mut())
        };
        let [first, second] = [stream(0), stream(1)];
        RankingOutput { logits: self.fusion.forward(first, second), embeddings }
    }
}
