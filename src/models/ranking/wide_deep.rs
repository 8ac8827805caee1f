use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FieldEmbedding, FirstOrder, Mlp, MlpConfig, TableUpdate, check_dropout};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`WideDeep`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `field_widths` | none | widths of the vectors of fields that are narrower, by name | 1 to d |
/// | `mlp` | 256 → 128 → 1, ReLU | the deep part | ends in width 1 |
/// | `dropout` | 0 | of the field vectors before the deep part | [0, 1) |
/// | `table_update` | dense | which rows of the tables a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WideDeepConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The widths of the vectors of fields that are narrower, by name.
    pub field_widths: BTreeMap<String, usize>,
    /// The deep part.
    pub mlp: MlpConfig,
    /// The dropout of the field vectors before the deep part.
    pub dropout: f64,
    /// Which rows of the tables a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for WideDeepConfig {
    fn default() -> Self {
        Self {
            d_embedding: 16,
            field_widths: BTreeMap::new(),
            mlp: MlpConfig::new(1).with_hidden([256, 128]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for WideDeepConfig {
    type Model = WideDeep;

    const NAME: &'static str = "wide_deep";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<WideDeep> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("WideDeepConfig::dropout", self.dropout)?;
        if self.mlp.d_output != 1 {
            return Err(Error::config("WideDeepConfig::mlp", "an output of width 1", self.mlp.d_output));
        }
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let fields = FieldEmbedding::new(space, d, update, rng, device)?;
        let fields = fields.with_widths(space, &self.field_widths)?;
        Ok(WideDeep {
            mlp: self.mlp.init(fields.width(), rng, device)?,
            first_order: FirstOrder::new(space, update, rng, device),
            fields,
            spec,
            config: self.clone(),
        })
    }
}

/// A linear model and a multi-layer perceptron, trained together: Cheng et al. 2016, "Wide & Deep learning for recommender
/// systems".
///
/// The logit is w_wideᵀ x + w_deepᵀ a (eq. 3), with the ids of all fields as x.
///
/// Deviations: products of fields (eq. 1) are ids of their own field if they are wanted; both parts have one optimizer.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `first_order.table.weight` | `[n_ids, 1]` | w_wide |
/// | `first_order.vectors.weight`, `.bias` | `[d_vectors, 1]`, `[1]` | w_wide of fields of vectors, and b |
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
#[derive(Module, Debug)]
pub struct WideDeep {
    first_order: FirstOrder,
    fields: FieldEmbedding,
    mlp: Mlp,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: WideDeepConfig,
}

impl RankingModel for WideDeep {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let x = fields.dropout(self.config.dropout, rng.as_deref_mut());
        let logits = self.first_order.forward(rows) + self.mlp.forward(x, rng);
        RankingOutput { logits, embeddings }
    }
}
