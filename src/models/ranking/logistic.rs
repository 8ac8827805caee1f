use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FirstOrder, TableUpdate};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`Logistic`].
///
/// | setting | default | purpose |
/// |---|---|---|
/// | `table_update` | dense | which weights a step updates |
/// | `objective` | binary cross-entropy | what is minimised; `l2` is not applied |
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticConfig {
    /// Which weights a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl RankingConfig for LogisticConfig {
    type Model = Logistic;

    const NAME: &'static str = "logistic";

    /// A model of this space whose weights are all 0.
    ///
    /// # Errors
    /// A setting outside its range.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Logistic> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        let rng = &mut Rng::stream(seed, &[0]);
        Ok(Logistic {
            first_order: FirstOrder::new(space, self.table_update, rng, device),
            spec,
            config: self.clone(),
        })
    }
}

/// Logistic regression: P(y = 1) = σ(b + Σ_k w_k x_k).
#[derive(Module, Debug)]
pub struct Logistic {
    first_order: FirstOrder,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: LogisticConfig,
}

impl RankingModel for Logistic {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, _rng: Option<&mut Rng>) -> RankingOutput {
        let logits = self.first_order.forward(rows);
        RankingOutput { embeddings: logits.clone(), logits }
    }
}
