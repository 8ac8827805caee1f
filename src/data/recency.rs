use crate::error::{Error, Result};
use crate::ids::ItemId;

/// The distinct items of a history, ascending, each with the weight 2^(−a / `half_life`) of its newest occurrence,
/// where a counts the items that came after it; 1 without a half-life. Items of no weight, so long ago, are left out.
pub(crate) fn recency_weights(history: &[ItemId], half_life: Option<f32>) -> Vec<(ItemId, f32)> {
    let weight = |age: usize| half_life.map_or(1.0, |half_life| (-(age as f32) / half_life).exp2());
    let mut weights: Vec<_> =
        history.iter().rev().enumerate().map(|(age, &item)| (item, weight(age))).collect();
    weights.sort_by_key(|&(item, _)| item);
    weights.dedup_by_key(|&mut (item, _)| item);
    weights.retain(|&(_, weight)| weight > 0.0);
    weights
}

/// Checks the setting of a half-life.
pub(crate) fn check_half_life(field: &'static str, half_life: Option<f32>) -> Result<()> {
    match half_life {
        Some(half_life) if !(half_life > 0.0 && half_life.is_finite()) => {
            Err(Error::config(field, "a finite number above 0, or none", half_life))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_occurrence_counts() {
        let history = [7, 2, 7, 5, 1].map(ItemId);
        let expected = [(1, 1.0), (2, 2f32.powf(-1.5)), (5, 2f32.powf(-0.5)), (7, 0.5)];
        assert_eq!(recency_weights(&history, Some(2.0)), expected.map(|(item, w)| (ItemId(item), w)));
        assert_eq!(recency_weights(&history, None), [1, 2, 5, 7].map(|item| (ItemId(item), 1.0)));
        assert_eq!(recency_weights(&history, Some(1e-3)), [(ItemId(1), 1.0)]);
        assert!(recency_weights(&[], None).is_empty());
    }

    #[test]
    fn half_lives_are_positive() {
        assert!(
            check_half_life("X::half_life", None).is_ok()
                && check_half_life("X::half_life", Some(0.5)).is_ok()
        );
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(check_half_life("X::half_life", Some(bad)).is_err(), "{bad}");
        }
    }
}
