use std::fmt;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape};

use super::buffer;

/// A contiguous float32 tensor of the Flex backend, shared with the graph.
#[derive(Clone)]
pub(crate) struct Array(FloatTensor<Flex>);

impl Array {
    /// These numbers, row-major.
    pub(crate) fn new(values: Vec<f32>, shape: impl Into<Shape>) -> Self {
        Self(FloatTensor::<Flex>::from_data(buffer::tensor_data(values, shape)))
    }

    pub(super) fn from_tensor(tensor: FloatTensor<Flex>) -> Self {
        assert_eq!(tensor.dtype(), DType::F32, "a fused kernel takes float32");
        if tensor.as_slice::<f32>().is_some() {
            return Self(tensor);
        }
        match copied_rows(&tensor) {
            Some(values) => Self::new(values, tensor.shape()),
            None => Self(tensor.to_contiguous()),
        }
    }

    pub(super) fn into_tensor(self) -> FloatTensor<Flex> {
        self.0
    }

    /// The numbers, row-major.
    pub(crate) fn values(&self) -> &[f32] {
        self.0.as_slice().unwrap_or_else(|| unreachable!("contiguous since made"))
    }

    /// The numbers in a buffer of one's own: this one if nobody shares it, else a copy.
    pub(crate) fn into_values(self) -> Vec<f32> {
        if !self.0.is_unique() {
            let mut copy = buffer::take(self.values().len());
            copy.copy_from_slice(self.values());
            return copy;
        }
        let (shape, dtype) = (self.0.shape(), self.0.dtype());
        match self.0.into_data().try_into_vec() {
            Ok(values) => values,
            Err(error) => unreachable!("{dtype:?} of shape {shape:?} is float32: {error:?}"),
        }
    }

    /// # Panics
    /// If the tensor has another rank.
    pub(crate) fn shape<const D: usize>(&self) -> [usize; D] {
        self.0.shape().dims()
    }

    /// The width of a row: the last dimension.
    pub(crate) fn width(&self) -> usize {
        self.0.shape().iter().next_back().copied().unwrap_or(1)
    }

    /// The numbers changed in place, or in a copy if somebody else shares them.
    pub(crate) fn map(self, f: impl FnOnce(&mut [f32])) -> Self {
        let shape = self.0.shape();
        let mut values = self.into_values();
        f(&mut values);
        Self::new(values, shape)
    }

    /// Other numbers in this shape.
    pub(crate) fn with_values(&self, values: Vec<f32>) -> Self {
        Self::new(values, self.0.shape())
    }

    /// Other numbers in as many rows, of another width.
    pub(crate) fn with_rows(&self, width: usize, values: Vec<f32>) -> Self {
        let mut shape = self.0.shape();
        if let Some(last) = shape.iter_mut().next_back() {
            *last = width;
        }
        Self::new(values, shape)
    }
}

/// The rows of a matrix that are each in one piece: some columns of another.
fn copied_rows(tensor: &FloatTensor<Flex>) -> Option<Vec<f32>> {
    let (layout, storage) = (tensor.layout(), tensor.storage::<f32>());
    let (&[n, d], &[stride, 1]) = (layout.shape().as_slice(), layout.strides()) else { return None };
    let stride = usize::try_from(stride).ok().filter(|&stride| stride >= d)?;
    let mut values = buffer::take(n * d);
    for (row, values) in values.chunks_exact_mut(d.max(1)).enumerate() {
        values.copy_from_slice(&storage[layout.start_offset() + row * stride..][..d]);
    }
    Some(values)
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array{:?}", self.0.shape())
    }
}
