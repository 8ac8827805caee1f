use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::natural_number;
use super::texts::DistinctTexts;
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
#[serde(try_from = "Saved", into = "Saved")]
pub struct Vocab {
    keys: Keys,
}

/// The keys in the order of their ids, and the ids.
#[derive(Clone, Debug, PartialEq)]
enum Keys {
    Int(Vec<u64>, HashMap<u64, u32>),
    Text(DistinctTexts),
}

/// The keys in the order of their ids, as they are saved.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Saved {
    Int(Vec<u64>),
    Text(Vec<String>),
}

impl Vocab {
    /// The vocabulary of these distinct numbers; the first gets id 0.
    ///
    /// # Errors
    /// A key that comes twice.
    pub fn from_ints(keys: Vec<u64>) -> Result<Self> {
        let mut ids = HashMap::with_capacity(keys.len());
        for (number, &key) in keys.iter().enumerate() {
            if ids.insert(key, id_of(number)?).is_some() {
                return Err(twice(number, key));
            }
        }
        Ok(Self { keys: Keys::Int(keys, ids) })
    }

    /// The vocabulary of these distinct texts; the first gets id 0.
    ///
    /// # Errors
    /// A key that comes twice.
    pub fn from_texts(keys: Vec<String>) -> Result<Self> {
        Self::of_texts(keys.iter().map(String::as_str))
    }

    fn of_texts<'k>(keys: impl Iterator<Item = &'k str>) -> Result<Self> {
        let mut texts = DistinctTexts::default();
        for (number, key) in keys.enumerate() {
            if texts.number(key).is_some() {
                return Err(twice(number, key));
            }
            texts.insert(key, id_of(number)?);
        }
        Ok(Self::from_distinct(texts))
    }

    pub(super) fn from_distinct(texts: DistinctTexts) -> Self {
        Self { keys: Keys::Text(texts) }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        match &self.keys {
            Keys::Int(keys, _) => keys.len(),
            Keys::Text(keys) => keys.texts().len(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a key. In a vocabulary of numbers a text is read as a number (also `7.0`), and the reverse, so that
    /// a key from a command line or another file is found either way.
    pub fn id<'k>(&self, key: impl Into<Key<'k>>) -> Option<u32> {
        match (&self.keys, key.into()) {
            (Keys::Int(_, ids), Key::Int(key)) => ids.get(&key).copied(),
            (Keys::Int(_, ids), Key::Text(key)) => ids.get(&natural_number(key)?).copied(),
            (Keys::Text(keys), Key::Text(key)) => keys.number(key),
            (Keys::Text(keys), Key::Int(key)) => keys.number(&key.to_string()),
        }
    }

    /// The key of an id.
    pub fn key(&self, id: u32) -> Option<Key<'_>> {
        match &self.keys {
            Keys::Int(keys, _) => keys.get(id as usize).map(|&key| Key::Int(key)),
            Keys::Text(keys) => {
                let texts = keys.texts();
                ((id as usize) < texts.len()).then(|| Key::Text(texts.get(id as usize)))
            }
        }
    }

    /// All keys in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = Key<'_>> {
        (0..self.len()).map(|id| match &self.keys {
            Keys::Int(keys, _) => Key::Int(keys[id]),
            Keys::Text(keys) => Key::Text(keys.texts().get(id)),
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
        let ids: Vec<usize> = ids.iter().map(|&id| check(id)).collect::<Result<_>>()?;
        match &self.keys {
            Keys::Int(keys, _) => Self::from_ints(ids.into_iter().map(|id| keys[id]).collect()),
            Keys::Text(keys) => Self::of_texts(ids.into_iter().map(|id| keys.texts().get(id))),
        }
    }
}

fn id_of(number: usize) -> Result<u32> {
    u32::try_from(number)
        .map_err(|_| Error::input(Location::memory(), "at most 2^32 distinct keys", (number + 1).to_string()))
}

/// The error of a key that stands again at this number.
fn twice(number: usize, key: impl fmt::Display) -> Error {
    Error::input(Location::memory().line(number as u64 + 1), "distinct keys", format!("{key} again"))
}

impl TryFrom<Saved> for Vocab {
    type Error = Error;

    fn try_from(keys: Saved) -> Result<Self> {
        match keys {
            Saved::Int(keys) => Self::from_ints(keys),
            Saved::Text(keys) => Self::from_texts(keys),
        }
    }
}

impl From<Vocab> for Saved {
    fn from(vocab: Vocab) -> Self {
        match vocab.keys {
            Keys::Int(keys, _) => Self::Int(keys),
            Keys::Text(keys) => Self::Text(keys.texts().iter().map(String::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids_are_inverse() {
        let films = Vocab::from_ints(vec![50, 7]).unwrap();
        assert_eq!((films.id(50), films.id("7"), films.id(8)), (Some(0), Some(1), None));
        assert_eq!((films.id(" 7.0"), films.id("7.5"), films.id("-7")), (Some(1), None, None));
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
