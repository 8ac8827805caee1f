use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::data::{Csr, Interactions, Sequences};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ItemId, UserId};
use crate::layers::{SequenceLayout, id_tensor};
use crate::losses::{Negatives, RetrievalLoss, RetrievalTargets};
use crate::pipeline::EmbeddingModel;
use crate::rng::Rng;
use crate::samplers::{InBatchSampler, NegativeSampler, UniformSampler};
use crate::training::BatchSource;
use crate::training::mining;
use crate::training::negative_stages::{EpochNegatives, NegativeStages};

/// Windows of histories, and for some items of each the item that came next.
#[derive(Clone, Debug)]
pub struct RetrievalBatch {
    /// Where each window lies among the rows.
    pub layout: SequenceLayout,
    /// The items of the windows, one for each row of `layout`.
    pub histories: Vec<u32>,
    /// The rows whose next item is to be predicted, `[n]`, in ascending order.
    pub rows: Vec<u32>,
    /// The user of each of them, `[n]`.
    pub users: Vec<u32>,
    /// The distinct items among positives and negatives, `[m]`.
    pub items: Vec<u32>,
    /// log q of each of them, `[m]`.
    pub log_q: Vec<f32>,
    /// The next item of each row, as a position in `items`, `[n]`.
    pub positives: Vec<u32>,
    /// The negatives, as positions in `items`.
    pub negatives: Negatives<Vec<u32>>,
    /// The size of the catalogue.
    pub n_items: usize,
    /// Seeds the dropout masks.
    pub seed: u64,
}

impl RetrievalBatch {
    /// What its queries are to find, on a device.
    pub fn targets(&self, device: &Device) -> RetrievalTargets {
        RetrievalTargets {
            positives: id_tensor(&self.positives, device),
            negatives: match &self.negatives {
                Negatives::Shared(negatives) => Negatives::Shared(id_tensor(negatives, device)),
                Negatives::PerRow(negatives) => Negatives::PerRow(id_tensor(negatives, device)),
                Negatives::Catalogue => Negatives::Catalogue,
            },
            log_q: Tensor::from_data(TensorData::new(self.log_q.clone(), [self.items.len()]), device),
            n_items: self.n_items,
        }
    }
}

/// Which windows of a user's history an epoch reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Windows {
    /// As many as it takes for every item to be predicted once. The newest has a random length, so that over
    /// the epochs every item is predicted from long and from short histories.
    #[default]
    All,
    /// The last `max_len` items and the one after each of them (Kang & McAuley 2018, section III-A); what
    /// lies before is not read.
    Newest,
}

/// Makes [`RetrievalBatch`]es from interactions.
///
/// Each epoch cuts every user's time-ordered sequence into windows of at most `max_len` items, each
/// followed by the one to predict, shuffles the windows and takes some at a time.
///
/// Negatives may come in stages, easy ones first, then harder ones:
///
/// ```
/// use recsys::prelude::*;
/// use recsys::losses::RetrievalLoss;
/// use recsys::samplers::{HardNegatives, MixedSampler, PopularitySampler, UniformSampler};
/// use recsys::training::RetrievalBatches;
///
/// # fn stages(interactions: &Interactions, counts: &[u64]) -> Result<RetrievalBatches> {
/// let uniform = UniformSampler::new(interactions.n_items())?;
/// let harder = MixedSampler::new(vec![
///     (0.5, Box::new(uniform.clone())),
///     (0.25, Box::new(PopularitySampler::new(counts, -0.5)?)),
///     (0.25, Box::new(HardNegatives::new(0..100, 3, uniform)?)),
/// ])?;
/// RetrievalBatches::new(interactions, RetrievalLoss::Bpr { n_negatives: 8 }, 50)?.with_stage(10, harder)
/// # }
/// ```
///
/// A stage with hard negatives is fitted by
/// [`Trainer::fit_refreshing`](super::Trainer::fit_refreshing), which calls [`mine`](Self::mine) between the
/// epochs; the batches then serve one fit at a time.
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `windows` | all | which parts of a history longer than `max_len` are read | |
/// | `sampler` | uniform | draws the negatives | |
/// | `stages` | none | other samplers from later epochs on | ascending epochs |
/// | `batch_size` | 64 | windows in a batch | ≥ 1 |
/// | `positions` | all | items predicted in each window, chosen at random | ≥ 1 |
/// | `unseen_negatives` | off | rejects negatives that the user has interacted with | losses with negatives per row |
/// | `seed` | 0 | of the cuts, the order and the negatives | |
#[derive(Debug)]
pub struct RetrievalBatches {
    sequences: Sequences,
    n_items: usize,
    loss: RetrievalLoss,
    max_len: usize,
    negatives: NegativeStages,
    in_batch: InBatchSampler,
    windows: Windows,
    batch_size: usize,
    positions: Option<usize>,
    seed: u64,
    /// The items of each user, sorted, for rejection; empty when negatives may be seen items.
    seen: Vec<Vec<ItemId>>,
}

/// Items `start..end` of a user's sequence are inputs; the one after each is to be predicted.
#[derive(Clone, Copy, Debug)]
struct Window {
    user: UserId,
    start: usize,
    end: usize,
}

impl RetrievalBatches {
    /// Batches of windows of at most `max_len` items, with the negatives that `loss` needs.
    ///
    /// # Errors
    /// A length of 0, a loss out of range, or interactions in which no user has two items.
    pub fn new(interactions: &Interactions, loss: RetrievalLoss, max_len: usize) -> Result<Self> {
        loss.validate()?;
        if max_len == 0 {
            return Err(Error::config("RetrievalBatches::max_len", "at least 1", max_len));
        }
        let sequences = Sequences::new(interactions);
        if sequences.iter().all(|(_, items)| items.len() < 2) {
            return Err(Error::config("RetrievalBatches::interactions", "a user with two items", "none"));
        }
        let n_items = interactions.n_items();
        let sampler = Box::new(UniformSampler::new(n_items)?);
        let mut counts = vec![0; n_items];
        interactions.items().iter().for_each(|item| counts[item.index()] += 1);
        Ok(Self {
            sequences,
            n_items,
            loss,
            max_len,
            negatives: NegativeStages::new(sampler),
            in_batch: InBatchSampler::new(&counts)?,
            windows: Windows::All,
            batch_size: 64,
            positions: None,
            seed: 0,
            seen: Vec::new(),
        })
    }

    /// Sets what draws the negatives, from the first epoch on.
    ///
    /// # Errors
    /// A sampler of another catalogue; [hard negatives](crate::samplers::HardNegatives) for a loss with logQ correction, since
    /// their q is not known, or for one that draws no negatives.
    pub fn with_sampler(mut self, sampler: impl NegativeSampler + 'static) -> Result<Self> {
        self.check_sampler(&sampler)?;
        self.negatives.set_first(Box::new(sampler));
        Ok(self)
    }

    /// Sets what draws the negatives from `from_epoch` (counted from 0) on, until a later stage begins.
    ///
    /// # Errors
    /// As [`with_sampler`](Self::with_sampler); an epoch that is not after those at which the stages so far begin.
    pub fn with_stage(mut self, from_epoch: usize, sampler: impl NegativeSampler + 'static) -> Result<Self> {
        self.check_sampler(&sampler)?;
        self.negatives.push(from_epoch, Box::new(sampler))?;
        Ok(self)
    }

    fn check_sampler(&self, sampler: &dyn NegativeSampler) -> Result<()> {
        if sampler.n_items() != self.n_items {
            let expected = format!("a sampler of {} items", self.n_items);
            return Err(Error::config("RetrievalBatches::sampler", expected, sampler.n_items()));
        }
        let expected = match self.loss {
            _ if sampler.hard().is_none() => return Ok(()),
            _ if self.loss.n_negatives() == 0 => "no hard negatives, for the loss draws none",
            RetrievalLoss::SampledSoftmax { log_q: true, .. }
            | RetrievalLoss::InBatchSoftmax { log_q: true, .. } => {
                "negatives of known probability, for the loss corrects for it"
            }
            _ => return Ok(()),
        };
        Err(Error::config("RetrievalBatches::sampler", expected, sampler.name()))
    }

    /// Sets which parts of a history longer than `max_len` are read.
    pub fn with_windows(mut self, windows: Windows) -> Self {
        self.windows = windows;
        self
    }

    /// Sets the number of windows in a batch.
    ///
    /// # Errors
    /// A size of 0.
    pub fn with_batch_size(mut self, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::config("RetrievalBatches::batch_size", "at least 1", batch_size));
        }
        self.batch_size = batch_size;
        Ok(self)
    }

    /// Predicts only `positions` items of each window, so that the rows of a batch come from more users:
    /// what in-batch negatives need.
    ///
    /// # Errors
    /// A number of 0.
    pub fn with_positions(mut self, positions: usize) -> Result<Self> {
        if positions == 0 {
            return Err(Error::config("RetrievalBatches::positions", "at least 1", positions));
        }
        self.positions = Some(positions);
        Ok(self)
    }

    /// Sets the seed of the cuts, the order and the negatives.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Rejects negatives that the row's user has interacted with. Negatives that all rows share are not
    /// affected.
    pub fn with_unseen_negatives(mut self) -> Self {
        let sorted = |(_, items): (UserId, &[ItemId])| {
            let mut items = items.to_vec();
            items.sort_unstable();
            items.dedup();
            items
        };
        self.seen = self.sequences.iter().map(sorted).collect();
        self
    }

    /// Mines the hard negatives of every user with the model as it is before an epoch; nothing is done where the
    /// epoch's stage has none. A user without an unseen item at the ranks asked for is left without, and gets the
    /// negatives of the fallback.
    ///
    /// Every user's whole history is encoded, some hundreds at a time, and compared with all items on all threads:
    /// `n_users` · `n_items` · `dim` multiplications and additions.
    ///
    /// # Errors
    /// A model of another number of items; vectors that cannot be read or are not finite.
    pub fn mine(&self, model: &impl EmbeddingModel, epoch: usize) -> Result<()> {
        let Some(hard) = self.negatives.hard(epoch) else { return Ok(()) };
        if model.n_items() != self.n_items {
            let what = "items of the model that mines and of the batches";
            let (expected, found) = (self.n_items, model.n_items());
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        self.negatives.set_mined(mining::mine(model, &self.sequences, hard.ranks())?);
        Ok(())
    }

    /// The hard negatives of each user, best first, as they were last mined; no row at all before that.
    pub fn mined(&self) -> Arc<Csr<UserId, ItemId>> {
        self.negatives.mined()
    }

    /// The windows of an epoch, shuffled.
    fn windows(&self, rng: &mut Rng) -> Vec<Window> {
        let mut windows = Vec::new();
        for (user, items) in self.sequences.iter() {
            let mut end = items.len().saturating_sub(1);
            if self.windows == Windows::Newest && end > 0 {
                windows.push(Window { user, start: end.saturating_sub(self.max_len), end });
                continue;
            }
            let mut width = if end > self.max_len { 1 + rng.below(self.max_len) } else { end };
            while end > 0 {
                let start = end.saturating_sub(width);
                windows.push(Window { user, start, end });
                (end, width) = (start, self.max_len);
            }
        }
        rng.shuffle(&mut windows);
        windows
    }

    fn batch(&self, windows: &[Window], sampler: &EpochNegatives<'_>, rng: &mut Rng) -> RetrievalBatch {
        let layout = SequenceLayout::new(windows.iter().map(|window| window.end - window.start));
        let mut histories = Vec::with_capacity(layout.n_rows());
        let (mut rows, mut users, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (window, places) in windows.iter().zip(layout.iter()) {
            let items = &self.sequences.items(window.user)[window.start..=window.end];
            histories.extend(items[..places.len()].iter().map(|item| item.0));
            let mut chosen: Vec<usize> = (0..places.len()).collect();
            if let Some(positions) = self.positions.filter(|&positions| positions < chosen.len()) {
                rng.shuffle(&mut chosen);
                chosen.truncate(positions);
                chosen.sort_unstable();
            }
            for t in chosen {
                rows.push((places.start + t) as u32);
                users.push(window.user.0);
                targets.push(items[t + 1]);
            }
        }
        let negatives = self.negatives(sampler, &users, &targets, rng);
        let (items, positives, negatives) = match negatives {
            Negatives::Catalogue => {
                let positives = targets.iter().map(|item| item.0).collect();
                ((0..self.n_items as u32).collect(), positives, Negatives::Catalogue)
            }
            Negatives::Shared(negatives) => {
                let (items, [positives, negatives]) = distinct([&targets, &negatives]);
                (items, positives, Negatives::Shared(negatives))
            }
            Negatives::PerRow(negatives) => {
                let (items, [positives, negatives]) = distinct([&targets, &negatives]);
                (items, positives, Negatives::PerRow(negatives))
            }
        };
        let log_q = items.iter().map(|&item| self.log_q(sampler, ItemId(item), targets.len())).collect();
        RetrievalBatch {
            layout,
            histories,
            rows,
            users,
            items,
            log_q,
            positives,
            negatives,
            n_items: self.n_items,
            seed: rng.next_u64(),
        }
    }

    /// log q of a column of a softmax: of the in-batch softmax, over `n` rows' positives and the further
    /// negatives; of the sampled softmax, ln(k q), the expected number among k negatives.
    fn log_q(&self, sampler: &EpochNegatives<'_>, item: ItemId, n: usize) -> f32 {
        match self.loss {
            RetrievalLoss::SampledSoftmax { n_negatives, log_q: true } => {
                (n_negatives as f32).ln() + sampler.log_q(item)
            }
            RetrievalLoss::InBatchSoftmax { log_q: true, n_negatives: 0, .. } => self.in_batch.log_q(item),
            RetrievalLoss::InBatchSoftmax { log_q: true, n_negatives, .. } => {
                let (n, extra) = (n as f32, n_negatives as f32);
                let drawn = n * self.in_batch.log_q(item).exp() + extra * sampler.log_q(item).exp();
                (drawn / (n + extra)).ln()
            }
            _ => 0.0,
        }
    }

    fn negatives(
        &self,
        sampler: &EpochNegatives<'_>,
        users: &[u32],
        targets: &[ItemId],
        rng: &mut Rng,
    ) -> Negatives<Vec<ItemId>> {
        let n = self.loss.n_negatives();
        match self.loss {
            RetrievalLoss::FullSoftmax => Negatives::Catalogue,
            RetrievalLoss::InBatchSoftmax { .. } | RetrievalLoss::SampledSoftmax { .. } => {
                Negatives::Shared(sampler.shared(n, users, targets, rng))
            }
            RetrievalLoss::Bpr { .. }
            | RetrievalLoss::BinaryCrossEntropy { .. }
            | RetrievalLoss::GeneralizedBinaryCrossEntropy { .. } => {
                Negatives::PerRow(sampler.per_row(n, users, targets, &self.seen, rng))
            }
        }
    }
}

/// Refuses batches that were made for another model: the `settings` of [`RetrievalBatches`] against what the
/// model expects; a model without users (`None`) takes batches of any number of them.
pub(crate) fn check_retrieval_batches(
    settings: &serde_json::Value,
    loss: RetrievalLoss,
    max_len: usize,
    n_items: usize,
    n_users: Option<usize>,
) -> Result<()> {
    let expected = [
        ("RetrievalBatches::loss", "loss", Some(serde_json::json!(loss))),
        ("RetrievalBatches::max_len", "max_len", Some(max_len.into())),
        ("RetrievalBatches::n_items", "n_items", Some(n_items.into())),
        ("RetrievalBatches::n_users", "n_users", n_users.map(Into::into)),
    ];
    for (field, key, ours) in expected {
        if let Some(ours) = ours.filter(|ours| settings[key] != *ours) {
            return Err(Error::config(field, format!("{ours}, as in the model"), &settings[key]));
        }
    }
    Ok(())
}

/// The distinct items of some lists in order of first appearance, and the lists as positions among them.
fn distinct<const N: usize>(lists: [&[ItemId]; N]) -> (Vec<u32>, [Vec<u32>; N]) {
    let mut positions = HashMap::new();
    let mut items = Vec::new();
    let lists = lists.map(|list| {
        let position = |item: &ItemId| {
            *positions.entry(*item).or_insert_with(|| {
                items.push(item.0);
                items.len() as u32 - 1
            })
        };
        list.iter().map(position).collect()
    });
    (items, lists)
}

impl BatchSource for RetrievalBatches {
    type Batch = RetrievalBatch;

    fn n_batches(&self) -> usize {
        // A sequence that is cut at all is cut at a random place, into one window more at most.
        let windows = |n_inputs: usize| match self.windows {
            Windows::All => n_inputs.div_ceil(self.max_len) + usize::from(n_inputs > self.max_len),
            Windows::Newest => usize::from(n_inputs > 0),
        };
        let total: usize =
            self.sequences.iter().map(|(_, items)| windows(items.len().saturating_sub(1))).sum();
        total.div_ceil(self.batch_size)
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "loss": self.loss,
            "n_items": self.n_items,
            "n_users": self.sequences.n_users(),
            "max_len": self.max_len,
            "windows": self.windows,
            "samplers": self.negatives.names(),
            "batch_size": self.batch_size,
            "positions": self.positions,
            "unseen_negatives": !self.seen.is_empty(),
            "seed": self.seed,
        })
    }

    fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = RetrievalBatch> + Send + '_> {
        let windows = self.windows(&mut Rng::stream(self.seed, &[epoch as u64]));
        let n_batches = windows.len().div_ceil(self.batch_size);
        let sampler = self.negatives.epoch(epoch);
        Box::new((0..n_batches).map(move |step| {
            let end = windows.len().min((step + 1) * self.batch_size);
            let mut rng = Rng::stream(self.seed, &[epoch as u64, step as u64]);
            self.batch(&windows[step * self.batch_size..end], &sampler, &mut rng)
        }))
    }

    fn needs_refresh(&self, epoch: usize) -> bool {
        self.negatives.needs_mining(epoch)
    }

    fn state(&self) -> Option<Vec<u8>> {
        let mined = self.mined();
        (mined.n_rows() > 0).then(|| mining::to_bytes(&mined))
    }

    fn restore(&self, state: &[u8]) -> Result<()> {
        self.negatives.set_mined(mining::from_bytes(state, self.sequences.n_users(), self.n_items)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::data::Interaction;
    use crate::samplers::{HardNegatives, MixedSampler, PopularitySampler};

    /// User u has the items u, u + 1, … in this order; user 2 has one item only.
    fn interactions() -> Interactions {
        let row = |user, item, timestamp| Interaction {
            user: UserId(user),
            item: ItemId(item),
            value: 1.0,
            timestamp,
        };
        let rows = [(0u32, 11), (1, 4), (2, 1)]
            .into_iter()
            .flat_map(|(user, n)| (0..n).map(move |t| row(user, user + t, i64::from(t))));
        Interactions::from_rows(3, 12, rows).unwrap()
    }

    fn batches(loss: RetrievalLoss) -> RetrievalBatches {
        RetrievalBatches::new(&interactions(), loss, 4).unwrap().with_batch_size(2).unwrap().with_seed(3)
    }

    fn target(batch: &RetrievalBatch, row: usize) -> u32 {
        batch.items[batch.positives[row] as usize]
    }

    #[test]
    fn every_item_but_the_first_is_predicted_once_from_what_came_before() {
        let source = batches(RetrievalLoss::FullSoftmax);
        for epoch in 0..5 {
            let mut predicted = HashMap::new();
            let mut n_batches = 0;
            for batch in source.epoch(epoch) {
                n_batches += 1;
                let layout = &batch.layout;
                assert!(layout.n_sequences() <= 2 && layout.max_len() <= 4);
                // Each item's successor has the next id.
                for rows in layout.iter() {
                    let items = &batch.histories[rows];
                    assert!(items.windows(2).all(|pair| pair[1] == pair[0] + 1), "{items:?}");
                }
                for (row, &position) in batch.rows.iter().enumerate() {
                    assert_eq!(target(&batch, row), batch.histories[position as usize] + 1);
                    *predicted.entry((batch.users[row], target(&batch, row))).or_insert(0) += 1;
                }
            }
            assert!(n_batches <= source.n_batches());
            assert_eq!(predicted.len(), 10 + 3);
            assert!(predicted.values().all(|&n| n == 1));
        }
    }

    #[test]
    fn an_epoch_is_a_function_of_its_number_and_the_seed() {
        let source = batches(RetrievalLoss::SampledSoftmax { n_negatives: 3, log_q: false });
        let epoch =
            |source: &RetrievalBatches, epoch| format!("{:?}", source.epoch(epoch).collect::<Vec<_>>());
        assert_eq!(epoch(&source, 0), epoch(&source, 0));
        assert_ne!(epoch(&source, 0), epoch(&source, 1));
        let other = batches(RetrievalLoss::SampledSoftmax { n_negatives: 3, log_q: false }).with_seed(4);
        assert_ne!(epoch(&source, 0), epoch(&other, 0));
    }

    #[test]
    fn negatives_have_the_shape_that_the_loss_needs() {
        let negatives = |loss| batches(loss).epoch(0).next().unwrap();
        let batch = negatives(RetrievalLoss::SampledSoftmax { n_negatives: 3, log_q: false });
        assert!(matches!(&batch.negatives, Negatives::Shared(drawn) if drawn.len() == 3));
        let batch = negatives(RetrievalLoss::FullSoftmax);
        assert_eq!(batch.negatives, Negatives::Catalogue);
        assert_eq!(batch.items, (0..12).collect::<Vec<_>>());
        let source = batches(RetrievalLoss::Bpr { n_negatives: 5 }).with_unseen_negatives();
        for batch in source.epoch(0) {
            let Negatives::PerRow(drawn) = &batch.negatives else { panic!("{batch:?}") };
            assert_eq!(drawn.len(), 5 * batch.rows.len());
            for (i, &position) in drawn.iter().enumerate() {
                let (user, item) = (batch.users[i / 5], batch.items[position as usize]);
                let seen = if user == 0 { 0..11 } else { 1..5 };
                assert!(!seen.contains(&item), "user {user} has seen {item}");
            }
        }
    }

    #[test]
    fn few_positions_of_each_window() {
        let source = batches(RetrievalLoss::FullSoftmax).with_positions(1).unwrap();
        for batch in source.epoch(0) {
            assert_eq!(batch.rows.len(), batch.layout.n_sequences());
        }
    }

    #[test]
    fn the_newest_windows_hold_the_last_items() {
        let source = batches(RetrievalLoss::FullSoftmax).with_windows(Windows::Newest);
        let epoch: Vec<_> = source.epoch(0).collect();
        assert_eq!((epoch.len(), source.n_batches()), (1, 1));
        let mut windows: Vec<Vec<u32>> =
            epoch[0].layout.iter().map(|rows| epoch[0].histories[rows].to_vec()).collect();
        windows.sort_unstable();
        assert_eq!(windows, [vec![1, 2, 3], vec![6, 7, 8, 9]]);
    }

    #[test]
    fn log_q_is_that_of_the_columns() {
        let in_batch = |n_negatives| RetrievalLoss::InBatchSoftmax {
            log_q: true,
            symmetric: false,
            n_negatives,
            n_hard: None,
        };
        // Item 2 is in three of the sixteen interactions; twelve items are drawn uniformly.
        let log_q = |loss| {
            let batches = batches(loss);
            batches.log_q(&batches.negatives.epoch(0), ItemId(2), 8)
        };
        assert!((log_q(in_batch(0)) - (3.0f32 / 16.0).ln()).abs() < 1e-6);
        let mixed = (8.0 * 3.0 / 16.0 + 4.0 / 12.0) / 12.0f32;
        assert!((log_q(in_batch(4)) - mixed.ln()).abs() < 1e-6);
        // Six negatives of twelve items: each is expected half a time.
        let sampled = RetrievalLoss::SampledSoftmax { n_negatives: 6, log_q: true };
        assert!((log_q(sampled) - 0.5f32.ln()).abs() < 1e-6);
    }

    fn hard(n_items: usize, every: usize) -> HardNegatives {
        HardNegatives::new(0..4, every, UniformSampler::new(n_items).unwrap()).unwrap()
    }

    #[test]
    fn each_row_draws_from_its_own_users_mined_items() {
        let mined = [vec![ItemId(11)], vec![ItemId(0), ItemId(9)], vec![]];
        for loss in [
            RetrievalLoss::Bpr { n_negatives: 5 },
            RetrievalLoss::BinaryCrossEntropy { n_negatives: 5 },
            RetrievalLoss::GeneralizedBinaryCrossEntropy { n_negatives: 5, t: 0.5 },
        ] {
            let source = batches(loss).with_unseen_negatives().with_stage(2, hard(12, 1)).unwrap();
            source.negatives.set_mined(Csr::from_rows(mined.clone()));
            for batch in source.epoch(2) {
                let Negatives::PerRow(drawn) = &batch.negatives else { panic!("{batch:?}") };
                for (i, &position) in drawn.iter().enumerate() {
                    let item = ItemId(batch.items[position as usize]);
                    assert!(mined[batch.users[i / 5] as usize].contains(&item));
                }
            }
        }
    }

    #[test]
    fn shared_negatives_are_mined_for_rows_at_random() {
        let extra =
            RetrievalLoss::InBatchSoftmax { log_q: false, symmetric: false, n_negatives: 400, n_hard: None };
        for loss in [RetrievalLoss::SampledSoftmax { n_negatives: 400, log_q: false }, extra] {
            let source = batches(loss).with_batch_size(10).unwrap().with_sampler(hard(12, 1)).unwrap();
            source.negatives.set_mined(Csr::from_rows([[ItemId(11)], [ItemId(0)], [ItemId(5)]]));
            let batch = source.epoch(0).next().unwrap();
            let Negatives::Shared(drawn) = &batch.negatives else { panic!("{batch:?}") };
            let n = |item| drawn.iter().filter(|&&position| batch.items[position as usize] == item).count();
            // Ten of the thirteen rows are user 0's.
            assert_eq!(n(11) + n(0), 400);
            assert!((n(11) as f64 / 400.0 - 10.0 / 13.0).abs() < 0.1, "{}", n(11));
        }
    }

    #[test]
    fn stages_take_turns_and_say_when_to_mine() {
        let counts = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let only_item_0 = PopularitySampler::new(&counts, 1.0).unwrap();
        let source = batches(RetrievalLoss::Bpr { n_negatives: 9 })
            .with_stage(2, hard(12, 3))
            .and_then(|batches| batches.with_stage(7, hard(12, 2)))
            .and_then(|batches| batches.with_stage(10, only_item_0))
            .unwrap();
        let refreshed: Vec<usize> = (0..14).filter(|&epoch| source.needs_refresh(epoch)).collect();
        assert_eq!(refreshed, [2, 5, 7, 9]);
        let all_are_item_0 = |epoch| {
            source.epoch(epoch).all(|batch| {
                let Negatives::PerRow(drawn) = &batch.negatives else { panic!("{batch:?}") };
                drawn.iter().all(|&position| batch.items[position as usize] == 0)
            })
        };
        assert!(!all_are_item_0(9) && all_are_item_0(10) && all_are_item_0(100));
        let samplers = &source.settings()["samplers"];
        let hard = |every| format!("hard (ranks 0..4 every {every} epochs, else uniform)");
        let expected = serde_json::json!([[0, "uniform"], [2, hard(3)], [7, hard(2)], [10, "popularity^1"]]);
        assert_eq!(samplers, &expected);
    }

    #[test]
    fn the_state_is_what_was_mined() {
        let source = || batches(RetrievalLoss::Bpr { n_negatives: 9 }).with_sampler(hard(12, 1)).unwrap();
        let first = source();
        assert_eq!(first.state(), None);
        first.negatives.set_mined(Csr::from_rows([vec![ItemId(11)], vec![], vec![ItemId(3)]]));
        let second = source();
        second.restore(&first.state().unwrap()).unwrap();
        assert_eq!(second.mined(), first.mined());
        let epoch = |source: &RetrievalBatches| format!("{:?}", source.epoch(1).collect::<Vec<_>>());
        assert_eq!(epoch(&second), epoch(&first));
        assert_ne!(epoch(&second), epoch(&source()));
        assert!(source().restore(&[1, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_sampler_of_another_catalogue_is_refused() {
        let batches =
            || RetrievalBatches::new(&interactions(), RetrievalLoss::Bpr { n_negatives: 1 }, 4).unwrap();
        let n_items = interactions().n_items();
        for other in [n_items - 1, n_items + 1] {
            let error = batches().with_sampler(UniformSampler::new(other).unwrap()).unwrap_err().to_string();
            let expected =
                format!("RetrievalBatches::sampler: expected a sampler of {n_items} items, found {other}");
            assert_eq!(error, expected);
            let hard = HardNegatives::new(0..3, 1, UniformSampler::new(other).unwrap()).unwrap();
            assert!(batches().with_stage(2, hard).is_err());
        }
        let parts: [Box<dyn NegativeSampler>; 2] =
            [n_items, n_items + 1].map(|n| Box::new(UniformSampler::new(n).unwrap()) as _);
        assert!(MixedSampler::new(parts.into_iter().map(|part| (1.0, part)).collect()).is_err());
    }

    #[test]
    fn hard_negatives_are_refused_where_their_probability_is_needed_or_none_is_drawn() {
        let in_batch = |log_q, n_negatives| RetrievalLoss::InBatchSoftmax {
            log_q,
            symmetric: false,
            n_negatives,
            n_hard: None,
        };
        for (loss, fits) in [
            (RetrievalLoss::SampledSoftmax { n_negatives: 3, log_q: true }, false),
            (RetrievalLoss::SampledSoftmax { n_negatives: 3, log_q: false }, true),
            (in_batch(true, 3), false),
            (in_batch(false, 3), true),
            (in_batch(false, 0), false),
            (RetrievalLoss::FullSoftmax, false),
        ] {
            for result in [batches(loss).with_sampler(hard(12, 1)), batches(loss).with_stage(1, hard(12, 1))]
            {
                match result {
                    Ok(_) => assert!(fits, "{loss:?}"),
                    Err(error) => {
                        assert!(!fits, "{loss:?}: {error}");
                        let field = "RetrievalBatches::sampler";
                        let kind = error.kind();
                        assert!(
                            matches!(kind, ErrorKind::InvalidConfig { field: found, .. } if *found == field)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_errors() {
        let uniform = || UniformSampler::new(12).unwrap();
        assert!(batches(RetrievalLoss::FullSoftmax).with_stage(0, uniform()).is_err());
        let staged = batches(RetrievalLoss::FullSoftmax).with_stage(3, uniform()).unwrap();
        assert!(staged.with_stage(3, uniform()).is_err());
        let rows = interactions();
        assert!(RetrievalBatches::new(&rows, RetrievalLoss::FullSoftmax, 0).is_err());
        assert!(RetrievalBatches::new(&rows, RetrievalLoss::Bpr { n_negatives: 0 }, 4).is_err());
        let single = rows.select(&[0, 11, 15]);
        assert!(RetrievalBatches::new(&single, RetrievalLoss::FullSoftmax, 4).is_err());
        assert!(batches(RetrievalLoss::FullSoftmax).with_batch_size(0).is_err());
        assert!(batches(RetrievalLoss::FullSoftmax).with_positions(0).is_err());
    }
}
