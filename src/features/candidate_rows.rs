use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::features::encoded_rows::Bags;
use crate::features::{ChannelFeatures, EncodedRows, FeatureSpace};
use crate::ids::{ItemId, UserId};
use crate::pipeline::{Candidate, ChannelScores};

/// What is known of users and of items, encoded apart, and joined for a user and some candidates: the rows that a ranker
/// learns from and scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct CandidateRows {
    users: EncodedRows,
    items: EncodedRows,
    user_fields: Vec<String>,
    channels: Option<ChannelFeatures>,
    /// That of the joined rows: with fields for the channels.
    space: FeatureSpace,
}

/// [`CandidateRows`] in a file, not yet known to fit together.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    users: EncodedRows,
    items: EncodedRows,
    user_fields: Vec<String>,
    channels: Option<ChannelFeatures>,
}

impl From<CandidateRows> for Saved {
    fn from(CandidateRows { users, items, user_fields, channels, .. }: CandidateRows) -> Self {
        Self { users, items, user_fields, channels }
    }
}

impl TryFrom<Saved> for CandidateRows {
    type Error = Error;

    fn try_from(Saved { users, items, user_fields, channels }: Saved) -> Result<Self> {
        let user_fields: Vec<&str> = user_fields.iter().map(String::as_str).collect();
        let rows = Self::new(users, items, &user_fields)?;
        match channels {
            Some(channels) => rows.with_channels(channels),
            None => Ok(rows),
        }
    }
}

impl CandidateRows {
    /// Rows of users (one each, and one more for strangers) and of items (one each), both in one space. Of a user's row
    /// the fields `user_fields` are read, of an item's row all others.
    ///
    /// # Errors
    /// Rows of different spaces, no row for strangers, or a name that is no field.
    pub fn new(users: EncodedRows, items: EncodedRows, user_fields: &[&str]) -> Result<Self> {
        if users.n_rows() == 0 {
            let what = "number of users' rows, with one for strangers";
            return Err(ErrorKind::LengthMismatch { what, expected: 1, found: 0 }.into());
        }
        let user_fields: Vec<String> = user_fields.iter().map(|&name| name.into()).collect();
        users.join(0, &user_fields, &items, &[], &[])?;
        Ok(Self { space: users.space().clone(), users, items, user_fields, channels: None })
    }

    /// With fields more for what recall channels said of a candidate.
    ///
    /// # Errors
    /// A field that has the name of a channel's, or channels that are there already.
    pub fn with_channels(mut self, channels: ChannelFeatures) -> Result<Self> {
        if self.channels.is_some() {
            let expected = "rows without fields of channels";
            return Err(Error::config("CandidateRows::with_channels", expected, "rows that have them"));
        }
        self.space = channels.extend(&self.space)?;
        self.channels = Some(channels);
        Ok(self)
    }

    /// What every row holds.
    pub fn space(&self) -> &FeatureSpace {
        &self.space
    }

    /// What is known of users: a row each, and one for strangers. Without the channels' fields.
    pub fn users(&self) -> &EncodedRows {
        &self.users
    }

    /// What is known of items: a row each. Without the channels' fields.
    pub fn items(&self) -> &EncodedRows {
        &self.items
    }

    /// The number of users with a row of their own.
    pub fn n_users(&self) -> usize {
        self.users.n_rows() - 1
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.items.n_rows()
    }

    /// A row for each item for this user, or for a stranger, with this history, oldest first. No labels; no channel named the
    /// items.
    ///
    /// # Errors
    /// A user or an item that is none of those known.
    pub fn of(&self, user: Option<UserId>, history: &[ItemId], items: &[ItemId]) -> Result<EncodedRows> {
        let nothing = ChannelScores::default();
        self.joined(user, history, items.iter().copied(), |_| &nothing)
    }

    /// As [`of`](Self::of), with what the channels said of the candidates.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_candidates(
        &self,
        user: Option<UserId>,
        history: &[ItemId],
        candidates: &[Candidate],
    ) -> Result<EncodedRows> {
        let items = candidates.iter().map(|candidate| candidate.item);
        self.joined(user, history, items, |row| &candidates[row].channels)
    }

    /// Rows of items of which the channels said `told`.
    fn joined<'a>(
        &self,
        user: Option<UserId>,
        history: &[ItemId],
        items: impl Iterator<Item = ItemId> + Clone,
        told: impl Fn(usize) -> &'a ChannelScores,
    ) -> Result<EncodedRows> {
        let check = |what, id: u32, bound: usize| match (id as usize) < bound {
            true => Ok(()),
            false => Err(ErrorKind::IdOutOfRange { what, id: id.into(), bound: bound as u64 }),
        };
        user.iter().try_for_each(|user| check("user", user.0, self.n_users()))?;
        let all = history.iter().copied().chain(items.clone());
        all.into_iter().try_for_each(|item| check("item", item.0, self.n_items()))?;
        let history: Vec<u32> = match self.users.space().history() {
            Some((field, max_len)) => {
                let recent = &history[history.len().saturating_sub(max_len)..];
                let id = |item: &ItemId| self.items.bag(item.index(), field).0.first().copied();
                recent.iter().filter_map(id).collect()
            }
            None => Vec::new(),
        };
        let (users, row) = (&self.users, user.map_or(self.n_users(), UserId::index));
        let items: Vec<usize> = items.map(ItemId::index).collect();
        let mut of_channels = self.channels.as_ref().map(|channels| channels.bags(&self.space));
        let extend = |row, bags: &mut Bags| {
            if let Some(of_channels) = &mut of_channels {
                of_channels.write(told(row), bags);
            }
        };
        users.join_extended(row, &self.user_fields, &self.items, &items, &history, &self.space, extend)
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
    fn candidates_bring_what_the_channels_said() {
        let plain = rows();
        let candidate = |item, score, rank| Candidate::new(ItemId(item), score).from_channel("knn", rank);
        let candidates = [candidate(2, 4.0, 1), Candidate::new(ItemId(0), 1.0), candidate(1, 2.0, 62)];
        let channels = ChannelFeatures::fit(["knn", "silent"], &candidates).unwrap();
        let known = plain.clone().with_channels(channels.clone()).unwrap();
        let (user, history) = (Some(UserId(1)), [ItemId(1)]);
        let found = known.of_candidates(user, &history, &candidates).unwrap();
        let items = candidates.each_ref().map(|candidate| candidate.item);
        let (bare, silent) =
            (plain.of(user, &history, &items).unwrap(), known.of(user, &history, &items).unwrap());
        assert_eq!(plain.of_candidates(user, &history, &candidates).unwrap(), bare);
        assert_eq!([found.space(), silent.space()], [known.space(); 2]);
        let n = plain.space().n_fields();
        let first = known.space().ids(n).start;
        for (row, expected) in [vec![1.0, 1.0, 1.0], vec![], vec![0.5, -1.0, 1.0]].into_iter().enumerate() {
            for field in 0..n {
                assert_eq!(found.bag(row, field), bare.bag(row, field));
                assert_eq!(silent.bag(row, field), bare.bag(row, field));
                assert_eq!(found.is_shared(field), bare.is_shared(field));
            }
            assert_eq!(found.history(row), bare.history(row));
            assert_eq!(found.bag(row, n).1, expected);
            assert!(expected.is_empty() || found.bag(row, n).0[..2] == [first, first + 1]);
            assert!(found.bag(row, n + 1).0.is_empty() && silent.bag(row, n).0.is_empty());
        }
        assert!(!found.is_shared(n) && found.is_shared(0));
        assert!(known.clone().with_channels(channels).is_err());
        let others = ChannelFeatures::fit(["others"], &candidates).unwrap();
        assert!(known.clone().with_channels(others).is_err(), "channels that are there already");
        let saved = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<CandidateRows>(&saved).unwrap(), known);
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
