use std::io::Read;

use super::records::{MAX_LINE, too_long};
use crate::data::source::{Bytes, Origin};
use crate::error::Result;

/// A text in blocks of whole lines.
pub(super) struct Blocks<'r> {
    reader: &'r mut Bytes<'r>,
    origin: &'r Origin,
    /// The begin of a line whose end is not yet read.
    rest: Vec<u8>,
}

impl<'r> Blocks<'r> {
    pub(super) fn new(reader: &'r mut Bytes<'r>, origin: &'r Origin) -> Self {
        Self { reader, origin, rest: Vec::new() }
    }

    /// Replaces `block` by the next lines, each with its line end; by nothing at the end of the text.
    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<()> {
        block.clear();
        block.append(&mut self.rest);
        block.reserve(MAX_LINE - block.len());
        let wanted = (MAX_LINE - block.len()) as u64;
        (&mut *self.reader).take(wanted).read_to_end(block).map_err(|error| self.origin.read_error(error))?;
        match block.iter().rposition(|&byte| byte == b'\n') {
            _ if block.len() < MAX_LINE => {
                if block.last().is_some_and(|&last| last != b'\n') {
                    block.push(b'\n');
                }
            }
            Some(last) => {
                self.rest.extend_from_slice(&block[last + 1..]);
                block.truncate(last + 1);
            }
            None => return Err(too_long(self.origin.location())),
        }
        Ok(())
    }

    /// What was not yet given out.
    pub(super) fn into_rest(self) -> (Vec<u8>, &'r mut Bytes<'r>) {
        (self.rest, self.reader)
    }
}
