//! Files and streams as plain bytes: gzip and zip are recognised by their first bytes.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, ErrorKind, Location, Result};

/// Bytes to be read from one thread at a time.
pub(crate) type Bytes<'a> = dyn Read + Send + 'a;

/// Where bytes come from, for error messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// `None` for a stream.
    file: Option<PathBuf>,
    /// `None` for bytes that are not compressed.
    compression: Option<&'static str>,
}

impl Origin {
    fn file(path: &Path) -> Self {
        Self { file: Some(path.to_path_buf()), compression: None }
    }

    /// The file, with nothing else known yet.
    pub(crate) fn location(&self) -> Location {
        Location { file: self.file.clone(), ..Location::default() }
    }

    /// The error of a read that failed: damaged compression is bad input, everything else is the system's.
    pub(crate) fn read_error(&self, error: io::Error) -> Error {
        match (self.compression, error.kind()) {
            (
                Some(compression),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput,
            ) => Error::input(self.location(), format!("a complete {compression} file"), error.to_string()),
            _ => {
                let path = self.file.clone().unwrap_or_else(|| PathBuf::from("input"));
                ErrorKind::Io { path, source: error }.into()
            }
        }
    }
}

/// Gives the bytes of a file to `read`: of a gzip file what it unpacks to, of a zip archive one member
/// (its only one where `member` is `None`), of any other file the bytes themselves; without a UTF-8 byte
/// order mark in every case.
pub(super) fn with_file<T>(
    path: &Path,
    member: Option<&str>,
    read: impl FnOnce(&mut Bytes<'_>, &Origin) -> Result<T>,
) -> Result<T> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut magic = Vec::new();
    (&mut file).take(MAGIC_LEN).read_to_end(&mut magic).map_err(Error::io(path))?;
    file.rewind().map_err(Error::io(path))?;
    let origin = Origin::file(path);
    if is_zip(&magic) { with_zip(file, member, origin, read) } else { with_stream(file, origin, read) }
}

/// As [`with_file`], of a stream. A zip archive is refused: its directory stands at its end.
pub(super) fn with_reader<T>(
    reader: impl Read + Send,
    read: impl FnOnce(&mut Bytes<'_>, &Origin) -> Result<T>,
) -> Result<T> {
    with_stream(reader, Origin::default(), read)
}

const MAGIC_LEN: u64 = 4;

fn is_zip(magic: &[u8]) -> bool {
    magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06")
}

/// The bytes of a file that is text or gzip, as [`with_file`] gives them.
pub(crate) fn open(path: &Path) -> Result<(Box<Bytes<'static>>, Origin)> {
    let file = File::open(path).map_err(Error::io(path))?;
    unpack(file, Origin::file(path))
}

/// The bytes of a stream, as [`with_reader`] gives them.
pub(crate) fn open_stream<'r>(reader: impl Read + Send + 'r) -> Result<(Box<Bytes<'r>>, Origin)> {
    unpack(reader, Origin::default())
}

fn with_stream<T>(
    reader: impl Read + Send,
    origin: Origin,
    read: impl FnOnce(&mut Bytes<'_>, &Origin) -> Result<T>,
) -> Result<T> {
    let (mut bytes, origin) = unpack(reader, origin)?;
    read(&mut *bytes, &origin)
}

fn unpack<'r>(mut reader: impl Read + Send + 'r, mut origin: Origin) -> Result<(Box<Bytes<'r>>, Origin)> {
    let magic = peek(&mut reader, MAGIC_LEN, &origin)?;
    if is_zip(&magic) {
        let expected = match origin.file {
            Some(_) => "text or gzip",
            None => "text or gzip (a zip archive is read by its path)",
        };
        return Err(Error::input(origin.location(), expected, "zip"));
    }
    let gzip = magic.starts_with(b"\x1f\x8b");
    let reader = io::Cursor::new(magic).chain(reader);
    let bytes: Box<Bytes<'r>> = if gzip {
        origin.compression = Some("gzip");
        Box::new(without_mark(MultiGzDecoder::new(reader), &origin)?)
    } else {
        Box::new(without_mark(reader, &origin)?)
    };
    Ok((bytes, origin))
}

/// What follows a UTF-8 byte order mark, or everything.
fn without_mark<R: Read>(mut reader: R, origin: &Origin) -> Result<io::Chain<io::Cursor<Vec<u8>>, R>> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut start = peek(&mut reader, MARK.len() as u64, origin)?;
    if start == MARK {
        start.clear();
    }
    Ok(io::Cursor::new(start).chain(reader))
}

fn peek(reader: &mut impl Read, n: u64, origin: &Origin) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(n).read_to_end(&mut bytes).map_err(|error| origin.read_error(error))?;
    Ok(bytes)
}

#[cfg(feature = "download")]
fn with_zip<T>(
    file: File,
    member: Option<&str>,
    mut origin: Origin,
    read: impl FnOnce(&mut Bytes<'_>, &Origin) -> Result<T>,
) -> Result<T> {
    use zip::result::ZipError;

    origin.compression = Some("zip");
    let damaged = |error: ZipError| match error {
        ZipError::Io(error) => origin.read_error(error),
        error => Error::input(origin.location(), "a complete zip file", error.to_string()),
    };
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(damaged)?;
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        if !entry.is_dir() {
            members.push((index, entry.name().map_err(damaged)?.into_owned()));
        }
    }
    if let Some(name) = member {
        members.retain(|(_, member)| member == name);
    }
    let &[(index, _)] = members.as_slice() else {
        let expected = match member {
            Some(name) => format!("one member named {name}"),
            None => "an archive of one file, or the name of the member to read".to_owned(),
        };
        let names: Vec<String> =
            archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        return Err(Error::input(origin.location(), expected, format!("[{}]", names.join(", "))));
    };
    let entry = archive.by_index(index).map_err(damaged)?;
    read(&mut without_mark(entry, &origin)?, &origin)
}

#[cfg(not(feature = "download"))]
fn with_zip<T>(
    _: File,
    _: Option<&str>,
    origin: Origin,
    _: impl FnOnce(&mut Bytes<'_>, &Origin) -> Result<T>,
) -> Result<T> {
    let needed_for = format!("{}: reading a zip archive", origin.location()).into();
    Err(ErrorKind::FeatureDisabled { feature: "download", needed_for }.into())
}
