//! From the bytes of a field to a key, a number or a time: the same for every format that is text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::Key;
use super::column_map::{Layout, Role};
use super::rows::Rows;
use super::times::Times;
use crate::error::{Error, Location, Result};

/// How bytes stand for characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    Utf8,
    /// ISO-8859-1: each byte is the character of that number.
    Latin1,
}

impl Encoding {
    pub(super) fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Mismatch> {
        match self {
            Self::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(text.into()),
                Err(_) => Err(Mismatch::new("UTF-8 text", format!("\"{}\"", bytes.escape_ascii()))),
            },
            Self::Latin1 => Ok(encoding_rs::mem::decode_latin1(bytes)),
        }
    }
}

/// A field that is not what its column demands.
#[derive(Debug)]
pub(crate) struct Mismatch {
    expected: Cow<'static, str>,
    found: String,
}

impl Mismatch {
    pub(crate) fn new(expected: impl Into<Cow<'static, str>>, found: String) -> Self {
        Self { expected: expected.into(), found }
    }

    fn of(expected: &'static str, text: &str) -> Self {
        Self::new(expected, format!("{text:?}"))
    }

    pub(crate) fn at(self, place: Location) -> Error {
        Error::input(place, self.expected, self.found)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// How the fields of a row are read, whatever the format of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) text_users: bool,
    pub(super) text_items: bool,
    pub(super) times: Times,
    /// The value that each type of event stands for; `None` where values are numbers.
    pub(super) events: Option<Vec<(String, f32)>>,
    /// What stands for a missing value beside an empty field.
    pub(super) missing_words: Vec<String>,
    /// Whether a row with a missing value is left out; otherwise it is an error.
    pub(super) skip_missing: bool,
}

impl Reading {
    /// Whether a field says that it has no value.
    pub(super) fn is_missing(&self, text: &str) -> bool {
        if self.missing_words.is_empty() && text.as_bytes().first().is_some_and(u8::is_ascii_graphic) {
            return false;
        }
        let text = text.trim();
        text.is_empty() || self.missing_words.iter().any(|word| word == text)
    }

    /// Whether digits are numbers, and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.events.is_none() && self.times.format.is_none() && self.missing_words.is_empty()
    }

    /// What a column of this role must hold.
    pub(super) fn expected(&self, role: Role) -> Cow<'static, str> {
        match role {
            Role::User if self.text_users => "a key".into(),
            Role::Item if self.text_items => "a key".into(),
            Role::User | Role::Item => INT_KEY.into(),
            Role::Value if self.events.is_some() => "the type of an event".into(),
            Role::Value => "a number".into(),
            Role::Timestamp => self.times.expected(),
        }
    }

    /// The key of a user.
    pub(super) fn user<'t>(&self, text: &'t str) -> Result<Key<'t>, Mismatch> {
        self.key(self.text_users, text)
    }

    /// The key of an item.
    pub(super) fn item<'t>(&self, text: &'t str) -> Result<Key<'t>, Mismatch> {
        self.key(self.text_items, text)
    }

    fn key<'t>(&self, is_text: bool, text: &'t str) -> Result<Key<'t>, Mismatch> {
        match is_text {
            true if self.is_missing(text) => Err(Mismatch::of("a key", text)),
            true => Ok(Key::Text(text)),
            false => int(text).map(Key::Int),
        }
    }

    /// The value that a text says: a number, a truth value, or the type of an event.
    pub(super) fn value(&self, text: &str) -> Result<f32, Mismatch> {
        if let Some(events) = &self.events {
            let event = events.iter().find(|(event, _)| event == text.trim());
            return event.map(|(_, value)| *value).ok_or_else(|| {
                let known: Vec<&str> = events.iter().map(|(event, _)| event.as_str()).collect();
                Mismatch::new(
                    format!("an event of ColumnMap::events: {}", known.join(", ")),
                    format!("{text:?}"),
                )
            });
        }
        match usual_number(text).or_else(|| number(text)) {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => Err(Mismatch::of("a finite number", text)),
            None => Err(Mismatch::of("a number", text)),
        }
    }
}

/// Appends one row, whose fields `field` gives as texts: nothing where there is no value.
pub(super) fn push_row<'t>(
    layout: &Layout,
    field: impl Fn(Role, usize) -> Result<Option<Cow<'t, str>>, Mismatch>,
    rows: &mut Rows,
) -> Result<(), (Role, Mismatch)> {
    let reading = &layout.reading;
    let mut texts: [Option<Cow<'t, str>>; Role::COUNT] = [const { None }; Role::COUNT];
    for role in Role::ALL {
        let Some(index) = layout.index(role) else { continue };
        let text = field(role, index).map_err(|mismatch| (role, mismatch))?;
        if text.as_ref().is_none_or(|text| reading.is_missing(text)) {
            if reading.skip_missing {
                rows.n_skipped += 1;
                return Ok(());
            }
            let found = text.map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"));
            return Err((role, Mismatch::new(reading.expected(role), found)));
        }
        texts[role as usize] = text;
    }
    let text = |role: Role| texts[role as usize].as_deref();
    let of = |role: Role| move |mismatch: Mismatch| (role, mismatch);
    let user = reading.user(text(Role::User).unwrap_or_default()).map_err(of(Role::User))?;
    let item = reading.item(text(Role::Item).unwrap_or_default()).map_err(of(Role::Item))?;
    let value = text(Role::Value).map(|text| reading.value(text)).transpose().map_err(of(Role::Value))?;
    let time = text(Role::Timestamp).map(|text| reading.times.parse(text)).transpose();
    let time = time.map_err(of(Role::Timestamp))?;
    rows.users.push(user);
    rows.items.push(item);
    rows.values.extend(value);
    rows.timestamps.extend(time);
    Ok(())
}

/// A key that is a whole number.
pub(super) fn int(text: &str) -> Result<u64, Mismatch> {
    natural_number(text).ok_or_else(|| Mismatch::of(INT_KEY, text))
}

pub(super) const INT_KEY: &str = "a whole number (or a column declared text)";

/// A whole number below 2^64, and its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    is_negative: bool,
    magnitude: u64,
}

impl Whole {
    pub(super) fn as_i64(self) -> Option<i64> {
        let number = if self.is_negative { -i128::from(self.magnitude) } else { self.magnitude.into() };
        number.try_into().ok()
    }
}

/// The whole number of 0 or more that a text says in any form, as [`whole_number`].
pub(crate) fn natural_number(text: &str) -> Option<u64> {
    let number = whole_number(text).filter(|number| number.magnitude == 0 || !number.is_negative);
    number.map(|number| number.magnitude)
}

/// The whole number that a text says in any form: `7`, `7.0`, `7e3`, `1.5E+1`.
pub(super) fn whole_number(text: &str) -> Option<Whole> {
    if let Some((magnitude, end)) = fast_int(text.as_bytes(), 0)
        && end == text.len()
    {
        return Some(Whole { is_negative: false, magnitude });
    }
    let text = text.trim();
    let is_negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let magnitude = match digits.parse() {
        // `parse` takes a sign of its own.
        Ok(magnitude) if digits.as_bytes()[0].is_ascii_digit() => magnitude,
        _ => whole_decimal(digits)?,
    };
    Some(Whole { is_negative, magnitude })
}

fn whole_decimal(text: &str) -> Option<u64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) {
        return None;
    }
    let decimals = decimals.trim_end_matches('0');
    if exponent == "0" && !decimals.is_empty() {
        return None;
    }
    let digits =
        if decimals.is_empty() { Cow::Borrowed(whole) } else { Cow::Owned(format!("{whole}{decimals}")) };
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(decimals.len()).ok()?)?;
    let number: u64 = digits.parse().ok()?;
    match u32::try_from(exponent) {
        Ok(_) if number == 0 => Some(0),
        Ok(exponent) => number.checked_mul(10u64.checked_pow(exponent)?),
        Err(_) => {
            let divisor = 10u64.checked_pow(exponent.unsigned_abs())?;
            number.is_multiple_of(divisor).then(|| number / divisor)
        }
    }
}

/// A number of the usual form, to the nearest `f32`.
fn usual_number(text: &str) -> Option<f32> {
    fast_decimal(text.as_bytes(), 0).filter(|&(_, end)| end == text.len()).map(|(number, _)| number)
}

/// The number that a text says; a truth value is 1 or 0.
pub(crate) fn number<T: FromStr + From<bool>>(text: &str) -> Option<T> {
    let text = text.trim();
    text.parse().ok().or(match text {
        "True" | "true" | "TRUE" => Some(true.into()),
        "False" | "false" | "FALSE" => Some(false.into()),
        _ => None,
    })
}

/// The digits from `at` on, at most 18 of them, as a number, and where they end.
#[inline(always)]
pub(super) fn fast_int(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let (number, end) = digits(text, at, 0);
    (end > at && end - at <= 18).then_some((number, end))
}

/// The decimal number from `at` on and where it ends, if it has the form `digits` or `digits.digits` with
/// a mantissa below 2^24 and at most 10 decimals: then mantissa and power of ten are exact in `f32`, and
/// their quotient is the nearest `f32`.
#[inline(always)]
pub(super) fn fast_decimal(text: &[u8], at: usize) -> Option<(f32, usize)> {
    const POWERS: [f32; 11] = [1., 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
    let (whole, end) = digits(text, at, 0);
    if end == at || end - at > 8 {
        return None;
    }
    let (mantissa, n_decimals, end) = if text.get(end) == Some(&b'.') {
        let (mantissa, last) = digits(text, end + 1, whole);
        (mantissa, last - end - 1, last)
    } else {
        (whole, 0, end)
    };
    let exact = n_decimals <= 10 && mantissa < 1 << 24;
    exact.then(|| (mantissa as f32 / POWERS[n_decimals], end))
}

/// Appends the digits from `at` on to `number`, and says where they end; more than 19 digits wrap around.
#[inline(always)]
fn digits(text: &[u8], at: usize, mut number: u64) -> (u64, usize) {
    let mut end = at;
    while let Some(digit) = text.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (number, end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_numbers_take_the_fast_path() {
        assert_eq!(fast_int(b"042,", 0), Some((42, 3)));
        assert_eq!(fast_int(b"x999999999999999999", 1), Some((999_999_999_999_999_999, 19)));
        assert_eq!(fast_decimal(b"4.5\n", 0), Some((4.5, 3)));
        assert_eq!(fast_decimal(b"3", 0), Some((3.0, 1)));
        assert_eq!(fast_decimal(b"5.", 0), Some((5.0, 2)));
    }

    #[test]
    fn unusual_numbers_do_not() {
        for text in [&b""[..], b"-1", b"+1", b" 1", b"\"1\"", b".5", b"9999999999999999999"] {
            assert_eq!((fast_int(text, 0), fast_decimal(text, 0)), (None, None), "{text:?}");
        }
        assert_eq!(fast_decimal(b"16777216", 0), None);
        assert_eq!(fast_decimal(b"1.00000000000", 0), None);
    }

    #[test]
    fn whole_numbers_may_be_written_as_others() {
        let read = |text| whole_number(text).and_then(Whole::as_i64);
        for (text, number) in [
            ("7", 7),
            (" 7.000 ", 7),
            ("+7.", 7),
            ("-7.0", -7),
            ("7e0", 7),
            ("7E+3", 7_000),
            ("1.25e2", 125),
            ("1200e-2", 12),
            ("0e99", 0),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("007", 7),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        assert_eq!(whole_number("18446744073709551615").map(|number| number.magnitude), Some(u64::MAX));
        for text in [
            "",
            "+",
            "-",
            "++7",
            "7.5",
            ".0",
            "1.25e1",
            "1e20",
            "0.1e-99",
            "7e",
            "7e1.0",
            "1_000",
            "0x7",
            "e3",
            "inf",
            "7e99999999999",
        ] {
            assert_eq!(whole_number(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_those_that_floats_say(text in r"[0-9]{1,6}(\.[0-9]{0,6})?(e[-+]?[0-9])?") {
            let float: f64 = text.parse().unwrap();
            // Each is a fraction of 10^15 or fewer digits: only the whole ones round to whole numbers.
            let whole = (float.fract() == 0.0).then_some(float as i64);
            prop_assert_eq!(whole_number(&text).and_then(Whole::as_i64), whole);
        }

        #[test]
        fn the_fast_path_gives_what_the_general_one_gives(text in r"[0-9]{0,9}(\.[0-9]{0,21})?") {
            if let Some((fast, end)) = fast_decimal(text.as_bytes(), 0) {
                prop_assert_eq!(fast.to_bits(), text[..end].parse::<f32>().unwrap().to_bits());
                prop_assert_eq!(end, text.len());
            }
            if let Some((fast, end)) = fast_int(text.as_bytes(), 0) {
                prop_assert_eq!(fast, text[..end].parse::<u64>().unwrap());
            }
        }
    }
}
