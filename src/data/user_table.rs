use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::UserId;

/// What is known of each user, by [`UserId`], as it was read: an empty text is unknown, and codes (the
/// age groups and occupations of MovieLens 1M) stay codes. [`UserColumns`](crate::features::UserColumns) reads it from a
/// file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub struct UserTable {
    columns: Columns,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Columns {
    genders: Vec<String>,
    ages: Vec<Option<u32>>,
    occupations: Vec<String>,
    zip_codes: Vec<String>,
}

impl UserTable {
    /// The table of these columns, each with one value per user.
    ///
    /// # Errors
    /// Columns of different lengths.
    pub fn new(
        genders: Vec<String>,
        ages: Vec<Option<u32>>,
        occupations: Vec<String>,
        zip_codes: Vec<String>,
    ) -> Result<Self> {
        Columns { genders, ages, occupations, zip_codes }.try_into()
    }

    /// The number of users.
    pub fn len(&self) -> usize {
        self.columns.genders.len()
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The gender of each user.
    pub fn genders(&self) -> &[String] {
        &self.columns.genders
    }

    /// The age of each user in years, or the code of an age group.
    pub fn ages(&self) -> &[Option<u32>] {
        &self.columns.ages
    }

    /// The occupation of each user, a name or a code.
    pub fn occupations(&self) -> &[String] {
        &self.columns.occupations
    }

    /// The postal code of each user.
    pub fn zip_codes(&self) -> &[String] {
        &self.columns.zip_codes
    }

    /// The rows of these users, in this order.
    pub(super) fn select(&self, users: &[UserId]) -> Self {
        fn gather<T: Clone>(column: &[T], users: &[UserId]) -> Vec<T> {
            users.iter().map(|user| column[user.index()].clone()).collect()
        }
        let columns = &self.columns;
        Self {
            columns: Columns {
                genders: gather(&columns.genders, users),
                ages: gather(&columns.ages, users),
                occupations: gather(&columns.occupations, users),
                zip_codes: gather(&columns.zip_codes, users),
            },
        }
    }
}

impl TryFrom<Columns> for UserTable {
    type Error = Error;

    fn try_from(columns: Columns) -> Result<Self> {
        let expected = columns.genders.len();
        for (what, found) in [
            ("length of the age column", columns.ages.len()),
            ("length of the occupation column", columns.occupations.len()),
            ("length of the zip code column", columns.zip_codes.len()),
        ] {
            if found != expected {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        Ok(Self { columns })
    }
}

impl From<UserTable> for Columns {
    fn from(table: UserTable) -> Self {
        table.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.into()).collect()
    }

    #[test]
    fn rows_follow_a_selection() {
        let table = UserTable::new(
            texts(&["F", "M"]),
            vec![Some(1), None],
            texts(&["10", "16"]),
            texts(&["48067", "70072"]),
        )
        .unwrap();
        let one = table.select(&[UserId(1)]);
        assert_eq!((one.len(), one.genders(), one.ages()), (1, &texts(&["M"])[..], &[None][..]));
        assert_eq!((one.occupations(), one.zip_codes()), (&texts(&["16"])[..], &texts(&["70072"])[..]));
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<UserTable>(&json).unwrap(), table);
    }

    #[test]
    fn columns_of_different_lengths_are_refused() {
        let error = UserTable::new(texts(&["F"]), vec![], texts(&["10"]), texts(&["48067"])).unwrap_err();
        assert_eq!(error.to_string(), "length of the age column: expected 1, found 0");
    }
}
