use serde_json::json;

use crate::error::{Error, Result};
use crate::features::EncodedRows;
use crate::rng::Rng;
use crate::training::BatchSource;

/// Rows that a ranking model learns from in one step.
#[derive(Clone, Debug)]
pub struct RankingBatch {
    /// The rows.
    pub rows: EncodedRows,
    /// Seeds the dropout masks.
    pub seed: u64,
}

/// Makes [`RankingBatch`]es: every epoch all rows, in another order.
#[derive(Debug)]
pub struct RankingBatches {
    rows: EncodedRows,
    batch_size: usize,
    rows_per_group: usize,
    seed: u64,
}

impl RankingBatches {
    /// Batches of `batch_size` rows, of which the last of an epoch may have fewer.
    ///
    /// # Errors
    /// No rows, or a size of 0.
    pub fn new(rows: EncodedRows, batch_size: usize, seed: u64) -> Result<Self> {
        if rows.n_rows() == 0 {
            return Err(Error::config("RankingBatches::rows", "at least 1", 0));
        }
        if batch_size == 0 {
            return Err(Error::config("RankingBatches::batch_size", "at least 1", 0));
        }
        Ok(Self { rows, batch_size, rows_per_group: 1, seed })
    }

    /// Keeps rows together that follow each other, a positive and its negatives.
    ///
    /// # Errors
    /// A number of which the number of rows or the batch size is no multiple.
    pub fn with_groups_of(mut self, rows_per_group: usize) -> Result<Self> {
        for (field, n) in
            [("RankingBatches::rows", self.rows.n_rows()), ("RankingBatches::batch_size", self.batch_size)]
        {
            if rows_per_group == 0 || !n.is_multiple_of(rows_per_group) {
                return Err(Error::config(field, format!("a multiple of {rows_per_group} rows"), n));
            }
        }
        self.rows_per_group = rows_per_group;
        Ok(self)
    }
}

impl BatchSource for RankingBatches {
    type Batch = RankingBatch;

    fn n_batches(&self) -> usize {
        self.rows.n_rows().div_ceil(self.batch_size)
    }

    fn settings(&self) -> serde_json::Value {
        json!({
            "space": self.rows.space(),
            "n_labels": self.rows.n_labels(),
            "batch_size": self.batch_size,
            "rows_per_group": self.rows_per_group,
            "seed": self.seed,
        })
    }

    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = RankingBatch> + Send + '_> {
        let mut rng = Rng::stream(self.seed, &[epoch as u64]);
        let k = self.rows_per_group;
        let mut groups: Vec<u32> = (0..(self.rows.n_rows() / k) as u32).collect();
        rng.shuffle(&mut groups);
        let mut next = 0usize;
        Box::new(std::iter::from_fn(move || {
            let chosen = &groups[next..groups.len().min(next.saturating_add(self.batch_size / k))];
            next += chosen.len();
            let rows: Vec<usize> =
                chosen.iter().flat_map(|&g| (0..k).map(move |i| g as usize * k + i)).collect();
            (!rows.is_empty()).then(|| RankingBatch { rows: self.rows.select(&rows), seed: rng.next_u64() })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{EncodedRow, FeatureSpace};

    fn rows(n: u32) -> EncodedRows {
        let space = FeatureSpace::default().with_field("row", n as usize).unwrap();
        let mut rows = EncodedRows::new(space, 0);
        for id in 0..n {
            rows.push(EncodedRow { bags: &[&[(id, 1.0)]], group: id, ..EncodedRow::default() }).unwrap();
        }
        rows
    }

    #[test]
    fn a_batch_may_be_larger_than_any_table() {
        let batches = RankingBatches::new(rows(10), usize::MAX, 7).unwrap();
        let sizes: Vec<usize> = batches.epoch(0).map(|batch| batch.rows.n_rows()).collect();
        assert_eq!(sizes, [10]);
    }

    #[test]
    fn an_epoch_has_every_row_once_in_an_order_of_its_own() {
        let batches = RankingBatches::new(rows(10), 4, 7).unwrap();
        let epoch =
            |epoch| batches.epoch(epoch).map(|batch| batch.rows.groups().to_vec()).collect::<Vec<_>>();
        let [first, second] = [epoch(0), epoch(1)];
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!((batches.n_batches(), &first), (3, &epoch(0)));
        assert_ne!(first, second);
        for order in [first, second] {
            let mut all = order.concat();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn groups_stay_together() {
        let batches = RankingBatches::new(rows(12), 6, 7).unwrap().with_groups_of(3).unwrap();
        for batch in batches.epoch(0) {
            for group in batch.rows.groups().chunks(3) {
                assert!(group[0].is_multiple_of(3) && group[1] == group[0] + 1 && group[2] == group[0] + 2);
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        assert!(RankingBatches::new(rows(3), 0, 1).is_err());
        assert!(RankingBatches::new(rows(3).select(&[]), 2, 1).is_err());
        assert!(RankingBatches::new(rows(4), 4, 1).unwrap().with_groups_of(3).is_err());
        assert!(RankingBatches::new(rows(6), 4, 1).unwrap().with_groups_of(3).is_err());
        assert!(RankingBatches::new(rows(6), 4, 1).unwrap().with_groups_of(0).is_err());
    }
}
