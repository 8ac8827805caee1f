//! What the cells of a column are, in one of a few forms.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, GenericByteArray, Int64Array, LargeStringArray,
    LargeStringBuilder, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, ByteArrayType, DataType, Field, TimeUnit as ArrowUnit};
use arrow::util::display::array_value_to_string;

use crate::data::TimeUnit;
use crate::data::fields::{Encoding, Mismatch, Reading};
use crate::error::{Location, Result};

/// The metadata by which Arrow says that values of 16 bytes are UUIDs.
const EXTENSION: (&str, &str) = ("ARROW:extension:name", "arrow.uuid");

/// A cell that is not what its column demands.
pub(super) type Misfit = (usize, Mismatch);

/// The same field, whose values are UUIDs.
pub(super) fn uuid_field(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(EXTENSION.0.to_owned(), EXTENSION.1.to_owned());
    field.clone().with_metadata(metadata)
}

/// Whether the values of a column, or of its lists, are UUIDs.
pub(crate) fn is_uuid(field: &Field) -> bool {
    let says_so = |field: &Field| field.metadata().get(EXTENSION.0).is_some_and(|name| name == EXTENSION.1);
    says_so(field) || super::lists::elements(field.data_type()).is_some_and(says_so)
}

/// A column without its dictionary, and with texts for bytes: UTF-8 as it stands, values of a fixed size in
/// hexadecimal digits, which those of a UUID have in groups. `place` is that of each row.
pub(crate) fn plain(column: &ArrayRef, is_uuid: bool, place: impl Fn(usize) -> Location) -> Result<ArrayRef> {
    unpack(column, is_uuid).map_err(|(row, mismatch)| mismatch.at(place(row)))
}

fn unpack(column: &ArrayRef, is_uuid: bool) -> Result<ArrayRef, Misfit> {
    match column.data_type() {
        DataType::Dictionary(_, values) => match cast(column, values) {
            Ok(column) => unpack(&column, is_uuid),
            Err(_) => Ok(column.clone()),
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => utf8(column),
        &DataType::FixedSizeBinary(width) => Ok(hexadecimal(column, is_uuid && width == 16)),
        _ => Ok(column.clone()),
    }
}

fn utf8(column: &ArrayRef) -> Result<ArrayRef, Misfit> {
    let column = cast(column, &DataType::LargeBinary).expect("bytes are bytes");
    let column = column.as_binary::<i64>();
    let mut texts = LargeStringBuilder::with_capacity(column.len(), column.value_data().len());
    for (row, bytes) in column.iter().enumerate() {
        match bytes.map(|bytes| Encoding::Utf8.decode(bytes)).transpose() {
            Ok(text) => texts.append_option(text),
            Err(mismatch) => return Err((row, mismatch)),
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn hexadecimal(column: &ArrayRef, is_uuid: bool) -> ArrayRef {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let text = |bytes: &[u8]| {
        let mut text = String::with_capacity(2 * bytes.len() + 4);
        for (at, byte) in bytes.iter().enumerate() {
            if is_uuid && matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
        text
    };
    let texts = column.as_fixed_size_binary().iter().map(|bytes| bytes.map(text));
    Arc::new(LargeStringArray::from_iter(texts))
}

/// The length of the longest text of a column, in bytes; 0 for one of no texts.
pub(super) fn longest(column: &ArrayRef) -> usize {
    fn of<T: ByteArrayType>(column: &GenericByteArray<T>) -> usize {
        let lengths = column.value_offsets().windows(2).map(|bounds| (bounds[1] - bounds[0]).as_usize());
        lengths.max().unwrap_or(0)
    }
    match column.data_type() {
        DataType::Utf8 => of(column.as_string::<i32>()),
        DataType::LargeUtf8 => of(column.as_string::<i64>()),
        DataType::Utf8View => column.as_string_view().lengths().max().unwrap_or(0) as usize,
        DataType::Binary => of(column.as_binary::<i32>()),
        DataType::LargeBinary => of(column.as_binary::<i64>()),
        DataType::BinaryView => column.as_binary_view().lengths().max().unwrap_or(0) as usize,
        DataType::FixedSizeBinary(width) => *width as usize * 2,
        DataType::Dictionary(..) => longest(column.as_any_dictionary().values()),
        _ => 0,
    }
}

/// The cells of a column of values.
pub(super) enum Cells {
    Ints(Int64Array),
    Unsigned(UInt64Array),
    /// Floats, and the number of bits that their whole numbers have.
    Floats(Float64Array, u32),
    Flags(BooleanArray),
    /// Decimal numbers in full.
    Decimals(LargeStringArray),
    Texts(LargeStringArray),
    /// Bytes in hexadecimal digits.
    Digits(LargeStringArray),
    /// Counts of a unit, and the column as it stands.
    Times(Int64Array, TimeUnit, ArrayRef),
}

impl Cells {
    /// `None` for a column whose type has no place in interactions.
    pub(super) fn of(column: &ArrayRef, is_uuid: bool) -> Result<Option<Self>, Misfit> {
        let values = match column.data_type() {
            DataType::Dictionary(_, values) => values,
            plain => plain,
        };
        let is_opaque = matches!(values, DataType::FixedSizeBinary(_));
        let column = unpack(column, is_uuid)?;
        Ok(Self::of_plain(&column, is_opaque))
    }

    fn of_plain(column: &ArrayRef, is_opaque: bool) -> Option<Self> {
        let to = |target: DataType| cast(column, &target).ok();
        let floats = |bits| Some(Self::Floats(to(DataType::Float64)?.as_primitive().clone(), bits));
        let times = |stamps: &ArrayRef, unit: &ArrowUnit| {
            let counts = cast(stamps, &DataType::Int64).ok()?;
            Some(Self::Times(counts.as_primitive().clone(), unit_of(*unit), column.clone()))
        };
        match column.data_type() {
            DataType::UInt64 => Some(Self::Unsigned(column.as_primitive().clone())),
            whole if whole.is_integer() => Some(Self::Ints(to(DataType::Int64)?.as_primitive().clone())),
            DataType::Float16 => floats(11),
            DataType::Float32 => floats(24),
            DataType::Float64 => floats(53),
            DataType::Boolean => Some(Self::Flags(column.as_boolean().clone())),
            decimal if decimal.is_decimal() => {
                Some(Self::Decimals(to(DataType::LargeUtf8)?.as_string().clone()))
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                let texts = to(DataType::LargeUtf8)?.as_string().clone();
                Some(if is_opaque { Self::Digits(texts) } else { Self::Texts(texts) })
            }
            DataType::Date32 => times(&to(DataType::Timestamp(ArrowUnit::Second, None))?, &ArrowUnit::Second),
            DataType::Date64 => times(column, &ArrowUnit::Millisecond),
            DataType::Timestamp(unit, _) => times(column, unit),
            _ => None,
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Ints(cells) => cells,
            Self::Unsigned(cells) => cells,
            Self::Floats(cells, _) => cells,
            Self::Flags(cells) => cells,
            Self::Decimals(cells) | Self::Texts(cells) | Self::Digits(cells) => cells,
            Self::Times(cells, ..) => cells,
        }
    }

    /// Which rows have a value; `None` if all have.
    pub(super) fn present(&self, reading: &Reading) -> Option<NullBuffer> {
        let array = self.array();
        let words = &reading.missing_words;
        let is_missing: &dyn Fn(usize) -> bool = match self {
            Self::Texts(texts) => &|row| reading.is_missing(texts.value(row)),
            _ if words.is_empty() => return array.nulls().filter(|nulls| nulls.null_count() > 0).cloned(),
            Self::Ints(cells) => &|row| says(words, cells.value(row)),
            Self::Unsigned(cells) => &|row| says(words, cells.value(row)),
            Self::Floats(cells, _) => &|row| {
                let number = cells.value(row);
                says(words, number) || (number.is_nan() && says_nan(words))
            },
            Self::Decimals(cells) => &|row| words.iter().any(|word| word == cells.value(row)),
            Self::Flags(_) | Self::Digits(_) | Self::Times(..) => &|_| false,
        };
        let present = BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && !is_missing(row));
        Some(NullBuffer::new(present)).filter(|present| present.null_count() > 0)
    }

    /// A cell for messages.
    pub(super) fn shown(&self, row: usize) -> String {
        let array = self.array();
        match self {
            _ if array.is_null(row) => "null".to_owned(),
            Self::Texts(texts) => format!("{:?}", texts.value(row)),
            Self::Times(_, _, column) => shown(column, row),
            _ => shown(array, row),
        }
    }
}

/// A cell for messages.
pub(crate) fn shown(column: &dyn Array, row: usize) -> String {
    array_value_to_string(column, row).unwrap_or_else(|error| error.to_string())
}

/// Whether one of these words says this number.
fn says<T: std::str::FromStr + PartialEq>(words: &[String], number: T) -> bool {
    words.iter().any(|word| word.parse::<T>().is_ok_and(|word| word == number))
}

fn says_nan(words: &[String]) -> bool {
    words.iter().any(|word| word.parse::<f64>().is_ok_and(f64::is_nan))
}

fn unit_of(unit: ArrowUnit) -> TimeUnit {
    match unit {
        ArrowUnit::Second => TimeUnit::Seconds,
        ArrowUnit::Millisecond => TimeUnit::Milliseconds,
        ArrowUnit::Microsecond => TimeUnit::Microseconds,
        ArrowUnit::Nanosecond => TimeUnit::Nanoseconds,
    }
}
