use burn::tensor::{DType, Tensor};

use super::buffer;

/// Lets `f` change the numbers of float32 tensors of the Flex backend outside autodiff: in place where
/// nobody else holds the tensor, otherwise in a copy.
pub(crate) fn in_place<const D: usize, const N: usize>(
    tensors: [Tensor<D>; N],
    f: impl FnOnce([&mut [f32]; N]),
) -> [Tensor<D>; N] {
    let mut arrays = tensors.map(|tensor| (tensor.device(), tensor.shape(), into_values(tensor)));
    f(arrays.each_mut().map(|(_, _, values)| &mut values[..]));
    arrays.map(|(device, shape, values)| {
        Tensor::from_data(buffer::tensor_data(values, shape), (&device, DType::F32))
    })
}

/// The numbers of a float32 tensor of the Flex backend: its own buffer where nobody else holds it.
pub(crate) fn into_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .try_into_vec()
        .unwrap_or_else(|error| panic!("a fused kernel takes float32: {error:?}"))
}

/// Lays the numbers by that [`into_values`] gave, for another operation.
pub(crate) fn recycle(values: Vec<f32>) {
    buffer::give(values);
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn a_tensor_of_ones_own_keeps_its_buffer_and_a_shared_one_keeps_its_numbers() {
        let values = vec![1.0f32; 100];
        let address = values.as_ptr();
        let tensor = Tensor::<1>::from_data(TensorData::new(values, [100]), &Device::flex());
        let [tensor] = in_place([tensor], |[x]| x[7] = 2.0);
        let shared = tensor.clone();
        let [changed] = in_place([tensor], |[x]| x[7] = 3.0);
        assert_eq!(into_values(changed)[7], 3.0);
        let values = into_values(shared);
        assert_eq!((values[7], values.as_ptr()), (2.0, address));
    }
}
