//! From the bytes of a field to a number or a text.
//!
//! The fast parsers take the usual forms only, and exactly; whatever they leave goes to the general ones,
//! which also say what is wrong.

use std::borrow::Cow;

use crate::data::column_map::{Layout, Role};
use crate::data::rows::Rows;
use crate::data::vocab_builder::Keys;
use crate::error::{Error, Location};

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
    pub(in crate::data) fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Mismatch> {
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
pub(in crate::data) struct Mismatch {
    expected: &'static str,
    found: String,
}

impl Mismatch {
    fn new(expected: &'static str, found: String) -> Self {
        Self { expected, found }
    }

    fn of(expected: &'static str, field: &[u8]) -> Self {
        let text = String::from_utf8_lossy(field);
        let short: String = text.chars().take(60).collect();
        let dots = if short.len() < text.len() { "…" } else { "" };
        Self::new(expected, format!("{short:?}{dots}"))
    }

    pub(in crate::data) fn at(self, place: Location) -> Error {
        Error::input(place, self.expected, self.found)
    }
}

/// Appends the fields of one row.
pub(super) fn push_row<'f>(
    layout: &Layout,
    encoding: Encoding,
    field: impl Fn(usize) -> &'f [u8],
    rows: &mut Rows,
) -> Result<(), (Role, Mismatch)> {
    for role in Role::ALL {
        let Some(index) = layout.index(role) else { continue };
        let field = field(index);
        match role {
            Role::User => push_key(field, encoding, &mut rows.users),
            Role::Item => push_key(field, encoding, &mut rows.items),
            Role::Value => value(field).map(|value| rows.values.push(value)),
            Role::Timestamp => timestamp(field).map(|time| rows.timestamps.push(time)),
        }
        .map_err(|mismatch| (role, mismatch))?;
    }
    Ok(())
}

fn push_key(field: &[u8], encoding: Encoding, keys: &mut Keys) -> Result<(), Mismatch> {
    match keys {
        Keys::Int(keys) => keys.push(int(field)?),
        Keys::Text(keys) => keys.push(&encoding.decode(field)?),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

/// A key that is a whole number.
pub(in crate::data) fn int(field: &[u8]) -> Result<u64, Mismatch> {
    number(field).ok_or_else(|| Mismatch::of("a whole number (or a column declared text)", field))
}

fn value(field: &[u8]) -> Result<f32, Mismatch> {
    let value: f32 = number(field).ok_or_else(|| Mismatch::of("a number", field))?;
    if value.is_finite() { Ok(value) } else { Err(Mismatch::of("a finite number", field)) }
}

fn timestamp(field: &[u8]) -> Result<i64, Mismatch> {
    let time: i64 = number(field).ok_or_else(|| Mismatch::of("a time, as a whole number", field))?;
    if time >= 0 { Ok(time) } else { Err(Mismatch::of("a time of 0 or later", field)) }
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

    proptest! {
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
