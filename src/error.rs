//! The crate's error: what went wrong, where, what was expected and what came.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::UserId;

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with a user's data, settings or files.
///
/// Match on [`Error::kind`]; every fact (file, line, column, expected, found) is a field there.
#[derive(Debug)]
pub struct Error(Box<ErrorKind>);

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused an operation on a file.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value that came from outside is not what its place demands.
    InvalidInput {
        /// Where it stands.
        location: Location,
        /// What belongs there.
        expected: Cow<'static, str>,
        /// What stands there.
        found: String,
    },
    /// A setting is outside its range, or contradicts another.
    InvalidConfig {
        /// The setting, as `Type::field`.
        field: &'static str,
        /// Its range.
        expected: Cow<'static, str>,
        /// Its value.
        found: String,
    },
    /// A dense id is not below the size of what it indexes.
    IdOutOfRange {
        /// What the id names: `"user"`, `"item"`, …
        what: &'static str,
        /// The id.
        id: u64,
        /// The number of ids; the largest is one less.
        bound: u64,
    },
    /// Two things that must have the same length or width have not.
    LengthMismatch {
        /// Which lengths are compared.
        what: &'static str,
        /// The length demanded.
        expected: usize,
        /// The length that came.
        found: usize,
    },
    /// A number that must be finite is NaN or infinite.
    NonFinite {
        /// What the number is.
        what: &'static str,
        /// Its position.
        index: usize,
        /// The number.
        value: f64,
    },
    /// A recaller's answer is not what it promises.
    InvalidAnswer {
        /// The user who asked.
        user: UserId,
        /// What an answer must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A channel of a fusion failed.
    Channel {
        /// The channel's name.
        channel: String,
        /// What went wrong there.
        source: Error,
    },
    /// Training left the finite numbers.
    Diverged {
        /// The epoch, counted from 1.
        epoch: usize,
        /// The optimiser step, counted from 1 over the whole training.
        step: u64,
        /// The learning rate at that step.
        learning_rate: f64,
        /// The loss found.
        loss: f32,
        /// The last checkpoint with finite weights, if any was written.
        checkpoint: Option<PathBuf>,
    },
    /// A saved file is not what was saved.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the manifest promises.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A saved file or folder is whole, but of another kind or another model.
    WrongKind {
        /// The file or folder.
        path: PathBuf,
        /// The kind that was asked for.
        expected: String,
        /// The kind that it is.
        found: String,
    },
    /// A saved file has a format that this release does not read.
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version read here.
        supported: u32,
    },
    /// The operation needs a Cargo feature that was not compiled in.
    FeatureDisabled {
        /// The Cargo feature.
        feature: &'static str,
        /// What needs it.
        needed_for: Cow<'static, str>,
    },
    /// A device (GPU, …) failed to run an operation or to give its result back.
    Device {
        /// What the backend said.
        reason: String,
    },
    /// A download failed.
    Download {
        /// The address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The user asked to stop: what a callback returns to end a long piece of work; checkpoints stay.
    Interrupted,
}

/// A place in the input: the file, the line (1-based) and the column, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The file; `None` for data that came from memory.
    pub file: Option<PathBuf>,
    /// The line of a text file or the row of a table, counted from 1.
    pub line: Option<u64>,
    /// The column's name, or its number counted from 1.
    pub column: Option<String>,
}

impl Location {
    /// A place in memory, with nothing known yet.
    pub fn memory() -> Self {
        Self::default()
    }

    /// A place in this file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self { file: Some(path.as_ref().to_path_buf()), ..Self::default() }
    }

    /// The same place, at this line or row (counted from 1).
    pub fn line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// The same place, in this column.
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("input")?,
        }
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

impl Error {
    /// What went wrong, with every fact as a field.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// [`ErrorKind::Io`] at `path`, for `map_err`.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| ErrorKind::Io { path, source }.into()
    }

    /// [`ErrorKind::InvalidInput`].
    pub(crate) fn input(
        location: Location,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
    ) -> Self {
        ErrorKind::InvalidInput { location, expected: expected.into(), found: found.into() }.into()
    }

    /// [`ErrorKind::InvalidConfig`].
    pub(crate) fn config(
        field: &'static str,
        expected: impl Into<Cow<'static, str>>,
        found: impl fmt::Display,
    ) -> Self {
        ErrorKind::InvalidConfig { field, expected: expected.into(), found: found.to_string() }.into()
    }
}

/// Refuses a width, a length or a number of factors that is 0, or so large that the sizes of arrays made of two such numbers and
/// the number of items could overflow.
pub(crate) fn check_size(field: &'static str, size: usize) -> Result<()> {
    match size {
        1..=0x10_0000 => Ok(()),
        _ => Err(Error::config(field, "1 to 1048576", size)),
    }
}

/// Checks that there is an id, which has 32 bits, for each of so many users, items or categories.
pub(crate) fn check_id_count(field: &'static str, n: usize) -> Result<()> {
    match u32::try_from(n) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::config(field, "fewer than 2^32", n)),
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::InvalidInput { location, expected, found } => {
                write!(f, "{location}: expected {expected}, found {found}")
            }
            Self::InvalidConfig { field, expected, found } => {
                write!(f, "{field}: expected {expected}, found {found}")
            }
            Self::IdOutOfRange { what, id, bound } => {
                write!(f, "{what} id {id} is not below {bound}")
            }
            Self::LengthMismatch { what, expected, found } => {
                write!(f, "{what}: expected {expected}, found {found}")
            }
            Self::NonFinite { what, index, value } => {
                write!(f, "{what} at position {index} is {value}; expected a finite number")
            }
            Self::InvalidAnswer { user, expected, found } => {
                write!(f, "the recaller's answer to user {user}: expected {expected}, found {found}")
            }
            Self::Channel { channel, source } => write!(f, "channel {channel}: {source}"),
            Self::Diverged { epoch, step, learning_rate, loss, checkpoint } => {
                write!(
                    f,
                    "the loss became {loss} at step {step} (epoch {epoch}) with learning rate {learning_rate}"
                )?;
                match checkpoint {
                    Some(path) => write!(f, "; the last good checkpoint is {}", path.display()),
                    None => Ok(()),
                }
            }
            Self::Corrupt { path, expected, found } => {
                write!(f, "{} is damaged: expected {expected}, found {found}", path.display())
            }
            Self::WrongKind { path, expected, found } => {
                write!(f, "{} holds {found}; expected {expected}", path.display())
            }
            Self::UnsupportedVersion { path, found, supported } => write!(
                f,
                "{} has format version {found}; this release reads up to version {supported}",
                path.display()
            ),
            Self::FeatureDisabled { feature, needed_for } => {
                write!(f, "{needed_for} needs the Cargo feature `{feature}` of recsys")
            }
            Self::Device { reason } => write!(f, "the device failed: {reason}"),
            Self::Download { url, reason } => write!(f, "download of {url} failed: {reason}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Io { source, .. } => Some(source),
            ErrorKind::Channel { source, .. } => Some(source),
            _ => None,
        }
    }
}
