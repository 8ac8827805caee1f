use std::ops::Range;

use crate::kernels::Bags;

/// Columns of a matrix whose rows are sums of few vectors.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "flex"), allow(dead_code, reason = "read by the kernels of the CPU"))]
pub(crate) struct RepeatedColumns {
    /// Some columns, and the vectors whose sums stand there, or the heads of their sums.
    pub(crate) repeated: Vec<(Range<usize>, Range<usize>)>,
    /// All other columns.
    pub(crate) own: Vec<Range<usize>>,
    /// The vectors of each row, and their weights there.
    pub(crate) bags: Bags,
    /// How many of the last vectors are those of every row, which the bags do not name.
    pub(crate) n_shared: usize,
}
