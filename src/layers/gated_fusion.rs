use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};

use crate::layers::linear::linear;
use crate::layers::{Init, Linear};
use crate::rng::Rng;

/// Two views of a thing in one vector, each number of it from the one or the other as a learned gate decides
/// (Arevalo et al. 2017, "Gated multimodal units for information fusion"):
///
/// y = g ⊙ x + (1 − g) ⊙ c P,  g = σ([x ∥ c P] W + b)
///
/// Of two zeros it makes zero.
#[derive(Module, Debug)]
pub struct GatedFusion {
    /// P, `[d_content, d]`
    projection: Param<Tensor<2>>,
    /// W and b, `[2 d, d]`
    gate: Linear,
}

impl GatedFusion {
    /// Fresh weights: P and W as of [`Linear::new`], and b = 0.
    pub fn new(d_content: usize, d: usize, rng: &mut Rng, device: &Device) -> Self {
        let bound = (6.0 / (d_content + d) as f64).sqrt();
        Self {
            projection: Init::Uniform { bound }.param([d_content, d], rng, device),
            gate: Linear::new(2 * d, d, rng, device),
        }
    }

    /// The fused vector y of every row.
    ///
    /// # Shapes
    /// - x: `[n, d]`
    /// - content: c, `[n, d_content]`
    /// - output: `[n, d]`
    pub fn forward(&self, x: Tensor<2>, content: Tensor<2>) -> Tensor<2> {
        gated_fusion(x, content, self.projection.val(), self.gate.weight.val(), self.gate.bias.val())
    }
}

/// [`GatedFusion`] with these P, W and b.
fn gated_fusion(
    x: Tensor<2>,
    content: Tensor<2>,
    projection: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<2> {
    let content = content.matmul(projection);
    let both = Tensor::cat(vec![x.clone(), content.clone()], 1);
    let gate = activation::sigmoid(linear(both, weight, bias, None));
    content.clone() + gate * (x - content)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin;

    #[test]
    fn equals_its_float64_twin() {
        for (n, d_content, d) in [(1, 1, 1), (5, 7, 3), (4, 2, 17)] {
            let sizes = [n * d, n * d_content, d_content * d, 2 * d * d, d];
            let inputs: Vec<_> = (0..).zip(sizes).map(|(seed, size)| twin::normal(size, seed)).collect();
            let fuse = |x: &[Tensor<1>]| {
                let matrix = |i: usize, shape: [usize; 2]| x[i].clone().reshape(shape);
                let (x, bias) = (matrix(0, [n, d]), x[4].clone());
                let (content, projection) = (matrix(1, [n, d_content]), matrix(2, [d_content, d]));
                gated_fusion(x, content, projection, matrix(3, [2 * d, d]), bias).reshape([n * d])
            };
            let exact = |x: &[Vec<f64>]| {
                let mut y = Vec::new();
                for i in 0..n {
                    let term = |j: usize| {
                        (0..d_content).map(|k| x[1][i * d_content + k] * x[2][k * d + j]).sum::<f64>()
                    };
                    let content: Vec<f64> = (0..d).map(term).collect();
                    let both = [&x[0][i * d..(i + 1) * d], &content[..]].concat();
                    for j in 0..d {
                        let logit = x[4][j] + (0..2 * d).map(|k| both[k] * x[3][k * d + j]).sum::<f64>();
                        let gate = 1.0 / (1.0 + (-logit).exp());
                        y.push(gate * both[j] + (1.0 - gate) * content[j]);
                    }
                }
                y
            };
            twin::check(&inputs, 1e-5, fuse, exact);
        }
    }
}
