//! Work in parts that the size of the work fixes, never the number of threads.

use std::ops::Range;

use rayon::prelude::*;

/// `f` of every part of `0..n`, `size` at a time, in order.
pub(super) fn parts<T: Send>(n: usize, size: usize, f: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let size = size.max(1);
    let part = |i: usize| f(i * size..n.min((i + 1) * size));
    let n_parts = n.div_ceil(size);
    if n_parts < 2 || rayon::current_num_threads() == 1 {
        (0..n_parts).map(part).collect()
    } else {
        (0..n_parts).into_par_iter().with_max_len(1).map(part).collect()
    }
}

/// `f` of every part of the rows of `out`, `size` rows of `width` at a time, with the range of its rows.
pub(super) fn rows<T: Send>(
    out: &mut [f32],
    width: usize,
    size: usize,
    f: impl Fn(Range<usize>, &mut [f32]) -> T + Sync,
) -> Vec<T> {
    let (width, size) = (width.max(1), size.max(1));
    let n = out.len() / width;
    let part = |(i, out): (usize, &mut [f32])| f(i * size..n.min((i + 1) * size), out);
    if n <= size || rayon::current_num_threads() == 1 {
        out.chunks_mut(width * size).enumerate().map(part).collect()
    } else {
        out.par_chunks_mut(width * size).enumerate().with_max_len(1).map(part).collect()
    }
}

/// `f` of every item.
pub(super) fn each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync) {
    if items.len() < 2 || rayon::current_num_threads() == 1 {
        items.into_iter().for_each(f);
    } else {
        items.into_par_iter().with_max_len(1).for_each(&f);
    }
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
            let covered: Vec<usize> = parts(n, size, |part| part).into_iter().flatten().collect();
            assert_eq!(covered, (0..n).collect::<Vec<_>>());
            let mut out = vec![0.0; 2 * n];
            rows(&mut out, 2, size, |range, out| {
                for (row, out) in range.zip(out.chunks_mut(2)) {
                    out.fill(row as f32);
                }
            });
            assert_eq!(out, (0..2 * n).map(|i| (i / 2) as f32).collect::<Vec<_>>());
        }
        assert_eq!(sum(vec![vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]]), [9.0, 12.0]);
    }
}
