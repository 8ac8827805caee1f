use crate::error::{ErrorKind, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::ids::{ItemId, UserId};

/// What is known of users and of items, encoded apart, and joined for a user and some candidates: the rows that a ranker
/// learns from and scores.
#[derive(Clone, Debug)]
pub struct CandidateRows {
    users: EncodedRows,
    items: EncodedRows,
    user_fields: Vec<String>,
}

impl CandidateRows {
    /// Rows of users (one each, and one more for strangers) and of items (one each), both in one space. Of a user's row
    /// the fields `user_fields` are read, of an item's row all others.
    ///
    /// # Errors
    /// Rows of different spaces, no row for strangers, or a name that is no field.
    pub fn new(users: EncodedRows, items: EncodedRows, user_fields: &[&str]) -> Result<Self> {
        let rows = Self { users, items, user_fields: user_fields.iter().map(|&name| name.into()).collect() };
        if rows.users.n_rows() == 0 {
            let what = "number of users' rows, with one for strangers";
            return Err(ErrorKind::LengthMismatch { what, expected: 1, found: 0 }.into());
        }
        rows.users.join(0, &rows.user_fields, &rows.items, &[], &[])?;
        Ok(rows)
    }

    /// What every row holds.
    pub fn space(&self) -> &FeatureSpace {
        self.users.space()
    }

    /// What is known of users: a row each, and one for strangers.
    pub fn users(&self) -> &EncodedRows {
        &self.users
    }

    /// What is known of items: a row each.
    pub fn items(&self) -> &EncodedRows {
        &self.items
    }

    /// The fields that are read of a user's row.
    pub fn user_fields(&self) -> Vec<&str> {
        self.user_fields.iter().map(String::as_str).collect()
    }

    /// A row for each candidate of this user, or of a stranger, with this history, oldest first. No labels.
    ///
    /// # Errors
    /// A user or an item that is none of those known.
    pub fn of(&self, user: Option<UserId>, history: &[ItemId], candidates: &[ItemId]) -> Result<EncodedRows> {
        let check = |what, id: u32, bound: usize| match (id as usize) < bound {
            true => Ok(()),
            false => Err(ErrorKind::IdOutOfRange { what, id: id.into(), bound: bound as u64 }),
        };
        let (stranger, n_items) = (self.users.n_rows() - 1, self.items.n_rows());
        user.iter().try_for_each(|user| check("user", user.0, stranger))?;
        history.iter().chain(candidates).try_for_each(|item| check("item", item.0, n_items))?;
        let history: Vec<u32> = match self.space().history() {
            Some((field, max_len)) => {
                let recent = &history[history.len().saturating_sub(max_len)..];
                let id = |item: &ItemId| self.items.bag(item.index(), field).0.first().copied();
                recent.iter().filter_map(id).collect()
            }
            None => Vec::new(),
        };
        let user = user.map_or(stranger, UserId::index);
        let candidates: Vec<usize> = candidates.iter().map(|item| item.index()).collect();
        self.users.join(user, &self.user_fields, &self.items, &candidates, &history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Column, FeatureEncoder, FieldKind, Ids, Schema, Table};

    fn rows() -> CandidateRows {
        let history = FieldKind::History { of: "item".into(), max_len: 2, separator: None };
        let schema = Schema::default()
            .with_field("user", Ids::default())
            .with_field("item", Ids::default())
            .with_field("past", history);
        let table = |users: Vec<Option<i64>>, items: Vec<Option<i64>>| {
            let past = Column::lists(Column::ints([0; 0]), users.iter().map(|_| 0..0)).unwrap();
            Table::default()
                .with_column("user", Column::ints(users))
                .unwrap()
                .with_column("item", Column::ints(items))
                .unwrap()
                .with_column("past", past)
                .unwrap()
        };
        let fitted = table(vec![Some(0), Some(1), Some(0)], vec![Some(0), Some(1), Some(2)]);
        let encoder = FeatureEncoder::fit(schema, [Ok(&fitted)]).unwrap();
        let users = encoder.encode_features(&table(vec![Some(0), Some(1), None], vec![None; 3])).unwrap();
        let items = encoder.encode_features(&table(vec![None; 3], (0..3).map(Some).collect())).unwrap();
        CandidateRows::new(users, items, &["user"]).unwrap()
    }

    #[test]
    fn rows_have_the_user_the_candidate_and_the_latest_history() {
        let known = rows();
        let ids = |ids: &[u32]| ids.iter().copied().map(ItemId).collect::<Vec<_>>();
        let item = |item: usize| known.items().bag(item, 1).0.to_vec();
        let rows = known.of(Some(UserId(1)), &ids(&[2, 0, 1]), &ids(&[2, 0])).unwrap();
        assert_eq!(rows.n_rows(), 2);
        for (row, candidate) in [2, 0].into_iter().enumerate() {
            assert_eq!(rows.bag(row, 0), known.users().bag(1, 0));
            assert_eq!(rows.bag(row, 1).0, item(candidate));
            assert_eq!(rows.history(row), [item(0), item(1)].concat());
        }
        let stranger = known.of(None, &[], &ids(&[1])).unwrap();
        assert_eq!((stranger.bag(0, 0), stranger.history(0)), (known.users().bag(2, 0), &[][..]));
    }

    #[test]
    fn what_is_not_known_is_named() {
        let known = rows();
        let error = |user, history: &[ItemId], items: &[ItemId]| {
            known.of(user, history, items).unwrap_err().to_string()
        };
        assert_eq!(error(Some(UserId(2)), &[], &[]), "user id 2 is not below 2");
        assert_eq!(error(None, &[ItemId(3)], &[]), "item id 3 is not below 3");
        assert_eq!(error(None, &[], &[ItemId(9)]), "item id 9 is not below 3");
        let (users, items) = (known.users().clone(), known.items().clone());
        assert!(CandidateRows::new(users.select(&[]), items.clone(), &["user"]).is_err());
        assert!(CandidateRows::new(users, items, &["nobody"]).is_err());
    }
}
