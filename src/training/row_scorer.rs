use std::fmt;

use crate::error::Result;
use crate::features::{EncodedRows, FeatureSpace};
use crate::kernels;
use crate::layers::read;
use crate::training::RankingModel;

/// The rows of a request that one thread of the CPU scores: enough for matrix products to be worth it, few enough to stay
/// in its cache from one layer to the next.
const ROWS_AT_ONCE: usize = 512;

/// A model that scores rows of fields: any [`RankingModel`], or one that is no network.
pub trait RowScorer: fmt::Debug + Send + Sync + 'static {
    /// What the rows hold.
    fn space(&self) -> &FeatureSpace;

    /// How many of a request's rows are best scored at once while other threads score the others; all if `None`.
    fn n_rows_at_once(&self) -> Option<usize> {
        None
    }

    /// The log-odds of the first label of each row.
    ///
    /// # Errors
    /// Rows of another space; a device that fails to give its numbers back.
    fn score_rows(&self, rows: &EncodedRows) -> Result<Vec<f32>>;
}

impl<M: RankingModel> RowScorer for M {
    fn space(&self) -> &FeatureSpace {
        self.spec().space()
    }

    fn n_rows_at_once(&self) -> Option<usize> {
        self.devices().first().is_some_and(kernels::on_cpu).then_some(ROWS_AT_ONCE)
    }

    fn score_rows(&self, rows: &EncodedRows) -> Result<Vec<f32>> {
        rows.check_space(self.spec().space())?;
        if rows.n_rows() == 0 {
            return Ok(Vec::new());
        }
        let logits = || self.forward(rows, None).logits.narrow(1, 0, 1);
        match self.devices().first() {
            Some(device) => read(kernels::among_workers(device, logits)),
            None => read(logits()),
        }
    }
}
