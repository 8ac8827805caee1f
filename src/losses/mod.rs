//! What do we minimise? Losses over logits, as small named steps that a model joins.

mod candidate_logits;
mod pairwise;
mod pointwise;
mod ranking;
mod retrieval;
mod shared_candidates;
mod softmax;

pub use candidate_logits::candidate_logits;
pub use pairwise::bpr;
pub use pointwise::{binary_cross_entropy, gbce_beta, generalized_binary_cross_entropy};
pub use ranking::RankingLoss;
pub use retrieval::{Negatives, RetrievalLoss, RetrievalTargets};
pub use shared_candidates::SharedCandidates;
pub use softmax::{
    correct_log_q, keep_hard_negatives, mask_accidental_hits, sampled_softmax, scale_by_temperature,
    softmax_cross_entropy,
};

#[cfg(all(test, feature = "flex"))]
mod reference;
