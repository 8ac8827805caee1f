use std::ops::Range;

use memchr::memchr3;

use super::records::{Fault, Format, Record, Records, split};
use crate::data::column_map::{Layout, Role};
use crate::data::fields::{self, Encoding};
use crate::data::source::Origin;
use crate::data::text::{self, LineParser, Part, Problem};
use crate::data::vocab_builder::Keys;

/// Reads the rows of delimited text: a line without marks as it is, by a fast path where it can, and others record by
/// record.
#[derive(Clone, Copy, Debug)]
pub(super) struct DelimitedLines<'a> {
    pub(super) layout: &'a Layout,
    pub(super) format: &'a Format,
    pub(super) encoding: Encoding,
}

impl LineParser for DelimitedLines<'_> {
    fn parse(&self, text: &[u8], part: &mut Part) {
        if self.is_marked(text) { self.parse_records(text, part) } else { self.parse_lines(text, part) }
    }

    fn is_marked(&self, text: &[u8]) -> bool {
        self.format.is_marked(text)
    }

    fn record_len(&self, text: &[u8]) -> Option<usize> {
        self.format.record_len(text)
    }
}

impl DelimitedLines<'_> {
    fn parse_lines(&self, text: &[u8], part: &mut Part) {
        part.rows.reserve(memchr::memchr_iter(b'\n', text).count());
        let is_usual = self.layout.reading.is_plain();
        let (mut at, mut ranges) = (0, Vec::new());
        while at < text.len() {
            part.n_lines += 1;
            if is_usual && let Some(end) = self.parse_usual(text, at, part) {
                at = end;
                continue;
            }
            let (line, rest) = text::split_line(&text[at..]);
            if let Err(problem) = self.parse_any(line, &mut ranges, part) {
                part.problem = Some(problem);
                return;
            }
            at = text.len() - rest.len();
        }
    }

    fn parse_records(&self, text: &[u8], part: &mut Part) {
        let mut records = Records::new(text, self.format, 0, &Origin::default());
        let mut record = Record::default();
        let problem = loop {
            match records.try_next(&mut record) {
                Ok(true) => {
                    if let Err(problem) = self.push(record.len(), |index| record.field(index), part) {
                        break problem;
                    }
                }
                Ok(false) => {
                    part.n_lines = records.consumed().lines;
                    return;
                }
                Err(Fault::Record(mismatch)) => break Problem::Line(mismatch),
                Err(Fault::Read(error)) => {
                    unreachable!("a text in memory is read, and its lines are short: {error}")
                }
            }
        };
        part.n_lines = record.line();
        part.problem = Some(problem);
    }

    /// Reads the line that begins `at` and says where the next one does, if the line is of the usual form:
    /// a delimiter of one byte, numbers of digits only.
    #[inline(always)]
    fn parse_usual(&self, text: &[u8], mut at: usize, part: &mut Part) -> Option<usize> {
        let rows = &mut part.rows;
        let ([delimiter], Keys::Int(users), Keys::Int(items)) =
            (&self.format.delimiter[..], &mut rows.users, &mut rows.items)
        else {
            return None;
        };
        let (mut user, mut item, mut value, mut time) = (0, 0, 0.0, 0);
        let mut ended = false;
        for role in &self.layout.roles {
            if ended {
                return None;
            }
            match role {
                Some(Role::User) => (user, at) = fields::fast_int(text, at)?,
                Some(Role::Item) => (item, at) = fields::fast_int(text, at)?,
                Some(Role::Value) => (value, at) = fields::fast_decimal(text, at)?,
                Some(Role::Timestamp) => (time, at) = fields::fast_int(text, at)?,
                None => {
                    at += memchr3(*delimiter, b'\n', b'\r', &text[at..])?;
                }
            }
            match text.get(at)? {
                b'\n' | b'\r' => (ended, at) = (true, at + text::end_len(&text[at..])),
                byte if byte == delimiter => at += 1,
                _ => return None,
            }
        }
        if !ended {
            return None;
        }
        users.push(user);
        items.push(item);
        if self.layout.index(Role::Value).is_some() {
            rows.values.push(value);
        }
        if self.layout.index(Role::Timestamp).is_some() {
            rows.timestamps.push(time as i64);
        }
        Some(at)
    }

    /// Reads any line, without its end.
    fn parse_any(&self, line: &[u8], ranges: &mut Vec<Range<usize>>, part: &mut Part) -> Result<(), Problem> {
        if line.is_empty() {
            return Ok(());
        }
        split(line, &self.format.delimiter, ranges);
        self.push(ranges.len(), |index| &line[ranges[index].clone()], part)
    }

    /// Appends the row of so many fields.
    fn push<'f>(
        &self,
        n_fields: usize,
        field: impl Fn(usize) -> &'f [u8],
        part: &mut Part,
    ) -> Result<(), Problem> {
        if n_fields != self.layout.roles.len() {
            return Err(Problem::Width(n_fields));
        }
        let field = |_, index| self.encoding.decode(field(index)).map(Some);
        Ok(fields::push_row(self.layout, field, &mut part.rows)?)
    }
}
