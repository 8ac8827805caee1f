use crate::error::{Error, Result};
use crate::ids::{ItemId, UserId};
use crate::metrics::calibration::{CalibrationBins, bin_of};
use crate::metrics::classification::{auc_of_sorted, check_length, check_scores, check_some};
use crate::metrics::classification::{checked, checked_probabilities, log_loss_of};
use crate::metrics::classification_report::{
    CLASSIFICATION_METRICS, ClassificationReport, N_CALIBRATION_BINS,
};
use crate::metrics::evaluate::{Conditions, Evaluation};
use crate::metrics::report::ComparisonReport;
use crate::metrics::significance::{Comparison, bootstrap};
use crate::metrics::table::thousands;
use crate::top_k::by_score;

/// What a ranker says of labelled rows: columns of equal length.
///
/// Intervals come from the bootstrap over **users**: a resample draws users with replacement, each with all its rows,
/// because the rows of a user resemble each other and an interval over single rows would be too narrow (Field & Welsh
/// 2007, "Bootstrapping clustered data"). For a bootstrap over rows give each row a user of its own. The rows are
/// sorted once; a resample then costs one pass over them.
///
/// ```
/// use recsys::metrics::{Predictions, RankingMetric};
/// use recsys::prelude::*;
///
/// let users = [0, 0, 1, 1, 2, 2].map(UserId);
/// let labels = [true, false, true, false, false, false];
/// let p = [0.9, 0.2, 0.6, 0.7, 0.1, 0.3];
/// let predictions = Predictions { users: &users, labels: &labels, scores: &p, probabilities: Some(&p) };
/// let report = predictions.report(1)?;
/// assert_eq!(report.metric("auc").unwrap().value, 7.0 / 8.0);
/// assert_eq!((report.metric("gauc").unwrap().value, report.n_left_out()), (0.5, 1));
/// println!("{report}");
///
/// let items = [7, 8, 7, 8, 7, 8].map(ItemId);
/// let ranking = predictions.rank(&items, &[1])?;
/// assert_eq!(ranking.values(RankingMetric::Ndcg, 1), Some(&[1.0, 0.0][..]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// Whose row it is.
    pub users: &'a [UserId],
    /// Whether it is positive.
    pub labels: &'a [bool],
    /// The score; any increasing function of the probability will do.
    pub scores: &'a [f32],
    /// The probability that it is positive, where the ranker gives one: for log loss and calibration.
    pub probabilities: Option<&'a [f32]>,
}

impl Predictions<'_> {
    /// Every metric with its 95 % interval.
    ///
    /// # Errors
    /// No rows, columns of different lengths, a score that is not finite, a probability outside [0, 1].
    pub fn report(&self, seed: u64) -> Result<ClassificationReport> {
        let statistics = Statistics::new(self)?;
        let values = statistics.of(&vec![1.0; statistics.users.len()]);
        let resampled = bootstrap(statistics.users.len(), seed, |draws| statistics.of(draws));
        Ok(ClassificationReport::new(
            self.labels.len(),
            self.labels.iter().filter(|&&label| label).count(),
            statistics.users.len(),
            statistics.users.iter().filter(|user| user.auc.is_none()).count(),
            values,
            &resampled,
        ))
    }

    /// Sets these predictions (A) beside others of the same rows (B), by a paired bootstrap: a resample draws users,
    /// with the rows of both. A metric that either has not is left out.
    ///
    /// Where less is better (log loss, calibration error) a difference below 0 speaks for A.
    ///
    /// # Errors
    /// As [`report`](Self::report), or other users or labels.
    pub fn compare(
        &self,
        name: &str,
        other: &Predictions<'_>,
        other_name: &str,
        seed: u64,
    ) -> Result<ComparisonReport> {
        let [a, b] = [Statistics::new(self)?, Statistics::new(other)?];
        if (self.users, self.labels) != (other.users, other.labels) {
            let found = format!("{} rows with other users or labels", other.labels.len());
            return Err(Error::config("Predictions::compare", "predictions of the same rows", found));
        }
        let n_users = a.users.len();
        let both = |draws: &[f64]| [a.of(draws), b.of(draws)];
        let values = both(&vec![1.0; n_users]);
        let resampled = bootstrap(n_users, seed, both);
        let metric = |(index, name): (usize, &&str)| {
            let pair = |[a, b]: &[Values; 2]| Some([a[index]?, b[index]?]);
            let [a, b] = pair(&values)?;
            let differences: Vec<f64> = resampled.iter().filter_map(pair).map(|[a, b]| a - b).collect();
            Some((name.to_string(), Comparison::new([a, b], a - b, differences)))
        };
        let metrics = CLASSIFICATION_METRICS.iter().enumerate().filter_map(metric).collect();
        Ok(ComparisonReport::new([name, other_name], n_users, false, metrics))
    }

    /// Ranks the rows of each user among themselves (score descending, then the smaller item) and measures at the
    /// cut-offs `ks` where the positive ones stand. Users without a positive row are left out; the report tells how
    /// many. An item that comes twice for a user stands at its better place, and is positive if it once is.
    ///
    /// Such values compare rankers on the same rows. They are much higher than those of
    /// [`evaluate`](crate::metrics::evaluate), where the whole catalogue competes.
    ///
    /// # Errors
    /// No rows, no cut-off or a cut-off of 0, columns of different lengths, or a score that is not finite.
    pub fn rank(&self, items: &[ItemId], ks: &[usize]) -> Result<Evaluation> {
        check_some(self.labels)?;
        check_length("length of the user column", self.labels.len(), self.users.len())?;
        check_length("length of the item column", self.labels.len(), items.len())?;
        check_scores(self.labels, self.scores)?;
        let mut rows: Vec<usize> = (0..items.len()).collect();
        let scored = |row: usize| (items[row], self.scores[row]);
        rows.sort_unstable_by(|&a, &b| {
            self.users[a].cmp(&self.users[b]).then_with(|| by_score(scored(a), scored(b)))
        });
        let of_users = || rows.chunk_by(|&a, &b| self.users[a] == self.users[b]);
        let has_positive = |rows: &&[usize]| rows.iter().any(|&row| self.labels[row]);
        let (n_users, n_ranked) = (of_users().count(), of_users().filter(has_positive).count());
        let conditions = Conditions {
            split: "the positive rows".into(),
            candidates: format!(
                "of each user the rows given, {} in all; users left out for want of a positive row: {}",
                thousands(items.len()),
                thousands(n_users - n_ranked)
            ),
            masked: "nothing".into(),
            dropped: None,
        };
        let mut evaluation = Evaluation::new(conditions, 0, ks)?;
        for rows in of_users().filter(has_positive) {
            let ranked: Vec<ItemId> = rows.iter().map(|&row| items[row]).collect();
            let positive = rows.iter().filter(|&&row| self.labels[row]);
            let relevant: Vec<ItemId> = positive.map(|&row| items[row]).collect();
            evaluation.record(self.users[rows[0]], &ranked, &relevant);
        }
        Ok(evaluation)
    }
}

/// The value of each of [`CLASSIFICATION_METRICS`], where it is defined.
pub(super) type Values = [Option<f64>; CLASSIFICATION_METRICS.len()];

/// Predictions made ready for any number of resamples of their users.
struct Statistics {
    users: Vec<UserSums>,
    /// In ascending order of the score.
    rows: Vec<SortedRow>,
    calibration: Option<[CalibrationGaps; 2]>,
}

/// What one user adds to the metrics that are sums over users.
#[derive(Clone, Debug, Default)]
struct UserSums {
    n_rows: f64,
    n_positive: f64,
    auc: Option<f64>,
    log_loss: f64,
    probability: f64,
}

/// User, label, and whether it is the last row of its score, in one word: user · 4 + last · 2 + label.
#[derive(Clone, Copy)]
struct SortedRow(u64);

impl SortedRow {
    fn new(user: u32, last_of_score: bool, label: bool) -> Self {
        Self(u64::from(user) << 2 | u64::from(last_of_score) << 1 | u64::from(label))
    }

    fn user(self) -> usize {
        (self.0 >> 2) as usize
    }

    fn is_last_of_score(self) -> bool {
        self.0 & 2 != 0
    }

    /// 1 or 0.
    fn label(self) -> u64 {
        self.0 & 1
    }
}

/// The sums of label less probability of each user in each bin.
struct CalibrationGaps {
    /// Bin by bin.
    gaps: Vec<(u32, f64)>,
    /// Where each bin that has rows ends.
    ends: Vec<usize>,
}

impl CalibrationGaps {
    /// Of rows of user, probability and label.
    fn new(bins: CalibrationBins, rows: &[(u32, f64, bool)]) -> Self {
        let edges = bins.edges(rows.iter().map(|row| row.1), N_CALIBRATION_BINS);
        let gap = |&(user, p, label): &(u32, f64, bool)| ((bin_of(&edges, p), user), f64::from(label) - p);
        let mut rows: Vec<((usize, u32), f64)> = rows.iter().map(gap).collect();
        rows.sort_by_key(|row| row.0);
        let (mut gaps, mut ends) = (Vec::new(), Vec::new());
        for bin in rows.chunk_by(|a, b| a.0.0 == b.0.0) {
            let of_users = bin.chunk_by(|a, b| a.0.1 == b.0.1);
            gaps.extend(of_users.map(|rows| (rows[0].0.1, rows.iter().map(|row| row.1).sum::<f64>())));
            ends.push(gaps.len());
        }
        Self { gaps, ends }
    }

    /// The sum over the bins of |Σ gap|, where each row comes as often as its user.
    fn sum(&self, draws: &[f64]) -> f64 {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| drawn_sum(&self.gaps[start..end], draws).abs()).sum()
    }
}

/// Σ draws · gap in four running sums, which do not wait for each other.
fn drawn_sum(gaps: &[(u32, f64)], draws: &[f64]) -> f64 {
    let drawn = |&(user, gap): &(u32, f64)| draws[user as usize] * gap;
    let (fours, rest) = gaps.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for four in fours {
        for (sum, gap) in sums.iter_mut().zip(four) {
            *sum += drawn(gap);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(drawn).sum::<f64>()
}

impl Statistics {
    fn new(predictions: &Predictions<'_>) -> Result<Self> {
        let Predictions { users, labels, scores, probabilities } = *predictions;
        check_some(labels)?;
        check_length("length of the user column", labels.len(), users.len())?;
        let mut ids = users.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let place = |user: &UserId| ids.binary_search(user).map_or(0, |place| place as u32);
        let scored: Vec<(u32, f64, bool)> = users
            .iter()
            .map(place)
            .zip(checked(labels, scores)?)
            .map(|(user, (score, label))| (user, score, label))
            .collect();
        let mut statistics = Self {
            users: user_sums(ids.len(), scored.clone()),
            rows: sorted_rows(scored.clone()),
            calibration: None,
        };
        if let Some(probabilities) = probabilities {
            let rows: Vec<(u32, f64, bool)> = scored
                .iter()
                .zip(checked_probabilities(labels, probabilities)?)
                .map(|(&(user, ..), (p, label))| (user, p, label))
                .collect();
            for &(user, p, label) in &rows {
                let sums = &mut statistics.users[user as usize];
                sums.log_loss += log_loss_of(label, p);
                sums.probability += p;
            }
            let bins = [CalibrationBins::EqualWidth, CalibrationBins::EqualFrequency];
            statistics.calibration = Some(bins.map(|bins| CalibrationGaps::new(bins, &rows)));
        }
        Ok(statistics)
    }

    /// Every metric where user u comes `draws[u]` times, a whole number.
    fn of(&self, draws: &[f64]) -> Values {
        let sum = |of: fn(&UserSums) -> f64| -> f64 {
            self.users.iter().zip(draws).map(|(user, draws)| draws * of(user)).sum()
        };
        let n_rows = sum(|user| user.n_rows);
        let n_positive = sum(|user| user.n_positive);
        let in_gauc = sum(|user| user.auc.map_or(0.0, |_| user.n_rows));
        let gauc = sum(|user| user.auc.map_or(0.0, |auc| auc * user.n_rows)) / in_gauc;
        let calibration = self.calibration.as_ref();
        let error = |which: usize| calibration.map(|gaps| gaps[which].sum(draws) / n_rows);
        [
            self.auc(draws),
            (in_gauc > 0.0).then_some(gauc),
            calibration.map(|_| sum(|user| user.log_loss) / n_rows),
            calibration.filter(|_| n_positive > 0.0).map(|_| sum(|user| user.probability) / n_positive),
            error(0),
            error(1),
        ]
    }

    /// As [`auc`](crate::metrics::auc), with rows that count as often as their user.
    fn auc(&self, draws: &[f64]) -> Option<f64> {
        let draws: Vec<u64> = draws.iter().map(|&draws| draws as u64).collect();
        let (mut positives, mut negatives, mut doubled_wins) = (0u64, 0u64, 0u128);
        let (mut tied_positives, mut tied) = (0u64, 0u64);
        for &row in &self.rows {
            let n = draws[row.user()];
            tied += n;
            tied_positives += n * row.label();
            if row.is_last_of_score() {
                let tied_negatives = tied - tied_positives;
                doubled_wins += u128::from(tied_positives) * u128::from(2 * negatives + tied_negatives);
                positives += tied_positives;
                negatives += tied_negatives;
                (tied_positives, tied) = (0, 0);
            }
        }
        let pairs = u128::from(positives) * u128::from(negatives);
        (pairs > 0).then(|| doubled_wins as f64 / (2 * pairs) as f64)
    }
}

/// The sums of each user that need no probabilities.
fn user_sums(n_users: usize, mut rows: Vec<(u32, f64, bool)>) -> Vec<UserSums> {
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut users = vec![UserSums::default(); n_users];
    for of_user in rows.chunk_by(|a, b| a.0 == b.0) {
        users[of_user[0].0 as usize] = UserSums {
            n_rows: of_user.len() as f64,
            n_positive: of_user.iter().filter(|row| row.2).count() as f64,
            auc: auc_of_sorted(of_user.iter().map(|&(_, score, label)| (score, label))),
            ..UserSums::default()
        };
    }
    users
}

fn sorted_rows(mut rows: Vec<(u32, f64, bool)>) -> Vec<SortedRow> {
    rows.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
    // Compared as numbers: both zeros are the same score.
    let last_of_score = |place: usize| rows.get(place + 1).is_none_or(|next| next.1 != rows[place].1);
    let row = |(place, &(user, _, label))| SortedRow::new(user, last_of_score(place), label);
    rows.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::features::UnseenShare;
    use crate::metrics::classification::{auc, gauc, log_loss};
    use crate::metrics::ranking::RankingMetric;
    use crate::metrics::significance::{Estimate, Interval};
    use crate::metrics::{calibration_ratio, expected_calibration_error};
    use crate::rng::Rng;

    /// Columns that own their rows.
    #[derive(Clone, Debug, Default)]
    struct Rows {
        users: Vec<UserId>,
        labels: Vec<bool>,
        probabilities: Vec<f32>,
    }

    impl Rows {
        fn push(&mut self, user: u32, label: bool, probability: f32) {
            self.users.push(UserId(user));
            self.labels.push(label);
            self.probabilities.push(probability);
        }

        fn predictions(&self) -> Predictions<'_> {
            let Self { users, labels, probabilities } = self;
            Predictions { users, labels, scores: probabilities, probabilities: Some(probabilities) }
        }
    }

    /// Many ties, and users of one class.
    fn rows() -> impl Strategy<Value = Rows> {
        prop::collection::vec((0u32..6, any::<bool>(), 0u8..9), 1..50).prop_map(|rows| {
            rows.into_iter().fold(Rows::default(), |mut all, (user, label, p)| {
                all.push(user * 7, label && user != 2, f32::from(p) / 8.0);
                all
            })
        })
    }

    /// A positive scores 1 above a negative, with normal noise: the true AUC is Φ(1/√2) = 0.7602.
    fn normal_rows(n_rows: usize, n_users: usize, seed: u64) -> Rows {
        let mut rng = Rng::new(seed);
        let mut rows = Rows::default();
        for row in 0..n_rows {
            let label = rng.uniform() < 0.4;
            let logit = rng.normal() + f64::from(label);
            rows.push((row % n_users) as u32, label, (1.0 / (1.0 + (-logit).exp())) as f32);
        }
        rows
    }

    fn interval(predictions: &Predictions<'_>, name: &str, seed: u64) -> Interval {
        predictions.report(seed).unwrap().metric(name).unwrap().interval.unwrap()
    }

    #[test]
    fn the_report_of_a_few_rows() {
        let mut rows = Rows::default();
        for (user, label, p) in
            [(3, true, 0.9), (3, false, 0.2), (5, true, 0.6), (5, false, 0.6), (8, true, 0.5)]
        {
            rows.push(user, label, p);
        }
        let report = rows.predictions().report(1).unwrap();
        assert_eq!((report.n_rows(), report.n_positive()), (5, 3));
        assert_eq!((report.n_users(), report.n_left_out()), (3, 1));
        // 0.9 wins twice; 0.6 wins once and ties once; 0.5 wins once.
        assert_eq!(report.metric("auc").unwrap().value, 4.5 / 6.0);
        assert_eq!(report.metric("gauc").unwrap().value, (2.0 + 2.0 * 0.5) / 4.0);
        let text = report.to_string();
        assert!(
            text.starts_with("5 rows of 3 users, 60.0 % positive; users of one class, left out of GAUC: 1."),
            "{text}"
        );
        assert!(text.contains("\nauc                  0.7500  ["), "{text}");
        assert!(report.to_markdown().contains("\n| gauc | 0.7500 | ["));
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ClassificationReport>(&json).unwrap(), report);
        assert_eq!(serde_json::to_value(&report).unwrap()["metrics"]["auc"]["value"], 0.75);

        let scores_only = Predictions { probabilities: None, ..rows.predictions() }.report(1).unwrap();
        assert_eq!(scores_only.metrics().map(|metric| metric.0).collect::<Vec<_>>(), ["auc", "gauc"]);
        assert_eq!(scores_only.metric("auc"), report.metric("auc"));
        let table = ClassificationReport::models_to_markdown(&[("fm", &report), ("trees", &scores_only)]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("| model | auc | gauc | log_loss |") && lines.len() == 4, "{table}");
        assert!(
            lines[2].starts_with("| fm | 0.7500 [") && lines[3].ends_with("] | – | – | – | – |"),
            "{table}"
        );
        let one_class = Rows { labels: vec![false; 5], ..rows }.predictions().report(1).unwrap();
        let names: Vec<&str> = one_class.metrics().map(|metric| metric.0).collect();
        assert_eq!(names, ["log_loss", "ece_equal_width", "ece_equal_frequency"]);
    }

    #[test]
    fn a_report_tells_and_warns_of_unseen_values() {
        let share = |field: &str, n_unseen| UnseenShare { field: field.into(), n_values: 4, n_unseen };
        let plain = normal_rows(4, 2, 1).predictions().report(1).unwrap();
        let report = plain.clone().with_unseen(vec![share("user", 3), share("item", 2), share("genre", 0)]);
        let notes = [
            "user: 3 of 4 values unseen in training (75.0 %).",
            "item: 2 of 4 values unseen in training (50.0 %).",
            "Warning: 75.0 % of the values of user are unseen in training (3 of 4), and a model knows nothing of them; \
             `7` and `7.0` are two values.",
        ];
        let text = report.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..5], [notes[0], notes[1], notes[2], ""]);
        assert!(report.to_markdown().contains(&format!("\n\n{}\n\n| metric", notes.join("\n\n"))));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["unseen"][0]["share"], 0.75);
        assert_eq!(serde_json::from_value::<ClassificationReport>(json.clone()).unwrap(), report);
        assert_eq!(report.unseen().len(), 3);

        // Reports of before have no such part.
        let mut json = json;
        json.as_object_mut().unwrap().remove("unseen");
        assert_eq!(serde_json::from_value::<ClassificationReport>(json).unwrap(), plain);
        assert!(!plain.to_string().contains("unseen"));
    }

    #[test]
    fn rows_of_a_user_are_ranked_among_themselves() {
        let mut rows = Rows::default();
        for (user, label, p) in [
            (9, false, 0.5),
            (1, true, 0.1),
            (9, true, 0.5),
            (1, false, 0.8),
            (4, false, 0.9),
            (1, false, 0.3),
        ] {
            rows.push(user, label, p);
        }
        // The two rows of user 9 tie: item 2 stands before item 6.
        let ranking = rows.predictions().rank(&[6, 0, 2, 1, 0, 3].map(ItemId), &[1, 3]).unwrap();
        assert_eq!(ranking.users(), [UserId(1), UserId(9)]);
        assert_eq!(ranking.values(RankingMetric::Mrr, 3), Some(&[1.0 / 3.0, 1.0][..]));
        assert_eq!(ranking.values(RankingMetric::HitRate, 1), Some(&[0.0, 1.0][..]));
        assert_eq!(ranking.recommendation_counts(1), None);
        assert_eq!(
            ranking.candidates(),
            "of each user the rows given, 6 in all; users left out for want of a positive row: 1"
        );
        assert!(ranking.one_relevant());
        assert_eq!((ranking.users_without_history(), ranking.users_without_answer()), (None, None));
        let same = ranking.compare("a", &ranking, "b", 1).unwrap();
        assert_eq!(same.users_without_answer(), None);
        let last = rows.predictions().rank(&[1, 0, 2, 1, 0, 3].map(ItemId), &[1]).unwrap();
        assert_eq!(last.values(RankingMetric::HitRate, 1), Some(&[0.0, 0.0][..]), "item 1 before item 2");
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let covered = (0..200)
            .filter(|&trial| {
                let interval = interval(&normal_rows(200, 200, trial).predictions(), "auc", trial + 1_000);
                interval.low <= 0.7602 && 0.7602 <= interval.high
            })
            .count();
        assert!((180..=199).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn repeated_rows_of_a_user_are_no_new_evidence() {
        let once = normal_rows(300, 300, 1);
        let mut often = Rows::default();
        for _ in 0..4 {
            for row in 0..300 {
                often.push(once.users[row].0, once.labels[row], once.probabilities[row]);
            }
        }
        assert_eq!(interval(&once.predictions(), "auc", 1), interval(&often.predictions(), "auc", 1));
    }

    /// Of 3,000 rows whose probability is the true one times `factor`.
    fn calibration_errors(factor: f32) -> [Estimate; 2] {
        let mut rng = Rng::new(4);
        let mut rows = Rows::default();
        for user in 0..3_000 {
            let p = rng.uniform_f32();
            rows.push(user, rng.uniform_f32() < p, factor * p);
        }
        let report = rows.predictions().report(1).unwrap();
        ["ece_equal_width", "ece_equal_frequency"].map(|name| report.metric(name).unwrap())
    }

    #[test]
    fn the_interval_of_a_calibration_error() {
        for Estimate { value, interval } in calibration_errors(0.6) {
            // The true error is the mean of 0.4 p.
            let Interval { low, high } = interval.unwrap();
            assert!(low < 0.2 && 0.2 < high && high - low < 0.06, "{value} in {low}, {high}");
        }
        for Estimate { value, interval } in calibration_errors(1.0) {
            // Noise alone makes an error, and nearly every resample makes a greater one.
            let Interval { low, high } = interval.unwrap();
            assert!(value > 0.01 && low < value && value < high, "{value} in {low}, {high}");
        }
    }

    #[test]
    fn a_seed_fixes_the_answer_on_any_number_of_threads() {
        let rows = normal_rows(333, 40, 2);
        let on = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rows.predictions().report(seed).unwrap())
        };
        assert_eq!(on(1, 9), on(5, 9));
        assert_ne!(on(1, 9), on(1, 10));
    }

    #[test]
    fn pairing_sees_a_small_but_steady_advantage() {
        let a = normal_rows(2_000, 200, 3);
        let mut noisy = a.clone();
        let mut rng = Rng::new(5);
        for p in &mut noisy.probabilities {
            *p = (*p + 0.3 * rng.uniform_f32()).min(1.0);
        }
        let report = a.predictions().compare("a", &noisy.predictions(), "b", 1).unwrap();
        let auc = report.metric("auc").unwrap();
        let difference = auc.difference.interval.unwrap();
        let own = interval(&a.predictions(), "auc", 1);
        assert!(auc.a > auc.b && difference.low > 0.0 && auc.p_value < 0.01, "{auc:?}");
        assert!(difference.high - difference.low < 0.6 * (own.high - own.low), "{difference:?} in {own:?}");
        assert_eq!(auc.a, a.predictions().report(7).unwrap().metric("auc").unwrap().value);
        assert!(report.metric("calibration_ratio").unwrap().difference.value < 0.0);
        assert!(report.to_string().contains("a against b, the same 200 users"), "{report}");

        let itself = a.predictions().compare("a", &a.predictions(), "a", 1).unwrap().metric("auc").unwrap();
        assert_eq!((itself.difference.value, itself.p_value), (0.0, 1.0));
        let scores_only = Predictions { probabilities: None, ..noisy.predictions() };
        let few = a.predictions().compare("a", &scores_only, "b", 1).unwrap();
        assert_eq!(few.metrics().len(), 2, "AUC and GAUC");
        assert_eq!(few.metric("auc"), Some(auc));
    }

    #[test]
    fn bad_input_is_named() {
        let rows = normal_rows(3, 2, 1);
        let good = rows.predictions();
        let message = |predictions: Predictions<'_>| predictions.report(1).unwrap_err().to_string();
        assert_eq!(
            message(Predictions { users: &rows.users[..2], ..good }),
            "length of the user column: expected 3, found 2"
        );
        assert_eq!(
            message(Predictions { scores: &[0.5, f32::NAN, 0.1], ..good }),
            "score at position 1 is NaN; expected a finite number"
        );
        assert_eq!(
            message(Predictions { probabilities: Some(&[0.5, 1.5, 0.1]), ..good }),
            "input, line 2, column probability: expected a number from 0 to 1, found 1.5"
        );
        assert_eq!(
            message(Predictions { users: &[], labels: &[], scores: &[], probabilities: None }),
            "input: expected at least one row, found none"
        );
        let labels = [!rows.labels[0], rows.labels[1], rows.labels[2]];
        assert!(good.compare("a", &Predictions { labels: &labels, ..good }, "b", 1).is_err());
        let items = [1, 2, 3].map(ItemId);
        let none = Predictions { users: &[], labels: &[], scores: &[], probabilities: None };
        let error = none.rank(&[], &[1]).unwrap_err().to_string();
        assert_eq!(error, "input: expected at least one row, found none");
        assert!(good.rank(&items, &[]).is_err() && good.rank(&items[..2], &[1]).is_err());
        assert!(Predictions { scores: &[0.5, f32::NAN, 0.1], ..good }.rank(&items, &[1]).is_err());
    }

    fn assert_near(found: Option<f64>, expected: Option<f64>, what: &str) {
        let near = found.zip(expected).is_none_or(|(found, expected)| (found - expected).abs() < 1e-9);
        assert!(near && found.is_some() == expected.is_some(), "{what}: {found:?}, not {expected:?}");
    }

    proptest! {
        #[test]
        fn a_resample_is_the_metric_of_repeated_rows(
            rows in rows(), draws in prop::collection::vec(0usize..4, 6)
        ) {
            let mut drawn = Rows::default();
            let mut ids = rows.users.clone();
            ids.sort_unstable();
            ids.dedup();
            for row in 0..rows.users.len() {
                let place = ids.binary_search(&rows.users[row]).unwrap();
                for copy in 0..draws[place] {
                    // A user drawn twice is two users.
                    let user = (place * 10 + copy) as u32;
                    drawn.push(user, rows.labels[row], rows.probabilities[row]);
                }
            }
            prop_assume!(!drawn.labels.is_empty());
            let draws: Vec<f64> = draws[..ids.len()].iter().map(|&n| n as f64).collect();
            let found = Statistics::new(&rows.predictions()).unwrap().of(&draws);
            let (labels, p) = (&drawn.labels, &drawn.probabilities);
            assert_near(found[0], auc(labels, p).unwrap(), "auc");
            assert_near(found[1], gauc(&drawn.users, labels, p).unwrap().value, "gauc");
            assert_near(found[2], log_loss(labels, p).ok(), "log loss");
            assert_near(found[3], calibration_ratio(labels, p).unwrap(), "calibration ratio");
            let error = expected_calibration_error(labels, p, CalibrationBins::EqualWidth, N_CALIBRATION_BINS);
            assert_near(found[4], error.ok(), "ECE of equal width");
        }

        #[test]
        fn values_are_those_of_the_functions(rows in rows()) {
            let report = rows.predictions().report(1).unwrap();
            let value = |name| report.metric(name).map(|estimate| estimate.value);
            let (labels, p) = (&rows.labels, &rows.probabilities);
            let of_users = gauc(&rows.users, labels, p).unwrap();
            assert_near(value("auc"), auc(labels, p).unwrap(), "auc");
            assert_near(value("gauc"), of_users.value, "gauc");
            prop_assert_eq!(report.n_left_out(), of_users.n_left_out);
            for (name, bins) in [
                ("ece_equal_width", CalibrationBins::EqualWidth),
                ("ece_equal_frequency", CalibrationBins::EqualFrequency),
            ] {
                let expected = expected_calibration_error(labels, p, bins, N_CALIBRATION_BINS);
                assert_near(value(name), expected.ok(), name);
            }
        }
    }

    /// `cargo test --release --lib -- --ignored --nocapture seventy_four_thousand_rows`
    #[test]
    #[ignore = "a measurement"]
    fn seventy_four_thousand_rows() {
        let rows = normal_rows(74_000, 6_040, 1);
        let start = std::time::Instant::now();
        let report = rows.predictions().report(1).unwrap();
        println!("{report}in {:?}", start.elapsed());
        let scores_only = Predictions { probabilities: None, ..rows.predictions() };
        let start = std::time::Instant::now();
        scores_only.report(1).unwrap();
        println!("AUC and GAUC alone in {:?}", start.elapsed());
        let start = std::time::Instant::now();
        scores_only.compare("a", &scores_only, "b", 1).unwrap();
        println!("a comparison of two in {:?}", start.elapsed());
    }
}
