use std::collections::HashSet;

use crate::data::{Csr, Interactions, Sequences};
use crate::error::{ErrorKind, Result};
use crate::ids::{ItemId, UserId};
use crate::pipeline::Query;

/// The questions of an evaluation: for each user what was known before, and what came after.
///
/// ```
/// use recsys::metrics::HeldOut;
/// use recsys::prelude::*;
///
/// let row = |item, timestamp| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp };
/// let train = Interactions::from_rows(1, 4, [row(3, 20), row(1, 10)])?;
/// let validation = Interactions::from_rows(1, 4, [row(2, 30)])?;
/// let held_out = HeldOut::validation(&train, &validation)?;
/// assert_eq!(held_out.users()[0].history, [ItemId(1), ItemId(3)]);
/// assert_eq!(held_out.users()[0].relevant, [ItemId(2)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    split: String,
    masked: String,
    n_items: usize,
    users: Vec<HeldOutUser>,
}

/// One question of a [`HeldOut`].
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOutUser {
    /// Who.
    pub user: UserId,
    /// The items of the past, oldest first; may be empty.
    pub history: Vec<ItemId>,
    /// The items that the answer may not contain, unless they are relevant.
    pub seen: Vec<ItemId>,
    /// The items that the answer should contain: ascending, distinct, at least one.
    pub relevant: Vec<ItemId>,
}

impl HeldOutUser {
    /// The question as a query: the user and the history, with the seen items excluded. A relevant item
    /// stays in the competition even if it was seen before.
    pub fn query(&self) -> Query<'_> {
        let masked = self.seen.iter().copied().filter(|item| self.relevant.binary_search(item).is_err());
        Query::new(&self.history).with_user(self.user).excluding(masked)
    }
}

impl HeldOut {
    /// The questions of the validation part: history and seen items come from the training part.
    ///
    /// # Errors
    /// Parts over different numbers of users or items.
    pub fn validation(train: &Interactions, validation: &Interactions) -> Result<Self> {
        Self::from_parts("validation", "items seen in train", train, validation)
    }

    /// The questions of the test part: history and seen items come from the training and the validation
    /// part.
    ///
    /// # Errors
    /// Parts over different numbers of users or items.
    pub fn test(train: &Interactions, validation: &Interactions, test: &Interactions) -> Result<Self> {
        check_same_ids(train, test)?;
        check_same_ids(validation, test)?;
        let past = train.iter().chain(validation.iter());
        let past = Interactions::from_rows(test.n_users(), test.n_items(), past)?;
        Self::from_parts("test", "items seen in train and validation", &past, test)
    }

    /// A question for each row of `future`, of everything that its user did strictly before it: the rows of `past`, and the
    /// earlier ones of `future`. Rows at the same time count in the order of the tables, those of `past` first. They come by
    /// user, each user's in the order of time.
    ///
    /// With the parts of [`Split::out_of_fold`](crate::data::Split::out_of_fold), recallers that are fitted to `past` answer
    /// each as they will answer a request.
    ///
    /// # Errors
    /// Parts over different numbers of users or items.
    pub fn next_items(past: &Interactions, future: &Interactions) -> Result<Self> {
        check_same_ids(past, future)?;
        let [before, asked] = [past, future].map(|part| Csr::by_user(part, |row| (row.timestamp, row.item)));
        let mut users = Vec::with_capacity(future.len());
        for (user, (before, asked)) in (0..).map(UserId).zip(before.rows().zip(asked.rows())) {
            let mut rows: Vec<_> = before.iter().map(|row| (row, false)).collect();
            rows.extend(asked.iter().map(|row| (row, true)));
            rows.sort_by_key(|((timestamp, _), _)| *timestamp);
            let items: Vec<ItemId> = rows.iter().map(|((_, item), _)| *item).collect();
            users.extend((0..rows.len()).filter(|&at| rows[at].1).map(|at| HeldOutUser {
                user,
                history: items[..at].to_vec(),
                seen: items[..at].to_vec(),
                relevant: vec![items[at]],
            }));
        }
        Self::new("each next item", "items seen before", future.n_items(), users)
    }

    /// The last question of each user, behind all others: where what was learnt from those is tested.
    pub fn split_last(self) -> (Self, Self) {
        let Self { split, masked, n_items, users } = self;
        let mut is_last = vec![true; users.len()];
        let mut later = HashSet::new();
        for (at, question) in users.iter().enumerate().rev() {
            is_last[at] = later.insert(question.user);
        }
        let (last, others): (Vec<_>, Vec<_>) =
            users.into_iter().zip(is_last).partition(|(_, is_last)| *is_last);
        let of = |which: &str, users: Vec<(HeldOutUser, bool)>| Self {
            split: format!("{split}, {which}"),
            masked: masked.clone(),
            n_items,
            users: users.into_iter().map(|(user, _)| user).collect(),
        };
        (of("all but each user's last", others), of("each user's last", last))
    }

    /// Questions of any other origin. `split` and `masked` say in every report where the relevant items
    /// come from and which items count as seen. Users with nothing relevant are left out.
    ///
    /// # Errors
    /// An item that is not below `n_items`.
    pub fn new(
        split: impl Into<String>,
        masked: impl Into<String>,
        n_items: usize,
        mut users: Vec<HeldOutUser>,
    ) -> Result<Self> {
        users.retain(|user| !user.relevant.is_empty());
        for user in &mut users {
            user.relevant.sort_unstable();
            user.relevant.dedup();
            let mut items = user.history.iter().chain(&user.seen).chain(&user.relevant);
            if let Some(item) = items.find(|item| item.index() >= n_items) {
                let (id, bound) = (item.0.into(), n_items as u64);
                return Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into());
            }
        }
        Ok(Self { split: split.into(), masked: masked.into(), n_items, users })
    }

    fn from_parts(split: &str, masked: &str, past: &Interactions, future: &Interactions) -> Result<Self> {
        check_same_ids(past, future)?;
        let relevant = Csr::by_user(future, |row| row.item);
        let histories = Sequences::new(past);
        let users = histories
            .iter()
            .map(|(user, history)| HeldOutUser {
                user,
                history: history.to_vec(),
                seen: history.to_vec(),
                relevant: relevant.row(user).to_vec(),
            })
            .filter(|user| !user.relevant.is_empty());
        Self::new(split, masked, future.n_items(), users.collect())
    }

    /// The users and their questions, by ascending user id.
    pub fn users(&self) -> &[HeldOutUser] {
        &self.users
    }

    /// The number of items of the catalogue.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// Where the relevant items come from: `"validation"`, `"test"`.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// Which items are excluded.
    pub fn masked(&self) -> &str {
        &self.masked
    }
}

/// Checks that a part has the ids of the part that is asked for.
fn check_same_ids(part: &Interactions, future: &Interactions) -> Result<()> {
    for (what, expected, found) in [
        ("number of users of the parts", future.n_users(), part.n_users()),
        ("number of items of the parts", future.n_items(), part.n_items()),
    ] {
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interaction;

    fn table(rows: &[(u32, u32, i64)]) -> Interactions {
        let rows = rows.iter().map(|&(user, item, timestamp)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        });
        Interactions::from_rows(3, 10, rows).unwrap()
    }

    fn ids(ids: &[u32]) -> Vec<ItemId> {
        ids.iter().copied().map(ItemId).collect()
    }

    #[test]
    fn histories_are_in_stable_order_of_time() {
        let train = table(&[(2, 4, 5), (0, 9, 7), (0, 1, 3), (0, 8, 7), (0, 2, 7)]);
        let validation = table(&[(0, 5, 7), (1, 6, 1)]);
        let held_out = HeldOut::validation(&train, &validation).unwrap();
        let users: Vec<_> = held_out.users().iter().map(|user| user.user.0).collect();
        assert_eq!(users, [0, 1], "user 2 has nothing held out");
        assert_eq!(held_out.users()[0].history, ids(&[1, 9, 8, 2]));
        assert!(held_out.users()[1].history.is_empty(), "somebody new is asked too");

        let test = table(&[(2, 3, 9), (0, 7, 8), (0, 3, 8), (0, 3, 9)]);
        let held_out = HeldOut::test(&train, &validation, &test).unwrap();
        assert_eq!(held_out.users()[0].history, ids(&[1, 9, 8, 2, 5]), "validation follows train at a tie");
        assert_eq!(held_out.users()[0].seen, held_out.users()[0].history);
        assert_eq!(held_out.users()[0].relevant, ids(&[3, 7]));
        assert_eq!((held_out.split(), held_out.n_items()), ("test", 10));
    }

    #[test]
    fn each_next_item_is_asked_for_with_what_was_before_it() {
        let past = table(&[(0, 1, 10), (0, 2, 30), (2, 6, 5), (0, 9, 20)]);
        let future = table(&[(0, 3, 40), (2, 8, 6), (0, 4, 20), (0, 5, 30)]);
        let asked = HeldOut::next_items(&past, &future).unwrap();
        let facts = |held_out: &HeldOut| -> Vec<(u32, Vec<ItemId>, ItemId)> {
            let fact = |user: &HeldOutUser| (user.user.0, user.history.clone(), user.relevant[0]);
            held_out.users().iter().map(fact).collect()
        };
        let expected = vec![
            (0, ids(&[1, 9]), ItemId(4)),
            (0, ids(&[1, 9, 4, 2]), ItemId(5)),
            (0, ids(&[1, 9, 4, 2, 5]), ItemId(3)),
            (2, ids(&[6]), ItemId(8)),
        ];
        assert_eq!(facts(&asked), expected);
        assert!(asked.users().iter().all(|user| user.seen == user.history && user.relevant.len() == 1));
        let (others, last) = asked.split_last();
        assert_eq!((facts(&others), facts(&last)), (expected[..2].to_vec(), expected[2..].to_vec()));
        assert_eq!(last.split(), "each next item, each user's last");
        assert!(HeldOut::next_items(&past, &Interactions::from_rows(2, 10, []).unwrap()).is_err());
    }

    #[test]
    fn a_target_is_never_masked() {
        let held_out = HeldOut::validation(&table(&[(0, 1, 1), (0, 2, 2)]), &table(&[(0, 2, 3)])).unwrap();
        let query = held_out.users()[0].query();
        assert!(query.filter().admits(ItemId(2)) && !query.filter().admits(ItemId(1)));
        assert_eq!((query.history(), query.user()), (&ids(&[1, 2])[..], Some(UserId(0))));
    }

    #[test]
    fn bad_input_is_named() {
        let error = HeldOut::validation(&Interactions::from_rows(3, 9, []).unwrap(), &table(&[]));
        assert_eq!(error.unwrap_err().to_string(), "number of items of the parts: expected 10, found 9");
        let user = HeldOutUser { user: UserId(0), history: ids(&[7]), seen: vec![], relevant: ids(&[1]) };
        let error = HeldOut::new("a", "b", 7, vec![user]).unwrap_err();
        assert_eq!(error.to_string(), "item id 7 is not below 7");
    }
}
