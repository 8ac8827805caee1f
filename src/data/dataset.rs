use super::{Interactions, ItemTable, UserTable, Vocab};
use crate::error::{ErrorKind, Result};
use crate::ids::{ItemId, UserId};

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
}

impl Dataset {
    /// Joins interactions with the keys behind their ids.
    ///
    /// # Errors
    /// A vocabulary that has not one key for each id.
    pub fn new(interactions: Interactions, users: Vocab, items: Vocab) -> Result<Self> {
        check_length("number of user keys", interactions.n_users(), users.len())?;
        check_length("number of item keys", interactions.n_items(), items.len())?;
        Ok(Self { interactions, users, items, item_table: None, user_table: None })
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
        }
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}
