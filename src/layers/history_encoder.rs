use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_depth, check_size, check_weight};
use crate::kernels;
use crate::layers::time_first::{columns, last_rows, time_first, validity};
use crate::layers::{
    HistoryPooling, Pooling, Recurrent, RecurrentCell, SequenceLayout, TransformerBlockConfig,
    TransformerEncoder, gather, id_tensor,
};
use crate::rng::Rng;

/// How a history of item vectors becomes one vector.
///
/// | setting | of | purpose | range |
/// |---|---|---|---|
/// | `n_blocks` | transformer | transformer blocks | ≥ 1 |
/// | `n_heads` | transformer | heads of the attention | a divisor of the width of the item vectors |
/// | `pooling` | transformer | of what it gives for the items | |
/// | `d_state` | GRU, LSTM | width of the state | ≥ 1 |
///
/// In JSON a pooling stands for itself: `"mean"`, `{"recency": {"n_scales": 4}}`, `{"gru": {"d_state": 64}}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryEncoderConfig {
    /// Causal self-attention with learned positions (Kang & McAuley 2018), and a pooling of what it gives for the
    /// items.
    ///
    /// What it gives for an item is the same in every prefix that holds the item. So the plain mean tells little of
    /// which was the newest; [`Pooling::Recency`] does.
    Transformer {
        /// The number of blocks.
        n_blocks: usize,
        /// The number of heads of the attention.
        n_heads: usize,
        /// How its outputs become one vector.
        pooling: Pooling,
    },
    /// The last state of a [`RecurrentCell::Gru`] (Hidasi et al. 2016, "Session-based recommendations with
    /// recurrent neural networks").
    Gru {
        /// The width of the state.
        d_state: usize,
    },
    /// The last state of a [`RecurrentCell::Lstm`].
    Lstm {
        /// The width of the state.
        d_state: usize,
    },
    /// One weighted mean or several.
    #[serde(untagged)]
    Pooling(Pooling),
}

impl From<Pooling> for HistoryEncoderConfig {
    fn from(pooling: Pooling) -> Self {
        Self::Pooling(pooling)
    }
}

impl HistoryEncoderConfig {
    /// Fresh weights for histories of at most `max_len` item vectors of width `d`; a transformer drops with
    /// probability `dropout` in training.
    ///
    /// # Errors
    /// A setting outside its range, or no length.
    pub fn init(
        self,
        d: usize,
        max_len: usize,
        dropout: f64,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<HistoryEncoder> {
        check_size("HistoryEncoder::max_len", max_len)?;
        if let Self::Gru { d_state } | Self::Lstm { d_state } = self {
            check_size("HistoryEncoderConfig::d_state", d_state)?;
            check_weight("HistoryEncoderConfig::d_state", [d.saturating_add(d_state), 4 * d_state])?;
        }
        match self {
            Self::Pooling(pooling) => Ok(HistoryEncoder::Pooling(pooling.init(max_len, device)?)),
            Self::Transformer { n_blocks: 0, .. } => {
                Err(Error::config("HistoryEncoderConfig::n_blocks", "at least 1", 0))
            }
            Self::Transformer { n_blocks, n_heads, pooling } => {
                check_depth("HistoryEncoderConfig::n_blocks", n_blocks)?;
                let block = TransformerBlockConfig::new(d).with_heads(n_heads).with_dropout(dropout);
                let pooling = pooling.init(max_len, device)?;
                let encoder = TransformerEncoder::new(n_blocks, block, pooling, rng, device)?;
                Ok(HistoryEncoder::Transformer(encoder))
            }
            Self::Gru { d_state } => {
                let layer = Recurrent::new(RecurrentCell::Gru, d, d_state, rng, device);
                Ok(HistoryEncoder::Recurrent(layer))
            }
            Self::Lstm { d_state } => {
                let layer = Recurrent::new(RecurrentCell::Lstm, d, d_state, rng, device);
                Ok(HistoryEncoder::Recurrent(layer))
            }
        }
    }

    /// The width of what comes out, for item vectors of width `d`.
    pub fn d_output(self, d: usize) -> usize {
        match self {
            Self::Pooling(pooling) | Self::Transformer { pooling, .. } => pooling.n_outputs() * d,
            Self::Gru { d_state } | Self::Lstm { d_state } => d_state,
        }
    }
}

/// Encodes histories of item vectors, or every prefix of them at once, each from the items it holds alone.
#[derive(Module, Debug)]
pub enum HistoryEncoder {
    /// Weighted means.
    Pooling(HistoryPooling),
    /// A transformer with weighted means of its outputs.
    Transformer(TransformerEncoder),
    /// A recurrent layer.
    Recurrent(Recurrent),
}

impl HistoryEncoder {
    /// The items whose vectors [`prefixes`](Self::prefixes) and [`whole`](Self::whole) read, one a row: those of
    /// the histories or, for pooling, time first with `padding`, whose vector must be 0, between them.
    pub fn inputs(&self, histories: &[u32], layout: &SequenceLayout, padding: u32) -> Vec<u32> {
        if !matches!(self, Self::Pooling(_)) {
            return histories.to_vec();
        }
        let [len, b] = columns(layout);
        let mut padded = vec![padding; len * b];
        layout.time_first().zip(histories).for_each(|(place, &item)| padded[place] = item);
        padded
    }

    /// The vectors of the prefixes that end with these rows; `rng` draws the dropout masks in training.
    ///
    /// # Shapes
    /// - x: the vectors of [`inputs`](Self::inputs), `[_, d]`
    /// - rows: n rows of `layout`
    /// - output: `[n, d_output]`
    pub fn prefixes(
        &self,
        x: Tensor<2>,
        layout: &SequenceLayout,
        rows: &[u32],
        rng: Option<&mut Rng>,
    ) -> Tensor<2> {
        let (x, pooling) = match self {
            Self::Pooling(pooling) => (columns_of(x, layout), pooling),
            Self::Transformer(encoder) => {
                (time_first(encoder.forward(x, layout, rng), layout), encoder.pooling())
            }
            Self::Recurrent(layer) => return gather(layer.forward(x, layout), rows.to_vec()),
        };
        let places: Vec<u32> = layout.time_first().map(|place| place as u32).collect();
        let rows: Vec<u32> = rows.iter().map(|&row| places[row as usize]).collect();
        let device = x.device();
        kernels::select_rows(pooling.forward(x, validity(layout, &device)), id_tensor(&rows, &device))
    }

    /// The vector of each whole history, 0 for an empty one.
    ///
    /// # Shapes
    /// - x: the vectors of [`inputs`](Self::inputs), `[_, d]`
    /// - output: `[layout.n_sequences(), d_output]`
    pub fn whole(&self, x: Tensor<2>, layout: &SequenceLayout) -> Tensor<2> {
        let (x, pooling) = match self {
            Self::Pooling(pooling) => (columns_of(x, layout), pooling),
            Self::Transformer(encoder) => {
                (time_first(encoder.forward(x, layout, None), layout), encoder.pooling())
            }
            Self::Recurrent(layer) => return last_rows(layer.forward(x, layout), layout),
        };
        let valid = validity(layout, &x.device());
        pooling.last(x, valid)
    }
}

/// Rows that are time first already.
fn columns_of(x: Tensor<2>, layout: &SequenceLayout) -> Tensor<3> {
    let ([len, b], [_, d]) = (columns(layout), x.dims());
    x.reshape([len, b, d])
}
