use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_depth, check_id_count, check_size, check_weight};
use crate::kernels;
use crate::layers::{
    Activation, Embedding, Init, LayerNorm, NormPlacement, SequenceLayout, TableUpdate, TransformerBlock,
    TransformerBlockConfig, id_tensor, read, recent_items, sequence_embedding,
};
use crate::losses::{Negatives, RetrievalLoss};
use crate::pipeline::{EmbeddingModel, Query, QueryEncoder};
use crate::rng::Rng;
use crate::training::{RetrievalBatch, Trainable, check_retrieval_batches};

/// The settings of a [`Sasrec`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_model` | 64 | width d of every vector | ≥ 1 |
/// | `n_blocks` | 2 | transformer blocks | ≥ 0 |
/// | `n_heads` | 1 | heads of the attention | a divisor of `d_model` |
/// | `d_hidden` | 64 | width of the hidden layer of a block | ≥ 1 |
/// | `activation` | ReLU | of the hidden layer | |
/// | `norm` | pre | where a block normalises | |
/// | `max_len` | 200 | the last items of a history that are read | ≥ 1 |
/// | `dropout` | 0.2 | of embeddings, attention, hidden units and outputs, in training | [0, 1) |
/// | `table_update` | dense | which rows of the item table a step updates | |
/// | `loss` | full softmax | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SasrecConfig {
    /// The width of every vector.
    pub d_model: usize,
    /// The number of transformer blocks.
    pub n_blocks: usize,
    /// The number of heads of the attention.
    pub n_heads: usize,
    /// The width of the hidden layer of a block.
    pub d_hidden: usize,
    /// The non-linearity of the hidden layer.
    pub activation: Activation,
    /// Where a block normalises.
    pub norm: NormPlacement,
    /// How many of the last items of a history are read.
    pub max_len: usize,
    /// The probability of dropping in training.
    pub dropout: f64,
    /// Which rows of the item table a step updates.
    pub table_update: TableUpdate,
    /// What is minimised.
    pub loss: RetrievalLoss,
}

impl Default for SasrecConfig {
    fn default() -> Self {
        Self {
            d_model: 64,
            n_blocks: 2,
            n_heads: 1,
            d_hidden: 64,
            activation: Activation::Relu,
            norm: NormPlacement::Pre,
            max_len: 200,
            dropout: 0.2,
            table_update: TableUpdate::Dense,
            loss: RetrievalLoss::FullSoftmax,
        }
    }
}

impl SasrecConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        check_size("SasrecConfig::max_len", self.max_len)?;
        check_depth("SasrecConfig::n_blocks", self.n_blocks)?;
        self.loss.validate()?;
        self.block().validate()?;
        check_weight("SasrecConfig::max_len", [self.max_len, self.d_model])
    }

    /// Fresh weights, drawn from `seed`, for `n_items` items.
    ///
    /// # Errors
    /// A setting outside its range, or no item.
    pub fn init(&self, n_items: usize, seed: u64, device: &Device) -> Result<Sasrec> {
        self.validate()?;
        check_id_count("Sasrec::n_items", n_items)?;
        if n_items == 0 {
            return Err(Error::config("Sasrec::n_items", "at least 1", 0));
        }
        check_weight("SasrecConfig::d_model", [n_items, self.d_model])?;
        let rng = &mut Rng::stream(seed, &[0]);
        let d = self.d_model;
        // Glorot & Bengio 2010, eq. 12, for each table.
        let table = |rows: usize| Init::Normal { std: (2.0 / (rows + d) as f64).sqrt() };
        Ok(Sasrec {
            items: Embedding::new([n_items, d], table(n_items), self.table_update, rng, device),
            positions: table(self.max_len).param([self.max_len, d], rng, device),
            blocks: (0..self.n_blocks).map(|_| self.block().init(rng, device)).collect::<Result<_>>()?,
            norm: (self.norm == NormPlacement::Pre).then(|| LayerNorm::new(d, device)),
            config: self.clone(),
        })
    }

    fn block(&self) -> TransformerBlockConfig {
        TransformerBlockConfig::new(self.d_model)
            .with_heads(self.n_heads)
            .with_hidden(self.d_hidden)
            .with_activation(self.activation)
            .with_norm(self.norm)
            .with_dropout(self.dropout)
    }
}

/// A causal transformer over histories whose item table is also its output: Kang & McAuley 2018,
/// "Self-attentive sequential recommendation" (SASRec).
///
/// Ê = √d M_s + P (eq. 1, with the √d of the authors' code), blocks of causal self-attention and a two-layer
/// network (eqs. 2–7), and the score of item i after item s_t is ⟨F_t, M_i⟩ with the one table M (eq. 8).
///
/// All positions of a sequence are trained at once, each on the item that came next.
///
/// Deviations: attention has an output projection, and norms stand where Xiong et al. 2020 put them, with one
/// more behind the last block; which of the losses is minimised is a setting, for it matters more than the
/// architecture (Klenitskiy & Vasilev 2023, "Turning dross into gold loss: is BERT4Rec really better than
/// SASRec?"; Petrov & Macdonald 2023, "gSASRec").
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `items.weight` | `[n_items, d_model]` | M |
/// | `positions` | `[max_len, d_model]` | P; the newest item of a history has the last row |
/// | `blocks.{b}.attention_norm.gamma`, `.beta` | `[d_model]` | |
/// | `blocks.{b}.attention.input.weight`, `.bias` | `[d_model, 3 d_model]`, `[3 d_model]` | queries, keys, values |
/// | `blocks.{b}.attention.output.weight`, `.bias` | `[d_model, d_model]`, `[d_model]` | |
/// | `blocks.{b}.feed_forward_norm.gamma`, `.beta` | `[d_model]` | |
/// | `blocks.{b}.feed_forward.layers.0.weight`, `.bias` | `[d_model, d_hidden]`, `[d_hidden]` | |
/// | `blocks.{b}.feed_forward.layers.1.weight`, `.bias` | `[d_hidden, d_model]`, `[d_model]` | |
/// | `norm.gamma`, `.beta` | `[d_model]` | behind the last block; pre-norm only |
#[derive(Module, Debug)]
pub struct Sasrec {
    items: Embedding,
    /// `[max_len, d_model]`
    positions: Param<Tensor<2>>,
    blocks: Vec<TransformerBlock>,
    norm: Option<LayerNorm>,
    #[module(skip)]
    config: SasrecConfig,
}

impl Sasrec {
    /// Its settings.
    pub fn config(&self) -> &SasrecConfig {
        &self.config
    }

    fn device(&self) -> Device {
        self.positions.val().device()
    }

    /// F_t of every item of every history.
    ///
    /// # Shapes
    /// - histories: the items of `layout`'s rows
    /// - output: `[layout.n_rows(), d_model]`
    fn forward(&self, histories: &[u32], layout: &SequenceLayout, mut rng: Option<&mut Rng>) -> Tensor<2> {
        let mut x = self.embedded(histories, layout, rng.as_deref_mut());
        for block in &self.blocks {
            x = block.forward(x, layout, rng.as_deref_mut());
        }
        self.normalized(x)
    }

    /// In inference, F_t of the newest item of every history that is not empty.
    ///
    /// # Shapes
    /// - histories: the items of `layout`'s rows
    /// - output: `[n, d_model]`
    fn forward_newest(&self, histories: &[u32], layout: &SequenceLayout) -> Tensor<2> {
        let newest: Vec<u32> = layout.last_rows().map(|row| row as u32).collect();
        let newest = id_tensor(&newest, &self.device());
        let mut x = self.embedded(histories, layout, None);
        let Some((last, before)) = self.blocks.split_last() else {
            return self.normalized(x.select(0, newest));
        };
        for block in before {
            x = block.forward(x, layout, None);
        }
        self.normalized(last.forward_at(x, layout, newest))
    }

    fn embedded(&self, histories: &[u32], layout: &SequenceLayout, rng: Option<&mut Rng>) -> Tensor<2> {
        let (items, rows) = self.items.lookup(histories.to_vec());
        sequence_embedding(items, self.positions.val(), &rows, layout, self.config.dropout, rng)
    }

    fn normalized(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

impl Trainable for Sasrec {
    type Batch = RetrievalBatch;

    fn loss(&self, batch: RetrievalBatch) -> Tensor<1> {
        let device = self.device();
        let mut queries = self.forward(&batch.histories, &batch.layout, Some(&mut Rng::new(batch.seed)));
        if batch.rows.len() < batch.layout.n_rows() {
            queries = kernels::select_rows(queries, id_tensor(&batch.rows, &device));
        }
        let items = match batch.negatives {
            Negatives::Catalogue => self.items.all(),
            _ => self.items.forward(&batch.items),
        };
        self.config.loss.forward(queries, items, batch.targets(&device))
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn check_batches(&self, settings: &serde_json::Value) -> Result<()> {
        check_retrieval_batches(settings, self.config.loss, self.config.max_len, self.n_items(), None)
    }
}

impl QueryEncoder for Sasrec {
    fn dim(&self) -> usize {
        self.config.d_model
    }

    /// A history; users are not known to it.
    fn can_encode(&self, query: &Query<'_>) -> bool {
        !query.history().is_empty()
    }

    /// The last `max_len` items of each history count, repeated ones as often as they stand there. The vector
    /// of an empty history is 0.
    fn encode(&self, queries: &[&Query<'_>]) -> Result<Vec<f32>> {
        let (layout, histories) =
            recent_items(queries.iter().map(|query| query.history()), self.config.max_len, self.n_items())?;
        let d = self.config.d_model;
        let mut vectors = vec![0.0; queries.len() * d];
        if histories.is_empty() {
            return Ok(vectors);
        }
        let encoded = read(self.forward_newest(&histories, &layout))?;
        let with_history = layout.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        for ((query, _), vector) in with_history.zip(encoded.chunks_exact(d)) {
            vectors[query * d..(query + 1) * d].copy_from_slice(vector);
        }
        Ok(vectors)
    }
}

impl EmbeddingModel for Sasrec {
    fn n_items(&self) -> usize {
        self.items.dims()[0]
    }

    fn item_vectors(&self) -> Result<Vec<f32>> {
        read(self.items.weight())
    }
}
