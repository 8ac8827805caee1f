use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_depth, check_size, check_weight};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FieldEmbedding, MixtureOfExperts, MlpConfig, TableUpdate, Towers, check_dropout};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of an [`Mmoe`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `n_labels` | 2 | labels of a row, each a task | ≥ 1 |
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `n_experts` | 8 | experts, which all tasks share | ≥ 1 |
/// | `d_expert` | 64 | width of an expert | ≥ 1 |
/// | `tower` | 64 → 1, ReLU | the perceptron of each task | ends in width 1 |
/// | `dropout` | 0 | of the field vectors | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmoeConfig {
    /// The labels of a row.
    pub n_labels: usize,
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The number of experts.
    pub n_experts: usize,
    /// The width of an expert.
    pub d_expert: usize,
    /// The perceptron of each task.
    pub tower: MlpConfig,
    /// The dropout of the field vectors.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for MmoeConfig {
    fn default() -> Self {
        Self {
            n_labels: 2,
            d_embedding: 16,
            n_experts: 8,
            d_expert: 64,
            tower: MlpConfig::new(1).with_hidden([64]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for MmoeConfig {
    type Model = Mmoe;

    const NAME: &'static str = "mmoe";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Mmoe> {
        let spec = RankingSpec::new(space, self.n_labels, &self.objective, self)?;
        check_dropout("MmoeConfig::dropout", self.dropout)?;
        check_size("MmoeConfig::d_embedding", self.d_embedding)?;
        check_size("MmoeConfig::n_experts", self.n_experts)?;
        check_depth("MmoeConfig::n_experts", self.n_experts)?;
        check_size("MmoeConfig::d_expert", self.d_expert)?;
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let width = (space.n_fields() + space.vector_dims().len()) * d;
        let (n_experts, d_expert, n_labels) = (self.n_experts, self.d_expert, self.n_labels);
        check_weight("MmoeConfig::d_expert", [width, n_experts * d_expert.max(n_labels)])?;
        Ok(Mmoe {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            experts: MixtureOfExperts::new(width, n_experts, d_expert, n_labels, rng, device),
            towers: Towers::new(n_labels, &self.tower, d_expert, rng, device)?,
            spec,
            config: self.clone(),
        })
    }
}

/// Several labels from experts that all tasks share and each task mixes in its own way: Ma et al. 2018, "Modeling task
/// relationships in multi-task learning with multi-gate mixture-of-experts" (MMoE).
///
/// The logit of label k is h^k(f^k(x)) with f^k(x) = Σ_i g^k(x)_i f_i(x) and g^k(x) = softmax(W_gk x) (eqs. 5–7), over the
/// vectors x of all fields. What is minimised is the sum of the labels' losses, each times its
/// [weight](RankingObjective::task_weights).
///
/// Deviation: the gates have a bias.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `experts.experts.weight`, `.bias` | `[d_input, n_experts · d_expert]`, … | f, one behind another |
/// | `experts.gates.weight`, `.bias` | `[d_input, n_labels · n_experts]`, … | W_g, one behind another |
/// | `towers.mlps.{k}.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | h^k |
#[derive(Module, Debug)]
pub struct Mmoe {
    fields: FieldEmbedding,
    experts: MixtureOfExperts,
    towers: Towers,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: MmoeConfig,
}

impl RankingModel for Mmoe {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let x = fields.dropout(self.config.dropout, rng.as_deref_mut());
        let mixed = self.experts.forward(x);
        let [n, n_labels, d_expert] = mixed.dims();
        let mixed = mixed.reshape([n, n_labels * d_expert]);
        let tasks = (0..n_labels).map(|task| mixed.clone().narrow(1, task * d_expert, d_expert));
        RankingOutput { logits: self.towers.forward(tasks, rng), embeddings }
    }
}
