use std::io::Read;

use memchr::memchr2;

use super::{MAX_LINE, end_len, too_long};
use crate::data::source::Origin;
use crate::error::Result;

/// One line of a text after the other.
pub(crate) struct Lines<R> {
    reader: R,
    origin: Origin,
    buffer: Vec<u8>,
    /// What of the buffer is not yet given out.
    start: usize,
    is_read: bool,
    /// How many bytes and lines were given out.
    consumed: Start,
}

/// A place in a text: so many bytes and lines come before it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::data) struct Start {
    pub(in crate::data) bytes: usize,
    pub(in crate::data) lines: u64,
}

const BUFFER_LEN: usize = 1 << 16;

impl<R: Read> Lines<R> {
    /// The lines of `reader`, which begins after line `lines_before` of the file.
    pub(crate) fn new(reader: R, lines_before: u64, origin: Origin) -> Self {
        let consumed = Start { bytes: 0, lines: lines_before };
        Self { reader, origin, buffer: Vec::new(), start: 0, is_read: false, consumed }
    }

    /// Appends the next line with its end to `line`, which may grow to [`MAX_LINE`], and gives the length of the end; `None`
    /// at the end of the text. The last line may have no end.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<usize>> {
        let mut seen = 0;
        loop {
            let text = &self.buffer[self.start..];
            match memchr2(b'\n', b'\r', &text[seen..]) {
                // Whether a line feed follows a carriage return is not yet read.
                Some(at) if text[seen + at] == b'\r' && seen + at + 1 == text.len() && !self.is_read => {
                    seen += at
                }
                Some(at) => {
                    let at = seen + at;
                    let end = end_len(&text[at..]);
                    return self.give(at + end, end, line);
                }
                None if self.is_read && text.is_empty() => return Ok(None),
                None if self.is_read => return self.give(text.len(), 0, line),
                None => seen = text.len(),
            }
            if line.len() + seen >= MAX_LINE {
                return Err(too_long(self.origin.location().line(self.n_lines() + 1)));
            }
            self.fill()?;
        }
    }

    fn give(&mut self, len: usize, end: usize, line: &mut Vec<u8>) -> Result<Option<usize>> {
        if line.len() + len > MAX_LINE {
            return Err(too_long(self.origin.location().line(self.n_lines() + 1)));
        }
        line.extend_from_slice(&self.buffer[self.start..self.start + len]);
        self.start += len;
        self.consumed.bytes += len;
        self.consumed.lines += 1;
        Ok(Some(end))
    }

    /// Reads more behind what is not yet given out.
    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = BUFFER_LEN.max(self.buffer.len()) as u64;
        let n = (&mut self.reader)
            .take(wanted)
            .read_to_end(&mut self.buffer)
            .map_err(|error| self.origin.read_error(error))?;
        self.is_read = (n as u64) < wanted;
        Ok(())
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The number of the line that was given out last.
    pub(crate) fn n_lines(&self) -> u64 {
        self.consumed.lines
    }

    pub(in crate::data) fn consumed(&self) -> Start {
        self.consumed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Slow<'t>(&'t [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = buffer.len().min(1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn lines(text: &str) -> Vec<(String, usize)> {
        let mut lines = Lines::new(Slow(text.as_bytes()), 0, Origin::default());
        let (mut found, mut line) = (Vec::new(), Vec::new());
        while let Some(end) = lines.next(&mut line).unwrap() {
            found.push((String::from_utf8(std::mem::take(&mut line)).unwrap(), end));
        }
        found
    }

    #[test]
    fn lines_end_in_three_ways() {
        let owned = |lines: &[(&str, usize)]| {
            lines.iter().map(|&(line, end)| (line.to_owned(), end)).collect::<Vec<_>>()
        };
        assert_eq!(
            lines("a\n\r\nb\rc\r\r\nd"),
            owned(&[("a\n", 1), ("\r\n", 2), ("b\r", 1), ("c\r", 1), ("\r\n", 2), ("d", 0)])
        );
        assert_eq!(lines("a\r"), owned(&[("a\r", 1)]));
        assert_eq!(lines(""), []);
    }

    #[test]
    fn long_lines_are_given_up_to_the_bound() {
        for (len, is_good) in [(MAX_LINE - 1, true), (MAX_LINE, false)] {
            let text = format!("a\n{}\nb", "x".repeat(len));
            let mut lines = Lines::new(text.as_bytes(), 7, Origin::default());
            let mut line = Vec::new();
            assert_eq!(lines.next(&mut line).unwrap(), Some(1));
            line.clear();
            match lines.next(&mut line) {
                Ok(end) => assert_eq!((end, is_good), (Some(1), true)),
                Err(error) => {
                    let expected =
                        "input, line 9: expected lines of at most 4194304 bytes, found a longer one";
                    assert_eq!((error.to_string().as_str(), is_good), (expected, false));
                }
            }
        }
    }
}
