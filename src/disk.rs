//! The one way onto the disk: a file or a folder appears whole or not at all, and what is read back is what was checked.
//!
//! [`write_file`] writes one file. Models, pipelines and checkpoints are folders of many files, of which one decides:
//!
//! ```text
//! model/
//!   manifest.json         the kind, the generation that counts, and the length and SHA-256 of each of its files
//!   .manifest.json.part   while a save is under way: its lock, and then its manifest
//!   files-7/…             the files of generation 7
//! ```
//!
//! A save writes a generation of its own, flushes it to the disk and then renames its manifest over the old one. That
//! rename is the switch: before it the old content counts, after it the new. It is one system call on every platform,
//! and works where folders cannot be swapped: on mount points, on network shares, over the read-only layers of a
//! container's image.
//!
//! | what | how |
//! |---|---|
//! | a save that fails or is killed | the target is what it was; what it left is removed by the next save |
//! | a power cut | the target is the old or the new content: files, then folders are flushed before and after the switch |
//! | several savers of one target | one at a time, by a lock; who has waited for a minute gets an error |
//! | a reader beside a saver | the old content or the new, never a mixture: it holds the files of one manifest open, and bytes are parsed only once their SHA-256 is found right |
//! | a symbolic link as target | what it points to is written; the link stays |
//!
//! This needs what local file systems (ext4, XFS, Btrfs, ZFS, APFS, NTFS, overlayfs, tmpfs) and NFS from version 4 offer:
//! renames that replace a file in one step, and file locks. A file system without locks serves one saver at a time. Network
//! shares that buffer `fsync` keep all promises but that of the power cut.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// The newest format of saved folders that this release writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

const MANIFEST: &str = "manifest.json";
const GENERATION: &str = "files-";
/// A manifest is a few hundred bytes for each file.
const MAX_MANIFEST: u64 = 16 << 20;
/// How long a saver waits for another.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// How often something is tried again that another process has undone.
const MAX_TRIES: usize = 1000;
const MAX_LINKS: usize = 40;
/// So many saves there never are: a greater number is damage.
const MAX_GENERATION: u64 = 1 << 53;

/// Writes a file that appears whole or not at all, and replaces one that stood there. It has the permissions of the file that
/// it replaces, unless that was read-only, or those of any new file. A device or a pipe is written directly.
///
/// ```
/// use std::io::Write;
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("report.txt");
/// recsys::disk::write_file(&path, |file| writeln!(file, "recall@10: 0.25"))?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "recall@10: 0.25\n");
/// # Ok::<(), recsys::prelude::Error>(())
/// ```
///
/// # Errors
/// What `write` returns or the file system refuses; another process or thread that has been writing the file for a minute.
/// The file is then what it was.
pub fn write_file<E: Into<io::Error>>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
) -> Result<()> {
    let path = path.as_ref();
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let device = OpenOptions::new().write(true).open(path);
        return device.and_then(|device| fill(device, write)).map_err(Error::io(path));
    }
    let mut new = NewFile::begin(path)?;
    fill(&new.file, write).map_err(Error::io(path))?;
    new.commit().map(|_| ())
}

/// Lets `write` fill a file, through a buffer.
fn fill<E: Into<io::Error>>(
    file: impl Write + Send,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
) -> io::Result<()> {
    let mut buffer = BufWriter::with_capacity(1 << 16, file);
    write(&mut buffer).map_err(Into::into)?;
    buffer.flush()
}

/// A file on its way, under a scratch name that only one saver at a time holds.
#[derive(Debug)]
struct NewFile {
    target: PathBuf,
    /// `.NAME.part` beside the target; locked, so that it is also the lock of the target.
    scratch: PathBuf,
    file: File,
    /// Whether the scratch name is given up.
    is_done: bool,
}

impl NewFile {
    /// Opens an empty scratch file, once no other saver of the target is left.
    fn begin(target: &Path) -> Result<Self> {
        let target = behind_links(target)?;
        let Some(name) = target.file_name() else {
            let found = io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file");
            return Err(Error::io(&target)(found));
        };
        let mut scratch = OsString::from(".");
        scratch.push(name);
        scratch.push(".part");
        let scratch = target.with_file_name(scratch);
        let file = open_locked(&scratch).map_err(Error::io(&target))?;
        let new = Self { target, scratch, file, is_done: false };
        step();
        new.take_permissions().and_then(|()| new.file.set_len(0)).map_err(Error::io(&new.scratch))?;
        Ok(new)
    }

    /// The permissions of the file that is replaced; not of a read-only one, since a killed save would then stop all others.
    fn take_permissions(&self) -> io::Result<()> {
        match fs::metadata(&self.target).map(|replaced| replaced.permissions()) {
            Ok(permissions)
                if !permissions.readonly() && permissions != self.file.metadata()?.permissions() =>
            {
                self.file.set_permissions(permissions)
            }
            _ => Ok(()),
        }
    }

    /// Flushes the file and gives it its name. Says whether the new name is on the disk, too: what fails from the switch on does
    /// not undo it.
    fn commit(&mut self) -> Result<bool> {
        step();
        self.file.sync_all().map_err(Error::io(&self.target))?;
        step();
        fs::rename(&self.scratch, &self.target).map_err(Error::io(&self.target))?;
        self.is_done = true;
        step();
        Ok(sync_folder_of(&self.target).is_ok())
    }

    /// Refuses what comes after the switch: under its new name the file is not ours any more.
    fn check_open(&self) -> io::Result<()> {
        match self.is_done {
            false => Ok(()),
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, "the save is finished already")),
        }
    }

    fn discard(&mut self) {
        if !self.is_done {
            // The first error is the one to tell.
            let _ = fs::remove_file(&self.scratch);
            self.is_done = true;
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.discard();
    }
}

/// What a chain of symbolic links ends at, whether there is anything or not.
fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut end = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&end) else { return Ok(end) };
        end = end.parent().unwrap_or(Path::new("")).join(next);
    }
    let found = io::Error::new(io::ErrorKind::InvalidInput, "too many symbolic links");
    Err(Error::io(path)(found))
}

/// Opens the file of this name, which is made if need be, and locks it. Whoever held the lock has renamed or removed the file:
/// then the name stands for another one, or for none, and the wait goes on.
fn open_locked(path: &Path) -> io::Result<File> {
    let begin = Instant::now();
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let is_locked = match file.try_lock() {
            Ok(()) => true,
            // The file system has no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => true,
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => false,
        };
        if is_locked && names(path, &file)? {
            return Ok(file);
        }
        if begin.elapsed() > PATIENCE {
            let what = format!("another save has been writing here for {} s", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        if !is_locked {
            thread::sleep(POLL);
        }
    }
}

/// Whether the name stands for this file.
fn names(path: &Path, file: &File) -> io::Result<bool> {
    let ours = same_file::Handle::from_file(file.try_clone()?)?;
    match same_file::Handle::from_path(path) {
        Ok(theirs) => Ok(ours == theirs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until the name of something is on the disk, where the system can.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
        _ => sync_folder(Path::new(".")),
    }
}

/// Waits until a folder's list of names is on the disk, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Waits until everything below a folder is on the disk.
pub(crate) fn sync_tree(folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(Error::io(folder))?;
    entries.par_iter().try_for_each(|entry| {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return sync_tree(&path);
        }
        step();
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))
    })?;
    step();
    sync_folder(folder).map_err(Error::io(folder))
}

/// What a manifest says. A newer format keeps `format_version`, so that an old release can refuse it by name.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format_version: u32,
    /// What the folder holds, for example `two_tower`.
    kind: String,
    /// The release that wrote it.
    written_by: String,
    /// The number of the save; its files stand in the folder `files-` with that number.
    generation: u64,
    files: Vec<FileEntry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileEntry {
    /// Its path within the generation's folder, with `/` between folders.
    name: String,
    bytes: u64,
    sha256: String,
}

/// A folder on its way: the files of a new generation. Dropped before [`commit`](Self::commit), it leaves nothing.
#[derive(Debug)]
pub(crate) struct NewFolder {
    root: PathBuf,
    /// Whether there was no such folder.
    is_new: bool,
    generation: u64,
    /// The generations that this one replaces.
    replaced: Vec<u64>,
    files: Mutex<Vec<FileEntry>>,
    /// The manifest on its way is also the lock of the folder.
    manifest: Mutex<NewFile>,
}

impl NewFolder {
    /// Begins a save to the folder `target`, once no other saver is left, and removes what killed ones have left.
    ///
    /// # Errors
    /// A target that exists and is neither empty nor such a folder, or one that cannot be written.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        let root = behind_links(target)?;
        let is_new = !root.exists();
        let manifest = lock(&root)?;
        if is_new {
            let _ = sync_folder_of(&root);
        }
        let current = read_manifest(&root).ok().map(|(manifest, _)| manifest.generation);
        let mut replaced = generations(&root)?;
        if current.is_some() {
            let (kept, left): (Vec<u64>, Vec<u64>) =
                replaced.into_iter().partition(|&generation| Some(generation) == current);
            remove(&root, &left);
            replaced = kept;
        }
        let generation = replaced.iter().copied().chain(current).max().unwrap_or(0) + 1;
        let new =
            Self { root, is_new, generation, replaced, files: Mutex::default(), manifest: manifest.into() };
        step();
        let folder = new.folder();
        fs::create_dir(&folder).map_err(Error::io(&folder))?;
        Ok(new)
    }

    /// Where the files of the new generation stand.
    fn folder(&self) -> PathBuf {
        self.root.join(generation_name(self.generation))
    }

    /// Where the file or folder of this name stands.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        if !is_within(name) {
            let outside = io::Error::new(io::ErrorKind::InvalidInput, "the name leads out of the folder");
            return Err(Error::io(path)(outside));
        }
        locked(&self.manifest).check_open().map_err(Error::io(&path))?;
        Ok(path)
    }

    /// Makes the folder of this name, for files that stand in it.
    pub(crate) fn create_folder(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        step();
        fs::create_dir_all(&path).map_err(Error::io(&path))
    }

    /// Writes the file of this name.
    ///
    /// # Errors
    /// What `write` returns, a name that is taken or leads out of the folder, a folder that is committed, or what the file system
    /// refuses.
    pub(crate) fn write<E: Into<io::Error>>(
        &self,
        name: &str,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
    ) -> Result<()> {
        let path = self.path(name)?;
        step();
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Error::io(&path))?;
        let mut file = Hashed { file, hash: Sha256::new(), bytes: 0 };
        step();
        fill(&mut file, write).map_err(Error::io(&path))?;
        let entry = FileEntry { name: name.into(), bytes: file.bytes, sha256: hex(&file.hash.finalize()) };
        locked(&self.files).push(entry);
        Ok(())
    }

    /// Flushes all files and makes them what the folder holds.
    ///
    /// # Errors
    /// What the file system refuses; the folder is then what it was.
    pub(crate) fn commit(&self, kind: &str) -> Result<()> {
        let mut new = locked(&self.manifest);
        new.check_open().map_err(Error::io(&self.root))?;
        sync_tree(&self.folder())?;
        step();
        sync_folder(&self.root).map_err(Error::io(&self.root))?;
        let mut files = locked(&self.files).clone();
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            kind: kind.to_owned(),
            written_by: concat!("recsys ", env!("CARGO_PKG_VERSION")).to_owned(),
            generation: self.generation,
            files,
        };
        let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        step();
        text.and_then(|text| new.file.write_all(&text)).map_err(Error::io(&new.target))?;
        if new.commit()? {
            remove(&self.root, &self.replaced);
        }
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        let folder = self.folder();
        let mut manifest = locked(&self.manifest);
        if manifest.is_done {
            return;
        }
        let _ = fs::remove_dir_all(folder);
        manifest.discard();
        if self.is_new {
            // Not if another saver has begun meanwhile: then it is not empty.
            let _ = fs::remove_dir(&self.root);
        }
    }
}

/// The empty manifest of a folder, which is made if need be; waits for other savers.
fn lock(root: &Path) -> Result<NewFile> {
    for _ in 0..MAX_TRIES {
        refuse_foreign(root)?;
        step();
        fs::create_dir_all(root).map_err(Error::io(root))?;
        match NewFile::begin(&root.join(MANIFEST)) {
            // A saver that had made the folder gave up and removed it.
            Err(error) if is_not_found(&error) => thread::sleep(POLL),
            manifest => return manifest,
        }
    }
    Err(Error::io(root)(io::Error::new(io::ErrorKind::NotFound, "the folder disappears again and again")))
}

/// Refuses a target that holds something that no save has written.
fn refuse_foreign(root: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(root) {
        Ok(entries) => entries.peekable(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(root)(error)),
    };
    let is_ours = entries.peek().is_none()
        || root.join(format!(".{MANIFEST}.part")).exists()
        || !generations(root)?.is_empty()
        || is_saved(root);
    if is_ours {
        return Ok(());
    }
    let found = "exists, is not empty and holds nothing that was saved";
    Err(Error::io(root)(io::Error::new(io::ErrorKind::AlreadyExists, found)))
}

/// Whether no save to this folder was ever finished.
pub(crate) fn is_unfinished(root: &Path) -> bool {
    fs::symlink_metadata(root.join(MANIFEST)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether there is a manifest of this or a newer format.
fn is_saved(root: &Path) -> bool {
    match read_manifest(root) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::UnsupportedVersion { .. }),
    }
}

fn is_not_found(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn generation_name(generation: u64) -> String {
    format!("{GENERATION}{generation}")
}

/// The numbers of all generations in a folder, each with files of its own.
fn generations(root: &Path) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(Error::io(root))? {
        let name = entry.map_err(Error::io(root))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(GENERATION)?.parse().ok());
        found.extend(number.filter(|&number| number < MAX_GENERATION && *name == *generation_name(number)));
    }
    Ok(found)
}

/// Removes generations that do not count; what cannot be removed now is removed by the next save.
fn remove(root: &Path, generations: &[u64]) {
    for &generation in generations {
        step();
        let _ = fs::remove_dir_all(root.join(generation_name(generation)));
    }
}

/// A file of a new generation: what is written is hashed and counted on its way.
struct Hashed {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A saved folder, with every file of its manifest open: what another process saves meanwhile does not change it.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// The folder of the generation.
    files: PathBuf,
    by_name: BTreeMap<String, SavedFile>,
}

#[derive(Debug)]
struct SavedFile {
    entry: FileEntry,
    file: Mutex<File>,
}

impl Folder {
    /// Opens the saved folder of this kind at `root` and compares the length of every file with its manifest.
    ///
    /// # Errors
    /// A folder without a manifest, a newer format ([`ErrorKind::UnsupportedVersion`]), another kind
    /// ([`ErrorKind::WrongKind`]), or files that are not those of the manifest ([`ErrorKind::Corrupt`]).
    pub(crate) fn open(root: &Path, kind: &str) -> Result<Self> {
        for _ in 0..MAX_TRIES {
            let (manifest, text) = read_manifest(root)?;
            let opened = Self::open_files(root, manifest, kind);
            // If a saver has replaced the manifest meanwhile, the files may be of either.
            match read_manifest(root) {
                Ok((_, again)) if again == text => return opened,
                _ => continue,
            }
        }
        let busy = io::Error::new(io::ErrorKind::TimedOut, "is replaced again and again while it is opened");
        Err(Error::io(root)(busy))
    }

    fn open_files(root: &Path, manifest: Manifest, kind: &str) -> Result<Self> {
        if manifest.kind != kind {
            let saved = |kind: &str| format!("a saved {kind}");
            let (path, expected, found) = (root.to_path_buf(), saved(kind), saved(&manifest.kind));
            return Err(ErrorKind::WrongKind { path, expected, found }.into());
        }
        let files = root.join(generation_name(manifest.generation));
        let mut by_name = BTreeMap::new();
        for entry in manifest.files {
            let path = files.join(&entry.name);
            let is_new = is_within(&entry.name) && !by_name.contains_key(&entry.name);
            if !is_new {
                return Err(corrupt(
                    &root.join(MANIFEST),
                    "different names of files in the folder",
                    entry.name,
                ));
            }
            let size = format!("{} bytes", entry.bytes);
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(corrupt(&path, size, "no such file"));
                }
                file => file.map_err(Error::io(&path))?,
            };
            let found = file.metadata().map_err(Error::io(&path))?;
            if !found.is_file() || found.len() != entry.bytes {
                return Err(corrupt(&path, size, format!("{} bytes", found.len())));
            }
            by_name.insert(entry.name.clone(), SavedFile { entry, file: Mutex::new(file) });
        }
        Ok(Self { root: root.to_path_buf(), files, by_name })
    }

    /// Where the file of this name stands, to be told in errors.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Whether the manifest lists a file of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The bytes of the file of this name, once their SHA-256 is found to be the manifest's.
    ///
    /// # Errors
    /// A file that the manifest does not list, that is damaged, or that does not fit into memory.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        let Some(SavedFile { entry, file }) = self.by_name.get(name) else {
            return Err(corrupt(&self.root.join(MANIFEST), format!("an entry for {name}"), "none"));
        };
        let mut file = locked(file);
        let bytes =
            file.rewind().and_then(|()| read_to_end(&mut file, entry.bytes)).map_err(Error::io(&path))?;
        if bytes.len() as u64 != entry.bytes {
            return Err(corrupt(&path, format!("{} bytes", entry.bytes), format!("{} bytes", bytes.len())));
        }
        let found = hex(&Sha256::digest(&bytes));
        if found != entry.sha256 {
            return Err(corrupt(&path, format!("SHA-256 {}", entry.sha256), format!("SHA-256 {found}")));
        }
        Ok(bytes)
    }
}

/// Reads at most `limit` bytes and reserves memory for as many as the file has.
fn read_to_end(file: &mut File, limit: u64) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len().min(limit);
    let mut bytes = Vec::new();
    let reserved = usize::try_from(len).is_ok_and(|len| bytes.try_reserve_exact(len).is_ok());
    if !reserved {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("{len} bytes do not fit into memory"),
        ));
    }
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file; one that does not fit into memory is an error.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    File::open(path).and_then(|mut file| read_to_end(&mut file, u64::MAX)).map_err(Error::io(path))
}

/// The manifest in a folder, and its text.
fn read_manifest(root: &Path) -> Result<(Manifest, Vec<u8>)> {
    let path = root.join(MANIFEST);
    let mut file = File::open(&path).map_err(Error::io(&path))?;
    let text = read_to_end(&mut file, MAX_MANIFEST).map_err(Error::io(&path))?;
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let no_manifest = |error: serde_json::Error| corrupt(&path, "a manifest", error.to_string());
    let Version { format_version: found } = serde_json::from_slice(&text).map_err(no_manifest)?;
    if !(1..=FORMAT_VERSION).contains(&found) {
        return Err(ErrorKind::UnsupportedVersion { path, found, supported: FORMAT_VERSION }.into());
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(no_manifest)?;
    if manifest.generation >= MAX_GENERATION {
        return Err(corrupt(&path, "a generation below 2^53", manifest.generation.to_string()));
    }
    Ok((manifest, text))
}

/// Whether a name stands for something in the folder.
fn is_within(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// [`ErrorKind::Corrupt`].
pub(crate) fn corrupt(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Error {
    ErrorKind::Corrupt { path: path.to_path_buf(), expected: expected.into(), found: found.into() }.into()
}

/// What a mutex holds; a thread that has panicked leaves nothing half done in ours.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In hexadecimal digits, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a test may end the process: before every change to the disk.
#[cfg(not(test))]
fn step() {}

#[cfg(test)]
use tests::step;

#[cfg(test)]
pub(crate) mod tests {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const KIND: &str = "numbers";
    /// The step before which the process dies.
    pub(crate) const DIE_AT: &str = "RECSYS_TEST_DIE_AT";
    const TARGET: &str = "RECSYS_TEST_TARGET";

    /// Counts the changes to the disk; before the one that the environment names, the process dies without a word.
    pub(super) fn step() {
        static STEPS: AtomicU64 = AtomicU64::new(1);
        let step = STEPS.fetch_add(1, Ordering::SeqCst);
        if std::env::var(DIE_AT).is_ok_and(|at| at == step.to_string()) {
            std::process::abort();
        }
    }

    /// Numbers in three files, one of them large.
    fn save(target: &Path, number: u8) -> Result<()> {
        let folder = NewFolder::begin(target)?;
        folder.write("one", |file| file.write_all(&[number]))?;
        folder.create_folder("in/ner")?;
        folder.write("in/ner/large", |file| file.write_all(&vec![number; 300_000]))?;
        folder.write("none", |_| Ok::<_, io::Error>(()))?;
        folder.commit(KIND)
    }

    /// The number that all files hold.
    fn load(target: &Path) -> Result<u8> {
        let folder = Folder::open(target, KIND)?;
        let one = folder.read("one")?[0];
        assert_eq!(folder.read("in/ner/large")?, vec![one; 300_000], "a mixture");
        assert_eq!(folder.read("none")?, b"");
        Ok(one)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("f");
        for (number, files) in [(1, "files-1"), (2, "files-2"), (3, "files-3")] {
            save(&target, number).unwrap();
            assert_eq!(load(&target).unwrap(), number);
            assert_eq!(names(&target), [files, MANIFEST]);
        }
        assert_eq!(names(parent.path()), ["f"]);
    }

    #[test]
    fn what_is_open_stays_what_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("f");
        save(&target, 1).unwrap();
        let opened = Folder::open(&target, KIND).unwrap();
        save(&target, 2).unwrap();
        assert_eq!((opened.read("one").unwrap(), opened.read("one").unwrap()), (vec![1], vec![1]));
        assert_eq!(opened.read("in/ner/large").unwrap()[299_999], 1);
    }

    #[test]
    fn who_gives_up_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("f");
        drop(NewFolder::begin(&target).unwrap());
        assert!(names(parent.path()).is_empty());
        save(&target, 1).unwrap();
        let again = NewFolder::begin(&target).unwrap();
        again.write("one", |_| Err::<(), _>(io::Error::other("the disk is full"))).unwrap_err();
        drop(again);
        assert_eq!((load(&target).unwrap(), names(&target)), (1, vec!["files-1".into(), MANIFEST.into()]));

        let file = parent.path().join("file");
        write_file(&file, |file| file.write_all(b"old")).unwrap();
        let full = write_file(&file, |file| {
            file.write_all(&[b'n'; 1 << 20])?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(full.unwrap_err().to_string().ends_with("file: the disk is full"));
        assert_eq!(
            (fs::read(&file).unwrap(), names(parent.path())),
            (b"old".to_vec(), vec!["f".into(), "file".into()])
        );
    }

    #[test]
    fn other_folders_are_spared() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("f");
        fs::create_dir(&target).unwrap();
        // An empty folder, a volume just mounted for example, is taken.
        save(&target, 1).unwrap();
        for (name, text) in [("precious.txt", "x"), (MANIFEST, r#"{"name": "a web page"}"#)] {
            let other = parent.path().join(format!("with {name}"));
            fs::create_dir(&other).unwrap();
            fs::write(other.join(name), text).unwrap();
            let error = NewFolder::begin(&other).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
            );
            assert_eq!(names(&other), [name]);
        }
        let file = parent.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(NewFolder::begin(&file).is_err() && fs::read(&file).unwrap() == b"x");
    }

    #[test]
    fn damage_is_refused_by_name() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("f");
        let spoil = |name: &str, spoil: &dyn Fn(&Path)| {
            fs::remove_dir_all(&target).ok();
            save(&target, 1).unwrap();
            spoil(&target.join(name));
            let error = load(&target).unwrap_err();
            save(&target, 2).unwrap();
            assert_eq!(load(&target).unwrap(), 2, "a damaged folder is replaced");
            error
        };
        let flipped = spoil("files-1/one", &|path| fs::write(path, "x").unwrap());
        assert!(flipped.to_string().contains("one is damaged: expected SHA-256"), "{flipped}");
        let cut = spoil("files-1/in/ner/large", &|path| fs::write(path, "ab").unwrap());
        assert!(cut.to_string().contains("expected 300000 bytes, found 2 bytes"), "{cut}");
        let gone = spoil("files-1/none", &|path| fs::remove_file(path).unwrap());
        assert!(gone.to_string().contains("no such file"), "{gone}");
        let broken = spoil(MANIFEST, &|path| fs::write(path, "{").unwrap());
        assert!(matches!(broken.kind(), ErrorKind::Corrupt { .. }));
        let newer = spoil(MANIFEST, &|path| {
            fs::write(path, r#"{"format_version": 2, "layout": "unknown"}"#).unwrap();
        });
        assert!(matches!(newer.kind(), ErrorKind::UnsupportedVersion { found: 2, supported: 1, .. }));
        let edit = |from: &'static str, to: &'static str| {
            move |path: &Path| fs::write(path, fs::read_to_string(path).unwrap().replace(from, to)).unwrap()
        };
        for (from, to) in [
            ("in/ner/large", "../files-1/one"),
            ("in/ner/large", "one"),
            ("\"generation\": 1", "\"generation\": 18446744073709551615"),
            ("300000", "18446744073709551615"),
        ] {
            let error = spoil(MANIFEST, &edit(from, to));
            assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{to}: {error}");
        }
        let missing = Folder::open(&target, KIND).unwrap().read("two").unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::Corrupt { .. }), "{missing}");
        let other = Folder::open(&target, "letters").unwrap_err();
        let ErrorKind::WrongKind { expected, found, .. } = other.kind() else { panic!("{other}") };
        assert_eq!((expected.as_str(), found.as_str()), ("a saved letters", "a saved numbers"));
        let nothing = Folder::open(&parent.path().join("g"), KIND).unwrap_err();
        assert!(matches!(nothing.kind(), ErrorKind::Io { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_modes_follow_the_umask_or_the_old_file() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        fs::write(at("any"), "x").unwrap();
        write_file(at("new"), |file| file.write_all(b"1")).unwrap();
        assert_eq!(mode("new"), mode("any"));
        fs::set_permissions(at("new"), PermissionsExt::from_mode(0o640)).unwrap();
        symlink("new", at("link")).unwrap();
        symlink("link", at("links")).unwrap();
        write_file(at("links"), |file| file.write_all(b"2")).unwrap();
        assert_eq!((fs::read(at("new")).unwrap(), mode("new")), (b"2".to_vec(), 0o640));
        assert!(fs::symlink_metadata(at("links")).unwrap().is_symlink());

        symlink("folder", at("folder link")).unwrap();
        for number in [1, 2] {
            save(&at("folder link"), number).unwrap();
            assert_eq!((load(&at("folder")).unwrap(), load(&at("folder link")).unwrap()), (number, number));
        }
        assert!(fs::symlink_metadata(at("folder link")).unwrap().is_symlink());
        symlink("circle", at("circle")).unwrap();
        assert!(
            save(&at("circle"), 1).is_err() && write_file(at("circle"), |_| Ok::<_, io::Error>(())).is_err()
        );
        // What is no file is written, not replaced.
        write_file("/dev/null", |file| file.write_all(b"3")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn savers_take_turns_and_readers_find_one_of_them() {
        let parent = tempfile::tempdir().unwrap();
        let (target, file) = (parent.path().join("f"), parent.path().join("file"));
        save(&target, 0).unwrap();
        write_file(&file, |file| file.write_all(&[0; 100_000])).unwrap();
        thread::scope(|scope| {
            for saver in 0..8u8 {
                let (target, file) = (&target, &file);
                scope.spawn(move || {
                    for round in 0..5 {
                        save(target, saver * 8 + round).unwrap();
                        write_file(file, |file| file.write_all(&[saver; 100_000])).unwrap();
                    }
                });
            }
            for _ in 0..100 {
                load(&target).unwrap();
                let bytes = fs::read(&file).unwrap();
                assert_eq!(bytes, vec![bytes[0]; 100_000]);
            }
        });
        assert_eq!(names(parent.path()), ["f", "file"]);
        assert_eq!(names(&target).len(), 2);
    }

    /// What a process of its own does in the tests below.
    #[test]
    #[ignore = "a child of other tests"]
    fn child() {
        let target = PathBuf::from(std::env::var_os(TARGET).unwrap());
        save(&target.join("f"), 2).unwrap();
        write_file(target.join("file"), |file| file.write_all(&[2; 100_000])).unwrap();
    }

    #[test]
    fn who_is_killed_at_any_step_leaves_the_old_or_the_new() {
        let old = |target: &Path| {
            save(&target.join("f"), 1).unwrap();
            write_file(target.join("file"), |file| file.write_all(&[1; 100_000])).unwrap();
        };
        for has_old in [true, false] {
            for step in 1.. {
                let parent = tempfile::tempdir().unwrap();
                let (folder, file) = (parent.path().join("f"), parent.path().join("file"));
                if has_old {
                    old(parent.path());
                }
                let child = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "disk::tests::child", "--ignored", "--test-threads=1"])
                    .envs([(DIE_AT, step.to_string()), (TARGET, parent.path().display().to_string())])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .unwrap();
                if child.success() {
                    assert!(step > 20, "only {step} steps");
                    break;
                }
                match load(&folder) {
                    Ok(number) => assert!(number == 2 || (number == 1 && has_old)),
                    Err(error) => assert!(!has_old && is_not_found(&error), "step {step}: {error}"),
                }
                match fs::read(&file) {
                    Ok(bytes) => assert!(bytes == [2; 100_000] || (bytes == [1; 100_000] && has_old)),
                    Err(_) => assert!(!has_old, "step {step}"),
                }
                old(parent.path());
                assert_eq!(load(&folder).unwrap(), 1);
                assert_eq!(names(parent.path()), ["f", "file"], "step {step}");
                assert_eq!(names(&folder).len(), 2, "step {step}: {:?}", names(&folder));
            }
        }
    }
}
