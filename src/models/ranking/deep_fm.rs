use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{
    FieldEmbedding, FirstOrder, Mlp, MlpConfig, TableUpdate, check_dropout, factorization_machine,
};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`DeepFm`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `mlp` | 256 → 128 → 1, ReLU | the deep part | ends in width 1 |
/// | `dropout` | 0 | of the field vectors before the deep part | [0, 1) |
/// | `table_update` | dense | which rows of the tables a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeepFmConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The deep part.
    pub mlp: MlpConfig,
    /// The dropout of the field vectors before the deep part.
    pub dropout: f64,
    /// Which rows of the tables a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for DeepFmConfig {
    fn default() -> Self {
        Self {
            d_embedding: 16,
            mlp: MlpConfig::new(1).with_hidden([256, 128]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for DeepFmConfig {
    type Model = DeepFm;

    const NAME: &'static str = "deep_fm";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<DeepFm> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("DeepFmConfig::dropout", self.dropout)?;
        if self.mlp.d_output != 1 {
            return Err(Error::config("DeepFmConfig::mlp", "an output of width 1", self.mlp.d_output));
        }
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let n_vectors = space.n_fields() + space.vector_dims().len();
        Ok(DeepFm {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            first_order: FirstOrder::new(space, update, rng, device),
            mlp: self.mlp.init(n_vectors * d, rng, device)?,
            spec,
            config: self.clone(),
        })
    }
}

/// A factorization machine and a multi-layer perceptron over the same field vectors: Guo et al. 2017, "DeepFM: a
/// factorization-machine based neural network for CTR prediction".
///
/// The logit is y_FM + y_DNN (eq. 1), with y_FM = b + Σ_k w_k x_k + Σ_{f<g} ⟨v_f, v_g⟩ (eq. 2) and y_DNN the perceptron
/// over [v_1, …, v_m] (eqs. 3 and 4).
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `first_order.table.weight` | `[n_ids, 1]` | w |
/// | `first_order.vectors.weight`, `.bias` | `[d_vectors, 1]`, `[1]` | w of fields of vectors, and b |
/// | `fields.table.weight` | `[n_ids, d_embedding]` | v |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
#[derive(Module, Debug)]
pub struct DeepFm {
    first_order: FirstOrder,
    fields: FieldEmbedding,
    mlp: Mlp,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: DeepFmConfig,
}

impl RankingModel for DeepFm {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let pairs = factorization_machine(embeddings.clone(), self.config.d_embedding);
        let deep = self.mlp.forward(fields.dropout(self.config.dropout, rng.as_deref_mut()), rng);
        let logits = self.first_order.forward(rows) + pairs + deep;
        RankingOutput { logits, embeddings }
    }
}
