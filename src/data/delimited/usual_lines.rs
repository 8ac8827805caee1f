use std::ops::Range;

use memchr::memchr3;

use super::records::{Format, split};
use crate::data::column_map::{Layout, Role};
use crate::data::fields::{self, Encoding};
use crate::data::text::{self, LineParser, Part, Problem};
use crate::data::vocab_builder::Keys;

/// Reads the rows of lines in which no mark has a meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnmarkedLines<'a> {
    pub(super) layout: &'a Layout,
    pub(super) format: &'a Format,
    pub(super) encoding: Encoding,
}

impl LineParser for UnmarkedLines<'_> {
    fn parse(&self, text: &[u8], part: &mut Part) {
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
}

impl UnmarkedLines<'_> {
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
        if ranges.len() != self.layout.roles.len() {
            return Err(Problem::Width(ranges.len()));
        }
        let field = |_, index: usize| self.encoding.decode(&line[ranges[index].clone()]).map(Some);
        Ok(fields::push_row(self.layout, field, &mut part.rows)?)
    }
}
