//! Some values of a JSON object, found by their paths without building the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::data::fields::{Mismatch, whole_number};
use crate::error::{Error, Result};

/// The paths of the values that are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    members: Vec<(String, Member)>,
    n: usize,
}

/// What is wanted of a member.
#[derive(Clone, Debug)]
enum Member {
    /// Its value, as that of the path of this number.
    Value(usize),
    /// Some of its own members.
    Object(Paths),
}

impl Paths {
    /// Names are separated by dots; `\.` is a dot within a name.
    ///
    /// # Errors
    /// A path that is empty or stands twice, or that leads through another one.
    pub(crate) fn new(paths: &[impl AsRef<str>]) -> Result<Self> {
        let mut all = Self { members: Vec::new(), n: paths.len() };
        for (index, path) in paths.iter().enumerate() {
            let path = path.as_ref();
            if all.insert(&names(path), index).is_none() {
                let expected = "a path of its own, which does not lead through another one";
                return Err(Error::config("JSON path", expected, format!("{path:?}")));
            }
        }
        Ok(all)
    }

    fn insert(&mut self, names: &[String], index: usize) -> Option<()> {
        let (name, rest) = names.split_first()?;
        let known = self.members.iter().position(|(own, _)| own == name);
        match (known, rest.is_empty()) {
            (None, true) => self.members.push((name.clone(), Member::Value(index))),
            (None, false) => {
                let mut inner = Self { members: Vec::new(), n: 0 };
                inner.insert(rest, index)?;
                self.members.push((name.clone(), Member::Object(inner)));
            }
            (Some(_), true) => return None,
            (Some(known), false) => match &mut self.members[known].1 {
                Member::Object(inner) => inner.insert(rest, index)?,
                Member::Value(_) => return None,
            },
        }
        Some(())
    }

    /// Replaces `found` by the value at each path of the object that `line` holds; nothing where there is none.
    pub(crate) fn find<'l>(
        &self,
        line: &'l str,
        found: &mut Vec<Option<&'l RawValue>>,
    ) -> Result<(), Mismatch> {
        found.clear();
        found.resize(self.n, None);
        let mut json = serde_json::Deserializer::from_str(line);
        let read = Members { paths: self, found }.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| {
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
            Mismatch::new("a JSON object on each line", format!("{message}, at byte {}", error.column()))
        })
    }
}

/// The names of a path.
fn names(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        let last = names.last_mut().expect("there is always one");
        match c {
            '\\' if chars.peek() == Some(&'.') => last.extend(chars.next()),
            '.' => names.push(String::new()),
            c => last.push(c),
        }
    }
    names
}

/// Reads an object, or nothing of `null`.
struct Members<'p, 'f, 'l> {
    paths: &'p Paths,
    found: &'f mut Vec<Option<&'l RawValue>>,
}

impl<'de> DeserializeSeed<'de> for Members<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { paths, found } = self;
        while let Some(member) = map.next_key_seed(Name(paths))? {
            match member {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(Member::Object(paths)) => map.next_value_seed(Members { paths, found })?,
                Some(&Member::Value(index)) => {
                    if found[index].replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("a member that comes twice"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Finds what is wanted of a member by its name.
struct Name<'p>(&'p Paths);

impl<'de, 'p> DeserializeSeed<'de> for Name<'p> {
    type Value = Option<&'p Member>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Name<'p> {
    type Value = Option<&'p Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.members.iter().find(|(own, _)| own == name).map(|(_, member)| member))
    }
}

/// A value as a reader of tables takes it.
#[derive(Debug, PartialEq)]
pub(crate) enum Token<'l> {
    Missing,
    Bool(&'static str),
    Text(Cow<'l, str>),
    /// As it is written.
    Number(&'l str),
    /// The elements as JSON.
    Array(Vec<&'l str>),
    Object,
    /// A text with half of a surrogate pair, which no Unicode text has.
    Broken,
}

impl<'l> Token<'l> {
    pub(crate) fn of(value: Option<&'l RawValue>) -> Self {
        value.map_or(Self::Missing, |value| Self::parse(value.get()))
    }

    /// The value of valid JSON.
    pub(crate) fn parse(json: &'l str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => match memchr::memchr(b'\\', json.as_bytes()) {
                None => Self::Text(json[1..json.len() - 1].into()),
                Some(_) => {
                    serde_json::from_str::<String>(json).map_or(Self::Broken, |text| Self::Text(text.into()))
                }
            },
            Some(b't') => Self::Bool("true"),
            Some(b'f') => Self::Bool("false"),
            Some(b'[') => {
                let values = serde_json::from_str::<Vec<&RawValue>>(json);
                values.map_or(Self::Broken, |values| {
                    Self::Array(values.into_iter().map(RawValue::get).collect())
                })
            }
            Some(b'{') => Self::Object,
            Some(b'n') | None => Self::Missing,
            Some(_) => Self::Number(json),
        }
    }

    /// What it is, for messages.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Missing => "nothing".into(),
            Self::Bool(text) => (*text).into(),
            Self::Text(text) => format!("{text:?}"),
            Self::Number(number) => (*number).into(),
            Self::Array(_) => "an array".into(),
            Self::Object => "an object".into(),
            Self::Broken => "a text with half of a surrogate pair".into(),
        }
    }
}

/// The text of a number: as it is written, but a whole one, as `7.0` and `7e2`, in digits.
pub(crate) fn number_text(json: &str) -> Cow<'_, str> {
    match json
        .contains(['.', 'e', 'E'])
        .then(|| whole_number(json))
        .flatten()
        .and_then(|number| number.as_i64())
    {
        Some(whole) => whole.to_string().into(),
        None => json.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(paths: &[&str], line: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let read = Paths::new(paths).unwrap().find(line, &mut found);
        read.map_err(|mismatch| mismatch.to_string())?;
        Ok(found.into_iter().map(|value| Token::of(value).description()).collect())
    }

    #[test]
    fn values_are_found_by_their_paths() {
        let line = r#" {"x": [{"a": 1}], "a": {"b.c": "ü", "d": {"e": 7.0}, "f": null}, "g": "q\"\u00e9", "h": true} "#;
        let found = find(&["g", "a.b\\.c", "a.d.e", "a.f", "a.z", "h", "a.d.y"], line).unwrap();
        assert_eq!(found, ["\"q\\\"é\"", "\"ü\"", "7.0", "nothing", "nothing", "true", "nothing"]);
        assert_eq!(find(&["x", "a"], line).unwrap(), ["an array", "an object"]);
        assert_eq!(find(&["a.d"], r#"{"a": null}"#).unwrap(), ["nothing"]);
    }

    #[test]
    fn what_is_no_object_is_named() {
        let error = |line| find(&["a.b", "c"], line).unwrap_err();
        let expected = |found: &str| format!("expected a JSON object on each line, found {found}");
        assert_eq!(error("[1]"), expected("invalid type: sequence, expected an object, at byte 1"));
        assert_eq!(error("{\"c\": 1"), expected("EOF while parsing an object, at byte 7"));
        assert_eq!(error("{\"a\": 7}"), expected("invalid type: integer `7`, expected an object, at byte 7"));
        assert_eq!(error("{\"c\": 1, \"c\": 1}"), expected("a member that comes twice, at byte 16"));
        assert_eq!(error("{} {}"), expected("trailing characters, at byte 4"));
        assert!(error(&format!("{{\"z\": {}", "[".repeat(1 << 16))).contains("found "));
    }

    #[test]
    fn paths_that_contradict_each_other_are_refused() {
        for paths in [&["a", "a"][..], &["a", "a.b"], &["a.b", "a"]] {
            let error = Paths::new(paths).unwrap_err().to_string();
            assert!(error.starts_with("JSON path: expected a path of its own"), "{error}");
        }
        assert!(Paths::new(&["a.b", "a.c", "a\\.b", ""]).is_ok());
    }

    #[test]
    fn numbers_are_texts_and_whole_ones_digits() {
        for (json, text) in
            [("7", "7"), ("7.0", "7"), ("7e2", "700"), ("-7.0", "-7"), ("7.5", "7.5"), ("1e40", "1e40")]
        {
            assert_eq!(Token::parse(json), Token::Number(json));
            assert_eq!(number_text(json), text, "{json}");
        }
        assert_eq!(Token::parse(r#""\ud83d\ude00""#), Token::Text("😀".into()));
        assert_eq!(Token::parse(r#""\ud83d""#), Token::Broken);
        assert_eq!(Token::parse("[1, \"a\", null]"), Token::Array(vec!["1", "\"a\"", "null"]));
    }
}
