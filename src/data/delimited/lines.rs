use std::ops::Range;

use rayon::prelude::*;

use super::fields::{self, Encoding, Mismatch};
use super::records::split;
use crate::data::column_map::{Layout, Role};
use crate::data::rows::Rows;
use crate::data::vocab_builder::Keys;
use crate::error::{Error, Location, Result};

/// Reads the rows of lines without quotation marks, on all threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineParser<'a> {
    pub(super) layout: &'a Layout,
    pub(super) delimiter: &'a [u8],
    pub(super) encoding: Encoding,
}

/// The rows of some lines, up to the first bad one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) rows: Rows,
    pub(super) n_lines: u64,
    pub(super) problem: Option<Problem>,
    fields: Vec<Range<usize>>,
}

/// What is wrong with a row.
#[derive(Debug)]
pub(super) enum Problem {
    Width(usize),
    Field(Role, Mismatch),
}

impl Problem {
    /// The error of the row at `place`.
    pub(super) fn at(self, place: Location, layout: &Layout) -> Error {
        match self {
            Self::Width(found) => {
                Error::input(place, format!("{} fields", layout.roles.len()), found.to_string())
            }
            Self::Field(role, mismatch) => mismatch.at(place.column(layout.column(role))),
        }
    }
}

/// Lines are given to the threads in parts of about this many bytes.
const PART_LEN: usize = 256 << 10;

impl LineParser<'_> {
    /// Reads whole lines, each with its line end, into `parts`, in order.
    pub(super) fn parse(&self, text: &[u8], parts: &mut Vec<Part>) {
        let texts: Vec<&[u8]> = chunks(text).collect();
        parts.truncate(texts.len());
        parts.resize_with(texts.len(), || Part {
            rows: Rows::new(self.layout),
            n_lines: 0,
            problem: None,
            fields: Vec::new(),
        });
        texts.into_par_iter().zip(parts).for_each(|(text, part)| self.parse_part(text, part));
    }

    fn parse_part(&self, text: &[u8], part: &mut Part) {
        part.rows.clear();
        part.rows.reserve(text.iter().filter(|&&byte| byte == b'\n').count());
        part.n_lines = 0;
        let mut at = 0;
        while at < text.len() {
            part.n_lines += 1;
            if let Some(end) = self.parse_usual(text, at, &mut part.rows) {
                at = end;
                continue;
            }
            let line_end =
                text[at..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |len| at + len);
            if let Err(problem) = self.parse_any(&text[at..line_end], part) {
                part.problem = Some(problem);
                return;
            }
            at = line_end + 1;
        }
    }

    /// Reads the line that begins `at` and says where the next one does, if the line is of the usual form:
    /// a delimiter of one byte, numbers of digits only.
    #[inline(always)]
    fn parse_usual(&self, text: &[u8], mut at: usize, rows: &mut Rows) -> Option<usize> {
        let ([delimiter], Keys::Int(users), Keys::Int(items)) =
            (self.delimiter, &mut rows.users, &mut rows.items)
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
                    at += text[at..].iter().position(|byte| byte == delimiter || *byte == b'\n')?;
                }
            }
            match text.get(at)? {
                b'\n' => (ended, at) = (true, at + 1),
                b'\r' if text.get(at + 1) == Some(&b'\n') => (ended, at) = (true, at + 2),
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

    /// Reads any line, without its line feed.
    fn parse_any(&self, line: &[u8], part: &mut Part) -> Result<(), Problem> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        split(line, self.delimiter, &mut part.fields);
        if part.fields.len() != self.layout.roles.len() {
            return Err(Problem::Width(part.fields.len()));
        }
        let field = |index: usize| &line[part.fields[index].clone()];
        fields::push_row(self.layout, self.encoding, field, &mut part.rows)
            .map_err(|(role, mismatch)| Problem::Field(role, mismatch))
    }
}

/// Cuts a text at line ends into parts of about [`PART_LEN`] bytes.
fn chunks(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let tail = text.get(PART_LEN..).unwrap_or_default();
        let len = tail.iter().position(|&byte| byte == b'\n').map_or(text.len(), |end| PART_LEN + end + 1);
        let (chunk, rest) = text.split_at(len);
        text = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_with_a_line() {
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let text = line.repeat(1000);
        let parts: Vec<&[u8]> = chunks(&text).collect();
        assert_eq!(parts.concat(), text);
        assert!(parts.len() > 3 && parts.iter().all(|part| part.len() % 1000 == 0));
        assert_eq!(chunks(b"").count(), 0);
    }
}
