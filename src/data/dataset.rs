use super::{Interactions, ItemTable, UserTable, Vocab};
use crate::error::{ErrorKind, Result};

/// Interactions, the keys behind their ids, and what is known of the users and items.
///
/// ```
/// use recsys::prelude::*;
///
/// let event = |user, item, value| Interaction { user: UserId(user), item: ItemId(item), value, timestamp: 0 };
/// let interactions = Interactions::from_rows(2, 2, [event(0, 0, 2.0), event(1, 1, 5.0)])?;
/// let users = Vocab::from_ints(vec![17, 42])?;
/// let items = Vocab::from_texts(vec!["Alien".into(), "Brazil".into()])?;
///
/// let liked = Dataset::new(interactions, users, items)?.filter(|rows| rows.min_value(4.0))?.compact();
/// assert_eq!((liked.n_users(), liked.users().id(42)), (1, Some(0)));
/// assert_eq!(liked.items().key(0), Some(Key::Text("Brazil")));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    interactions: Interactions,
    users: Vocab,
    items: Vocab,
    item_table: Option<ItemTable>,
    user_table: Option<UserTable>,
    n_skipped: u64,
}

impl Dataset {
    /// Joins interactions with the keys behind their ids.
    ///
    /// # Errors
    /// A vocabulary that has not one key for each id.
    pub fn new(interactions: Interactions, users: Vocab, items: Vocab) -> Result<Self> {
        check_length("number of user keys", interactions.n_users(), users.len())?;
        check_length("number of item keys", interactions.n_items(), items.len())?;
        Ok(Self { interactions, users, items, item_table: None, user_table: None, n_skipped: 0 })
    }

    /// Notes how many rows a reader left out.
    pub(super) fn with_skipped(mut self, n_skipped: u64) -> Self {
        self.n_skipped = n_skipped;
        self
    }

    /// Adds what is known of the items.
    ///
    /// # Errors
    /// A table that has not one row for each item.
    pub fn with_item_table(mut self, table: ItemTable) -> Result<Self> {
        check_length("number of rows of the item table", self.n_items(), table.len())?;
        self.item_table = Some(table);
        Ok(self)
    }

    /// Adds what is known of the users.
    ///
    /// # Errors
    /// A table that has not one row for each user.
    pub fn with_user_table(mut self, table: UserTable) -> Result<Self> {
        check_length("number of rows of the user table", self.n_users(), table.len())?;
        self.user_table = Some(table);
        Ok(self)
    }

    /// What happened.
    pub fn interactions(&self) -> &Interactions {
        &self.interactions
    }

    /// The users' keys.
    pub fn users(&self) -> &Vocab {
        &self.users
    }

    /// The items' keys.
    pub fn items(&self) -> &Vocab {
        &self.items
    }

    /// What is known of the items.
    pub fn item_table(&self) -> Option<&ItemTable> {
        self.item_table.as_ref()
    }

    /// What is known of the users.
    pub fn user_table(&self) -> Option<&UserTable> {
        self.user_table.as_ref()
    }

    /// The number of rows of the file that the reader left out, as it was told to
    /// ([`ColumnMap::skip_missing`](crate::data::ColumnMap::skip_missing)): each misses something.
    pub fn n_skipped(&self) -> u64 {
        self.n_skipped
    }

    /// The number of users; some may have no row.
    pub fn n_users(&self) -> usize {
        self.users.len()
    }

    /// The number of items; some may have no row.
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Replaces the interactions by what `filter` leaves of them. The ids stay as they are; follow with
    /// [`compact`](Self::compact) to forget the users and items without a row.
    ///
    /// # Errors
    /// If `filter` returns a table over other numbers of users or items.
    pub fn filter(self, filter: impl FnOnce(Interactions) -> Interactions) -> Result<Self> {
        let interactions = filter(self.interactions);
        check_length("number of users after a filter", self.users.len(), interactions.n_users())?;
        check_length("number of items after a filter", self.items.len(), interactions.n_items())?;
        Ok(Self { interactions, ..self })
    }

    /// Forgets the users and items without a row: those that remain get new ids, in the order of the old
    /// ones, and vocabularies and tables follow.
    pub fn compact(self) -> Self {
        let (interactions, users, items) = self.interactions.compact();
        let keys = |vocab: &Vocab, ids: &mut dyn Iterator<Item = u32>| {
            vocab.select(&ids.collect::<Vec<_>>()).expect("ascending ids below the size of the vocabulary")
        };
        Self {
            interactions,
            users: keys(&self.users, &mut users.iter().map(|user| user.0)),
            items: keys(&self.items, &mut items.iter().map(|item| item.0)),
            item_table: self.item_table.map(|table| table.select(&items)),
            user_table: self.user_table.map(|table| table.select(&users)),
            n_skipped: self.n_skipped,
        }
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::table;
    use super::*;
    use crate::data::{Interaction, Key};

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.into()).collect()
    }

    fn item_table(titles: &[&str]) -> ItemTable {
        let genres = (0..titles.len() as u32).map(|item| vec![item]).collect();
        ItemTable::new(texts(titles), vec![None; titles.len()], texts(titles), genres).unwrap()
    }

    fn user_table(zip_codes: &[&str]) -> UserTable {
        let unknown = || vec![String::new(); zip_codes.len()];
        UserTable::new(unknown(), vec![None; zip_codes.len()], unknown(), texts(zip_codes)).unwrap()
    }

    fn dataset() -> Dataset {
        let rows = table(3, 4, &[(2, 3, 5.0, 1), (0, 1, 4.0, 2), (1, 0, 1.0, 3), (2, 1, 4.0, 4)]);
        let users = Vocab::from_ints(vec![70, 71, 72]).unwrap();
        let items = Vocab::from_texts(texts(&["a", "b", "c", "d"])).unwrap();
        Dataset::new(rows, users, items)
            .and_then(|dataset| dataset.with_item_table(item_table(&["A", "B", "C", "D"])))
            .and_then(|dataset| dataset.with_user_table(user_table(&["Z0", "Z1", "Z2"])))
            .unwrap()
    }

    #[test]
    fn compaction_keeps_what_the_rows_mean() {
        let liked = dataset().filter(|rows| rows.min_value(4.0)).unwrap();
        assert_eq!((liked.n_users(), liked.n_items(), liked.interactions().len()), (3, 4, 3));
        let compact = liked.clone().compact();
        assert_eq!((compact.n_users(), compact.n_items()), (2, 2));
        let meaning = |dataset: &Dataset| -> Vec<_> {
            let (items, users) = (dataset.item_table().unwrap(), dataset.user_table().unwrap());
            let row = |row: Interaction| {
                let Interaction { user, item, value, timestamp } = row;
                let genre = items.genres().row(item)[0] as usize;
                (
                    dataset.users().key(user.0).unwrap().to_string(),
                    dataset.items().key(item.0).unwrap().to_string(),
                    items.titles()[item.index()].clone(),
                    items.genre_names()[genre].clone(),
                    users.zip_codes()[user.index()].clone(),
                    (value, timestamp),
                )
            };
            dataset.interactions().iter().map(row).collect()
        };
        assert_eq!(meaning(&compact), meaning(&liked));
        assert_eq!(
            (compact.users().key(1), compact.items().key(1)),
            (Some(Key::Int(72)), Some(Key::Text("d")))
        );
        assert_eq!(compact.clone().compact(), compact);
        let empty = compact.filter(|rows| rows.min_value(6.0)).unwrap().compact();
        assert_eq!((empty.n_users(), empty.n_items(), empty.item_table().unwrap().len()), (0, 0, 0));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let keys = |n: u64| Vocab::from_ints((0..n).collect()).unwrap();
        let error = |result: Result<Dataset>| result.unwrap_err().to_string();
        let rows = || table(2, 3, &[]);
        assert_eq!(error(Dataset::new(rows(), keys(3), keys(3))), "number of user keys: expected 2, found 3");
        assert_eq!(error(Dataset::new(rows(), keys(2), keys(2))), "number of item keys: expected 3, found 2");
        assert_eq!(
            error(dataset().with_item_table(item_table(&["A"]))),
            "number of rows of the item table: expected 4, found 1"
        );
        assert_eq!(
            error(dataset().with_user_table(user_table(&[]))),
            "number of rows of the user table: expected 3, found 0"
        );
        assert_eq!(
            error(dataset().filter(|_| table(3, 5, &[]))),
            "number of items after a filter: expected 4, found 5"
        );
    }
}
