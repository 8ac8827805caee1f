use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::error::Result;
use crate::layers::{
    HistoryPooling, Init, LayerNorm, SequenceLayout, TransformerBlock, TransformerBlockConfig,
    sequence_embedding,
};
use crate::rng::Rng;

/// Item vectors with learned positions, causal transformer blocks and a norm behind them; and the pooling that makes
/// one vector of a history.
#[derive(Module, Debug)]
pub struct TransformerEncoder {
    /// `[max_len, d]`; the newest item of a history has the last row
    positions: Param<Tensor<2>>,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    pooling: HistoryPooling,
}

impl TransformerEncoder {
    /// Fresh weights of `n_blocks` blocks, for histories as long as the pooling takes.
    ///
    /// # Errors
    /// A setting of the blocks outside its range.
    pub fn new(
        n_blocks: usize,
        block: TransformerBlockConfig,
        pooling: HistoryPooling,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self> {
        block.validate()?;
        let (max_len, d) = (pooling.max_len(), block.d_model);
        // Glorot & Bengio 2010, eq. 12.
        let positions = Init::Normal { std: (2.0 / (max_len + d) as f64).sqrt() };
        Ok(Self {
            positions: positions.param([max_len, d], rng, device),
            blocks: (0..n_blocks).map(|_| block.init(rng, device)).collect::<Result<_>>()?,
            norm: LayerNorm::new(d, device),
            pooling,
        })
    }

    /// The pooling.
    pub fn pooling(&self) -> &HistoryPooling {
        &self.pooling
    }

    /// What the blocks make of every item, before the pooling; `rng` draws the dropout masks in training.
    ///
    /// # Shapes
    /// - x: `[layout.n_rows(), d]`
    /// - output: `[layout.n_rows(), d]`
    pub fn forward(&self, x: Tensor<2>, layout: &SequenceLayout, mut rng: Option<&mut Rng>) -> Tensor<2> {
        if layout.n_rows() == 0 {
            return x;
        }
        let rows: Vec<u32> = (0..layout.n_rows() as u32).collect();
        let mut x = sequence_embedding(x, self.positions.val(), &rows, layout, 0.0, None);
        for block in &self.blocks {
            x = block.forward(x, layout, rng.as_deref_mut());
        }
        self.norm.forward(x)
    }
}
