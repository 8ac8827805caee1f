use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::{Bool, Bytes, Int, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{BatchSource, History, Stepper, Trainable, TrainingConfig};
use crate::error::{Error, ErrorKind, Location, Result};

const FORMAT_VERSION: u32 = 1;
const MANIFEST: &str = "checkpoint.json";
const MODEL: &str = "model.bpk";
const AVERAGE: &str = "average.bpk";
const BEST: &str = "best.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const ROWS: &str = "rows.bpk";
const BATCHES: &str = "batches.bin";
const SCRATCH: &str = "unfinished";

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

#[derive(Serialize, Deserialize)]
struct Manifest {
    format_version: u32,
    setting: Setting,
    standing: Standing,
    /// The steps of each sparsely updated table, by parameter id, in the order of their states in [`ROWS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    row_steps: BTreeMap<u64, usize>,
    /// The checksum of every other file.
    sha256: BTreeMap<String, String>,
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
///
/// A checkpoint is written under a scratch name, flushed to the disk and then renamed, so that a folder
/// with a checkpoint's name is always whole.
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
        let scratch = self.dir.join(SCRATCH);
        remove_dir(&scratch)?;
        fs::create_dir(&scratch).map_err(Error::io(&scratch))?;

        let Snapshot { standing, stepper, average, best, batches } = snapshot;
        let Stepper { model, optimizer, rows, .. } = stepper;
        let mut sha256 = BTreeMap::new();
        let mut write = |name: &str, bytes: Result<Bytes, _>| {
            let path = scratch.join(name);
            let bytes = bytes.map_err(io::Error::other).map_err(Error::io(&path))?;
            sha256.insert(name.to_owned(), checksum(&bytes));
            write_synced(&path, &bytes)
        };
        write(MODEL, model.valid().into_record().into_bytes())?;
        if let Some(average) = average {
            write(AVERAGE, average.into_record().into_bytes())?;
        }
        if let Some(best) = best {
            write(BEST, best.into_record().into_bytes())?;
        }
        if let Some(batches) = batches {
            write(BATCHES, Ok(Bytes::from_bytes_vec(batches)))?;
        }
        write(OPTIMIZER, optimizer.into_bytes())?;
        let row_steps = rows.steps();
        if !row_steps.is_empty() {
            write(ROWS, rows.moments().into_record().into_bytes())?;
        }

        let name = format!("step-{:012}", standing.step);
        let format_version = FORMAT_VERSION;
        let manifest = Manifest { format_version, setting: setting.clone(), standing, row_steps, sha256 };
        let path = scratch.join(MANIFEST);
        let json =
            serde_json::to_vec_pretty(&manifest).map_err(io::Error::other).map_err(Error::io(&path))?;
        write_synced(&path, &json)?;
        sync_dir(&scratch)?;

        let checkpoint = self.dir.join(name);
        remove_dir(&checkpoint)?;
        fs::rename(&scratch, &checkpoint).map_err(Error::io(&checkpoint))?;
        sync_dir(&self.dir)?;
        self.keep_two(&checkpoint)?;
        Ok(checkpoint)
    }

    /// Reads the newest undamaged checkpoint of a run that began as `fresh`; `None` if there is none yet.
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
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt { .. }) => {
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// The checkpoints, oldest first.
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

    /// Removes all checkpoints but this one and the one before it.
    fn keep_two(&self, newest: &Path) -> Result<()> {
        let (earlier, later): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().filter(|path| path != newest).partition(|path| path.as_path() < newest);
        earlier.iter().rev().skip(1).chain(&later).try_for_each(|path| remove_dir(path))
    }
}

fn read_checkpoint<M: Module>(
    checkpoint: &Path,
    setting: &Setting,
    fresh: &Snapshot<M>,
) -> Result<Snapshot<M>> {
    let path = checkpoint.join(MANIFEST);
    let manifest = read_manifest(&path)?;
    setting.must_continue(&manifest.setting, &path)?;

    let read = |name: &str| -> Result<Option<Bytes>> {
        let Some(expected) = manifest.sha256.get(name) else { return Ok(None) };
        let path = checkpoint.join(name);
        let bytes = fs::read(&path).map_err(|error| corrupt(&path, "a readable file", error))?;
        let found = checksum(&bytes);
        if found != *expected {
            return Err(corrupt(&path, format!("SHA-256 {expected}"), found));
        }
        Ok(Some(Bytes::from_bytes_vec(bytes)))
    };
    let demand =
        |name: &str| read(name)?.ok_or_else(|| corrupt(&path, format!("a checksum of {name}"), "none"));

    let mut stepper = fresh.stepper.clone();
    let untrained = stepper.model.valid();
    let model = load(&untrained, &checkpoint.join(MODEL), demand(MODEL)?)?;
    let saved =
        |name: &str| read(name)?.map(|bytes| load(&untrained, &checkpoint.join(name), bytes)).transpose();
    let average = saved(AVERAGE)?;
    let best = match saved(BEST)? {
        Some(best) => Some(best),
        None => {
            manifest.standing.history.best().is_some().then(|| average.as_ref().unwrap_or(&model).valid())
        }
    };
    stepper.optimizer = OptimizerRecord::from_bytes(demand(OPTIMIZER)?)
        .map(|record| stepper.optimizer.load_record(record))
        .map_err(|error| corrupt(&checkpoint.join(OPTIMIZER), "the optimizer's moments", error))?;
    stepper.rows = stepper.rows.after(&manifest.row_steps, &model);
    if !manifest.row_steps.is_empty() {
        let moments = load(&stepper.rows.moments(), &checkpoint.join(ROWS), demand(ROWS)?)?;
        stepper.rows = stepper.rows.with_moments(moments);
    }
    stepper.model = model.train();
    let batches = read(BATCHES)?.map(|bytes| bytes.to_vec());
    Ok(Snapshot { standing: manifest.standing, stepper, average, best, batches })
}

/// The module with the parameters of a file: a copy that shares nothing with the module, which a clone would do with
/// statistics that run along.
fn load<M: Module>(module: &M, path: &Path, bytes: Bytes) -> Result<M> {
    let record = ModuleRecord::from_bytes(bytes).and_then(|record| module.valid().try_load_record(record));
    record.map_err(|error| corrupt(path, "the parameters of this run", error))
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let json = fs::read(path).map_err(|error| corrupt(path, "a readable file", error))?;
    let damaged = |error| corrupt(path, "a checkpoint's manifest", error);
    let Version { format_version: found } = serde_json::from_slice(&json).map_err(damaged)?;
    if found > FORMAT_VERSION {
        let path = path.to_path_buf();
        return Err(ErrorKind::UnsupportedVersion { path, found, supported: FORMAT_VERSION }.into());
    }
    serde_json::from_slice(&json).map_err(damaged)
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

    /// Refuses to continue the run of another setting, which was read from this manifest.
    fn must_continue(&self, saved: &Self, manifest: &Path) -> Result<()> {
        self.config.must_continue(&saved.config)?;
        let differs = |column: &str, ours: String, saved: String| {
            let location = Location::file(manifest).column(column);
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

fn corrupt(path: &Path, expected: impl Into<String>, found: impl ToString) -> Error {
    ErrorKind::Corrupt { path: path.to_path_buf(), expected: expected.into(), found: found.to_string() }
        .into()
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io(path))
}

/// Flushes a folder's list of names to the disk, where the system can.
fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) { File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir)) } else { Ok(()) }
}

/// Removes a folder and all in it; a folder that is not there is removed already.
fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(dir)(error)),
        _ => Ok(()),
    }
}
