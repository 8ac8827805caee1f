use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_size};

/// What every encoded row holds, and so how large the tables of a model are.
///
/// The ids of all fields live in one space, field after field: field f has the ids
/// `offset(f)..offset(f) + n_ids(f)`, and one embedding table serves all of them with one gather. Fields may
/// [share](Self::with_shared_field) their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct FeatureSpace {
    fields: Vec<Field>,
    vectors: Vec<Vectors>,
    history: Option<History>,
}

/// A [`FeatureSpace`] from a file, not yet known to fit together.
#[derive(Deserialize)]
struct Saved {
    fields: Vec<Field>,
    vectors: Vec<Vectors>,
    history: Option<History>,
}

impl TryFrom<Saved> for FeatureSpace {
    type Error = Error;

    fn try_from(Saved { fields, vectors, history }: Saved) -> Result<Self> {
        for Field { name, offset, n_ids } in &fields {
            if *n_ids == 0 || offset.checked_add(*n_ids).is_none() {
                let expected = format!("at least one id, and less than 2^32, in field {name}");
                return Err(Error::config(
                    "FeatureSpace::n_ids",
                    expected,
                    format!("{n_ids} from {offset} on"),
                ));
            }
        }
        vectors.iter().try_for_each(|vectors| check_size("FeatureSpace::dim", vectors.dim))?;
        if let Some(History { field, .. }) = history.as_ref().filter(|history| history.field >= fields.len())
        {
            return Err(Error::config("FeatureSpace::history", "a field of the space", field));
        }
        Ok(Self { fields, vectors, history })
    }
}

/// A field whose values are ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Field {
    name: String,
    offset: u32,
    n_ids: u32,
}

/// A field whose values are vectors of numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vectors {
    name: String,
    dim: usize,
}

/// What was there before, oldest first, as ids of one of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    name: String,
    field: usize,
    max_len: usize,
}

impl FeatureSpace {
    /// Adds a field of `n_ids` ids behind those that are there.
    ///
    /// # Errors
    /// No id, a name that stands already, or 2^32 ids or more in all.
    pub fn with_field(mut self, name: impl Into<String>, n_ids: usize) -> Result<Self> {
        let name = self.unused(name)?;
        let offset = self.n_ids();
        match u32::try_from(offset.saturating_add(n_ids)) {
            Ok(_) if n_ids > 0 => {}
            _ => {
                let expected = format!("1 to {} ids in field {name}", u32::MAX as usize - offset);
                return Err(Error::config("FeatureSpace::n_ids", expected, n_ids));
            }
        }
        self.fields.push(Field { name, offset: offset as u32, n_ids: n_ids as u32 });
        Ok(self)
    }

    /// Adds a field that has the ids of the field `other`: the same id has the same embedding in both.
    ///
    /// # Errors
    /// A field that is not there, or a name that stands already.
    pub fn with_shared_field(mut self, name: impl Into<String>, other: &str) -> Result<Self> {
        let name = self.unused(name)?;
        let Some(other) = self.field(other) else {
            return Err(Error::config("FeatureSpace::shared_field", "a field of the space", other));
        };
        self.fields.push(Field { name, ..self.fields[other] });
        Ok(self)
    }

    /// Adds a field of vectors of width `dim`.
    ///
    /// # Errors
    /// A width outside 1 to 2²⁰, or a name that stands already.
    pub fn with_vectors(mut self, name: impl Into<String>, dim: usize) -> Result<Self> {
        let name = self.unused(name)?;
        check_size("FeatureSpace::dim", dim)?;
        self.vectors.push(Vectors { name, dim });
        Ok(self)
    }

    /// Says that rows have a history, at most `max_len` ids of the field `field`.
    ///
    /// # Errors
    /// A second history, a name that stands already, a field that is not there, a length of 0.
    pub fn with_history(mut self, name: impl Into<String>, field: &str, max_len: usize) -> Result<Self> {
        let name = self.unused(name)?;
        if max_len == 0 {
            return Err(Error::config("FeatureSpace::max_len", format!("at least 1 for {name}"), 0));
        }
        let Some(field) = self.field(field) else {
            return Err(Error::config("FeatureSpace::history", "a field of the space", field));
        };
        if let Some(history) = &self.history {
            let expected = format!("one history, which is {}", history.name);
            return Err(Error::config("FeatureSpace::history", expected, name));
        }
        self.history = Some(History { name, field, max_len });
        Ok(self)
    }

    fn unused(&self, name: impl Into<String>) -> Result<String> {
        let name = name.into();
        let history = self.history.iter().map(|history| &history.name);
        let vectors = self.vectors.iter().map(|vectors| &vectors.name);
        if self
            .fields
            .iter()
            .map(|field| &field.name)
            .chain(vectors)
            .chain(history)
            .any(|other| *other == name)
        {
            return Err(Error::config("FeatureSpace::name", "a name that no other field has", name));
        }
        Ok(name)
    }

    /// The number of fields of ids.
    pub fn n_fields(&self) -> usize {
        self.fields.len()
    }

    /// The number of ids of all fields.
    pub fn n_ids(&self) -> usize {
        self.fields.iter().map(|field| (field.offset + field.n_ids) as usize).max().unwrap_or(0)
    }

    /// The position of the field of ids with this name.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The names of the fields of ids.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// The ids of field `field`.
    ///
    /// # Panics
    /// If there is no such field.
    pub fn ids(&self, field: usize) -> std::ops::Range<u32> {
        let Field { offset, n_ids, .. } = self.fields[field];
        offset..offset + n_ids
    }

    /// The widths of the fields of vectors.
    pub fn vector_dims(&self) -> impl ExactSizeIterator<Item = usize> {
        self.vectors.iter().map(|vectors| vectors.dim)
    }

    /// The widths of all fields of vectors together.
    pub fn d_vectors(&self) -> usize {
        self.vector_dims().sum()
    }

    /// The position of the field of vectors with this name, and where it stands among the numbers of all of them.
    pub fn vectors(&self, name: &str) -> Option<(usize, std::ops::Range<usize>)> {
        let place = self.vectors.iter().position(|vectors| vectors.name == name)?;
        let start = self.vector_dims().take(place).sum();
        Some((place, start..start + self.vectors[place].dim))
    }

    /// The position of the field whose ids stand in the history, and the most that stand there.
    pub fn history(&self) -> Option<(usize, usize)> {
        self.history.as_ref().map(|history| (history.field, history.max_len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_each_other() {
        let space = FeatureSpace::default()
            .with_field("user", 5)
            .and_then(|space| space.with_field("item", 7))
            .and_then(|space| space.with_vectors("title", 3))
            .and_then(|space| space.with_history("watched", "item", 4))
            .unwrap();
        assert_eq!((space.n_fields(), space.n_ids(), space.d_vectors()), (2, 12, 3));
        assert_eq!((space.ids(0), space.ids(1)), (0..5, 5..12));
        assert_eq!((space.field("item"), space.field("title")), (Some(1), None));
        assert_eq!(space.history(), Some((1, 4)));
        let json = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<FeatureSpace>(&json).unwrap(), space);
    }

    #[test]
    fn what_does_not_fit_together_is_not_read() {
        for broken in [
            r#"{"fields": [], "vectors": [], "history": {"name": "h", "field": 0, "max_len": 3}}"#,
            r#"{"fields": [{"name": "a", "offset": 4294967295, "n_ids": 1}], "vectors": [], "history": null}"#,
            r#"{"fields": [{"name": "a", "offset": 0, "n_ids": 0}], "vectors": [], "history": null}"#,
            r#"{"fields": [], "vectors": [{"name": "v", "dim": 0}], "history": null}"#,
        ] {
            assert!(serde_json::from_str::<FeatureSpace>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn fields_may_share_their_ids() {
        let space = FeatureSpace::default()
            .with_field("first", 5)
            .and_then(|space| space.with_field("item", 7))
            .and_then(|space| space.with_shared_field("second", "first"))
            .unwrap();
        assert_eq!((space.n_fields(), space.n_ids(), space.ids(2)), (3, 12, 0..5));
        assert_eq!(space.clone().with_field("last", 1).unwrap().ids(3), 12..13);
        assert!(space.clone().with_shared_field("first", "item").is_err());
        assert!(space.with_shared_field("third", "title").is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let space = || FeatureSpace::default().with_field("user", 5).unwrap();
        assert!(space().with_field("user", 1).is_err());
        assert!(space().with_field("item", 0).is_err());
        assert!(space().with_field("item", u32::MAX as usize).is_err());
        assert!(space().with_vectors("title", 0).is_err());
        assert!(space().with_history("watched", "item", 4).is_err());
        assert!(space().with_history("watched", "user", 0).is_err());
        let with_history = space().with_history("watched", "user", 2).unwrap();
        assert!(with_history.with_history("clicked", "user", 2).is_err());
    }
}
