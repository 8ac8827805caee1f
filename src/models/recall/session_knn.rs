//! Session-based nearest neighbours: Jannach & Ludewig 2017, "When recurrent neural networks meet the neighborhood for
//! session-based recommendation"; the vector variant VS-kNN of Ludewig & Jannach 2018, "Evaluation of session-based
//! recommendation algorithms", section 3.3.
//!
//! With s the history that asks, n a session of the training data and I_n its distinct items,
//!
//! - sim(s, n) = Σ 2^(−a_i / half-life) / √|I_n| over the distinct items i of s that are in I_n, with a_i the number of
//!   items of s that came after i;
//! - score(i) = idf(i)^β Σ sim(s, n) over those of the k nearest sessions that hold i, idf(i) = ln(|N| / |N_i|), where N
//!   are all sessions and N_i those that hold i.
//!
//! The neighbours are the nearest of the m most recent sessions that share an item with s. Deviations: the weights of s
//! decay exponentially, not linearly with the place in s, so that a long history may ask; every session of the training
//! data is all that one user did, which makes this a user-based model where users have one long history.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{
    Csr, Incidence, Interactions, Sequences, SparseAccumulator, check_half_life, recency_weights,
};
use crate::error::{Error, ErrorKind, Location, Result, check_id_count};
use crate::ids::{ItemId, UserId};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::top_k::TopK;

/// The settings of a [`SessionKnnRecaller`].
///
/// | setting | default | range | purpose |
/// |---|---|---|---|
/// | `n_neighbours` | 100 | ≥ 1 | k: sessions that vote; more reaches more items |
/// | `n_recent` | 5,000 | ≥ 1 | m: most recent sessions looked at; bounds the time of a query |
/// | `half_life` | 3 | > 0 | in items: older items of the history count less, after 16 half-lives nothing; none: all count alike |
/// | `idf_exponent` | 1 | ≥ 0 | β: more favours the tail, less what is popular |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionKnnConfig {
    /// k, the number of nearest sessions that vote.
    pub n_neighbours: usize,
    /// m, the number of most recent sessions, of those that share an item with the history, that are compared with it.
    pub n_recent: usize,
    /// The number of items after which an item of the history counts half.
    pub half_life: Option<f32>,
    /// β, the exponent of the inverse document frequency of an item.
    pub idf_exponent: f32,
}

impl Default for SessionKnnConfig {
    fn default() -> Self {
        Self { n_neighbours: 100, n_recent: 5_000, half_life: Some(3.0), idf_exponent: 1.0 }
    }
}

impl SessionKnnConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        for (field, count) in [
            ("SessionKnnConfig::n_neighbours", self.n_neighbours),
            ("SessionKnnConfig::n_recent", self.n_recent),
        ] {
            if count == 0 {
                return Err(Error::config(field, "at least 1", 0));
            }
        }
        check_half_life("SessionKnnConfig::half_life", self.half_life)?;
        if !(self.idf_exponent >= 0.0 && self.idf_exponent.is_finite()) {
            let field = "SessionKnnConfig::idf_exponent";
            return Err(Error::config(field, "a finite number of 0 or more", self.idf_exponent));
        }
        Ok(())
    }
}

/// Recommends what is in the sessions most like the history.
///
/// There is no training: the model is the sessions, by user and by item (8 bytes for each distinct pair). A query reads
/// at most m sessions for each of its items, and the items of k. The session of the user who asks does not vote. An item
/// of no neighbour is no candidate, nor is one that every session holds, if β > 0.
///
/// ```
/// use recsys::models::recall::{SessionKnnConfig, SessionKnnRecaller};
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 4, [row(0, 0), row(0, 1), row(1, 2), row(1, 3)])?;
/// let knn = SessionKnnRecaller::fit(&train, &SessionKnnConfig::default())?;
/// let answer = knn.recall(&Query::new(&[ItemId(3)]).excluding([ItemId(3)]), 5)?;
/// assert_eq!(answer.iter().map(|candidate| candidate.item).collect::<Vec<_>>(), [ItemId(2)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct SessionKnnRecaller {
    config: SessionKnnConfig,
    /// Whose session each is; the most recent session first.
    users: Vec<UserId>,
    n_items: usize,
    /// The items of all sessions, ascending. Elsewhere here their places stand for them, so that the model is as large as the
    /// sessions, whatever the catalogue.
    known: Vec<ItemId>,
    /// The distinct items of each session, ascending.
    items: Csr<usize, u32>,
    /// The root of the number of items of each session.
    norms: Vec<f64>,
    /// The sessions that hold each item, the most recent first.
    sessions: Csr<usize, u32>,
    /// idf(i)^β of each item.
    idf: Vec<f32>,
}

/// What is saved of a model; the rest follows from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: SessionKnnConfig,
    n_items: usize,
    sessions: Vec<(UserId, Vec<ItemId>)>,
}

impl SessionKnnRecaller {
    /// Takes each user's interactions as a session.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn fit(interactions: &Interactions, config: &SessionKnnConfig) -> Result<Self> {
        config.validate()?;
        let (histories, chosen) = (Sequences::new(interactions), Incidence::new(interactions));
        let end = |user: UserId| histories.timestamps(user).last().copied();
        let mut users: Vec<UserId> =
            histories.iter().map(|(user, _)| user).filter(|&user| end(user).is_some()).collect();
        users.sort_by_key(|&user| std::cmp::Reverse(end(user)));
        let sessions = users.into_iter().map(|user| (user, chosen.items().row(user).to_vec())).collect();
        Ok(Self::new(config.clone(), interactions.n_items(), sessions))
    }

    /// The model of these sessions, the most recent first.
    fn new(config: SessionKnnConfig, n_items: usize, sessions: Vec<(UserId, Vec<ItemId>)>) -> Self {
        let mut known: Vec<ItemId> = sessions.iter().flat_map(|(_, items)| items).copied().collect();
        known.par_sort_unstable();
        known.dedup();
        let place = |item: &ItemId| known.partition_point(|known| known < item);
        let mut holders = vec![Vec::new(); known.len()];
        let mut places = |(session, (_, items)): (usize, &(UserId, Vec<ItemId>))| -> Vec<u32> {
            let places = items.iter().map(|item| {
                holders[place(item)].push(session as u32);
                place(item) as u32
            });
            places.collect()
        };
        let items: Vec<Vec<u32>> = sessions.iter().enumerate().map(&mut places).collect();
        let n_sessions = sessions.len() as f32;
        let idf = |holders: &Vec<u32>| (n_sessions / holders.len() as f32).ln().powf(config.idf_exponent);
        let idf = holders.iter().map(idf).collect();
        let norms = items.iter().map(|items| (items.len() as f64).sqrt()).collect();
        let users = sessions.into_iter().map(|(user, _)| user).collect();
        let (items, sessions) = (Csr::from_rows(items), Csr::from_rows(holders));
        Self { config, users, n_items, known, items, norms, sessions, idf }
    }

    /// The nearest sessions with their similarities, best first; of equal ones the most recent first.
    fn neighbours(&self, query: &Query<'_>) -> Vec<(usize, f32)> {
        let SessionKnnConfig { n_neighbours, n_recent, half_life, .. } = self.config;
        let mut overlaps = SparseAccumulator::new(self.users.len());
        // A session among the m most recent of all that share an item is among the first m of each of its items; one more may
        // be the asking user's own.
        for (item, weight) in recency_weights(query.history(), half_life) {
            let Ok(place) = self.known.binary_search(&item) else { continue };
            for &session in self.sessions.row(place).iter().take(n_recent.saturating_add(1)) {
                overlaps.add(session, weight.into());
            }
        }
        let is_other = |session: u32| Some(self.users[session as usize]) != query.user();
        let mut found: Vec<(u32, f64)> = overlaps.drain().filter(|&(session, _)| is_other(session)).collect();
        if n_recent < found.len() {
            let mut sessions: Vec<u32> = found.iter().map(|&(session, _)| session).collect();
            let (_, &mut too_old, _) = sessions.select_nth_unstable(n_recent);
            found.retain(|&(session, _)| session < too_old);
        }
        // A session's number, the smaller the more recent, stands where items do elsewhere.
        let mut nearest = TopK::new(n_neighbours);
        for (session, overlap) in found {
            nearest.push(ItemId(session), (overlap / self.norms[session as usize]) as f32);
        }
        nearest.into_sorted().into_iter().map(|(session, similarity)| (session.index(), similarity)).collect()
    }
}

impl Recaller for SessionKnnRecaller {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.n_items)?;
        let mut votes = SparseAccumulator::new(self.known.len());
        for (session, similarity) in self.neighbours(query) {
            self.items.row(session).iter().for_each(|&place| votes.add(place, similarity.into()));
        }
        let mut top = TopK::new(k);
        for (place, votes) in votes.drain() {
            let (item, score) = (self.known[place as usize], votes as f32 * self.idf[place as usize]);
            if score > 0.0 && top.may_keep(item, score) && query.filter().admits(item) {
                top.push(item, score);
            }
        }
        Ok(top.into_sorted().into_iter().map(Candidate::from).collect())
    }
}

impl From<SessionKnnRecaller> for Saved {
    fn from(model: SessionKnnRecaller) -> Self {
        let items = |places: &[u32]| places.iter().map(|&place| model.known[place as usize]).collect();
        let sessions = model.users.into_iter().zip(model.items.rows().map(items)).collect();
        Self { config: model.config, n_items: model.n_items, sessions }
    }
}

impl TryFrom<Saved> for SessionKnnRecaller {
    type Error = Error;

    fn try_from(Saved { config, n_items, sessions }: Saved) -> Result<Self> {
        config.validate()?;
        check_id_count("SessionKnn::n_items", n_items)?;
        for (line, (_, items)) in sessions.iter().enumerate() {
            if let Some(item) = items.iter().find(|item| item.index() >= n_items) {
                let (id, bound) = (item.0.into(), n_items as u64);
                return Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into());
            }
            if items.is_empty() || !items.is_sorted_by(|a, b| a < b) {
                let place = Location::memory().line(line as u64 + 1).column("sessions");
                return Err(Error::input(place, "rising items, at least one", format!("{items:?}")));
            }
        }
        Ok(Self::new(config, n_items, sessions))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use proptest::prelude::*;

    use super::*;
    use crate::data::Interaction;

    fn table(rows: &[(u32, u32, i64)]) -> Interactions {
        let rows = rows.iter().map(|&(user, item, timestamp)| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        });
        Interactions::from_rows(5, 6, rows).unwrap()
    }

    /// Sessions {0, 1}, {0, 2, 3}, {1, 4} of users 0, 1, 2, the later the more recent; user 3 has none; {5} of user 4.
    const ROWS: [(u32, u32, i64); 9] = [
        (4, 5, 1),
        (0, 0, 10),
        (0, 1, 11),
        (0, 0, 12),
        (1, 3, 20),
        (1, 0, 21),
        (1, 2, 22),
        (2, 1, 30),
        (2, 4, 31),
    ];

    fn plain() -> SessionKnnConfig {
        SessionKnnConfig { n_neighbours: 9, n_recent: 9, half_life: None, idf_exponent: 0.0 }
    }

    fn answer(config: SessionKnnConfig, query: &Query<'_>) -> Vec<(u32, f32)> {
        let knn = SessionKnnRecaller::fit(&table(&ROWS), &config).unwrap();
        knn.recall(query, 9).unwrap().iter().map(|candidate| (candidate.item.0, candidate.score)).collect()
    }

    fn assert_near(found: Vec<(u32, f32)>, expected: &[(u32, f32)]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert_relative_eq!(found.1, expected.1);
        }
    }

    #[test]
    fn each_setting_by_hand() {
        let history = [ItemId(1), ItemId(0)];
        let query = Query::new(&history).excluding(history);
        let (two, three) = (1.0 / 2f32.sqrt(), 1.0 / 3f32.sqrt());
        assert_near(answer(plain(), &query), &[(4, two), (2, three), (3, three)]);
        let whole = Query::new(&history);
        let all = [(0, 2.0 * two + three), (1, 3.0 * two), (4, two), (2, three), (3, three)];
        let mut by_score = all;
        by_score.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_near(answer(plain(), &whole), &by_score);
        let recent = SessionKnnConfig { half_life: Some(1.0), ..plain() };
        assert_near(answer(recent, &query), &[(2, three), (3, three), (4, 0.5 * two)]);
        // Of four sessions one holds item 4, and two hold item 0.
        let idf = SessionKnnConfig { idf_exponent: 2.0, ..plain() };
        let only = query.clone().allowing([ItemId(4)]);
        assert_near(answer(idf, &only), &[(4, two * 4f32.ln().powi(2))]);
        // Session {0, 1} is the nearest; of the most recent one, {1, 4}, item 4 comes.
        let nearest = SessionKnnConfig { n_neighbours: 1, ..plain() };
        assert_near(answer(nearest, &whole), &[(0, 2.0 * two), (1, 2.0 * two)]);
        let most_recent = SessionKnnConfig { n_recent: 1, ..plain() };
        assert_near(answer(most_recent, &query), &[(4, two)]);
    }

    #[test]
    fn ones_own_session_does_not_vote() {
        let history = [ItemId(1)];
        let query = Query::new(&history).with_user(UserId(2));
        assert_near(answer(plain(), &query), &[(0, 1.0 / 2f32.sqrt()), (1, 1.0 / 2f32.sqrt())]);
        let most_recent = SessionKnnConfig { n_recent: 1, ..plain() };
        assert_eq!(
            answer(most_recent, &query).len(),
            2,
            "a session that does not vote counts among the recent ones"
        );
        assert!(answer(plain(), &Query::default()).is_empty());
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let refused =
            |config: SessionKnnConfig| SessionKnnRecaller::fit(&table(&[]), &config).unwrap_err().to_string();
        let error = refused(SessionKnnConfig { n_neighbours: 0, ..plain() });
        assert_eq!(error, "SessionKnnConfig::n_neighbours: expected at least 1, found 0");
        assert!(refused(SessionKnnConfig { n_recent: 0, ..plain() }).contains("n_recent"));
        assert!(refused(SessionKnnConfig { half_life: Some(0.0), ..plain() }).contains("half_life"));
        assert!(refused(SessionKnnConfig { idf_exponent: f32::NAN, ..plain() }).contains("idf_exponent"));
    }

    #[test]
    fn comes_back_from_json() {
        let knn = SessionKnnRecaller::fit(&table(&ROWS), &SessionKnnConfig::default()).unwrap();
        let json = serde_json::to_string(&knn).unwrap();
        assert_eq!(serde_json::from_str::<SessionKnnRecaller>(&json).unwrap(), knn);
        for (good, bad) in [
            ("[0,1]", "[1,0]"),
            ("[0,1]", "[]"),
            ("[0,1]", "[0,9]"),
            ("3.0", "-3.0"),
            ("6", "5"),
            ("6", "18446744073709551615"),
        ] {
            let altered = json.replace(good, bad);
            assert!(
                altered != json && serde_json::from_str::<SessionKnnRecaller>(&altered).is_err(),
                "{bad}"
            );
        }
    }

    proptest! {
        /// Reading the first m sessions of each item finds the m most recent of all.
        #[test]
        fn the_most_recent_sessions_are_found(
            rows in prop::collection::vec((0u32..5, 0u32..6, 0i64..9), 1..40),
            history in prop::collection::vec((0u32..6).prop_map(ItemId), 0..5),
            n_recent in 1usize..5,
        ) {
            let knn = |n_recent| {
                SessionKnnRecaller::fit(&table(&rows), &SessionKnnConfig { n_recent, ..plain() }).unwrap()
            };
            let query = Query::new(&history).with_user(UserId(0));
            let mut all = knn(99).neighbours(&query);
            all.sort_by_key(|&(session, _)| session);
            all.truncate(n_recent);
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            prop_assert_eq!(knn(n_recent).neighbours(&query), all);
        }
    }
}
