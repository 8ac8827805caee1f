use std::fmt;

use serde::{Deserialize, Serialize};

use super::EncodedRows;

/// How many values of a field are not in the vocabulary that an encoder learned of its training data: from
/// [`FeatureEncoder::unseen`](super::FeatureEncoder::unseen) or [`Libfm::unseen`](super::Libfm::unseen).
///
/// All such values have one id, so that a model knows nothing else of them. Many of them tell of a field whose values are
/// new with each row, or of a column that is written in two ways: `7` and `7.0` are two categories.
///
/// ```
/// use recsys::features::UnseenShare;
///
/// let user = UnseenShare { field: "user".into(), n_values: 8, n_unseen: 6 };
/// assert_eq!((user.share(), user.exceeds_half()), (0.75, true));
/// assert_eq!(user.to_string(), "user: 6 of 8 values unseen in training (75.0 %)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written")]
pub struct UnseenShare {
    /// The field's name.
    pub field: String,
    /// The values of all rows, without missing ones; each entry of a list or a history is a value.
    pub n_values: usize,
    /// Those of them that are not in the vocabulary.
    pub n_unseen: usize,
}

impl UnseenShare {
    /// Of the ids of a field's values, of which `unseen` stands for all that are not in the vocabulary.
    fn of_ids<'a>(field: &str, ids: impl Iterator<Item = &'a u32>, unseen: u32) -> Self {
        let (mut n_values, mut n_unseen) = (0, 0);
        for &id in ids {
            n_values += 1;
            n_unseen += usize::from(id == unseen);
        }
        Self { field: field.into(), n_values, n_unseen }
    }

    /// Of the field at `place` among the fields of ids, whose first id is that of unseen values; `missing` is no value.
    pub(super) fn of_bags(rows: &EncodedRows, field: &str, place: usize, missing: Option<u32>) -> Self {
        let ids = (0..rows.n_rows()).flat_map(|row| rows.bag(row, place).0);
        let unseen = rows.space().ids(place).start;
        Self::of_ids(field, ids.filter(|&&id| Some(id) != missing), unseen)
    }

    /// Of the histories, which have the ids of the field at `place`.
    pub(super) fn of_histories(rows: &EncodedRows, field: &str, place: usize) -> Self {
        let events = (0..rows.n_rows()).flat_map(|row| rows.history(row));
        Self::of_ids(field, events, rows.space().ids(place).start)
    }

    /// The share of unseen values; 0 of none.
    pub fn share(&self) -> f64 {
        self.n_unseen as f64 / self.n_values.max(1) as f64
    }

    /// Whether more than half of the values are unseen.
    pub fn exceeds_half(&self) -> bool {
        self.n_unseen > self.n_values / 2
    }

    /// What to tell whoever relies on the field, where [more than half](Self::exceeds_half) of its values are unseen.
    pub fn warning(&self) -> Option<String> {
        let Self { field, n_values, n_unseen } = self;
        let warn = || {
            format!(
                "{:.1} % of the values of {field} are unseen in training ({n_unseen} of {n_values}), and a model knows \
                 nothing of them; `7` and `7.0` are two values",
                100.0 * self.share()
            )
        };
        self.exceeds_half().then(warn)
    }
}

impl fmt::Display for UnseenShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, n_values, n_unseen } = self;
        let percent = 100.0 * self.share();
        write!(f, "{field}: {n_unseen} of {n_values} values unseen in training ({percent:.1} %)")
    }
}

/// As it stands in a report, with the share.
#[derive(Serialize)]
struct Written {
    field: String,
    n_values: usize,
    n_unseen: usize,
    share: f64,
}

impl From<UnseenShare> for Written {
    fn from(unseen: UnseenShare) -> Self {
        let share = unseen.share();
        let UnseenShare { field, n_values, n_unseen } = unseen;
        Self { field, n_values, n_unseen, share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n_values: usize, n_unseen: usize) -> UnseenShare {
        UnseenShare { field: "user".into(), n_values, n_unseen }
    }

    #[test]
    fn only_more_than_half_is_warned_of() {
        let told = "60.0 % of the values of user are unseen in training (3 of 5), and a model knows nothing of them; \
                    `7` and `7.0` are two values";
        assert_eq!(user(5, 3).warning().as_deref(), Some(told));
        for (n_values, n_unseen) in [(5, 2), (4, 2), (1, 0), (0, 0)] {
            assert_eq!(user(n_values, n_unseen).warning(), None, "{n_unseen} of {n_values}");
        }
        assert_eq!(user(0, 0).share(), 0.0);
    }

    #[test]
    fn a_report_has_the_share() {
        let json = serde_json::to_value(user(8, 2)).unwrap();
        let expected = serde_json::json!({ "field": "user", "n_values": 8, "n_unseen": 2, "share": 0.25 });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<UnseenShare>(json).unwrap(), user(8, 2));
    }
}
