use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result, check_size, check_weight};
use crate::features::{EncodedRows, FeatureSpace};
use crate::kernels::{self, Bags};
use crate::layers::field_vectors::take;
use crate::layers::linear::plus_row;
use crate::layers::repeated_fields::RepeatedFields;
use crate::layers::{Embedding, FieldVectors, Init, Linear, TableUpdate, embedding_bag};
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
    /// The columns of each field, those of ids before those of vectors.
    #[module(skip)]
    places: Vec<Range<usize>>,
}

impl FieldEmbedding {
    /// Fresh weights for the fields of a space, vectors of width `d`; the table's are drawn from N(0, 0.01²).
    ///
    /// # Errors
    /// A width outside 1 to 2²⁰.
    pub fn new(
        space: &FeatureSpace,
        d: usize,
        update: TableUpdate,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self> {
        check_size("FieldEmbedding::d", d)?;
        let rows = [space.n_ids()].into_iter().chain(space.vector_dims());
        rows.into_iter().try_for_each(|n| check_weight("FieldEmbedding::d", [n, d]))?;
        Ok(Self {
            table: Embedding::new([space.n_ids(), d], Init::Normal { std: 0.01 }, update, rng, device),
            vectors: space.vector_dims().map(|dim| Linear::new(dim, d, rng, device)).collect(),
            d,
            places: (0..space.n_fields() + space.vector_dims().len())
                .map(|field| field * d..(field + 1) * d)
                .collect(),
        })
    }

    /// With narrower vectors for these fields, by name: the first numbers of what the table holds for their ids. What a field
    /// of few ids has to say seldom needs the width of one of many.
    ///
    /// # Errors
    /// A name that is no field of the space that the vectors were made for, or a width that is not 1 to d.
    pub fn with_widths(mut self, space: &FeatureSpace, widths: &BTreeMap<String, usize>) -> Result<Self> {
        let mut of_fields = vec![self.d; self.places.len()];
        for (name, &width) in widths {
            let of_vectors = || space.vectors(name).map(|(place, _)| space.n_fields() + place);
            let Some(field) = space.field(name).or_else(of_vectors) else {
                return Err(Error::config("FieldEmbedding::widths", "a field of the space", name));
            };
            if !(1..=self.d).contains(&width) {
                let expected = format!("1 to {} for field {name}", self.d);
                return Err(Error::config("FieldEmbedding::widths", expected, width));
            }
            of_fields[field] = width;
        }
        let mut end = 0;
        for (place, width) in self.places.iter_mut().zip(of_fields) {
            *place = end..end + width;
            end += width;
        }
        Ok(self)
    }

    /// The width of the vectors of all fields together.
    pub fn width(&self) -> usize {
        self.places.last().map_or(0, |place| place.end)
    }

    /// The vectors of all fields of each row, first those of ids, then those of vectors.
    ///
    /// # Shapes
    /// - output: `[n_rows, width]`, which is (n_fields + n_vectors) · d unless some are narrower
    ///
    /// # Panics
    /// If the rows are of another space.
    pub fn forward(&self, rows: &EncodedRows) -> FieldVectors {
        let is_fused = kernels::fused(&self.table.weight());
        self.vectors_of(rows, if is_fused { RepeatedFields::of(rows) } else { None })
    }

    /// As [`forward`](Self::forward), for layers that are not linear: what repeats is not looked for.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn values(&self, rows: &EncodedRows) -> Tensor<2> {
        self.vectors_of(rows, None).values()
    }

    fn vectors_of(&self, rows: &EncodedRows, mut repeated: Option<RepeatedFields>) -> FieldVectors {
        let (n_rows, n_fields) = (rows.n_rows(), rows.space().n_fields());
        let mut fields = Vec::with_capacity(1 + self.vectors.len());
        let mut distinct = Vec::new();
        if n_fields > 0 {
            let mut of_ids =
                repeated.as_mut().map(|found| std::mem::take(&mut found.distinct)).unwrap_or_default();
            let (source, mut ids) = self.table.lookup([rows.ids(), &of_ids.rows].concat());
            of_ids.rows = ids.split_off(rows.ids().len());
            if of_ids.len() > 0 {
                distinct.push(embedding_bag(source.clone(), of_ids));
            }
            let bags = Bags::new(rows.starts().to_vec(), ids, rows.weights().to_vec());
            fields.push(embedding_bag(source, bags).reshape([n_rows, n_fields * self.d]));
        }
        let vectors = TensorData::new(rows.vectors().to_vec(), [n_rows, rows.space().d_vectors()]);
        let vectors = Tensor::<2>::from_data(vectors, &self.table.device());
        let mut start = 0;
        for (layer, dim) in self.vectors.iter().zip(rows.space().vector_dims()) {
            fields.push(layer.forward(vectors.clone().narrow(1, start, dim)));
            start += dim;
        }
        let values = if fields.len() == 1 { fields.swap_remove(0) } else { Tensor::cat(fields, 1) };
        for place in repeated.iter().flat_map(|repeated| &repeated.shared_vectors) {
            distinct.push(values.clone().narrow(0, 0, 1).narrow(1, (n_fields + place) * self.d, self.d));
        }
        let values = if self.width() < self.places.len() * self.d {
            let heads = self.places.iter().enumerate().map(|(field, place)| {
                let start = field * self.d;
                start..start + place.len()
            });
            take(values, &heads.collect::<Vec<_>>())
        } else {
            values
        };
        match repeated {
            Some(repeated) => {
                FieldVectors::repeating(values, Tensor::cat(distinct, 0), repeated.columns(&self.places))
            }
            None => values.into(),
        }
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
            (_, 0) => plus_row(of_ids(), self.vectors.bias.val()),
            _ => of_ids() + of_vectors(),
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::features::EncodedRow;
    use crate::kernels::twin::{is_deterministic, normal};
    use crate::layers::{Activation, read, row_tape};

    /// Rows of fields of many ids and of few, of one with weights, of lists, and of vectors.
    fn rows(n: u32) -> EncodedRows {
        let space = FeatureSpace::default().with_field("item", 50).unwrap().with_field("gender", 2).unwrap();
        let space = space.with_field("genres", 3).unwrap().with_field("age", 1).unwrap();
        let space = space.with_vectors("text", 2).unwrap().with_field("user", 60).unwrap();
        let mut rows = EncodedRows::new(space, 0);
        for row in 0..n {
            let genres = [(52 + row % 3, 0.5), (52 + (row + 1) % 3, -0.25)];
            let bags: [&[(u32, f32)]; 5] = [
                &[(row * 7 % 50, 1.0)],
                &[(50 + row % 2, 1.0)],
                &genres[..row as usize % 3],
                &[(55, row as f32 / 100.0)],
                &[(56 + row % 60, 1.0)],
            ];
            let vectors = [1.0, row as f32 / 100.0];
            rows.push(EncodedRow { bags: &bags, vectors: &vectors, ..EncodedRow::default() }).unwrap();
        }
        rows
    }

    /// A user's candidates.
    fn candidates() -> EncodedRows {
        let shared = ["gender", "age", "text", "user"].map(str::to_owned);
        rows(40).join(5, &shared, &rows(40), &(0..40).collect::<Vec<_>>(), &[]).unwrap()
    }

    /// The outputs of a linear layer over field vectors with two columns more, and the gradients of all weights.
    fn run(
        rows: &EncodedRows,
        update: TableUpdate,
        activation: Option<Activation>,
        widths: &[(&str, usize)],
    ) -> Vec<Vec<f32>> {
        let (device, rng) = (Device::flex().autodiff(), &mut Rng::new(1));
        let widths = widths.iter().map(|&(name, width)| (name.to_owned(), width)).collect();
        let fields = FieldEmbedding::new(rows.space(), 4, update, rng, &device).unwrap();
        let mut fields = fields.with_widths(rows.space(), &widths).unwrap();
        let table = Tensor::from_data(TensorData::new(normal(116 * 4, 3), [116, 4]), &device);
        fields.table = Embedding::from_weight(table, update);
        let layer = Linear::new(fields.width() + 2, 9, rng, &device);
        let more = TensorData::new(normal(rows.n_rows() * 2, 2), [rows.n_rows(), 2]);
        let more = Tensor::<2>::from_data(more, &device).require_grad();
        let (loss, tape) = row_tape::record(|| {
            let vectors = fields.forward(rows).and(more.clone());
            let of_values = vectors.values().square().sum();
            let y = vectors.linear(&layer, activation);
            (y.clone(), y.square().sum() + of_values)
        });
        let ((y, loss), mut all) = (loss, Vec::new());
        let mut gradients = loss.backward();
        all.push(read(y.inner()).unwrap());
        match update {
            TableUpdate::Dense => all.push(read(fields.table.weight().grad(&gradients).unwrap()).unwrap()),
            TableUpdate::Sparse => {
                let of_rows = tape.gradients(&mut gradients).swap_remove(0);
                all.push(of_rows.rows.iter().map(|&row| row as f32).collect());
                all.push(read(of_rows.gradient).unwrap());
            }
        }
        let of_vectors = &fields.vectors[0];
        for matrix in [&of_vectors.weight, &layer.weight] {
            all.push(read(matrix.val().grad(&gradients).unwrap()).unwrap());
        }
        for vector in [&of_vectors.bias, &layer.bias] {
            all.push(read(vector.val().grad(&gradients).unwrap()).unwrap());
        }
        all.push(read(more.grad(&gradients).unwrap()).unwrap());
        all
    }

    #[test]
    fn vectors_that_repeat_change_no_layer() {
        let narrow = [("item", 3), ("genres", 1), ("age", 2), ("text", 3)];
        let cases = [(rows(300), true), (candidates(), true), (rows(3), false)];
        let activations = [None, Some(Activation::Relu), Some(Activation::Gelu)];
        for ((rows, is_repeated), widths) in
            cases.iter().flat_map(|case| [(case, &[][..]), (case, &narrow[..])])
        {
            assert_eq!(RepeatedFields::of(rows).is_some(), *is_repeated);
            for activation in activations {
                let [dense, sparse] = [TableUpdate::Dense, TableUpdate::Sparse].map(|update| {
                    let (found, expected) = (
                        run(rows, update, activation, widths),
                        kernels::composed(|| run(rows, update, activation, widths)),
                    );
                    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert_eq!(found.len(), expected.len(), "{i}");
                        let scale = expected.iter().fold(1.0f32, |max, x| max.max(x.abs()));
                        for (x, y) in found.iter().zip(expected) {
                            assert!(
                                (x - y).abs() < 1e-5 * scale,
                                "{update:?} {activation:?} {i}: {x}, not {y}"
                            );
                        }
                    }
                    found
                });
                assert_eq!(dense[0], sparse[0]);
            }
        }
    }

    #[test]
    fn many_rows_give_the_same_bits_on_any_number_of_threads() {
        is_deterministic(|| {
            run(&rows(5_000), TableUpdate::Dense, Some(Activation::Relu), &[("genres", 2)]).concat()
        });
    }

    #[test]
    fn a_layer_may_read_nothing_but_vectors_that_repeat() {
        let space = FeatureSpace::default().with_field("gender", 2).unwrap();
        let mut rows = EncodedRows::new(space, 0);
        for row in 0..40 {
            rows.push(EncodedRow { bags: &[&[(row % 2, 1.0)]], ..EncodedRow::default() }).unwrap();
        }
        let (device, rng) = (Device::flex().autodiff(), &mut Rng::new(1));
        let fields = FieldEmbedding::new(rows.space(), 4, TableUpdate::Dense, rng, &device).unwrap();
        let layer = Linear::new(4, 3, rng, &device);
        let run = || {
            let y = fields.forward(&rows).linear(&layer, None);
            let gradients = y.clone().square().sum().backward();
            let leaves = [fields.table.weight(), layer.weight.val()];
            let gradients = leaves.map(|leaf| read(leaf.grad(&gradients).unwrap()).unwrap());
            [read(y.inner()).unwrap(), gradients.concat()].concat()
        };
        let (found, expected) = (run(), kernels::composed(run));
        assert_eq!(found.len(), 40 * 3 + 2 * 4 + 4 * 3);
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }

    #[test]
    fn narrow_fields_are_the_heads_of_wide_ones() {
        let (rows, device) = (rows(40), Device::flex());
        let whole =
            FieldEmbedding::new(rows.space(), 4, TableUpdate::Dense, &mut Rng::new(1), &device).unwrap();
        let widths = |name: &str, width| BTreeMap::from([(name.to_owned(), width)]);
        let narrow = whole.clone().with_widths(rows.space(), &widths("genres", 1)).unwrap();
        assert_eq!((whole.width(), narrow.width()), (24, 21));
        let [whole_rows, narrow_rows] = [&whole, &narrow].map(|fields| read(fields.values(&rows)).unwrap());
        for (whole, narrow) in whole_rows.chunks_exact(24).zip(narrow_rows.chunks_exact(21)) {
            assert_eq!([&whole[..9], &whole[12..]].concat(), narrow);
        }
        for (name, width) in [("town", 1), ("genres", 0), ("genres", 5)] {
            assert!(whole.clone().with_widths(rows.space(), &widths(name, width)).is_err(), "{name} {width}");
        }
    }

    #[test]
    fn no_rows_have_no_vectors() {
        let space = rows(1).space().clone();
        let fields =
            FieldEmbedding::new(&space, 4, TableUpdate::Dense, &mut Rng::new(1), &Device::flex()).unwrap();
        assert_eq!(fields.forward(&rows(0)).values().dims(), [0, 24]);
    }
}
