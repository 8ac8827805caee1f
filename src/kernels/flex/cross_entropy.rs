use std::ops::Range;
use std::slice::ChunksMut;

use burn::tensor::{Int, Tensor};

use super::matrix::{Matrix, MatrixMut};
use super::{Array, Kernel, buffer, host_ids, parallel, simd};

/// The logits that are held at a time: 8 MiB, which the last-level cache keeps.
const MAX_LOGITS: usize = 2 << 20;

/// The rows of a part, whose logits are computed, exponentiated and multiplied while they are hot.
const ROWS: usize = 128;

/// The mean over rows of −ln softmax of the positive's logit among the logits of all candidates, where a
/// logit is the inner product of a row and a candidate. Logits exist for some rows at a time only.
///
/// With Zᵢ = Σⱼ eᵢⱼ, eᵢⱼ = exp(sᵢⱼ − maxⱼ sᵢⱼ), and the positive's column tᵢ:
///
/// ∂L/∂hᵢ = Σⱼ (eᵢⱼ − [j = tᵢ] Zᵢ) wⱼ / (n Zᵢ),  ∂L/∂wⱼ = Σᵢ (eᵢⱼ − [j = tᵢ] Zᵢ) hᵢ / (n Zᵢ),
///
/// so that the division is one of vectors of width d, and a row of logits is passed over twice.
///
/// Inputs: rows h `[n, d]` and candidates w `[m, d]`. Output `[1]`.
#[derive(Debug)]
pub(crate) struct CrossEntropy {
    /// The candidate that is each row's positive.
    pub(crate) positives: Vec<i64>,
    pub(crate) candidates: Candidates,
}

/// The same where the positive of each row stands beside the candidates.
///
/// Inputs: as [`CrossEntropy`], then the positives `[n, d]`.
#[derive(Debug)]
pub(crate) struct SampledCrossEntropy {
    pub(crate) candidates: Candidates,
}

/// What is known of the candidates besides their vectors.
#[derive(Debug)]
pub(crate) struct Candidates {
    /// Subtracted from the logits of each candidate.
    log_q: Option<Vec<f32>>,
    hits: Option<Hits>,
}

/// Which candidates are the same item as a row's positive.
#[derive(Debug)]
struct Hits {
    rows: Vec<i64>,
    /// (item, candidate), sorted.
    candidates: Vec<(i64, usize)>,
}

impl Hits {
    /// Of the positive item of each row and the item of each candidate.
    fn new(rows: Vec<i64>, candidates: &[i64]) -> Self {
        let mut candidates: Vec<_> = candidates.iter().copied().zip(0..).collect();
        candidates.sort_unstable();
        Self { rows, candidates }
    }

    fn of(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        let item = self.rows[row];
        let start = self.candidates.partition_point(|&(candidate, _)| candidate < item);
        self.candidates[start..].iter().take_while(move |hit| hit.0 == item).map(|hit| hit.1)
    }
}

impl Kernel<2> for CrossEntropy {
    fn forward(&self, [rows, candidates]: [Array; 2], tracked: bool) -> (Array, Vec<Array>) {
        let [m, d] = candidates.shape();
        assert_eq!(self.positives.len(), rows.shape::<2>()[0], "a positive for each row");
        for &positive in &self.positives {
            assert!((0..m as i64).contains(&positive), "positive {positive} of {m} candidates");
        }
        let vectors = Vectors { rows: rows.values(), candidates: candidates.values(), apart: None, m, d };
        let mut gradients = Gradients::new(&vectors, tracked);
        let loss = self.candidates.loss(vectors, Some(&self.positives), &mut gradients);
        let saved = || vec![rows.with_values(gradients.rows), candidates.with_values(gradients.candidates)];
        (Array::new(vec![loss], [1]), if tracked { saved() } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 2]) -> [Option<Array>; 2] {
        scaled(saved, &grad, needed)
    }
}

impl Kernel<3> for SampledCrossEntropy {
    fn forward(&self, [rows, candidates, positives]: [Array; 3], tracked: bool) -> (Array, Vec<Array>) {
        let [m, d] = candidates.shape();
        assert_eq!(positives.shape::<2>(), rows.shape::<2>(), "a positive for each row");
        let apart = Some(positives.values());
        let vectors = Vectors { rows: rows.values(), candidates: candidates.values(), apart, m, d };
        let mut gradients = Gradients::new(&vectors, tracked);
        let loss = self.candidates.loss(vectors, None, &mut gradients);
        let saved = || {
            vec![
                rows.with_values(gradients.rows),
                candidates.with_values(gradients.candidates),
                positives.with_values(gradients.apart),
            ]
        };
        (Array::new(vec![loss], [1]), if tracked { saved() } else { Vec::new() })
    }

    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; 3]) -> [Option<Array>; 3] {
        scaled(saved, &grad, needed)
    }
}

/// The gradients of the loss, which forward has computed already, times the gradient of the output.
fn scaled<const N: usize>(saved: Vec<Array>, grad: &Array, needed: [bool; N]) -> [Option<Array>; N] {
    let factor = grad.values()[0];
    let mut saved = saved.into_iter();
    needed.map(|needed| {
        let gradient = saved.next().filter(|_| needed)?;
        if factor == 1.0 {
            return Some(gradient);
        }
        Some(gradient.map(|values| values.iter_mut().for_each(|g| *g *= factor)))
    })
}

/// The vectors: rows h `[n, d]`, candidates w `[m, d]`, and the positives `[n, d]` if they are apart.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    rows: &'a [f32],
    candidates: &'a [f32],
    apart: Option<&'a [f32]>,
    m: usize,
    d: usize,
}

impl Vectors<'_> {
    fn n(&self) -> usize {
        self.rows.len() / self.d
    }
}

/// The gradients of the loss, laid out as [`Vectors`]; all empty if they are not asked for.
struct Gradients {
    rows: Vec<f32>,
    candidates: Vec<f32>,
    apart: Vec<f32>,
}

impl Gradients {
    fn new(vectors: &Vectors<'_>, tracked: bool) -> Self {
        let Vectors { rows, candidates, apart, .. } = vectors;
        let len = |of: &[f32]| if tracked { of.len() } else { 0 };
        Self {
            rows: buffer::take(len(rows)),
            candidates: buffer::take_zeroed(len(candidates)),
            apart: buffer::take(len(apart.unwrap_or_default())),
        }
    }
}

/// Consecutive rows that one part works on.
struct Block<'a> {
    rows: Range<usize>,
    /// s, and then e, `[rows, m]`
    logits: &'a mut [f32],
    /// h / (n Z), `[rows, d]`
    scaled: &'a mut [f32],
    gradient: &'a mut [f32],
    gradient_apart: &'a mut [f32],
}

impl Candidates {
    /// Candidates with this log q `[m]`, and the positive item of each row `[n]` with the item of each
    /// candidate `[m]`.
    pub(crate) fn new(log_q: Option<Tensor<1>>, items: Option<(Tensor<1, Int>, Tensor<1, Int>)>) -> Self {
        Self {
            log_q: log_q.map(|log_q| log_q.into_data().iter().collect()),
            hits: items.map(|(rows, candidates)| Hits::new(host_ids(rows), &host_ids(candidates))),
        }
    }

    /// The mean loss, and its gradients if they are asked for; `columns` are the positives among the
    /// candidates.
    fn loss(&self, vectors: Vectors<'_>, columns: Option<&[i64]>, gradients: &mut Gradients) -> f32 {
        let Vectors { m, d, .. } = vectors;
        assert!(m > 0 && d > 0, "{m} candidates of width {d}");
        if let Some(log_q) = &self.log_q {
            assert_eq!(log_q.len(), m, "log q of each candidate");
        }
        if let Some(hits) = &self.hits {
            assert_eq!((hits.rows.len(), hits.candidates.len()), (vectors.n(), m), "the item of each");
        }
        let n = vectors.n();
        let at_a_time = MAX_LOGITS.div_ceil(m).next_multiple_of(2 * ROWS).min(n);
        let mut logits = buffer::take(at_a_time * m);
        let mut scaled = buffer::take(at_a_time * d);
        let mut of_rows = gradients.rows.chunks_mut(ROWS * d);
        let mut apart = gradients.apart.chunks_mut(ROWS * d);
        let mut loss = 0.0;
        for first in (0..n).step_by(at_a_time.max(1)) {
            let rows = first..n.min(first + at_a_time);
            let (logits, scaled) = (&mut logits[..rows.len() * m], &mut scaled[..rows.len() * d]);
            let mut blocks = Vec::with_capacity(rows.len().div_ceil(ROWS));
            for (start, (logits, scaled)) in
                rows.clone().step_by(ROWS).zip(logits.chunks_mut(ROWS * m).zip(scaled.chunks_mut(ROWS * d)))
            {
                blocks.push(Block {
                    rows: start..rows.end.min(start + ROWS),
                    logits,
                    scaled,
                    gradient: next(&mut of_rows),
                    gradient_apart: next(&mut apart),
                });
            }
            let losses = parallel::each(blocks, |block| self.block(vectors, columns, block));
            loss += losses.iter().sum::<f64>();
            let e = Matrix::new(logits, rows.len(), m);
            let scaled = Matrix::new(scaled, rows.len(), d);
            let size = m.div_ceil(8).max(64);
            parallel::rows(&mut gradients.candidates, d, size, |columns, gradient| {
                let e = e.columns(columns.clone()).t();
                MatrixMut::new(gradient, columns.len(), d).add(e, scaled);
            });
        }
        buffer::give(logits);
        buffer::give(scaled);
        (loss / n.max(1) as f64) as f32
    }

    /// Σ of the losses of a block's rows; leaves e, and the gradients that belong to its rows.
    fn block(&self, vectors: Vectors<'_>, columns: Option<&[i64]>, block: Block<'_>) -> f64 {
        let Vectors { m, d, .. } = vectors;
        let n_rows = block.rows.len();
        let of_rows = |of: &'_ [f32]| block.rows.start * d..block.rows.end.min(of.len() / d) * d;
        let h = &vectors.rows[of_rows(vectors.rows)];
        let apart = vectors.apart.map(|apart| &apart[of_rows(apart)]);
        let w = Matrix::new(vectors.candidates, m, d);
        MatrixMut::new(block.logits, n_rows, m).set(Matrix::new(h, n_rows, d), w.t());

        let mut loss = 0.0;
        let mut slopes = Vec::with_capacity(n_rows);
        for (i, (row, logits)) in block.rows.clone().zip(block.logits.chunks_exact_mut(m)).enumerate() {
            let of_row = i * d..(i + 1) * d;
            let (h, scaled) = (&h[of_row.clone()], &mut block.scaled[of_row.clone()]);
            let positive = match (columns, apart) {
                (None, Some(apart)) => Positive::Apart(dot(h, &apart[of_row])),
                (columns, _) => Positive::Column(columns.unwrap_or_default()[row] as usize),
            };
            self.correct(row, &positive, logits);
            let softmax = Softmax::of(logits, &positive);
            loss += softmax.loss;
            let factor = 1.0 / (vectors.n() as f32 * softmax.sum);
            slopes.push((factor, softmax.slope * factor));
            set_scaled(scaled, factor, h);
        }
        if block.gradient.is_empty() {
            return loss;
        }
        MatrixMut::new(&mut *block.gradient, n_rows, d).set(Matrix::new(block.logits, n_rows, m), w);
        for (i, (factor, slope)) in slopes.into_iter().enumerate() {
            let of_row = i * d..(i + 1) * d;
            let gradient = &mut block.gradient[of_row.clone()];
            gradient.iter_mut().for_each(|g| *g *= factor);
            if let Some(apart) = apart {
                let (apart, gradient_apart) =
                    (&apart[of_row.clone()], &mut block.gradient_apart[of_row.clone()]);
                simd::vectorized(
                    #[inline(always)]
                    move || simd::axpy(gradient, slope, apart),
                );
                set_scaled(gradient_apart, slope, &h[of_row]);
            }
        }
        loss
    }

    /// Takes log q from a row of logits, and hides its accidental hits.
    fn correct(&self, row: usize, positive: &Positive, logits: &mut [f32]) {
        if let Some(log_q) = &self.log_q {
            for (logit, log_q) in logits.iter_mut().zip(log_q) {
                *logit -= log_q;
            }
        }
        for hit in self.hits.iter().flat_map(|hits| hits.of(row)) {
            if !matches!(*positive, Positive::Column(column) if column == hit) {
                logits[hit] = f32::NEG_INFINITY;
            }
        }
    }
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    simd::vectorized(
        #[inline(always)]
        move || simd::dot(x, y),
    )
}

/// y ← a x.
fn set_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = a * x;
    }
}

fn next<'a>(chunks: &mut ChunksMut<'a, f32>) -> &'a mut [f32] {
    chunks.next().unwrap_or_default()
}

/// Where a row's positive is: among the logits, or beside them with a logit of its own.
enum Positive {
    Column(usize),
    Apart(f32),
}

struct Softmax {
    /// −ln p of the positive
    loss: f64,
    /// Z
    sum: f32,
    /// e − Z of a positive that is apart
    slope: f32,
}

impl Softmax {
    /// Of a row s, which becomes e, minus Z at the positive's column.
    fn of(row: &mut [f32], positive: &Positive) -> Self {
        let apart = match *positive {
            Positive::Column(_) => f32::NEG_INFINITY,
            Positive::Apart(logit) => logit,
        };
        let logit = match *positive {
            Positive::Column(column) => row[column],
            Positive::Apart(logit) => logit,
        };
        let (row, max, apart, sum) = simd::vectorized(
            #[inline(always)]
            move || {
                let max = simd::max(row).max(apart);
                let sum = simd::exp_sum(row, max);
                let apart = simd::exp(apart - max);
                (row, max, apart, sum + apart)
            },
        );
        if let Positive::Column(column) = *positive {
            row[column] -= sum;
        }
        Self { loss: f64::from(max) + f64::from(sum).ln() - f64::from(logit), sum, slope: apart - sum }
    }
}
