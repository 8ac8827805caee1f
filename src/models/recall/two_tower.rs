use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, check_id_count, check_size, check_weight};
use crate::features::{ItemFeatures, ItemVectors};
use crate::ids::ItemId;
use crate::layers::{
    Embedding, HistoryEncoder, HistoryEncoderConfig, Init, ItemContent, Mlp, MlpConfig, MultiHot,
    MultiHotEmbedding, Pooling, SequenceLayout, TableUpdate, check_dropout, dropout, l2_normalize, read,
    recent_items,
};
use crate::losses::{RetrievalLoss, scale_by_temperature};
use crate::pipeline::{EmbeddingModel, Query, QueryEncoder};
use crate::rng::Rng;
use crate::training::{RetrievalBatch, Trainable, check_retrieval_batches};

/// The lowest temperature that is learned.
const MIN_TEMPERATURE: f64 = 0.01;

/// The settings of a [`TwoTower`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `d_embedding` | 64 | width of the embedding table | ≥ 1 |
/// | `query_mlp` | 128 → 64, ReLU | the query tower above the encoded history | |
/// | `item_mlp` | 128 → 64, ReLU | the item tower above the embedding | same output width |
/// | `history` | recency, 4 scales | how the history becomes one vector | |
/// | `max_len` | 50 | the last items of a history that are read | ≥ 1 |
/// | `user_embedding` | off | whether the query tower also sees the user's id | |
/// | `normalize` | on | whether both towers end in vectors of unit length | |
/// | `temperature` | 0.07 | τ at the start | > 0 |
/// | `learn_temperature` | on | whether τ is a parameter, of at least 0.01 | |
/// | `table_update` | dense | which rows of the embedding tables a step updates | |
/// | `dropout` | 0.1 | of the embeddings and in a transformer, in training | [0, 1) |
/// | `id_dropout` | 0 | how often training does without the embedding of an item's id, to know what is cold | [0, 1) |
/// | `loss` | sampled softmax, 1,024 negatives | what is minimised | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoTowerConfig {
    /// Width of the embedding table.
    pub d_embedding: usize,
    /// The query tower above the encoded history.
    pub query_mlp: MlpConfig,
    /// The item tower above the embedding.
    pub item_mlp: MlpConfig,
    /// How the history becomes one vector.
    #[serde(alias = "pooling")]
    pub history: HistoryEncoderConfig,
    /// How many of the last items of a history are read.
    pub max_len: usize,
    /// Whether the query tower also sees the user's id.
    pub user_embedding: bool,
    /// Whether both towers end in vectors of unit length.
    pub normalize: bool,
    /// The temperature τ at the start.
    pub temperature: f64,
    /// Whether τ is learned.
    pub learn_temperature: bool,
    /// Which rows of the embedding tables a step updates.
    #[serde(default)]
    pub table_update: TableUpdate,
    /// Dropout of the embeddings, and in a transformer, in training.
    pub dropout: f64,
    /// How often training does without the embedding of an item's id.
    #[serde(default)]
    pub id_dropout: f64,
    /// What is minimised.
    pub loss: RetrievalLoss,
}

impl Default for TwoTowerConfig {
    fn default() -> Self {
        let mlp = MlpConfig::new(64).with_hidden([128]);
        Self {
            d_embedding: 64,
            query_mlp: mlp.clone(),
            item_mlp: mlp,
            history: Pooling::Recency { n_scales: 4 }.into(),
            max_len: 50,
            user_embedding: false,
            normalize: true,
            temperature: 0.07,
            learn_temperature: true,
            table_update: TableUpdate::Dense,
            dropout: 0.1,
            id_dropout: 0.0,
            loss: RetrievalLoss::default(),
        }
    }
}

impl TwoTowerConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        self.query_mlp.validate()?;
        self.item_mlp.validate()?;
        self.loss.validate()?;
        check_size("TwoTowerConfig::d_embedding", self.d_embedding)?;
        if self.query_mlp.d_output != self.item_mlp.d_output {
            let widths = format!("{} and {}", self.query_mlp.d_output, self.item_mlp.d_output);
            return Err(Error::config("TwoTowerConfig::item_mlp", "both towers to end in one width", widths));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(Error::config("TwoTowerConfig::temperature", "a positive number", self.temperature));
        }
        if self.learn_temperature && self.temperature < MIN_TEMPERATURE {
            let expected = format!("at least {MIN_TEMPERATURE} where it is learned");
            return Err(Error::config("TwoTowerConfig::temperature", expected, self.temperature));
        }
        check_dropout("TwoTowerConfig::dropout", self.dropout)?;
        check_dropout("TwoTowerConfig::id_dropout", self.id_dropout)
    }

    /// Fresh weights, drawn from `seed`, for these items and `n_users` users.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn init(&self, n_users: usize, items: &ItemFeatures, seed: u64, device: &Device) -> Result<TwoTower> {
        let content = items.vectors().map(|vectors| (vectors.dim(), vectors.values()));
        self.init_with(n_users, items, content, seed, device)
    }

    /// As [`init`](Self::init), with the width and the numbers of the items' content beside their other features.
    pub(crate) fn init_with(
        &self,
        n_users: usize,
        items: &ItemFeatures,
        content: Option<(usize, &[f32])>,
        seed: u64,
        device: &Device,
    ) -> Result<TwoTower> {
        self.validate()?;
        check_id_count("TwoTower::n_users", n_users)?;
        let d_content = items.vectors().map_or(0, ItemVectors::dim);
        let n_users_with_rows = if self.user_embedding { n_users } else { 0 };
        for n in [n_users_with_rows, items.n_items().saturating_add(items.n_features()), d_content] {
            check_weight("TwoTowerConfig::d_embedding", [n, self.d_embedding])?;
        }
        let rng = &mut Rng::stream(seed, &[0]);
        let multi_hot = |(item, categories)| MultiHot { cold: items.is_cold(item), categories };
        let multi_hot: Vec<_> = (0..).map(ItemId).zip(items.iter()).map(multi_hot).collect();
        let init = Init::Normal { std: (1.0 / self.d_embedding as f64).sqrt() };
        let d_user = if self.user_embedding { self.d_embedding } else { 0 };
        let d_query = self.history.d_output(self.d_embedding) + d_user;
        let log_temperature = Init::Constant(self.temperature.ln()).param([1], rng, device);
        Ok(TwoTower {
            items: MultiHotEmbedding::new(
                items.n_features(),
                &multi_hot,
                self.d_embedding,
                init,
                self.table_update,
                rng,
                device,
            ),
            // One row more, never trained, speaks for a user who is not known.
            users: self
                .user_embedding
                .then(|| Embedding::new([n_users + 1, d_user], init, self.table_update, rng, device)),
            history: self.history.init(self.d_embedding, self.max_len, self.dropout, rng, device)?,
            query_mlp: self.query_mlp.init(d_query, rng, device)?,
            item_mlp: self.item_mlp.init(self.d_embedding, rng, device)?,
            log_temperature: log_temperature.set_require_grad(self.learn_temperature),
            content: content.map(|(d_content, content)| {
                ItemContent::new([items.n_items(), d_content], content, self.d_embedding, rng, device)
            }),
            features: items.clone().without_vectors(),
            config: self.clone(),
        })
    }
}

/// A query tower and an item tower whose inner product is the score: Huang et al. 2013, "Learning deep structured
/// semantic models for web search using clickthrough data" (DSSM); Yi et al. 2019, "Sampling-bias-corrected neural
/// modeling for large corpus item recommendations".
///
/// s(x, y) = ⟨u(x), v(y)⟩ / τ (Yi et al., eq. 1 and §5.1): u is the query tower over the history (and the
/// user, if asked), v the item tower over the item's id, categories and content vector (a
/// [gated fusion](crate::layers::GatedFusion) of the content with the rest, where the items have vectors), both
/// of unit length.
///
/// An item of which nothing can be learned from interactions ([`ItemFeatures::cold`]) has no embedding of its id,
/// that is, 0; with `id_dropout` the others train for it. The item towers and the histories read the same vectors.
/// A learned τ does not fall below 0.01 (Radford et al. 2021, CLIP, section 2.5).
///
/// Deviations: the query tower reads the history through the item tower's own embedding table, and encodes
/// every prefix of a sequence at once (see [`HistoryEncoder`]), so that one window of a history gives as many
/// training rows as it has items.
///
/// # Weights
/// | name | shape | |
/// |---|---|---|
/// | `items.table.weight` | `[n_ids + n_categories, d_embedding]` | items that are not cold, then categories |
/// | `content.vectors` | `[n_items + 1, d_content]` | frozen, and 0 for padding; with content only, as the two below |
/// | `content.fusion.projection` | `[d_content, d_embedding]` | P of the gated fusion |
/// | `content.fusion.gate.weight`, `.bias` | `[2 d_embedding, d_embedding]`, `[d_embedding]` | |
/// | `users.weight` | `[n_users + 1, d_embedding]` | with `user_embedding`; the last row is nobody |
/// | `history.log_weights` | `[n_scales, max_len]` | pooling; the newest item first |
/// | `history.positions`, `.blocks.{b}…`, `.norm…`, `.pooling.log_weights` | | transformer; as in [`Sasrec`](super::Sasrec) |
/// | `history.input.weight`, `.bias` | `[d_embedding, n_gates d_state]`, `[n_gates d_state]` | GRU, LSTM: `weight_ih_l0`, `bias_ih_l0` of PyTorch |
/// | `history.state.weight`, `.bias` | `[d_state, n_gates d_state]`, `[n_gates d_state]` | `weight_hh_l0`, `bias_hh_l0` |
/// | `query_mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `item_mlp.layers.{l}.weight`, `.bias` | `[d_input, d_output]`, `[d_output]` | |
/// | `log_temperature` | `[1]` | ln τ |
#[derive(Module, Debug)]
pub struct TwoTower {
    items: MultiHotEmbedding,
    content: Option<ItemContent>,
    users: Option<Embedding>,
    history: HistoryEncoder,
    query_mlp: Mlp,
    item_mlp: Mlp,
    log_temperature: Param<Tensor<1>>,
    #[module(skip)]
    features: ItemFeatures,
    #[module(skip)]
    config: TwoTowerConfig,
}

impl TwoTower {
    /// Its settings.
    pub fn config(&self) -> &TwoTowerConfig {
        &self.config
    }

    /// The categories of the items and which of them are cold, as they were given to [`TwoTowerConfig::init`]; their
    /// vectors are among the weights.
    pub fn item_features(&self) -> &ItemFeatures {
        &self.features
    }

    /// The width of the items' content vectors; `None` without.
    pub fn d_content(&self) -> Option<usize> {
        self.content.as_ref().map(ItemContent::d_content)
    }

    /// The model of a catalogue that has grown: these items stand behind those it was trained with, encoded from
    /// their categories and content alone.
    ///
    /// Its [`item_vectors`](EmbeddingModel::item_vectors) begin with those of this model.
    ///
    /// # Errors
    /// Items with other categories than the model's, or with content vectors of another width, or a device that fails
    /// to give its numbers back.
    pub fn with_cold_items(&self, items: &ItemFeatures) -> Result<Self> {
        let (what, expected) = ("width of the items' content", self.d_content().unwrap_or(0));
        let found = items.vectors().map_or(0, ItemVectors::dim);
        if expected != found {
            return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
        }
        let features = self.features.clone().with_cold_items(&items.clone().without_vectors())?;
        let categories: Vec<&[u32]> = items.iter().collect();
        let content = match (&self.content, items.vectors()) {
            (Some(content), Some(vectors)) => Some(content.with_items(vectors.values())?),
            _ => None,
        };
        Ok(Self { items: self.items.with_cold_items(&categories), content, features, ..self.clone() })
    }

    /// The number of users it knows: 0 without a user embedding.
    pub fn n_users(&self) -> usize {
        self.users.as_ref().map_or(0, |table| table.dims()[0] - 1)
    }

    /// The present temperature τ.
    pub fn temperature(&self) -> f32 {
        self.log_temperature().exp().into_scalar()
    }

    fn log_temperature(&self) -> Tensor<1> {
        let log_temperature = self.log_temperature.val();
        if self.config.learn_temperature {
            log_temperature.clamp_min(MIN_TEMPERATURE.ln())
        } else {
            log_temperature
        }
    }

    fn device(&self) -> Device {
        self.log_temperature.val().device()
    }

    /// The item tower over embeddings.
    ///
    /// # Shapes
    /// - x: `[m, d_embedding]`
    /// - output: `[m, d]`
    fn item_tower(&self, x: Tensor<2>, rng: Option<&mut Rng>) -> Tensor<2> {
        self.end(self.item_mlp.forward(x, rng))
    }

    /// The query tower over encoded histories.
    ///
    /// # Shapes
    /// - history: `[n, d_output]` of the history encoder
    /// - users: n ids, read only by a tower with user embedding
    /// - output: `[n, d]`
    fn query_tower(&self, history: Tensor<2>, users: &[u32], rng: Option<&mut Rng>) -> Tensor<2> {
        let x = match &self.users {
            Some(table) => Tensor::cat(vec![history, table.forward(users)], 1),
            None => history,
        };
        self.end(self.query_mlp.forward(x, rng))
    }

    fn end(&self, x: Tensor<2>) -> Tensor<2> {
        if self.config.normalize { l2_normalize(x) } else { x }
    }

    /// The vectors of items, with dropout in training; the id `n_items` is padding, whose vector is 0.
    ///
    /// # Shapes
    /// - output: `[items.len(), d_embedding]`
    fn embed(&self, items: &[u32], mut rng: Option<&mut Rng>) -> Tensor<2> {
        let TwoTowerConfig { id_dropout, dropout: p, .. } = self.config;
        let mut x = self.items.forward_with_id_dropout(items, id_dropout, rng.as_deref_mut());
        if let Some(content) = &self.content {
            x = content.forward(x, items);
        }
        dropout(x, p, rng)
    }

    /// The vectors of what the history encoder reads.
    fn embed_histories(
        &self,
        histories: &[u32],
        layout: &SequenceLayout,
        rng: Option<&mut Rng>,
    ) -> Tensor<2> {
        self.embed(&self.history.inputs(histories, layout, self.items.n_items() as u32), rng)
    }
}

impl Trainable for TwoTower {
    type Batch = RetrievalBatch;

    fn loss(&self, batch: RetrievalBatch) -> Tensor<1> {
        let device = self.device();
        let rng = &mut Rng::new(batch.seed);
        let x = self.embed_histories(&batch.histories, &batch.layout, Some(&mut *rng));
        let history = self.history.prefixes(x, &batch.layout, &batch.rows, Some(&mut *rng));
        let queries = self.query_tower(history, &batch.users, Some(&mut *rng));
        let items = self.item_tower(self.embed(&batch.items, Some(&mut *rng)), Some(rng));
        let queries = scale_by_temperature(queries, self.log_temperature());
        self.config.loss.forward(queries, items, batch.targets(&device))
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn check_batches(&self, settings: &serde_json::Value) -> Result<()> {
        let TwoTowerConfig { loss, max_len, .. } = self.config;
        let n_users = self.users.is_some().then(|| self.n_users());
        check_retrieval_batches(settings, loss, max_len, self.n_items(), n_users)
    }
}

impl QueryEncoder for TwoTower {
    fn dim(&self) -> usize {
        self.config.query_mlp.d_output
    }

    /// A history, or a user of the training data if the query tower has a user embedding.
    fn can_encode(&self, query: &Query<'_>) -> bool {
        !query.history().is_empty() || query.user().is_some_and(|user| user.index() < self.n_users())
    }

    /// The last `max_len` items of each history count, and a user who is not known is nobody.
    fn encode(&self, queries: &[&Query<'_>]) -> Result<Vec<f32>> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let nobody = self.n_users() as u32;
        let known = |query: &&Query<'_>| query.user().map_or(nobody, |user| user.0.min(nobody));
        let users: Vec<u32> = queries.iter().map(known).collect();
        let (layout, histories) =
            recent_items(queries.iter().map(|query| query.history()), self.config.max_len, self.n_items())?;
        let x = self.embed_histories(&histories, &layout, None);
        read(self.query_tower(self.history.whole(x, &layout), &users, None))
    }
}

impl EmbeddingModel for TwoTower {
    fn n_items(&self) -> usize {
        self.items.n_items()
    }

    fn item_vectors(&self) -> Result<Vec<f32>> {
        let all: Vec<u32> = (0..self.items.n_items() as u32).collect();
        read(self.item_tower(self.embed(&all, None), None))
    }
}
