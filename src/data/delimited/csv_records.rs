use std::io::{self, Chain, Read};

use super::records::Start;
use crate::data::source::Origin;
use crate::error::{Error, Result};

/// The records of CSV, whose fields may stand between quotation marks (RFC 4180), and the lines in which they begin.
pub(crate) struct CsvRecords<R> {
    reader: csv::Reader<Chain<R, LastLineEnd>>,
    record: csv::ByteRecord,
    lines_before: u64,
}

impl<R: Read> CsvRecords<R> {
    /// The records of `text`, which begins after line `lines_before` of the file. Without `quoting`, quotation marks are
    /// characters like any other.
    pub(crate) fn new(text: R, delimiter: u8, quoting: bool, lines_before: u64) -> Self {
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(quoting)
            .has_headers(false)
            .flexible(true)
            .terminator(csv::Terminator::Any(b'\n'))
            .buffer_capacity(1 << 16)
            .from_reader(text.chain(LastLineEnd::default()));
        Self { reader, record: csv::ByteRecord::new(), lines_before }
    }

    /// Reads the next record; `false` at the end.
    pub(crate) fn next(&mut self, origin: &Origin) -> Result<bool> {
        let more =
            self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(error) => origin.read_error(error),
                kind => Error::input(origin.location(), "delimited text", format!("{kind:?}")),
            })?;
        if more && self.reader.get_ref().get_ref().1.is_passed() {
            // All line ends are within the record, and none behind it.
            let place = origin.location().line(self.line() + 1);
            return Err(Error::input(place, "a quotation mark that closes the field", "none"));
        }
        Ok(more)
    }

    /// The record that was read last.
    pub(crate) fn record(&self) -> &csv::ByteRecord {
        &self.record
    }

    /// The line where it begins, counted from 1.
    pub(crate) fn line(&self) -> u64 {
        let inner = self.record.as_slice().iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.lines_before + self.reader.position().line().saturating_sub(inner + 1)
    }

    /// How many bytes of the text have been read, and how many lines of the file.
    pub(super) fn consumed(&self) -> Start {
        let position = self.reader.position();
        Start { bytes: position.byte() as usize, lines: self.lines_before + position.line() - 1 }
    }
}

/// A line end behind the text: a reader counts the last line as it counts the others, and asks for what comes
/// after this end only inside a quotation.
#[derive(Default)]
struct LastLineEnd {
    n_reads: usize,
}

impl LastLineEnd {
    fn is_passed(&self) -> bool {
        self.n_reads > 1
    }
}

impl Read for LastLineEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.n_reads += 1;
        let end: &[u8] = if self.is_passed() { b"" } else { b"\n" };
        { end }.read(buffer)
    }
}
