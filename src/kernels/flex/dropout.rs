use super::{Array, Kernel, Mask, buffer, parallel};

/// y = x · mask / (1 − p).
#[derive(Debug)]
pub(crate) struct Dropout(pub(crate) Mask);

impl Dropout {
    pub(super) fn run(&self, x: Array) -> Array {
        let mut values = buffer::take(x.values().len());
        let input = x.values();
        parallel::rows(&mut values, 1, 1 << 16, |range, out| {
            out.copy_from_slice(&input[range.clone()]);
            self.0.apply(range.start, out);
        });
        x.with_values(values)
    }
}

impl Kernel<1> for Dropout {
    fn forward(&self, [x]: [Array; 1], _: bool) -> (Array, Vec<Array>) {
        (self.run(x), Vec::new())
    }

    fn backward(&self, _: Vec<Array>, grad: Array, _: [bool; 1]) -> [Option<Array>; 1] {
        [Some(self.run(grad))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int, Tensor};

    use crate::kernels::composed;
    use crate::layers::dropout;
    use crate::rng::Rng;

    #[test]
    fn equals_the_composed_operation_to_the_bit() {
        let device = Device::flex().autodiff();
        let run = || {
            let x = Tensor::<1, Int>::arange(0..200_000, &device).float().require_grad();
            let y = dropout(x.clone(), 0.3, Some(&mut Rng::new(5)));
            let gradient = x.grad(&(y.clone() * y.clone()).sum().backward());
            (y.into_data(), gradient.map(Tensor::into_data))
        };
        assert_eq!(run(), composed(run));
    }
}
