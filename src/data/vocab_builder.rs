use std::collections::HashMap;

use super::texts::{DistinctTexts, Texts};
use super::{Key, Vocab};
use crate::error::{Error, Location, Result};

/// Gives dense ids to keys in order of first appearance.
#[derive(Debug)]
pub(super) enum VocabBuilder {
    Int {
        /// The id of each key below `DIRECT_KEYS`, or `NO_ID`; as long as the largest one seen demands.
        direct: Vec<u32>,
        /// The ids of all other keys.
        hashed: HashMap<u64, u32>,
        keys: Vec<u64>,
    },
    Text(DistinctTexts),
}

/// Keys below this are looked up in an array of at most 16 MiB.
const DIRECT_KEYS: u64 = 1 << 22;
const NO_ID: u32 = u32::MAX;

impl VocabBuilder {
    pub(super) fn ints() -> Self {
        Self::Int { direct: Vec::new(), hashed: HashMap::new(), keys: Vec::new() }
    }

    pub(super) fn texts() -> Self {
        Self::Text(DistinctTexts::default())
    }

    /// Appends the ids of `found` to `ids`.
    pub(super) fn encode<T: From<u32>>(&mut self, found: &Keys, ids: &mut Vec<T>) -> Result<()> {
        ids.reserve(found.len());
        match (self, found) {
            (Self::Int { direct, hashed, keys }, Keys::Int(found)) => {
                for &key in found {
                    let id = match direct.get(key as usize) {
                        Some(&id) if id != NO_ID && key < DIRECT_KEYS => id,
                        _ => int_id(key, direct, hashed, keys)?,
                    };
                    ids.push(T::from(id));
                }
            }
            (Self::Text(known), Keys::Text(found)) => {
                known.number_all(found, next_id, |id| ids.push(T::from(id)))?;
            }
            _ => unreachable!("the layout decides the type of the keys on both sides"),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vocab> {
        match self {
            Self::Int { keys, .. } => Vocab::from_ints(keys),
            Self::Text(known) => Ok(Vocab::from_distinct(known)),
        }
    }
}

#[cold]
fn int_id(
    key: u64,
    direct: &mut Vec<u32>,
    hashed: &mut HashMap<u64, u32>,
    keys: &mut Vec<u64>,
) -> Result<u32> {
    if let Some(&id) = hashed.get(&key) {
        return Ok(id);
    }
    let id = next_id(keys.len())?;
    keys.push(key);
    if key < DIRECT_KEYS {
        if key as usize >= direct.len() {
            direct.resize(key as usize + 1, NO_ID);
        }
        direct[key as usize] = id;
    } else {
        hashed.insert(key, id);
    }
    Ok(id)
}

fn next_id(len: usize) -> Result<u32> {
    match u32::try_from(len) {
        Ok(id) if id != NO_ID => Ok(id),
        _ => Err(Error::input(Location::memory(), "fewer than 2^32 distinct keys", (len + 1).to_string())),
    }
}

/// A column of keys as they stand in a table.
#[derive(Debug)]
pub(super) enum Keys {
    Int(Vec<u64>),
    Text(Texts),
}

impl Keys {
    pub(super) fn new(text: bool) -> Self {
        if text { Self::Text(Texts::default()) } else { Self::Int(Vec::new()) }
    }

    /// Appends a key of the column's type.
    pub(super) fn push(&mut self, key: Key<'_>) {
        match (self, key) {
            (Self::Int(keys), Key::Int(key)) => keys.push(key),
            (Self::Text(keys), Key::Text(key)) => keys.push(key),
            _ => unreachable!("the layout decides the type of the keys on both sides"),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Int(keys) => keys.len(),
            Self::Text(keys) => keys.len(),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Int(keys) => keys.clear(),
            Self::Text(keys) => keys.clear(),
        }
    }

    pub(super) fn reserve(&mut self, n: usize) {
        match self {
            Self::Int(keys) => keys.reserve(n),
            Self::Text(keys) => keys.reserve(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(builder: &mut VocabBuilder, keys: &Keys) -> Vec<u32> {
        let mut ids = Vec::new();
        builder.encode(keys, &mut ids).unwrap();
        ids
    }

    #[test]
    fn ids_follow_the_first_appearance() {
        let mut ints = VocabBuilder::ints();
        let large = DIRECT_KEYS + 7;
        assert_eq!(encode(&mut ints, &Keys::Int(vec![9, large, 9, 0])), [0, 1, 0, 2]);
        assert_eq!(encode(&mut ints, &Keys::Int(vec![u64::MAX, 0, large])), [3, 2, 1]);
        assert_eq!(ints.finish().unwrap(), Vocab::from_ints(vec![9, large, 0, u64::MAX]).unwrap());

        let mut column = Texts::default();
        for text in ["b", "", "ä", "b"] {
            column.push(text);
        }
        let mut texts = VocabBuilder::texts();
        assert_eq!(encode(&mut texts, &Keys::Text(column)), [0, 1, 2, 0]);
        let expected = ["b", "", "ä"].map(String::from).to_vec();
        assert_eq!(texts.finish().unwrap(), Vocab::from_texts(expected).unwrap());
    }
}
