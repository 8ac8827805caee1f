use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_depth, check_size, check_weight};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{
    Activation, FieldEmbedding, Linear, MlpConfig, TableUpdate, Towers, check_dropout, dropout, mix_experts,
};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`Ple`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `n_labels` | 2 | labels of a row, each a task | ≥ 1 |
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `n_levels` | 2 | extraction levels; one makes CGC | ≥ 1; times `n_labels` at most 16,384 |
/// | `n_task_experts` | 4 | a task's own experts in a level | ≥ 1 |
/// | `n_shared_experts` | 4 | the experts of a level that all tasks share | ≥ 1 |
/// | `d_expert` | 64 | width of an expert | ≥ 1 |
/// | `tower` | 64 → 1, ReLU | the perceptron of each task | ends in width 1 |
/// | `dropout` | 0 | of the field vectors | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PleConfig {
    /// The labels of a row.
    pub n_labels: usize,
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The number of extraction levels.
    pub n_levels: usize,
    /// A task's own experts in a level.
    pub n_task_experts: usize,
    /// The experts of a level that all tasks share.
    pub n_shared_experts: usize,
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

impl Default for PleConfig {
    fn default() -> Self {
        Self {
            n_labels: 2,
            d_embedding: 16,
            n_levels: 2,
            n_task_experts: 4,
            n_shared_experts: 4,
            d_expert: 64,
            tower: MlpConfig::new(1).with_hidden([64]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

const MAX_GROUPS: usize = 1 << 14;

impl RankingConfig for PleConfig {
    type Model = Ple;

    const NAME: &'static str = "ple";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Ple> {
        let spec = RankingSpec::new(space, self.n_labels, &self.objective, self)?;
        check_dropout("PleConfig::dropout", self.dropout)?;
        check_size("PleConfig::d_embedding", self.d_embedding)?;
        for (field, n) in [
            ("PleConfig::n_levels", self.n_levels),
            ("PleConfig::n_task_experts", self.n_task_experts),
            ("PleConfig::n_shared_experts", self.n_shared_experts),
            ("PleConfig::d_expert", self.d_expert),
        ] {
            check_size(field, n)?;
        }
        for (field, n) in [
            ("PleConfig::n_levels", self.n_levels),
            ("PleConfig::n_task_experts", self.n_task_experts),
            ("PleConfig::n_shared_experts", self.n_shared_experts),
        ] {
            check_depth(field, n)?;
        }
        // Each of them has experts and a gate of its own.
        let n_groups = self.n_levels * self.n_labels;
        if n_groups > MAX_GROUPS {
            let expected = format!("at most {MAX_GROUPS} levels times labels");
            return Err(Error::config("PleConfig::n_levels", expected, n_groups));
        }
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let width = (space.n_fields() + space.vector_dims().len()) * d;
        let most = self.n_task_experts.max(self.n_shared_experts);
        check_weight("PleConfig::d_expert", [width.max(self.d_expert), most * self.d_expert])?;
        let level = |level: usize| {
            let d_input = if level == 0 { width } else { self.d_expert };
            Extraction::new(self, d_input, level + 1 == self.n_levels, rng, device)
        };
        let levels = (0..self.n_levels).map(level).collect();
        Ok(Ple {
            levels,
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            towers: Towers::new(self.n_labels, &self.tower, self.d_expert, rng, device)?,
            spec,
            config: self.clone(),
        })
    }
}

/// Several labels from experts of which each task has some of its own: Tang et al. 2020, "Progressive layered extraction
/// (PLE): a novel multi-task learning model for personalized recommendations".
///
/// A level mixes, for task k, its own experts and the shared ones by a gate softmax(W_k x_k) over its input x_k, and, but for
/// the last level, all experts for the shared part (eqs. 1–5 and section 4.2). The first level's inputs all are the vectors
/// of all fields, a later one's what the level below it made. A tower makes the logit of each task. What is minimised is
/// the sum of the labels' losses, each times its [weight](RankingObjective::task_weights).
///
/// Deviations: the gates have a bias; the weights of the losses do not change in training (eq. 8); experts have one layer.
///
/// # Weights
/// The groups g are the tasks in order and then the shared one.
///
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `levels.{l}.experts.{g}.weight`, `.bias` | `[d_input, n_experts · d_expert]`, … | one behind another |
/// | `levels.{l}.gates.{g}.weight`, `.bias` | `[d_input, n_mixed]`, `[n_mixed]` | of a group's own experts, then the shared |
/// | `towers.mlps.{k}.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
#[derive(Module, Debug)]
pub struct Ple {
    fields: FieldEmbedding,
    levels: Vec<Extraction>,
    towers: Towers,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: PleConfig,
}

/// One level: the experts of every group, and the gates of those groups that the next level reads.
#[derive(Module, Debug)]
struct Extraction {
    /// For each group one linear layer with all its experts.
    experts: Vec<Linear>,
    gates: Vec<Linear>,
    #[module(skip)]
    d_expert: usize,
}

impl Extraction {
    fn new(config: &PleConfig, d_input: usize, is_last: bool, rng: &mut Rng, device: &Device) -> Self {
        let &PleConfig { n_labels, n_task_experts, n_shared_experts, d_expert, .. } = config;
        let n_experts = |group: usize| if group < n_labels { n_task_experts } else { n_shared_experts };
        let n_mixed =
            |group: usize| n_shared_experts + n_task_experts * if group < n_labels { 1 } else { n_labels };
        let n_gates = n_labels + usize::from(!is_last);
        let experts =
            (0..=n_labels).map(|group| Linear::grouped(d_input, n_experts(group), d_expert, rng, device));
        Self {
            experts: experts.collect(),
            gates: (0..n_gates).map(|group| Linear::new(d_input, n_mixed(group), rng, device)).collect(),
            d_expert,
        }
    }

    /// What the gates make of the inputs of all groups.
    ///
    /// # Shapes
    /// - inputs: `[n, d_input]` for each group
    /// - output: `[n, d_expert]` for each gate
    fn forward(&self, inputs: &[Tensor<2>]) -> Vec<Tensor<2>> {
        let n = inputs[0].dims()[0];
        let expert = |(layer, x): (&Linear, &Tensor<2>)| {
            let y = layer.forward_activated(x.clone(), Activation::Relu);
            let n_experts = y.dims()[1] / self.d_expert;
            y.reshape([n, n_experts, self.d_expert])
        };
        let experts: Vec<Tensor<3>> = self.experts.iter().zip(inputs).map(expert).collect();
        let shared = experts.len() - 1;
        let mixed = |group: usize| match group {
            _ if group == shared => Tensor::cat(experts.clone(), 1),
            _ => Tensor::cat(vec![experts[group].clone(), experts[shared].clone()], 1),
        };
        let gates = self.gates.iter().enumerate();
        gates
            .map(|(group, gate)| mix_experts(gate.forward(inputs[group].clone()), mixed(group)))
            .map(|y| y.reshape([n, self.d_expert]))
            .collect()
    }
}

impl RankingModel for Ple {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let embeddings = self.fields.values(rows);
        let x = dropout(embeddings.clone(), self.config.dropout, rng.as_deref_mut());
        let inputs = vec![x; self.config.n_labels + 1];
        let extracted = self.levels.iter().fold(inputs, |inputs, level| level.forward(&inputs));
        RankingOutput { logits: self.towers.forward(extracted, rng), embeddings }
    }
}
