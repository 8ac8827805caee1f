//! How good is it? Metrics of one list, of a whole evaluation, and how sure we may be of them.
//!
//! [`evaluate`] ranks the whole catalogue for every held-out user and returns an [`Evaluation`]; its
//! [`report`](Evaluation::report) carries the conditions and a 95 % interval beside every mean, and
//! [`compare`](Evaluation::compare) sets two recallers side by side, user by user. [`Predictions`] does the same for
//! rankers on labelled rows: AUC, log loss, calibration, and rankings within the rows of each user.

mod ablation;
mod beyond_accuracy;
mod calibration;
mod classification;
mod classification_report;
mod evaluate;
mod funnel;
mod funnel_plot;
mod held_out;
mod predictions;
mod ranking;
mod rating;
mod report;
mod significance;
mod table;

pub use ablation::{AblatedChannel, Ablation, ablate};
pub use beyond_accuracy::{
    catalog_coverage, gini, intra_list_diversity, novelty, novelty_miuf, recommendation_counts,
};
pub use calibration::{
    CalibrationBin, CalibrationBins, calibration_curve, calibration_ratio, expected_calibration_error,
};
pub use classification::{Gauc, LOG_LOSS_CLIP, auc, gauc, log_loss};
pub use classification_report::{ClassificationReport, N_CALIBRATION_BINS};
pub use evaluate::{Evaluation, evaluate};
pub use funnel::{Funnel, FunnelSegment, FunnelStage, evaluate_funnel};
pub use held_out::{DroppedRows, HeldOut, HeldOutUser};
pub use predictions::Predictions;
pub use ranking::{Hits, RankingMetric, graded_ndcg_at_k};
pub use rating::{mae, rmse};
pub use report::{ComparisonReport, DatasetFacts, Experiment, Report};
pub use significance::{Comparison, Estimate, Interval, N_RESAMPLES, compare_means, estimate_means};
