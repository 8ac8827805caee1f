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
/// Match on [`Error::kind`]; every fact (file, line, column, expected, found) is a field there. Facts may be texts of a
/// file, which can be of any length and hold anything: of a text longer than 400 characters an error keeps both ends,
/// and a message shows control characters as escapes (`\n`, `\u{1b}`).
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
            Some(file) => write!(f, "{}", shown(file.display()))?,
            None => f.write_str("input")?,
        }
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {}", shown(column))?;
        }
        Ok(())
    }
}

/// The longest text of an error, in characters.
const MAX_TEXT: usize = 400;

/// What is kept of a longer one: together, and with the note between them, less than [`MAX_TEXT`].
const KEPT: [usize; 2] = [240, 80];

/// Leaves out the middle of a text that is too long for an error.
fn shorten(text: &mut String) {
    let length = if text.len() <= MAX_TEXT { text.len() } else { text.chars().count() };
    if length <= MAX_TEXT {
        return;
    }
    let [start, end] = KEPT;
    let byte_at = |index| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let (head, tail) = (&text[..byte_at(start)], &text[byte_at(length - end)..]);
    *text = format!("{head} … {} characters left out … {tail}", length - start - end);
}

/// A text as a message shows it: not too long, and without what moves a terminal's cursor or its direction of writing.
fn shown(text: impl fmt::Display) -> String {
    let mut text = text.to_string();
    shorten(&mut text);
    if !text.contains(is_unprintable) {
        return text;
    }
    let mut escaped = String::new();
    for c in text.chars() {
        if is_unprintable(c) { escaped.extend(c.escape_debug()) } else { escaped.push(c) }
    }
    escaped
}

fn is_unprintable(c: char) -> bool {
    let is_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}')
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

/// Refuses a number of layers, heads, experts or tasks that can't be meant: each costs time and weights of its own.
pub(crate) fn check_depth(field: &'static str, n: usize) -> Result<()> {
    match n {
        0..=1024 => Ok(()),
        _ => Err(Error::config(field, "at most 1024", n)),
    }
}

/// Refuses a weight of more than 2³³ numbers, 32 GiB: settings come from files, too, and each of two widths may be in
/// its range where no machine holds their product.
pub(crate) fn check_weight(field: &'static str, dims: [usize; 2]) -> Result<()> {
    match dims[0].checked_mul(dims[1]) {
        Some(0..=0x2_0000_0000) => Ok(()),
        _ => {
            let [rows, columns] = dims;
            Err(Error::config(field, "at most 2^33 numbers in a weight", format!("{rows} × {columns}")))
        }
    }
}

/// Checks that there is an id, which has 32 bits, for each of so many users, items or categories.
pub(crate) fn check_id_count(field: &'static str, n: usize) -> Result<()> {
    match u32::try_from(n) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::config(field, "fewer than 2^32", n)),
    }
}

impl ErrorKind {
    /// Shortens the texts that may come from outside.
    fn shorten(&mut self) {
        let (expected, others): (_, [Option<&mut String>; 2]) = match self {
            Self::InvalidInput { location, expected, found } => {
                (Some(expected), [location.column.as_mut(), Some(found)])
            }
            Self::InvalidConfig { expected, found, .. } => (Some(expected), [Some(found), None]),
            Self::InvalidAnswer { expected, found, .. }
            | Self::Corrupt { expected, found, .. }
            | Self::WrongKind { expected, found, .. } => (None, [Some(expected), Some(found)]),
            Self::FeatureDisabled { needed_for, .. } => (Some(needed_for), [None, None]),
            Self::Channel { channel, .. } => (None, [Some(channel), None]),
            Self::Device { reason } => (None, [Some(reason), None]),
            Self::Download { url, reason } => (None, [Some(url), Some(reason)]),
            Self::Io { .. }
            | Self::IdOutOfRange { .. }
            | Self::LengthMismatch { .. }
            | Self::NonFinite { .. }
            | Self::Diverged { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Interrupted => (None, [None, None]),
        };
        others.into_iter().flatten().for_each(shorten);
        if let Some(Cow::Owned(text)) = expected {
            shorten(text);
        }
    }
}

impl From<ErrorKind> for Error {
    /// Every error is made here, so that none can grow with a file.
    fn from(mut kind: ErrorKind) -> Self {
        kind.shorten();
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
            Self::Io { path, source } => write!(f, "{}: {}", shown(path.display()), shown(source)),
            Self::InvalidInput { location, expected, found } => {
                write!(f, "{location}: expected {}, found {}", shown(expected), shown(found))
            }
            Self::InvalidConfig { field, expected, found } => {
                write!(f, "{field}: expected {}, found {}", shown(expected), shown(found))
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
                let (expected, found) = (shown(expected), shown(found));
                write!(f, "the recaller's answer to user {user}: expected {expected}, found {found}")
            }
            Self::Channel { channel, source } => write!(f, "channel {}: {source}", shown(channel)),
            Self::Diverged { epoch, step, learning_rate, loss, checkpoint } => {
                write!(
                    f,
                    "the loss became {loss} at step {step} (epoch {epoch}) with learning rate {learning_rate}"
                )?;
                match checkpoint {
                    Some(path) => write!(f, "; the last good checkpoint is {}", shown(path.display())),
                    None => Ok(()),
                }
            }
            Self::Corrupt { path, expected, found } => {
                let (path, expected, found) = (shown(path.display()), shown(expected), shown(found));
                write!(f, "{path} is damaged: expected {expected}, found {found}")
            }
            Self::WrongKind { path, expected, found } => {
                let (path, expected, found) = (shown(path.display()), shown(expected), shown(found));
                write!(f, "{path} holds {found}; expected {expected}")
            }
            Self::UnsupportedVersion { path, found, supported } => write!(
                f,
                "{} has format version {found}; this release reads up to version {supported}",
                shown(path.display())
            ),
            Self::FeatureDisabled { feature, needed_for } => {
                write!(f, "{} needs the Cargo feature `{feature}` of recsys", shown(needed_for))
            }
            Self::Device { reason } => write!(f, "the device failed: {}", shown(reason)),
            Self::Download { url, reason } => {
                write!(f, "download of {} failed: {}", shown(url), shown(reason))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\n\u{1b}[2J\0\u{202e}é";

    fn check(kind: ErrorKind) {
        let error = Error::from(kind);
        let message = error.to_string();
        assert!(!message.contains(is_unprintable), "{message}");
        assert!(message.contains("a\\n\\u{1b}[2J\\0\\u{202e}é"), "{message}");
        for text in [message, format!("{error:?}")] {
            assert!(text.chars().count() < 4000, "a message of {} bytes", text.len());
        }
    }

    #[test]
    fn no_text_from_outside_makes_a_long_message_or_a_raw_control_character() {
        let text = || HOSTILE.repeat(1 << 20);
        let location = Location::file(HOSTILE).column(text());
        check(ErrorKind::InvalidInput { location, expected: text().into(), found: text() });
        check(ErrorKind::InvalidConfig { field: "Type::field", expected: text().into(), found: text() });
        check(ErrorKind::InvalidAnswer { user: UserId(7), expected: text(), found: text() });
        check(ErrorKind::Corrupt { path: HOSTILE.into(), expected: text(), found: text() });
        check(ErrorKind::WrongKind { path: HOSTILE.into(), expected: text(), found: text() });
        check(ErrorKind::FeatureDisabled { feature: "zstd", needed_for: text().into() });
        check(ErrorKind::Device { reason: text() });
        check(ErrorKind::Download { url: text(), reason: text() });
        check(ErrorKind::UnsupportedVersion { path: HOSTILE.into(), found: 2, supported: 1 });
        let source = Error::input(Location::memory(), "a", text());
        check(ErrorKind::Channel { channel: text(), source });
        // The system's message is not ours to change; it is short where it is shown.
        let source = io::Error::other(HOSTILE.repeat(100));
        check(ErrorKind::Io { path: HOSTILE.into(), source });
    }

    #[test]
    fn a_long_text_keeps_its_ends_and_a_short_one_all() {
        let cut = |mut text: String| {
            shorten(&mut text);
            text
        };
        for text in [String::new(), "é".repeat(MAX_TEXT)] {
            assert_eq!(cut(text.clone()), text);
        }
        let long = cut(format!("ä{}ö", "é".repeat(MAX_TEXT)));
        assert!(long.starts_with("äé") && long.ends_with("éö"), "{long}");
        assert!(long.contains("é … 82 characters left out … é"), "{long}");
        assert_eq!(cut(long.clone()), long, "cut twice");
    }
}
