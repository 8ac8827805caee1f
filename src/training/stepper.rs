use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};

use super::TrainingConfig;
use super::clipping::clip_global_norm;
use super::row_optimizer::RowSteps;
use crate::error::{Error, Location, Result};
use crate::kernels::among_workers;
use crate::layers::row_tape;

/// A model and its optimizer, one step at a time, for a training loop of your own. A
/// [`Trainer`](super::Trainer) takes the same steps.
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::tensor::{Device, Tensor};
/// use recsys::training::{Stepper, TrainingConfig};
///
/// /// y = slope · x
/// #[derive(Module, Debug)]
/// struct Line {
///     slope: Param<Tensor<1>>,
/// }
///
/// # #[cfg(feature = "flex")] {
/// let line = Line { slope: Param::from_data([1.0], &Device::flex()) };
/// let mut stepper = Stepper::new(line, &TrainingConfig::default().with_learning_rate(0.1))?;
/// for _ in 0..200 {
///     (stepper, _) = stepper.step(1.0, |line| (line.slope.val() - 3.0).square());
/// }
/// let slope: f64 = stepper.into_model().slope.val().into_scalar();
/// assert!((slope - 3.0).abs() < 0.01);
/// # }
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone)]
pub struct Stepper<M> {
    /// In training mode.
    pub(super) model: M,
    pub(super) optimizer: ModuleOptimizer,
    /// Of sparsely updated tables.
    pub(super) rows: RowSteps,
    learning_rate: f64,
    max_gradient_norm: Option<f32>,
    device: Device,
}

impl<M: Module> Stepper<M> {
    /// The optimizer of these settings before its first step.
    ///
    /// # Errors
    /// A setting out of range, or a model without parameters.
    pub fn new(model: M, config: &TrainingConfig) -> Result<Self> {
        config.validate()?;
        let Some(device) = model.devices().into_iter().next() else {
            return Err(Error::input(Location::memory(), "a model with parameters", "none"));
        };
        Ok(Self {
            model: model.train(),
            optimizer: config.optimizer.init(&device),
            rows: RowSteps::new(config),
            learning_rate: config.learning_rate,
            max_gradient_norm: config.max_gradient_norm,
            device,
        })
    }

    /// Lowers a loss of the model by one step, with `factor` times the learning rate of the settings, and
    /// returns the loss as it was before, outside autodiff.
    pub fn step(self, factor: f64, loss: impl FnOnce(&M) -> Tensor<1> + Send) -> (Self, Tensor<1>) {
        let device = self.device.clone();
        among_workers(&device, || self.step_here(factor, loss))
    }

    fn step_here(mut self, factor: f64, loss: impl FnOnce(&M) -> Tensor<1>) -> (Self, Tensor<1>) {
        let (loss, tape) = row_tape::record(|| loss(&self.model));
        let value = loss.clone().inner();
        let mut grads = loss.backward();
        let mut rows = tape.gradients(&mut grads);
        let mut grads = GradientsParams::from_grads(grads, &self.model);
        if let Some(max_norm) = self.max_gradient_norm {
            (grads, rows) = clip_global_norm(&self.model, grads, rows, max_norm);
        }
        self.model = self.optimizer.step(self.learning_rate * factor, self.model, grads);
        self.model = self.rows.step(factor, self.model, rows);
        (self, value)
    }

    /// The model as it is now, ready for inference.
    pub fn into_model(self) -> M {
        self.model.valid()
    }
}
