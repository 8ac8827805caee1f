use std::fmt;

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_size};
use crate::kernels;
use crate::losses::{
    SharedCandidates, bpr, candidate_logits, gbce_beta, generalized_binary_cross_entropy,
    keep_hard_negatives, softmax_cross_entropy,
};

/// What a retrieval model minimises, and so which negatives its batches need.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrievalLoss {
    /// In-batch softmax (Yi et al. 2019, eq. 4): the other rows' positives are the negatives.
    InBatchSoftmax {
        /// Whether [`correct_log_q`](super::correct_log_q) takes out the popularity bias of in-batch sampling.
        log_q: bool,
        /// Whether the same loss seen from the items (each positive's candidates are the rows) is averaged in
        /// (Radford et al. 2021, CLIP, fig. 3).
        symmetric: bool,
        /// Further negatives, drawn by the sampler and shared by all rows (mixed negative sampling).
        n_negatives: usize,
        /// Keep only this many negatives of each row, the hardest ([`keep_hard_negatives`]); all if `None`.
        n_hard: Option<usize>,
    },
    /// [`sampled_softmax`](super::sampled_softmax) against negatives that all rows share.
    SampledSoftmax {
        /// The number of negatives k.
        n_negatives: usize,
        /// Whether ln(k q(j)) is taken from the logit of each negative, so that Σ_k e^{s⁻_k} estimates the sum
        /// over the catalogue without bias (Bengio & Senécal 2008, eq. 6). The positive stands in every row
        /// whatever q is, and keeps its logit.
        #[serde(default)]
        log_q: bool,
    },
    /// Softmax over the whole catalogue.
    FullSoftmax,
    /// [`bpr`] with negatives of each row's own.
    Bpr {
        /// Negatives per row.
        n_negatives: usize,
    },
    /// [`binary_cross_entropy`](super::binary_cross_entropy) with negatives of each row's own, of s + ln(1/k).
    BinaryCrossEntropy {
        /// Negatives per row.
        n_negatives: usize,
    },
    /// [`generalized_binary_cross_entropy`] with negatives of each row's own and the β of
    /// [`gbce_beta`], of s + ln(β/k): equal scores cost least at 0 then. Without it a model first learns
    /// to score everything low, and with hundreds of negatives that is all that its vectors come to hold.
    GeneralizedBinaryCrossEntropy {
        /// Negatives per row.
        n_negatives: usize,
        /// The calibration t: 0 is binary cross-entropy, 1 undoes the bias of the sampling altogether.
        t: f64,
    },
}

impl Default for RetrievalLoss {
    fn default() -> Self {
        Self::SampledSoftmax { n_negatives: 1024, log_q: false }
    }
}

impl fmt::Display for RetrievalLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::InBatchSoftmax { log_q, symmetric, n_negatives, n_hard } => {
                f.write_str(if symmetric { "symmetric in-batch softmax" } else { "in-batch softmax" })?;
                if log_q {
                    f.write_str(", logQ correction")?;
                }
                if n_negatives > 0 {
                    write!(f, ", {n_negatives} more negatives")?;
                }
                n_hard.map_or(Ok(()), |n_hard| write!(f, ", the {n_hard} hardest"))
            }
            Self::SampledSoftmax { n_negatives, log_q } => {
                let correction = if log_q { ", logQ correction" } else { "" };
                write!(f, "sampled softmax, {n_negatives} negatives{correction}")
            }
            Self::FullSoftmax => f.write_str("full softmax"),
            Self::Bpr { n_negatives } => write!(f, "BPR, {n_negatives} negatives a row"),
            Self::BinaryCrossEntropy { n_negatives } => {
                write!(f, "binary cross-entropy, {n_negatives} negatives a row")
            }
            Self::GeneralizedBinaryCrossEntropy { n_negatives, t } => {
                write!(f, "gBCE, {n_negatives} negatives a row, t {t}")
            }
        }
    }
}

/// The negatives of a batch, as positions in its list of distinct items.
#[derive(Clone, Debug, PartialEq)]
pub enum Negatives<I> {
    /// One list for all rows, `[k]`; may be empty.
    Shared(I),
    /// A list for each row, `[n · k]`.
    PerRow(I),
    /// Every item of the catalogue, which the batch then lists in order of id.
    Catalogue,
}

/// What a batch of `n` queries is to find among `m` distinct items.
#[derive(Clone, Debug)]
pub struct RetrievalTargets {
    /// The position of each row's positive among the items, `[n]`.
    pub positives: Tensor<1, Int>,
    /// The positions of the negatives.
    pub negatives: Negatives<Tensor<1, Int>>,
    /// log q of each item, `[m]`; read by the logQ correction only.
    pub log_q: Tensor<1>,
    /// The size of the catalogue; read by [`RetrievalLoss::GeneralizedBinaryCrossEntropy`] only.
    pub n_items: usize,
}

impl RetrievalLoss {
    /// The number of negatives drawn, for all rows or for each.
    pub fn n_negatives(&self) -> usize {
        match *self {
            Self::InBatchSoftmax { n_negatives, .. }
            | Self::SampledSoftmax { n_negatives, .. }
            | Self::Bpr { n_negatives }
            | Self::BinaryCrossEntropy { n_negatives }
            | Self::GeneralizedBinaryCrossEntropy { n_negatives, .. } => n_negatives,
            Self::FullSoftmax => 0,
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// No negatives where the loss needs at least one, or more than 2²⁰; hard negatives together with the symmetric loss, for
    /// what is hard for a query is not what is hard for an item; a calibration t outside [0, 1].
    pub fn validate(&self) -> Result<()> {
        if let Self::InBatchSoftmax { symmetric, n_hard: Some(n_hard), .. } = *self
            && (symmetric || n_hard == 0)
        {
            let expected = "at least 1 hard negative, and not with the symmetric loss";
            return Err(Error::config("RetrievalLoss::n_hard", expected, n_hard));
        }
        if let Self::GeneralizedBinaryCrossEntropy { t, .. } = *self
            && !(0.0..=1.0).contains(&t)
        {
            return Err(Error::config("RetrievalLoss::t", "a number in [0, 1]", t));
        }
        let needs_none = matches!(self, Self::InBatchSoftmax { .. } | Self::FullSoftmax);
        match self.n_negatives() {
            0 if needs_none => Ok(()),
            n_negatives => check_size("RetrievalLoss::n_negatives", n_negatives),
        }
    }

    /// The mean loss of a batch; logits are ⟨query, item⟩.
    ///
    /// # Shapes
    /// - queries: `[n, d]`, after [`scale_by_temperature`](super::scale_by_temperature) where there is one
    /// - items: the vectors of the distinct items, `[m, d]`
    /// - output: `[1]`
    ///
    /// # Panics
    /// If `targets` holds another kind of negatives than this loss draws.
    pub fn forward(&self, queries: Tensor<2>, items: Tensor<2>, targets: RetrievalTargets) -> Tensor<1> {
        let RetrievalTargets { positives, negatives, log_q, n_items } = targets;
        let n = queries.dims()[0];
        let select = |columns: &Tensor<1, Int>| kernels::select_rows(items.clone(), columns.clone());
        match (*self, negatives) {
            (Self::FullSoftmax, Negatives::Catalogue) => {
                SharedCandidates::new(items).cross_entropy(queries, positives)
            }
            (Self::InBatchSoftmax { log_q: corrected, symmetric, n_hard, .. }, Negatives::Shared(extra)) => {
                let columns = Tensor::cat(vec![positives.clone(), extra], 0);
                let mut candidates = SharedCandidates::new(select(&columns))
                    .without_accidental_hits(positives.clone(), columns.clone());
                if corrected {
                    candidates = candidates.with_log_q(log_q.select(0, columns));
                }
                let diagonal = Tensor::arange(0..n as i64, &positives.device());
                if let Some(n_hard) = n_hard {
                    let logits = candidates.logits(queries, Some(diagonal.clone()));
                    return softmax_cross_entropy(
                        keep_hard_negatives(logits, diagonal.clone(), n_hard),
                        diagonal,
                    );
                }
                let from_queries = candidates.cross_entropy(queries.clone(), diagonal.clone());
                if !symmetric {
                    return from_queries;
                }
                // log q of an item is one number for all queries, which a softmax over them does not see.
                let from_items = SharedCandidates::new(queries)
                    .without_accidental_hits(positives.clone(), positives.clone())
                    .cross_entropy(select(&positives), diagonal);
                from_queries.add(from_items).mul_scalar(0.5)
            }
            (Self::SampledSoftmax { log_q: corrected, .. }, Negatives::Shared(columns)) => {
                let mut candidates = SharedCandidates::new(select(&columns))
                    .without_accidental_hits(positives.clone(), columns.clone());
                if corrected {
                    candidates = candidates.with_log_q(log_q.select(0, columns));
                }
                candidates.sampled_cross_entropy(queries, select(&positives))
            }
            (
                Self::Bpr { n_negatives: k }
                | Self::BinaryCrossEntropy { n_negatives: k }
                | Self::GeneralizedBinaryCrossEntropy { n_negatives: k, .. },
                Negatives::PerRow(rows),
            ) => {
                let candidates = vec![positives.reshape([n, 1]), rows.reshape([n, k])];
                let logits = candidate_logits(queries, items, Tensor::cat(candidates, 1));
                let beta = match *self {
                    Self::Bpr { .. } => return bpr(logits),
                    Self::GeneralizedBinaryCrossEntropy { t, .. } => gbce_beta(k, n_items, t),
                    _ => 1.0,
                };
                generalized_binary_cross_entropy(logits.add_scalar((beta / k as f64).ln()), beta)
            }
            (loss, negatives) => panic!("{loss:?} does not take {negatives:?}"),
        }
    }
}
