use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::data::{Interaction, Interactions};
use crate::error::{Error, ErrorKind, Result, check_size};
use crate::features::{CandidateRows, EncodedRows};
use crate::ids::ItemId;
use crate::metrics::{HeldOut, HeldOutUser};
use crate::pipeline::{Candidate, Query, Recaller};
use crate::rng::Rng;
use crate::samplers::{HardNegatives, NegativeSampler, RankingNegatives, UniformSampler};

/// How many questions the recaller answers at a time.
const BLOCK: usize = 512;

/// Makes the examples that a ranker behind a recaller learns from: each question's relevant item, and negatives that are
/// in part what the recaller answered to that very question, in part any items. All keep what the recaller's channels said of
/// them.
///
/// The questions are those of a fold of which the recaller knows nothing
/// ([`Split::out_of_fold`](crate::data::Split::out_of_fold), [`HeldOut::next_items`]); else it would name the relevant items
/// far better than it will in service, and the ranker learn to trust it.
///
/// Negatives near the head of the answer teach most, but relevant items stand anywhere: a ranker that sees only negatives of
/// the head learns that a low rank is a good sign. So negatives are drawn by strata of ranks, and each stands for as many items
/// as its stratum has for each negative ([`RankingExamples::log_counts`]):
/// [`RankingLoss::SampledSoftmax`](crate::losses::RankingLoss::SampledSoftmax) then estimates the softmax over the whole catalogue.
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `strata` | 8 of the first 20, 6 up to 100, 6 up to 1,000 | the negatives of each positive at ranks of the answer, stratum behind stratum | ranks that rise; negatives ≥ 1 |
/// | `n_random` | 4 | negatives of each positive among all items, for those that are not recalled | 1 to 2²⁰ |
/// | `seed` | 1 | the draws | |
///
/// In a small catalogue the strata end where it ends.
///
/// ```
/// use recsys::metrics::HeldOut;
/// use recsys::models::recall::PopularityRecaller;
/// use recsys::prelude::*;
/// use recsys::training::RankingExamplesConfig;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let split = Split::out_of_fold(data.interactions(), 0.1)?;
/// let questions = HeldOut::next_items(&split)?;
/// let known = split.train_and_validation();
///
/// let recaller = PopularityRecaller::fit(&split.train);
/// let examples = RankingExamplesConfig::default().draw(&recaller, &questions, &known)?;
/// assert_eq!((examples.n_negatives(), examples.groups().len()), (18, split.validation.len()));
/// assert_eq!(examples.groups().next().unwrap()[0].item, questions.users()[0].relevant[0]);
/// // Eight negatives stand for twenty items.
/// assert_eq!(examples.log_counts()[0], (20.0f32 / 8.0).ln());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankingExamplesConfig {
    /// The negatives of each positive at ranks of the answer.
    pub strata: Vec<Stratum>,
    /// The negatives of each positive among all items.
    pub n_random: usize,
    /// Seeds the draws.
    pub seed: u64,
}

/// Ranks of an answer among which negatives are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stratum {
    /// The last rank; the first one is behind the last of the stratum before.
    pub last_rank: usize,
    /// The negatives of each positive.
    pub n_negatives: usize,
}

impl Stratum {
    /// `n_negatives` up to `last_rank`.
    pub fn new(last_rank: usize, n_negatives: usize) -> Self {
        Self { last_rank, n_negatives }
    }
}

impl Default for RankingExamplesConfig {
    fn default() -> Self {
        let strata = vec![Stratum::new(20, 8), Stratum::new(100, 6), Stratum::new(1_000, 6)];
        Self { strata, n_random: 4, seed: 1 }
    }
}

impl RankingExamplesConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let mut first = 1;
        for &Stratum { last_rank, n_negatives } in &self.strata {
            if last_rank < first {
                let expected = format!("at least {first}");
                return Err(Error::config("Stratum::last_rank", expected, last_rank));
            }
            check_size("Stratum::n_negatives", n_negatives)?;
            first = last_rank.saturating_add(1);
        }
        if self.strata.is_empty() {
            return Err(Error::config("RankingExamplesConfig::strata", "at least one stratum", 0));
        }
        check_size("RankingExamplesConfig::n_random", self.n_random)
    }

    /// Asks the recaller every question and draws the negatives, none of which the user has in `known`: all that is known of
    /// the users when the ranker is trained, also from after the question. What is held out for the test is not.
    ///
    /// # Errors
    /// A setting outside its range, no question or one with more or less than one relevant item, a user or an item outside
    /// `known`, or a recaller that fails.
    pub fn draw(
        &self,
        recaller: &dyn Recaller,
        questions: &HeldOut,
        known: &Interactions,
    ) -> Result<RankingExamples> {
        self.validate()?;
        questions.check_some()?;
        let n_items = known.n_items();
        let uniform = || UniformSampler::new(n_items);
        let mut draws = Vec::with_capacity(self.strata.len() + 1);
        let mut log_counts = Vec::new();
        let mut add = |n_negatives, n_items: usize, sampler: Box<dyn NegativeSampler>| -> Result<()> {
            log_counts.extend(vec![(n_items as f32 / n_negatives as f32).ln(); n_negatives]);
            draws.push((RankingNegatives::new(known, n_negatives)?, n_negatives, sampler));
            Ok(())
        };
        let mut n_recalled = 0;
        for &Stratum { last_rank, n_negatives } in &self.strata {
            let ranks = n_recalled..last_rank.min(n_items);
            if !ranks.is_empty() {
                n_recalled = ranks.end;
                add(n_negatives, ranks.len(), Box::new(HardNegatives::new(ranks, 1, uniform()?)?))?;
            }
        }
        add(self.n_random, (n_items - n_recalled).max(1), Box::new(uniform()?))?;

        let mut candidates = Vec::with_capacity(questions.users().len() * (1 + log_counts.len()));
        for (block, questions) in (0..).zip(questions.users().chunks(BLOCK)) {
            let queries: Vec<Query<'_>> = questions.iter().map(HeldOutUser::query).collect();
            let answers = recaller.recall_batch(&queries, n_recalled)?;
            let recalled: Vec<Vec<ItemId>> = answers
                .iter()
                .map(|answer| answer.iter().map(|candidate| candidate.item).collect())
                .collect();
            let positives = positives(questions, known)?;
            let negatives = (0..).zip(&draws).map(|(draw, (negatives, n, sampler))| {
                let seed = Rng::stream(self.seed, &[block, draw]).next_u64();
                Ok((negatives.draw(&positives, &recalled, sampler.as_ref(), seed)?, *n))
            });
            let negatives: Vec<(Vec<ItemId>, usize)> = negatives.collect::<Result<_>>()?;
            for (at, (&positive, answer)) in positives.items().iter().zip(answers).enumerate() {
                let by_item: HashMap<ItemId, Candidate> =
                    answer.into_iter().map(|candidate| (candidate.item, candidate)).collect();
                let of_strata = negatives.iter().flat_map(|(items, n)| &items[at * n..(at + 1) * n]);
                candidates.extend([&positive].into_iter().chain(of_strata).map(
                    |item| match by_item.get(item) {
                        Some(of) => Candidate { channels: of.channels.detached(), ..*of },
                        None => Candidate::new(*item, 0.0),
                    },
                ));
            }
        }
        Ok(RankingExamples { log_counts, candidates })
    }
}

/// The relevant item of each question.
fn positives(questions: &[HeldOutUser], known: &Interactions) -> Result<Interactions> {
    let positive = |question: &HeldOutUser| match question.relevant[..] {
        [item] => Ok(Interaction { user: question.user, item, value: 1.0, timestamp: 0 }),
        _ => {
            let (what, found) = ("relevant items of a question", question.relevant.len());
            Err(ErrorKind::LengthMismatch { what, expected: 1, found }.into())
        }
    };
    let positives = questions.iter().map(positive).collect::<Result<Vec<_>>>()?;
    Interactions::from_rows(known.n_users(), known.n_items(), positives)
}

/// Examples for a ranker: of each question a positive and its negatives.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingExamples {
    /// Of each negative behind a positive.
    log_counts: Vec<f32>,
    /// A group behind another.
    candidates: Vec<Candidate>,
}

impl RankingExamples {
    /// The negatives behind each positive.
    pub fn n_negatives(&self) -> usize {
        self.log_counts.len()
    }

    /// The logarithm of the number of items that each of the negatives behind a positive stands for.
    pub fn log_counts(&self) -> &[f32] {
        &self.log_counts
    }

    /// The candidates of each question: the positive, the negatives of each stratum, the random ones.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &[Candidate]> {
        self.candidates.chunks_exact(1 + self.n_negatives())
    }

    /// How many items each row stands for, 1 for a positive: weights for a ranker that learns from rows one by one.
    pub fn weights(&self) -> Vec<f32> {
        let of_group = || [1.0].into_iter().chain(self.log_counts.iter().map(|count| count.exp()));
        self.groups().flat_map(|_| of_group()).collect()
    }

    /// The examples as labelled rows, 1 for a positive and 0 for a negative, for
    /// [`RankingBatches`](crate::training::RankingBatches) with groups of [`n_negatives`](Self::n_negatives) + 1. The history
    /// of each is that of its question.
    ///
    /// # Errors
    /// Other questions than those the examples were made of, as far as their number tells, or ids that `rows` does not know.
    pub fn encode(&self, questions: &HeldOut, rows: &CandidateRows) -> Result<EncodedRows> {
        let (expected, found) = (self.groups().len(), questions.users().len());
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what: "number of questions", expected, found }.into());
        }
        let mut encoded = EncodedRows::new(rows.space().clone(), 1);
        let mut labels = vec![0.0; 1 + self.n_negatives()];
        labels[0] = 1.0;
        for (question, candidates) in questions.users().iter().zip(self.groups()) {
            let group = rows.of_candidates(Some(question.user), &question.history, candidates)?;
            encoded.append(&group.with_labels(1, labels.clone())?)?;
        }
        Ok(encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;
    use crate::features::{Column, FeatureEncoder, FieldKind, Ids, Schema, Table};
    use crate::ids::UserId;

    const N_ITEMS: u32 = 12;

    /// Names the items behind the last of the history, on a circle.
    #[derive(Debug)]
    struct Following;

    impl Recaller for Following {
        fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            let last = query.history().last().map_or(0, |item| item.0);
            let items = (1..N_ITEMS).map(|step| ItemId((last + step) % N_ITEMS));
            let admitted = items.filter(|&item| query.filter().admits(item)).take(k);
            let candidates = (1..)
                .zip(admitted)
                .map(|(rank, item)| Candidate::new(item, -(rank as f32)).from_channel("following", rank));
            Ok(candidates.collect())
        }
    }

    /// User u chooses items u, u + 2, u + 4 and u + 6, one after another.
    fn log() -> Interactions {
        let row = |n: u32| {
            let (user, time) = (n / 4, n % 4);
            let item = ItemId((user + 2 * time) % N_ITEMS);
            Interaction { user: UserId(user), item, value: 1.0, timestamp: time.into() }
        };
        Interactions::from_rows(6, N_ITEMS as usize, (0..24).map(row)).unwrap()
    }

    fn config() -> RankingExamplesConfig {
        let strata = vec![Stratum::new(1, 2), Stratum::new(3, 20)];
        RankingExamplesConfig { strata, n_random: 5, seed: 3 }
    }

    /// Of each user two rows are known, the third is asked for, the fourth held out.
    fn parts() -> (HeldOut, Interactions) {
        let split = Split::out_of_fold(&log(), 0.4).unwrap();
        (HeldOut::next_items(&split).unwrap(), split.train_and_validation())
    }

    #[test]
    fn negatives_are_drawn_at_the_ranks_of_their_stratum() {
        let (questions, known) = parts();
        let examples = config().draw(&Following, &questions, &known).unwrap();
        assert_eq!((examples.n_negatives(), examples.groups().len()), (27, 6));
        for (user, group) in (0..).zip(examples.groups()) {
            let item = |step: u32| ItemId((user + step) % N_ITEMS);
            assert_eq!(group[0].item, item(4));
            assert_eq!(group[0].channels[0].rank, 2, "recalled behind item 2 are 3, 4, 5");
            // Of what was recalled, 4 is the answer: ranks 1 to 3 of the others are 3, 5 and nothing.
            assert!(group[1..3].iter().all(|head| head.item == item(3) && head.channels[0].rank == 1));
            assert!(group[3..23].iter().all(|tail| tail.item == item(5) && tail.channels[0].rank == 3));
            for random in &group[23..] {
                assert!(![item(0), item(2), item(4)].contains(&random.item));
                assert_eq!(random.channels.is_empty(), ![item(3), item(5)].contains(&random.item));
            }
        }
        let draw = |seed| RankingExamplesConfig { seed, ..config() }.draw(&Following, &questions, &known);
        assert_eq!(draw(3).unwrap(), examples);
        assert_ne!(draw(4).unwrap(), examples);
    }

    #[test]
    fn negatives_stand_for_the_items_of_their_stratum() {
        let (questions, known) = parts();
        let examples = config().draw(&Following, &questions, &known).unwrap();
        // One item for two negatives, two for twenty, and the nine of twelve that are not recalled for five.
        let counts = [vec![0.5; 2], vec![0.1; 20], vec![9.0 / 5.0; 5]].concat();
        let log_counts: Vec<f32> = counts.iter().map(|count: &f32| count.ln()).collect();
        assert_eq!(examples.log_counts(), log_counts);
        let weights = examples.weights();
        assert_eq!(weights.len(), 6 * 28);
        let group = weights[28..56].iter().zip([&[1.0], &counts[..]].concat());
        assert!(group.into_iter().all(|(found, expected)| (found - expected).abs() < 1e-6));

        let strata = vec![Stratum::new(10, 3), Stratum::new(1_000, 4), Stratum::new(2_000, 5)];
        let examples = RankingExamplesConfig { strata, n_random: 2, seed: 1 };
        let examples = examples.draw(&Following, &questions, &known).unwrap();
        assert_eq!(examples.n_negatives(), 3 + 4 + 2, "a catalogue of twelve has no third stratum");
        assert_eq!(examples.log_counts()[8], 0.5f32.ln());
    }

    #[test]
    fn rows_carry_labels_and_the_history_of_their_question() {
        let (questions, known) = parts();
        let examples = config().draw(&Following, &questions, &known).unwrap();
        let history = FieldKind::History { of: "item".into(), max_len: 9, separator: None };
        let schema = Schema::default().with_field("item", Ids::default()).with_field("past", history);
        let table = |items: Vec<Option<i64>>| {
            let past = Column::lists(Column::ints([0; 0]), items.iter().map(|_| 0..0)).unwrap();
            let table = Table::default().with_column("item", Column::ints(items)).unwrap();
            table.with_column("past", past).unwrap()
        };
        let items = table((0..i64::from(N_ITEMS)).map(Some).collect());
        let encoder = FeatureEncoder::fit(schema, [Ok(&items)]).unwrap();
        let encode = |table: &Table| encoder.encode_features(table).unwrap();
        let rows = CandidateRows::new(encode(&table(vec![None; 7])), encode(&items), &[]).unwrap();
        let encoded = examples.encode(&questions, &rows).unwrap();
        assert_eq!((encoded.n_rows(), encoded.n_labels()), (6 * 28, 1));
        let id = |item: ItemId| rows.items().bag(item.index(), 0).0[0];
        for (row, label) in encoded.labels().iter().enumerate() {
            let (question, place) = (&questions.users()[row / 28], row % 28);
            assert_eq!(*label, f32::from(place == 0));
            let past: Vec<u32> = question.history.iter().map(|&item| id(item)).collect();
            assert_eq!(encoded.history(row), past);
            assert_eq!(encoded.bag(row, 0).0, [id(examples.groups().nth(row / 28).unwrap()[place].item)]);
        }
        let (_, last) = questions.clone().split_last();
        assert!(examples.encode(&last, &rows).is_ok(), "each user has one question");
        let nobody = HeldOut::new("a", "b", N_ITEMS as usize, vec![]).unwrap();
        assert!(examples.encode(&nobody, &rows).is_err());
        assert!(config().draw(&Following, &nobody, &known).is_err());
    }

    #[test]
    fn bad_settings_and_questions_are_named() {
        let (questions, known) = parts();
        for config in [
            RankingExamplesConfig { strata: vec![], ..config() },
            RankingExamplesConfig { strata: vec![Stratum::new(0, 1)], ..config() },
            RankingExamplesConfig { strata: vec![Stratum::new(3, 1), Stratum::new(3, 1)], ..config() },
            RankingExamplesConfig { strata: vec![Stratum::new(3, 0)], ..config() },
            RankingExamplesConfig { n_random: 0, ..config() },
        ] {
            let error = config.draw(&Following, &questions, &known).unwrap_err().to_string();
            assert!(
                error.starts_with("RankingExamplesConfig::") || error.starts_with("Stratum::"),
                "{error}"
            );
        }
        let mut users = questions.users().to_vec();
        users[0].relevant = vec![ItemId(0), ItemId(1)];
        let two = HeldOut::new("a", "b", N_ITEMS as usize, users).unwrap();
        let error = config().draw(&Following, &two, &known).unwrap_err().to_string();
        assert_eq!(error, "relevant items of a question: expected 1, found 2");
    }
}
