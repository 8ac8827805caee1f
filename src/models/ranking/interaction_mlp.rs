use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FieldEmbedding, HiddenNorm, Mlp, MlpConfig, TableUpdate, check_dropout};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of an [`InteractionMlp`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 64 | width d of a field's vector | ≥ 1 |
/// | `user` | `user` | the field that stands for the user | a field of the space |
/// | `item` | `item` | the field that stands for the item | a field of the space |
/// | `mlp` | 128 → 64 → 1, layer norm, ReLU | the perceptron | ends in width 1 |
/// | `dropout` | 0 | of the perceptron's input | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InteractionMlpConfig {
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The field that stands for the user.
    pub user: String,
    /// The field that stands for the item.
    pub item: String,
    /// The perceptron.
    pub mlp: MlpConfig,
    /// The dropout of the perceptron's input.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for InteractionMlpConfig {
    fn default() -> Self {
        Self {
            d_embedding: 64,
            user: "user".into(),
            item: "item".into(),
            mlp: MlpConfig::new(1).with_hidden([128, 64]).with_norm(HiddenNorm::Layer),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for InteractionMlpConfig {
    type Model = InteractionMlp;

    const NAME: &'static str = "interaction_mlp";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range, or a space without one of the fields.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<InteractionMlp> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        check_dropout("InteractionMlpConfig::dropout", self.dropout)?;
        if self.mlp.d_output != 1 {
            let found = self.mlp.d_output;
            return Err(Error::config("InteractionMlpConfig::mlp", "an output of width 1", found));
        }
        let field = |setting, name: &String| {
            space.field(name).ok_or_else(|| Error::config(setting, "a field of the space", name))
        };
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let n_vectors = space.n_fields() + space.vector_dims().len();
        Ok(InteractionMlp {
            user: field("InteractionMlpConfig::user", &self.user)?,
            item: field("InteractionMlpConfig::item", &self.item)?,
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            mlp: self.mlp.init((n_vectors + 1) * d, rng, device)?,
            spec,
            config: self.clone(),
        })
    }
}

/// A perceptron that is given the product it could hardly learn: the logit is MLP([v_user, v_item, …, v_user ∘ v_item]),
/// with the vectors of all other fields, if there are any, between.
///
/// The product is the interaction of generalized matrix factorization; joined with the perceptron's inputs before its first
/// layer instead of behind its last one it makes one network of the two of He et al. 2017, "Neural collaborative
/// filtering", with one table (eq. 12 has two of each). Layer norm takes the place of their pre-training.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `mlp.layer_norms.{l}.gamma`, `.beta` | `[d_output]` | |
#[derive(Module, Debug)]
pub struct InteractionMlp {
    fields: FieldEmbedding,
    mlp: Mlp,
    /// The field of the user.
    #[module(skip)]
    user: usize,
    /// The field of the item.
    #[module(skip)]
    item: usize,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: InteractionMlpConfig,
}

impl RankingModel for InteractionMlp {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let d = self.config.d_embedding;
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let [user, item] = [self.user, self.item].map(|field| embeddings.clone().narrow(1, field * d, d));
        let x = fields.and(user * item).dropout(self.config.dropout, rng.as_deref_mut());
        RankingOutput { logits: self.mlp.forward(x, rng), embeddings }
    }
}
