use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::UserId;

/// The area under the ROC curve: the probability that a random positive scores above a random negative,
/// where a tie counts ½ (Mann & Whitney 1947). `None` unless both classes are there.
///
/// ```
/// # use recsys::metrics::auc;
/// assert_eq!(auc(&[false, true, true], &[0.2, 0.2, 0.7])?, Some(0.75));
/// assert_eq!(auc(&[true], &[0.5])?, None);
/// # Ok::<(), recsys::error::Error>(())
/// ```
///
/// # Errors
/// Different lengths, or a score that is not finite.
pub fn auc<T: Copy + Into<f64>>(labels: &[bool], scores: &[T]) -> Result<Option<f64>> {
    let mut rows: Vec<(f64, bool)> = checked(labels, scores)?.collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Ok(auc_of_sorted(rows.iter().copied()))
}

/// What [`gauc`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauc {
    /// The weighted mean of the users' AUC; `None` where no user has both classes.
    pub value: Option<f64>,
    /// The users it is taken over.
    pub n_users: usize,
    /// The users left out because all their labels are equal.
    pub n_left_out: usize,
}

/// Group AUC: the mean over users of the AUC within the user's own rows, weighted by the number of the
/// user's rows (impressions). Users whose labels are all equal have no AUC: they are left out, and
/// counted. (Zhu et al. 2017, "Optimized Cost per Click in Taobao Display Advertising", equation 11.)
///
/// # Errors
/// Different lengths, or a score that is not finite.
pub fn gauc<T: Copy + Into<f64>>(users: &[UserId], labels: &[bool], scores: &[T]) -> Result<Gauc> {
    check_length("length of the user column", labels.len(), users.len())?;
    let mut rows: Vec<(UserId, (f64, bool))> = users.iter().copied().zip(checked(labels, scores)?).collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.0.total_cmp(&b.1.0)));
    let (mut sum, mut weight, mut n_users, mut n_left_out) = (0.0, 0.0, 0, 0);
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        match auc_of_sorted(group.iter().map(|row| row.1)) {
            Some(auc) => {
                sum += auc * group.len() as f64;
                weight += group.len() as f64;
                n_users += 1;
            }
            None => n_left_out += 1,
        }
    }
    Ok(Gauc { value: (n_users > 0).then(|| sum / weight), n_users, n_left_out })
}

/// How near to 0 and 1 a probability may come in [`log_loss`].
pub const LOG_LOSS_CLIP: f64 = 1e-7;

/// The mean of −ln p over positives and −ln (1 − p) over negatives, in nats, with p first clipped to
/// [[`LOG_LOSS_CLIP`], 1 − [`LOG_LOSS_CLIP`]].
///
/// # Errors
/// No rows, different lengths, or a probability outside [0, 1].
pub fn log_loss<T: Copy + Into<f64>>(labels: &[bool], probabilities: &[T]) -> Result<f64> {
    let sum: f64 =
        checked_probabilities(labels, probabilities)?.map(|(p, label)| log_loss_of(label, p)).sum();
    Ok(sum / labels.len() as f64)
}

/// The log loss of one row.
pub(super) fn log_loss_of(label: bool, p: f64) -> f64 {
    let p = p.clamp(LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP);
    if label { -p.ln() } else { -(1.0 - p).ln() }
}

/// The rows as (probability, label), once they are known to be good and at least one.
pub(super) fn checked_probabilities<'a, T: Copy + Into<f64>>(
    labels: &'a [bool],
    probabilities: &'a [T],
) -> Result<impl Iterator<Item = (f64, bool)> + 'a> {
    check_some(labels)?;
    let mut rows = checked(labels, probabilities)?.map(|row| row.0);
    if let Some((row, p)) = rows.by_ref().enumerate().find(|(_, p)| !(0.0..=1.0).contains(p)) {
        let place = Location::memory().line(row as u64 + 1).column("probability");
        return Err(Error::input(place, "a number from 0 to 1", p.to_string()));
    }
    checked(labels, probabilities)
}

pub(super) fn check_some(labels: &[bool]) -> Result<()> {
    if labels.is_empty() {
        return Err(Error::input(Location::memory(), "at least one row", "none"));
    }
    Ok(())
}

/// The rows as (score, label), once lengths and scores are known to be good.
pub(super) fn checked<'a, T: Copy + Into<f64>>(
    labels: &'a [bool],
    scores: &'a [T],
) -> Result<impl Iterator<Item = (f64, bool)> + 'a> {
    check_scores(labels, scores)?;
    Ok(scores.iter().map(|&score| score.into()).zip(labels.iter().copied()))
}

pub(super) fn check_scores<T: Copy + Into<f64>>(labels: &[bool], scores: &[T]) -> Result<()> {
    check_length("length of the score column", labels.len(), scores.len())?;
    let mut scores = scores.iter().map(|&score| score.into()).enumerate();
    match scores.find(|(_, score)| !score.is_finite()) {
        Some((index, value)) => Err(ErrorKind::NonFinite { what: "score", index, value }.into()),
        None => Ok(()),
    }
}

pub(super) fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}

/// The AUC of rows that ascend by score. Counts in integers: pairs won twice, ties once.
pub(super) fn auc_of_sorted(rows: impl Iterator<Item = (f64, bool)>) -> Option<f64> {
    let (mut positives, mut negatives, mut doubled_wins) = (0u128, 0u128, 0u128);
    let (mut tied_score, mut tied_positives, mut tied_negatives) = (f64::NAN, 0u128, 0u128);
    for (score, label) in rows {
        if score != tied_score {
            (tied_score, tied_positives, tied_negatives) = (score, 0, 0);
        }
        // Each row is compared with those before it: a positive wins against the negatives below and ties
        // with those beside it, a negative ties with the positives beside it.
        if label {
            doubled_wins += 2 * (negatives - tied_negatives) + tied_negatives;
            positives += 1;
            tied_positives += 1;
        } else {
            doubled_wins += tied_positives;
            negatives += 1;
            tied_negatives += 1;
        }
    }
    let pairs = positives * negatives;
    (pairs > 0).then(|| doubled_wins as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_count_half() {
        assert_eq!(auc(&[true, false, true, false], &[1.0; 4]).unwrap(), Some(0.5));
        assert_eq!(auc(&[true, false], &[0.0, -0.0]).unwrap(), Some(0.5), "both zeros are the same score");
        assert_eq!(auc(&[false, true], &[1.0f32, 2.0]).unwrap(), Some(1.0));
        assert_eq!(auc::<f32>(&[], &[]).unwrap(), None);
    }

    #[test]
    fn users_of_one_class_are_left_out_and_counted() {
        let users = [0, 1, 0, 2, 1, 2, 2].map(UserId);
        let labels = [true, true, false, false, true, true, false];
        let scores = [0.9, 0.1, 0.2, 0.8, 0.7, 0.5, 0.1];
        let found = gauc(&users, &labels, &scores).unwrap();
        // User 0: 1 with 2 rows; user 2: ½ with 3 rows; user 1 has positives only.
        assert_eq!(found, Gauc { value: Some((2.0 + 1.5) / 5.0), n_users: 2, n_left_out: 1 });
        let none = gauc(&users[..1], &labels[..1], &scores[..1]).unwrap();
        assert_eq!(none, Gauc { value: None, n_users: 0, n_left_out: 1 });
    }

    #[test]
    fn log_loss_clips() {
        let worst = log_loss(&[true, false], &[0.0, 1.0]).unwrap();
        assert!((worst + LOG_LOSS_CLIP.ln()).abs() < 1e-8);
        assert!(log_loss(&[true, false], &[1.0, 0.0]).unwrap() < 2e-7);
    }

    #[test]
    fn bad_input_is_named() {
        let message = |error: Error| error.to_string();
        assert_eq!(
            message(auc(&[true], &[0.1, 0.2]).unwrap_err()),
            "length of the score column: expected 1, found 2"
        );
        assert_eq!(
            message(auc(&[true, false], &[0.1, f64::NAN]).unwrap_err()),
            "score at position 1 is NaN; expected a finite number"
        );
        assert_eq!(
            message(gauc(&[], &[true], &[0.1]).unwrap_err()),
            "length of the user column: expected 1, found 0"
        );
        assert_eq!(
            message(log_loss(&[true, true], &[0.5, 1.5]).unwrap_err()),
            "input, line 2, column probability: expected a number from 0 to 1, found 1.5"
        );
        assert_eq!(
            message(log_loss::<f32>(&[], &[]).unwrap_err()),
            "input: expected at least one row, found none"
        );
    }

    proptest! {
        #[test]
        fn equals_the_count_over_all_pairs(rows in prop::collection::vec((any::<bool>(), -3i8..3), 0..40)) {
            let (labels, scores): (Vec<bool>, Vec<f32>) =
                rows.iter().map(|&(label, score)| (label, f32::from(score))).unzip();
            let (mut wins, mut pairs) = (0.0, 0.0);
            for (&a, &x) in labels.iter().zip(&scores).filter(|row| *row.0) {
                for (&b, &y) in labels.iter().zip(&scores).filter(|row| !*row.0) {
                    assert!(a && !b);
                    wins += if x > y { 1.0 } else if x == y { 0.5 } else { 0.0 };
                    pairs += 1.0;
                }
            }
            prop_assert_eq!(auc(&labels, &scores).unwrap(), (pairs > 0.0).then(|| wins / pairs));
        }
    }
}
