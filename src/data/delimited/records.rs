use std::io::Read;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};

use crate::data::fields::Mismatch;
use crate::data::source::Origin;
use crate::data::text::{Lines, MAX_LINE, Start, end_len, long_record};
use crate::error::{Error, Location, Result};

/// What separates the fields of a record: one grammar for every reader of delimited text.
///
/// A record is a line; with quotation it goes on behind line ends that stand between quotation marks (RFC 4180). A field
/// is quoted if it begins with a quotation mark; a mark within other fields is a character like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// One byte or more.
    pub(crate) delimiter: Vec<u8>,
    /// Whether a field may stand between quotation marks; has a meaning only beside a delimiter of one byte.
    pub(crate) quoting: bool,
    /// The character that takes its meaning from a quotation mark, a delimiter, a line end or itself, where one of these
    /// follows; needs a delimiter of one byte.
    pub(crate) escape: Option<u8>,
}

impl Default for Format {
    /// CSV.
    fn default() -> Self {
        Self { delimiter: b",".to_vec(), quoting: true, escape: None }
    }
}

impl Format {
    /// Whether the settings make sense.
    pub(crate) fn check(&self, reader: [&'static str; 2]) -> Result<()> {
        let special: &[u8] = if self.quoting { b"\r\n\"" } else { b"\r\n" };
        let is_special = |byte: &u8| special.contains(byte);
        if self.delimiter.is_empty() || self.delimiter.iter().any(is_special) {
            let expected = "one byte or more, no line end and no quotation mark";
            return Err(Error::config(
                reader[0],
                expected,
                format!("{:?}", String::from_utf8_lossy(&self.delimiter)),
            ));
        }
        match self.escape {
            Some(escape) if is_special(&escape) || !escape.is_ascii() || self.delimiter.contains(&escape) => {
                let expected = "an ASCII character, no line end, quotation mark or delimiter";
                Err(Error::config(reader[1], expected, format!("{:?}", char::from(escape))))
            }
            Some(_) if self.delimiter.len() > 1 => {
                Err(Error::config(reader[1], "a delimiter of one byte beside it", self.delimiter.len()))
            }
            _ => Ok(()),
        }
    }

    /// Whether a quotation mark or an escape character of this text has a meaning.
    pub(crate) fn is_marked(&self, text: &[u8]) -> bool {
        match (self.quotes(), self.escape) {
            (true, Some(escape)) => memchr2(b'"', escape, text).is_some(),
            (true, None) => memchr(b'"', text).is_some(),
            (false, Some(escape)) => memchr(escape, text).is_some(),
            (false, None) => false,
        }
    }

    /// The length of the record that a text begins with, and of its line end; `None` where it has no end in the text.
    pub(super) fn record_len(&self, text: &[u8]) -> Option<usize> {
        let line = memchr2(b'\n', b'\r', text)?;
        if !self.is_marked(&text[..line]) {
            return Some(line + end_len(&text[line..]));
        }
        let delimiter = self.delimiter[0];
        let mut at = 0;
        loop {
            if self.quotes() && text.get(at) == Some(&b'"') {
                at = self.skip_to(b"\"", text, at + 1)? + 1;
                while text.get(at) == Some(&b'"') {
                    at = self.skip_to(b"\"", text, at + 1)? + 1;
                }
            }
            at = self.skip_to(&[delimiter, b'\n', b'\r'], text, at)?;
            if text[at] != delimiter {
                return Some(at + end_len(&text[at..]));
            }
            at += 1;
        }
    }

    /// The place of the first of these bytes from `at` on that no escape character stands before.
    fn skip_to(&self, bytes: &[u8], text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            at +=
                text.get(at..)?.iter().position(|byte| bytes.contains(byte) || Some(*byte) == self.escape)?;
            if Some(text[at]) != self.escape {
                return Some(at);
            }
            at += self.escaped_len(&text[at..]);
        }
    }

    /// The length of an escape character with what it takes the meaning from.
    fn escaped_len(&self, text: &[u8]) -> usize {
        match text.get(1) {
            Some(b'\n' | b'\r') => 1 + end_len(&text[1..]),
            Some(&next) if self.is_escapable(next) => 2,
            _ => 1,
        }
    }

    /// Whether an escape character before this byte, no line end, has a meaning.
    fn is_escapable(&self, byte: u8) -> bool {
        Some(byte) == self.escape || byte == self.delimiter[0] || (byte == b'"' && self.quoting)
    }

    fn quotes(&self) -> bool {
        self.quoting && self.delimiter.len() == 1
    }
}

/// Why there is no next record.
pub(super) enum Fault {
    /// The text cannot be read.
    Read(Error),
    /// The record, whose line is known, is none.
    Record(Mismatch),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

/// One record after the other: the general way to read delimited text.
pub(crate) struct Records<R> {
    lines: Lines<R>,
    format: Format,
    /// Memory for a line.
    line: Vec<u8>,
}

/// The fields of one record.
#[derive(Debug, Default)]
pub(crate) struct Record {
    bytes: Vec<u8>,
    fields: Vec<Range<usize>>,
    /// The line where it begins, counted from 1.
    line: u64,
}

impl Record {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn field(&self, index: usize) -> &[u8] {
        &self.bytes[self.fields[index].clone()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.field(index))
    }

    /// The line where it begins, counted from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Ends a field that began at `start`.
    fn close(&mut self, start: usize) -> usize {
        self.fields.push(start..self.bytes.len());
        self.bytes.len()
    }
}

impl<R: Read> Records<R> {
    /// The records of `reader`, which begins after line `lines_before` of the file.
    pub(crate) fn new(reader: R, format: &Format, lines_before: u64, origin: &Origin) -> Self {
        let lines = Lines::new(reader, lines_before, origin.clone());
        Self { lines, format: format.clone(), line: Vec::new() }
    }

    /// The place of the record in the file.
    pub(crate) fn place(&self, record: &Record) -> Location {
        self.lines.origin().location().line(record.line)
    }

    /// Reads the next record whose line is not empty; `false` at the end.
    pub(crate) fn next(&mut self, record: &mut Record) -> Result<bool> {
        self.try_next(record).map_err(|fault| match fault {
            Fault::Read(error) => error,
            Fault::Record(mismatch) => mismatch.at(self.place(record)),
        })
    }

    pub(super) fn try_next(&mut self, record: &mut Record) -> Result<bool, Fault> {
        record.bytes.clear();
        record.fields.clear();
        loop {
            self.line.clear();
            let Some(end) = self.lines.next(&mut self.line)? else { return Ok(false) };
            record.line = self.lines.n_lines();
            let text = &self.line[..self.line.len() - end];
            if text.is_empty() {
                continue;
            }
            if self.format.is_marked(text) {
                self.read_marked(record, end)?;
            } else {
                record.bytes.extend_from_slice(text);
                split(text, &self.format.delimiter, &mut record.fields);
            }
            return Ok(true);
        }
    }

    /// Reads the record that begins with the line, whose end has this length.
    fn read_marked(&mut self, record: &mut Record, mut end: usize) -> Result<(), Fault> {
        let delimiter = self.format.delimiter[0];
        let (mut at, mut start) = (0, 0);
        loop {
            if self.format.quotes() && self.line.get(at) == Some(&b'"') {
                at += 1;
                self.read_quoted(record, &mut at, &mut end)?;
            } else {
                self.read_unquoted(record, &mut at, &mut end)?;
            }
            start = record.close(start);
            match self.line.get(at) {
                Some(&byte) if byte == delimiter => at += 1,
                _ => return Ok(()),
            }
        }
    }

    /// Reads a field that is not quoted, up to its delimiter or line end.
    fn read_unquoted(&mut self, record: &mut Record, at: &mut usize, end: &mut usize) -> Result<(), Fault> {
        let delimiter = self.format.delimiter[0];
        loop {
            let bound = self.line.len() - *end;
            let text = &self.line[*at..bound];
            let len = match self.format.escape {
                Some(escape) => memchr2(delimiter, escape, text),
                None => memchr(delimiter, text),
            }
            .unwrap_or(text.len());
            record.bytes.extend_from_slice(&text[..len]);
            *at += len;
            match self.line.get(*at) {
                Some(&byte) if *at < bound && byte != delimiter => self.read_escape(record, at, end)?,
                _ => return Ok(()),
            }
        }
    }

    /// Reads a quoted field from behind its first mark, up to the delimiter or line end behind its last one.
    fn read_quoted(&mut self, record: &mut Record, at: &mut usize, end: &mut usize) -> Result<(), Fault> {
        loop {
            // The line end belongs to the field as long as no mark closes it.
            let text = &self.line[*at..];
            let mark = match self.format.escape {
                Some(escape) => memchr2(b'"', escape, text),
                None => memchr(b'"', text),
            };
            record.bytes.extend_from_slice(&text[..mark.unwrap_or(text.len())]);
            let Some(len) = mark else {
                if !self.go_on(record, at, end)? {
                    let expected = "a quotation mark that closes the field";
                    return Err(Fault::Record(Mismatch::new(expected, "none".into())));
                }
                continue;
            };
            *at += len;
            if self.line[*at] != b'"' {
                self.read_escape(record, at, end)?;
                continue;
            }
            *at += 1;
            match self.line[*at..self.line.len() - *end].first() {
                Some(b'"') => record.bytes.push(b'"'),
                Some(byte) if *byte != self.format.delimiter[0] => {
                    let rest = &self.line[*at..self.line.len() - *end];
                    let found = format!("{:?}", String::from_utf8_lossy(&rest[..rest.len().min(60)]));
                    let expected = "a delimiter or the end of the line behind the quotation mark that closes a field \
                                    (or a reader `without_quoting`)";
                    return Err(Fault::Record(Mismatch::new(expected, found)));
                }
                _ => return Ok(()),
            }
            *at += 1;
        }
    }

    /// Reads an escape character, and what it stands before.
    fn read_escape(&mut self, record: &mut Record, at: &mut usize, end: &mut usize) -> Result<(), Fault> {
        let escape = self.line[*at];
        *at += 1;
        if *at == self.line.len() - *end {
            if *end == 0 {
                // The last character of the text.
                record.bytes.push(escape);
                return Ok(());
            }
            record.bytes.extend_from_slice(&self.line[*at..]);
            self.go_on(record, at, end)?;
            return Ok(());
        }
        let next = self.line[*at];
        let is_special =
            next == escape || next == self.format.delimiter[0] || (next == b'"' && self.format.quoting);
        record.bytes.push(if is_special { next } else { escape });
        *at += usize::from(is_special);
        Ok(())
    }

    /// Takes the next line where a field goes on behind the line end; `false` at the end of the text.
    fn go_on(&mut self, record: &Record, at: &mut usize, end: &mut usize) -> Result<bool, Fault> {
        if record.bytes.len() >= MAX_LINE {
            return Err(Fault::Record(long_record()));
        }
        self.line.clear();
        let next = self.lines.next(&mut self.line)?;
        (*at, *end) = (0, next.unwrap_or(0));
        Ok(next.is_some())
    }

    /// How many bytes and lines have been read.
    pub(in crate::data) fn consumed(&self) -> Start {
        self.lines.consumed()
    }
}

/// Replaces `fields` by the fields of `line`.
pub(super) fn split(line: &[u8], delimiter: &[u8], fields: &mut Vec<Range<usize>>) {
    fields.clear();
    if let [delimiter] = *delimiter {
        let mut start = 0;
        for at in memchr_iter(delimiter, line) {
            fields.push(start..at);
            start = at + 1;
        }
        fields.push(start..line.len());
        return;
    }
    let (mut start, mut at) = (0, 0);
    while let Some(ahead) = memchr(delimiter[0], &line[at..]) {
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
    use proptest::prelude::*;

    use super::*;

    fn format(delimiter: &str, quoting: bool, escape: Option<u8>) -> Format {
        Format { delimiter: delimiter.into(), quoting, escape }
    }

    fn read(text: &[u8], format: &Format) -> Result<Vec<(u64, Vec<String>)>> {
        let mut records = Records::new(text, format, 10, &Origin::default());
        let (mut record, mut found) = (Record::default(), Vec::new());
        while records.next(&mut record)? {
            let fields = record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
            found.push((record.line(), fields));
        }
        Ok(found)
    }

    fn records(text: &str, delimiter: &str, quoting: bool) -> Vec<(u64, Vec<String>)> {
        read(text.as_bytes(), &format(delimiter, quoting, None)).unwrap()
    }

    fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
        (line, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn plain_lines_are_split() {
        let found = records("a::b:c::\r\n\r\n\n:::d", "::", false);
        assert_eq!(found, [row(11, &["a", "b:c", ""]), row(14, &["", ":d"])]);
        assert_eq!(records("", "::", false), []);
        assert_eq!(
            records("a,b\rc,\r\r\nd", ",", false),
            [row(11, &["a", "b"]), row(12, &["c", ""]), row(14, &["d"])]
        );
    }

    #[test]
    fn quoted_fields_may_hold_anything() {
        let found =
            records("\"a,\"\"b\"\"\r\n\n\rx\",1\r\n\n\"x\",\"\"\r\ny,2\n\"\"\n5\" disc,\"\"\"\"", ",", true);
        let expected = [
            row(11, &["a,\"b\"\r\n\n\rx", "1"]),
            row(16, &["x", ""]),
            row(17, &["y", "2"]),
            row(18, &[""]),
            row(19, &["5\" disc", "\""]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn escaped_characters_have_no_meaning() {
        let hive = format("\t", false, Some(b'\\'));
        let found = read(b"a\\\tb\\\\\tc\\\nd\t\\N\nx\\", &hive).unwrap();
        assert_eq!(found, [row(11, &["a\tb\\", "c\nd", "\\N"]), row(13, &["x\\"])]);
        assert_eq!(read(b"a\tb\\\n", &hive).unwrap(), [row(11, &["a", "b\n"])]);
        let spark = format(",", true, Some(b'\\'));
        let found = read(b"\"a \\\"b\\\" \\\\\",\\\"c,d\\,e,\"\\n\"\r\n\"x\\\r\n\"\r\n", &spark).unwrap();
        assert_eq!(found, [row(11, &["a \"b\" \\", "\"c", "d,e", "\\n"]), row(12, &["x\r\n"])]);
        let error = read(b"a\n\"b\\\"", &spark).unwrap_err().to_string();
        assert_eq!(error, "input, line 12: expected a quotation mark that closes the field, found none");
    }

    #[test]
    fn a_quotation_that_no_mark_closes_is_told_where_its_record_begins() {
        for text in ["1,\"2", "1,\"2\n", "1,\"2\n\n3", "1,\"\"\"\n"] {
            let text = format!("a,\"b\n\"\n\n{text}");
            let error = read(text.as_bytes(), &Format::default()).unwrap_err().to_string();
            assert_eq!(error, "input, line 14: expected a quotation mark that closes the field, found none");
        }
        let long = format!("1\n\"{}", "x\n".repeat(MAX_LINE));
        let error = read(long.as_bytes(), &Format::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            "input, line 12: expected a record of at most 4194304 bytes (or a quotation mark that closes the field), \
             found a longer one"
        );
    }

    #[test]
    fn text_behind_a_closing_mark_is_told_where_its_record_begins() {
        for text in ["\"2\" ,3", "\"a\nb\"c", "\"\"\"\"x", "\"2\"\r3"] {
            let found = read(format!("1\n{text}\n").as_bytes(), &Format::default());
            match found {
                Ok(records) => assert_eq!((text, records.len()), ("\"2\"\r3", 3)),
                Err(error) => assert!(
                    error
                        .to_string()
                        .starts_with("input, line 12: expected a delimiter or the end of the line behind"),
                    "{error}"
                ),
            }
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let error = |delimiter, quoting, escape| {
            let format = format(delimiter, quoting, escape);
            format.check(["R::delimiter", "R::escape"]).unwrap_err().to_string()
        };
        for delimiter in ["", "\n", "a\"", "\r\n"] {
            assert!(error(delimiter, true, None).starts_with("R::delimiter: expected one byte or more"));
        }
        for escape in [b'"', b'\n', b',', 0xe9] {
            assert!(error(",", true, Some(escape)).starts_with("R::escape: expected an ASCII character"));
        }
        assert!(error("::", false, Some(b'\\')).starts_with("R::escape: expected a delimiter of one byte"));
        assert!(format("\"", false, Some(b'\\')).check(["", ""]).is_ok());
    }

    proptest! {
        #[test]
        fn both_ways_agree_where_nothing_is_quoted(text in "[ab,:\r\n ]{0,60}") {
            for delimiter in [",", "::"] {
                prop_assert_eq!(records(&text, delimiter, true), records(&text, delimiter, false));
            }
        }

        #[test]
        fn records_end_where_they_are_read_to_end(text in "[ab,\"\r\n\\\\]{0,60}") {
            for (quoting, escape) in [(true, None), (true, Some(b'\\')), (false, Some(b'\\'))] {
                let format = format(",", quoting, escape);
                let text = format!("{text}\n");
                let (mut rest, mut found) = (text.as_bytes(), Vec::new());
                let rows = |records: Vec<(u64, Vec<String>)>| records.into_iter().map(|(_, row)| row);
                let mut is_good = true;
                while is_good && !rest.is_empty() {
                    let len = format.record_len(rest).unwrap_or(rest.len());
                    match read(&rest[..len], &format) {
                        Ok(records) => found.extend(rows(records)),
                        Err(_) => is_good = false,
                    }
                    rest = &rest[len..];
                }
                match read(text.as_bytes(), &format) {
                    Ok(records) => prop_assert_eq!((is_good, found), (true, rows(records).collect())),
                    Err(_) => prop_assert!(!is_good),
                }
            }
        }

        #[test]
        fn what_is_written_is_read(fields in prop::collection::vec(prop::collection::vec("[a,\"\r\n\\\\]{0,6}", 1..5), 0..8)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let escaped = |field: &String| {
                format!("\"{}\"", field.replace('\\', "\\\\").replace('"', "\\\""))
            };
            for (write, escape) in [(&quoted as &dyn Fn(&String) -> String, None), (&escaped, Some(b'\\'))] {
                let lines = fields.iter().map(|row| row.iter().map(write).collect::<Vec<_>>().join(","));
                let text: String = lines.map(|line| line + "\r\n").collect();
                let found = read(text.as_bytes(), &format(",", true, escape)).unwrap();
                let found: Vec<Vec<String>> = found.into_iter().map(|(_, row)| row).collect();
                prop_assert_eq!(&found, &fields);
            }
        }

        #[test]
        fn no_bytes_panic(text in prop::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'\r'), Just(b'"'), Just(b'\\'), any::<u8>()], 0..200)) {
            for (quoting, escape) in [(true, None), (true, Some(b'\\')), (false, Some(b'\\')), (false, None)] {
                let _ = read(&text, &format(",", quoting, escape));
            }
        }
    }
}
