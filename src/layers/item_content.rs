use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::error::Result;
use crate::layers::{GatedFusion, gather, param, read};
use crate::rng::Rng;

/// What is known of each item beside its id, a frozen matrix, and its [`GatedFusion`] with what is learned of it.
#[derive(Module, Debug)]
pub struct ItemContent {
    /// `[n_items + 1, d_content]`, never trained; the last row, of the padding item, is 0
    vectors: Param<Tensor<2>>,
    fusion: GatedFusion,
}

impl ItemContent {
    /// The content of items, `[n_items, d_content]` row by row, to be fused with vectors of width `d`.
    pub fn new(
        [n_items, d_content]: [usize; 2],
        content: &[f32],
        d: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Self {
        Self {
            vectors: frozen(n_items, d_content, device, || content.to_vec()),
            fusion: GatedFusion::new(d_content, d, rng, device),
        }
    }

    /// The width of the content.
    pub fn d_content(&self) -> usize {
        self.vectors.shape().dims::<2>()[1]
    }

    /// The vectors of items fused with their contents; the padding item, `n_items`, has no content.
    ///
    /// # Shapes
    /// - x: `[items.len(), d]`
    /// - output: `[items.len(), d]`
    ///
    /// # Panics
    /// If an id is above `n_items`.
    pub fn forward(&self, x: Tensor<2>, items: &[u32]) -> Tensor<2> {
        self.fusion.forward(x, gather(self.vectors.val(), items.to_vec()))
    }

    /// With the content of more items behind that of these.
    ///
    /// # Errors
    /// A device that fails to give its numbers back.
    pub fn with_items(&self, content: &[f32]) -> Result<Self> {
        let (d, vectors) = (self.d_content(), self.vectors.val());
        let device = vectors.device();
        let mut all = read(vectors)?;
        all.truncate(all.len() - d);
        all.extend_from_slice(content);
        Ok(Self { vectors: frozen(all.len() / d, d, &device, || all), fusion: self.fusion.clone() })
    }
}

/// The rows, and one of zeros behind them.
fn frozen(n: usize, d: usize, device: &Device, rows: impl FnOnce() -> Vec<f32>) -> Param<Tensor<2>> {
    let with_padding = || {
        let mut values = rows();
        values.resize((n + 1) * d, 0.0);
        values
    };
    param([n + 1, d], device, with_padding).set_require_grad(false)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn padding_stays_zero_and_content_is_frozen() {
        let device = Device::flex().autodiff();
        let content = ItemContent::new([2, 2], &[1.0, 2.0, 3.0, 4.0], 3, &mut Rng::new(1), &device);
        let x = Tensor::<2>::zeros([2, 3], &device).require_grad();
        let y = content.forward(x.clone(), &[2, 1]);
        let numbers = read(y.clone()).unwrap();
        assert!(numbers[..3] == [0.0; 3] && numbers[3..].iter().all(|&y| y != 0.0), "{numbers:?}");
        let gradients = y.square().sum().backward();
        assert!(content.vectors.val().grad(&gradients).is_none() && x.grad(&gradients).is_some());
    }

    #[test]
    fn more_items_stand_behind() {
        let device = Device::flex();
        let content = ItemContent::new([2, 2], &[1.0, 2.0, 3.0, 4.0], 3, &mut Rng::new(1), &device);
        let more = content.with_items(&[1.0, 2.0]).unwrap();
        let run = |content: &ItemContent, items: &[u32]| {
            read(content.forward(Tensor::ones([items.len(), 3], &device), items)).unwrap()
        };
        assert_eq!(run(&more, &[0, 1, 2, 3]), run(&content, &[0, 1, 0, 2]));
    }
}
