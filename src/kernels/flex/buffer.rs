//! Buffers that outlive a step. A training step asks for the same sizes again and again; given back to the
//! system in between, every page of them is mapped and cleared anew, which costs as much as the arithmetic.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Smaller buffers are left to the allocator, which keeps them at hand itself.
const MIN_LEN: usize = 8 * 1024;

/// The most that lies idle, in numbers: 256 MiB.
const MAX_IDLE: usize = 64 << 20;

#[derive(Default)]
struct Idle {
    by_capacity: BTreeMap<usize, Vec<Vec<f32>>>,
    total: usize,
}

static IDLE: LazyLock<Mutex<Idle>> = LazyLock::new(Mutex::default);

fn idle() -> MutexGuard<'static, Idle> {
    // A panic elsewhere leaves the lists whole.
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `len` numbers of any value.
pub(crate) fn take(len: usize) -> Vec<f32> {
    if len < MIN_LEN {
        return vec![0.0; len];
    }
    match idle().take(len) {
        Some(mut buffer) => {
            buffer.truncate(len);
            buffer.resize(len, 0.0);
            buffer
        }
        None => vec![0.0; len],
    }
}

/// `len` zeros.
pub(crate) fn take_zeroed(len: usize) -> Vec<f32> {
    let Some(mut buffer) = (len >= MIN_LEN).then(|| idle().take(len)).flatten() else {
        return vec![0.0; len];
    };
    buffer.clear();
    buffer.resize(len, 0.0);
    buffer
}

/// Lays a buffer by for the next [`take`].
pub(crate) fn give(buffer: Vec<f32>) {
    if buffer.capacity() >= MIN_LEN {
        idle().give(buffer);
    }
}

/// Returns all idle buffers to the allocator.
pub(crate) fn clear() {
    std::mem::take(&mut *idle());
}

impl Idle {
    /// The smallest buffer that is large enough, yet not twice as large.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let (&capacity, buffers) = self.by_capacity.range_mut(len..2 * len).next()?;
        let buffer = buffers.pop();
        if buffers.is_empty() {
            self.by_capacity.remove(&capacity);
        }
        self.total -= capacity;
        buffer
    }

    fn give(&mut self, buffer: Vec<f32>) {
        let capacity = buffer.capacity();
        if self.total + capacity <= MAX_IDLE {
            self.total += capacity;
            self.by_capacity.entry(capacity).or_default().push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_for_its_size_and_not_for_another() {
        let mut idle = Idle::default();
        idle.give(vec![1.0; 10_000]);
        assert!(idle.take(10_001).is_none());
        assert!(idle.take(5_000).is_none());
        assert_eq!(idle.take(9_000).unwrap().capacity(), 10_000);
        assert!(idle.take(9_000).is_none());
        assert_eq!((idle.total, idle.by_capacity.len()), (0, 0));
    }

    #[test]
    fn no_more_than_the_limit_lies_idle() {
        let mut idle = Idle::default();
        for _ in 0..5 {
            idle.give(Vec::with_capacity(MAX_IDLE / 4));
        }
        assert_eq!(idle.total, MAX_IDLE);
    }

    #[test]
    fn zeros_are_zeros() {
        give(vec![7.0; 20_011]);
        assert!(take_zeroed(20_011).iter().all(|&x| x == 0.0));
        assert_eq!(take(20_011).len(), 20_011);
    }
}
