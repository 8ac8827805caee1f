use std::fs;
use std::path::Path;

use npyz::{DType, NpyFile, Order, TypeChar};

use super::ItemVectors;
use crate::data::decode;
use crate::error::{Error, Location, Result};

const FORMAT: &str = ".npy";

/// The header of a plain matrix opens a dictionary and a tuple.
const MAX_BRACKETS: usize = 8;

/// NumPy, too, reads no longer header unless told so.
const MAX_HEADER: u32 = 10_000;

impl ItemVectors {
    /// Reads a matrix that NumPy saved: 2 axes, `float32` or `float64` of either byte order, in C or
    /// Fortran order. Row `i` is the vector of item `i`.
    ///
    /// # Errors
    /// A file that cannot be opened or is damaged, an array of another type or another number of axes, a number
    /// that is not finite as `f32`; each names the file, and the row and column where there is one.
    pub fn read_npy(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let place = Location::file(path);
        check_header(&bytes, &place)?;
        let array = decode(FORMAT, &place, || NpyFile::new(bytes.as_slice()))?;
        let &[n_items, dim] = array.shape() else {
            let found = format!("the shape {:?}", array.shape());
            return Err(Error::input(place, "a matrix: an array of two axes", found));
        };
        let dtype = array.dtype();
        let Some(width) = float_width(&dtype) else {
            return Err(Error::input(place, "numbers of the type float32 or float64", dtype.descr()));
        };
        let (order, data) = (array.order(), array.into_inner());
        let expected = n_items.checked_mul(dim).and_then(|n| n.checked_mul(width as u64));
        if expected != Some(data.len() as u64) {
            let (expected, found) = (format!("{n_items} × {dim} numbers of {width} bytes"), data.len());
            return Err(Error::input(place, expected, format!("{found} bytes")));
        }
        let array = decode(FORMAT, &place, || NpyFile::new(bytes.as_slice()))?;
        let values = decode(FORMAT, &place, || match width {
            4 => array.into_vec::<f32>(),
            _ => Ok(array.into_vec::<f64>()?.into_iter().map(|value| value as f32).collect()),
        })?;
        let (n_items, dim) = (n_items as usize, dim as usize);
        let values = match order {
            Order::C => values,
            Order::Fortran if values.is_empty() => values,
            Order::Fortran => transpose(&values, n_items),
        };
        Self::from_source(dim, values, place)
    }
}

/// Refuses a header that is longer than the file or nested as no matrix's is, in time: the parser's own time
/// and depth grow with both.
fn check_header(bytes: &[u8], place: &Location) -> Result<()> {
    let length = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, ..] => u32::from(u16::from_le_bytes([*a, *b])),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    };
    let header = &bytes[..bytes.len().min(length as usize + 12)];
    let brackets = header.iter().filter(|byte| b"([{".contains(byte)).count();
    if length <= MAX_HEADER && (length as usize) < bytes.len() && brackets <= MAX_BRACKETS {
        return Ok(());
    }
    let found = format!("a header of {length} bytes with {brackets} opening brackets");
    Err(Error::input(place.clone(), format!("a complete {FORMAT} file of one matrix"), found))
}

/// The bytes of a floating-point number of this type that is read here.
fn float_width(dtype: &DType) -> Option<usize> {
    match dtype {
        DType::Plain(plain) if plain.type_char() == TypeChar::Float => {
            plain.num_bytes().filter(|width| [4, 8].contains(width))
        }
        _ => None,
    }
}

/// The rows of a matrix of `n_rows` rows whose columns stand one behind another.
fn transpose(columns: &[f32], n_rows: usize) -> Vec<f32> {
    (0..n_rows).flat_map(|row| columns.iter().skip(row).step_by(n_rows)).copied().collect()
}
