//! The gradients of sparsely updated tables. While a step's loss is computed, every gather from such a
//! table is recorded with the leaf that holds the gathered rows; after the backward pass the gradient of
//! the leaf is the gradient of those rows, and there is no other.

use std::cell::RefCell;

use burn::module::ParamId;
use burn::tensor::{Gradients, Tensor};

use crate::layers::{sum_by_position, unique};

thread_local! {
    static TAPE: RefCell<Option<Vec<Gathered>>> = const { RefCell::new(None) };
}

/// Rows gathered from a table.
struct Gathered {
    table: ParamId,
    rows: Vec<u32>,
    leaf: Tensor<2>,
}

/// The gathers of one step.
#[must_use]
pub(crate) struct RowTape(Vec<Gathered>);

/// The gradient of some rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct RowGradient {
    pub(crate) table: ParamId,
    /// In ascending order.
    pub(crate) rows: Vec<u32>,
    /// `[rows.len(), d]`, outside autodiff.
    pub(crate) gradient: Tensor<2>,
}

/// Runs `f` and records what it gathers from sparsely updated tables on this thread.
pub(crate) fn record<R>(f: impl FnOnce() -> R) -> (R, RowTape) {
    struct Restore(Option<Vec<Gathered>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TAPE.set(self.0.take());
        }
    }
    let _restore = Restore(TAPE.replace(Some(Vec::new())));
    let result = f();
    (result, RowTape(TAPE.take().unwrap_or_default()))
}

/// Whether a gather must be recorded.
pub(super) fn is_recording() -> bool {
    TAPE.with_borrow(Option::is_some)
}

/// Records a gather.
pub(super) fn push(table: ParamId, rows: Vec<u32>, leaf: Tensor<2>) {
    TAPE.with_borrow_mut(|tape| {
        if let Some(tape) = tape {
            tape.push(Gathered { table, rows, leaf });
        }
    });
}

impl RowTape {
    /// Whether nothing was gathered.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One gradient for each table that the loss depends on, in the order of their first gathers (parameter
    /// ids are random numbers, and the order must not be). Rows gathered more than once have their gradients
    /// summed in the order of the gathers.
    pub(crate) fn gradients(self, gradients: &mut Gradients) -> Vec<RowGradient> {
        let mut tables: Vec<Vec<RowGradient>> = Vec::new();
        for Gathered { table, rows, leaf } in self.0 {
            let Some(gradient) = leaf.grad_remove(gradients) else { continue };
            let gradient = RowGradient { table, rows, gradient };
            match tables.iter_mut().find(|gradients| gradients[0].table == table) {
                Some(gradients) => gradients.push(gradient),
                None => tables.push(vec![gradient]),
            }
        }
        tables.into_iter().filter_map(merge).collect()
    }
}

/// The sum of gradients of one table.
fn merge(mut parts: Vec<RowGradient>) -> Option<RowGradient> {
    if parts.len() < 2 {
        return parts.pop();
    }
    let table = parts[0].table;
    let rows: Vec<u32> = parts.iter().flat_map(|part| part.rows.iter().copied()).collect();
    let (rows, positions) = unique(&rows);
    let all = Tensor::cat(parts.into_iter().map(|part| part.gradient).collect(), 0);
    let gradient = sum_by_position(all, positions, rows.len());
    Some(RowGradient { table, rows, gradient })
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::module::Module;
    use burn::tensor::Device;

    use super::*;
    use crate::layers::{Embedding, Init, TableUpdate, read};
    use crate::rng::Rng;

    fn table(update: TableUpdate) -> Embedding {
        let (device, rng) = (Device::flex(), &mut Rng::new(1));
        Embedding::new([9, 2], Init::Normal { std: 1.0 }, update, rng, &device).train()
    }

    /// Looks the table up twice.
    fn loss(table: &Embedding) -> Tensor<1> {
        let [x, y] = [&[7, 3, 7][..], &[1, 7, 3]].map(|ids| table.forward(ids));
        (x * y.square()).sum()
    }

    #[test]
    fn gradients_of_two_lookups_are_summed_and_equal_the_dense_ones() {
        let [dense, sparse] = [TableUpdate::Dense, TableUpdate::Sparse].map(table);
        let expected = read(dense.weight().grad(&loss(&dense).backward()).unwrap()).unwrap();
        let other = table(TableUpdate::Sparse);
        let (loss, tape) = record(|| {
            other.forward(&[0]);
            loss(&sparse)
        });
        let gradients = tape.gradients(&mut loss.backward());
        let [RowGradient { rows, gradient, .. }] = &gradients[..] else { panic!("{gradients:?}") };
        assert_eq!(*rows, [1, 3, 7]);
        let found = read(gradient.clone()).unwrap();
        for (place, &row) in rows.iter().enumerate() {
            for j in 0..2 {
                let expected = expected[row as usize * 2 + j];
                approx::assert_relative_eq!(found[place * 2 + j], expected, max_relative = 1e-5);
            }
        }
        let others = (0..9).filter(|row| !rows.contains(row));
        assert!(others.flat_map(|row| [2 * row, 2 * row + 1]).all(|at| expected[at as usize] == 0.0));
    }

    #[test]
    fn nothing_is_recorded_outside_nor_outside_autodiff_nor_after_a_panic() {
        let sparse = table(TableUpdate::Sparse);
        let vectors = sparse.forward(&[4, 4]);
        assert!(!vectors.is_require_grad() && !is_recording());
        let (inference, tape) = record(|| sparse.valid().forward(&[4, 4]));
        assert!(tape.is_empty() && !inference.is_autodiff());
        assert_eq!(read(inference).unwrap(), read(vectors.inner()).unwrap());

        let (_, outer) = record(|| {
            let inner = std::panic::catch_unwind(|| record(|| panic!("in the inner recording")));
            assert!(inner.is_err() && is_recording());
            sparse.forward(&[2]);
        });
        assert!(!outer.is_empty() && !is_recording());
    }
}
