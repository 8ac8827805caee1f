use std::fmt;

use serde::{Serialize, Serializer};

use super::Interactions;
use super::sequences::time_order;
use crate::error::{Error, Location, Result};
use crate::rng::Rng;

/// A partition of interactions into rows to learn from, rows to tune on, rows to measure on, and rows
/// that no part can use. Rows keep their order, ids their meaning.
///
/// A splitting by ratios takes three weights for train, validation and test, such as `[8.0, 1.0, 1.0]`
/// or `[0.8, 0.1, 0.1]`.
///
/// ```
/// use recsys::prelude::*;
///
/// let event = |item, timestamp| Interaction { user: UserId(0), item: ItemId(item), value: 1.0, timestamp };
/// let interactions = Interactions::from_rows(1, 4, [event(3, 40), event(0, 10), event(1, 20), event(2, 30)])?;
/// let split = Split::leave_one_out(&interactions);
/// assert_eq!(split.test.items(), [ItemId(3)]);
/// assert_eq!(split.validation.items(), [ItemId(2)]);
/// assert_eq!(split.train.items(), [ItemId(0), ItemId(1)]);
/// assert_eq!(split.dropped, None);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The rows to learn from.
    pub train: Interactions,
    /// The rows to choose settings by.
    pub validation: Interactions,
    /// The rows to measure by, once.
    pub test: Interactions,
    /// The rows in none of the three; `None` where every row is used.
    pub dropped: Option<Dropped>,
}

/// Rows that a split leaves out, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// The rows.
    pub interactions: Interactions,
    /// Why they are in no part.
    pub reason: DropReason,
}

/// Why rows are in no part of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The user has too few rows to be tested and still leave one to learn from.
    TooFewRows {
        /// How many a user needs.
        needed: usize,
    },
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::TooFewRows { needed } = self;
        write!(f, "users with fewer than {needed} rows")
    }
}

impl Serialize for DropReason {
    /// As the text of a report.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of {}", self.interactions.len(), self.reason)
    }
}

/// Where a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Train,
    Validation,
    Test,
    Dropped,
}

impl Split {
    /// Each user's last row in time is for test, the one before for validation, all earlier ones for
    /// training; rows at the same time count in the order of the table.
    ///
    /// A user with one or two rows cannot be measured and still be known: such rows are
    /// [dropped](Self::dropped), from training too.
    pub fn leave_one_out(interactions: &Interactions) -> Self {
        Self::leave_last(interactions, 1)
    }

    /// Each user's last `k` rows in time are for test, the `k` before for validation, all earlier ones
    /// for training; rows at the same time count in the order of the table.
    ///
    /// The rows of a user with fewer than `2k + 1` are [dropped](Self::dropped), from training too.
    ///
    /// # Errors
    /// `k` is 0.
    pub fn leave_k_out(interactions: &Interactions, k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::config("Split::leave_k_out k", "1 or more", k));
        }
        Ok(Self::leave_last(interactions, k))
    }

    /// Out of fold, for recallers and rankers that are trained one on the other: each user's last row in time is for the
    /// test; of the rows before, the later `ranking_share`, rounded to whole rows, is the validation part, on which rankers
    /// learn to order what recallers answer that were fitted to the training part, all that is earlier. Rows at the same time
    /// count in the order of the table.
    ///
    /// So no recaller has seen the rows whose candidates a ranker learns from, as none will have seen those of a request. The
    /// questions of the ranking part are [`HeldOut::next_items`](crate::metrics::HeldOut::next_items); the rows of a user with
    /// one row only are [dropped](Self::dropped).
    ///
    /// # Errors
    /// A share outside (0, 1).
    pub fn out_of_fold(interactions: &Interactions, ranking_share: f64) -> Result<Self> {
        if !(ranking_share > 0.0 && ranking_share < 1.0) {
            return Err(Error::config(
                "Split::out_of_fold ranking_share",
                "a number in (0, 1)",
                ranking_share,
            ));
        }
        Ok(Self::by_position(interactions, 2, |n_rows| {
            let n_past = n_rows - 1;
            let n_ranking = (ranking_share * n_past as f64).round() as usize;
            [n_past - n_ranking.min(n_past - 1), n_past]
        }))
    }

    fn leave_last(interactions: &Interactions, k: usize) -> Self {
        let needed = k.saturating_mul(2).saturating_add(1);
        Self::by_position(interactions, needed, |n_rows| [n_rows - 2 * k, n_rows - k])
    }

    /// The earlier rows of each user are for training, the later ones for validation, the last ones for
    /// test, in these proportions, rounded to whole rows; every user has a row in training.
    ///
    /// # Errors
    /// Weights that are negative or not finite, or no weight for training.
    pub fn by_ratio(interactions: &Interactions, ratios: [f64; 3]) -> Result<Self> {
        let ratios = Ratios::new(ratios)?;
        Ok(Self::by_position(interactions, 0, |n_rows| ratios.cuts(n_rows)))
    }

    /// All rows of a user are in one part: users, in an order drawn from `seed`, are dealt out in these
    /// proportions, rounded to whole users. What is measured is service to strangers.
    ///
    /// # Errors
    /// As [`by_ratio`](Self::by_ratio).
    pub fn by_user(interactions: &Interactions, ratios: [f64; 3], seed: u64) -> Result<Self> {
        let ratios = Ratios::new(ratios)?;
        let mut active = vec![false; interactions.n_users()];
        for user in interactions.users() {
            active[user.index()] = true;
        }
        let active: Vec<usize> = (0..active.len()).filter(|&user| active[user]).collect();
        let mut users = vec![Part::Dropped; interactions.n_users()];
        for (&user, part) in active.iter().zip(ratios.deal(active.len(), seed)) {
            users[user] = part;
        }
        let parts: Vec<Part> = interactions.users().iter().map(|user| users[user.index()]).collect();
        Ok(Self::from_parts(interactions, &parts, 0))
    }

    /// Rows, in an order drawn from `seed`, are dealt out in these proportions, rounded to whole rows.
    /// Such a split trains on what came after its test: use it to compare with results obtained so.
    ///
    /// # Errors
    /// As [`by_ratio`](Self::by_ratio).
    pub fn at_random(interactions: &Interactions, ratios: [f64; 3], seed: u64) -> Result<Self> {
        let parts = Ratios::new(ratios)?.deal(interactions.len(), seed);
        Ok(Self::from_parts(interactions, &parts, 0))
    }

    /// Cuts all rows at two points of time, chosen so that the parts have these proportions, as nearly
    /// as rows at the same time, which stay together in the later part, permit.
    ///
    /// # Errors
    /// As [`by_ratio`](Self::by_ratio), or nothing to train on because so many rows are at the earliest
    /// time.
    pub fn by_time(interactions: &Interactions, ratios: [f64; 3]) -> Result<Self> {
        let cuts = Ratios::new(ratios)?.cuts(interactions.len());
        let mut times = interactions.timestamps().to_vec();
        let [validation_from, test_from] =
            cuts.map(|rank| if rank < times.len() { *times.select_nth_unstable(rank).1 } else { i64::MAX });
        if times.iter().min() == Some(&validation_from) {
            let location = Location::memory().column("timestamp");
            let found = format!("rows from the first to the cut at time {validation_from}");
            return Err(Error::input(location, "rows before the first cut", found));
        }
        Self::at_times(interactions, validation_from, test_from)
    }

    /// Rows before `validation_from` are for training, rows at `test_from` or later for test, those
    /// between for validation.
    ///
    /// # Errors
    /// `test_from` is before `validation_from`.
    pub fn at_times(interactions: &Interactions, validation_from: i64, test_from: i64) -> Result<Self> {
        if test_from < validation_from {
            let expected = format!("a time not before validation_from = {validation_from}");
            return Err(Error::config("Split::at_times test_from", expected, test_from));
        }
        let part = |&time: &i64| match time {
            _ if time < validation_from => Part::Train,
            _ if time < test_from => Part::Validation,
            _ => Part::Test,
        };
        let parts: Vec<Part> = interactions.timestamps().iter().map(part).collect();
        Ok(Self::from_parts(interactions, &parts, 0))
    }

    /// The rows of training, then those of validation: what is known of the users when the test begins.
    pub fn train_and_validation(&self) -> Interactions {
        self.train.followed_by(&self.validation)
    }

    /// Cuts each user's rows, in the order of time, at the two places that `cuts` gives for their number;
    /// drops users with fewer than `needed` rows.
    fn by_position(interactions: &Interactions, needed: usize, cuts: impl Fn(usize) -> [usize; 2]) -> Self {
        let mut parts = vec![Part::Dropped; interactions.len()];
        for rows in time_order(interactions).rows().filter(|rows| rows.len() >= needed) {
            let cuts = cuts(rows.len());
            for (position, &row) in rows.iter().enumerate() {
                parts[row as usize] = Part::at(position, cuts);
            }
        }
        Self::from_parts(interactions, &parts, needed)
    }

    fn from_parts(interactions: &Interactions, parts: &[Part], needed: usize) -> Self {
        let rows = |part| interactions.rows_where(|row| parts[row] == part);
        let dropped =
            Dropped { interactions: rows(Part::Dropped), reason: DropReason::TooFewRows { needed } };
        Self {
            train: rows(Part::Train),
            validation: rows(Part::Validation),
            test: rows(Part::Test),
            dropped: (!dropped.interactions.is_empty()).then_some(dropped),
        }
    }
}

impl Part {
    /// The part of position `position` in a list that is cut at two places.
    fn at(position: usize, [validation, test]: [usize; 2]) -> Self {
        match position {
            _ if position < validation => Self::Train,
            _ if position < test => Self::Validation,
            _ => Self::Test,
        }
    }
}

/// The checked shares of train, and of train and validation together.
#[derive(Clone, Copy, Debug)]
struct Ratios([f64; 2]);

impl Ratios {
    fn new(weights: [f64; 3]) -> Result<Self> {
        let [train, validation, _] = weights;
        let sum: f64 = weights.iter().sum();
        if weights.iter().all(|&weight| weight >= 0.0) && train > 0.0 && sum.is_finite() {
            Ok(Self([train / sum, (train + validation) / sum]))
        } else {
            let expected = "three finite weights of 0 or more, the first above 0";
            Err(Error::config("Split ratios", expected, format!("{weights:?}")))
        }
    }

    /// Where a list of `n` is cut. A list that is not empty has something to train on.
    fn cuts(self, n: usize) -> [usize; 2] {
        self.0.map(|share| ((share * n as f64).round() as usize).clamp(n.min(1), n))
    }

    /// The parts of `n` things in random order.
    fn deal(self, n: usize, seed: u64) -> Vec<Part> {
        let cuts = self.cuts(n);
        let mut parts: Vec<Part> = (0..n).map(|position| Part::at(position, cuts)).collect();
        Rng::new(seed).shuffle(&mut parts);
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::testing::{interactions, table};
    use super::super::{Dataset, Interaction, Vocab};
    use super::*;
    use crate::ids::{ItemId, UserId};

    const RATIOS: [f64; 3] = [6.0, 2.0, 2.0];

    /// The splits that put each user's later rows into later parts.
    fn in_time(rows: &Interactions) -> Vec<Split> {
        let mut splits = vec![
            Split::leave_one_out(rows),
            Split::leave_k_out(rows, 3).unwrap(),
            Split::by_ratio(rows, RATIOS).unwrap(),
            Split::out_of_fold(rows, 0.3).unwrap(),
            Split::at_times(rows, 4, 9).unwrap(),
        ];
        splits.extend(Split::by_time(rows, RATIOS));
        splits
    }

    fn parts(split: &Split) -> [&Interactions; 3] {
        [&split.train, &split.validation, &split.test]
    }

    fn lengths(split: &Split) -> [usize; 3] {
        parts(split).map(Interactions::len)
    }

    /// `value` is the number of the row, which makes rows distinct and gives their order.
    fn numbers<'a>(tables: impl IntoIterator<Item = &'a Interactions>) -> Vec<usize> {
        tables.into_iter().flat_map(|table| table.values().iter().map(|&value| value as usize)).collect()
    }

    proptest! {
        #[test]
        fn splits_partition_the_rows_and_keep_their_order(rows in interactions(), seed in 0u64..9) {
            let mut splits = in_time(&rows);
            splits.push(Split::by_user(&rows, RATIOS, seed).unwrap());
            splits.push(Split::at_random(&rows, RATIOS, seed).unwrap());
            for split in splits {
                let mut all = Vec::new();
                for part in parts(&split).into_iter().chain(split.dropped.as_ref().map(|d| &d.interactions)) {
                    let numbers = numbers([part]);
                    prop_assert!(numbers.is_sorted());
                    prop_assert!(numbers.iter().zip(part.iter()).all(|(&row, found)| rows.row(row) == found));
                    prop_assert_eq!((part.n_users(), part.n_items()), (rows.n_users(), rows.n_items()));
                    all.extend(numbers);
                }
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(0..rows.len()));
            }
        }

        #[test]
        fn no_row_of_a_user_is_learnt_from_that_is_later_than_one_measured(rows in interactions()) {
            let key = |row: Interaction| (row.timestamp, row.value as usize);
            for split in in_time(&rows) {
                for user in (0..8).map(UserId) {
                    let keys = parts(&split).map(|part| {
                        part.iter().filter(|row| row.user == user).map(key).collect::<Vec<_>>()
                    });
                    let last = |part: usize| keys[part].iter().max();
                    let first = |part: usize| keys[part].iter().min();
                    for (earlier, later) in [(0, 1), (1, 2), (0, 2)] {
                        prop_assert!(last(earlier).zip(first(later)).is_none_or(|(a, b)| a < b));
                    }
                }
                let history = split.train_and_validation();
                prop_assert_eq!(numbers([&history]), numbers([&split.train, &split.validation]));
            }
        }

        #[test]
        fn leave_k_out_takes_k_rows_of_every_user_who_has_enough(rows in interactions(), k in 1usize..4) {
            let split = Split::leave_k_out(&rows, k).unwrap();
            for user in (0..8).map(UserId) {
                let count = |part: &Interactions| part.users().iter().filter(|&&other| other == user).count();
                let n_rows = count(&rows);
                let dropped = split.dropped.as_ref().map_or(0, |dropped| count(&dropped.interactions));
                let expected = if n_rows > 2 * k { [n_rows - 2 * k, k, k, 0] } else { [0, 0, 0, n_rows] };
                let [train, validation, test] = parts(&split).map(count);
                prop_assert_eq!([train, validation, test, dropped], expected);
            }
            prop_assert_eq!(Split::leave_k_out(&rows, 1).unwrap(), Split::leave_one_out(&rows));
        }

        #[test]
        fn by_user_keeps_a_user_whole(rows in interactions(), seed in 0u64..9) {
            let split = Split::by_user(&rows, RATIOS, seed).unwrap();
            for user in rows.users() {
                prop_assert_eq!(parts(&split).iter().filter(|part| part.users().contains(user)).count(), 1);
            }
        }
    }

    #[test]
    fn users_of_one_or_two_rows_are_dropped_and_reported() {
        let rows = table(
            3,
            9,
            &[(0, 0, 0.0, 5), (1, 1, 1.0, 6), (1, 2, 2.0, 7), (2, 3, 3.0, 3), (2, 4, 4.0, 2), (2, 5, 5.0, 2)],
        );
        let split = Split::leave_one_out(&rows);
        assert_eq!(parts(&split).map(|part| numbers([part])), [[4], [5], [3]]);
        let dropped = split.dropped.unwrap();
        assert_eq!(dropped.reason, DropReason::TooFewRows { needed: 3 });
        assert_eq!(dropped.to_string(), "3 rows of users with fewer than 3 rows");
        assert_eq!(numbers([&dropped.interactions]), [0, 1, 2]);
    }

    #[test]
    fn proportions_are_met() {
        let rows: Vec<_> =
            (0..100).map(|row| (row % 4, row % 10, row as f32, i64::from(row * 7 % 100))).collect();
        let rows = table(5, 10, &rows);
        for ratios in [[8.0, 1.0, 1.0], [0.8, 0.1, 0.1]] {
            assert_eq!(lengths(&Split::at_random(&rows, ratios, 1).unwrap()), [80, 10, 10]);
            assert_eq!(lengths(&Split::by_time(&rows, ratios).unwrap()), [80, 10, 10]);
        }
        // 25 rows for each of four users: cut at 17.5 and 21.25.
        assert_eq!(lengths(&Split::by_ratio(&rows, [0.7, 0.15, 0.15]).unwrap()), [72, 12, 16]);
        assert_eq!(lengths(&Split::by_user(&rows, [2.0, 1.0, 1.0], 1).unwrap()), [50, 25, 25]);
        assert_eq!(lengths(&Split::by_ratio(&rows, [1.0, 0.0, 0.0]).unwrap()), [100, 0, 0]);
        let by_time = Split::by_time(&rows, RATIOS).unwrap();
        assert!(by_time.train.timestamps().iter().all(|&time| time < 60));
        assert!(by_time.test.timestamps().iter().all(|&time| time >= 80));
    }

    #[test]
    fn the_last_tenth_before_the_test_is_for_rankers() {
        // Users of 1, 2, 6, 11 and 21 rows; all at one time, so that the order of the table counts.
        let rows: Vec<_> = [1, 2, 6, 11, 21]
            .iter()
            .enumerate()
            .flat_map(|(user, &n)| {
                (0..n).map(move |row| (user as u32, row, (100 * user as u32 + row) as f32, 7))
            })
            .collect();
        let split = Split::out_of_fold(&table(5, 21, &rows), 0.1).unwrap();
        let of_user = |part: &Interactions| -> Vec<usize> {
            (0..5).map(|user| part.users().iter().filter(|other| other.0 == user).count()).collect()
        };
        assert_eq!(parts(&split).map(of_user), [[0, 1, 4, 9, 18], [0, 0, 1, 1, 2], [0, 1, 1, 1, 1]]);
        assert_eq!(numbers([&split.validation]), [204, 309, 418, 419]);
        assert_eq!(numbers([&split.test]), [101, 205, 310, 420]);
        assert_eq!(numbers([&split.dropped.unwrap().interactions]), [0]);
    }

    #[test]
    fn the_seed_decides() {
        let rows: Vec<_> = (0..200).map(|row| (row / 4, row % 10, row as f32, 0)).collect();
        let rows = table(50, 10, &rows);
        for split in [Split::at_random, Split::by_user] {
            assert_eq!(split(&rows, RATIOS, 1).unwrap(), split(&rows, RATIOS, 1).unwrap());
            assert_ne!(split(&rows, RATIOS, 1).unwrap(), split(&rows, RATIOS, 2).unwrap());
        }
    }

    #[test]
    fn an_empty_table_has_empty_parts() {
        let rows = table(2, 2, &[]);
        for split in in_time(&rows) {
            assert_eq!((lengths(&split), split.dropped), ([0, 0, 0], None));
        }
        assert_eq!(in_time(&rows).len(), 6);
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let rows = table(1, 2, &[(0, 0, 0.0, 5), (0, 1, 1.0, 5)]);
        let error = |result: Result<Split>| result.unwrap_err().to_string();
        assert_eq!(error(Split::leave_k_out(&rows, 0)), "Split::leave_k_out k: expected 1 or more, found 0");
        assert!(Split::leave_k_out(&rows, usize::MAX).unwrap().dropped.is_some());
        for share in [0.0, 1.0, f64::NAN] {
            let expected =
                format!("Split::out_of_fold ranking_share: expected a number in (0, 1), found {share}");
            assert_eq!(error(Split::out_of_fold(&rows, share)), expected);
        }
        for ratios in [[0.0, 1.0, 1.0], [1.0, -1.0, 1.0], [f64::NAN, 1.0, 1.0], [f64::INFINITY, 1.0, 1.0]] {
            let expected =
                "Split ratios: expected three finite weights of 0 or more, the first above 0, found";
            assert!(error(Split::by_ratio(&rows, ratios)).starts_with(expected));
        }
        assert_eq!(
            error(Split::at_times(&rows, 9, 4)),
            "Split::at_times test_from: expected a time not before validation_from = 9, found 4"
        );
        assert_eq!(
            error(Split::by_time(&rows, RATIOS)),
            "input, column timestamp: expected rows before the first cut, found rows from the first to the cut at time 5"
        );
    }

    /// MovieLens 1M under the protocol of the recall stage: ratings of 4 or more, users with five or
    /// more of them, the last for test.
    #[test]
    #[ignore = "needs MovieLens 1M: set RECSYS_DATA_DIR to the folder that holds ml-1m"]
    fn movielens_1m_has_the_known_size_after_filtering() {
        let folder = std::env::var_os("RECSYS_DATA_DIR").expect("RECSYS_DATA_DIR must name the data folder");
        let text = std::fs::read_to_string(PathBuf::from(folder).join("ml-1m/ratings.dat")).unwrap();
        let rows = text.lines().map(|line| {
            let fields: Vec<u32> = line.split("::").map(|field| field.parse().unwrap()).collect();
            Interaction {
                user: UserId(fields[0] - 1),
                item: ItemId(fields[1] - 1),
                value: fields[2] as f32,
                timestamp: fields[3].into(),
            }
        });
        let (n_users, n_items) = (6_040, 3_952);
        let keys = |n: u64| Vocab::from_ints((1..=n).collect()).unwrap();
        let all = Interactions::from_rows(n_users, n_items, rows).unwrap();
        let dataset = Dataset::new(all, keys(n_users as u64), keys(n_items as u64)).unwrap();
        assert_eq!(dataset.interactions().len(), 1_000_209);

        let liked = dataset.filter(|rows| rows.min_value(4.0).min_per_user(5)).unwrap().compact();
        assert_eq!((liked.n_users(), liked.n_items()), (6_034, 3_533));
        let split = Split::leave_one_out(liked.interactions());
        assert_eq!(split.dropped, None);
        let n_rows = liked.interactions().len();
        assert_eq!(lengths(&split), [n_rows - 2 * 6_034, 6_034, 6_034]);
    }
}
