use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_depth};
use crate::features::{EncodedRows, FeatureSpace};
use crate::layers::read;
use crate::losses::RankingLoss;
use crate::rng::Rng;
use crate::training::{RankingBatch, Trainable};

/// What a ranking model minimises.
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `loss` | binary cross-entropy | of the logit of each label | |
/// | `task_weights` | all 1 | of each label's loss in the sum | one for each label, ≥ 0 |
/// | `l2` | 0 | λ of the penalty λ Σ ‖e‖², the mean over rows of the sum over a row's field vectors e | ≥ 0 |
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankingObjective {
    /// What is minimised for each label.
    pub loss: RankingLoss,
    /// The weight of each label; 1 if empty.
    pub task_weights: Vec<f64>,
    /// The penalty of the field vectors.
    pub l2: f64,
}

impl RankingObjective {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        self.loss.validate()?;
        let at_least_0 = |x: &f64| x.is_finite() && *x >= 0.0;
        if let Some(weight) = self.task_weights.iter().find(|weight| !at_least_0(weight)) {
            return Err(Error::config("RankingObjective::task_weights", "numbers of at least 0", weight));
        }
        if !at_least_0(&self.l2) {
            return Err(Error::config("RankingObjective::l2", "a number of at least 0", self.l2));
        }
        Ok(())
    }

    /// The loss of a batch.
    fn forward(&self, output: RankingOutput, rows: &EncodedRows) -> Tensor<1> {
        let ([n, n_labels], device) = (output.logits.dims(), output.logits.device());
        assert_eq!(n_labels, rows.n_labels(), "a logit for each label");
        let labels = TensorData::new(rows.labels().to_vec(), [n, n_labels]);
        let labels = Tensor::<2>::from_data(labels, &device);
        let of_task = |task: usize| {
            let column = |x: &Tensor<2>| x.clone().narrow(1, task, 1).reshape([n]);
            let loss = self.loss.forward(column(&output.logits), column(&labels));
            loss.mul_scalar(self.task_weights.get(task).copied().unwrap_or(1.0))
        };
        let loss = (1..n_labels).fold(of_task(0), |sum, task| sum + of_task(task));
        if self.l2 == 0.0 {
            return loss;
        }
        loss + output.embeddings.square().sum().mul_scalar(self.l2 / n as f64)
    }
}

/// What a ranking model makes of rows.
#[derive(Clone, Debug)]
pub struct RankingOutput {
    /// One logit for each label, `[n, n_labels]`.
    pub logits: Tensor<2>,
    /// The vectors of all fields of each row, `[n, …]`: what the penalty is taken of.
    pub embeddings: Tensor<2>,
}

/// What a ranking model was made for, and from.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingSpec {
    space: FeatureSpace,
    n_labels: usize,
    objective: RankingObjective,
    settings: serde_json::Value,
}

impl RankingSpec {
    /// Of a model of rows of this space, with a logit for each of `n_labels` labels, made from `config`.
    ///
    /// # Errors
    /// A space that holds nothing, no label, or an objective outside its ranges.
    pub fn new(
        space: &FeatureSpace,
        n_labels: usize,
        objective: &RankingObjective,
        config: &impl Serialize,
    ) -> Result<Self> {
        objective.validate()?;
        if space.n_fields() + space.vector_dims().len() == 0 {
            return Err(Error::config("RankingSpec::space", "a space with at least one field", "none"));
        }
        if n_labels == 0 {
            return Err(Error::config("RankingSpec::n_labels", "at least 1", 0));
        }
        check_depth("RankingSpec::n_labels", n_labels)?;
        let (space, objective) = (space.clone(), objective.clone());
        Ok(Self { space, n_labels, objective, settings: serde_json::json!(config) })
    }

    /// What the rows hold.
    pub fn space(&self) -> &FeatureSpace {
        &self.space
    }

    /// The labels of a row that the model gives a logit each.
    pub fn n_labels(&self) -> usize {
        self.n_labels
    }

    /// What the model minimises.
    pub fn objective(&self) -> &RankingObjective {
        &self.objective
    }

    /// All settings, as JSON: what a checkpoint compares.
    pub fn settings(&self) -> &serde_json::Value {
        &self.settings
    }
}

/// The settings of a ranking model.
pub trait RankingConfig: Serialize + DeserializeOwned {
    /// The model.
    type Model: RankingModel;

    /// What the model is called in files.
    const NAME: &'static str;

    /// Fresh weights for rows of this space, drawn from `seed`.
    ///
    /// # Errors
    /// A setting outside its range, or a space that lacks what the model reads.
    fn init(&self, space: &FeatureSpace, seed: u64, device: &Device) -> Result<Self::Model>;
}

/// A model of rows of fields: a module that gives each row a logit for each label.
pub trait RankingModel: Module + Sync + 'static {
    /// What it was made for, and from.
    fn spec(&self) -> &RankingSpec;

    /// The logits of rows of its space; `rng` draws the dropout masks in training and is `None` in inference.
    ///
    /// # Panics
    /// If the rows are of another space.
    fn forward(&self, rows: &EncodedRows, rng: Option<&mut Rng>) -> RankingOutput;
}

impl<M: RankingModel> Trainable for M {
    type Batch = RankingBatch;

    fn loss(&self, batch: RankingBatch) -> Tensor<1> {
        let output = self.forward(&batch.rows, Some(&mut Rng::new(batch.seed)));
        self.spec().objective.forward(output, &batch.rows)
    }

    fn settings(&self) -> serde_json::Value {
        self.spec().settings.clone()
    }

    fn check_batches(&self, settings: &serde_json::Value) -> Result<()> {
        let RankingSpec { space, n_labels, objective, .. } = self.spec();
        let (rows_per_group, n_weights) = (objective.loss.rows_per_group(), objective.task_weights.len());
        if n_weights != 0 && n_weights != *n_labels {
            let expected = format!("none, or one for each of the model's {n_labels} labels");
            return Err(Error::config("RankingObjective::task_weights", expected, n_weights));
        }
        for (field, expected) in [
            ("space", serde_json::json!(space)),
            ("rows_per_group", rows_per_group.into()),
            ("n_labels", (*n_labels).into()),
        ] {
            if settings.get(field).is_some_and(|found| *found != expected) {
                let found = settings[field].to_string();
                return Err(Error::config(
                    "RankingBatches",
                    format!("{field} = {expected}, as the model"),
                    found,
                ));
            }
        }
        Ok(())
    }
}

/// The probability σ(logit) of each label of each row, `[n_rows, n_labels]`.
///
/// # Errors
/// Rows of another space; a device that fails to give its numbers back.
pub fn predict(model: &impl RankingModel, rows: &EncodedRows) -> Result<Vec<f32>> {
    const ROWS_PER_PASS: usize = 8_192;
    rows.check_space(&model.spec().space)?;
    let mut probabilities = Vec::with_capacity(rows.n_rows() * rows.n_labels().max(1));
    let all: Vec<usize> = (0..rows.n_rows()).collect();
    for part in all.chunks(ROWS_PER_PASS) {
        let logits = model.forward(&rows.select(part), None).logits;
        probabilities.extend(read(activation::sigmoid(logits))?);
    }
    Ok(probabilities)
}
