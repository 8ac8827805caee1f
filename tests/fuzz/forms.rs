//! Everything that is saved to a folder and loaded again. Of the layout nothing is known but that a JSON file may
//! state the SHA-256 of another, with its length beside it, and that a file may end with the SHA-256 of the rest: both
//! are made right again after most damages, so that what lies behind the checksums is reached.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use recsys::models::ranking::{DeepFmConfig, DinConfig, FeatureRanker, LogisticConfig, NeuMfConfig};
use recsys::models::recall::{Sasrec, TwoTower};
use recsys::persistence::{BundledModel, EmbeddingBundle, PipelineBundle, RankingBundle, Registry};
use recsys::pipeline::{ExhaustiveRecaller, PipelineBuilder};
use recsys::prelude::*;
use recsys::rng::Rng;
use recsys::training::RankingConfig;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::damage::{damaged, damaged_and_sealed, is_sealed, one_in};
use crate::samples::*;
use crate::target::{Content, Input, Target, Told, told};
use crate::training;

/// Writes to a folder that is not there yet.
pub type Save = Box<dyn FnOnce(&Path)>;
/// Loads what stands in a folder and uses it.
pub type Load = Box<dyn Fn(&Path) -> Told>;
type Changes = Vec<(String, Option<Vec<u8>>)>;

/// Something saved, as it stood in its folder.
struct Form {
    files: BTreeMap<String, Vec<u8>>,
    hashes: BTreeMap<String, String>,
    /// For each file the JSON files that state its SHA-256.
    stated_in: BTreeMap<String, Vec<String>>,
    /// Where it is loaded from.
    work: PathBuf,
    load: Load,
}

/// Several forms; a variant of an input is one of them.
struct Forms {
    forms: Vec<Form>,
    /// Whether loading may change the folder.
    is_changed_by_loading: bool,
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below a folder, by their path within it.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn list(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).expect("a folder that was written") {
            let path = entry.expect("a folder that was written").path();
            if path.is_dir() {
                list(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("it is within").to_str().expect("names are ASCII");
                found.insert(name.to_owned(), fs::read(&path).expect("a file that was written"));
            }
        }
    }
    let mut found = BTreeMap::new();
    list(folder, folder, &mut found);
    found
}

pub fn write_file(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("the folder can be written");
    fs::write(path, bytes).expect("the folder can be written");
}

impl Form {
    /// Saves it, unless an earlier process has: weights have random ids, so a second time would give other bytes.
    fn new(folder: &Path, name: &str, save: Save, load: Load) -> Self {
        let saved = folder.join("saved").join(name);
        if !saved.exists() {
            let scratch = folder.join("scratch").join(name);
            let _ = fs::remove_dir_all(&scratch);
            fs::create_dir_all(scratch.parent().expect("it has one")).expect("the folder can be written");
            save(&scratch);
            fs::create_dir_all(saved.parent().expect("it has one")).expect("the folder can be written");
            fs::rename(&scratch, &saved).expect("the folder can be written");
        }
        let files = files(&saved);
        let hashes: BTreeMap<_, _> = files.iter().map(|(name, bytes)| (name.clone(), hash(bytes))).collect();
        let stated_in =
            files.keys().map(|file| (file.clone(), statements(&files, file, &hashes[file]))).collect();
        let form = Self { files, hashes, stated_in, work: folder.join("work").join(name), load };
        form.lay_out();
        (form.load)(&form.work).unwrap_or_else(|error| panic!("{name} as it was saved: {error}"));
        form.lay_out();
        form
    }

    /// Writes all files to the folder it is loaded from, and nothing else.
    fn lay_out(&self) {
        let _ = fs::remove_dir_all(&self.work);
        self.files.iter().for_each(|(name, bytes)| write_file(&self.work, name, bytes));
    }

    fn apply(&self, changes: &Changes) {
        for (name, bytes) in changes {
            match bytes {
                Some(bytes) => write_file(&self.work, name, bytes),
                None => drop(fs::remove_file(self.work.join(name))),
            }
        }
    }

    fn some_damage(&self, rng: &mut Rng) -> Changes {
        let names: Vec<&String> = self.files.keys().collect();
        let whole: Vec<&String> =
            names.iter().filter(|name| !self.stated_in[**name].is_empty()).copied().collect();
        if whole.is_empty() || one_in(rng, 12) {
            // Nothing is made right: most often that is noticed at once.
            let name = names[rng.below(names.len())];
            let bytes = &self.files[name];
            return vec![(name.clone(), (!one_in(rng, 8)).then(|| damaged(rng, bytes, &[])))];
        }
        let mut changed = BTreeMap::new();
        for _ in 0..1 + usize::from(one_in(rng, 6)) {
            let name = whole[rng.below(whole.len())];
            let other = &self.files[whole[rng.below(whole.len())]];
            let bytes = match one_in(rng, 20) {
                true => other.clone(),
                false if is_sealed(&self.files[name]) => damaged_and_sealed(rng, &self.files[name], &[]),
                false => damaged(rng, &self.files[name], std::slice::from_ref(other)),
            };
            changed.insert(name.clone(), bytes);
        }
        self.make_right(&mut changed);
        changed.into_iter().map(|(name, bytes)| (name, Some(bytes))).collect()
    }

    /// States the lengths and checksums of changed files anew, and those of the files that state them.
    fn make_right(&self, changed: &mut BTreeMap<String, Vec<u8>>) {
        let mut due: Vec<String> = changed.keys().cloned().collect();
        let mut at = 0;
        while at < due.len() {
            let file = due[at].clone();
            for statement in &self.stated_in[&file] {
                let text = changed.get(statement).unwrap_or(&self.files[statement]);
                let Ok(mut json) = serde_json::from_slice(text) else { continue };
                let anew = Anew {
                    name: within(statement, &file).expect("it lies below").to_owned(),
                    hashes: [self.hashes[&file].clone(), hash(&changed[&file])],
                    lengths: [self.files[&file].len(), changed[&file].len()],
                };
                if anew.correct(&mut json, Some(false)) || anew.correct(&mut json, None) {
                    changed.insert(statement.clone(), serde_json::to_vec_pretty(&json).expect("JSON"));
                    if !due.contains(statement) {
                        due.push(statement.clone());
                    }
                }
            }
            at += 1;
        }
    }
}

/// The JSON files, in a folder of the file or around it, that state its SHA-256.
fn statements(files: &BTreeMap<String, Vec<u8>>, file: &str, hash: &str) -> Vec<String> {
    let states = |name: &str, text: &[u8]| {
        name != file
            && name.ends_with(".json")
            && within(name, file).is_some()
            && text.windows(hash.len()).any(|part| part == hash.as_bytes())
    };
    files.iter().filter(|(name, text)| states(name, text)).map(|(name, _)| name.clone()).collect()
}

/// The path of a file within the folder of another.
fn within<'f>(other: &str, file: &'f str) -> Option<&'f str> {
    match other.rsplit_once('/') {
        Some((folder, _)) => file.strip_prefix(folder)?.strip_prefix('/'),
        None => Some(file),
    }
}

/// The old and the new SHA-256 and length of a file of this name.
struct Anew {
    name: String,
    hashes: [String; 2],
    lengths: [usize; 2],
}

impl Anew {
    /// Puts the new in the place of the old. `named` says whether what stands around has the file's name, without which
    /// nothing is changed; `None`: names do not matter.
    fn correct(&self, json: &mut Value, named: Option<bool>) -> bool {
        let mut values: Vec<(bool, &mut Value)> = match json {
            Value::Object(map) => map.iter_mut().map(|(key, value)| (*key == self.name, value)).collect(),
            Value::Array(list) => list.iter_mut().map(|value| (false, value)).collect(),
            _ => return false,
        };
        let is_name = |value: &Value| value.as_str() == Some(&self.name);
        let around = values.iter().any(|(_, value)| is_name(value)) || named == Some(true);
        let (mut corrected, mut is_here) = (false, false);
        for (is_key, value) in &mut values {
            let named = named.map(|_| around || *is_key);
            match value {
                Value::String(text) if named != Some(false) && text.contains(&self.hashes[0]) => {
                    *text = text.replace(&self.hashes[0], &self.hashes[1]);
                    is_here = true;
                }
                value => corrected |= self.correct(value, named),
            }
        }
        for (_, value) in values.iter_mut().filter(|_| is_here) {
            if value.as_u64() == Some(self.lengths[0] as u64) {
                **value = self.lengths[1].into();
            }
        }
        corrected || is_here
    }
}

impl Target for Forms {
    fn input(&self, rng: &mut Rng) -> Input {
        let variant = rng.below(self.forms.len());
        Input { variant, content: Content::Files(self.forms[variant].some_damage(rng)) }
    }

    fn read(&self, input: &Input) -> Told {
        let Content::Files(changes) = &input.content else { panic!("forms are files") };
        let form = &self.forms[input.variant];
        form.apply(changes);
        let loaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (form.load)(&form.work)));
        if self.is_changed_by_loading {
            form.lay_out();
        } else {
            let before = |name: &String| (name.clone(), form.files.get(name).cloned());
            form.apply(&changes.iter().map(|(name, _)| before(name)).collect());
        }
        loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn whole(&self, input: &Input) -> Vec<(String, Vec<u8>)> {
        let Content::Files(changes) = &input.content else { panic!("forms are files") };
        let mut files = self.forms[input.variant].files.clone();
        for (name, bytes) in changes {
            match bytes {
                Some(bytes) => drop(files.insert(name.clone(), bytes.clone())),
                None => drop(files.remove(name)),
            }
        }
        files.into_iter().collect()
    }

    fn again(&self, variant: usize, files: Vec<(String, Vec<u8>)>) -> Input {
        let mut changes: BTreeMap<String, Option<Vec<u8>>> =
            self.forms[variant].files.keys().map(|name| (name.clone(), None)).collect();
        changes.extend(files.into_iter().map(|(name, bytes)| (name, Some(bytes))));
        Input { variant, content: Content::Files(changes.into_iter().collect()) }
    }
}

fn forms(folder: &Path, all: Vec<(&str, Save, Load)>, is_changed_by_loading: bool) -> Box<dyn Target> {
    let forms = all.into_iter().map(|(name, save, load)| Form::new(folder, name, save, load)).collect();
    Box::new(Forms { forms, is_changed_by_loading })
}

fn pipeline_form(name: &'static str, pipeline: PipelineBuilder) -> (&'static str, Save, Load) {
    let bundle = PipelineBundle::new(pipeline.build().unwrap(), keys(N_USERS), keys(N_ITEMS));
    bundle_form(name, bundle)
}

fn bundle_form(name: &'static str, bundle: PipelineBundle) -> (&'static str, Save, Load) {
    let save = move |folder: &Path| bundle.save(folder, &Registry::default()).unwrap();
    let registry = Registry::default();
    let load = move |folder: &Path| {
        let bundle = told(PipelineBundle::load(folder, &registry, &Device::flex()))?;
        bundle.features.values().try_for_each(ask_features)?;
        let _ = (bundle.items.key(3), bundle.users.id("key 1"));
        ask_pipeline(&bundle.pipeline)
    };
    (name, Box::new(save), Box::new(load))
}

fn popular() -> PipelineBuilder {
    Pipeline::recall("popularity", popularity(), N_ITEMS)
}

pub fn recallers(folder: &Path) -> Box<dyn Target> {
    let form = |(name, recaller): (&'static str, Box<dyn Recaller>)| {
        let channel = recsys::pipeline::ChannelConfig::new(name, 9).with_weight(0.5).with_quota(2);
        let channel = recsys::pipeline::Channel::new(channel, recaller);
        let fusion = recsys::pipeline::Fusion::new(Default::default(), vec![channel]).unwrap();
        pipeline_form(name, Pipeline::of(fusion, 8))
    };
    forms(folder, crate::samples::recallers().into_iter().map(form).collect(), false)
}

pub fn rankers(folder: &Path) -> Box<dyn Target> {
    // As a recaller a ranker is asked without the pipeline's care for stages that panic.
    let form = |(name, ranker)| {
        pipeline_form(name, Pipeline::recall(name, ExhaustiveRecaller::new(ranker, N_ITEMS), 8))
    };
    let mut all: Vec<_> = crate::samples::rankers().into_iter().map(form).collect();
    let behind = popular().rank("of_channels", of_channels(), 9).rank("biased_mf", biased_mf(), 7);
    all.push(pipeline_form("two_stages", behind));
    let rows = known_rows();
    let model = LogisticConfig::default().init(rows.space(), 3, &Device::flex()).unwrap();
    let encoded = popular().rank("encoded", FeatureRanker::new(model, rows).unwrap(), 9).build().unwrap();
    let bundle = PipelineBundle::new(encoded, keys(N_USERS), keys(N_ITEMS));
    all.push(bundle_form("features", bundle.with_features("encoded", row_features())));
    forms(folder, all, false)
}

pub fn rerankers(folder: &Path) -> Box<dyn Target> {
    let all = crate::samples::rerankers(popular).into_iter();
    forms(folder, all.map(|(name, pipeline)| pipeline_form(name, pipeline)).collect(), false)
}

fn embedding_form<M: BundledModel + 'static>(name: &'static str, model: M) -> (&'static str, Save, Load) {
    let save = |folder: &Path| {
        let index = graph(&model);
        let (popularity, users, items) = (popularity(), keys(N_USERS), keys(N_ITEMS));
        EmbeddingBundle { model, index, popularity, users, items }.save(folder).unwrap();
    };
    let load = |folder: &Path| {
        let bundle = told(EmbeddingBundle::<M>::load(folder, &Device::flex()))?;
        told(bundle.model.item_vectors())?;
        ask_recaller(&told(bundle.into_recaller())?)
    };
    (name, Box::new(save), Box::new(load))
}

pub fn embeddings(folder: &Path) -> Box<dyn Target> {
    let (towers, transformer): (TwoTower, Sasrec) = (two_tower(), sasrec());
    forms(folder, vec![embedding_form("two_tower", towers), embedding_form("sasrec", transformer)], false)
}

fn ranking_form<C: RankingConfig + 'static>(config: C) -> (&'static str, Save, Load)
where
    FeatureRanker<C::Model>: Ranker,
{
    let save = move |folder: &Path| {
        let rows = known_rows();
        let model = config.init(rows.space(), 3, &Device::flex()).unwrap();
        let ranker = FeatureRanker::new(model, rows).unwrap();
        let (encoder, store) = (row_encoder(), Some(store()));
        let (users, items) = (keys(N_USERS), keys(N_ITEMS));
        RankingBundle::<C> { ranker, encoder, store, users, items }.save(folder).unwrap();
    };
    let load = |folder: &Path| {
        let RankingBundle { ranker, encoder, store, .. } =
            told(RankingBundle::<C>::load(folder, &Device::flex()))?;
        ask_ranker(&ranker)?;
        ask_features(&recsys::persistence::RowFeatures { encoder, store })
    };
    (C::NAME, Box::new(save), Box::new(load))
}

pub fn rankings(folder: &Path) -> Box<dyn Target> {
    let all = vec![
        ranking_form(LogisticConfig::default()),
        ranking_form(DinConfig::default()),
        ranking_form(DeepFmConfig::default()),
        ranking_form(NeuMfConfig::default()),
    ];
    forms(folder, all, false)
}

pub fn checkpoints(folder: &Path) -> Box<dyn Target> {
    forms(folder, training::runs(), true)
}

/// Two files of equal content and one that ends with its checksum, in a manifest, of which another file states the checksum.
fn save_nested(folder: &Path) {
    let file = |name: &str, bytes: &[u8]| {
        write_file(folder, &format!("inner/{name}"), bytes);
        serde_json::json!({"name": name, "bytes": bytes.len(), "sha256": hash(bytes)})
    };
    let sealed = [&b"sealed"[..], &Sha256::digest(b"sealed")].concat();
    let stated = [file("a", b"equal"), file("x/b", b"equal"), file("c", &sealed)];
    let manifest = serde_json::json!({"version": 5, "files": stated}).to_string();
    write_file(folder, "inner/manifest.json", manifest.as_bytes());
    let outer = serde_json::json!({"sha256": {"inner/manifest.json": hash(manifest.as_bytes())}});
    write_file(folder, "outer.json", outer.to_string().as_bytes());
}

fn load_nested(folder: &Path) -> Told {
    let read = |name: &str| fs::read(folder.join(name)).map_err(|error| error.to_string());
    let json = |name: &str| serde_json::from_slice(&read(name)?).map_err(|error| error.to_string());
    let (outer, manifest): (Value, Value) = (json("outer.json")?, json("inner/manifest.json")?);
    let is_right = |right: bool, what: &str| if right { Ok(()) } else { Err(what.to_owned()) };
    let stated = &outer["sha256"]["inner/manifest.json"];
    is_right(*stated == *hash(&read("inner/manifest.json")?), "manifest")?;
    for file in manifest["files"].as_array().ok_or("no files")? {
        let bytes = read(&format!("inner/{}", file["name"].as_str().ok_or("no name")?))?;
        is_right(file["sha256"] == *hash(&bytes) && file["bytes"] == bytes.len(), "file")?;
        is_right(file["name"] != "c" || is_sealed(&bytes), "seal")?;
    }
    is_right(manifest["version"] == 5, "version")
}

#[test]
fn checksums_are_made_right_whatever_the_layout() {
    let folder = crate::runner::scratch();
    let form = Form::new(folder.path(), "nested", Box::new(save_nested), Box::new(load_nested));
    let forms = Forms { forms: vec![form], is_changed_by_loading: false };
    let mut n_read = [0; 3];
    for seed in 0..600 {
        let input = forms.input(&mut Rng::new(seed));
        let Content::Files(changes) = &input.content else { panic!("forms are files") };
        let is_read = forms.read(&input).is_ok();
        for (name, n_read) in ["inner/a", "inner/x/b", "inner/c"].iter().zip(&mut n_read) {
            *n_read += u32::from(is_read && changes.iter().any(|(changed, _)| changed == name));
        }
    }
    assert!(n_read.iter().all(|n| *n > 80), "{n_read:?}");
    assert_eq!(forms.forms[0].files, files(&forms.forms[0].work), "a damage remains");
}
