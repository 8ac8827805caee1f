//! Buffers that outlive a step. A training step asks for the same sizes again and again; given back to the
//! system in between, every page of them is mapped and cleared anew, which costs as much as the arithmetic.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::slice;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use burn::tensor::{AllocationProperty, Bytes, DType, Shape, TensorData};
use burn_std::{AccessError, AccessPolicy, AllocationController};

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

/// A tensor of these numbers, whose buffer comes back for the next [`take`] when its last owner lets it go, be it ours or
/// Burn's.
pub(super) fn tensor_data(values: Vec<f32>, shape: impl Into<Shape>) -> TensorData {
    if values.capacity() < MIN_LEN {
        return TensorData::new(values, shape);
    }
    let n_bytes = size_of_val(&values[..]);
    // SAFETY: the first `n_bytes` of the buffer are the numbers.
    let bytes = unsafe { Bytes::from_controller(Box::new(Kept(values)), n_bytes) };
    TensorData::from_bytes(bytes, shape, DType::F32)
}

/// A buffer that is given back when it is dropped.
struct Kept(Vec<f32>);

impl Drop for Kept {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

impl AllocationController for Kept {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let n_bytes = self.0.capacity() * size_of::<f32>();
        // SAFETY: so many bytes are allocated there, they live as long as `self`, and any may be uninitialised.
        Ok(unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), n_bytes) })
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let n_bytes = self.0.capacity() * size_of::<f32>();
        // SAFETY: as above, and the caller writes nothing but initialised bytes, of which any four are a number.
        Ok(unsafe { slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), n_bytes) })
    }

    /// The buffer was allocated by a `Vec<f32>`, with what `alloc_align` and the length of `memory` say.
    fn try_detach(&mut self) -> Option<NonNull<u8>> {
        NonNull::new(ManuallyDrop::new(std::mem::take(&mut self.0)).as_mut_ptr().cast())
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
    fn the_numbers_of_a_tensor_are_its_own_and_its_buffer_comes_out_whole() {
        let mut values = Vec::with_capacity(2 * MIN_LEN);
        values.extend((0..MIN_LEN + 7).map(|i| i as f32));
        let (address, expected) = (values.as_ptr(), values.clone());
        let data = tensor_data(values, [MIN_LEN + 7]);
        let copy = data.clone();
        assert_eq!(data.as_slice::<f32>().unwrap(), expected);
        let found: Vec<f32> = data.try_into_vec().unwrap();
        assert_eq!((found.as_ptr(), found.capacity()), (address, 2 * MIN_LEN));
        assert_eq!((&found, copy.as_slice::<f32>().unwrap()), (&expected, &expected[..]));
    }

    #[test]
    fn a_buffer_comes_back_when_its_tensor_goes() {
        // Of a size that no other test asks for.
        let (len, is_idle) = (1_234_567, |address| {
            idle().by_capacity.values().flatten().any(|buffer| buffer.as_ptr() == address)
        });
        let values = vec![1.0; len];
        let address = values.as_ptr();
        let data = tensor_data(values, [len]);
        assert!(!is_idle(address));
        drop(data);
        assert!(is_idle(address));
    }

    #[test]
    fn zeros_are_zeros() {
        give(vec![7.0; 20_011]);
        assert!(take_zeroed(20_011).iter().all(|&x| x == 0.0));
        assert_eq!(take(20_011).len(), 20_011);
    }
}
