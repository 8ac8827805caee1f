use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::{Folder, NewFolder, corrupt};
use crate::error::{Error, Result};

/// Writes a bundle: nothing of it counts until [`finish`](Self::finish) makes it what the target holds. Dropped before that, it
/// leaves nothing.
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
    folder: Arc<NewFolder>,
    /// What names begin with: nothing, or folders, each with a `/` behind it.
    prefix: String,
}

impl BundleWriter {
    /// Begins a bundle that will stand at `target`. Waits until no other writer of this target is left.
    ///
    /// # Errors
    /// A target that exists and is neither empty nor a bundle; a folder that cannot be written; another writer that is there
    /// for a minute.
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { folder: Arc::new(NewFolder::begin(target.as_ref())?), prefix: String::new() })
    }

    /// A writer of the same bundle for what belongs into a folder of its own.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn within(&self, folder: &str) -> Result<Self> {
        self.folder.create_folder(&format!("{}{folder}", self.prefix))?;
        Ok(Self { folder: Arc::clone(&self.folder), prefix: format!("{}{folder}/", self.prefix) })
    }

    /// Writes the file of this name.
    ///
    /// # Errors
    /// What `write` returns, a name that is taken, a bundle that is finished, or a file that cannot be written.
    pub fn write<E: Into<io::Error>>(
        &self,
        name: &str,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
    ) -> Result<()> {
        self.folder.write(&format!("{}{name}", self.prefix), write)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// A name that is taken, or a file that cannot be written.
    pub fn write_json<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.write_in_parts(name, |file| serde_json::to_writer_pretty(file, value).map_err(io::Error::from))
    }

    /// Writes a value as CBOR: smaller than JSON and faster to read, for what is large.
    ///
    /// # Errors
    /// A name that is taken, or a file that cannot be written.
    pub fn write_cbor<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.write_in_parts(name, |file| {
            ciborium::into_writer(value, file).map_err(|error| match error {
                ciborium::ser::Error::Io(source) => source,
                ciborium::ser::Error::Value(reason) => io::Error::other(reason),
            })
        })
    }

    /// As [`write`](Self::write), for a writer of millions of small parts: a call through a pointer for each takes half as long again.
    fn write_in_parts(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<&mut (dyn Write + Send)>) -> io::Result<()>,
    ) -> Result<()> {
        self.write(name, |file| {
            let mut buffer = BufWriter::new(file);
            write(&mut buffer)?;
            buffer.flush()
        })
    }

    /// Waits until everything is on the disk, and makes it what the target holds. A bundle that stood there is replaced.
    ///
    /// # Errors
    /// A bundle that is finished already, or a file that cannot be read or written; the target is then what it was.
    pub fn finish(self, kind: &str) -> Result<()> {
        self.folder.commit(kind)
    }
}

/// A bundle on the disk, as it was when it was opened: what is saved there later does not change it.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: Arc<Folder>,
    /// What names begin with: nothing, or folders, each with a `/` behind it.
    prefix: String,
}

impl Bundle {
    /// Opens the bundle of this kind at `folder` and compares every file's length with the manifest. Bytes are compared with
    /// their SHA-256 when they are read, before they are parsed.
    ///
    /// # Errors
    /// A folder without a manifest, a newer format ([`ErrorKind::UnsupportedVersion`](crate::error::ErrorKind::UnsupportedVersion)),
    /// another kind ([`ErrorKind::WrongKind`](crate::error::ErrorKind::WrongKind)), or a file that is missing or of another
    /// length ([`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt)).
    pub fn open(folder: impl AsRef<Path>, kind: &str) -> Result<Self> {
        Ok(Self { folder: Arc::new(Folder::open(folder.as_ref(), kind)?), prefix: String::new() })
    }

    /// The same bundle, with names that are meant in this folder of it.
    pub fn within(&self, folder: &str) -> Self {
        Self { folder: Arc::clone(&self.folder), prefix: format!("{}{folder}/", self.prefix) }
    }

    /// Where the file of this name stood, to be told in errors. Read it by [`read`](Self::read): a save may remove it any time.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path(&format!("{}{name}", self.prefix))
    }

    /// Whether the manifest lists a file of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.folder.contains(&format!("{}{name}", self.prefix))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that the manifest does not list, or that is not what was written.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.folder.read(&format!("{}{name}", self.prefix))
    }

    /// Reads a value that was written as JSON.
    ///
    /// # Errors
    /// As [`read`](Self::read), and a file that is not such a value.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(&self.read(name)?).map_err(|error| self.not_a::<T>(name, error))
    }

    /// Reads a value that was written as CBOR.
    ///
    /// # Errors
    /// As [`read`](Self::read), and a file that is not such a value and nothing else.
    pub fn read_cbor<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = self.read(name)?;
        let mut rest = bytes.as_slice();
        let value = ciborium::from_reader(&mut rest).map_err(|error| self.not_a::<T>(name, error))?;
        match rest.len() {
            0 => Ok(value),
            more => Err(self.not_a::<T>(name, format!("{more} more bytes"))),
        }
    }

    /// The error of a file that does not hold such a value.
    fn not_a<T>(&self, name: &str, found: impl ToString) -> Error {
        corrupt(
            &self.path(name),
            format!("a saved {}", short_name(std::any::type_name::<T>())),
            found.to_string(),
        )
    }
}

/// `alloc::vec::Vec<recsys::ids::ItemId>` → `Vec<ItemId>`
fn short_name(name: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut short = String::new();
    for c in name.chars() {
        if c == ':' {
            short.truncate(short.trim_end_matches(is_part).len());
        } else {
            short.push(c);
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;
    use crate::ids::ItemId;

    #[test]
    fn folders_within_are_part_of_the_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b");
        let writer = BundleWriter::create(&target).unwrap();
        let inner = writer.within("a/0").unwrap();
        let numbers = [1.5f32, -0.0, f32::MIN_POSITIVE];
        inner.write_cbor("numbers.cbor", &numbers).unwrap();
        writer.write_json("numbers.json", &[1]).unwrap();
        writer.write("two.cbor", |file| file.write_all(b"\x80\x80")).unwrap();
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
        let error = bundle.read_json::<Vec<ItemId>>("two.cbor").unwrap_err().to_string();
        assert!(error.contains("two.cbor is damaged: expected a saved Vec<ItemId>, found "), "{error}");
        let error = bundle.read_cbor::<Vec<f32>>("two.cbor").unwrap_err().to_string();
        assert!(error.ends_with("found 1 more bytes"), "{error}");
    }

    #[test]
    fn a_name_is_written_once_and_stays_in_the_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let writer = BundleWriter::create(folder.path().join("b")).unwrap();
        writer.write_json("a.json", &1).unwrap();
        for name in ["a.json", "", "../b.json", "/b.json", "no/such/folder.json"] {
            let error = writer.write_json(name, &2).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{name}: {error}");
        }
        assert!(writer.within("..").is_err());
        let late = writer.clone();
        writer.finish("numbers").unwrap();
        let error = late.write_json("late.json", &1).unwrap_err().to_string();
        assert!(error.ends_with("the save is finished already"), "{error}");
        assert!(late.within("late").is_err() && late.finish("others").is_err());
        assert_eq!(
            Bundle::open(folder.path().join("b"), "numbers").unwrap().read_json::<u8>("a.json").unwrap(),
            1
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
