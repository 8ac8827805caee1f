use std::ops::Range;
use std::panic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::BatchSource;

/// Batches made ready while the model is busy with the one before.
const READY_BATCHES: usize = 8;

/// What comes next in a run.
pub(super) enum Next<B> {
    Batch(B),
    EndOfEpoch,
}

/// Batches prepared on a thread of their own, which ends at its next batch when this is dropped.
pub(super) struct Prefetch<'scope, B> {
    next: Receiver<Next<B>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope, B: Send + 'scope> Prefetch<'scope, B> {
    /// Prepares these epochs of `source`, without the first `skip` batches of the first one.
    pub(super) fn spawn<S: BatchSource<Batch = B>>(
        scope: &'scope Scope<'scope, '_>,
        source: &'scope S,
        epochs: Range<usize>,
        skip: usize,
    ) -> Self {
        let (sender, next) = sync_channel(READY_BATCHES);
        let thread = scope.spawn(move || send_epochs(source, epochs, skip, &sender));
        Self { next, thread: Some(thread) }
    }
}

impl<B> Iterator for Prefetch<'_, B> {
    type Item = Next<B>;

    /// The next batch or the end of its epoch; panics with the panic of the batch source, if it did.
    fn next(&mut self) -> Option<Next<B>> {
        let next = self.next.recv().ok();
        if next.is_none()
            && let Some(Err(payload)) = self.thread.take().map(ScopedJoinHandle::join)
        {
            panic::resume_unwind(payload);
        }
        next
    }
}

fn send_epochs<S: BatchSource>(
    source: &S,
    epochs: Range<usize>,
    skip: usize,
    sender: &SyncSender<Next<S::Batch>>,
) {
    let first = epochs.start;
    for epoch in epochs {
        let skip = if epoch == first { skip } else { 0 };
        for batch in source.epoch(epoch).skip(skip) {
            if sender.send(Next::Batch(batch)).is_err() {
                return;
            }
        }
        if sender.send(Next::EndOfEpoch).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// Three batches an epoch, each its number; counts those made, and panics in epoch 9.
    #[derive(Default)]
    struct Numbers {
        made: AtomicUsize,
    }

    impl BatchSource for Numbers {
        type Batch = usize;

        fn n_batches(&self) -> usize {
            3
        }

        fn epoch(&self, epoch: usize) -> Box<dyn Iterator<Item = usize> + Send + '_> {
            assert_ne!(epoch, 9, "no epoch 9");
            Box::new((0..3).map(move |batch| {
                self.made.fetch_add(1, Ordering::Relaxed);
                10 * epoch + batch
            }))
        }
    }

    fn batches(source: &Numbers, epochs: Range<usize>, skip: usize, take: usize) -> Vec<Option<usize>> {
        thread::scope(|scope| {
            let prepared = Prefetch::spawn(scope, source, epochs, skip).take(take);
            let number = |next| match next {
                Next::Batch(batch) => Some(batch),
                Next::EndOfEpoch => None,
            };
            prepared.map(number).collect()
        })
    }

    #[test]
    fn batches_come_in_order_from_where_training_stands() {
        let expected = [Some(12), None, Some(20), Some(21), Some(22), None];
        assert_eq!(batches(&Numbers::default(), 1..3, 2, 99), expected);
        assert_eq!(batches(&Numbers::default(), 0..1, 3, 99), [None]);
    }

    #[test]
    fn the_thread_ends_when_nobody_asks_any_more() {
        let source = Numbers::default();
        assert_eq!(batches(&source, 10..1_000_000_000, 0, 2), [Some(100), Some(101)]);
        assert!(source.made.into_inner() < 50);
    }

    #[test]
    #[should_panic(expected = "no epoch 9")]
    fn a_panic_of_the_source_keeps_its_message() {
        batches(&Numbers::default(), 8..11, 0, 99);
    }
}
