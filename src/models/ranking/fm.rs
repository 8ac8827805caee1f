use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FieldEmbedding, FirstOrder, TableUpdate, factorization_machine};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of an [`Fm`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 16 | number of factors d | ≥ 1 |
/// | `table_update` | dense | which rows of the tables a step updates | |
/// | `objective` | binary cross-entropy | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FmConfig {
    /// The number of factors.
    pub d_embedding: usize,
    /// Which rows of the tables a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for FmConfig {
    fn default() -> Self {
        Self { d_embedding: 16, table_update: TableUpdate::Dense, objective: RankingObjective::default() }
    }
}

impl RankingConfig for FmConfig {
    type Model = Fm;

    const NAME: &'static str = "fm";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Fm> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        let (rng, d, update) = (&mut Rng::stream(seed, &[0]), self.d_embedding, self.table_update);
        Ok(Fm {
            fields: FieldEmbedding::new(space, d, update, rng, device)?,
            first_order: FirstOrder::new(space, update, rng, device),
            spec,
            config: self.clone(),
        })
    }
}

/// A factorization machine of second order (Rendle 2010, eq. 1): the logit is
/// b + Σ_k w_k x_k + Σ_{f<g} ⟨v_f, v_g⟩ over the vectors v of the fields.
///
/// Deviation: the ids of one field (a list, say) do not meet each other; their vectors are summed first.
#[derive(Module, Debug)]
pub struct Fm {
    first_order: FirstOrder,
    fields: FieldEmbedding,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: FmConfig,
}

impl RankingModel for Fm {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, _rng: Option<&mut Rng>) -> RankingOutput {
        let embeddings = self.fields.values(rows);
        let pairs = factorization_machine(embeddings.clone(), self.config.d_embedding);
        RankingOutput { logits: self.first_order.forward(rows) + pairs, embeddings }
    }
}
