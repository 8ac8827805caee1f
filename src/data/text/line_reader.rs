use rayon::prelude::*;

use super::{Blocks, line_len, long_record};
use crate::data::column_map::{Layout, Role};
use crate::data::fields::Mismatch;
use crate::data::rows::{DatasetBuilder, Rows};
use crate::data::source::Origin;
use crate::error::{Error, Location, Result};

/// Reads the rows of lines.
pub(in crate::data) trait LineParser: Send + Sync {
    /// Reads whole records, each with its line end, into a part that is empty, up to the first bad one.
    fn parse(&self, text: &[u8], part: &mut Part);

    /// Whether a record of a text may have several lines.
    fn is_marked(&self, _: &[u8]) -> bool {
        false
    }

    /// The length of the record that a text begins with, and of its line end; `None` where it has no end in the text.
    fn record_len(&self, text: &[u8]) -> Option<usize> {
        line_len(text)
    }
}

/// The rows of some lines, up to the first bad one.
#[derive(Debug)]
pub(in crate::data) struct Part {
    pub(in crate::data) rows: Rows,
    /// How many lines were read, the bad one among them.
    pub(in crate::data) n_lines: u64,
    pub(in crate::data) problem: Option<Problem>,
}

/// What is wrong with a row.
#[derive(Debug)]
pub(in crate::data) enum Problem {
    /// Another number of fields.
    Width(usize),
    /// The line as a whole.
    Line(Mismatch),
    Field(Role, Mismatch),
    /// The field of this number, counted from 1.
    Number(usize, Mismatch),
}

impl From<(Role, Mismatch)> for Problem {
    fn from((role, mismatch): (Role, Mismatch)) -> Self {
        Self::Field(role, mismatch)
    }
}

impl Problem {
    /// The error of the row at `place`.
    pub(in crate::data) fn at(self, place: Location, layout: &Layout) -> Error {
        match self {
            Self::Width(found) => {
                Error::input(place, format!("{} fields", layout.roles.len()), found.to_string())
            }
            Self::Line(mismatch) => mismatch.at(place),
            Self::Field(role, mismatch) => mismatch.at(place.column(layout.column(role))),
            Self::Number(number, mismatch) => mismatch.at(place.column(number.to_string())),
        }
    }
}

/// Lines are given to the threads in parts of about this many bytes.
const PART_LEN: usize = 256 << 10;

/// The length of the first lines of a text of whole lines, about [`PART_LEN`].
fn whole_lines(text: &[u8]) -> usize {
    let behind = text.get(PART_LEN..).and_then(line_len);
    behind.map_or(text.len(), |len| PART_LEN + len)
}

/// Reads the lines of a text block by block: while one is parsed on all threads, the next is read, and the keys of the one
/// before get their ids.
pub(in crate::data) struct LineReader<'a, P> {
    parser: P,
    layout: &'a Layout,
    origin: &'a Origin,
    /// The number of lines read.
    n_lines: u64,
}

impl<'a, P: LineParser> LineReader<'a, P> {
    /// A reader of what stands behind so many lines.
    pub(in crate::data) fn new(parser: P, layout: &'a Layout, origin: &'a Origin, n_lines: u64) -> Self {
        Self { parser, layout, origin, n_lines }
    }

    /// Reads `block` and all that follows.
    pub(in crate::data) fn read(
        mut self,
        blocks: &mut Blocks<'_>,
        mut block: Vec<u8>,
        rows: &mut DatasetBuilder,
    ) -> Result<()> {
        let (mut next, mut parts, mut before) = (Vec::new(), Vec::new(), Vec::<Part>::new());
        if block.is_empty() {
            blocks.next(&mut block)?.check(self.origin, self.n_lines)?;
        }
        while !block.is_empty() {
            let texts = self.cut(&block, blocks)?;
            let (more, ((), appended)) = rayon::join(
                || blocks.next(&mut next),
                || {
                    let append = || rows.append(before.iter().map(|part| &part.rows));
                    rayon::join(|| self.parse(texts, &mut parts), append)
                },
            );
            // What is wrong comes in the order of the lines.
            appended?;
            self.check(&mut parts)?;
            more?.check(self.origin, self.n_lines)?;
            std::mem::swap(&mut block, &mut next);
            std::mem::swap(&mut parts, &mut before);
        }
        rows.append(before.iter().map(|part| &part.rows))
    }

    /// Cuts a block between records into texts of about [`PART_LEN`] bytes. A record without end is given back, unless it is
    /// the last of the whole text.
    fn cut<'t>(&self, block: &'t [u8], blocks: &mut Blocks<'_>) -> Result<Vec<&'t [u8]>> {
        let is_marked = self.parser.is_marked(block);
        let (mut texts, mut rest) = (Vec::new(), block);
        while !rest.is_empty() {
            let mut len = if is_marked { self.whole_records(rest) } else { whole_lines(rest) };
            if len == 0 && blocks.is_last() {
                len = rest.len();
            } else if len == 0 && texts.is_empty() {
                return Err(long_record().at(self.origin.location().line(self.n_lines + 1)));
            } else if len == 0 {
                blocks.put_back(rest);
                break;
            }
            let (text, behind) = rest.split_at(len);
            texts.push(text);
            rest = behind;
        }
        Ok(texts)
    }

    /// The length of the first records of a text, about [`PART_LEN`]; 0 where none ends in it.
    fn whole_records(&self, text: &[u8]) -> usize {
        let mut len = 0;
        while len < PART_LEN
            && let Some(record) = self.parser.record_len(&text[len..])
        {
            len += record;
        }
        len
    }

    /// Reads the rows of each text into one of `parts`.
    fn parse(&self, texts: Vec<&[u8]>, parts: &mut Vec<Part>) {
        parts.truncate(texts.len());
        parts.resize_with(texts.len(), || Part { rows: Rows::new(self.layout), n_lines: 0, problem: None });
        texts.into_par_iter().zip(parts).for_each(|(text, part)| {
            part.rows.clear();
            part.n_lines = 0;
            self.parser.parse(text, part);
        });
    }

    /// Counts the lines, up to the first bad one, which is the error.
    fn check(&mut self, parts: &mut [Part]) -> Result<()> {
        for part in parts {
            self.n_lines += part.n_lines;
            if let Some(problem) = part.problem.take() {
                return Err(problem.at(self.origin.location().line(self.n_lines), self.layout));
            }
        }
        Ok(())
    }
}
