//! Holds every fused operation to its float64 twin.

use burn::tensor::{Device, Tensor, TensorData};

use super::composed;
use crate::rng::Rng;

/// `n` numbers from N(0, 1).
pub(crate) fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// x Φ(x), with Φ by Simpson's rule over the density.
pub(crate) fn gelu(x: f64) -> f64 {
    const STEPS: usize = 200;
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let step = x / STEPS as f64;
    let piece = |i: usize| {
        let from = i as f64 * step;
        step / 6.0 * (density(from) + 4.0 * density(from + 0.5 * step) + density(from + step))
    };
    x * (0.5 + (0..STEPS).map(piece).sum::<f64>())
}

/// ln(1 + eˣ).
pub(crate) fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
}

/// Compares an operation on flat inputs, as a fused kernel and composed of Burn operations, with its
/// twin: the outputs, and the gradients of Σ output · random with central differences of the twin.
/// Errors are relative to the largest output or gradient, or to 0.01 if all are smaller.
pub(crate) fn check(
    inputs: &[Vec<f32>],
    tolerance: f64,
    operation: impl Fn(&[Tensor<1>]) -> Tensor<1>,
    twin: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let exact: Vec<Vec<f64>> = inputs.iter().map(|x| x.iter().map(|&x| x.into()).collect()).collect();
    let output = twin(&exact);
    let weights = normal(output.len(), 77);
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        twin(inputs).iter().zip(&weights).map(|(&y, &w)| y * f64::from(w)).sum()
    };
    let mut moved = exact.clone();
    let gradients: Vec<Vec<f64>> = (0..inputs.len())
        .map(|input| {
            let difference = |at: usize| {
                const STEP: f64 = 1e-5;
                let mut at_distance = |step: f64| {
                    moved[input][at] = exact[input][at] + step;
                    loss(&moved)
                };
                let slope = (at_distance(STEP) - at_distance(-STEP)) / (2.0 * STEP);
                moved[input][at] = exact[input][at];
                slope
            };
            (0..inputs[input].len()).map(difference).collect()
        })
        .collect();

    let run = || {
        let device = Device::flex().autodiff();
        let tensor = |x: &[f32]| Tensor::<1>::from_data(TensorData::new(x.to_vec(), [x.len()]), &device);
        let inputs: Vec<_> = inputs.iter().map(|x| tensor(x).require_grad()).collect();
        let found = operation(&inputs);
        close("output", &found.clone().into_data(), &output, tolerance);
        let found = (found * tensor(&weights)).sum().backward();
        for (i, (input, expected)) in inputs.iter().zip(&gradients).enumerate() {
            let Some(found) = input.grad(&found) else { panic!("no gradient of input {i}") };
            close(&format!("gradient of input {i}"), &found.into_data(), expected, tolerance);
        }
    };
    run();
    composed(run);
}

fn close(what: &str, found: &TensorData, expected: &[f64], tolerance: f64) {
    let scale = expected.iter().fold(1e-2_f64, |max, x| max.max(x.abs()));
    let found: Vec<f32> = found.iter::<f32>().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / scale;
        assert!(error <= tolerance, "{what}[{at}] = {found}, not {expected}: off by {error:e}");
    }
}

/// Whether `run` gives the same bits on 1, 2, 3 and 7 threads.
pub(crate) fn is_deterministic(run: impl Fn() -> Vec<f32> + Sync) {
    let on = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
        pool.unwrap_or_else(|error| panic!("{error}")).install(&run)
    };
    let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let one = bits(on(1));
    for n_threads in [2, 3, 7] {
        assert!(bits(on(n_threads)) == one, "{n_threads} threads");
    }
}
