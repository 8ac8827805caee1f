use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::ItemVectors;
use crate::data::decode;
use crate::error::{Error, Location, Result};

const FORMAT: &str = "safetensors";

impl ItemVectors {
    /// Reads a tensor of two axes of a safetensors file, by name or (`None`) the only one: `F32`, `F64`, `F16`
    /// or `BF16`. Row `i` is the vector of item `i`.
    ///
    /// # Errors
    /// A file that cannot be opened or is damaged, no such tensor, no name where there are several, a tensor of
    /// another type or another number of axes, a number that is not finite as `f32`; each names the file and the
    /// tensor, and the row and column where there is one.
    pub fn read_safetensors(path: impl AsRef<Path>, name: Option<&str>) -> Result<Self> {
        let path = path.as_ref();
        let place = Location::file(path);
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let file = decode(FORMAT, &place, || SafeTensors::deserialize(&bytes))?;
        let (name, tensor) = find(&file, name, &place)?;
        let &[_, dim] = tensor.shape() else {
            let found = format!("the shape {:?}", tensor.shape());
            return Err(Error::input(place.column(name), "a tensor of two axes", found));
        };
        let Some(values) = numbers(&tensor) else {
            let (expected, found) = ("numbers of the type F32, F64, F16 or BF16", tensor.dtype().to_string());
            return Err(Error::input(place.column(name), expected, found));
        };
        Self::from_source(dim, values, place)
    }
}

/// The tensor of this name, or the only one.
fn find<'a>(
    file: &SafeTensors<'a>,
    name: Option<&str>,
    place: &Location,
) -> Result<(String, TensorView<'a>)> {
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
    tensors.retain(|(other, _)| name.is_none_or(|name| name == other));
    match (tensors.len(), tensors.pop()) {
        (1, Some(tensor)) => Ok(tensor),
        _ => {
            let expected = match name {
                Some(name) => format!("a tensor named {name:?}"),
                None => "a single tensor, or the name of the one to read".to_owned(),
            };
            Err(Error::input(place.clone(), expected, format!("[{}]", names.join(", "))))
        }
    }
}

/// The numbers of a tensor of a floating-point type.
fn numbers(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    fn map<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
    }
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => Some(map(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(map(bytes, |bytes| f64::from_le_bytes(bytes) as f32)),
        Dtype::F16 => Some(map(bytes, |bytes| f16_to_f32(u16::from_le_bytes(bytes)))),
        Dtype::BF16 => Some(map(bytes, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))),
        _ => None,
    }
}

/// The number of an IEEE 754 half: 1 bit of sign, 5 of exponent, 10 of mantissa.
fn f16_to_f32(half: u16) -> f32 {
    let (exponent, mantissa) = (u32::from(half >> 10) & 0x1f, u32::from(half) & 0x3ff);
    let magnitude = match exponent {
        // Below the normal numbers, in steps of 2⁻²⁴.
        0 => mantissa as f32 / (1 << 24) as f32,
        0x1f => f32::from_bits(0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits((exponent + 127 - 15) << 23 | mantissa << 13),
    };
    if half >> 15 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_has_its_value() {
        for half in 0..=u16::MAX {
            let (sign, exponent) = (1.0 - 2.0 * f64::from(half >> 15), i32::from(half >> 10 & 0x1f));
            let mantissa = f64::from(half & 0x3ff) / 1024.0;
            let value = f64::from(f16_to_f32(half));
            match exponent {
                0 => assert_eq!(value, sign * 2f64.powi(-14) * mantissa),
                31 if mantissa == 0.0 => assert_eq!(value, sign * f64::INFINITY),
                31 => assert!(value.is_nan()),
                _ => assert_eq!(value, sign * 2f64.powi(exponent - 15) * (1.0 + mantissa)),
            }
        }
    }
}
