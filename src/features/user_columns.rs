use super::keyed_rows::{FoundRows, KeyedRows, Known};
use super::schema::distinct;
use super::table::Table;
use crate::data::{UserTable, Vocab};
use crate::error::Result;

/// Which columns of tables hold the key, the gender, the age, the occupation and the zip code of a user: from them it makes
/// the [`UserTable`] of a data set, by the rules of [`ItemColumns`](super::ItemColumns).
///
/// ```
/// use recsys::features::{DelimitedTables, UserColumns};
/// use recsys::prelude::*;
///
/// let data = DelimitedReader::new(ColumnMap::new("user", "item")).read_from("user,item\n7,50\n9,50\n".as_bytes())?;
/// let columns = UserColumns::new("user").age("age").zip_code("zip");
/// let tables = DelimitedTables::default().read_from("user,age,zip\n9,35,02139\n7,,\n".as_bytes(), &columns.columns())?;
/// let users = columns.read(tables, data.users())?;
/// assert_eq!(users.table.ages(), [None, Some(35)]);
/// assert_eq!(users.table.zip_codes(), ["", "02139"]);
/// let data = data.with_user_table(users.table)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserColumns {
    key: String,
    gender: Option<String>,
    age: Option<String>,
    occupation: Option<String>,
    zip_code: Option<String>,
}

impl UserColumns {
    /// The column of the users' keys.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), gender: None, age: None, occupation: None, zip_code: None }
    }

    /// The column of the genders.
    pub fn gender(mut self, column: impl Into<String>) -> Self {
        self.gender = Some(column.into());
        self
    }

    /// The column of the ages, or of codes of age groups: whole numbers below 2³².
    pub fn age(mut self, column: impl Into<String>) -> Self {
        self.age = Some(column.into());
        self
    }

    /// The column of the occupations, names or codes.
    pub fn occupation(mut self, column: impl Into<String>) -> Self {
        self.occupation = Some(column.into());
        self
    }

    /// The column of the postal codes.
    pub fn zip_code(mut self, column: impl Into<String>) -> Self {
        self.zip_code = Some(column.into());
        self
    }

    /// The columns that are named, each once: what a reader of tables is asked for.
    pub fn columns(&self) -> Vec<&str> {
        let others = [&self.gender, &self.age, &self.occupation, &self.zip_code];
        distinct([self.key.as_str()].into_iter().chain(others.into_iter().flatten().map(String::as_str)))
    }

    /// The table of the users of a data set ([`Dataset::users`](crate::data::Dataset::users)), and how far it is known.
    ///
    /// # Errors
    /// Those of the tables; a table without one of the columns, or with lists in the place of values; a key that is missing;
    /// a user that comes twice; an age that is none; no row of any of the users, with a key of either side. Each names the
    /// file, and the line and column where there is one.
    pub fn read(
        &self,
        tables: impl IntoIterator<Item = Result<Table>>,
        users: &Vocab,
    ) -> Result<Known<UserTable>> {
        let mut found = Users::new(users.len());
        let rows = KeyedRows::new(&self.key, users).read(tables, |rows| found.add(self, rows))?;
        let Users { genders, ages, occupations, zip_codes } = found;
        Ok(rows.known(UserTable::new(genders, ages, occupations, zip_codes)?))
    }
}

/// What is known of the users so far.
struct Users {
    genders: Vec<String>,
    ages: Vec<Option<u32>>,
    occupations: Vec<String>,
    zip_codes: Vec<String>,
}

impl Users {
    fn new(n: usize) -> Self {
        let unknown = || vec![String::new(); n];
        Self { genders: unknown(), ages: vec![None; n], occupations: unknown(), zip_codes: unknown() }
    }

    fn add(&mut self, columns: &UserColumns, rows: &FoundRows<'_>) -> Result<()> {
        rows.texts(columns.gender.as_deref(), &mut self.genders)?;
        rows.whole_numbers(columns.age.as_deref(), "an age, as a whole number below 2^32", &mut self.ages)?;
        rows.texts(columns.occupation.as_deref(), &mut self.occupations)?;
        rows.texts(columns.zip_code.as_deref(), &mut self.zip_codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Column, JsonTables};

    fn columns() -> UserColumns {
        UserColumns::new("id").gender("sex").age("age").occupation("job").zip_code("zip")
    }

    fn users() -> Vocab {
        Vocab::from_texts(vec!["ann".into(), "bob".into(), "eve".into()]).unwrap()
    }

    fn read(json: &str) -> Result<Known<UserTable>> {
        columns().read(JsonTables::default().read_from(json.as_bytes(), &columns().columns())?, &users())
    }

    #[test]
    fn rows_follow_the_vocabulary() {
        let json = "{\"id\": \"bob\", \"age\": 35.0, \"zip\": \"02139\"}\n{\"id\": \"tim\", \"age\": \"?\"}\n\
                    {\"id\": \"ann\", \"sex\": \"F\", \"job\": 16}\n";
        let known = read(json).unwrap();
        assert_eq!((known.n_without_row, known.n_left_out), (1, 1));
        let table = known.table;
        assert_eq!(
            (table.genders(), table.ages()),
            (&["F", "", ""].map(String::from)[..], &[None, Some(35), None][..])
        );
        assert_eq!(table.occupations(), ["16", "", ""]);
        assert_eq!(table.zip_codes(), ["", "02139", ""]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |line: &str| read(&format!("{{\"id\": \"ann\"}}\n{line}\n")).unwrap_err().to_string();
        assert_eq!(
            error("{\"id\": \"ann\"}"),
            "input, line 2, column id: expected a key that did not come before, found \"ann\""
        );
        assert_eq!(error("{\"age\": 3}"), "input, line 2, column id: expected a key, found nothing");
        assert_eq!(
            error("{\"id\": \"bob\", \"age\": 4294967296}"),
            "input, line 2, column age: expected an age, as a whole number below 2^32, found \"4294967296\""
        );
        let table = Table::default().with_column("id", Column::ints([7])).unwrap();
        let found = UserColumns::new("id").read([Ok(table)], &users()).unwrap_err().to_string();
        assert_eq!(
            found,
            "input, line 1, column id: expected keys of the data set, such as \"ann\", found none in 1 rows, but such as \"7\""
        );
    }
}
