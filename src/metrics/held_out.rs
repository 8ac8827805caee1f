use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use crate::data::{Csr, DropReason, Interactions, Sequences, Split};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::{ItemId, UserId};
use crate::metrics::table::thousands;
use crate::pipeline::Query;

/// The questions of an evaluation: for each user what was known before, and what came after. Also which rows the split
/// left out, so that every report of these questions tells.
///
/// Parts that come from files of their own are put into a [`Split`]:
///
/// ```
/// use recsys::metrics::HeldOut;
/// use recsys::prelude::*;
///
/// let row = |item, timestamp| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp };
/// let train = Interactions::from_rows(1, 4, [row(3, 20), row(1, 10)])?;
/// let validation = Interactions::from_rows(1, 4, [row(2, 30)])?;
/// let test = Interactions::from_rows(1, 4, [])?;
/// let held_out = HeldOut::validation(&Split { train, validation, test, dropped: None })?;
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
    dropped: Option<DroppedRows>,
}

/// How many rows a [`Split`] left out, and why: what a report tells of [`Dropped`](crate::data::Dropped).
///
/// ```
/// use recsys::metrics::DroppedRows;
/// use recsys::prelude::*;
///
/// let row = |user, timestamp| Interaction { user: UserId(user), item: ItemId(0), value: 1.0, timestamp };
/// let rows = Interactions::from_rows(2, 1, [row(0, 1), row(0, 2), row(0, 3), row(1, 1)])?;
/// let dropped = DroppedRows::of(&Split::leave_one_out(&rows)).unwrap();
/// assert_eq!(dropped.to_string(), "1 of 4 rows, of users with fewer than 3 rows");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DroppedRows {
    /// The rows that are in no part.
    pub number: usize,
    /// The rows before the split.
    pub of: usize,
    /// Why they are in no part.
    pub reason: DropReason,
}

impl DroppedRows {
    /// What a split left out; `None` where every row is in a part.
    pub fn of(split: &Split) -> Option<Self> {
        let dropped = split.dropped.as_ref()?;
        let number = dropped.interactions.len();
        let of = split.train.len() + split.validation.len() + split.test.len() + number;
        Some(Self { number, of, reason: dropped.reason })
    }
}

impl fmt::Display for DroppedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [number, of] = [self.number, self.of].map(thousands);
        write!(f, "{number} of {of} rows, of {}", self.reason)
    }
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
    /// Parts over different numbers of users or items; no rows in the validation part.
    pub fn validation(split: &Split) -> Result<Self> {
        check_part(split, "validation", &split.validation)?;
        let questions =
            Self::from_parts("validation", "items seen in train", &split.train, &split.validation)?;
        Ok(questions.with_dropped(DroppedRows::of(split)))
    }

    /// The questions of the test part: history and seen items come from the training and the validation
    /// part, which may be without rows.
    ///
    /// # Errors
    /// Parts over different numbers of users or items; no rows in the test part.
    pub fn test(split: &Split) -> Result<Self> {
        check_part(split, "test", &split.test)?;
        let past = split.train_and_validation();
        let questions = Self::from_parts("test", "items seen in train and validation", &past, &split.test)?;
        Ok(questions.with_dropped(DroppedRows::of(split)))
    }

    /// A question for each row of the validation part, of everything that its user did strictly before it: the rows of the
    /// training part, and the earlier ones of the validation part. Rows at the same time count in the order of the tables,
    /// those of the training part first. They come by user, each user's in the order of time.
    ///
    /// After [`Split::out_of_fold`], recallers that are fitted to the training part answer each as they will answer a
    /// request.
    ///
    /// # Errors
    /// Parts over different numbers of users or items; no rows in the validation part.
    pub fn next_items(split: &Split) -> Result<Self> {
        check_part(split, "validation", &split.validation)?;
        let [before, asked] =
            [&split.train, &split.validation].map(|part| Csr::by_user(part, |row| (row.timestamp, row.item)));
        let mut users = Vec::with_capacity(split.validation.len());
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
        let questions = Self::new("each next item", "items seen before", split.validation.n_items(), users)?;
        Ok(questions.with_dropped(DroppedRows::of(split)))
    }

    /// The last question of each user, behind all others: where what was learnt from those is tested. There are no others
    /// where each user has one question.
    pub fn split_last(self) -> (Self, Self) {
        let Self { split, masked, n_items, users, dropped } = self;
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
            dropped,
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
        Ok(Self { split: split.into(), masked: masked.into(), n_items, users, dropped: None })
    }

    /// The same questions, with what the split that they come from [left out](DroppedRows::of). Only for questions made by
    /// [`new`](Self::new): the others know.
    pub fn with_dropped(mut self, dropped: Option<DroppedRows>) -> Self {
        self.dropped = dropped;
        self
    }

    fn from_parts(part: &str, masked: &str, past: &Interactions, future: &Interactions) -> Result<Self> {
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
        Self::new(part, masked, future.n_items(), users.collect())
    }

    /// Checks that there is a question.
    pub(crate) fn check_some(&self) -> Result<()> {
        if self.users.is_empty() {
            let expected = format!("at least one user to ask in the part {:?}", self.split);
            return Err(Error::input(Location::memory(), expected, "none"));
        }
        Ok(())
    }

    /// The users and their questions, by ascending user id.
    pub fn users(&self) -> &[HeldOutUser] {
        &self.users
    }

    /// The questions of which the history is empty.
    pub fn users_without_history(&self) -> usize {
        self.users.iter().filter(|user| user.history.is_empty()).count()
    }

    /// The rows that the split left out: nobody is asked for them, and no history has them.
    pub fn dropped(&self) -> Option<DroppedRows> {
        self.dropped
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

/// Checks that the part that is asked for has the ids of those before it, and rows.
fn check_part(split: &Split, name: &str, part: &Interactions) -> Result<()> {
    for other in [&split.train, &split.validation] {
        for (what, expected, found) in [
            ("number of users of the parts", part.n_users(), other.n_users()),
            ("number of items of the parts", part.n_items(), other.n_items()),
        ] {
            if expected != found {
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
    }
    if part.is_empty() {
        let dropped = DroppedRows::of(split).map(|dropped| format!("; the split dropped {dropped}"));
        let expected = format!("at least one row in the {name} part");
        return Err(Error::input(
            Location::memory(),
            expected,
            format!("none{}", dropped.unwrap_or_default()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dropped, Interaction};

    fn table(rows: &[(u32, u32, i64)]) -> Interactions {
        let rows = rows.iter().map(|&(user, item, timestamp)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        });
        Interactions::from_rows(3, 10, rows).unwrap()
    }

    fn split(train: Interactions, validation: Interactions, test: Interactions) -> Split {
        Split { train, validation, test, dropped: None }
    }

    fn ids(ids: &[u32]) -> Vec<ItemId> {
        ids.iter().copied().map(ItemId).collect()
    }

    #[test]
    fn histories_are_in_stable_order_of_time() {
        let train = table(&[(2, 4, 5), (0, 9, 7), (0, 1, 3), (0, 8, 7), (0, 2, 7)]);
        let validation = table(&[(0, 5, 7), (1, 6, 1)]);
        let test = table(&[(2, 3, 9), (0, 7, 8), (0, 3, 8), (0, 3, 9)]);
        let split = split(train, validation, test);
        let held_out = HeldOut::validation(&split).unwrap();
        let users: Vec<_> = held_out.users().iter().map(|user| user.user.0).collect();
        assert_eq!(users, [0, 1], "user 2 has nothing held out");
        assert_eq!(held_out.users()[0].history, ids(&[1, 9, 8, 2]));
        assert!(held_out.users()[1].history.is_empty(), "somebody new is asked too");
        assert_eq!((held_out.users_without_history(), held_out.dropped()), (1, None));

        let held_out = HeldOut::test(&split).unwrap();
        assert_eq!(held_out.users()[0].history, ids(&[1, 9, 8, 2, 5]), "validation follows train at a tie");
        assert_eq!(held_out.users()[0].seen, held_out.users()[0].history);
        assert_eq!(held_out.users()[0].relevant, ids(&[3, 7]));
        assert_eq!((held_out.split(), held_out.n_items()), ("test", 10));
    }

    #[test]
    fn each_next_item_is_asked_for_with_what_was_before_it() {
        let past = table(&[(0, 1, 10), (0, 2, 30), (2, 6, 5), (0, 9, 20)]);
        let future = table(&[(0, 3, 40), (2, 8, 6), (0, 4, 20), (0, 5, 30)]);
        let reason = DropReason::TooFewRows { needed: 2 };
        let dropped = Some(Dropped { interactions: table(&[(1, 1, 1)]), reason });
        let split = Split { dropped, ..split(past, future, table(&[(0, 8, 50), (2, 8, 50)])) };
        let asked = HeldOut::next_items(&split).unwrap();
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
        let dropped = Some(DroppedRows { number: 1, of: 11, reason });
        assert_eq!([others.dropped(), last.dropped()], [dropped; 2]);
        assert_eq!((facts(&others), facts(&last)), (expected[..2].to_vec(), expected[2..].to_vec()));
        assert_eq!(last.split(), "each next item, each user's last");
        let validation = Interactions::from_rows(2, 10, []).unwrap();
        assert!(HeldOut::next_items(&Split { validation, ..split }).is_err());
    }

    #[test]
    fn rows_that_the_split_left_out_are_counted() {
        let rows: Vec<_> = (0..4).map(|time| (0, time as u32, time)).chain([(1, 5, 0), (1, 6, 1)]).collect();
        let split = Split::leave_one_out(&table(&rows));
        let dropped = DroppedRows { number: 2, of: 6, reason: DropReason::TooFewRows { needed: 3 } };
        for questions in [HeldOut::validation(&split), HeldOut::test(&split), HeldOut::next_items(&split)] {
            assert_eq!(questions.unwrap().dropped(), Some(dropped));
        }
        assert_eq!(dropped.to_string(), "2 of 6 rows, of users with fewer than 3 rows");
        let json = serde_json::json!({ "number": 2, "of": 6, "reason": "users with fewer than 3 rows" });
        assert_eq!(serde_json::to_value(dropped).unwrap(), json);
        let by_hand = HeldOut::new("a", "b", 1, vec![]).unwrap().with_dropped(Some(dropped));
        assert_eq!(by_hand.dropped(), Some(dropped));
    }

    #[test]
    fn a_target_is_never_masked() {
        let split = split(table(&[(0, 1, 1), (0, 2, 2)]), table(&[(0, 2, 3)]), table(&[]));
        let held_out = HeldOut::validation(&split).unwrap();
        let query = held_out.users()[0].query();
        assert!(query.filter().admits(ItemId(2)) && !query.filter().admits(ItemId(1)));
        assert_eq!((query.history(), query.user()), (&ids(&[1, 2])[..], Some(UserId(0))));
    }

    #[test]
    fn bad_input_is_named() {
        let few_items = split(Interactions::from_rows(3, 9, []).unwrap(), table(&[]), table(&[]));
        for error in [HeldOut::validation(&few_items), HeldOut::test(&few_items)] {
            assert_eq!(error.unwrap_err().to_string(), "number of items of the parts: expected 10, found 9");
        }
        let user = HeldOutUser { user: UserId(0), history: ids(&[7]), seen: vec![], relevant: ids(&[1]) };
        let error = HeldOut::new("a", "b", 7, vec![user]).unwrap_err();
        assert_eq!(error.to_string(), "item id 7 is not below 7");
    }

    #[test]
    fn a_part_without_rows_is_named() {
        let empty = split(table(&[(0, 1, 1)]), table(&[]), table(&[]));
        let message = |questions: Result<HeldOut>| questions.unwrap_err().to_string();
        let of_validation = "input: expected at least one row in the validation part, found none";
        assert_eq!(message(HeldOut::validation(&empty)), of_validation);
        assert_eq!(message(HeldOut::next_items(&empty)), of_validation);
        let few = Split::leave_one_out(&table(&[(0, 1, 1), (0, 2, 2)]));
        assert_eq!(
            message(HeldOut::test(&few)),
            "input: expected at least one row in the test part, found none; the split dropped 2 of 2 rows, of users \
             with fewer than 3 rows"
        );
        let without_validation = split(table(&[(0, 1, 1)]), table(&[]), table(&[(0, 2, 2)]));
        assert_eq!(HeldOut::test(&without_validation).unwrap().users()[0].history, ids(&[1]));
    }
}
