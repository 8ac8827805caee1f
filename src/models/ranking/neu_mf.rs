use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::{FieldEmbedding, Linear, Mlp, MlpConfig, TableUpdate};
use crate::rng::Rng;
use crate::training::{RankingConfig, RankingModel, RankingObjective, RankingOutput, RankingSpec};

/// The settings of a [`NeuMf`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_gmf` | 16 | width of a vector of the factorization | ≥ 1 |
/// | `d_mlp` | 32 | width of a field's vector for the perceptron | ≥ 1 |
/// | `user` | `user` | the field that stands for the user | a field of the space |
/// | `item` | `item` | the field that stands for the item | a field of the space |
/// | `mlp` | 32 → 16, ReLU | the perceptron; its output layer ends with the activation, too | |
/// | `table_update` | dense | which rows of the tables a step updates | |
/// | `objective` | binary cross-entropy (eq. 7) | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeuMfConfig {
    /// The width of a vector of the factorization.
    pub d_gmf: usize,
    /// The width of a field's vector for the perceptron.
    pub d_mlp: usize,
    /// The field that stands for the user.
    pub user: String,
    /// The field that stands for the item.
    pub item: String,
    /// The perceptron.
    pub mlp: MlpConfig,
    /// Which rows of the tables a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub objective: RankingObjective,
}

impl Default for NeuMfConfig {
    fn default() -> Self {
        Self {
            d_gmf: 16,
            d_mlp: 32,
            user: "user".into(),
            item: "item".into(),
            mlp: MlpConfig::new(16).with_hidden([32]),
            table_update: TableUpdate::Dense,
            objective: RankingObjective::default(),
        }
    }
}

impl RankingConfig for NeuMfConfig {
    type Model = NeuMf;

    const NAME: &'static str = "neu_mf";

    /// Fresh weights for this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range, or a space without one of the fields.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<NeuMf> {
        let spec = RankingSpec::new(space, 1, &self.objective, self)?;
        let field = |setting, name: &String| {
            space.field(name).ok_or_else(|| Error::config(setting, "a field of the space", name))
        };
        let (rng, update) = (&mut Rng::stream(seed, &[0]), self.table_update);
        let n_vectors = space.n_fields() + space.vector_dims().len();
        Ok(NeuMf {
            user: field("NeuMfConfig::user", &self.user)?,
            item: field("NeuMfConfig::item", &self.item)?,
            gmf_fields: FieldEmbedding::new(space, self.d_gmf, update, rng, device)?,
            mlp_fields: FieldEmbedding::new(space, self.d_mlp, update, rng, device)?,
            mlp: self.mlp.init_activated(n_vectors * self.d_mlp, rng, device)?,
            output: Linear::new(self.d_gmf + self.mlp.d_output, 1, rng, device),
            spec,
            config: self.clone(),
        })
    }
}

/// Neural matrix factorization, a factorization and a perceptron behind one output: He et al. 2017, "Neural collaborative
/// filtering" (section 3.4).
///
/// - φ_GMF = p_u ∘ q_i, with the vectors p and q of the one table (eq. 8, eq. 12);
/// - φ_MLP = a(W_L(… a(W_1 [p′_u, q′_i] + b_1) …) + b_L), with the vectors p′ and q′ of the other (eqs. 10 and 12);
/// - the logit is hᵀ [φ_GMF, φ_MLP] (eqs. 11 and 12).
///
/// It is trained with sampled negatives ([`RankingNegatives`](crate::samplers::RankingNegatives); four for each positive,
/// in the paper). An [`ExhaustiveRecaller`](crate::pipeline::ExhaustiveRecaller) makes a recall channel of it, as of
/// any ranker.
///
/// Deviations: the perceptron reads all fields of a space that has others than user and item; h comes with a bias; the
/// two parts are trained together from the start, not each for itself before (section 3.4.1).
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `gmf_fields.table.weight` | `[n_ids, d_gmf]` | p and q |
/// | `mlp_fields.table.weight` | `[n_ids, d_mlp]` | p′ and q′ |
/// | `{gmf,mlp}_fields.vectors.{i}.weight`, `.bias` | `[dim, d]`, `[d]` | of fields of vectors |
/// | `mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | W and b |
/// | `output.weight`, `.bias` | `[d_gmf + d_output, 1]`, `[1]` | h |
#[derive(Module, Debug)]
pub struct NeuMf {
    gmf_fields: FieldEmbedding,
    mlp_fields: FieldEmbedding,
    mlp: Mlp,
    output: Linear,
    /// The field of the user.
    #[module(skip)]
    user: usize,
    /// The field of the item.
    #[module(skip)]
    item: usize,
    #[module(skip)]
    spec: RankingSpec,
    #[module(skip)]
    config: NeuMfConfig,
}

impl RankingModel for NeuMf {
    fn spec(&self) -> &RankingSpec {
        &self.spec
    }

    fn forward(&self, rows: &EncodedRows, rng: Option<&mut Rng>) -> RankingOutput {
        let (gmf, mlp) = (self.gmf_fields.values(rows), self.mlp_fields.forward(rows));
        let d = self.config.d_gmf;
        let [user, item] = [self.user, self.item].map(|field| gmf.clone().narrow(1, field * d, d));
        let embeddings = Tensor::cat(vec![gmf, mlp.values()], 1);
        let both = Tensor::cat(vec![user * item, self.mlp.forward(mlp, rng)], 1);
        RankingOutput { logits: self.output.forward(both), embeddings }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use super::*;
    use crate::features::EncodedRow;
    use crate::layers::read;

    #[test]
    fn equals_its_equations() {
        let space = FeatureSpace::default().with_field("item", 3).unwrap().with_field("user", 2).unwrap();
        let config =
            NeuMfConfig { d_gmf: 4, d_mlp: 3, mlp: MlpConfig::new(2).with_hidden([5]), ..Default::default() };
        let model = config.init(&space, 7, &Device::flex()).unwrap();
        let pairs = [(0u32, 3u32), (2, 4), (1, 3)];
        let mut rows = EncodedRows::new(space, 1);
        for (item, user) in pairs {
            let bags: [&[(u32, f32)]; 2] = [&[(item, 1.0)], &[(user, 1.0)]];
            rows.push(EncodedRow { bags: &bags, labels: &[0.0], ..EncodedRow::default() }).unwrap();
        }
        let h = read(model.output.weight.val()).unwrap();
        let logits = read(model.forward(&rows, None).logits).unwrap();
        for ((item, user), logit) in pairs.into_iter().zip(logits) {
            let [p, q] = [user, item].map(|id| read(model.gmf_fields.ids(&[id])).unwrap());
            let fields = model.mlp_fields.ids(&[item, user]).reshape([1, 6]);
            let deep = read(model.mlp.forward(fields, None)).unwrap();
            assert!(deep.iter().all(|&x| x >= 0.0), "the last layer is activated: {deep:?}");
            let phi = p.iter().zip(&q).map(|(p, q)| p * q).chain(deep);
            let expected: f64 = phi.zip(&h).map(|(phi, &h)| f64::from(phi) * f64::from(h)).sum();
            assert!((f64::from(logit) - expected).abs() < 1e-7, "{logit}, {expected}");
        }
    }
}
