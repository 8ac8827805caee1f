use serde::{Deserialize, Serialize};

use crate::data::{Interaction, Interactions};
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CandidateRows, EncodedRows};
use crate::ids::ItemId;
use crate::metrics::{HeldOut, HeldOutUser};
use crate::pipeline::{Query, Recaller};
use crate::samplers::{HardNegatives, RankingNegatives, UniformSampler};

/// How many questions the recaller answers at a time.
const BLOCK: usize = 512;

/// Makes the examples that a ranker behind a recaller learns from: each question's relevant item, and negatives that are
/// in part what the recaller answered to that very question, in part any items.
///
/// The questions are those of a fold of which the recaller knows nothing
/// ([`Split::out_of_fold`](crate::data::Split::out_of_fold), [`HeldOut::next_items`]); else it would name the relevant items
/// far better than it will in service, and the ranker learn to trust it.
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `n_recalled` | 100 | the items that the recaller is asked for, among which hard negatives are drawn | ≥ 1 |
/// | `n_hard` | 6 | negatives of each positive among the recalled items | ≥ 1 |
/// | `n_random` | 2 | negatives of each positive among all items | ≥ 1 |
/// | `seed` | 1 | the draws | |
///
/// ```
/// use recsys::metrics::HeldOut;
/// use recsys::models::recall::PopularityRecaller;
/// use recsys::prelude::*;
/// use recsys::training::RankingExamplesConfig;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let Split { train, validation, .. } = Split::out_of_fold(data.interactions(), 0.1)?;
/// let questions = HeldOut::next_items(&train, &validation)?;
/// let known = train.iter().chain(validation.iter());
/// let known = Interactions::from_rows(train.n_users(), train.n_items(), known)?;
///
/// let recaller = PopularityRecaller::fit(&train);
/// let examples = RankingExamplesConfig::default().draw(&recaller, &questions, &known)?;
/// assert_eq!((examples.n_negatives(), examples.groups().len()), (8, validation.len()));
/// assert_eq!(examples.groups().next().unwrap()[0], questions.users()[0].relevant[0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankingExamplesConfig {
    /// The items that the recaller is asked for.
    pub n_recalled: usize,
    /// The negatives of each positive among those.
    pub n_hard: usize,
    /// The negatives of each positive among all items.
    pub n_random: usize,
    /// Seeds the draws.
    pub seed: u64,
}

impl Default for RankingExamplesConfig {
    fn default() -> Self {
        Self { n_recalled: 100, n_hard: 6, n_random: 2, seed: 1 }
    }
}

impl RankingExamplesConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn validate(&self) -> Result<()> {
        for (field, n) in [
            ("RankingExamplesConfig::n_recalled", self.n_recalled),
            ("RankingExamplesConfig::n_hard", self.n_hard),
            ("RankingExamplesConfig::n_random", self.n_random),
        ] {
            if n == 0 {
                return Err(Error::config(field, "at least 1", 0));
            }
        }
        Ok(())
    }

    /// Asks the recaller every question and draws the negatives, none of which the user has in `known`: all that is known of
    /// the users when the ranker is trained, also from after the question. What is held out for the test is not.
    ///
    /// # Errors
    /// A setting outside its range, a question with more or less than one relevant item, a user or an item outside `known`, or
    /// a recaller that fails.
    pub fn draw(
        &self,
        recaller: &dyn Recaller,
        questions: &HeldOut,
        known: &Interactions,
    ) -> Result<RankingExamples> {
        self.validate()?;
        let positive = |question: &HeldOutUser| match question.relevant[..] {
            [item] => Ok(Interaction { user: question.user, item, value: 1.0, timestamp: 0 }),
            _ => {
                let (what, found) = ("relevant items of a question", question.relevant.len());
                Err(ErrorKind::LengthMismatch { what, expected: 1, found }.into())
            }
        };
        let positives = questions.users().iter().map(positive).collect::<Result<Vec<_>>>()?;
        let positives = Interactions::from_rows(known.n_users(), known.n_items(), positives)?;
        let recalled = self.recall(recaller, questions)?;
        let uniform = || UniformSampler::new(known.n_items());
        let hard = HardNegatives::new(0..self.n_recalled, 1, uniform()?)?;
        let of = |n| RankingNegatives::new(known, n);
        let hard = of(self.n_hard)?.draw(&positives, &recalled, &hard, self.seed)?;
        let random = of(self.n_random)?.draw(&positives, &[], &uniform()?, self.seed.wrapping_add(1))?;
        let negatives = hard.chunks_exact(self.n_hard).zip(random.chunks_exact(self.n_random));
        let groups = positives.items().iter().zip(negatives);
        let items = groups.flat_map(|(&positive, (hard, random))| [&[positive], hard, random].concat());
        Ok(RankingExamples { n_negatives: self.n_hard + self.n_random, items: items.collect() })
    }

    /// What the recaller answers to each question.
    fn recall(&self, recaller: &dyn Recaller, questions: &HeldOut) -> Result<Vec<Vec<ItemId>>> {
        let mut recalled = Vec::with_capacity(questions.users().len());
        for block in questions.users().chunks(BLOCK) {
            let queries: Vec<Query<'_>> = block.iter().map(HeldOutUser::query).collect();
            let answers = recaller.recall_batch(&queries, self.n_recalled)?;
            recalled.extend(
                answers
                    .iter()
                    .map(|answer| answer.iter().map(|candidate| candidate.item).collect::<Vec<ItemId>>()),
            );
        }
        Ok(recalled)
    }
}

/// Examples for a ranker: of each question a positive and its negatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankingExamples {
    n_negatives: usize,
    /// A group behind another.
    items: Vec<ItemId>,
}

impl RankingExamples {
    /// The negatives behind each positive.
    pub fn n_negatives(&self) -> usize {
        self.n_negatives
    }

    /// The items of each question: the positive, the hard negatives, the random ones.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &[ItemId]> {
        self.items.chunks_exact(1 + self.n_negatives)
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
        let mut labels = vec![0.0; 1 + self.n_negatives];
        labels[0] = 1.0;
        for (question, items) in questions.users().iter().zip(self.groups()) {
            let group = rows.of(Some(question.user), &question.history, items)?;
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
    use crate::pipeline::Candidate;

    const N_ITEMS: u32 = 12;

    /// Names the items behind the last of the history, on a circle.
    #[derive(Debug)]
    struct Following;

    impl Recaller for Following {
        fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            let last = query.history().last().map_or(0, |item| item.0);
            let items = (1..N_ITEMS).map(|step| ItemId((last + step) % N_ITEMS));
            let admitted = items.filter(|&item| query.filter().admits(item)).take(k);
            Ok(admitted.map(|item| Candidate::new(item, 0.0)).collect())
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
        RankingExamplesConfig { n_recalled: 3, n_hard: 20, n_random: 5, seed: 3 }
    }

    /// Of each user two rows are known, the third is asked for, the fourth held out.
    fn parts() -> (HeldOut, Interactions) {
        let Split { train, validation, .. } = Split::out_of_fold(&log(), 0.4).unwrap();
        let known = train.iter().chain(validation.iter());
        let known = Interactions::from_rows(6, N_ITEMS as usize, known).unwrap();
        (HeldOut::next_items(&train, &validation).unwrap(), known)
    }

    #[test]
    fn hard_negatives_are_what_was_recalled_for_that_question() {
        let (questions, known) = parts();
        let examples = config().draw(&Following, &questions, &known).unwrap();
        assert_eq!((examples.n_negatives(), examples.groups().len()), (25, 6));
        for (user, group) in (0..).zip(examples.groups()) {
            let item = |step: u32| ItemId((user + step) % N_ITEMS);
            assert_eq!(group[0], item(4));
            // Recalled behind item 2 are 3, 4, 5: 4 is the answer.
            let mut hard = group[1..21].to_vec();
            hard.sort_unstable();
            hard.dedup();
            let mut expected = vec![item(3), item(5)];
            expected.sort_unstable();
            assert_eq!(hard, expected);
            assert!(group[21..].iter().all(|negative| ![item(0), item(2), item(4)].contains(negative)));
        }
        let draw = |seed| RankingExamplesConfig { seed, ..config() }.draw(&Following, &questions, &known);
        assert_eq!(draw(3).unwrap(), examples);
        assert_ne!(draw(4).unwrap(), examples);
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
        assert_eq!((encoded.n_rows(), encoded.n_labels()), (6 * 26, 1));
        let id = |item: ItemId| rows.items().bag(item.index(), 0).0[0];
        for (row, label) in encoded.labels().iter().enumerate() {
            let (question, place) = (&questions.users()[row / 26], row % 26);
            assert_eq!(*label, f32::from(place == 0));
            let past: Vec<u32> = question.history.iter().map(|&item| id(item)).collect();
            assert_eq!(encoded.history(row), past);
            assert_eq!(encoded.bag(row, 0).0, [id(examples.groups().nth(row / 26).unwrap()[place])]);
        }
        let (_, last) = questions.clone().split_last();
        assert!(examples.encode(&last, &rows).is_ok(), "each user has one question");
        let nobody = HeldOut::new("a", "b", N_ITEMS as usize, vec![]).unwrap();
        assert!(examples.encode(&nobody, &rows).is_err());
    }

    #[test]
    fn bad_settings_and_questions_are_named() {
        let (questions, known) = parts();
        for config in [
            RankingExamplesConfig { n_recalled: 0, ..config() },
            RankingExamplesConfig { n_hard: 0, ..config() },
            RankingExamplesConfig { n_random: 0, ..config() },
        ] {
            let error = config.draw(&Following, &questions, &known).unwrap_err().to_string();
            assert!(error.starts_with("RankingExamplesConfig::"), "{error}");
        }
        let mut users = questions.users().to_vec();
        users[0].relevant = vec![ItemId(0), ItemId(1)];
        let two = HeldOut::new("a", "b", N_ITEMS as usize, users).unwrap();
        let error = config().draw(&Following, &two, &known).unwrap_err().to_string();
        assert_eq!(error, "relevant items of a question: expected 1, found 2");
    }
}
