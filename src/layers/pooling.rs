use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_depth, check_size};
use crate::layers::param;

/// How a history of item vectors becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean (Covington et al. 2016).
    Mean,
    /// `n_scales` weighted means side by side, whose weights fall with the distance from the end; learned,
    /// and begun as exponential decays with half-lives spread from below one item to the whole history.
    Recency {
        /// The number of weighted means, at least 1.
        n_scales: usize,
    },
}

impl Pooling {
    /// The number of vectors that come out side by side.
    pub fn n_outputs(self) -> usize {
        match self {
            Self::Mean => 1,
            Self::Recency { n_scales } => n_scales,
        }
    }

    /// The pooling layer for histories of at most `max_len` items.
    ///
    /// # Errors
    /// A number of scales or a length outside 1 to 2²⁰.
    pub fn init(self, max_len: usize, device: &Device) -> Result<HistoryPooling> {
        check_size("Pooling::n_scales", self.n_outputs())?;
        check_depth("Pooling::n_scales", self.n_outputs())?;
        check_size("Pooling::max_len", max_len)?;
        let n = self.n_outputs();
        let log_weights = param([n, max_len], device, || self.log_weights(max_len));
        Ok(HistoryPooling { log_weights: log_weights.set_require_grad(self != Self::Mean) })
    }

    /// The fresh log-weights, scale by scale.
    fn log_weights(self, max_len: usize) -> Vec<f32> {
        let Self::Recency { n_scales } = self else { return vec![0.0; max_len] };
        let of_scale = |scale: usize| {
            // Half-lives ½ · (2 max_len)^(scale / (n − 1)): from half an item to the whole history.
            let exponent = scale as f64 / (n_scales - 1).max(1) as f64;
            let half_life = 0.5 * (2.0 * max_len as f64).powf(exponent);
            (0..max_len).map(move |distance| {
                (-(distance as f64) / half_life * std::f64::consts::LN_2).max(-20.0) as f32
            })
        };
        (0..n_scales).flat_map(of_scale).collect()
    }
}

/// Pools every prefix of every history at once:
///
/// z_k(t) = Σ_{s ≤ t} w_k(t − s) x(s) / Σ_{s ≤ t} w_k(t − s),  w_k(δ) = softmax over δ of the learned
/// log-weights, the sums over positions that are not padding.
///
/// With w constant this is the running mean; otherwise order matters, at the cost of one matrix product.
#[derive(Module, Debug)]
pub struct HistoryPooling {
    /// log w, `[n_outputs, max_len]`
    log_weights: Param<Tensor<2>>,
}

impl HistoryPooling {
    /// The longest history it pools.
    pub fn max_len(&self) -> usize {
        self.log_weights.shape().dims::<2>()[1]
    }

    /// The pooled vector of every prefix; 0 where a prefix holds only padding.
    ///
    /// # Shapes
    /// - x: `[len, b, d]`, time first, len ≤ max_len; padding rows are 0
    /// - valid: `[len, b]`, 1 for an item and 0 for padding
    /// - output: `[len · b, n_outputs · d]`: row t · b + i pools items 0..=t of history i
    pub fn forward(&self, x: Tensor<3>, valid: Tensor<2>) -> Tensor<2> {
        let [len, b, d] = x.dims();
        let kernel = self.kernel(len, len);
        let k = kernel.dims()[0] / len;
        let sums = kernel.clone().matmul(x.reshape([len, b * d])).reshape([k, len * b, d]);
        let norms = kernel.matmul(valid).reshape([k, len * b, 1]).add_scalar(1e-9);
        sums.div(norms).swap_dims(0, 1).reshape([len * b, k * d])
    }

    /// The pooled vector of each whole history: the last row of [`forward`](Self::forward).
    ///
    /// # Shapes
    /// As [`forward`](Self::forward), with output `[b, n_outputs · d]`.
    pub fn last(&self, x: Tensor<3>, valid: Tensor<2>) -> Tensor<2> {
        let [len, b, d] = x.dims();
        let kernel = self.kernel(len, 1);
        let k = kernel.dims()[0];
        let sums = kernel.clone().matmul(x.reshape([len, b * d])).reshape([k, b, d]);
        let norms = kernel.matmul(valid).reshape([k, b, 1]).add_scalar(1e-9);
        sums.div(norms).swap_dims(0, 1).reshape([b, k * d])
    }

    /// The matrix w_k(t − s), 0 for s > t, of the last `n_rows` of `len` positions.
    ///
    /// # Shapes
    /// - output: `[n_outputs · n_rows, len]`
    fn kernel(&self, len: usize, n_rows: usize) -> Tensor<2> {
        let log_weights = self.log_weights.val();
        let [k, max_len] = log_weights.dims();
        let device = log_weights.device();
        let weights = activation::softmax(log_weights, 1).mul_scalar(max_len as f32);
        // A column of zeros behind the weights serves every s > t.
        let padded = Tensor::cat(vec![weights, Tensor::zeros([k, 1], &device)], 1);
        let distances: Vec<i64> = (len - n_rows..len)
            .flat_map(|t| (0..len).map(move |s| if s <= t { (t - s) as i64 } else { max_len as i64 }))
            .collect();
        let distances = Tensor::<1, Int>::from_data(TensorData::new(distances, [n_rows * len]), &device);
        padded.select(1, distances).reshape([k * n_rows, len])
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::layers::read;
    use crate::rng::Rng;

    const LEN: usize = 5;
    const B: usize = 3;
    const D: usize = 2;

    /// The first `i` positions of history `i` are padding.
    fn histories() -> (Vec<f32>, Vec<f32>) {
        let mut rng = Rng::new(7);
        let valid: Vec<f32> = (0..LEN * B).map(|p| if p / B >= p % B { 1.0 } else { 0.0 }).collect();
        let x = (0..LEN * B * D).map(|i| valid[i / D] * rng.normal() as f32).collect();
        (x, valid)
    }

    fn tensors(device: &Device) -> (Tensor<3>, Tensor<2>) {
        let (x, valid) = histories();
        let x = Tensor::from_data(TensorData::new(x, [LEN, B, D]), device);
        (x, Tensor::from_data(TensorData::new(valid, [LEN, B]), device))
    }

    #[test]
    fn every_prefix_is_a_weighted_mean() {
        let device = Device::flex();
        let (x, valid) = histories();
        for pooling in [Pooling::Mean, Pooling::Recency { n_scales: 3 }] {
            let layer = pooling.init(7, &device).unwrap();
            let log_weights = read(layer.log_weights.val()).unwrap();
            let (k, (tx, tvalid)) = (pooling.n_outputs(), tensors(&device));
            let found = read(layer.forward(tx.clone(), tvalid.clone())).unwrap();
            for (t, i, scale, d) in
                (0..LEN * B * k * D).map(|p| (p / (B * k * D), p / (k * D) % B, p / D % k, p % D))
            {
                let (mut sum, mut norm) = (0.0, 0.0);
                for s in 0..=t {
                    let weight =
                        f64::from(log_weights[scale * 7 + t - s]).exp() * f64::from(valid[s * B + i]);
                    sum += weight * f64::from(x[(s * B + i) * D + d]);
                    norm += weight;
                }
                let expected = if norm > 0.0 { sum / norm } else { 0.0 };
                let found = f64::from(found[((t * B + i) * k + scale) * D + d]);
                assert!((found - expected).abs() < 1e-5, "{pooling:?} t {t} i {i}: {found}, {expected}");
            }
            let last = read(layer.last(tx, tvalid)).unwrap();
            for (last, prefix) in last.iter().zip(&found[(LEN - 1) * B * k * D..]) {
                assert!((last - prefix).abs() < 1e-6, "{last} {prefix}");
            }
        }
    }

    #[test]
    fn recency_learns_its_weights_and_the_mean_does_not() {
        let device = Device::flex().autodiff();
        for (pooling, learns) in [(Pooling::Mean, false), (Pooling::Recency { n_scales: 2 }, true)] {
            let layer = pooling.init(LEN, &device).unwrap();
            let (x, valid) = tensors(&device);
            let gradients = layer.forward(x.require_grad(), valid).square().sum().backward();
            assert_eq!(layer.log_weights.val().grad(&gradients).is_some(), learns, "{pooling:?}");
        }
    }

    #[test]
    fn nothing_to_pool_is_an_error() {
        assert!(Pooling::Recency { n_scales: 0 }.init(3, &Device::flex()).is_err());
        assert!(Pooling::Mean.init(0, &Device::flex()).is_err());
    }
}
