use burn::module::Module;
use burn::tensor::Tensor;

use crate::error::Result;

/// A module that can be fitted: it turns a batch into a scalar loss.
///
/// `loss` builds its tensors on the model's own device and reads nothing back from it, so that a
/// training step never waits for the device. What is random in it (negatives, dropout) comes with the
/// batch, as values or as a seed: a module has no state that a resumed training could lack. Statistics
/// that run along ([`BatchNorm`](crate::layers::BatchNorm)) are among its saved parameters.
pub trait Trainable: Module {
    /// What one step learns from: host data, prepared off the training thread.
    type Batch: Send;

    /// The mean loss of the batch, on the model's device.
    ///
    /// # Shapes
    /// The result has shape `[1]`.
    fn loss(&self, batch: Self::Batch) -> Tensor<1>;

    /// What the loss depends on besides batch and parameters (a temperature, a dropout, …), as JSON. A
    /// checkpoint keeps it, and a run with other settings does not continue from there.
    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Refuses, before the first step, batches that were made for another model: `settings` are
    /// [`BatchSource::settings`].
    ///
    /// # Errors
    /// A setting of the batches that does not fit the model.
    fn check_batches(&self, _settings: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

/// The batches of an epoch.
///
/// They are a pure function of the epoch's number (draw from
/// [`Rng::stream(seed, &[epoch])`](crate::rng::Rng::stream)), so that training resumes exactly where it
/// was stopped. Batches that follow the model, such as hard negatives mined with it, are a function of the
/// epoch's number and of what the source was last refreshed with, and that it hands over as its state.
pub trait BatchSource: Sync {
    /// The batch that a [`Trainable`] consumes.
    type Batch: Send;

    /// The number of batches in an epoch, or an upper bound of it: for the progress bar and the
    /// learning-rate schedule.
    fn n_batches(&self) -> usize;

    /// What the batches depend on besides the data (sizes, a seed, …), as JSON; kept and compared as
    /// [`Trainable::settings`] are.
    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// The batches of the epoch with this number, counted from 0.
    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = Self::Batch> + Send + '_>;

    /// Whether this epoch waits until the source was refreshed with the model as it then is:
    /// [`Trainer::fit_refreshing`](super::Trainer::fit_refreshing).
    fn needs_refresh(&self, _epoch: usize) -> bool {
        false
    }

    /// What the last refresh left, for a checkpoint; `None` if there was none.
    fn state(&self) -> Option<Vec<u8>> {
        None
    }

    /// Takes up a [state](Self::state) again.
    ///
    /// # Errors
    /// A state that no source of these settings left.
    fn restore(&self, _state: &[u8]) -> Result<()> {
        Ok(())
    }
}
