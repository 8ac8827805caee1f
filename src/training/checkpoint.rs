use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::weights::{optimizer_from_bytes, weights_from_bytes, weights_to_bytes};
use super::{BatchSource, History, Stepper, Trainable, TrainingConfig};
use crate::disk::{self, Folder, NewFolder, corrupt};
use crate::error::{Error, ErrorKind, Location, Result};

const KIND: &str = "checkpoint";
const RUN: &str = "run.json";
const MODEL: &str = "model.bpk";
const AVERAGE: &str = "average.bpk";
const BEST: &str = "best.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const ROWS: &str = "rows.bpk";
const BATCHES: &str = "batches.bin";

/// Where a run stands between two steps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The steps done in the whole run.
    pub(super) step: u64,
    /// The steps done in the epoch after those of the history.
    pub(super) steps_in_epoch: u64,
    /// The sum of their losses.
    pub(super) loss_sum: f64,
    /// Their wall time.
    pub(super) seconds: f64,
    /// Whether no step is left.
    pub(super) finished: bool,
    /// The epochs done.
    pub(super) history: History,
}

/// What the steps of a run depend on, besides the batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setting {
    pub(super) config: TrainingConfig,
    n_batches: usize,
    /// [`BatchSource::settings`]
    batches: Value,
    /// [`Trainable::settings`]
    model: Value,
    parameters: Vec<Parameter>,
}

/// A parameter of a model: its path in the module tree and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Parameter {
    name: String,
    shape: Vec<usize>,
}

/// What [`RUN`] says.
#[derive(Serialize, Deserialize)]
struct Run {
    setting: Setting,
    standing: Standing,
    /// The steps of each sparsely updated table, by parameter id, in the order of their states in [`ROWS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    row_steps: BTreeMap<u64, usize>,
}

/// A run as a checkpoint holds it.
pub(super) struct Snapshot<M> {
    pub(super) standing: Standing,
    pub(super) stepper: Stepper<M>,
    /// The moving average of the weights, outside autodiff.
    pub(super) average: Option<M>,
    /// The weights of the best epoch so far, outside autodiff.
    pub(super) best: Option<M>,
    /// [`BatchSource::state`]
    pub(super) batches: Option<Vec<u8>>,
}

/// The checkpoints of one run: a folder of folders, of which the last two are kept.
pub(super) struct CheckpointDir {
    dir: PathBuf,
}

impl CheckpointDir {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// Writes a checkpoint and returns its folder.
    pub(super) fn write<M: Module>(&self, setting: &Setting, snapshot: Snapshot<M>) -> Result<PathBuf> {
        let Snapshot { standing, stepper, average, best, batches } = snapshot;
        let Stepper { model, optimizer, rows, .. } = stepper;
        let checkpoint = self.dir.join(format!("step-{:012}", standing.step));
        let folder = NewFolder::begin(&checkpoint)?;
        let write =
            |name: &str, model: M| folder.write(name, |file| file.write_all(&weights_to_bytes(model)?));
        write(MODEL, model.valid())?;
        average.map_or(Ok(()), |average| write(AVERAGE, average))?;
        best.map_or(Ok(()), |best| write(BEST, best))?;
        if let Some(batches) = batches {
            folder.write(BATCHES, |file| file.write_all(&batches))?;
        }
        folder.write(OPTIMIZER, |file| file.write_all(&optimizer.into_bytes().map_err(io::Error::other)?))?;
        let row_steps = rows.steps();
        if !row_steps.is_empty() {
            folder.write(ROWS, |file| file.write_all(&weights_to_bytes(rows.moments())?))?;
        }
        let run = Run { setting: setting.clone(), standing, row_steps };
        folder.write(RUN, |file| serde_json::to_writer_pretty(file, &run))?;
        folder.commit(KIND)?;
        // The checkpoint is there; what cannot be removed now is tried again after the next.
        let _ = self.keep_two(&checkpoint);
        Ok(checkpoint)
    }

    /// Reads the newest undamaged checkpoint of a run that began as `fresh`; `None` if none was finished yet.
    ///
    /// # Errors
    /// A checkpoint of another config, batch source or model; a newer format; only damaged checkpoints.
    pub(super) fn read<M: Module>(
        &self,
        setting: &Setting,
        fresh: &Snapshot<M>,
    ) -> Result<Option<(PathBuf, Snapshot<M>)>> {
        let mut damage = None;
        for checkpoint in self.list()?.into_iter().rev() {
            match read_checkpoint(&checkpoint, setting, fresh) {
                Ok(snapshot) => return Ok(Some((checkpoint, snapshot))),
                Err(_) if disk::is_unfinished(&checkpoint) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt { .. } | ErrorKind::Io { .. }) => {
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// The folders of checkpoints, oldest first.
    fn list(&self) -> Result<Vec<PathBuf>> {
        let mut checkpoints = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::io(&self.dir))? {
            let path = entry.map_err(Error::io(&self.dir))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")) {
                checkpoints.push(path);
            }
        }
        checkpoints.sort_unstable();
        Ok(checkpoints)
    }

    /// Removes all checkpoints but this one and the one before it; unfinished ones count for nothing.
    fn keep_two(&self, newest: &Path) -> Result<()> {
        let others = self.list()?.into_iter().filter(|path| path != newest);
        let (finished, unfinished): (Vec<_>, Vec<_>) = others.partition(|path| !disk::is_unfinished(path));
        let (earlier, later): (Vec<_>, Vec<_>) =
            finished.into_iter().partition(|path| path.as_path() < newest);
        let mut removed = earlier.iter().rev().skip(1).chain(&later).chain(&unfinished);
        removed.try_for_each(|path| fs::remove_dir_all(path).map_err(Error::io(path)))
    }
}

fn read_checkpoint<M: Module>(
    checkpoint: &Path,
    setting: &Setting,
    fresh: &Snapshot<M>,
) -> Result<Snapshot<M>> {
    let folder = Folder::open(checkpoint, KIND)?;
    let path = folder.path(RUN);
    let run = serde_json::from_slice(&folder.read(RUN)?);
    let run: Run = run.map_err(|error| corrupt(&path, "the standing of a run", error.to_string()))?;
    setting.must_continue(&run.setting, &path)?;

    let mut stepper = fresh.stepper.clone();
    let untrained = stepper.model.valid();
    let damaged = |name: &'static str| {
        let path = folder.path(name);
        move |found: String| corrupt(&path, "what belongs to the model of this run", found)
    };
    // A copy that shares nothing with the module, which a clone would do with statistics that run along.
    let load = |name| weights_from_bytes(untrained.valid(), folder.read(name)?).map_err(damaged(name));
    let saved = |name| folder.contains(name).then(|| load(name)).transpose();
    let model = load(MODEL)?;
    let average = saved(AVERAGE)?;
    let best = match saved(BEST)? {
        Some(best) => Some(best),
        None => run.standing.history.best().is_some().then(|| average.as_ref().unwrap_or(&model).valid()),
    };
    let record = optimizer_from_bytes(&model, folder.read(OPTIMIZER)?).map_err(damaged(OPTIMIZER))?;
    stepper.optimizer = stepper.optimizer.load_record(record);
    stepper.rows = stepper.rows.after(&run.row_steps, &model);
    if !run.row_steps.is_empty() {
        let moments =
            weights_from_bytes(stepper.rows.moments(), folder.read(ROWS)?).map_err(damaged(ROWS))?;
        stepper.rows = stepper.rows.with_moments(moments);
    }
    stepper.model = model.train();
    let batches = folder.contains(BATCHES).then(|| folder.read(BATCHES)).transpose()?;
    Ok(Snapshot { standing: run.standing, stepper, average, best, batches })
}

impl Setting {
    pub(super) fn new<M: Trainable>(config: &TrainingConfig, source: &impl BatchSource, model: &M) -> Self {
        let mut parameters = Parameters::default();
        model.visit(&mut parameters);
        Self {
            config: config.clone(),
            n_batches: source.n_batches(),
            batches: source.settings(),
            model: model.settings(),
            parameters: parameters.found,
        }
    }

    /// Refuses to continue the run of another setting, which was read from this file.
    fn must_continue(&self, saved: &Self, file: &Path) -> Result<()> {
        self.config.must_continue(&saved.config)?;
        let differs = |column: &str, ours: String, saved: String| {
            let location = Location::file(file).column(column);
            Err(Error::input(location, format!("{ours}, as in this run"), saved))
        };
        if self.n_batches != saved.n_batches {
            let batches = |n: usize| format!("{n} batches in an epoch");
            return differs("n_batches", batches(self.n_batches), batches(saved.n_batches));
        }
        for (column, ours, saved) in
            [("model", &self.model, &saved.model), ("batches", &self.batches, &saved.batches)]
        {
            if ours != saved {
                return differs(column, ours.to_string(), saved.to_string());
            }
        }
        let describe = |parameter: Option<&Parameter>| match parameter {
            Some(Parameter { name, shape }) => format!("{name} of shape {shape:?}"),
            None => "no further parameter".to_owned(),
        };
        for i in 0..self.parameters.len().max(saved.parameters.len()) {
            let (ours, saved) = (self.parameters.get(i), saved.parameters.get(i));
            if ours != saved {
                return differs("parameters", describe(ours), describe(saved));
            }
        }
        Ok(())
    }
}

/// Collects the parameters of a module without initialising any.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: Vec<Parameter>,
}

impl Parameters {
    fn push(&mut self, shape: &[usize]) {
        self.found.push(Parameter { name: self.path.join("."), shape: shape.to_vec() });
    }
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.push(&param.lazy_shape());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.push(&param.lazy_shape());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.push(&param.lazy_shape());
    }
}
