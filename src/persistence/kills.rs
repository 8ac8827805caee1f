//! Saves that are killed, before each of their changes to the disk and at any other moment, beside loads and other saves. What is
//! found is always one save, whole. `.ci/kill` runs all of it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burn::tensor::Device;

use crate::data::{Interaction, Interactions, Vocab};
use crate::disk::tests::DIE_AT;
use crate::error::{ErrorKind, Result};
use crate::features::ItemFeatures;
use crate::ids::{ItemId, UserId};
use crate::index::{self, ExactIndex, Similarity, VectorIndex};
use crate::models::recall::{
    EmbeddingRecaller, PopularityRecaller, Sasrec, SasrecConfig, TwoTower, TwoTowerConfig,
};
use crate::persistence::{EmbeddingBundle, PipelineBundle, Registry};
use crate::pipeline::{Candidate, EmbeddingModel, Pipeline, Query};
use crate::rng::Rng;
use crate::training::{RetrievalBatches, Trainer, TrainingConfig};

const N_ITEMS: usize = 30;
const TARGET: &str = "RECSYS_TEST_TARGET";
const FORM: &str = "RECSYS_TEST_FORM";
const VERSIONS: &str = "RECSYS_TEST_VERSIONS";

/// A saved form: what a version of it looks like on the disk, and which version is found there.
struct Form {
    name: &'static str,
    save: fn(&Path, u64) -> Result<()>,
    /// `None` for a mixture.
    load: fn(&Path) -> Result<Option<u64>>,
}

const FORMS: &[Form] = &[
    Form { name: "pipeline", save: save_pipeline, load: load_pipeline },
    Form { name: "embeddings", save: save_embeddings, load: load_embeddings },
    Form { name: "index", save: save_index, load: load_index },
    #[cfg(feature = "safetensors")]
    Form { name: "safetensors", save: save_weights, load: load_weights },
    #[cfg(feature = "parquet")]
    Form { name: "parquet", save: save_parquet, load: load_parquet },
    Form { name: "checkpoints", save: save_checkpoints, load: load_checkpoints },
];

fn rows(version: u64) -> Interactions {
    let row = |event: u32| Interaction {
        user: UserId(event % 7),
        item: ItemId((event * event + version as u32) % N_ITEMS as u32),
        value: version as f32,
        timestamp: event.into(),
    };
    Interactions::from_rows(7, N_ITEMS, (0..80).map(row)).unwrap()
}

fn vocab(n: usize, version: u64) -> Vocab {
    Vocab::from_texts((0..n).map(|id| format!("{version}/{id}")).collect()).unwrap()
}

fn version_of_vocab(vocab: &Vocab) -> u64 {
    let last = vocab.key(vocab.len() as u32 - 1).unwrap().to_string();
    last.split('/').next().unwrap().parse().unwrap()
}

/// The version of which these vectors are.
fn version_of(vectors: &[f32]) -> Option<u64> {
    (1..=2).find(|&version| sasrec(version).item_vectors().unwrap() == vectors)
}

fn sasrec(version: u64) -> Sasrec {
    let config = SasrecConfig { d_model: 8, d_hidden: 8, max_len: 6, ..SasrecConfig::default() };
    config.init(N_ITEMS, version, &Device::flex()).unwrap()
}

fn two_tower(version: u64) -> TwoTower {
    let features = ItemFeatures::none(N_ITEMS);
    TwoTowerConfig::default().init(7, &features, version, &Device::flex()).unwrap()
}

fn index_of(model: &impl EmbeddingModel) -> ExactIndex {
    ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors().unwrap()).unwrap()
}

/// All vectors that an index holds.
fn vectors(index: &dyn VectorIndex) -> Vec<f32> {
    (0..index.len() as u32).flat_map(|item| index.vector(ItemId(item)).unwrap()).collect()
}

fn pipeline(version: u64) -> PipelineBundle {
    let popularity = PopularityRecaller::fit(&rows(version));
    let sasrec = EmbeddingRecaller::exact(sasrec(version), Box::new(popularity.clone())).unwrap();
    let pipeline = Pipeline::recall("sasrec", sasrec, 20).and_recall("popularity", popularity, 20);
    PipelineBundle::new(pipeline.build().unwrap(), vocab(7, version), vocab(N_ITEMS, version))
}

fn save_pipeline(target: &Path, version: u64) -> Result<()> {
    pipeline(version).save(target, &Registry::default())
}

fn load_pipeline(target: &Path) -> Result<Option<u64>> {
    let answers = |bundle: &PipelineBundle| -> Vec<Vec<Candidate>> {
        let query = Query::new(&[ItemId(1), ItemId(4)]);
        let channels = bundle.pipeline.fusion().channels();
        channels.iter().map(|channel| channel.recaller().recall(&query, 9).unwrap()).collect()
    };
    let found = PipelineBundle::load(target, &Registry::default(), &Device::flex())?;
    let version = version_of_vocab(&found.users);
    let is_whole = found.items == vocab(N_ITEMS, version) && answers(&found) == answers(&pipeline(version));
    Ok(is_whole.then_some(version))
}

fn embeddings(version: u64) -> EmbeddingBundle<TwoTower> {
    let model = two_tower(version);
    EmbeddingBundle {
        index: Box::new(index_of(&model)),
        model,
        popularity: PopularityRecaller::fit(&rows(version)),
        users: vocab(7, version),
        items: vocab(N_ITEMS, version),
    }
}

fn save_embeddings(target: &Path, version: u64) -> Result<()> {
    embeddings(version).save(target)
}

fn load_embeddings(target: &Path) -> Result<Option<u64>> {
    let found = EmbeddingBundle::<TwoTower>::load(target, &Device::flex())?;
    let version = version_of_vocab(&found.users);
    let saved = embeddings(version);
    let is_whole = found.model.item_vectors()? == saved.model.item_vectors()?
        && vectors(found.index.as_ref()) == vectors(saved.index.as_ref())
        && found.popularity.scores() == saved.popularity.scores()
        && found.items == saved.items;
    Ok(is_whole.then_some(version))
}

fn save_index(target: &Path, version: u64) -> Result<()> {
    index_of(&sasrec(version)).save(target)
}

fn load_index(target: &Path) -> Result<Option<u64>> {
    Ok(version_of(&vectors(index::load(target)?.as_ref())))
}

#[cfg(feature = "safetensors")]
fn save_weights(target: &Path, version: u64) -> Result<()> {
    crate::persistence::save_safetensors(&sasrec(version), target, Default::default())
}

#[cfg(feature = "safetensors")]
fn load_weights(target: &Path) -> Result<Option<u64>> {
    let model = crate::persistence::load_safetensors(sasrec(9), target, Default::default())?;
    Ok(version_of(&model.item_vectors()?))
}

#[cfg(feature = "parquet")]
fn save_parquet(target: &Path, version: u64) -> Result<()> {
    let (users, items) = (vocab(7, version), vocab(N_ITEMS, version));
    crate::data::write_parquet(&crate::data::Dataset::new(rows(version), users, items)?, target)
}

#[cfg(feature = "parquet")]
fn load_parquet(target: &Path) -> Result<Option<u64>> {
    let columns = crate::data::ColumnMap::new("user", "item").value("value").text_users().text_items();
    let found = crate::data::read_parquet(target, &columns)?;
    let version = version_of_vocab(found.users());
    let is_whole = version_of_vocab(found.items()) == version
        && found.interactions().values() == vec![version as f32; 80];
    Ok(is_whole.then_some(version))
}

/// Three epochs of training; a run that finds checkpoints goes on from them.
fn train(target: &Path) -> Result<Vec<f32>> {
    let config = TwoTowerConfig::default();
    let batches = RetrievalBatches::new(&rows(1), config.loss, config.max_len)?;
    let training = TrainingConfig::default().with_epochs(3).with_checkpoint_dir(target);
    Trainer::new(training)?.fit(two_tower(1), &batches, |_| Ok(vec![]))?.model.item_vectors()
}

/// Trains anew, whatever the version.
fn save_checkpoints(target: &Path, _version: u64) -> Result<()> {
    fs::remove_dir_all(target).ok();
    train(target).map(|_| ())
}

/// Goes on with the run: it ends as one that was never killed.
fn load_checkpoints(target: &Path) -> Result<Option<u64>> {
    let undisturbed = folder();
    let whole = train(&undisturbed.path().join("run"))?;
    Ok((train(target)? == whole).then_some(2))
}

/// Everything below a folder that is neither a manifest, a file of its generation, nor a file of the form's own name.
fn leftovers(parent: &Path, form: &Form) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for entry in fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.ends_with(form.name) {
            left.push(entry);
        } else if form.name == "checkpoints" {
            for step in fs::read_dir(entry).unwrap().map(|entry| entry.unwrap().path()) {
                left.extend(leftovers_of_folder(&step));
            }
        } else if entry.is_dir() {
            left.extend(leftovers_of_folder(&entry));
        }
    }
    left
}

fn leftovers_of_folder(folder: &Path) -> Vec<PathBuf> {
    let manifest = fs::read(folder.join("manifest.json")).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
    let generation = format!("files-{}", manifest["generation"]);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| !path.ends_with("manifest.json") && !path.ends_with(&generation)).collect()
}

/// In memory where that can be had, unless `TMPDIR` says where: what is tried are kills, not the disk.
fn folder() -> tempfile::TempDir {
    let on_disk = std::env::var_os("TMPDIR").is_some();
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.ok().filter(|_| !on_disk).unwrap_or_else(|| tempfile::tempdir().unwrap())
}

fn form(name: &str) -> &'static Form {
    FORMS.iter().find(|form| form.name == name).unwrap()
}

/// A process that saves these versions, one after the other, again and again where there is more than one.
fn saver(form: &Form, target: &Path, versions: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "persistence::kills::child", "--ignored", "--test-threads=1"])
        .env(TARGET, target)
        .env(FORM, form.name)
        .env(VERSIONS, versions)
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
#[ignore = "a child of other tests"]
fn child() {
    let (target, versions) =
        (PathBuf::from(std::env::var_os(TARGET).unwrap()), std::env::var(VERSIONS).unwrap());
    let form = form(&std::env::var(FORM).unwrap());
    let versions: Vec<u64> = versions.split(',').map(|version| version.parse().unwrap()).collect();
    match versions[..] {
        [version] => (form.save)(&target, version).unwrap(),
        // The parent ends it.
        _ => loop {
            versions.iter().for_each(|&version| (form.save)(&target, version).unwrap());
        },
    }
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    loads: u64,
    /// Loads that gave parts of two saves.
    mixed: u64,
    /// Loads that gave an error where something whole must be.
    failed: u64,
    leftovers: u64,
}

impl Counts {
    /// Loads what a killed saver or running ones may have replaced; gives the version found.
    fn load(&mut self, form: &Form, target: &Path, must_be: bool) -> Option<u64> {
        self.loads += 1;
        match (form.load)(target) {
            Ok(Some(version @ (1 | 2))) => return Some(version),
            Ok(_) => {
                println!("{}: a mixture", form.name);
                self.mixed += 1;
            }
            Err(error) if !must_be && is_nothing(error.kind()) => {}
            Err(error) => {
                println!("{}: {error}", form.name);
                self.failed += 1;
            }
        }
        None
    }

    /// Saves once more and counts what is left of all saves before.
    fn save_again(&mut self, form: &Form, parent: &Path) {
        (form.save)(&parent.join(form.name), 1).unwrap();
        let left = leftovers(parent, form);
        if !left.is_empty() {
            println!("{}: {left:?} are left", form.name);
            self.leftovers += left.len() as u64;
        }
        self.load(form, &parent.join(form.name), true);
    }

    fn json(&self) -> String {
        let Self { kills, loads, mixed, failed, leftovers } = self;
        format!(
            r#"{{"kills":{kills},"loads":{loads},"mixed":{mixed},"failed":{failed},"leftovers":{leftovers}}}"#
        )
    }

    fn is_clean(&self) -> bool {
        self.mixed + self.failed + self.leftovers == 0
    }
}

fn is_nothing(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// Kills a save before each of its changes to the disk, with and without something that stands there already.
fn kill_at_every_step(form: &Form, counts: &mut Counts) {
    for has_old in [true, false] {
        for step in 1.. {
            let parent = folder();
            let target = parent.path().join(form.name);
            if has_old {
                (form.save)(&target, 1).unwrap();
            }
            let status = saver(form, &target, "2").env(DIE_AT, step.to_string()).status().unwrap();
            if status.success() {
                assert!(step > 3, "{}: only {step} steps", form.name);
                break;
            }
            assert!(status.signal().is_some(), "{}: the save failed before step {step}", form.name);
            counts.kills += 1;
            counts.load(form, &target, has_old && form.name != "checkpoints");
            counts.save_again(form, parent.path());
        }
    }
}

#[test]
fn a_save_killed_at_any_step_leaves_the_old_or_the_new() {
    let mut counts = Counts::default();
    FORMS.iter().for_each(|form| kill_at_every_step(form, &mut counts));
    println!("{counts:?}");
    assert!(counts.is_clean() && counts.kills > 300, "{counts:?}");
}

fn kill(mut saver: Child) {
    // On Unix SIGKILL: nothing of the process runs any more.
    saver.kill().unwrap();
    saver.wait().unwrap();
}

/// Savers at their natural speed, and loads beside them.
fn load_beside(form: &Form, n_savers: usize, n_loads: u64, until: Instant, counts: &mut Counts) {
    let parent = folder();
    let target = parent.path().join(form.name);
    (form.save)(&target, 1).unwrap();
    let savers: Vec<Child> = (0..n_savers).map(|_| saver(form, &target, "1,2").spawn().unwrap()).collect();
    // Until the savers, which take a moment to begin, have replaced what was there.
    let begin = Instant::now();
    while counts.load(form, &target, true) != Some(2) {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{}: nothing is saved beside the loads",
            form.name
        );
    }
    for _ in 0..n_loads {
        counts.load(form, &target, true);
        if Instant::now() > until {
            break;
        }
    }
    counts.kills += n_savers as u64;
    savers.into_iter().for_each(kill);
    counts.save_again(form, parent.path());
}

/// Savers killed at any moment.
fn kill_at_random(form: &Form, n_kills: u64, until: Instant, counts: &mut Counts) {
    let parent = folder();
    let target = parent.path().join(form.name);
    (form.save)(&target, 1).unwrap();
    let mut rng = Rng::new(1);
    for _ in 0..n_kills {
        let saver = saver(form, &target, "1,2").spawn().unwrap();
        std::thread::sleep(Duration::from_micros(20_000 + rng.below(60_000) as u64));
        kill(saver);
        counts.kills += 1;
        counts.load(form, &target, true);
        if Instant::now() > until {
            break;
        }
    }
    counts.save_again(form, parent.path());
}

/// As much as `RECSYS_KILL_SECONDS` allow of: every step of every form; 10,000 loads beside one saver, as many beside eight; and
/// 100 kills at any moment, form by form.
#[test]
#[ignore = "takes minutes; .ci/kill runs it"]
fn savers_are_killed_and_loaders_run_beside_them() {
    let seconds: u64 = std::env::var("RECSYS_KILL_SECONDS").map_or(120, |seconds| seconds.parse().unwrap());
    let start = Instant::now();
    let mut total = Counts::default();
    let mut report = |what: &str, counts: Counts| {
        println!("{what}: {} after {:.0} s", counts.json(), start.elapsed().as_secs_f64());
        total.kills += counts.kills;
        total.loads += counts.loads;
        total.mixed += counts.mixed;
        total.failed += counts.failed;
        total.leftovers += counts.leftovers;
    };
    for form in FORMS {
        let mut counts = Counts::default();
        kill_at_every_step(form, &mut counts);
        report(&format!("{} killed at every step", form.name), counts);
    }
    let beside: Vec<&Form> = FORMS.iter().filter(|form| form.name != "checkpoints").collect();
    // What is left of the time, in equal parts.
    let part = Duration::from_secs(seconds).saturating_sub(start.elapsed()) / (3 * beside.len() as u32);
    for form in beside {
        for n_savers in [1, 8] {
            let mut counts = Counts::default();
            load_beside(form, n_savers, 10_000, Instant::now() + part, &mut counts);
            report(&format!("{} beside {n_savers} savers", form.name), counts);
        }
        let mut counts = Counts::default();
        kill_at_random(form, 100, Instant::now() + part, &mut counts);
        report(&format!("{} killed at any moment", form.name), counts);
    }
    println!("{}", total.json());
    assert!(total.is_clean());
}
