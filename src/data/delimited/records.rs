use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

use super::csv_records::CsvRecords;
use crate::data::source::{Bytes, Origin};
use crate::error::{Error, Location, Result};

/// What separates the fields of a line.
#[derive(Clone, Debug)]
pub(in crate::data) struct Format {
    /// One byte or more.
    pub(in crate::data) delimiter: Vec<u8>,
    /// Whether a field may stand between quotation marks (RFC 4180); needs a delimiter of one byte.
    pub(in crate::data) quoting: bool,
}

/// No line without quotation marks may be longer, so that memory stays bounded.
pub(super) const MAX_LINE: usize = 4 << 20;

/// One record after the other: the plain, general way to read delimited text.
pub(in crate::data) struct Records<'r> {
    text: Text<'r>,
    origin: &'r Origin,
}

enum Text<'r> {
    Quoted(Box<CsvRecords<&'r mut Bytes<'r>>>),
    Plain { reader: BufReader<&'r mut Bytes<'r>>, delimiter: Vec<u8>, bytes: usize, line: u64 },
}

/// The fields of one record.
#[derive(Debug, Default)]
pub(in crate::data) struct Record {
    bytes: Vec<u8>,
    fields: Vec<Range<usize>>,
    /// The line where it begins, counted from 1.
    pub(in crate::data) line: u64,
}

impl Record {
    pub(in crate::data) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(in crate::data) fn field(&self, index: usize) -> &[u8] {
        &self.bytes[self.fields[index].clone()]
    }

    pub(in crate::data) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.field(index))
    }

    /// Whether the line holds nothing.
    fn is_blank(&self) -> bool {
        self.len() <= 1 && self.bytes.is_empty()
    }

    /// Takes the carriage return from the end of the last field; before an empty one it is part of another.
    fn strip_carriage_return(&mut self) {
        if let (Some(last), Some(b'\r')) = (self.fields.last_mut(), self.bytes.last())
            && last.start < last.end
        {
            self.bytes.pop();
            last.end = self.bytes.len();
        }
    }
}

impl<'r> Records<'r> {
    /// The records of `reader`, which begins after line `lines_before` of the file.
    pub(in crate::data) fn new(
        reader: &'r mut Bytes<'r>,
        format: &Format,
        lines_before: u64,
        origin: &'r Origin,
    ) -> Self {
        let text = match format.delimiter[..] {
            [delimiter] if format.quoting => {
                Text::Quoted(Box::new(CsvRecords::new(reader, delimiter, true, lines_before)))
            }
            _ => Text::Plain {
                reader: BufReader::new(reader),
                delimiter: format.delimiter.clone(),
                bytes: 0,
                line: lines_before,
            },
        };
        Self { text, origin }
    }

    /// Reads the next record that is not blank; `false` at the end.
    pub(in crate::data) fn next(&mut self, record: &mut Record) -> Result<bool> {
        loop {
            if !self.next_line(record)? {
                return Ok(false);
            }
            record.strip_carriage_return();
            if !record.is_blank() {
                return Ok(true);
            }
        }
    }

    fn next_line(&mut self, record: &mut Record) -> Result<bool> {
        record.bytes.clear();
        record.fields.clear();
        match &mut self.text {
            Text::Quoted(records) => {
                let more = records.next(self.origin)?;
                let found = records.record();
                record.bytes.extend_from_slice(found.as_slice());
                record.fields.extend((0..found.len()).filter_map(|field| found.range(field)));
                record.line = records.line();
                Ok(more)
            }
            Text::Plain { reader, delimiter, bytes, line } => {
                let mut reader = reader.take(MAX_LINE as u64);
                reader.read_until(b'\n', &mut record.bytes).map_err(|error| self.origin.read_error(error))?;
                *bytes += record.bytes.len();
                *line += 1;
                record.line = *line;
                match record.bytes.last() {
                    None => return Ok(false),
                    Some(b'\n') => drop(record.bytes.pop()),
                    Some(_) if record.bytes.len() == MAX_LINE => {
                        return Err(too_long(self.origin.location().line(*line)));
                    }
                    Some(_) => {}
                }
                split(&record.bytes, delimiter, &mut record.fields);
                Ok(true)
            }
        }
    }

    /// How many bytes and lines have been read.
    pub(super) fn consumed(&self) -> Start {
        match &self.text {
            Text::Quoted(records) => records.consumed(),
            Text::Plain { bytes, line, .. } => Start { bytes: *bytes, lines: *line },
        }
    }
}

/// A place in a text: so many bytes and lines come before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub(super) bytes: usize,
    pub(super) lines: u64,
}

pub(super) fn too_long(place: Location) -> Error {
    Error::input(place, format!("lines of at most {MAX_LINE} bytes"), "a longer one")
}

/// Replaces `fields` by the fields of `line`.
pub(super) fn split(line: &[u8], delimiter: &[u8], fields: &mut Vec<Range<usize>>) {
    fields.clear();
    let (mut start, mut at) = (0, 0);
    while let Some(ahead) = line[at..].iter().position(|&byte| byte == delimiter[0]) {
        at += ahead;
        if line[at..].starts_with(delimiter) {
            fields.push(start..at);
            at += delimiter.len();
            start = at;
        } else {
            at += 1;
        }
    }
    fields.push(start..line.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, delimiter: &str, quoting: bool) -> Vec<(u64, Vec<String>)> {
        let format = Format { delimiter: delimiter.into(), quoting };
        let origin = Origin::default();
        let mut reader = text.as_bytes();
        let mut records = Records::new(&mut reader, &format, 10, &origin);
        let (mut record, mut found) = (Record::default(), Vec::new());
        while records.next(&mut record).unwrap() {
            let fields = record.iter().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect();
            found.push((record.line, fields));
        }
        found
    }

    fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
        (line, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn plain_lines_are_split() {
        let found = records("a::b:c::\r\n\r\n\n:::d", "::", false);
        assert_eq!(found, [row(11, &["a", "b:c", ""]), row(14, &["", ":d"])]);
        assert_eq!(records("", "::", false), []);
    }

    #[test]
    fn quoted_fields_may_hold_anything() {
        let found = records("\"a,\"\"b\"\"\n\",1\r\n\n\"x\",\"\"\r\ny,2", ",", true);
        assert_eq!(found, [row(11, &["a,\"b\"\n", "1"]), row(14, &["x", ""]), row(15, &["y", "2"])]);
    }

    #[test]
    fn a_quotation_that_no_mark_closes_is_told_where_its_record_begins() {
        for text in ["1,\"2", "1,\"2\n", "1,\"2\n\n3", "1,\"\"\"\n"] {
            let (format, origin) = (Format { delimiter: b",".to_vec(), quoting: true }, Origin::default());
            let text = format!("a,\"b\n\"\n\n{text}");
            let (mut reader, mut record) = (text.as_bytes(), Record::default());
            let mut records = Records::new(&mut reader, &format, 10, &origin);
            assert!(records.next(&mut record).unwrap());
            let error = records.next(&mut record).unwrap_err().to_string();
            assert_eq!(error, "input, line 14: expected a quotation mark that closes the field, found none");
        }
    }

    #[test]
    fn both_ways_agree_where_nothing_is_quoted() {
        for text in ["a,b\n\nc,\n", "a\rb,c\r\n,,\n \n", "\n\r\n1", ",", "a,b\r\r\n"] {
            assert_eq!(records(text, ",", true), records(text, ",", false), "{text:?}");
        }
    }
}
