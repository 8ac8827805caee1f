use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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
    name: String,
    bytes: u64,
    sha256: String,
}

/// Writes a bundle: files are collected in a scratch folder beside the target, and
/// [`finish`](Self::finish) gives it the target's name. Dropped before that, it leaves nothing.
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
#[derive(Debug)]
pub struct BundleWriter {
    scratch: PathBuf,
    target: PathBuf,
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
        let scratch = sibling(&target, &format!("writing-{}", std::process::id()));
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(Error::io(&scratch))?;
        }
        fs::create_dir_all(&scratch).map_err(Error::io(&scratch))?;
        Ok(Self { scratch, target })
    }

    /// Where to write the file of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
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

    /// Writes the manifest, waits until everything is on the disk, and gives the bundle its name. A bundle
    /// that stood there is replaced.
    ///
    /// # Errors
    /// A file that cannot be read or written; the target is then what it was.
    pub fn finish(self, kind: &str) -> Result<()> {
        let entries = fs::read_dir(&self.scratch).map_err(Error::io(&self.scratch))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io(&self.scratch))?.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;
            files.push(describe(&path)?);
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let written_by = concat!("recsys ", env!("CARGO_PKG_VERSION")).to_string();
        let manifest = Manifest { format_version: FORMAT_VERSION, kind: kind.to_string(), written_by, files };
        self.write_json(MANIFEST, &manifest)?;
        let path = self.path(MANIFEST);
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;

        let previous = sibling(&self.target, &format!("replaced-{}", std::process::id()));
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &previous).map_err(Error::io(&self.target))?;
        }
        if let Err(error) = fs::rename(&self.scratch, &self.target) {
            if replaces {
                fs::rename(&previous, &self.target).map_err(Error::io(&previous))?;
            }
            return Err(Error::io(&self.target)(error));
        }
        if replaces {
            fs::remove_dir_all(&previous).map_err(Error::io(&previous))?;
        }
        Ok(())
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        // After `finish` the scratch folder has another name, and there is nothing to remove.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// `folder/name` → `folder/.name.suffix`
fn sibling(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().map_or_else(|| "bundle".into(), |name| name.to_string_lossy());
    target.with_file_name(format!(".{name}.{suffix}"))
}

fn describe(path: &Path) -> Result<FileEntry> {
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
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(FileEntry { name, bytes, sha256 })
}

/// A bundle on the disk, every file of which is what the manifest says.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Opens the bundle of this kind at `folder` and checks every file's length and SHA-256.
    ///
    /// # Errors
    /// A folder without a manifest, a newer format ([`ErrorKind::UnsupportedVersion`]), another kind, or a
    /// file that is missing or damaged ([`ErrorKind::Corrupt`]).
    pub fn open(folder: impl AsRef<Path>, kind: &str) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        let path = folder.join(MANIFEST);
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let corrupt = |path: &Path, expected: String, found: String| -> Error {
            ErrorKind::Corrupt { path: path.to_path_buf(), expected, found }.into()
        };
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let not_a_manifest =
            |error: serde_json::Error| corrupt(&path, "a manifest".into(), error.to_string());
        let Version { format_version } = serde_json::from_slice(&text).map_err(not_a_manifest)?;
        if format_version > FORMAT_VERSION {
            let (found, supported) = (format_version, FORMAT_VERSION);
            return Err(ErrorKind::UnsupportedVersion { path, found, supported }.into());
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(not_a_manifest)?;
        if manifest.kind != kind {
            return Err(corrupt(&path, format!("a bundle of kind {kind}"), manifest.kind));
        }
        for expected in &manifest.files {
            let path = folder.join(&expected.name);
            if Path::new(&expected.name).components().count() != 1 || expected.name == ".." {
                return Err(corrupt(&folder.join(MANIFEST), "file names".into(), expected.name.clone()));
            }
            if !path.exists() {
                return Err(corrupt(&path, format!("{} bytes", expected.bytes), "no such file".into()));
            }
            let found = describe(&path)?;
            if found.bytes != expected.bytes {
                let bytes = |n: u64| format!("{n} bytes");
                return Err(corrupt(&path, bytes(expected.bytes), bytes(found.bytes)));
            }
            if found.sha256 != expected.sha256 {
                let sum = |hash: &str| format!("SHA-256 {hash}");
                return Err(corrupt(&path, sum(&expected.sha256), sum(&found.sha256)));
            }
        }
        Ok(Self { folder, manifest })
    }

    /// Where the file of this name stands.
    ///
    /// # Errors
    /// A file that the manifest does not list.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if self.contains(name) {
            return Ok(path);
        }
        let (expected, found) = ("an entry in the manifest".into(), "none".into());
        Err(ErrorKind::Corrupt { path, expected, found }.into())
    }

    /// Whether the manifest lists a file of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.manifest.files.iter().any(|file| file.name == name)
    }

    /// Reads a value that was written as JSON.
    ///
    /// # Errors
    /// A file that the manifest does not list, or that is not such a value.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name)?;
        let text = fs::read(&path).map_err(Error::io(&path))?;
        serde_json::from_slice(&text).map_err(|error| {
            let expected = std::any::type_name::<T>().to_string();
            ErrorKind::Corrupt { path, expected, found: error.to_string() }.into()
        })
    }
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
