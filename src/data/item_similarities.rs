use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Csr, SparseAccumulator, check_half_life, packed, recency_weights};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::{ItemFilter, ItemId};
use crate::top_k::{TopK, by_score};

/// A sparse matrix S of item-item weights, row j holding S_ji for the few items i that follow from item j, best first,
/// and how fast items of a history grow old: what every item-item model is once it is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub(crate) struct ItemSimilarities {
    rows: Csr<ItemId, (ItemId, f32)>,
    /// The number of items after which an item of the history counts half.
    half_life: Option<f32>,
}

/// The matrix as it is saved, in three flat arrays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    /// Where each row begins, and at last where the last one ends.
    offsets: Vec<usize>,
    #[serde(with = "packed")]
    items: Vec<ItemId>,
    #[serde(with = "packed")]
    weights: Vec<f32>,
    half_life: Option<f32>,
}

impl ItemSimilarities {
    /// Computes each row, in parallel; a thread's rows share an accumulator over the items.
    pub(crate) fn compute(
        n_items: usize,
        half_life: Option<f32>,
        row: impl Fn(ItemId, &mut SparseAccumulator) -> Vec<(ItemId, f32)> + Sync,
    ) -> Self {
        let accumulator = || SparseAccumulator::new(n_items);
        let items = (0..n_items as u32).into_par_iter().map(ItemId);
        let rows: Vec<_> = items.map_init(accumulator, |sums, item| row(item, sums)).collect();
        Self::from_rows(rows, half_life)
    }

    /// The matrix of these rows, one for each item, distinct items in each.
    pub(crate) fn from_rows(mut rows: Vec<Vec<(ItemId, f32)>>, half_life: Option<f32>) -> Self {
        rows.par_iter_mut().for_each(|row| row.sort_unstable_by(|&a, &b| by_score(a, b)));
        Self { rows: Csr::from_rows(rows), half_life }
    }

    /// The number of items.
    pub(crate) fn n_items(&self) -> usize {
        self.rows.n_rows()
    }

    /// The first `k` admissible items of the row of `item`, best first.
    ///
    /// # Errors
    /// An item outside the catalogue.
    pub(crate) fn nearest<C: From<(ItemId, f32)>>(
        &self,
        item: ItemId,
        k: usize,
        filter: &ItemFilter,
    ) -> Result<Vec<C>> {
        let Some(row) = self.rows.get(item) else {
            let (id, bound) = (item.0.into(), self.n_items() as u64);
            return Err(ErrorKind::IdOutOfRange { what: "item", id, bound }.into());
        };
        Ok(row.iter().filter(|(item, _)| filter.admits(*item)).take(k).map(|&entry| C::from(entry)).collect())
    }

    /// The `k` admissible items i of greatest Σ 2^(−a_j / half-life) S_ji over the distinct items j of the history, best
    /// first, with a_j the number of items that came after j. Items that no row of the history's holds are left out.
    pub(crate) fn recall<C: From<(ItemId, f32)>>(
        &self,
        history: &[ItemId],
        k: usize,
        filter: &ItemFilter,
    ) -> Vec<C> {
        let mut scores = vec![0.0; self.n_items()];
        for (item, x) in recency_weights(history, self.half_life) {
            for &(other, weight) in self.rows.row(item) {
                scores[other.index()] += x * weight;
            }
        }
        let mut top = TopK::new(k);
        for (item, &score) in (0..).map(ItemId).zip(&scores) {
            if score != 0.0 && top.may_keep(item, score) && filter.admits(item) {
                top.push(item, score);
            }
        }
        top.into_sorted().into_iter().map(C::from).collect()
    }
}

impl From<ItemSimilarities> for Columns {
    fn from(similarities: ItemSimilarities) -> Self {
        let ItemSimilarities { rows, half_life } = similarities;
        let (items, weights) = rows.entries().iter().copied().unzip();
        Self { offsets: rows.offsets().to_vec(), items, weights, half_life }
    }
}

impl TryFrom<Columns> for ItemSimilarities {
    type Error = Error;

    fn try_from(Columns { offsets, items, weights, half_life }: Columns) -> Result<Self> {
        check_half_life("half_life", half_life)?;
        let invalid = |line: usize, column: &str, expected: &'static str, found: String| {
            Error::input(Location::memory().line(line as u64 + 1).column(column), expected, found)
        };
        if weights.len() != items.len() {
            let (expected, found) = (items.len(), weights.len());
            return Err(
                ErrorKind::LengthMismatch { what: "weights of a sparse matrix", expected, found }.into()
            );
        }
        let ends = (offsets.first().copied(), offsets.last().copied());
        if ends != (Some(0), Some(items.len())) || !offsets.is_sorted() {
            let expected = "rising places from 0 to the number of weights";
            return Err(invalid(0, "offsets", expected, format!("{ends:?}")));
        }
        let n_items = offsets.len() - 1;
        let mut last_row = vec![usize::MAX; n_items];
        for (row, bounds) in offsets.array_windows().map(|&[start, end]| start..end).enumerate() {
            for &item in &items[bounds.clone()] {
                match last_row.get_mut(item.index()) {
                    Some(last) if *last != row => *last = row,
                    _ => {
                        return Err(invalid(
                            row,
                            "items",
                            "distinct items of the catalogue",
                            item.to_string(),
                        ));
                    }
                }
            }
            if let Some(weight) = weights[bounds].iter().find(|weight| !weight.is_finite()) {
                return Err(invalid(row, "weights", "a finite number", weight.to_string()));
            }
        }
        let rows = offsets.array_windows().map(|&[start, end]| {
            items[start..end].iter().copied().zip(weights[start..end].iter().copied()).collect()
        });
        Ok(Self::from_rows(rows.collect(), half_life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> ItemSimilarities {
        let rows = [vec![(1, 0.5), (2, 2.0)], vec![], vec![(1, -1.0), (0, 0.5)]];
        let row = |row: Vec<_>| row.into_iter().map(|(item, weight)| (ItemId(item), weight)).collect();
        ItemSimilarities::from_rows(rows.into_iter().map(row).collect(), Some(1.0))
    }

    #[test]
    fn rows_are_read_best_first_and_added_up() {
        let all = ItemFilter::all();
        let nearest = |item, k, filter| matrix().nearest::<(ItemId, f32)>(ItemId(item), k, filter);
        assert_eq!(nearest(0, 9, &all).unwrap(), [(ItemId(2), 2.0), (ItemId(1), 0.5)]);
        let without = all.clone().deny([ItemId(2)]);
        assert_eq!(nearest(0, 1, &without).unwrap(), [(ItemId(1), 0.5)]);
        assert_eq!(nearest(3, 1, &all).unwrap_err().to_string(), "item id 3 is not below 3");
        let recall = |history: &[u32], k, filter| -> Vec<(ItemId, f32)> {
            matrix().recall(&history.iter().copied().map(ItemId).collect::<Vec<_>>(), k, filter)
        };
        let expected = [(ItemId(2), 1.0), (ItemId(0), 0.5), (ItemId(1), -0.75)];
        assert_eq!(recall(&[0, 2], 9, &all), expected);
        assert_eq!(recall(&[2, 0, 2], 1, &without), [(ItemId(0), 0.5)]);
        assert!(recall(&[1], 9, &all).is_empty());
    }

    #[test]
    fn only_a_sound_matrix_comes_back_from_json() {
        let json = serde_json::to_string(&matrix()).unwrap();
        assert_eq!(
            json,
            r#"{"offsets":[0,2,2,4],"items":[2,1,0,1],"weights":[2.0,0.5,0.5,-1.0],"half_life":1.0}"#
        );
        assert_eq!(serde_json::from_str::<ItemSimilarities>(&json).unwrap(), matrix());
        for (good, bad, complaint) in [
            ("0,2,2,4", "0,2,1,4", "offsets"),
            ("0,2,2,4", "", "offsets"),
            ("0,2,2,4", "1,2,2,4", "offsets"),
            ("0,2,2,4", "0,2,2,3", "offsets"),
            ("2,1,0,1", "2,3,0,1", "line 1, column items"),
            ("2,1,0,1", "2,1,1,1", "line 3, column items"),
            ("2.0,0.5", "2.0", "expected 4, found 3"),
            ("2.0", "1e39", "out of range"),
            ("\"half_life\":1.0", "\"half_life\":-1.0", "half_life"),
        ] {
            let error = serde_json::from_str::<ItemSimilarities>(&json.replace(good, bad)).unwrap_err();
            assert!(error.to_string().contains(complaint), "{bad}: {error}");
        }
    }
}
