use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TextEncoderConfig;
use crate::error::{Error, Location, Result};

/// Which columns of a [`Table`](super::Table) become which fields, and how; which hold the labels, and which says
/// whose row it is. As JSON it describes any public data set:
///
/// ```
/// use recsys::features::{Schema, Numeric};
///
/// let schema = Schema::from_json(r#"{
///     "fields": [
///         {"name": "user", "column": "user_id", "kind": {"categorical": {"hashing": {"n_buckets": 100000}}}},
///         {"name": "item", "kind": {"categorical": {"vocabulary": {"min_count": 2}}}},
///         {"name": "age", "kind": {"numeric": "standardized"}},
///         {"name": "clicks", "kind": {"numeric": {"log_power_bins": {"power": 2}}}},
///         {"name": "genres", "kind": {"multi_valued": {"ids": {"vocabulary": {}}, "pooling": "mean", "separator": "|"}}},
///         {"name": "title", "kind": {"text": {"dim": 64}}},
///         {"name": "watched", "kind": {"history": {"of": "item", "max_len": 50, "separator": " "}}}
///     ],
///     "labels": [{"column": "rating", "at_least": 4}],
///     "group": "user_id"
/// }"#)?;
/// assert_eq!(schema.columns().len(), 8);
/// assert_eq!(schema.fields[2].kind, Numeric::Standardized.into());
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The fields, in the order in which rows have them.
    pub fields: Vec<Field>,
    /// The labels of a row: none, one, or one for each task.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// The column that says whose row it is, for measures within groups such as GAUC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The seed of the sample from which [`Numeric::QuantileBins`] are cut, if it must be one.
    #[serde(default)]
    pub seed: u64,
}

/// What a model is told of a row in one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name, which no other field has.
    pub name: String,
    /// The column it is made of; `None` for the one that has its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What becomes of the column's values.
    pub kind: FieldKind,
}

/// What becomes of a column's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FieldKind {
    /// A number as one id. A missing one has an id of its own, the field's last.
    Numeric(Numeric),
    /// A category, which is a whole number (also as 7.0) or a text, as one id. A missing one has an id of its own, the field's
    /// last.
    Categorical(Ids),
    /// A list of categories as ids with weights; a missing list is an empty one.
    MultiValued {
        /// How categories become ids.
        ids: Ids,
        /// The weights of the ids.
        #[serde(default)]
        pooling: Pooling,
        /// What stands between the categories of a text such as `Action|Comedy`; `None` where columns hold lists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        separator: Option<String>,
    },
    /// A text as the vector that a [`TextEncoder`](super::TextEncoder) gives it; a missing one is zeros.
    Text(TextEncoderConfig),
    /// What was there before, oldest first, as ids of another field; a schema has at most one.
    History {
        /// The categorical field whose ids these are. Its vocabulary is made of its own column alone: what stands in
        /// histories only is unseen.
        of: String,
        /// How many are kept, the latest.
        max_len: usize,
        /// What stands between the categories of a text; `None` where the column holds lists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        separator: Option<String>,
    },
}

/// How a number becomes an id with a weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Numeric {
    /// One id, of weight (x − mean) / standard deviation.
    Standardized,
    /// Bins of equal width from the least to the greatest number of the training data; beyond them the outer bins.
    EqualWidthBins {
        /// The number of bins.
        n_bins: u32,
    },
    /// Bins of equally many rows of the training data; fewer bins where many rows have the same number. Exact up to
    /// 2²⁰ numbers; of more, the quantiles of a uniform sample of so many (Algorithm R: Vitter 1985, "Random
    /// sampling with a reservoir"), whose ranks are off by less than 0.14 % in 95 % of samples (Dvoretzky, Kiefer &
    /// Wolfowitz 1956).
    QuantileBins {
        /// The number of bins.
        n_bins: u32,
    },
    /// For counts with a long tail: bin ⌊(ln x)^power⌋ for x > 2, as the winners of the Criteo contest had it with
    /// power 2; smaller numbers have a bin for each whole number 0, 1, 2, and one for all below 0.
    LogPowerBins {
        /// The power, above 0 and at most 3.
        power: f64,
    },
}

/// How categories become ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ids {
    /// An id for each category that comes often enough in the training data, the most frequent first, and before
    /// them one for all others, the id *out of vocabulary*.
    Vocabulary {
        /// How often a category must come.
        #[serde(default = "once")]
        min_count: u64,
        /// What becomes of a category that is not in the vocabulary.
        #[serde(default)]
        unseen: Unseen,
    },
    /// The hash of the category, without a vocabulary: categories may share an id
    /// ([`hash_collision_rate`](super::hash_collision_rate)).
    Hashing {
        /// The number of ids.
        n_buckets: u32,
    },
}

fn once() -> u64 {
    1
}

impl Default for Ids {
    fn default() -> Self {
        Self::Vocabulary { min_count: once(), unseen: Unseen::default() }
    }
}

/// What becomes of a category that is not in the vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// It gets the id for all such categories.
    #[default]
    OutOfVocabulary,
    /// It is an error.
    Refuse,
}

/// The weights of the n ids of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// 1 each.
    Sum,
    /// 1 / n each.
    #[default]
    Mean,
    /// The numbers of another column, which holds a list of the same length.
    WeightedBy(String),
}

/// Where a label comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The column, of numbers or truth values.
    pub column: String,
    /// The label is 1 from this number on and 0 below; `None`: it is the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

impl From<Numeric> for FieldKind {
    fn from(numeric: Numeric) -> Self {
        Self::Numeric(numeric)
    }
}

impl From<Ids> for FieldKind {
    fn from(ids: Ids) -> Self {
        Self::Categorical(ids)
    }
}

impl From<TextEncoderConfig> for FieldKind {
    fn from(config: TextEncoderConfig) -> Self {
        Self::Text(config)
    }
}

impl Field {
    /// The name of the column it is made of.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }

    /// The number of ids that its settings ask for, whatever the data hold.
    fn n_ids(&self) -> u32 {
        match self.kind {
            FieldKind::Categorical(Ids::Hashing { n_buckets })
            | FieldKind::MultiValued { ids: Ids::Hashing { n_buckets }, .. } => n_buckets,
            FieldKind::Numeric(Numeric::EqualWidthBins { n_bins }) => n_bins,
            _ => 0,
        }
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        let weights = match &self.kind {
            FieldKind::MultiValued { pooling: Pooling::WeightedBy(column), .. } => Some(column.as_str()),
            _ => None,
        };
        std::iter::once(self.column()).chain(weights)
    }
}

impl Schema {
    /// Reads a schema from a JSON file.
    ///
    /// # Errors
    /// A file that cannot be read; JSON that is no schema, with line and column; settings that contradict each other.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let json = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::parse(&json, Location::file(path))
    }

    /// Reads a schema from JSON.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(json: &str) -> Result<Self> {
        Self::parse(json, Location::memory())
    }

    fn parse(json: &str, place: Location) -> Result<Self> {
        let schema: Self = serde_json::from_str(json).map_err(|error| {
            let place = place.line(error.line() as u64).column(error.column().to_string());
            Error::input(place, "a schema", error.to_string())
        })?;
        schema.validate()?;
        Ok(schema)
    }

    /// With one more field, made of the column of its name.
    pub fn with_field(mut self, name: impl Into<String>, kind: impl Into<FieldKind>) -> Self {
        self.fields.push(Field { name: name.into(), column: None, kind: kind.into() });
        self
    }

    /// With one more label, 1 where the number in the column is at least `at_least`.
    pub fn with_label(mut self, column: impl Into<String>, at_least: impl Into<Option<f64>>) -> Self {
        self.labels.push(Label { column: column.into(), at_least: at_least.into() });
        self
    }

    /// With the column that says whose row it is.
    pub fn with_group(mut self, column: impl Into<String>) -> Self {
        self.group = Some(column.into());
        self
    }

    /// The columns that a table for training must have, each once: those of the fields, the labels and the group.
    pub fn columns(&self) -> Vec<&str> {
        let labels = self.labels.iter().map(|label| label.column.as_str());
        distinct(self.fields.iter().flat_map(Field::columns).chain(labels).chain(self.group.as_deref()))
    }

    /// The position of the field of which there is a history.
    pub(super) fn history_source(&self, of: &str) -> Option<usize> {
        self.fields
            .iter()
            .position(|field| field.name == of && matches!(field.kind, FieldKind::Categorical(_)))
    }

    /// Whether the settings fit each other.
    pub(super) fn validate(&self) -> Result<()> {
        if self.fields.is_empty() {
            return Err(Error::config("Schema::fields", "at least one field", "none"));
        }
        let n_ids: u64 = self.fields.iter().map(|field| u64::from(field.n_ids())).sum();
        if n_ids > u32::MAX.into() {
            return Err(Error::config("Schema::fields", "fewer than 2^32 buckets and bins in all", n_ids));
        }
        let mut names = BTreeSet::new();
        let mut n_histories = 0;
        for field in &self.fields {
            if !names.insert(&field.name) {
                return Err(Error::config("Field::name", "a name that no other field has", &field.name));
            }
            n_histories += usize::from(matches!(field.kind, FieldKind::History { .. }));
            self.validate_kind(&field.kind)?;
        }
        if n_histories > 1 {
            return Err(Error::config("Schema::fields", "at most one history", n_histories));
        }
        if let Some(label) =
            self.labels.iter().find(|label| label.at_least.is_some_and(|bound| !bound.is_finite()))
        {
            return Err(Error::config("Label::at_least", "a finite number", format!("{:?}", label.at_least)));
        }
        Ok(())
    }

    fn validate_kind(&self, kind: &FieldKind) -> Result<()> {
        match kind {
            FieldKind::Numeric(numeric) => numeric.validate(),
            FieldKind::Categorical(ids) => ids.validate(),
            FieldKind::MultiValued { ids, separator, .. } => {
                ids.validate()?;
                check_separator("FieldKind::separator", separator.as_deref())
            }
            FieldKind::Text(config) => config.validate(),
            FieldKind::History { of, max_len, separator } => {
                if self.history_source(of).is_none() {
                    return Err(Error::config(
                        "FieldKind::History::of",
                        "the name of a categorical field",
                        of,
                    ));
                }
                if *max_len == 0 {
                    return Err(Error::config("FieldKind::History::max_len", "at least 1", max_len));
                }
                check_separator("FieldKind::separator", separator.as_deref())
            }
        }
    }
}

pub(super) fn check_separator(setting: &'static str, separator: Option<&str>) -> Result<()> {
    match separator {
        Some("") => Err(Error::config(setting, "at least one character", "none")),
        _ => Ok(()),
    }
}

/// These names, each once.
pub(super) fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

impl Numeric {
    fn validate(self) -> Result<()> {
        match self {
            Self::Standardized => Ok(()),
            Self::EqualWidthBins { n_bins } | Self::QuantileBins { n_bins } if n_bins == 0 => {
                Err(Error::config("Numeric::n_bins", "at least 1", n_bins))
            }
            Self::EqualWidthBins { .. } | Self::QuantileBins { .. } => Ok(()),
            Self::LogPowerBins { power } if power > 0.0 && power <= 3.0 => Ok(()),
            Self::LogPowerBins { power } => {
                Err(Error::config("Numeric::LogPowerBins::power", "above 0 and at most 3", power))
            }
        }
    }
}

impl Ids {
    fn validate(self) -> Result<()> {
        match self {
            Self::Vocabulary { min_count: 0, .. } => {
                Err(Error::config("Ids::Vocabulary::min_count", "at least 1", 0))
            }
            Self::Vocabulary { min_count, unseen: Unseen::Refuse } if min_count > 1 => {
                let expected = "1 where unseen categories are refused, or rare ones would be";
                Err(Error::config("Ids::Vocabulary::min_count", expected, min_count))
            }
            Self::Hashing { n_buckets: 0 } => Err(Error::config("Ids::Hashing::n_buckets", "at least 1", 0)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let genres = FieldKind::MultiValued {
            ids: Ids::default(),
            pooling: Pooling::WeightedBy("scores".into()),
            separator: None,
        };
        let watched = FieldKind::History { of: "item".into(), max_len: 3, separator: None };
        Schema::default()
            .with_field("item", Ids::Hashing { n_buckets: 10 })
            .with_field("genres", genres)
            .with_field("watched", watched)
            .with_field("title", TextEncoderConfig::default())
            .with_label("rating", 4.0)
            .with_label("watch_time", None)
            .with_group("item")
    }

    #[test]
    fn columns_are_listed_once() {
        let columns = ["item", "genres", "scores", "watched", "title", "rating", "watch_time"];
        assert_eq!(schema().columns(), columns);
    }

    #[test]
    fn json_gives_the_schema_back() {
        let json = serde_json::to_string(&schema()).unwrap();
        assert_eq!(Schema::from_json(&json).unwrap(), schema());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schema.json");
        std::fs::write(&path, json).unwrap();
        assert_eq!(Schema::read(&path).unwrap(), schema());
    }

    #[test]
    fn json_that_is_no_schema_is_refused() {
        let error = |json: &str| Schema::from_json(json).unwrap_err().to_string();
        let found = error("{\"fields\": [\n{\"name\": \"age\", \"kind\": {\"numeric\": \"standardised\"}}]}");
        assert!(found.starts_with("input, line 2, column ") && found.contains("standardised"), "{found}");
        assert!(error("{\"fields\": [], \"label\": []}").contains("unknown field `label`"));
        assert_eq!(error("{\"fields\": []}"), "Schema::fields: expected at least one field, found none");
    }

    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let separator = Some(String::new());
        let kinds: [(FieldKind, &str); 9] = [
            (Numeric::EqualWidthBins { n_bins: 0 }.into(), "n_bins"),
            (Numeric::QuantileBins { n_bins: 0 }.into(), "n_bins"),
            (Numeric::LogPowerBins { power: f64::NAN }.into(), "power"),
            (Ids::Vocabulary { min_count: 0, unseen: Unseen::OutOfVocabulary }.into(), "min_count"),
            (Ids::Vocabulary { min_count: 2, unseen: Unseen::Refuse }.into(), "min_count"),
            (Ids::Hashing { n_buckets: 0 }.into(), "n_buckets"),
            (FieldKind::MultiValued { ids: Ids::default(), pooling: Pooling::Sum, separator }, "separator"),
            (FieldKind::History { of: "genres".into(), max_len: 1, separator: None }, "History::of"),
            (FieldKind::History { of: "item".into(), max_len: 1, separator: None }, "at most one history"),
        ];
        for (kind, part) in kinds {
            let error = schema().with_field("new", kind).validate().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(schema().with_field("item", Numeric::Standardized).validate().is_err());
        assert!(schema().with_label("x", f64::NAN).validate().is_err());
    }
}
