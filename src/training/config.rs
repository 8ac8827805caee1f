use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{LearningRateSchedule, Optimizer, Plateau, RowOptimizer};
use crate::error::{Error, Result, check_size};

/// How a model is fitted.
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `epochs` | 20 | passes over the batch source, at most | 1 to 2²⁰ |
/// | `optimizer` | [`Optimizer::adam`] | how a gradient becomes a step | see [`AdamConfig`](super::AdamConfig) |
/// | `row_optimizer` | lazy | how the rows of a sparsely updated table step | see [`RowOptimizer`] |
/// | `learning_rate` | 0.001 | the base rate | > 0 |
/// | `schedule` | constant | how the rate changes over the run | see [`LearningRateSchedule`] |
/// | `plateau` | none | lowers the rate where the monitored metric no longer rises | see [`Plateau`] |
/// | `max_gradient_norm` | none | the gradient of all parameters together is scaled down to this norm | > 0 |
/// | `weight_average` | none | the decay of a [moving average of the weights](#averaged-weights), validated and kept in their place | (0, 1) |
/// | `patience` | none | stop after this many epochs without a better monitored metric | ≥ 1 |
/// | `validate_every` | 1 | epochs from one validation to the next; the last epoch is always validated | ≥ 1 |
/// | `checkpoint_dir` | none | the folder of the run's checkpoints, from which it resumes | |
/// | `checkpoint_every_steps` | none | a checkpoint every so many steps, besides the one after each epoch | ≥ 1, with `checkpoint_dir` |
/// | `seed` | 0 | the seed of the run: the trainer itself draws nothing, give it to the model's weights and to the batch source | |
/// | `progress` | true | show a progress bar where standard error is a terminal | |
///
/// # Averaged weights
/// With `weight_average` δ, the average w̄ ← δₜ w̄ + (1 − δₜ) w of the weights w after step t is validated and is the result, while w
/// goes on as without (Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; Tarvainen & Valpola
/// 2017, "Mean teachers are better role models", section 2). It begins as the weights after the first step, and δₜ =
/// min(δ, t / (t + 10)) soon forgets them. Statistics that run along are averaged too. A step then costs what all weights cost,
/// those of sparsely updated tables too; with as many steps in an epoch as 1 / (1 − δ) the average spans about an epoch. It is
/// a [`Trainer`](super::Trainer)'s: a [`Stepper`](super::Stepper) gives the weights themselves.
///
/// ```
/// use recsys::training::{LearningRateSchedule, Optimizer, TrainingConfig};
///
/// let config = TrainingConfig::default()
///     .with_epochs(50)
///     .with_optimizer(Optimizer::adamw(0.01))
///     .with_schedule(LearningRateSchedule::CosineDecay { warmup_steps: 100 })
///     .with_patience(5);
/// assert!(config.validate().is_ok());
/// assert!(config.with_learning_rate(-1.0).validate().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over the batch source, at most.
    pub epochs: usize,
    /// How a gradient becomes a step.
    pub optimizer: Optimizer,
    /// How the rows of a sparsely updated table step.
    pub row_optimizer: RowOptimizer,
    /// The base learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes over the run.
    pub schedule: LearningRateSchedule,
    /// How the learning rate falls where the monitored metric no longer rises.
    pub plateau: Option<Plateau>,
    /// The greatest Euclidean norm of the gradient of all parameters together.
    pub max_gradient_norm: Option<f32>,
    /// The decay of the moving average of the weights that takes their place in validation and in the result.
    pub weight_average: Option<f64>,
    /// The epochs without a better monitored metric after which training stops.
    pub patience: Option<usize>,
    /// The epochs from one validation to the next.
    pub validate_every: usize,
    /// The folder of the run's checkpoints.
    pub checkpoint_dir: Option<PathBuf>,
    /// The steps from one checkpoint to the next within an epoch.
    pub checkpoint_every_steps: Option<u64>,
    /// The seed of the run.
    pub seed: u64,
    /// Whether to show a progress bar where standard error is a terminal.
    pub progress: bool,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            optimizer: Optimizer::adam(),
            row_optimizer: RowOptimizer::Lazy,
            learning_rate: 1e-3,
            schedule: LearningRateSchedule::Constant,
            plateau: None,
            max_gradient_norm: None,
            weight_average: None,
            patience: None,
            validate_every: 1,
            checkpoint_dir: None,
            checkpoint_every_steps: None,
            seed: 0,
            progress: true,
        }
    }
}

impl TrainingConfig {
    /// Sets the passes over the batch source, at most.
    pub fn with_epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Sets the optimizer.
    pub fn with_optimizer(mut self, optimizer: Optimizer) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// Sets how the rows of a sparsely updated table step.
    pub fn with_row_optimizer(mut self, optimizer: RowOptimizer) -> Self {
        self.row_optimizer = optimizer;
        self
    }

    /// Sets the base learning rate.
    pub fn with_learning_rate(mut self, learning_rate: f64) -> Self {
        self.learning_rate = learning_rate;
        self
    }

    /// Sets how the learning rate changes over the run.
    pub fn with_schedule(mut self, schedule: LearningRateSchedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Lowers the learning rate where the monitored metric no longer rises.
    pub fn with_plateau(mut self, plateau: Plateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Clips the gradient of all parameters together at this Euclidean norm.
    pub fn with_max_gradient_norm(mut self, norm: f32) -> Self {
        self.max_gradient_norm = Some(norm);
        self
    }

    /// Validates and keeps the moving average of the weights with this decay in the place of the weights.
    pub fn with_weight_average(mut self, decay: f64) -> Self {
        self.weight_average = Some(decay);
        self
    }

    /// Stops after this many epochs without a better monitored metric.
    pub fn with_patience(mut self, epochs: usize) -> Self {
        self.patience = Some(epochs);
        self
    }

    /// Sets the epochs from one validation to the next.
    pub fn with_validate_every(mut self, epochs: usize) -> Self {
        self.validate_every = epochs;
        self
    }

    /// Keeps checkpoints in this folder, and resumes from the last one there.
    pub fn with_checkpoint_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.checkpoint_dir = Some(dir.into());
        self
    }

    /// Writes a checkpoint every so many steps, besides the one after each epoch.
    pub fn with_checkpoint_every_steps(mut self, steps: u64) -> Self {
        self.checkpoint_every_steps = Some(steps);
        self
    }

    /// Sets the seed of the run.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether to show a progress bar where standard error is a terminal.
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::error::ErrorKind::InvalidConfig) names the first field outside it.
    pub fn validate(&self) -> Result<()> {
        check_size("TrainingConfig::epochs", self.epochs)?;
        self.optimizer.validate()?;
        self.row_optimizer.validate()?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::config("TrainingConfig::learning_rate", expected, self.learning_rate));
        }
        self.plateau.map_or(Ok(()), |plateau| plateau.validate())?;
        if let Some(norm) = self.max_gradient_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
            let expected = "a finite number above 0";
            return Err(Error::config("TrainingConfig::max_gradient_norm", expected, norm));
        }
        if let Some(decay) = self.weight_average.filter(|decay| !(*decay > 0.0 && *decay < 1.0)) {
            return Err(Error::config("TrainingConfig::weight_average", "a number in (0, 1)", decay));
        }
        at_least_one("TrainingConfig::patience", self.patience.map(|epochs| epochs as u64))?;
        at_least_one("TrainingConfig::validate_every", Some(self.validate_every as u64))?;
        at_least_one("TrainingConfig::checkpoint_every_steps", self.checkpoint_every_steps)?;
        if let (None, Some(steps)) = (&self.checkpoint_dir, self.checkpoint_every_steps) {
            let expected = "a checkpoint_dir beside it";
            return Err(Error::config("TrainingConfig::checkpoint_every_steps", expected, steps));
        }
        Ok(())
    }

    /// Refuses to continue the run of another config.
    ///
    /// The folder, the frequency of checkpoints and the progress bar may differ: they leave the
    /// trajectory as it is.
    pub(super) fn must_continue(&self, saved: &Self) -> Result<()> {
        fn same<T: PartialEq + std::fmt::Debug>(field: &'static str, ours: &T, saved: &T) -> Result<()> {
            if ours == saved {
                return Ok(());
            }
            Err(Error::config(field, format!("{saved:?}, as in the checkpoint"), format!("{ours:?}")))
        }
        same("TrainingConfig::epochs", &self.epochs, &saved.epochs)?;
        same("TrainingConfig::optimizer", &self.optimizer, &saved.optimizer)?;
        same("TrainingConfig::row_optimizer", &self.row_optimizer, &saved.row_optimizer)?;
        same("TrainingConfig::learning_rate", &self.learning_rate, &saved.learning_rate)?;
        same("TrainingConfig::schedule", &self.schedule, &saved.schedule)?;
        same("TrainingConfig::plateau", &self.plateau, &saved.plateau)?;
        same("TrainingConfig::max_gradient_norm", &self.max_gradient_norm, &saved.max_gradient_norm)?;
        same("TrainingConfig::weight_average", &self.weight_average, &saved.weight_average)?;
        same("TrainingConfig::patience", &self.patience, &saved.patience)?;
        same("TrainingConfig::validate_every", &self.validate_every, &saved.validate_every)?;
        same("TrainingConfig::seed", &self.seed, &saved.seed)
    }
}

fn at_least_one(field: &'static str, value: Option<u64>) -> Result<()> {
    match value {
        Some(0) => Err(Error::config(field, "at least 1", 0)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::training::AdamConfig;

    fn field(result: Result<()>) -> &'static str {
        match result.unwrap_err().kind() {
            ErrorKind::InvalidConfig { field, .. } => field,
            kind => panic!("{kind}"),
        }
    }

    #[test]
    fn every_field_has_its_range() {
        let config = TrainingConfig::default;
        assert!(config().validate().is_ok());
        let adam = |spoil: fn(&mut AdamConfig)| {
            let mut adam = AdamConfig::default();
            spoil(&mut adam);
            config().with_optimizer(Optimizer::Adam(adam))
        };
        for (bad, name) in [
            (config().with_epochs(0), "TrainingConfig::epochs"),
            (config().with_learning_rate(0.0), "TrainingConfig::learning_rate"),
            (config().with_learning_rate(f64::NAN), "TrainingConfig::learning_rate"),
            (config().with_plateau(Plateau { factor: 1.0, patience: 1 }), "Plateau::factor"),
            (config().with_max_gradient_norm(-1.0), "TrainingConfig::max_gradient_norm"),
            (config().with_weight_average(1.0), "TrainingConfig::weight_average"),
            (config().with_weight_average(f64::NAN), "TrainingConfig::weight_average"),
            (config().with_patience(0), "TrainingConfig::patience"),
            (config().with_validate_every(0), "TrainingConfig::validate_every"),
            (
                config().with_checkpoint_dir("x").with_checkpoint_every_steps(0),
                "TrainingConfig::checkpoint_every_steps",
            ),
            (config().with_checkpoint_every_steps(5), "TrainingConfig::checkpoint_every_steps"),
            (adam(|adam| adam.beta_1 = 1.0), "AdamConfig::beta_1"),
            (adam(|adam| adam.beta_2 = -0.1), "AdamConfig::beta_2"),
            (adam(|adam| adam.epsilon = 0.0), "AdamConfig::epsilon"),
            (config().with_optimizer(Optimizer::adamw(f32::INFINITY)), "AdamConfig::weight_decay"),
            (config().with_row_optimizer(RowOptimizer::adagrad(0.0)), "RowOptimizer::Adagrad::learning_rate"),
            (
                config().with_row_optimizer(RowOptimizer::Adagrad { learning_rate: 0.1, epsilon: f32::NAN }),
                "RowOptimizer::Adagrad::epsilon",
            ),
        ] {
            assert_eq!(field(bad.validate()), name);
        }
    }

    #[test]
    fn a_run_continues_only_with_what_leaves_its_trajectory_as_it_is() {
        let saved = TrainingConfig::default();
        let free = ["checkpoint_dir", "checkpoint_every_steps", "progress"];
        let changed = TrainingConfig {
            epochs: 3,
            optimizer: Optimizer::adamw(0.1),
            row_optimizer: RowOptimizer::adagrad(0.1),
            learning_rate: 0.5,
            schedule: LearningRateSchedule::Warmup { steps: 4 },
            plateau: Some(Plateau::default()),
            max_gradient_norm: Some(1.0),
            weight_average: Some(0.99),
            patience: Some(2),
            validate_every: 2,
            checkpoint_dir: Some("elsewhere".into()),
            checkpoint_every_steps: Some(7),
            seed: 9,
            progress: false,
        };
        let as_map = |config: &TrainingConfig| serde_json::to_value(config).unwrap();
        for (name, value) in as_map(&changed).as_object().unwrap() {
            let mut one = as_map(&saved);
            assert_ne!(one[name], *value, "{name}");
            one[name] = value.clone();
            let one: TrainingConfig = serde_json::from_value(one).unwrap();
            let result = one.must_continue(&saved);
            if free.contains(&name.as_str()) {
                result.unwrap();
            } else {
                assert_eq!(field(result), format!("TrainingConfig::{name}"));
            }
        }
    }

    #[test]
    fn json_may_leave_fields_out_but_not_misspell_them() {
        let config: TrainingConfig =
            serde_json::from_str(r#"{"epochs": 3, "schedule": {"warmup": {"steps": 10}}}"#).unwrap();
        assert_eq!(
            config,
            TrainingConfig::default()
                .with_epochs(3)
                .with_schedule(LearningRateSchedule::Warmup { steps: 10 })
        );
        assert!(serde_json::from_str::<TrainingConfig>(r#"{"epoch": 3}"#).is_err());
    }
}
