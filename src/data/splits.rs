use std::fmt;

use super::sequences::time_order;
use super::Interactions;
use crate::error::{Error, Result};
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

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DropReason::TooFewRows { needed } = self.reason;
        write!(f, "{} rows of users with fewer than {needed} rows", self.interactions.len())
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
        let mut drawn = ratios.deal(active.iter().filter(|&&active| active).count(), seed).into_iter();
        let users: Vec<Part> =
            active.iter().map(|&active| if active { drawn.next() } else { None }.unwrap_or(Part::Dropped)).collect();
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
    /// As [`by_ratio`](Self::by_ratio).
    pub fn by_time(interactions: &Interactions, ratios: [f64; 3]) -> Result<Self> {
        let cuts = Ratios::new(ratios)?.cuts(interactions.len());
        let mut times = interactions.timestamps().to_vec();
        let [validation_from, test_from] = cuts.map(|rank| {
            if rank < times.len() { *times.select_nth_unstable(rank).1 } else { i64::MAX }
        });
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
    fn by_position(
        interactions: &Interactions,
        needed: usize,
        cuts: impl Fn(usize) -> [usize; 2],
    ) -> Self {
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
        let dropped = Dropped {
            interactions: rows(Part::Dropped),
            reason: DropReason::TooFewRows { needed },
        };
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
