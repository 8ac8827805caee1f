//! How is it fast? What a composition of Burn operations does in many passes over memory, done in one, on the
//! CPU.
//!
//! Layers and losses ask `fused` which way to go: the kernels of `flex/` on Burn's CPU backend, a composition
//! of ordinary Burn operations on every other. The types here describe work to both.

use std::cell::Cell;
use std::thread::LocalKey;

use burn::tensor::{DType, Device, Tensor};

mod activation;
mod bags;
mod factors;
#[cfg(feature = "flex")]
mod flex;
mod inner_products;
mod least_squares;
mod mask;
mod recurrent_cell;
mod repeated_columns;
mod rows;
mod sequence_layout;
mod simd;
mod symmetric_matrix;
#[cfg(all(test, feature = "flex"))]
pub(crate) mod twin;

#[doc(hidden)]
pub use activation::Activation;
pub(crate) use bags::Bags;
pub(crate) use factors::{Factors, check_finite};
#[cfg(feature = "flex")]
pub(crate) use flex::*;
pub(crate) use inner_products::inner_products;
pub(crate) use least_squares::{LeastSquares, System, gramian};
pub(crate) use mask::Mask;
#[doc(hidden)]
pub use recurrent_cell::RecurrentCell;
pub(crate) use repeated_columns::RepeatedColumns;
pub(crate) use rows::{
    add_to_rows, mean, repeat_row, replace_rows, rows_times, select_rows, sum, sum_of_rows,
};
#[doc(hidden)]
pub use sequence_layout::SequenceLayout;
pub(crate) use simd::{dot, vectorized};
pub(crate) use symmetric_matrix::SymmetricMatrix;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether operations on this tensor run as fused kernels: float32 on the Flex backend.
pub(crate) fn fused<const D: usize>(x: &Tensor<D>) -> bool {
    is_flex(&x.device()) && x.dtype() == DType::F32 && !COMPOSED.get()
}

fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return device.clone().inner() == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}

/// Whether the device shares the memory and the cores of the program.
pub(crate) fn on_cpu(device: &Device) -> bool {
    #[cfg(feature = "ndarray")]
    #[allow(deprecated, reason = "upstream keeps it for now, and so do we")]
    if device.clone().inner() == Device::ndarray() {
        return true;
    }
    is_flex(device)
}

/// Runs `f`, many operations on this device, where they are dispatched soonest: on the CPU on one of the threads
/// that share their work, which otherwise would have to be woken for each of them.
pub(crate) fn among_workers<R: Send>(device: &Device, f: impl FnOnce() -> R + Send) -> R {
    if !is_flex(device) {
        return f();
    }
    let is_composed = COMPOSED.get();
    rayon::scope(|_| with_flag(&COMPOSED, is_composed, f))
}

/// One number, outside autodiff: 0 if all numbers of `x` are finite, else NaN.
pub(crate) fn zero_if_finite<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if fused(&x) {
        return apply_1(ZeroIfFinite, x.inner());
    }
    x.inner().mul_scalar(0.0).sum()
}

/// Returns the buffers that lie idle between steps to the system.
pub fn release_buffers() {
    #[cfg(feature = "flex")]
    flex::clear_buffers();
}

/// Runs `f` with every operation of this thread composed of ordinary Burn operations, as on a GPU: to
/// compare results and times.
pub fn composed<R>(f: impl FnOnce() -> R) -> R {
    with_flag(&COMPOSED, true, f)
}

/// Runs `f` with a flag of this thread at a value; whatever becomes of `f`, the flag is then what it was.
pub(crate) fn with_flag<R>(flag: &'static LocalKey<Cell<bool>>, value: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(&'static LocalKey<Cell<bool>>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(flag, flag.replace(value));
    f()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, Tensor};

    use crate::kernels::{among_workers, composed, fused};

    #[test]
    fn workers_go_the_way_that_their_caller_goes() {
        let device = Device::flex();
        let fused = || {
            let x = Tensor::<1>::ones([1], &device);
            among_workers(&device, || (rayon::current_thread_index().is_some(), fused(&x)))
        };
        assert_eq!(fused(), (true, true));
        assert_eq!(composed(fused), (true, false));
        assert_eq!(fused(), (true, true));
    }
}
