use std::io::Read;

use memchr::memrchr;

use super::{MAX_LINE, too_long};
use crate::data::source::{Bytes, Origin};
use crate::error::Result;

/// A text in blocks of whole lines.
pub(in crate::data) struct Blocks<'r> {
    reader: &'r mut Bytes<'r>,
    origin: &'r Origin,
    /// The begin of a line whose end is not yet read.
    rest: Vec<u8>,
    is_read: bool,
}

/// What was read of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Next {
    Lines,
    End,
    /// The next line is longer than [`MAX_LINE`].
    TooLong,
}

impl Next {
    /// Refuses a line that is too long, behind the first `n_lines`.
    pub(in crate::data) fn check(self, origin: &Origin, n_lines: u64) -> Result<()> {
        match self {
            Self::Lines | Self::End => Ok(()),
            Self::TooLong => Err(too_long(origin.location().line(n_lines + 1))),
        }
    }
}

impl<'r> Blocks<'r> {
    pub(in crate::data) fn new(reader: &'r mut Bytes<'r>, origin: &'r Origin) -> Self {
        Self { reader, origin, rest: Vec::new(), is_read: false }
    }

    /// Replaces `block` by the next lines, each with its line end.
    pub(in crate::data) fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        block.clear();
        block.append(&mut self.rest);
        block.reserve(MAX_LINE - block.len());
        let wanted = (MAX_LINE - block.len()) as u64;
        (&mut *self.reader).take(wanted).read_to_end(block).map_err(|error| self.origin.read_error(error))?;
        self.is_read = block.len() < MAX_LINE;
        if self.is_read {
            if block.last().is_some_and(|last| !b"\r\n".contains(last)) {
                block.push(b'\n');
            }
            return Ok(if block.is_empty() { Next::End } else { Next::Lines });
        }
        let Some(len) = whole_lines(block) else { return Ok(Next::TooLong) };
        self.rest.extend_from_slice(&block[len..]);
        block.truncate(len);
        Ok(Next::Lines)
    }

    /// Whether the block that was given out last is the last one.
    pub(in crate::data) fn is_last(&self) -> bool {
        self.is_read && self.rest.is_empty()
    }

    /// Takes back what stood at the end of the block that was given out last.
    pub(in crate::data) fn put_back(&mut self, lines: &[u8]) {
        self.rest.splice(..0, lines.iter().copied());
    }
}

/// The length of the whole lines that a text begins with. A carriage return at its very end may be half a line end.
fn whole_lines(text: &[u8]) -> Option<usize> {
    let last = memrchr(b'\n', text).or_else(|| memrchr(b'\r', &text[..text.len() - 1]))?;
    Some(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &[u8]) -> (Vec<Vec<u8>>, Next) {
        let origin = Origin::default();
        let mut reader = text;
        let mut blocks = Blocks::new(&mut reader, &origin);
        let (mut found, mut block) = (Vec::new(), Vec::new());
        loop {
            match blocks.next(&mut block).unwrap() {
                Next::Lines => found.push(block.clone()),
                end => return (found, end),
            }
        }
    }

    #[test]
    fn blocks_are_whole_lines_of_any_end() {
        for line_end in ["\n", "\r\n", "\r"] {
            let line = format!("{}{line_end}", "x".repeat(998));
            let text = line.repeat(2 * MAX_LINE / line.len() + 5);
            let (found, end) = blocks(text.as_bytes());
            assert_eq!((found.concat() == text.as_bytes(), end), (true, Next::End), "{line_end:?}");
            assert!(
                found.len() == 3 && found.iter().all(|block| block.len() % line.len() == 0),
                "{line_end:?}"
            );
        }
        assert_eq!(blocks(b"a\nb"), (vec![b"a\nb\n".to_vec()], Next::End));
        assert_eq!(blocks(b""), (vec![], Next::End));
    }

    #[test]
    fn a_line_that_is_too_long_is_told_wherever_it_stands() {
        let long = "x".repeat(MAX_LINE);
        for before in ["", "a\n"] {
            let (found, end) = blocks(format!("{before}{long}\n1\n").as_bytes());
            assert_eq!((found.concat(), end), (before.as_bytes().to_vec(), Next::TooLong));
            let fits = format!("{before}{}\n1\n", &long[1..]);
            assert!(blocks(fits.as_bytes()).0.concat() == fits.as_bytes());
        }
    }
}
