//! Work in parts that the size of the work fixes, never the number of threads.

use std::ops::Range;

use rayon::prelude::*;

/// `f` of every task, in order.
pub(super) fn each<T: Send, R: Send>(tasks: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    if tasks.len() < 2 || rayon::current_num_threads() == 1 {
        tasks.into_iter().map(f).collect()
    } else {
        tasks.into_par_iter().with_max_len(1).map(&f).collect()
    }
}

/// `f` of every part of the rows of `out`, `size` rows of `width` at a time, with the range of its rows.
pub(super) fn rows<T: Send>(
    out: &mut [f32],
    width: usize,
    size: usize,
    f: impl Fn(Range<usize>, &mut [f32]) -> T + Sync,
) -> Vec<T> {
    rows_of_each(out.len() / width.max(1), size, [out], |rows, [out]| f(rows, out))
}

/// As [`rows`] over several outputs of `n` rows each, of one width or another; an empty output stays empty.
pub(super) fn rows_of_each<const N: usize, T: Send>(
    n: usize,
    size: usize,
    outputs: [&mut [f32]; N],
    f: impl Fn(Range<usize>, [&mut [f32]; N]) -> T + Sync,
) -> Vec<T> {
    let size = size.max(1);
    let mut rest = outputs.map(|out| (out.len() / n.max(1), out));
    let split = |start: usize| {
        let rows = start..n.min(start + size);
        let parts = rest.each_mut().map(|(width, rest)| {
            let (part, after) = std::mem::take(rest).split_at_mut(*width * rows.len());
            *rest = after;
            part
        });
        (rows, parts)
    };
    each((0..n).step_by(size).map(split).collect(), |(rows, parts)| f(rows, parts))
}

/// `f` of every part of `out` between neighbouring `bounds`, which rise from 0 to its length, with the number
/// of the part.
pub(super) fn segments<T: Send>(
    out: &mut [f32],
    bounds: &[usize],
    f: impl Fn(usize, &mut [f32]) -> T + Sync,
) -> Vec<T> {
    segments_of_each([(out, 1)], bounds, |i, [out]| f(i, out))
}

/// As [`segments`] over several outputs, each with its width, whose rows the bounds count.
pub(super) fn segments_of_each<const N: usize, T: Send>(
    mut outputs: [(&mut [f32], usize); N],
    bounds: &[usize],
    f: impl Fn(usize, [&mut [f32]; N]) -> T + Sync,
) -> Vec<T> {
    let n_rows = bounds.last().copied().unwrap_or(0);
    assert!(outputs.iter().all(|(out, width)| out.len() == n_rows * width), "bounds of another slice");
    let split = |pair: &[usize]| {
        outputs.each_mut().map(|(rest, width)| {
            let (part, after) = std::mem::take(rest).split_at_mut((pair[1] - pair[0]) * *width);
            *rest = after;
            part
        })
    };
    each(bounds.windows(2).map(split).enumerate().collect(), |(i, out)| f(i, out))
}

/// The sum of equally long partial results, in their order.
pub(super) fn sum(partial: Vec<Vec<f32>>) -> Vec<f32> {
    let mut partial = partial.into_iter();
    let mut total = partial.next().unwrap_or_default();
    let rest: Vec<Vec<f32>> = partial.collect();
    rows(&mut total, 1, 16 * 1024, |range, total| {
        for part in &rest {
            for (sum, &x) in total.iter_mut().zip(&part[range.clone()]) {
                *sum += x;
            }
        }
    });
    rest.into_iter().for_each(super::buffer::give);
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_whole_in_order() {
        for (n, size) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 0)] {
            let mut out = vec![0.0; 2 * n];
            rows(&mut out, 2, size, |range, out| {
                for (row, out) in range.zip(out.chunks_mut(2)) {
                    out.fill(row as f32);
                }
            });
            assert_eq!(out, (0..2 * n).map(|i| (i / 2) as f32).collect::<Vec<_>>());
            let (mut wide, mut narrow) = (vec![0.0; 2 * n], vec![0.0; n]);
            rows_of_each(n, size, [&mut wide, &mut [], &mut narrow], |range, [wide, empty, narrow]| {
                assert!(empty.is_empty() && wide.len() == 2 * range.len());
                for (row, (wide, narrow)) in range.zip(wide.chunks_mut(2).zip(narrow)) {
                    wide.fill(row as f32);
                    *narrow = row as f32;
                }
            });
            assert_eq!(wide, out);
            assert_eq!(narrow, (0..n).map(|i| i as f32).collect::<Vec<_>>());
        }
        let mut out = vec![0.0; 6];
        segments(&mut out, &[0, 2, 2, 6], |part, out| out.fill(part as f32));
        assert_eq!(out, [0.0, 0.0, 2.0, 2.0, 2.0, 2.0]);
        let (mut wide, mut narrow) = ([0.0; 6], [0.0; 3]);
        segments_of_each([(&mut wide, 2), (&mut narrow, 1)], &[0, 2, 3], |part, [wide, narrow]| {
            wide.fill(part as f32);
            narrow.fill(-(part as f32));
        });
        assert_eq!((wide, narrow), ([0.0, 0.0, 0.0, 0.0, 1.0, 1.0], [0.0, 0.0, -1.0]));
        assert_eq!(sum(vec![vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]]), [9.0, 12.0]);
    }
}
