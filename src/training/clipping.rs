use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::kernels;
use crate::layers::row_tape::RowGradient;

/// Scales all gradients, those of parameters and those of rows, by min(1, `max_norm` / (‖g‖₂ + 10⁻⁶)), where
/// ‖g‖₂ is the norm of all of them as one vector (Pascanu, Mikolov & Bengio 2013). Computed on the device;
/// nothing is read back.
pub(super) fn clip_global_norm<M: Module>(
    module: &M,
    grads: GradientsParams,
    mut rows: Vec<RowGradient>,
    max_norm: f32,
) -> (GradientsParams, Vec<RowGradient>) {
    let mut squares = SumOfSquares { grads: &grads, sum: None };
    module.visit(&mut squares);
    rows.iter().for_each(|rows| squares.add(rows.gradient.clone()));
    let Some(sum) = squares.sum else { return (grads, rows) };
    let factor = sum.sqrt().add_scalar(1e-6).recip().mul_scalar(max_norm).clamp_max(1.0);
    for rows in &mut rows {
        rows.gradient = rows.gradient.clone() * factor.clone().unsqueeze();
    }
    let mut scale = Scale { grads, factor };
    module.visit(&mut scale);
    (scale.grads, rows)
}

struct SumOfSquares<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl SumOfSquares<'_> {
    fn add<const D: usize>(&mut self, grad: Tensor<D>) {
        let square = kernels::sum(grad.square());
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + square,
            None => square,
        });
    }
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.add(grad);
        }
    }
}

struct Scale {
    grads: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor.clone().unsqueeze());
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::rng::Rng;

    #[derive(Module, Debug)]
    struct Pair {
        matrix: Param<Tensor<2>>,
        vector: Param<Tensor<1>>,
        unused: Param<Tensor<1>>,
    }

    /// Gradients of Σ a · matrix + Σ b · vector are a and b; those of rows are c.
    fn clipped(a: &[f32], b: &[f32], c: &[f32], max_norm: f32) -> Vec<f32> {
        let device = Device::flex();
        let zeros = |n: usize| TensorData::new(vec![0.0f32; n], [n]);
        let module = Pair {
            matrix: Param::from_data(TensorData::new(vec![0.0f32; a.len()], [a.len() / 2, 2]), &device),
            vector: Param::from_data(zeros(b.len()), &device),
            unused: Param::from_data(zeros(1), &device),
        }
        .train();
        let device = module.vector.val().device();
        let a = Tensor::<2>::from_data(TensorData::new(a.to_vec(), [a.len() / 2, 2]), &device);
        let b = Tensor::<1>::from_data(TensorData::new(b.to_vec(), [b.len()]), &device);
        let loss = (module.matrix.val() * a).sum() + (module.vector.val() * b).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &module);
        let gradient = Tensor::<2>::from_data(TensorData::new(c.to_vec(), [c.len(), 1]), &Device::flex());
        let rows = RowGradient { table: ParamId::new(), rows: (0..c.len() as u32).collect(), gradient };
        let (grads, rows) = clip_global_norm(&module, grads, vec![rows], max_norm);
        assert!(grads.get::<1>(module.unused.id).is_none());
        let matrix = grads.get::<2>(module.matrix.id).unwrap().into_data();
        let vector = grads.get::<1>(module.vector.id).unwrap().into_data();
        let rows = rows[0].gradient.to_data();
        matrix.iter::<f32>().chain(vector.iter::<f32>()).chain(rows.iter::<f32>()).collect()
    }

    #[test]
    fn equals_a_float64_reference() {
        let mut rng = Rng::new(4);
        for (scale, max_norm) in [(1.0, 1.0), (1e-3, 1.0), (1e8, 0.5), (0.0, 1.0)] {
            let a: Vec<f32> = (0..200).map(|_| (scale * rng.normal()) as f32).collect();
            let b: Vec<f32> = (0..50).map(|_| (scale * rng.normal()) as f32).collect();
            let c: Vec<f32> = (0..70).map(|_| (scale * rng.normal()) as f32).collect();
            let all: Vec<f64> = a.iter().chain(&b).chain(&c).map(|&g| f64::from(g)).collect();
            let norm = all.iter().map(|g| g * g).sum::<f64>().sqrt();
            let factor = (f64::from(max_norm) / (norm + 1e-6)).min(1.0);
            for (found, expected) in clipped(&a, &b, &c, max_norm).into_iter().zip(&all) {
                approx::assert_relative_eq!(f64::from(found), factor * expected, max_relative = 1e-5);
            }
        }
    }

    #[test]
    fn gradients_within_the_norm_keep_every_bit() {
        assert_eq!(clipped(&[0.1, -0.2], &[0.3], &[0.4], 1.0), [0.1, -0.2, 0.3, 0.4]);
    }
}
