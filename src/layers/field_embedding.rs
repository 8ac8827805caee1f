use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::kernels::Bags;
use crate::layers::{Embedding, Init, Linear, TableUpdate, embedding_bag};
use crate::rng::Rng;

/// A vector for each field of a row: of a field of ids the weighted sum of its ids' embeddings, from **one** table for
/// all fields with **one** gather; of a field of vectors a linear map of the vector.
#[derive(Module, Debug)]
pub struct FieldEmbedding {
    /// `[n_ids, d]`
    table: Embedding,
    /// `[dim, d]` for each field of vectors.
    vectors: Vec<Linear>,
    #[module(skip)]
    d: usize,
}

impl FieldEmbedding {
    /// Fresh weights for the fields of a space, vectors of width `d`; the table's are drawn from N(0, 0.01²).
    ///
    /// # Errors
    /// A width of 0.
    pub fn new(
        space: &FeatureSpace,
        d: usize,
        update: TableUpdate,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self> {
        if d == 0 {
            return Err(Error::config("FieldEmbedding::d", "at least 1", 0));
        }
        Ok(Self {
            table: Embedding::new([space.n_ids(), d], Init::Normal { std: 0.01 }, update, rng, device),
            vectors: space.vector_dims().map(|dim| Linear::new(dim, d, rng, device)).collect(),
            d,
        })
    }

    /// The vectors of all fields of each row, first those of ids, then those of vectors.
    ///
    /// # Shapes
    /// - output: `[n_rows, (n_fields + n_vectors) · d]`
    ///
    /// # Panics
    /// If the rows are of another space.
    pub fn forward(&self, rows: &EncodedRows) -> Tensor<2> {
        let n_fields = rows.space().n_fields();
        let mut fields = Vec::with_capacity(1 + self.vectors.len());
        if n_fields > 0 {
            let (source, ids) = self.table.lookup(rows.ids().to_vec());
            let bags = Bags::new(rows.starts().to_vec(), ids, rows.weights().to_vec());
            fields.push(embedding_bag(source, bags).reshape([rows.n_rows(), n_fields * self.d]));
        }
        let device = self.table.device();
        let vectors = Tensor::<2>::from_data(
            TensorData::new(rows.vectors().to_vec(), [rows.n_rows(), rows.space().d_vectors()]),
            &device,
        );
        let mut start = 0;
        for (layer, dim) in self.vectors.iter().zip(rows.space().vector_dims()) {
            fields.push(layer.forward(vectors.clone().narrow(1, start, dim)));
            start += dim;
        }
        if fields.len() == 1 { fields.swap_remove(0) } else { Tensor::cat(fields, 1) }
    }

    /// The embeddings of these ids of the table.
    ///
    /// # Shapes
    /// - output: `[ids.len(), d]`
    ///
    /// # Panics
    /// If an id is not one of the space.
    pub fn ids(&self, ids: &[u32]) -> Tensor<2> {
        self.table.forward(ids)
    }
}

/// The first-order part of a model, b + Σ_k w_k x_k over all ids k of a row with their weights x_k, and of fields of
/// vectors their inner products with weights.
#[derive(Module, Debug)]
pub struct FirstOrder {
    /// `[n_ids, 1]`
    table: Embedding,
    /// b, and the weights of the vectors of all fields, `[d_vectors, 1]`
    vectors: Linear,
}

impl FirstOrder {
    /// All weights 0.
    pub fn new(space: &FeatureSpace, update: TableUpdate, rng: &mut Rng, device: &Device) -> Self {
        Self {
            table: Embedding::new([space.n_ids(), 1], Init::Constant(0.0), update, rng, device),
            vectors: Linear::new(space.d_vectors(), 1, rng, device),
        }
    }

    /// The first-order part of each row.
    ///
    /// # Shapes
    /// - output: `[n_rows, 1]`
    pub fn forward(&self, rows: &EncodedRows) -> Tensor<2> {
        let (n_fields, d_vectors) = (rows.space().n_fields(), rows.space().d_vectors());
        let of_ids = || {
            let (source, ids) = self.table.lookup(rows.ids().to_vec());
            let starts = rows.starts().iter().copied().step_by(n_fields).collect();
            embedding_bag(source, Bags::new(starts, ids, rows.weights().to_vec()))
        };
        let of_vectors = || {
            let vectors = TensorData::new(rows.vectors().to_vec(), [rows.n_rows(), d_vectors]);
            self.vectors.forward(Tensor::from_data(vectors, &self.table.device()))
        };
        match (n_fields, d_vectors) {
            (0, _) => of_vectors(),
            (_, 0) => of_ids() + self.vectors.bias.val().unsqueeze(),
            _ => of_ids() + of_vectors(),
        }
    }
}
