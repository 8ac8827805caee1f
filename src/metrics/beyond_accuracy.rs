use crate::error::{ErrorKind, Result};
use crate::ids::ItemId;

/// How often each item of the catalogue is in the lists shown: what [`catalog_coverage`] and [`gini`]
/// start from.
///
/// # Errors
/// An item that is not below `n_items`.
pub fn recommendation_counts<'a>(
    lists: impl IntoIterator<Item = &'a [ItemId]>,
    n_items: usize,
) -> Result<Vec<u64>> {
    let mut counts = vec![0; n_items];
    for &item in lists.into_iter().flatten() {
        *counts.get_mut(item.index()).ok_or_else(|| out_of_range(item, n_items))? += 1;
    }
    Ok(counts)
}

/// Distinct items recommended / items of the catalogue; 0 for an empty catalogue.
pub fn catalog_coverage(recommendation_counts: &[u64]) -> f64 {
    let recommended = recommendation_counts.iter().filter(|&&count| count > 0).count();
    recommended as f64 / recommendation_counts.len().max(1) as f64
}

/// The Gini coefficient of the recommendation counts over the whole catalogue: 0 where every item is
/// shown equally often, towards 1 where few items take all places; 0 where nothing was shown.
///
/// Σᵢ (2i − n − 1) cᵢ / (n Σ c) over the counts in ascending order, i = 1 … n (Gini 1912, in the sorted
/// form).
pub fn gini(recommendation_counts: &[u64]) -> f64 {
    let mut counts = recommendation_counts.to_vec();
    counts.sort_unstable();
    let n = counts.len() as f64;
    let total: f64 = counts.iter().map(|&count| count as f64).sum();
    let weighted: f64 =
        counts.iter().enumerate().map(|(i, &count)| (2.0 * i as f64 + 1.0 - n) * count as f64).sum();
    if total == 0.0 { 0.0 } else { weighted / (n * total) }
}

/// Mean self-information of the items of one list, in bits: the mean of −log₂ p(item), where p(item) =
/// (c + 1) / (U + 1) is the smoothed share of the `n_users` users U who chose the item, and c its entry
/// in `user_counts`. (Zhou et al. 2010, with one imaginary user who chose everything, so that an item
/// nobody chose has a finite value.) `None` for an empty list.
///
/// # Errors
/// An item that has no entry in `user_counts`.
pub fn novelty(shown: &[ItemId], user_counts: &[u64], n_users: u64) -> Result<Option<f64>> {
    mean_information(shown, user_counts, |count| (count + 1.0) / (n_users as f64 + 1.0))
}

/// As [`novelty`], with p(item) = max(c, 1) / U: the mean inverse user frequency, where an item nobody
/// chose counts as chosen once. (Castells et al. 2015.)
///
/// # Errors
/// An item that has no entry in `user_counts`.
pub fn novelty_miuf(shown: &[ItemId], user_counts: &[u64], n_users: u64) -> Result<Option<f64>> {
    mean_information(shown, user_counts, |count| count.max(1.0) / n_users as f64)
}

fn mean_information(
    shown: &[ItemId],
    user_counts: &[u64],
    probability: impl Fn(f64) -> f64,
) -> Result<Option<f64>> {
    let mut bits = 0.0;
    for &item in shown {
        let count = user_counts.get(item.index()).ok_or_else(|| out_of_range(item, user_counts.len()))?;
        bits -= probability(*count as f64).log2();
    }
    Ok((!shown.is_empty()).then(|| bits / shown.len() as f64))
}

/// 1 − the mean cosine over all pairs of the shown items' vectors (Smyth & McClave 2001); a vector of
/// zeros has cosine 0 with every other. `None` for fewer than two items.
///
/// Costs one pass: Σ over ordered pairs of uᵢ·uⱼ is ‖Σ uᵢ‖² − Σ ‖uᵢ‖² for the unit vectors u.
///
/// # Errors
/// Vectors of different widths, or a component that is not finite.
pub fn intra_list_diversity<T: Copy + Into<f64>>(vectors: &[&[T]]) -> Result<Option<f64>> {
    let width = vectors.first().map_or(0, |vector| vector.len());
    let mut sum = vec![0.0; width];
    let mut own = 0.0;
    for vector in vectors {
        if vector.len() != width {
            let what = "width of an item vector";
            return Err(ErrorKind::LengthMismatch { what, expected: width, found: vector.len() }.into());
        }
        let components = || vector.iter().map(|&component| component.into());
        if let Some((index, value)) = components().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(ErrorKind::NonFinite { what: "component of an item vector", index, value }.into());
        }
        let norm = components().map(|value| value * value).sum::<f64>().sqrt();
        if norm > 0.0 {
            own += 1.0;
            sum.iter_mut().zip(components()).for_each(|(sum, value)| *sum += value / norm);
        }
    }
    let n = vectors.len() as f64;
    let pairs = sum.iter().map(|value| value * value).sum::<f64>() - own;
    Ok((vectors.len() > 1).then(|| 1.0 - pairs / (n * (n - 1.0))))
}

fn out_of_range(item: ItemId, bound: usize) -> ErrorKind {
    ErrorKind::IdOutOfRange { what: "item", id: item.0.into(), bound: bound as u64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coverage_and_gini_by_hand() {
        let lists = [[0, 1].map(ItemId), [1, 3].map(ItemId)];
        let counts = recommendation_counts(lists.iter().map(|list| &list[..]), 5).unwrap();
        assert_eq!(counts, [1, 2, 0, 1, 0]);
        assert_eq!(catalog_coverage(&counts), 0.6);
        assert_eq!(gini(&[3, 3, 3]), 0.0);
        assert_eq!(gini(&[0, 0, 0, 8]), 0.75, "one of n items takes all: 1 − 1/n");
        assert_eq!((gini(&[]), gini(&[0, 0]), catalog_coverage(&[])), (0.0, 0.0, 0.0));
    }

    #[test]
    fn novelty_by_hand() {
        let shown = [0, 2].map(ItemId);
        assert_eq!(novelty(&shown, &[7, 1, 0], 7).unwrap(), Some((0.0 + 3.0) / 2.0));
        assert_eq!(novelty_miuf(&shown, &[8, 1, 0], 8).unwrap(), Some((0.0 + 3.0) / 2.0));
        assert_eq!(novelty(&[], &[7], 7).unwrap(), None);
    }

    #[test]
    fn diversity_by_hand() {
        let ild = |vectors: &[&[f32]]| intra_list_diversity(vectors).unwrap();
        assert_eq!(ild(&[&[1.0, 0.0], &[0.0, 5.0]]), Some(1.0));
        assert_eq!(ild(&[&[2.0, 0.0], &[-3.0, 0.0]]), Some(2.0));
        assert_eq!(ild(&[&[1.0, 0.0], &[4.0, 0.0], &[0.0, 0.0]]), Some(1.0 - 1.0 / 3.0));
        assert_eq!((ild(&[&[1.0]]), ild(&[])), (None, None));
    }

    #[test]
    fn bad_input_is_named() {
        let list = [ItemId(5)];
        let error = recommendation_counts([&list[..]], 5).unwrap_err();
        assert_eq!(error.to_string(), "item id 5 is not below 5");
        assert_eq!(novelty(&list, &[1], 1).unwrap_err().to_string(), "item id 5 is not below 1");
        let ragged = intra_list_diversity(&[&[1.0, 2.0][..], &[1.0]]).unwrap_err();
        assert_eq!(ragged.to_string(), "width of an item vector: expected 2, found 1");
        assert!(intra_list_diversity(&[&[f32::NAN][..]]).is_err());
    }

    proptest! {
        #[test]
        fn one_pass_equals_all_pairs(
            vectors in prop::collection::vec(prop::collection::vec(-2i8..3, 3), 2..9)
        ) {
            let vectors: Vec<Vec<f64>> =
                vectors.iter().map(|vector| vector.iter().map(|&v| f64::from(v)).collect()).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let (mut sum, mut pairs) = (0.0, 0.0);
            for (i, a) in vectors.iter().enumerate() {
                for b in &vectors[..i] {
                    let norms = (dot(a, a) * dot(b, b)).sqrt();
                    sum += if norms > 0.0 { dot(a, b) / norms } else { 0.0 };
                    pairs += 1.0;
                }
            }
            let rows: Vec<&[f64]> = vectors.iter().map(Vec::as_slice).collect();
            let found = intra_list_diversity(&rows).unwrap().unwrap();
            prop_assert!((found - (1.0 - sum / pairs)).abs() < 1e-12);
        }

        #[test]
        fn gini_equals_the_mean_difference(counts in prop::collection::vec(0u64..9, 1..30)) {
            let n = counts.len() as f64;
            let total: u64 = counts.iter().sum();
            prop_assume!(total > 0);
            let differences: u64 = counts.iter().flat_map(|&a| counts.iter().map(move |&b| a.abs_diff(b))).sum();
            let expected = differences as f64 / (2.0 * n * total as f64);
            prop_assert!((gini(&counts) - expected).abs() < 1e-12);
        }
    }
}
