//! From the cells of a column to keys, values and times.

use std::fmt::Write;

use super::cells::{Cells, Misfit};
use crate::data::fields::{self, Mismatch, Reading};
use crate::data::times::{Instant, Times, checked};
use crate::data::{Texts, TimeUnit};

/// Some rows of a batch.
pub(super) enum Kept {
    All(usize),
    Only(Vec<usize>),
}

impl Kept {
    fn try_each(&self, mut work: impl FnMut(usize) -> Result<(), Mismatch>) -> Converted {
        let mut work = |row| work(row).map_err(|mismatch| Problem::Cell((row, mismatch)));
        match self {
            Self::All(n) => (0..*n).try_for_each(&mut work),
            Self::Only(rows) => rows.iter().copied().try_for_each(&mut work),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Only(rows) => rows.len(),
        }
    }

    /// Appends what `convert` makes of each row.
    fn extend<T>(&self, to: &mut Vec<T>, convert: impl Fn(usize) -> Result<T, Mismatch>) -> Converted {
        to.reserve(self.len());
        self.try_each(|row| convert(row).map(|converted| to.push(converted)))
    }
}

/// Why a column is not what is wanted.
pub(super) enum Problem {
    /// None of its type is.
    Type,
    Cell(Misfit),
}

type Converted = Result<(), Problem>;

/// Appends keys that are whole numbers.
pub(super) fn ints(cells: &Cells, rows: &Kept, to: &mut Vec<u64>) -> Converted {
    let negative = |found: String| Mismatch::new(fields::INT_KEY, found);
    match cells {
        Cells::Unsigned(cells) => rows.extend(to, |row| Ok(cells.value(row))),
        Cells::Ints(cells) => rows.extend(to, |row| {
            let int = cells.value(row);
            u64::try_from(int).map_err(|_| negative(int.to_string()))
        }),
        Cells::Floats(cells, bits) => rows.extend(to, |row| {
            let int = whole(cells.value(row), *bits)?;
            u64::try_from(int).map_err(|_| negative(int.to_string()))
        }),
        Cells::Texts(cells) | Cells::Decimals(cells) => rows.extend(to, |row| fields::int(cells.value(row))),
        Cells::Flags(_) | Cells::Digits(_) | Cells::Times(..) => Err(Problem::Type),
    }
}

/// Appends keys that are texts.
pub(super) fn texts(cells: &Cells, rows: &Kept, to: &mut Texts) -> Converted {
    if let Cells::Flags(_) = cells {
        return Err(Problem::Type);
    }
    to.reserve(rows.len());
    each_text(cells, rows, |text| {
        to.push(text);
        Ok(())
    })
}

/// Appends values.
pub(super) fn values(cells: &Cells, rows: &Kept, reading: &Reading, to: &mut Vec<f32>) -> Converted {
    if reading.events.is_some() {
        to.reserve(rows.len());
        return each_text(cells, rows, |text| reading.value(text).map(|value| to.push(value)));
    }
    match cells {
        Cells::Unsigned(cells) => rows.extend(to, |row| Ok(cells.value(row) as f32)),
        Cells::Ints(cells) => rows.extend(to, |row| Ok(cells.value(row) as f32)),
        Cells::Floats(cells, _) => rows.extend(to, |row| {
            let value = cells.value(row) as f32;
            let error = || Mismatch::new("a finite number", cells.value(row).to_string());
            value.is_finite().then_some(value).ok_or_else(error)
        }),
        Cells::Flags(cells) => rows.extend(to, |row| Ok(f32::from(cells.value(row)))),
        Cells::Texts(cells) | Cells::Decimals(cells) => {
            rows.extend(to, |row| reading.value(cells.value(row)))
        }
        Cells::Digits(_) | Cells::Times(..) => Err(Problem::Type),
    }
}

/// Appends times.
pub(super) fn times(cells: &Cells, rows: &Kept, times: &Times, to: &mut Vec<i64>) -> Converted {
    let is_number =
        matches!(cells, Cells::Unsigned(_) | Cells::Ints(_) | Cells::Floats(..) | Cells::Decimals(_));
    if times.format.is_some() && is_number {
        to.reserve(rows.len());
        return each_text(cells, rows, |text| times.parse(text).map(|time| to.push(time)));
    }
    match cells {
        Cells::Unsigned(cells) => rows.extend(to, |row| {
            let count = cells.value(row);
            checked(count.try_into().ok(), || count.to_string())
        }),
        Cells::Ints(cells) => rows.extend(to, |row| {
            let count = cells.value(row);
            checked(Some(count), || count.to_string())
        }),
        Cells::Floats(cells, _) => rows.extend(to, |row| count(cells.value(row), times)),
        Cells::Texts(cells) | Cells::Decimals(cells) => rows.extend(to, |row| times.parse(cells.value(row))),
        Cells::Times(counts, unit, _) => {
            rows.extend(to, |row| at(counts.value(row), *unit, times, || cells.shown(row)))
        }
        Cells::Flags(_) | Cells::Digits(_) => Err(Problem::Type),
    }
}

/// Gives each cell as a text; a number must be whole.
fn each_text(cells: &Cells, rows: &Kept, mut work: impl FnMut(&str) -> Result<(), Mismatch>) -> Converted {
    let mut buffer = String::new();
    let mut written = |number: &dyn std::fmt::Display| {
        buffer.clear();
        write!(buffer, "{number}").expect("a string takes all");
        work(&buffer)
    };
    match cells {
        Cells::Unsigned(cells) => rows.try_each(|row| written(&cells.value(row))),
        Cells::Ints(cells) => rows.try_each(|row| written(&cells.value(row))),
        Cells::Floats(cells, bits) => rows.try_each(|row| written(&whole(cells.value(row), *bits)?)),
        Cells::Flags(cells) => rows.try_each(|row| written(&cells.value(row))),
        Cells::Decimals(cells) => rows.try_each(|row| work(whole_decimal(cells.value(row))?)),
        Cells::Texts(cells) | Cells::Digits(cells) => rows.try_each(|row| work(cells.value(row))),
        Cells::Times(..) => Err(Problem::Type),
    }
}

/// The whole number that a float is whose whole numbers have so many bits: beyond them it may stand for others, too.
fn whole(number: f64, bits: u32) -> Result<i64, Mismatch> {
    let found = || number.to_string();
    match number.fract() == 0.0 {
        true if number.abs() < 2f64.powi(bits as i32) => Ok(number as i64),
        true => Err(Mismatch::new(
            format!("a whole number below 2^{bits}, up to which such floats hold all"),
            found(),
        )),
        false => Err(Mismatch::new("a whole number", found())),
    }
}

/// A decimal number without decimals.
fn whole_decimal(text: &str) -> Result<&str, Mismatch> {
    match text.split_once('.') {
        None => Ok(text),
        Some((whole, decimals)) if decimals.bytes().all(|digit| digit == b'0') => Ok(whole),
        Some(_) => Err(Mismatch::new("a whole number", text.to_owned())),
    }
}

/// The count that a float is.
fn count(number: f64, times: &Times) -> Result<i64, Mismatch> {
    let found = || number.to_string();
    if number.fract() != 0.0 {
        return Err(Mismatch::new(times.expected(), found()));
    }
    checked((number < 2f64.powi(63)).then_some(number as i64), found)
}

/// The time of a count of another unit.
fn at(count: i64, unit: TimeUnit, times: &Times, found: impl Fn() -> String) -> Result<i64, Mismatch> {
    let (from, to) = (unit.per_second(), times.unit.per_second());
    let time = if from <= to {
        count.checked_mul(to / from)
    } else {
        let each = from / to;
        (count % each == 0).then_some(count / each)
    };
    match time {
        Some(time) if time >= 0 => Ok(time),
        _ => {
            let nanos = count.rem_euclid(from) * (TimeUnit::Nanoseconds.per_second() / from);
            times.at(Instant { seconds: count.div_euclid(from), nanos: nanos as u32 }, found)
        }
    }
}
