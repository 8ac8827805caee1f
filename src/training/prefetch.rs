use std::ops::Range;
use std::panic;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::BatchSource;

/// Batches made ready while the model is busy with the one before.
const READY_BATCHES: usize = 8;

/// What comes next in a run.
pub(super) enum Next<B> {
    /// The next epoch waits for the source to be refreshed, and for word of it.
    Refresh(Sender<()>),
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
        // An epoch that was left in its middle continues with what it began with.
        if skip == 0 && source.needs_refresh(epoch) {
            let (done, refreshed) = channel();
            if sender.send(Next::Refresh(done)).is_err() || refreshed.recv().is_err() {
                return;
            }
        }
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
    use std::time::Duration;

    use super::*;

    /// Three batches an epoch, each its number; counts those made, and panics in epoch 9.
    #[derive(Default)]
    struct Numbers {
        made: AtomicUsize,
        /// Every how many epochs a refresh is needed.
        refresh_every: Option<usize>,
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

        fn needs_refresh(&self, epoch: usize) -> bool {
            self.refresh_every.is_some_and(|every| epoch.is_multiple_of(every))
        }
    }

    fn batches(source: &Numbers, epochs: Range<usize>, skip: usize, take: usize) -> Vec<Option<usize>> {
        thread::scope(|scope| {
            let prepared = Prefetch::spawn(scope, source, epochs, skip).take(take);
            let number = |next| match next {
                Next::Batch(batch) => Some(batch),
                Next::EndOfEpoch => None,
                Next::Refresh(_) => panic!("a refresh that nobody needs"),
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
    fn no_batch_is_made_ahead_of_its_refresh() {
        // Epoch 2 was left after its second batch, so its own refresh is over.
        let source = Numbers { refresh_every: Some(2), ..Numbers::default() };
        let made = || source.made.load(Ordering::Relaxed);
        let mut seen = Vec::new();
        thread::scope(|scope| {
            for next in Prefetch::spawn(scope, &source, 2..7, 2) {
                match next {
                    Next::Batch(batch) => seen.push(batch.to_string()),
                    Next::EndOfEpoch => seen.push("end".into()),
                    Next::Refresh(done) => {
                        let before = made();
                        thread::sleep(Duration::from_millis(20));
                        assert_eq!(made(), before);
                        seen.push(format!("refresh after {before}"));
                        done.send(()).unwrap();
                    }
                }
            }
        });
        let expected = "22 end 30 31 32 end refresh after 6 40 41 42 end 50 51 52 end \
                        refresh after 12 60 61 62 end";
        assert_eq!(seen.join(" "), expected);
    }

    #[test]
    fn a_refresh_that_fails_ends_the_thread() {
        let source = Numbers { refresh_every: Some(1), ..Numbers::default() };
        thread::scope(|scope| {
            let mut prepared = Prefetch::spawn(scope, &source, 0..8, 0);
            assert!(matches!(prepared.next(), Some(Next::Refresh(_))));
            assert!(prepared.next().is_none());
        });
        assert_eq!(source.made.into_inner(), 0);
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
