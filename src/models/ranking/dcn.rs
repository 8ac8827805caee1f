use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{
    Cross, CrossNetwork, FieldEmbedding, Linear, Mlp, MlpConfig, TableUpdate, check_dropout,
};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// How the cross network and the perceptron of a [`Dcn`] are joined (Wang et al. 2021, figure 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DcnStructure {
    /// Both read the field vectors, and the output layer reads both.
    #[default]
    Parallel,
    /// The perceptron reads the output of the cross network.
    Stacked,
}

/// The settings of a [`Dcn`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `field_widths` | none | widths of the vectors of fields that are narrower, by name | 1 to d |
/// | `cross` | matrix, that is DCN-V2 | how a cross layer mixes | |
/// | `n_cross` | 3 | cross layers | ≥ 0 |
/// | `structure` | parallel | how the cross network and the perceptron are joined | |
/// | `mlp` | 256 → 128, ReLU | the deep part; its output layer ends with the activation, too | |
/// | `dropout` | 0 | of the field vectors | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DcnConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The widths of the vectors of fields that are narrower, by name.
    pub field_widths: BTreeMap<String, usize>,
    /// How a cross layer mixes.
    pub cross: Cross,
    /// The number of cross layers.
    pub n_cross: usize,
    /// How the cross network and the perceptron are joined.
    pub structure: DcnStructure,
    /// The deep part.
    pub mlp: MlpConfig,
    /// The dropout of the field vectors.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for DcnConfig {
    fn default() -> Self {
        Self {
            d_embedding: 16,
            field_widths: BTreeMap::new(),
            cross: Cross::Matrix,
            n_cross: 3,
            structure: DcnStructure::Parallel,
            mlp: MlpConfig::new(128).with_hidden([256]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for DcnConfig {
    type Model = Dcn;

    const NAME: &'static str = "dcn";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Dcn> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("DcnConfig::dropout", self.dropout)?;
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let fields = FieldEmbedding::new(space, d, update, rng, device)?;
        let fields = fields.with_widths(space, &self.field_widths)?;
        let width = fields.width();
        let d_deep = self.mlp.d_output;
        let d_output = match self.structure {
            DcnStructure::Parallel => width + d_deep,
            DcnStructure::Stacked => d_deep,
        };
        Ok(Dcn {
            fields,
            cross: CrossNetwork::new(self.cross, self.n_cross, width, rng, device)?,
            mlp: self.mlp.init_activated(width, rng, device)?,
            output: Linear::new(d_output, 1, rng, device),
            spec,
            config: self.clone(),
        })
    }
}

/// A cross network and a multi-layer perceptron: DCN (Wang et al. 2017, "Deep & Cross network for ad click predictions")
/// with [`Cross::Vector`], DCN-V2 (Wang et al. 2021, "DCN V2: improved Deep & Cross network and practical lessons for
/// web-scale learning to rank systems") with [`Cross::Matrix`] and [`Cross::LowRank`].
///
/// With the field vectors x_0 = [v_1, …, v_m], the cross network's output x_l and the perceptron's h, the logit is
/// wᵀ [x_l, h] + b (DCN eq. 6; DCN-V2 figure 1b) or, stacked, wᵀ h(x_l) + b (figure 1a).
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | v |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `cross.vectors.{l}` | `[2, d_0]` | w_l and b_l of DCN |
/// | `cross.factors.{l}` | `[d_0, rank]` | V_l of a low rank |
/// | `cross.matrices.{l}.weight`, `.bias` | `[d_0, d_0]` or `[rank, d_0]`, `[d_0]` | W_l or U_lᵀ, and b_l of DCN-V2 |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `output.weight`, `.bias` | `[d_output, 1]`, `[1]` | |
#[derive(Module, Debug)]
pub struct Dcn {
    fields: FieldEmbedding,
    cross: CrossNetwork,
    mlp: Mlp,
    output: Linear,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: DcnConfig,
}

impl RankingModel for Dcn {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let x0 = fields.dropout(self.config.dropout, rng.as_deref_mut());
        let logits = match self.config.structure {
            DcnStructure::Parallel => {
                let [_, width] = embeddings.dims();
                let of_cross = self.output.weight.val().narrow(0, 0, width);
                let crossed = self.cross.inner_products(x0.clone(), of_cross);
                self.output.forward_columns(width, self.mlp.forward(x0, rng)) + crossed
            }
            DcnStructure::Stacked => self.output.forward(self.mlp.forward(self.cross.forward(x0), rng)),
        };
        RankingOutput { logits, embeddings }
    }
}
