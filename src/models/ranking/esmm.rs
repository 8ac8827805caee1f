use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_size};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FieldEmbedding, MlpConfig, TableUpdate, Towers, check_dropout, logit_of_product};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of an [`Esmm`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `n_labels` | 2 | labels of a row, each a step behind the one before it | ≥ 2 |
/// | `d_embedding` | 16 | width d of a field's vector | ≥ 1 |
/// | `tower` | 256 → 128 → 1, ReLU | the perceptron of each step | ends in width 1 |
/// | `dropout` | 0 | of the field vectors | [0, 1) |
/// | `table_update` | dense | which rows of the table a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EsmmConfig {
    /// The labels of a row.
    pub n_labels: usize,
    /// The width of a field's vector.
    pub d_embedding: usize,
    /// The perceptron of each step.
    pub tower: MlpConfig,
    /// The dropout of the field vectors.
    pub dropout: f64,
    /// Which rows of the table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for EsmmConfig {
    fn default() -> Self {
        Self {
            n_labels: 2,
            d_embedding: 16,
            tower: MlpConfig::new(1).with_hidden([256, 128]),
            dropout: 0.0,
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for EsmmConfig {
    type Model = Esmm;

    const NAME: &'static str = "esmm";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Esmm> {
        let spec = RankingSpec::new(space, self.n_labels, &self.objective, self)?;
        check_dropout("EsmmConfig::dropout", self.dropout)?;
        check_size("EsmmConfig::d_embedding", self.d_embedding)?;
        if self.n_labels < 2 {
            return Err(Error::config("EsmmConfig::n_labels", "at least 2", self.n_labels));
        }
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        let width = (space.n_fields() + space.vector_dims().len()) * d;
        Ok(Esmm {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            towers: Towers::new(self.n_labels, &self.tower, width, rng, device)?,
            spec,
            config: self.clone(),
        })
    }
}

/// Steps that follow each other, of which each is learned from all rows: Ma et al. 2018, "Entire space multi-task model: an
/// effective approach for estimating post-click conversion rate" (ESMM).
///
/// The labels are the steps, each 1 only where the one before it is: y click, and z click and conversion. With the towers'
/// pCTR and pCVR over shared field vectors, the probability of z is pCTCVR = pCTR · pCVR (eq. 1), and what is minimised is
/// the loss of pCTR against y and of pCTCVR against z (eq. 3), over all impressions; pCVR has no label of its own, and so
/// no bias from being seen on clicks only.
///
/// The outputs are the logits of pCTR and pCTCVR, so that every [`RankingObjective`] applies as it is; pCVR is the quotient of
/// the probabilities. Further labels go on with the product: of an order after the conversion, say.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `fields.table.weight` | `[n_ids, d_embedding]` | |
/// | `fields.vectors.{i}.weight`, `.bias` | `[dim, d_embedding]`, `[d_embedding]` | of fields of vectors |
/// | `towers.mlps.{k}.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | of step k, given those before it |
#[derive(Module, Debug)]
pub struct Esmm {
    fields: FieldEmbedding,
    towers: Towers,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: EsmmConfig,
}

impl RankingModel for Esmm {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, mut rng: Option<&mut Rng>) -> RankingOutput {
        let fields = self.fields.forward(rows);
        let embeddings = fields.values();
        let x = fields.dropout(self.config.dropout, rng.as_deref_mut());
        let steps = self.towers.forward(vec![x; self.config.n_labels], rng);
        let mut logits = vec![steps.clone().narrow(1, 0, 1)];
        for step in 1..self.config.n_labels {
            let both = logit_of_product(logits[step - 1].clone(), steps.clone().narrow(1, step, 1));
            logits.push(both);
        }
        RankingOutput { logits: Tensor::cat(logits, 1), embeddings }
    }
}
