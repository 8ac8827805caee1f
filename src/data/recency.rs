use crate::error::{Error, Result};
use crate::ids::ItemId;

/// Half-lives after which an item no longer counts. Its weight would be 2^-16: beside that of the newest item nothing but work, in
/// a long history most of it.
const MAX_HALF_LIVES: f32 = 16.0;

/// The distinct items of a history, ascending, each with the weight 2^(−a / `half_life`) of its newest occurrence,
/// where a counts the items that came after it; 1 without a half-life. Items older than [`MAX_HALF_LIVES`] are left out.
pub(crate) fn recency_weights(history: &[ItemId], half_life: Option<f32>) -> Vec<(ItemId, f32)> {
    let half_lives = |age: usize| half_life.map_or(0.0, |half_life| age as f32 / half_life);
    let ages = history.iter().rev().enumerate().map(|(age, &item)| (item, half_lives(age)));
    let mut weights: Vec<_> = ages
        .take_while(|&(_, half_lives)| half_lives <= MAX_HALF_LIVES)
        .map(|(item, half_lives)| (item, (-half_lives).exp2()))
        .collect();
    weights.sort_by_key(|&(item, _)| item);
    weights.dedup_by_key(|&mut (item, _)| item);
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
        let long: Vec<ItemId> = (0..100).map(ItemId).collect();
        let oldest = recency_weights(&long, Some(2.0))[0];
        assert_eq!(oldest, (ItemId(67), 2f32.powi(-16)));
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
