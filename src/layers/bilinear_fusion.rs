use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result, check_weight};
use crate::layers::{Init, Linear};
use crate::rng::Rng;

/// One number of two views x and y of a row, each cut into k heads (multi-head bilinear fusion, Mao et al. 2023,
/// "FinalMLP: an enhanced two-stream MLP model for CTR prediction"):
///
/// b + ⟨w_x, x⟩ + ⟨w_y, y⟩ + Σ_h x_hᵀ W_h y_h
///
/// One head is the full bilinear form; k heads cost a k-th of it.
#[derive(Module, Debug)]
pub struct BilinearFusion {
    /// w_x, w_y and b, `[d_x + d_y, 1]`
    linear: Linear,
    /// W, `[n_heads, d_x / n_heads, d_y / n_heads]`
    matrices: Param<Tensor<3>>,
}

impl BilinearFusion {
    /// Fresh weights for views of these widths.
    ///
    /// # Errors
    /// A number of heads that does not divide both widths.
    pub fn new(d_x: usize, d_y: usize, n_heads: usize, rng: &mut Rng, device: &Device) -> Result<Self> {
        if n_heads == 0 || !d_x.is_multiple_of(n_heads) || !d_y.is_multiple_of(n_heads) {
            let expected = format!("a number that divides {d_x} and {d_y}");
            return Err(Error::config("BilinearFusion::n_heads", expected, n_heads));
        }
        check_weight("BilinearFusion::n_heads", [d_x, d_y / n_heads])?;
        let shape = [n_heads, d_x / n_heads, d_y / n_heads];
        let bound = (6.0 / (shape[1] + shape[2]) as f64).sqrt();
        Ok(Self {
            linear: Linear::new(d_x + d_y, 1, rng, device),
            matrices: Init::Uniform { bound }.param(shape, rng, device),
        })
    }

    /// The number of each row.
    ///
    /// # Shapes
    /// - x: `[n, d_x]`
    /// - y: `[n, d_y]`
    /// - output: `[n, 1]`
    pub fn forward(&self, x: Tensor<2>, y: Tensor<2>) -> Tensor<2> {
        let linear = self.linear.forward(Tensor::cat(vec![x.clone(), y.clone()], 1));
        linear + bilinear(x, y, self.matrices.val())
    }
}

/// Σ_h x_hᵀ W_h y_h of each row, `[n, 1]`.
fn bilinear(x: Tensor<2>, y: Tensor<2>, matrices: Tensor<3>) -> Tensor<2> {
    let ([n, d_y], [n_heads, d_head, _]) = (y.dims(), matrices.dims());
    let heads = x.reshape([n, n_heads, d_head]).swap_dims(0, 1);
    let mapped = heads.matmul(matrices).swap_dims(0, 1).reshape([n, d_y]);
    (mapped * y).sum_dim(1)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::kernels::twin::{self, normal};

    #[test]
    fn equals_its_float64_twin() {
        for (n, n_heads, p, q) in [(1, 1, 1, 1), (3, 2, 3, 5), (4, 3, 2, 2)] {
            let (d_x, d_y) = (n_heads * p, n_heads * q);
            twin::check(
                &[normal(n * d_x, 1), normal(n * d_y, 2), normal(n_heads * p * q, 3)],
                1e-5,
                |x| {
                    let matrices = x[2].clone().reshape([n_heads, p, q]);
                    bilinear(x[0].clone().reshape([n, d_x]), x[1].clone().reshape([n, d_y]), matrices)
                        .reshape([n])
                },
                |x| {
                    let y = |row: usize| {
                        let term = |at: usize| {
                            let (head, i, j) = (at / (p * q), at / q % p, at % q);
                            x[0][row * d_x + head * p + i] * x[2][at] * x[1][row * d_y + head * q + j]
                        };
                        (0..n_heads * p * q).map(term).sum()
                    };
                    (0..n).map(y).collect()
                },
            );
        }
    }

    #[test]
    fn heads_divide_both_widths() {
        let init = |n_heads| BilinearFusion::new(6, 4, n_heads, &mut Rng::new(1), &Device::flex());
        assert!(init(2).is_ok());
        assert!([0, 3, 4].into_iter().all(|n_heads| init(n_heads).is_err()));
    }
}
