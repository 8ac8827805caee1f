use std::fmt;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorData, TensorMetadata};
use burn::tensor::DType;

use super::buffer;

/// A contiguous float32 tensor of the Flex backend, shared with the graph. The last owner of a large one
/// lays its buffer by for reuse.
#[derive(Clone)]
pub(crate) struct Array {
    tensor: Option<FloatTensor<Flex>>,
}

impl Array {
    /// These numbers, row-major.
    pub(crate) fn new<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Self {
        Self::from_tensor(FloatTensor::<Flex>::from_data(TensorData::new(values, shape)))
    }

    pub(super) fn from_tensor(tensor: FloatTensor<Flex>) -> Self {
        assert_eq!(tensor.dtype(), DType::F32, "a fused kernel takes float32");
        if tensor.as_slice::<f32>().is_some() {
            return Self { tensor: Some(tensor) };
        }
        match copied_rows(&tensor) {
            Some(values) => Self::new(values, tensor.shape().dims::<2>()),
            None => Self { tensor: Some(tensor.to_contiguous()) },
        }
    }

    pub(super) fn into_tensor(mut self) -> FloatTensor<Flex> {
        self.tensor.take().unwrap_or_else(|| unreachable!("present until dropped"))
    }

    fn tensor(&self) -> &FloatTensor<Flex> {
        self.tensor.as_ref().unwrap_or_else(|| unreachable!("present until dropped"))
    }

    /// The numbers, row-major.
    pub(crate) fn values(&self) -> &[f32] {
        self.tensor().as_slice().unwrap_or_else(|| unreachable!("contiguous since made"))
    }

    /// The numbers in a buffer of one's own: this one if nobody shares it, else a copy.
    pub(crate) fn into_values(mut self) -> Vec<f32> {
        match self.take_unshared() {
            Ok(values) => values,
            Err(array) => {
                let mut copy = buffer::take(array.values().len());
                copy.copy_from_slice(array.values());
                copy
            }
        }
    }

    /// # Panics
    /// If the tensor has another rank.
    pub(crate) fn shape<const D: usize>(&self) -> [usize; D] {
        self.tensor().shape().dims()
    }

    /// The width of a row: the last dimension.
    pub(crate) fn width(&self) -> usize {
        self.tensor().shape().iter().next_back().copied().unwrap_or(1)
    }

    /// The numbers changed in place, or in a copy if somebody else shares them.
    pub(crate) fn map(self, f: impl FnOnce(&mut [f32])) -> Self {
        let shape = self.tensor().shape();
        let mut values = self.into_values();
        f(&mut values);
        Self::from_tensor(FloatTensor::<Flex>::from_data(TensorData::new(values, shape)))
    }

    /// Other numbers in this shape.
    pub(crate) fn with_values(&self, values: Vec<f32>) -> Self {
        Self::from_tensor(FloatTensor::<Flex>::from_data(TensorData::new(values, self.tensor().shape())))
    }

    /// Other numbers in as many rows, of another width.
    pub(crate) fn with_rows(&self, width: usize, values: Vec<f32>) -> Self {
        let mut shape = self.tensor().shape();
        if let Some(last) = shape.iter_mut().next_back() {
            *last = width;
        }
        Self::from_tensor(FloatTensor::<Flex>::from_data(TensorData::new(values, shape)))
    }

    fn take_unshared(&mut self) -> Result<Vec<f32>, &Self> {
        if self.tensor().is_unique()
            && let Some(tensor) = self.tensor.take()
        {
            let (shape, dtype) = (tensor.shape(), tensor.dtype());
            match tensor.into_data().try_into_vec::<f32>() {
                Ok(values) => return Ok(values),
                Err(error) => unreachable!("{dtype:?} of shape {shape:?} is float32: {error:?}"),
            }
        }
        Err(self)
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

impl Drop for Array {
    fn drop(&mut self) {
        if self.tensor.is_some()
            && let Ok(values) = self.take_unshared()
        {
            buffer::give(values);
        }
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array{:?}", self.tensor().shape())
    }
}
