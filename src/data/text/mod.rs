//! Text in lines, which end with a line feed, a carriage return, or both in this order.

mod blocks;
mod line_reader;
mod lines;

pub(super) use blocks::Blocks;
pub(super) use line_reader::{LineParser, LineReader, Part, Problem};
pub(crate) use lines::Lines;
pub(super) use lines::Start;

use memchr::memchr2;

use super::fields::Mismatch;
use crate::error::{Error, Location};

/// A line with its end may be no longer, in bytes, nor a record of several lines: so memory stays bounded.
pub(super) const MAX_LINE: usize = 4 << 20;

pub(super) fn too_long(place: Location) -> Error {
    Error::input(place, format!("lines of at most {MAX_LINE} bytes"), "a longer one")
}

/// What is wrong with a record of several lines that is too long.
pub(super) fn long_record() -> Mismatch {
    let expected =
        format!("a record of at most {MAX_LINE} bytes (or a quotation mark that closes the field)");
    Mismatch::new(expected, "a longer one".into())
}

/// The length of the first line of a text with its end; `None` where it has none.
fn line_len(text: &[u8]) -> Option<usize> {
    memchr2(b'\n', b'\r', text).map(|at| at + end_len(&text[at..]))
}

/// The first line of a text, without its end, and what follows.
pub(super) fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let Some(at) = memchr2(b'\n', b'\r', text) else { return (text, &[]) };
    (&text[..at], &text[at + end_len(&text[at..])..])
}

/// The length of the line end that a text begins with.
pub(super) fn end_len(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        _ => 1,
    }
}
