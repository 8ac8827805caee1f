use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Location, Result};

/// A key of the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// A number, as most public data sets have.
    Int(u64),
    /// Any text.
    Text(&'a str),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(key) => key.fmt(f),
            Self::Text(key) => key.fmt(f),
        }
    }
}

impl From<u64> for Key<'_> {
    fn from(key: u64) -> Self {
        Self::Int(key)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(key: &'a str) -> Self {
        Self::Text(key)
    }
}

/// External keys ↔ dense ids `0..len`, in order of insertion. All keys are numbers, or all are text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct Vocab {
    keys: Keys,
    ids: Ids,
}

/// The keys in the order of their ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Keys {
    Int(Vec<u64>),
    Text(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Ids {
    Int(HashMap<u64, u32>),
    Text(HashMap<String, u32>),
}

impl Vocab {
    /// The vocabulary of these distinct numbers; the first gets id 0.
    ///
    /// # Errors
    /// A key that comes twice.
    pub fn from_ints(keys: Vec<u64>) -> Result<Self> {
        Keys::Int(keys).try_into()
    }

    /// The vocabulary of these distinct texts; the first gets id 0.
    ///
    /// # Errors
    /// A key that comes twice.
    pub fn from_texts(keys: Vec<String>) -> Result<Self> {
        Keys::Text(keys).try_into()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        match &self.keys {
            Keys::Int(keys) => keys.len(),
            Keys::Text(keys) => keys.len(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a key. In a vocabulary of numbers a text is read as a number, and the reverse, so that
    /// a key from a command line is found either way.
    pub fn id<'k>(&self, key: impl Into<Key<'k>>) -> Option<u32> {
        match (&self.ids, key.into()) {
            (Ids::Int(ids), Key::Int(key)) => ids.get(&key),
            (Ids::Int(ids), Key::Text(key)) => ids.get(&key.trim().parse().ok()?),
            (Ids::Text(ids), Key::Text(key)) => ids.get(key),
            (Ids::Text(ids), Key::Int(key)) => ids.get(key.to_string().as_str()),
        }
        .copied()
    }

    /// The key of an id.
    pub fn key(&self, id: u32) -> Option<Key<'_>> {
        match &self.keys {
            Keys::Int(keys) => keys.get(id as usize).map(|&key| Key::Int(key)),
            Keys::Text(keys) => keys.get(id as usize).map(|key| Key::Text(key)),
        }
    }

    /// All keys in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = Key<'_>> {
        (0..self.len()).map(|id| match &self.keys {
            Keys::Int(keys) => Key::Int(keys[id]),
            Keys::Text(keys) => Key::Text(&keys[id]),
        })
    }

    /// The vocabulary of these ids' keys: the key of `ids[i]` gets id `i`.
    ///
    /// # Errors
    /// An id outside this vocabulary, or one that comes twice.
    pub fn select(&self, ids: &[u32]) -> Result<Self> {
        let bound = self.len() as u64;
        let check = |id: u32| {
            let error = ErrorKind::IdOutOfRange { what: "vocabulary", id: id.into(), bound };
            if u64::from(id) < bound { Ok(id as usize) } else { Err(Error::from(error)) }
        };
        match &self.keys {
            Keys::Int(keys) => {
                Keys::Int(ids.iter().map(|&id| Ok(keys[check(id)?])).collect::<Result<_>>()?).try_into()
            }
            Keys::Text(keys) => {
                Keys::Text(ids.iter().map(|&id| Ok(keys[check(id)?].clone())).collect::<Result<_>>()?)
                    .try_into()
            }
        }
    }
}

impl TryFrom<Keys> for Vocab {
    type Error = Error;

    fn try_from(keys: Keys) -> Result<Self> {
        fn index<K: std::hash::Hash + Eq + Clone + fmt::Display>(keys: &[K]) -> Result<HashMap<K, u32>> {
            let mut ids = HashMap::with_capacity(keys.len());
            for (id, key) in keys.iter().enumerate() {
                let id = u32::try_from(id).map_err(|_| {
                    Error::input(Location::memory(), "at most 2^32 distinct keys", keys.len().to_string())
                })?;
                if ids.insert(key.clone(), id).is_some() {
                    let location = Location::memory().line(u64::from(id) + 1);
                    return Err(Error::input(location, "distinct keys", format!("{key} again")));
                }
            }
            Ok(ids)
        }
        let ids = match &keys {
            Keys::Int(keys) => Ids::Int(index(keys)?),
            Keys::Text(keys) => Ids::Text(index(keys)?),
        };
        Ok(Self { keys, ids })
    }
}

impl From<Vocab> for Keys {
    fn from(vocab: Vocab) -> Self {
        vocab.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids_are_inverse() {
        let films = Vocab::from_ints(vec![50, 7]).unwrap();
        assert_eq!((films.id(50), films.id("7"), films.id(8)), (Some(0), Some(1), None));
        assert_eq!((films.key(1), films.key(2)), (Some(Key::Int(7)), None));
        let names = Vocab::from_texts(vec!["b".into(), "7".into()]).unwrap();
        assert_eq!((names.id("b"), names.id(7), names.id("c")), (Some(0), Some(1), None));
        assert_eq!(names.keys().map(|key| key.to_string()).collect::<Vec<_>>(), ["b", "7"]);
        for vocab in [films, names] {
            let json = serde_json::to_string(&vocab).unwrap();
            assert_eq!(serde_json::from_str::<Vocab>(&json).unwrap(), vocab);
            assert_eq!(vocab.select(&[1]).unwrap().id(7), Some(0));
            assert!(vocab.select(&[2]).is_err());
        }
    }

    #[test]
    fn a_key_that_comes_twice_is_refused() {
        let error = Vocab::from_ints(vec![4, 5, 4]).unwrap_err().to_string();
        assert_eq!(error, "input, line 3: expected distinct keys, found 4 again");
    }
}
