use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use burn::module::{ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::checkpoint::{CheckpointDir, Setting, Snapshot, Standing};
use super::prefetch::{Next, Prefetch};
use super::progress::Progress;
use super::weight_average::averaged;
use super::{BatchSource, EpochSummary, History, Stepper, Trainable, TrainingConfig};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::kernels::{self, zero_if_finite};

/// The steps after which the losses are read from the device, all at once.
const STEPS_PER_READ: usize = 50;

/// Fits a [`Trainable`].
///
/// Batches are prepared on a thread of their own. A step waits for nothing: losses stay on the device
/// and are read some dozens at a time, which still finds the exact step at which one is not finite.
/// After each epoch the model is validated; the first metric is monitored, the higher the better, and
/// the weights of the best epoch are the result.
///
/// With a checkpoint folder, calling [`fit`](Self::fit) again after an interruption continues the run
/// on the identical trajectory, also from the middle of an epoch: on the CPU, weights and history are
/// the same bit by bit.
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::tensor::{Device, Tensor};
/// use recsys::training::{BatchSource, Trainable, Trainer, TrainingConfig};
///
/// /// y = slope · x
/// #[derive(Module, Debug)]
/// struct Line {
///     slope: Param<Tensor<1>>,
/// }
///
/// impl Trainable for Line {
///     type Batch = [f32; 4];
///
///     fn loss(&self, x: [f32; 4]) -> Tensor<1> {
///         let x = Tensor::<1>::from_floats(x, &self.slope.val().device());
///         (self.slope.val() * x.clone() - x * 3.0).square().mean()
///     }
/// }
///
/// struct Numbers;
///
/// impl BatchSource for Numbers {
///     type Batch = [f32; 4];
///
///     fn n_batches(&self) -> usize {
///         20
///     }
///
///     fn epoch(&self, _epoch: usize) -> Box<dyn Iterator<Item = [f32; 4]> + Send + '_> {
///         Box::new((0..20).map(|batch| [1.0, 2.0, -1.0, batch as f32 / 10.0]))
///     }
/// }
///
/// # #[cfg(feature = "flex")] {
/// let model = Line { slope: Param::from_data([1.0], &Device::flex()) };
/// let trainer = Trainer::new(TrainingConfig::default().with_learning_rate(0.1).with_epochs(10))?;
/// let fitted = trainer.fit(model, &Numbers, |model| {
///     let slope: f64 = model.slope.val().into_scalar();
///     Ok(vec![("closeness".to_owned(), -(slope - 3.0).abs())])
/// })?;
/// println!("{}", fitted.history);
/// assert!(fitted.history.best().unwrap().metric("closeness").unwrap() > -0.01);
/// # }
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trainer {
    config: TrainingConfig,
}

/// A fitted model and how it came about.
#[derive(Clone, Debug)]
pub struct Fitted<M> {
    /// The model with the weights of the best epoch, or of the last one if no metric was monitored;
    /// outside autodiff, ready for inference.
    pub model: M,
    /// What happened, epoch by epoch; [`History::best`] is the epoch of the weights.
    pub history: History,
}

impl Trainer {
    /// A trainer with these settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(config: TrainingConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }

    /// Fits the model to the batches.
    ///
    /// `validate` is given the model, ready for inference, and returns metrics by name, the same ones
    /// each time, or none. If it fails, so does the fit.
    ///
    /// # Errors
    /// [`Diverged`](ErrorKind::Diverged) at the first step whose loss is not finite, or after which the
    /// weights are not (its loss is then given as NaN), with the last checkpoint, which is from before
    /// that step; [`NonFinite`](ErrorKind::NonFinite) for a metric; an
    /// epoch without batches; batches that [need a refresh](BatchSource::needs_refresh); a model without
    /// parameters; a checkpoint that cannot be read or written, or is that of another config, batch source or
    /// model; whatever `validate` returns.
    ///
    /// # Panics
    /// If [`Trainable::loss`] or the batch source panics.
    pub fn fit<M, S>(
        &self,
        model: M,
        source: &S,
        validate: impl FnMut(&M) -> Result<Vec<(String, f64)>>,
    ) -> Result<Fitted<M>>
    where
        M: Trainable,
        S: BatchSource<Batch = M::Batch>,
    {
        if let Some(epoch) = (0..self.config.epochs).find(|&epoch| source.needs_refresh(epoch)) {
            let found = format!("a refresh before epoch {}", epoch + 1);
            return Err(Error::config("Trainer::fit", "batches that need no refresh of their source", found));
        }
        self.fit_refreshing(model, source, |_, _| Ok(()), validate)
    }

    /// [`fit`](Self::fit) with batches that follow the model, such as hard negatives.
    ///
    /// Before each epoch (counted from 0) that [needs it](BatchSource::needs_refresh), `refresh` is given the
    /// model, ready for inference, and that epoch; no batch of the epoch is prepared until it returns. The
    /// optimizer goes on with the moments it has. What a refresh left is kept in the checkpoints, so that a run
    /// resumed in the middle of an epoch continues with the same batches.
    ///
    /// ```no_run
    /// use recsys::prelude::*;
    /// use recsys::models::recall::Sasrec;
    /// use recsys::training::{Fitted, RetrievalBatches, Trainer};
    ///
    /// # fn fit(trainer: Trainer, model: Sasrec, batches: RetrievalBatches) -> Result<Fitted<Sasrec>> {
    /// let mine = |model: &Sasrec, epoch| batches.mine(model, epoch);
    /// trainer.fit_refreshing(model, &batches, mine, |_| Ok(vec![]))
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and whatever `refresh` returns.
    ///
    /// # Panics
    /// As [`fit`](Self::fit).
    pub fn fit_refreshing<M, S>(
        &self,
        model: M,
        source: &S,
        refresh: impl FnMut(&M, usize) -> Result<()>,
        validate: impl FnMut(&M) -> Result<Vec<(String, f64)>>,
    ) -> Result<Fitted<M>>
    where
        M: Trainable,
        S: BatchSource<Batch = M::Batch>,
    {
        let mut run = Run::start(&self.config, model, source)?;
        let epochs = run.standing.history.epochs.len()..self.config.epochs;
        if !run.standing.finished {
            let skip = run.standing.steps_in_epoch as usize;
            run = thread::scope(|scope| {
                run.train(Prefetch::spawn(scope, source, epochs, skip), refresh, validate)
            })?;
        }
        kernels::release_buffers();
        Ok(Fitted {
            model: run.best.or(run.average).unwrap_or_else(|| run.stepper.into_model()),
            history: run.standing.history,
        })
    }
}

/// A run under way.
struct Run<'a, M, S> {
    source: &'a S,
    setting: Setting,
    n_steps: u64,
    stepper: Stepper<M>,
    /// The moving average of the weights, if there is to be one, outside autodiff.
    average: Option<M>,
    /// The best weights so far, outside autodiff.
    best: Option<M>,
    standing: Standing,
    /// Losses that are still on the device.
    unread: Vec<Tensor<1>>,
    checkpoints: Option<CheckpointDir>,
    last_checkpoint: Option<PathBuf>,
    progress: Progress,
    /// When the current epoch began, or was resumed.
    clock: Instant,
}

impl<'a, M: Trainable, S: BatchSource<Batch = M::Batch>> Run<'a, M, S> {
    /// The run where its last checkpoint left it, or at its beginning.
    fn start(config: &TrainingConfig, model: M, source: &'a S) -> Result<Self> {
        let n_batches = source.n_batches();
        model.check_batches(&source.settings())?;
        let setting = Setting::new(config, source, &model);
        let stepper = Stepper::new(model, config)?;
        let standing = Standing::default();
        let mut snapshot = Snapshot { standing, average: None, best: None, batches: None, stepper };
        let checkpoints = config.checkpoint_dir.as_deref().map(CheckpointDir::open).transpose()?;
        let mut last_checkpoint = None;
        if let Some(dir) = &checkpoints
            && let Some((path, saved)) = dir.read(&setting, &snapshot)?
        {
            (last_checkpoint, snapshot) = (Some(path), saved);
        }
        if let Some(state) = &snapshot.batches {
            source.restore(state)?;
        }
        let progress = Progress::new(config.progress, config.epochs, n_batches);
        progress.begin_epoch(snapshot.standing.history.epochs.len() + 1, snapshot.standing.steps_in_epoch);
        Ok(Self {
            source,
            n_steps: config.epochs as u64 * n_batches as u64,
            setting,
            stepper: snapshot.stepper,
            average: snapshot.average,
            best: snapshot.best,
            standing: snapshot.standing,
            unread: Vec::with_capacity(STEPS_PER_READ),
            checkpoints,
            last_checkpoint,
            progress,
            clock: Instant::now(),
        })
    }

    fn config(&self) -> &TrainingConfig {
        &self.setting.config
    }

    fn train(
        mut self,
        batches: impl Iterator<Item = Next<M::Batch>>,
        mut refresh: impl FnMut(&M, usize) -> Result<()>,
        mut validate: impl FnMut(&M) -> Result<Vec<(String, f64)>>,
    ) -> Result<Self> {
        for next in batches {
            match next {
                Next::Refresh(done) => {
                    refresh(&self.stepper.model.valid(), self.standing.history.epochs.len())?;
                    // Should the batch source have panicked meanwhile, the next batch says so.
                    let _ = done.send(());
                }
                Next::Batch(batch) => self = self.step(batch)?,
                Next::EndOfEpoch => self.end_epoch(&mut validate)?,
            }
            if self.standing.finished {
                break;
            }
        }
        Ok(self)
    }

    fn step(mut self, batch: M::Batch) -> Result<Self> {
        let factor = self.schedule_factor(self.standing.step + 1);
        let loss;
        (self.stepper, loss) = self.stepper.step(factor, |model| model.loss(batch));
        self.unread.push(loss);
        self.standing.step += 1;
        if let Some(decay) = self.config().weight_average {
            let average = self.average.take().unwrap_or_else(|| self.stepper.model.valid());
            self.average = Some(averaged(average, &self.stepper.model, decay, self.standing.step));
        }
        self.standing.steps_in_epoch += 1;
        self.progress.step();
        if self.unread.len() == STEPS_PER_READ {
            self.read_losses()?;
        }
        if self.config().checkpoint_every_steps.is_some_and(|steps| self.standing.step.is_multiple_of(steps))
        {
            self.read_losses()?;
            self.write_checkpoint()?;
        }
        Ok(self)
    }

    /// The learning rate of a step, counted from 1.
    fn learning_rate(&self, step: u64) -> f64 {
        self.config().learning_rate * self.schedule_factor(step)
    }

    /// Its factor from the schedule and from what was lowered on plateaus.
    fn schedule_factor(&self, step: u64) -> f64 {
        let plateaus = self.config().plateau.map_or(1.0, |plateau| plateau.factor(&self.standing.history));
        plateaus * self.config().schedule.factor(step - 1, self.n_steps)
    }

    fn end_epoch(&mut self, validate: &mut impl FnMut(&M) -> Result<Vec<(String, f64)>>) -> Result<()> {
        if self.standing.steps_in_epoch == 0 {
            return Err(Error::input(Location::memory(), "at least one batch in an epoch", "none"));
        }
        self.read_losses()?;
        // Statistics that run along are not shared with a copy that `valid` makes.
        let model = self.average.as_ref().unwrap_or(&self.stepper.model).valid();
        self.check_weights(&model)?;

        let epoch = self.standing.history.epochs.len() + 1;
        let last = epoch == self.config().epochs;
        let validated = last || epoch.is_multiple_of(self.config().validate_every);
        let validation = Instant::now();
        let metrics = if validated { self.check_metrics(validate(&model)?)? } else { Vec::new() };
        let validation_seconds = validation.elapsed().as_secs_f64();
        self.close_epoch(EpochSummary {
            epoch,
            steps: self.standing.steps_in_epoch,
            loss: self.standing.loss_sum / self.standing.steps_in_epoch as f64,
            learning_rate: self.learning_rate(self.standing.step),
            metrics,
            seconds: self.standing.seconds + self.clock.elapsed().as_secs_f64(),
            validation_seconds,
        });

        let best = self.standing.history.best().map(|best| best.epoch);
        if best == Some(epoch) {
            self.best = Some(model);
        }
        let waited = best.map_or(0, |best| epoch - best);
        let impatient = self.config().patience.is_some_and(|patience| validated && waited >= patience);
        self.standing.finished = last || impatient;
        self.write_checkpoint()
    }

    /// Enters an epoch into the history and begins the next one.
    fn close_epoch(&mut self, summary: EpochSummary) {
        self.progress.print(format!("{summary}"));
        self.progress.begin_epoch(summary.epoch + 1, 0);
        self.standing.history.epochs.push(summary);
        self.standing.steps_in_epoch = 0;
        self.standing.loss_sum = 0.0;
        self.standing.seconds = 0.0;
        self.clock = Instant::now();
    }

    /// Adds the losses that are still on the device to the epoch's sum.
    fn read_losses(&mut self) -> Result<()> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let before = self.standing.step - self.unread.len() as u64;
        let losses = Tensor::cat(std::mem::take(&mut self.unread), 0).into_data();
        for (step, loss) in (before + 1..).zip(losses.iter::<f32>()) {
            if !loss.is_finite() {
                return Err(self.diverged(step, loss));
            }
            self.standing.loss_sum += f64::from(loss);
        }
        self.progress.set_loss(self.standing.loss_sum / self.standing.steps_in_epoch as f64);
        Ok(())
    }

    /// Refuses weights that the last step left not finite, though its loss still was.
    fn check_weights(&self, model: &M) -> Result<()> {
        let mut zero = ZeroIfFinite(None);
        model.visit(&mut zero);
        let finite = zero.0.is_none_or(|zero| zero.into_data().iter::<f32>().all(|zero| zero == 0.0));
        if finite { Ok(()) } else { Err(self.diverged(self.standing.step, f32::NAN)) }
    }

    fn diverged(&self, step: u64, loss: f32) -> Error {
        ErrorKind::Diverged {
            epoch: self.standing.history.epochs.len() + 1,
            step,
            learning_rate: self.learning_rate(step),
            loss,
            checkpoint: self.last_checkpoint.clone(),
        }
        .into()
    }

    fn check_metrics(&self, metrics: Vec<(String, f64)>) -> Result<Vec<(String, f64)>> {
        if let Some(index) = metrics.iter().position(|(_, value)| !value.is_finite()) {
            let value = metrics[index].1;
            return Err(ErrorKind::NonFinite { what: "validation metric", index, value }.into());
        }
        let monitors = [
            ("TrainingConfig::patience", self.config().patience),
            ("TrainingConfig::plateau", self.config().plateau.map(|plateau| plateau.patience)),
        ];
        for (field, patience) in monitors {
            if let (true, Some(patience)) = (metrics.is_empty(), patience) {
                let expected = "none, for the validation returns no metric to monitor";
                return Err(Error::config(field, expected, patience));
            }
        }
        let names: Vec<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
        let before = self.standing.history.metric_names();
        if !before.is_empty() && names != before {
            let expected = format!("the validation metrics {}, as before", before.join(", "));
            return Err(Error::input(Location::memory(), expected, names.join(", ")));
        }
        Ok(metrics)
    }

    fn write_checkpoint(&mut self) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let model = self.stepper.model.valid();
        self.check_weights(&model)?;
        let mut standing = self.standing.clone();
        if standing.steps_in_epoch > 0 {
            standing.seconds += self.clock.elapsed().as_secs_f64();
        }
        let best_is_now = standing.steps_in_epoch == 0
            && standing.history.best().is_some_and(|best| best.epoch == standing.history.epochs.len());
        let snapshot = Snapshot {
            standing,
            average: self.average.clone(),
            best: self.best.clone().filter(|_| !best_is_now),
            batches: self.source.state(),
            stepper: self.stepper.clone(),
        };
        self.last_checkpoint = Some(checkpoints.write(&self.setting, snapshot)?);
        Ok(())
    }
}

/// 0 if all weights are finite, else NaN.
struct ZeroIfFinite(Option<Tensor<1>>);

impl ModuleVisitor for ZeroIfFinite {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let zero = zero_if_finite(param.base());
        self.0 = Some(match self.0.take() {
            Some(sum) => sum + zero,
            None => zero,
        });
    }
}
