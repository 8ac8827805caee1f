//! Serde of long arrays of numbers: in binary formats their bytes, little-endian, which are read many times as fast as
//! numbers one by one; in formats for people, a list.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::ids::ItemId;

/// A number of four bytes.
pub(crate) trait Word: Copy {
    /// The bytes, the lowest first.
    fn to_le_bytes(self) -> [u8; 4];

    /// The number of these bytes.
    fn from_le_bytes(bytes: [u8; 4]) -> Self;
}

impl Word for f32 {
    fn to_le_bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn from_le_bytes(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl Word for ItemId {
    fn to_le_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    fn from_le_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes))
    }
}

/// For `#[serde(with = "packed")]`.
pub(crate) fn serialize<T: Word + Serialize, S: Serializer>(
    words: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return words.serialize(serializer);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    serializer.serialize_bytes(&bytes)
}

/// For `#[serde(with = "packed")]`.
pub(crate) fn deserialize<'de, T: Word + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    if deserializer.is_human_readable() {
        return Vec::deserialize(deserializer);
    }
    deserializer.deserialize_byte_buf(Packed(PhantomData))
}

struct Packed<T>(PhantomData<T>);

impl<'de, T: Word + Deserialize<'de>> Visitor<'de> for Packed<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of numbers of four bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        let (words, rest) = bytes.as_chunks::<4>();
        if rest.is_empty() {
            Ok(words.iter().map(|&word| T::from_le_bytes(word)).collect())
        } else {
            Err(E::invalid_length(bytes.len(), &self))
        }
    }

    /// What some format writes as a list all the same.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        std::iter::from_fn(|| list.next_element().transpose()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Arrays {
        #[serde(with = "super")]
        items: Vec<ItemId>,
        #[serde(with = "super")]
        weights: Vec<f32>,
    }

    fn cbor(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_in_cbor_and_a_list_in_json() {
        let weights = vec![0.1, -0.0, f32::MIN_POSITIVE, f32::MAX, 1e-42];
        let arrays = Arrays { items: vec![ItemId(1), ItemId(u32::MAX)], weights };
        let json = serde_json::to_string(&arrays).unwrap();
        assert!(json.starts_with(r#"{"items":[1,4294967295],"weights":[0.1,-0.0,"#), "{json}");
        let bytes = cbor(&arrays);
        let packed = [1u8, 0, 0, 0, 255, 255, 255, 255];
        assert!(bytes.windows(8).any(|window| window == packed), "{bytes:?}");
        let read: [Arrays; 2] =
            [serde_json::from_str(&json).unwrap(), ciborium::from_reader(&bytes[..]).unwrap()];
        let bits = |arrays: &Arrays| arrays.weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        for read in read {
            assert_eq!((&read.items, bits(&read)), (&arrays.items, bits(&arrays)));
        }
        let empty = Arrays { items: Vec::new(), weights: Vec::new() };
        assert_eq!(ciborium::from_reader::<Arrays, _>(&cbor(&empty)[..]).unwrap(), empty);
    }

    #[test]
    fn a_broken_number_is_an_error() {
        let mut bytes = cbor(&Arrays { items: vec![ItemId(7)], weights: Vec::new() });
        // The array of four bytes says that it has three.
        let at = bytes.iter().position(|&byte| byte == 0x44).unwrap();
        bytes[at] = 0x43;
        bytes.remove(at + 4);
        let error = ciborium::from_reader::<Arrays, _>(&bytes[..]).unwrap_err().to_string();
        assert!(error.contains("the bytes of numbers of four bytes"), "{error}");
    }
}
