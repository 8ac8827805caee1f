use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// The newest bundle format that this release writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// What `manifest.json` says. A newer format keeps `format_version`, so that an old release can refuse it by
/// name.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format_version: u32,
    /// What the bundle holds, for example `two_tower`.
    kind: String,
    /// The release that wrote it.
    written_by: String,
    files: Vec<FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileEntry {
    /// Its path within the bundle, with `/` between folders.
    name: String,
    bytes: u64,
    sha256: String,
}

/// Writes a bundle: files are collected in a scratch folder beside the target, and
/// [`finish`](Self::finish) gives it the target's name. Dropped before that, it leaves nothing.
///
/// Settings are JSON, which people read; large arrays are CBOR ([RFC 8949](https://www.rfc-editor.org/rfc/rfc8949)), which
/// holds every number to the bit and is read many times as fast.
///
/// ```
/// use recsys::persistence::{Bundle, BundleWriter};
///
/// let folder = tempfile::tempdir().unwrap();
/// let target = folder.path().join("numbers");
/// let writer = BundleWriter::create(&target)?;
/// writer.write_json("numbers.json", &[1, 2, 3])?;
/// writer.finish("numbers")?;
///
/// let bundle = Bundle::open(&target, "numbers")?;
/// assert_eq!(bundle.read_json::<Vec<u32>>("numbers.json")?, [1, 2, 3]);
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BundleWriter {
    scratch: Arc<Scratch>,
    /// Where in the bundle names are meant.
    folder: PathBuf,
}

/// The folder in which a bundle is collected.
#[derive(Debug)]
struct Scratch {
    path: PathBuf,
    target: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After `finish` the scratch folder has another name, and there is nothing to remove.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl BundleWriter {
    /// Begins a bundle that will stand at `target`.
    ///
    /// # Errors
    /// A target that exists and is no bundle, or a folder that cannot be written.
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        let target = target.as_ref().to_path_buf();
        if target.exists() && !target.join(MANIFEST).exists() {
            let found = io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a bundle");
            return Err(Error::io(&target)(found));
        }
        let path = sibling(&target, &format!("writing-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        }
        fs::create_dir_all(&path).map_err(Error::io(&path))?;
        Ok(Self { scratch: Arc::new(Scratch { path, target }), folder: PathBuf::new() })
    }

    /// A writer of the same bundle for what belongs into a folder of its own.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn within(&self, folder: &str) -> Result<Self> {
        let within = Self { scratch: Arc::clone(&self.scratch), folder: self.folder.join(folder) };
        let path = within.path("");
        fs::create_dir_all(&path).map_err(Error::io(&path))?;
        Ok(within)
    }

    /// Where to write the file of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path.join(&self.folder).join(name)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_json<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.path(name);
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::io(&path)(error.into()))?;
        fs::write(&path, bytes).map_err(Error::io(&path))
    }

    /// Writes a value as CBOR: smaller than JSON and faster to read, for what is large.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_cbor<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.path(name);
        let mut file = BufWriter::new(File::create(&path).map_err(Error::io(&path))?);
        ciborium::into_writer(value, &mut file).map_err(|error| {
            Error::io(&path)(match error {
                ciborium::ser::Error::Io(source) => source,
                ciborium::ser::Error::Value(reason) => io::Error::other(reason),
            })
        })?;
        file.flush().map_err(Error::io(&path))
    }

    /// Writes the manifest of the whole bundle, waits until everything is on the disk, and gives the bundle its name. A
    /// bundle that stood there is replaced.
    ///
    /// # Errors
    /// A file that cannot be read or written; the target is then what it was.
    pub fn finish(self, kind: &str) -> Result<()> {
        let Scratch { path: scratch, target } = self.scratch.as_ref();
        let mut names = Vec::new();
        list_files(scratch, "", &mut names)?;
        names.sort_unstable();
        let files = names.into_iter().map(|name| describe(scratch, name)).collect::<Result<_>>()?;
        let written_by = concat!("recsys ", env!("CARGO_PKG_VERSION")).to_string();
        let manifest = Manifest { format_version: FORMAT_VERSION, kind: kind.to_string(), written_by, files };
        let whole = Self { scratch: Arc::clone(&self.scratch), folder: PathBuf::new() };
        whole.write_json(MANIFEST, &manifest)?;
        sync(&whole.path(MANIFEST))?;

        let previous = sibling(target, &format!("replaced-{}", std::process::id()));
        let replaces = target.exists();
        if replaces {
            fs::rename(target, &previous).map_err(Error::io(target))?;
        }
        if let Err(error) = fs::rename(scratch, target) {
            if replaces {
                fs::rename(&previous, target).map_err(Error::io(&previous))?;
            }
            return Err(Error::io(target)(error));
        }
        if replaces {
            fs::remove_dir_all(&previous).map_err(Error::io(&previous))?;
        }
        Ok(())
    }
}

/// `folder/name` → `folder/.name.suffix`
fn sibling(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().map_or_else(|| "bundle".into(), |name| name.to_string_lossy());
    target.with_file_name(format!(".{name}.{suffix}"))
}

/// Waits until a file is on the disk.
fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}

/// The names of all files below `root/folder`, each of which is then on the disk.
fn list_files(root: &Path, folder: &str, names: &mut Vec<String>) -> Result<()> {
    let here = root.join(folder);
    for entry in fs::read_dir(&here).map_err(Error::io(&here))? {
        let entry = entry.map_err(Error::io(&here))?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let name = if folder.is_empty() { own } else { format!("{folder}/{own}") };
        if entry.path().is_dir() {
            list_files(root, &name, names)?;
        } else {
            sync(&entry.path())?;
            names.push(name);
        }
    }
    Ok(())
}

fn describe(root: &Path, name: String) -> Result<FileEntry> {
    let path = &root.join(&name);
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut block = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut block).map_err(Error::io(path))?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
        bytes += n as u64;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(FileEntry { name, bytes, sha256 })
}

/// A bundle on the disk, every file of which is what the manifest says.
#[derive(Clone, Debug)]
pub struct Bundle {
    root: PathBuf,
    manifest: Arc<Manifest>,
    /// What names begin with: nothing, or folders, each with a `/` behind it.
    prefix: String,
}

impl Bundle {
    /// Opens the bundle of this kind at `folder` and checks every file's length and SHA-256.
    ///
    /// # Errors
    /// A folder without a manifest, a newer format ([`ErrorKind::UnsupportedVersion`]), another kind, or a
    /// file that is missing or damaged ([`ErrorKind::Corrupt`]).
    pub fn open(folder: impl AsRef<Path>, kind: &str) -> Result<Self> {
        let root = folder.as_ref().to_path_buf();
        let path = root.join(MANIFEST);
        let text = fs::read(&path).map_err(Error::io(&path))?;
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let not_a_manifest =
            |error: serde_json::Error| corrupt(&path, "a manifest".into(), error.to_string());
        let Version { format_version } = serde_json::from_slice(&text).map_err(not_a_manifest)?;
        if !(1..=FORMAT_VERSION).contains(&format_version) {
            let (found, supported) = (format_version, FORMAT_VERSION);
            return Err(ErrorKind::UnsupportedVersion { path, found, supported }.into());
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(not_a_manifest)?;
        if manifest.kind != kind {
            return Err(corrupt(&path, format!("a bundle of kind {kind}"), manifest.kind));
        }
        let within =
            |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(file) = manifest.files.iter().find(|file| file.name.is_empty() || !within(&file.name)) {
            return Err(corrupt(&path, "names of files in the bundle".into(), file.name.clone()));
        }
        // All are looked at, so that of several damages the first is always the one that is told.
        let checks: Vec<Result<()>> = manifest.files.par_iter().map(|file| check(&root, file)).collect();
        checks.into_iter().collect::<Result<()>>()?;
        Ok(Self { root, manifest: Arc::new(manifest), prefix: String::new() })
    }

    /// The same bundle, with names that are meant in this folder of it.
    pub fn within(&self, folder: &str) -> Self {
        Self { prefix: format!("{}{folder}/", self.prefix), ..self.clone() }
    }

    /// Where the file of this name stands.
    ///
    /// # Errors
    /// A file that the manifest does not list.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(format!("{}{name}", self.prefix));
        if self.contains(name) {
            return Ok(path);
        }
        let (expected, found) = ("an entry in the manifest".into(), "none".into());
        Err(ErrorKind::Corrupt { path, expected, found }.into())
    }

    /// Whether the manifest lists a file of this name.
    pub fn contains(&self, name: &str) -> bool {
        let name = format!("{}{name}", self.prefix);
        self.manifest.files.iter().any(|file| file.name == name)
    }

    /// Reads a value that was written as JSON.
    ///
    /// # Errors
    /// A file that the manifest does not list, or that is not such a value.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name)?;
        let text = fs::read(&path).map_err(Error::io(&path))?;
        serde_json::from_slice(&text)
            .map_err(|error| corrupt(&path, std::any::type_name::<T>().into(), error.to_string()))
    }

    /// Reads a value that was written as CBOR.
    ///
    /// # Errors
    /// A file that the manifest does not list, or that is not such a value and nothing else.
    pub fn read_cbor<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name)?;
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let mut rest = bytes.as_slice();
        let corrupt = |found: String| corrupt(&path, std::any::type_name::<T>().into(), found);
        let value = ciborium::from_reader(&mut rest).map_err(|error| corrupt(error.to_string()))?;
        if rest.is_empty() { Ok(value) } else { Err(corrupt(format!("{} more bytes", rest.len()))) }
    }
}

/// Checks a file against its entry in the manifest.
fn check(root: &Path, expected: &FileEntry) -> Result<()> {
    let path = root.join(&expected.name);
    if !path.is_file() {
        return Err(corrupt(&path, format!("{} bytes", expected.bytes), "no such file".into()));
    }
    let found = describe(root, expected.name.clone())?;
    if found.bytes != expected.bytes {
        let bytes = |n: u64| format!("{n} bytes");
        return Err(corrupt(&path, bytes(expected.bytes), bytes(found.bytes)));
    }
    if found.sha256 != expected.sha256 {
        let sum = |hash: &str| format!("SHA-256 {hash}");
        return Err(corrupt(&path, sum(&expected.sha256), sum(&found.sha256)));
    }
    Ok(())
}

fn corrupt(path: &Path, expected: String, found: String) -> Error {
    ErrorKind::Corrupt { path: path.to_path_buf(), expected, found }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(target: &Path, numbers: &[u32]) -> Result<()> {
        let writer = BundleWriter::create(target)?;
        writer.write_json("numbers.json", numbers)?;
        let path = writer.path("raw.bin");
        fs::write(&path, b"abc").map_err(Error::io(&path))?;
        writer.finish("numbers")
    }

    #[test]
    fn a_bundle_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b");
        write(&target, &[1]).unwrap();
        write(&target, &[2, 3]).unwrap();
        let bundle = Bundle::open(&target, "numbers").unwrap();
        assert_eq!(bundle.read_json::<Vec<u32>>("numbers.json").unwrap(), [2, 3]);
        assert_eq!(fs::read(bundle.path("raw.bin").unwrap()).unwrap(), b"abc");
        assert!(bundle.path("other").is_err() && bundle.read_json::<String>("numbers.json").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "scratch folders remain");
    }

    #[test]
    fn a_dropped_writer_leaves_nothing_and_spares_other_folders() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b");
        drop(BundleWriter::create(&target).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::create_dir(&target).unwrap();
        fs::write(target.join("precious.txt"), "x").unwrap();
        assert!(matches!(BundleWriter::create(&target).unwrap_err().kind(), ErrorKind::Io { .. }));
    }

    #[test]
    fn folders_within_are_part_of_the_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b");
        let writer = BundleWriter::create(&target).unwrap();
        let inner = writer.within("a/0").unwrap();
        let numbers = [1.5f32, -0.0, f32::MIN_POSITIVE];
        inner.write_cbor("numbers.cbor", &numbers).unwrap();
        writer.write_json("numbers.json", &[1]).unwrap();
        writer.finish("numbers").unwrap();
        drop(inner);
        let bundle = Bundle::open(&target, "numbers").unwrap();
        assert!(bundle.contains("a/0/numbers.cbor") && !bundle.contains("numbers.cbor"));
        let inner = bundle.within("a").within("0");
        let read: Vec<f32> = inner.read_cbor("numbers.cbor").unwrap();
        assert_eq!(read.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), numbers.map(f32::to_bits));
        let missing = inner.read_json::<u32>("numbers.json").unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::Corrupt { .. }), "{missing}");
        assert!(inner.read_cbor::<String>("numbers.cbor").is_err());
        fs::write(target.join("a/0/numbers.cbor"), b"\x80\x80").unwrap();
        let error = Bundle::open(&target, "numbers").unwrap_err().to_string();
        assert!(error.contains("numbers.cbor is damaged"), "{error}");
        // Two values where one belongs.
        let error = inner.read_cbor::<Vec<f32>>("numbers.cbor").unwrap_err().to_string();
        assert!(error.ends_with("found 1 more bytes"), "{error}");
    }

    #[test]
    fn damage_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b");
        let spoil = |name: &str, spoil: &dyn Fn(&Path)| {
            write(&target, &[1]).unwrap();
            spoil(&target.join(name));
            Bundle::open(&target, "numbers").unwrap_err()
        };
        let flipped = spoil("raw.bin", &|path| fs::write(path, "abd").unwrap());
        assert!(flipped.to_string().contains("raw.bin is damaged: expected SHA-256"), "{flipped}");
        let cut = spoil("raw.bin", &|path| fs::write(path, "ab").unwrap());
        assert!(cut.to_string().contains("expected 3 bytes, found 2 bytes"), "{cut}");
        let gone = spoil("raw.bin", &|path| fs::remove_file(path).unwrap());
        assert!(gone.to_string().contains("no such file"), "{gone}");
        let broken = spoil(MANIFEST, &|path| fs::write(path, "{").unwrap());
        assert!(matches!(broken.kind(), ErrorKind::Corrupt { .. }));
        let newer = spoil(MANIFEST, &|path| {
            fs::write(path, r#"{"format_version": 2, "layout": "unknown"}"#).unwrap();
        });
        assert!(matches!(newer.kind(), ErrorKind::UnsupportedVersion { found: 2, supported: 1, .. }));
        let outside = spoil(MANIFEST, &|path| {
            let text = fs::read_to_string(path).unwrap().replace("raw.bin", "../raw.bin");
            fs::write(path, text).unwrap();
        });
        assert!(matches!(outside.kind(), ErrorKind::Corrupt { .. }));
        write(&target, &[1]).unwrap();
        assert!(matches!(Bundle::open(&target, "other").unwrap_err().kind(), ErrorKind::Corrupt { .. }));
        let nothing = Bundle::open(folder.path().join("c"), "numbers").unwrap_err();
        assert!(matches!(nothing.kind(), ErrorKind::Io { .. }));
    }
}
