use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The moving average of a model's weights after step t, counted from 1: w̄ ← δ w̄ + (1 − δ) w with δ = min(`decay`, t / (t + 10)), so
/// that the first steps are soon forgotten. `weights` is in training mode, the average is not.
pub(super) fn averaged<M: Module>(average: M, weights: &M, decay: f64, step: u64) -> M {
    let decay = decay.min(step as f64 / (step as f64 + 10.0));
    let mut next = Weights { terms: Vec::new(), share: 1.0 - decay };
    weights.visit(&mut next);
    average.map(&mut Average { decay, terms: next.terms.into_iter() })
}

/// (1 − δ) w of each parameter, flat.
struct Weights {
    terms: Vec<Tensor<1>>,
    share: f64,
}

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weights = param.base().inner();
        let n = weights.shape().num_elements();
        self.terms.push(weights.reshape([n]).mul_scalar(self.share));
    }
}

struct Average<T> {
    decay: f64,
    terms: T,
}

impl<T: Iterator<Item = Tensor<1>>> ModuleMapper for Average<T> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(term) = self.terms.next() else { return param };
        param.map(|average| {
            let shape: [usize; D] = average.dims();
            average.mul_scalar(self.decay) + term.reshape(shape)
        })
    }
}
