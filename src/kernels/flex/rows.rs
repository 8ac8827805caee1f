//! Steps of some rows of a table. Each takes the table and its moments, as many numbers a row as their
//! widths say, the rows in ascending order, and their gradients one after the other.

use super::simd::{dot, vectorized};
use super::{AdamStep, parallel};

/// The numbers of a table in one part of the work.
const PART: usize = 1 << 13;

/// The stretch of each array from row `first` on that holds some of the rows.
struct Part<'a, const N: usize> {
    first: u32,
    arrays: [&'a mut [f32]; N],
    rows: &'a [u32],
    grads: &'a [f32],
}

/// Cuts the arrays between rows, so that each part has rows of its own.
fn parts<'a, const N: usize>(
    mut arrays: [&'a mut [f32]; N],
    widths: [usize; N],
    rows: &'a [u32],
    grads: &'a [f32],
) -> Vec<Part<'a, N>> {
    let d = widths[0];
    assert!(rows.is_sorted_by(|a, b| a < b), "rows in ascending order");
    assert_eq!(grads.len(), rows.len() * d, "one gradient for each row");
    let size = (PART / d.max(1)).max(1);
    let mut first = 0;
    rows.chunks(size)
        .zip(grads.chunks((size * d).max(1)))
        .map(|(rows, grads)| {
            let end = rows[rows.len() - 1] + 1;
            let mut array = 0;
            let stretch = arrays.each_mut().map(|rest| {
                let (here, behind) =
                    std::mem::take(rest).split_at_mut((end - first) as usize * widths[array]);
                array += 1;
                *rest = behind;
                here
            });
            let part = Part { first, arrays: stretch, rows, grads };
            first = end;
            part
        })
        .collect()
}

/// Lazy Adam: a step of [`Adam`](super::Adam) on these rows and their moments alone.
///
/// # Panics
/// If a row stands beyond the table, or the rows are not in ascending order.
pub(crate) fn lazy_adam(step: AdamStep, arrays: [&mut [f32]; 3], d: usize, rows: &[u32], grads: &[f32]) {
    parallel::each(parts(arrays, [d; 3], rows, grads), |part| {
        let Part { first, arrays: [w, m, v], rows, grads } = part;
        vectorized(
            #[inline(always)]
            move || {
                for (&row, g) in rows.iter().zip(grads.chunks_exact(d)) {
                    let at = (row - first) as usize * d;
                    step.update(&mut w[at..][..d], &mut m[at..][..d], &mut v[at..][..d], g);
                }
            },
        );
    });
}

/// Row-wise Adagrad: s ← s + mean of g², w ← w − rate · g / (√s + ε), with one number s for each row.
///
/// # Panics
/// As [`lazy_adam`].
pub(crate) fn rowwise_adagrad(
    rate: f32,
    epsilon: f32,
    arrays: [&mut [f32]; 2],
    d: usize,
    rows: &[u32],
    grads: &[f32],
) {
    parallel::each(parts(arrays, [d, 1], rows, grads), |part| {
        let Part { first, arrays: [w, s], rows, grads } = part;
        vectorized(
            #[inline(always)]
            move || {
                for (&row, g) in rows.iter().zip(grads.chunks_exact(d)) {
                    let at = (row - first) as usize;
                    s[at] += dot(g, g) / d as f32;
                    let scale = rate / (s[at].sqrt() + epsilon);
                    for (w, g) in w[at * d..][..d].iter_mut().zip(g) {
                        *w -= scale * g;
                    }
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Adam;
    use crate::kernels::twin::{is_deterministic, normal};

    const ADAM: Adam =
        Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01, decoupled: false };

    /// Every third row of a table with 3,000 rows, all in several parts.
    fn case(d: usize) -> (Vec<f32>, Vec<u32>, Vec<f32>) {
        let rows: Vec<u32> = (0..1_000).map(|i| 3 * i + 1).collect();
        (normal(3_000 * d, 1), rows, normal(1_000 * d, 2))
    }

    #[test]
    fn lazy_adam_steps_its_rows_as_adam_and_leaves_the_others() {
        for (d, decoupled) in [(1, false), (13, true), (64, false), (64, true)] {
            let step = Adam { decoupled, ..ADAM }.step(0.01, 3);
            let (table, rows, grads) = case(d);
            let (m, v) = (normal(table.len(), 3), normal(table.len(), 4).iter().map(|v| v * v).collect());
            let before = [table, m, v];
            let mut after = before.clone();
            lazy_adam(step, after.each_mut().map(|x| &mut x[..]), d, &rows, &grads);

            let mut expected = before;
            for (&row, g) in rows.iter().zip(grads.chunks(d)) {
                let range = row as usize * d..(row as usize + 1) * d;
                step.apply(expected.each_mut().map(|x| &mut x[range.clone()]), g);
            }
            assert!(after == expected, "d = {d}");
        }
    }

    #[test]
    fn rowwise_adagrad_equals_its_float64_twin() {
        for d in [1, 13, 64] {
            let (mut table, rows, grads) = case(d);
            let mut sums = vec![0.5; 3_000];
            let before: Vec<f64> = table.iter().map(|&w| w.into()).collect();
            rowwise_adagrad(0.1, 1e-8, [&mut table, &mut sums], d, &rows, &grads);
            let mut expected = before;
            for (&row, g) in rows.iter().zip(grads.chunks(d)) {
                let mean = g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>() / d as f64;
                assert!((f64::from(sums[row as usize]) - 0.5 - mean).abs() < 1e-5);
                for (w, &g) in expected[row as usize * d..].iter_mut().zip(g) {
                    *w -= 0.1 * f64::from(g) / ((0.5 + mean).sqrt() + 1e-8);
                }
            }
            assert!(table.iter().zip(&expected).all(|(&w, &e)| (f64::from(w) - e).abs() < 1e-6), "d = {d}");
            assert!((0..1_000).all(|i| sums[3 * i] == 0.5 && sums[3 * i + 2] == 0.5));
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        is_deterministic(|| {
            let (mut table, rows, grads) = case(64);
            let mut moments = [vec![0.0; table.len()], vec![0.0; table.len()]];
            let [m, v] = moments.each_mut().map(|x| &mut x[..]);
            lazy_adam(ADAM.step(0.01, 1), [&mut table, m, v], 64, &rows, &grads);
            rowwise_adagrad(0.1, 1e-8, [&mut table, &mut vec![0.0; 3_000]], 64, &rows, &grads);
            table
        });
    }

    #[test]
    fn rows_out_of_order_or_range_are_refused() {
        let step = |rows: &'static [u32]| {
            let run = move || {
                let (mut w, mut m, mut v) = ([0.0; 6], [0.0; 6], [0.0; 6]);
                lazy_adam(ADAM.step(0.1, 1), [&mut w, &mut m, &mut v], 2, rows, &vec![1.0; 2 * rows.len()]);
            };
            std::panic::catch_unwind(run)
        };
        assert!(step(&[]).is_ok() && step(&[0, 2]).is_ok());
        assert!(step(&[1, 1]).is_err() && step(&[2, 1]).is_err() && step(&[3]).is_err());
    }
}
