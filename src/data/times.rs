//! When something happened, from the ways in which files say it.

use std::borrow::Cow;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use super::fields::{Mismatch, whole_number};
use crate::error::{Error, Result};

/// What a time counts since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
    /// Billionths of a second.
    Nanoseconds,
}

const NANOS: i64 = 1_000_000_000;

impl TimeUnit {
    /// How many of them a second has.
    pub(super) fn per_second(self) -> i64 {
        match self {
            Self::Seconds => 1,
            Self::Milliseconds => 1_000,
            Self::Microseconds => 1_000_000,
            Self::Nanoseconds => NANOS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}

/// How the times of a column are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) unit: TimeUnit,
    /// The form of a text, in the letters of `strftime`; `None` for ISO 8601.
    pub(super) format: Option<String>,
}

/// A point of time: seconds, and nanoseconds behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

impl Times {
    /// Whether the form is one.
    pub(super) fn check(&self) -> Result<()> {
        match &self.format {
            Some(format) if StrftimeItems::new(format).any(|item| item == Item::Error) => {
                let expected = "a format of strftime, such as \"%Y-%m-%d %H:%M:%S\"";
                Err(Error::config("ColumnMap::datetime", expected, format!("{format:?}")))
            }
            _ => Ok(()),
        }
    }

    /// What a column of times holds.
    pub(super) fn expected(&self) -> Cow<'static, str> {
        match &self.format {
            Some(format) => format!("a time of the form {format:?}").into(),
            None => "a time, as a whole number or an ISO 8601 date".into(),
        }
    }

    /// The time that a text says: a whole number, or a date.
    pub(super) fn parse(&self, text: &str) -> Result<i64, Mismatch> {
        let text = text.trim();
        let found = || format!("{text:?}");
        if let Some(format) = &self.format {
            let instant =
                parse_format(text, format).ok_or_else(|| Mismatch::new(self.expected(), found()))?;
            return self.at(instant, found);
        }
        match whole_number(text) {
            Some(number) => checked(number.as_i64(), found),
            None => match parse_iso(text) {
                Some(instant) => self.at(instant, found),
                None => Err(Mismatch::new(self.expected(), found())),
            },
        }
    }

    /// A point of time in the unit; `found` says how it stands in the file.
    pub(super) fn at(&self, instant: Instant, found: impl Fn() -> String) -> Result<i64, Mismatch> {
        let Instant { seconds, nanos } = instant;
        let per_second = self.unit.per_second();
        let nanos_each = NANOS / per_second;
        let nanos = i64::from(nanos);
        if nanos % nanos_each != 0 {
            let expected = format!("a time in whole {} (or a finer ColumnMap::time_unit)", self.unit.name());
            return Err(Mismatch::new(expected, found()));
        }
        let whole = seconds.checked_mul(per_second).and_then(|time| time.checked_add(nanos / nanos_each));
        checked(whole, found)
    }
}

/// A count that is one.
pub(super) fn checked(time: Option<i64>, found: impl Fn() -> String) -> Result<i64, Mismatch> {
    match time {
        Some(time) if time >= 0 => Ok(time),
        Some(_) => Err(Mismatch::new("a time of 0 or later", found())),
        None => Err(Mismatch::new("a time below 2^63", found())),
    }
}

/// The time that a text of this form says. What the form leaves out is 0: the time of the day, and the offset from
/// UTC.
fn parse_format(text: &str, format: &str) -> Option<Instant> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
    if let Some(seconds) = parsed.timestamp() {
        return Some(Instant { seconds, nanos: parsed.nanosecond().unwrap_or(0) });
    }
    let date = parsed.to_naive_date().ok()?;
    let no_time =
        parsed.hour_div_12().is_none() && parsed.hour_mod_12().is_none() && parsed.minute().is_none();
    let time = if no_time { NaiveTime::MIN } else { parsed.to_naive_time().ok()? };
    Some(instant(date.and_time(time), parsed.offset().unwrap_or(0)))
}

fn instant(local: NaiveDateTime, offset: i32) -> Instant {
    let utc = local.and_utc();
    // A leap second counts on into the next one.
    let nanos = i64::from(utc.timestamp_subsec_nanos());
    let seconds = utc.timestamp() - i64::from(offset) + nanos / NANOS;
    Instant { seconds, nanos: (nanos % NANOS) as u32 }
}

/// A date, or a date and a time with or without a zone, in the extended form of ISO 8601; UTC where no zone stands. Between
/// date and time may be a blank (RFC 3339), and before the zone.
fn parse_iso(text: &str) -> Option<Instant> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let date = NaiveDate::from_ymd_opt(year as i32, month, day)?;
    if rest.is_empty() {
        return Some(instant(date.and_time(NaiveTime::MIN), 0));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let at_zone = rest.find(['Z', 'z', '+', '-', ' ', 'U']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(at_zone);
    let (time, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    let [hour, minute, second] = match time.len() {
        5 => numbers(time, b':', [2, 2]).map(|[hour, minute]| [hour, minute, 0])?,
        _ => numbers(time, b':', [2, 2, 2])?,
    };
    // 23:59:60 is a leap second.
    let leap = u32::from(second == 60);
    let time =
        NaiveTime::from_hms_nano_opt(hour, minute, second - leap, nanos(fraction)? + leap * NANOS as u32)?;
    Some(instant(date.and_time(time), offset(zone.trim_start())?))
}

/// Numbers of so many digits each, with a separator between them.
fn numbers<const N: usize>(text: &str, separator: u8, lengths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(char::from(separator));
    let mut found = [0; N];
    for (number, length) in found.iter_mut().zip(lengths) {
        *number = digits(parts.next()?, length)?;
    }
    parts.next().is_none().then_some(found)
}

fn digits(text: &str, length: usize) -> Option<u32> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The nanoseconds of a fraction of a second; `None` for a finer one.
fn nanos(fraction: &str) -> Option<u32> {
    let kept = fraction.trim_end_matches('0');
    if fraction.is_empty() || kept.len() > 9 || !kept.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{kept:0<9}").parse().ok()
}

/// The seconds that a zone is ahead of UTC: nothing, `Z`, `UTC`, `+01`, `+0100` or `+01:00`.
fn offset(zone: &str) -> Option<i32> {
    let ahead = match zone {
        "" | "Z" | "z" | "UTC" => return Some(0),
        _ => {
            if zone.starts_with('+') {
                1
            } else if zone.starts_with('-') {
                -1
            } else {
                return None;
            }
        }
    };
    let clock = &zone[1..];
    let [hours, minutes] = match clock.len() {
        2 => [digits(clock, 2)?, 0],
        4 => [digits(clock.get(..2)?, 2)?, digits(clock.get(2..)?, 2)?],
        _ => numbers(clock, b':', [2, 2])?,
    };
    (hours < 24 && minutes < 60).then_some(ahead * (hours * 3600 + minutes * 60) as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(times: &Times, text: &str) -> Result<i64, String> {
        times.parse(text).map_err(|mismatch| mismatch.to_string())
    }

    fn seconds(text: &str) -> Result<i64, String> {
        read(&Times::default(), text)
    }

    #[test]
    fn whole_numbers_in_any_form_are_counts() {
        for text in
            ["1704283200", "1704283200.0", " 1704283200.00 ", "1.7042832e9", "1.7042832E+09", "+1704283200"]
        {
            assert_eq!(seconds(text), Ok(1_704_283_200), "{text}");
        }
        assert_eq!(seconds("-0.0"), Ok(0));
        assert_eq!(seconds("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(
            seconds("9223372036854775808").unwrap_err(),
            "expected a time below 2^63, found \"9223372036854775808\""
        );
        assert_eq!(seconds("-1").unwrap_err(), "expected a time of 0 or later, found \"-1\"");
        for text in ["1704283200.5", "", "nan", "inf", "1e40", "today", "12:30"] {
            let expected = Times::default().expected();
            assert_eq!(seconds(text).unwrap_err(), format!("expected {expected}, found {text:?}"));
        }
    }

    #[test]
    fn dates_of_iso_8601() {
        for text in [
            "2024-01-03T12:00:00Z",
            "2024-01-03t12:00:00z",
            "2024-01-03 12:00:00",
            "2024-01-03 12:00",
            "2024-01-03T12:00:00.000000",
            "2024-01-03T12:00:00.0000000000000Z",
            "2024-01-03T14:30:00+02:30",
            "2024-01-03T14:30:00+0230",
            "2024-01-03T04:00:00-08",
            "2024-01-03 12:00:00 UTC",
            "2024-01-03 12:00:00 +00:00",
        ] {
            assert_eq!(seconds(text), Ok(1_704_283_200), "{text}");
        }
        assert_eq!(seconds("2024-01-03"), Ok(1_704_240_000));
        assert_eq!(seconds("2016-12-31T23:59:60Z"), Ok(1_483_228_800));
        assert_eq!(seconds("1970-01-01"), Ok(0));
        for text in [
            "2024-02-30",
            "2023-02-29",
            "2024-13-01",
            "2024-1-3",
            "20240103T120000",
            "2024-01-03T",
            "2024-01-03T24:00:00",
            "2024-01-03T12:00:61",
            "2024-01-03T12:00:00.",
            "2024-01-03T12:00:00+24:00",
            "2024-01-03T12:00:00 CET",
            "2024-01-03T12:00:00Zz",
            "2024-01-03x12:00:00",
            "2024-01-0é",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(seconds("1969-12-31").unwrap_err().starts_with("expected a time of 0 or later"));
    }

    #[test]
    fn no_part_of_a_time_is_lost() {
        let millis = Times { unit: TimeUnit::Milliseconds, format: None };
        assert_eq!(read(&millis, "2024-01-03T12:00:00.25Z"), Ok(1_704_283_200_250));
        assert_eq!(read(&millis, "1704283200250"), Ok(1_704_283_200_250));
        assert_eq!(
            seconds("2024-01-03T12:00:00.25Z").unwrap_err(),
            "expected a time in whole seconds (or a finer ColumnMap::time_unit), found \"2024-01-03T12:00:00.25Z\""
        );
        let nanos = Times { unit: TimeUnit::Nanoseconds, format: None };
        assert_eq!(read(&nanos, "2024-01-03T12:00:00.000000001Z"), Ok(1_704_283_200_000_000_001));
        assert!(read(&nanos, "2024-01-03T12:00:00.0000000001Z").is_err());
        assert!(read(&nanos, "9999-12-31").unwrap_err().starts_with("expected a time below 2^63"));
    }

    #[test]
    fn a_form_of_its_own() {
        let of = |format: &str| Times { unit: TimeUnit::Seconds, format: Some(format.into()) };
        assert_eq!(read(&of("%m %d, %Y"), "01 3, 2024"), Ok(1_704_240_000));
        assert_eq!(read(&of("%d/%m/%Y %H:%M"), "03/01/2024 12:00"), Ok(1_704_283_200));
        assert_eq!(read(&of("%Y%m%d"), "20240103"), Ok(1_704_240_000));
        assert_eq!(read(&of("%d/%b/%Y:%H:%M:%S %z"), "03/Jan/2024:14:30:00 +0230"), Ok(1_704_283_200));
        assert_eq!(read(&of("%I:%M %p %d.%m.%y"), "12:00 PM 03.01.24"), Ok(1_704_283_200));
        assert_eq!(read(&of("%s"), "1704283200"), Ok(1_704_283_200));
        assert_eq!(
            read(&of("%Y%m%d"), "2024-01-03").unwrap_err(),
            "expected a time of the form \"%Y%m%d\", found \"2024-01-03\""
        );
        assert!(read(&of("%H:%M"), "12:00").is_err(), "a time without a date");
        let error = of("%Y-%Q").check().unwrap_err().to_string();
        assert!(error.starts_with("ColumnMap::datetime: expected a format of strftime"), "{error}");
        assert!(of("%Y-%m-%d").check().is_ok());
    }

    proptest! {
        #[test]
        fn what_chrono_writes_is_read(seconds in 0i64..253_402_300_800, offset in -86_399i32..86_400) {
            let offset = offset / 60 * 60;
            let zone = chrono::FixedOffset::east_opt(offset).unwrap();
            let utc = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
            if let Some(local) = utc.naive_utc().checked_add_offset(zone).filter(|local| local.format("%Y").to_string().len() == 4) {
                let sign = if offset < 0 { '-' } else { '+' };
                let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
                let text = format!("{}{sign}{hours:02}:{minutes:02}", local.format("%Y-%m-%dT%H:%M:%S"));
                prop_assert_eq!(self::seconds(&text), Ok(seconds));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", mixed in "[0-9TZ:+. -]{0,40}") {
            for text in [text, mixed] {
                let _ = seconds(&text);
                let _ = parse_iso(&text);
            }
        }
    }
}
