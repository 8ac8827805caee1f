//! Weights in Burn's own format, burnpack: what a file says of itself is compared with the module before it is believed.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::OptimizerRecord;
use burn::tensor::{Bool, Bytes, DType, Int, Shape, Tensor, TensorData};
use burn_pack::Reader;

/// The bytes of a module's weights.
pub(crate) fn weights_to_bytes(module: impl Module) -> std::io::Result<Bytes> {
    module.into_record().into_bytes().map_err(std::io::Error::other)
}

/// The module with these weights in place of its own, which need not have been made. The error says what stands in the bytes that
/// does not belong there, or is missing.
pub(crate) fn weights_from_bytes<M: Module>(module: M, bytes: Vec<u8>) -> Result<M, String> {
    let mut weights = Weights::parse(Bytes::from_bytes_vec(bytes))?;
    let module = module.map(&mut weights);
    match (weights.problem, weights.tensors.keys().next()) {
        (Some(problem), _) => Err(problem),
        (None, Some(name)) => Err(format!("`{name}`, which the model has not")),
        (None, None) => Ok(module),
    }
}

/// The moments of an optimizer of `module`. Burn trusts such a file: it must hold what an optimizer of this module can have left
/// there, tensors of the shapes of its parameters.
pub(super) fn optimizer_from_bytes(module: &impl Module, bytes: Vec<u8>) -> Result<OptimizerRecord, String> {
    let bytes = Bytes::from_bytes_vec(bytes).shared();
    let again = bytes.view(0, bytes.len()).map_err(|_| NOT_WEIGHTS.to_owned())?;
    let mut parameters = ShapesById::default();
    module.visit(&mut parameters);
    let reader = Reader::from_bytes(again).map_err(|_| NOT_WEIGHTS.to_owned())?;
    for (name, &value) in reader.scalars() {
        let Some(id) = name.strip_suffix(RANK) else { continue };
        let shape = id.parse().ok().and_then(|id| parameters.get(id));
        let rank = usize::try_from(value).ok();
        if rank.is_none() || shape.map(Shape::num_dims) != rank {
            return Err(format!("`{name}`, which is not the rank of a parameter"));
        }
    }
    for tensor in reader.into_tensors().map_err(|_| NOT_WEIGHTS.to_owned())? {
        let (name, dtype, shape, id, bytes) = tensor.into_parts().map_err(|_| NOT_WEIGHTS.to_owned())?;
        if !is_aligned(&bytes, dtype) {
            return Err(format!("`{name}` at a place where no numbers of its type can lie"));
        }
        let id = id.filter(|id| name.starts_with(&format!("{id}.")));
        if !dtype.is_float() || id.and_then(|id| parameters.get(id)) != Some(&shape) {
            return Err(format!("`{name}` of shape {shape}, which is not that of a parameter"));
        }
    }
    OptimizerRecord::from_bytes(bytes).map_err(|_| NOT_WEIGHTS.to_owned())
}

fn is_aligned(bytes: &[u8], dtype: DType) -> bool {
    bytes.is_empty() || (bytes.as_ptr() as usize).is_multiple_of(dtype.size().max(1))
}

const NOT_WEIGHTS: &str = "no tensors in the burnpack format";
const RANK: &str = ".__rank";

/// The shape of each parameter, by its id; none for parameters of one id and different shapes.
#[derive(Default)]
struct ShapesById(BTreeMap<u64, Option<Shape>>);

impl ShapesById {
    fn get(&self, id: u64) -> Option<&Shape> {
        self.0.get(&id)?.as_ref()
    }
}

impl ModuleVisitor for ShapesById {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape();
        let known = self.0.entry(param.id.val()).or_insert_with(|| Some(shape.clone()));
        if known.as_ref() != Some(&shape) {
            *known = None;
        }
    }
}

/// Gives each parameter of a module its tensor.
struct Weights {
    /// By name; what is left belongs to no parameter.
    tensors: BTreeMap<String, (Option<ParamId>, TensorData)>,
    path: Vec<String>,
    /// The first thing that does not fit.
    problem: Option<String>,
}

impl Weights {
    fn parse(bytes: Bytes) -> Result<Self, String> {
        let tensors = Reader::from_bytes(bytes).and_then(Reader::into_tensors);
        let mut by_name = BTreeMap::new();
        for tensor in tensors.map_err(|_| NOT_WEIGHTS.to_owned())? {
            let (name, dtype, shape, id, bytes) = tensor.into_parts().map_err(|_| NOT_WEIGHTS.to_owned())?;
            // Within a file numbers may begin anywhere, within memory not.
            let bytes = if is_aligned(&bytes, dtype) { bytes } else { Bytes::from_bytes_vec(bytes.to_vec()) };
            let data = TensorData::try_from_bytes(bytes, shape, dtype);
            let data = data.map_err(|_| format!("`{name}`, whose numbers do not fill its shape"))?;
            by_name.insert(name, (id.map(ParamId::from), data));
        }
        Ok(Self { tensors: by_name, path: Vec::new(), problem: None })
    }

    /// The tensor of the parameter at this place, if all is well so far.
    fn take(&mut self, shape: Shape, fits: fn(DType) -> bool) -> Option<(Option<ParamId>, TensorData)> {
        if self.problem.is_some() {
            return None;
        }
        let name = self.path.join(".");
        let Some((id, data)) = self.tensors.remove(&name) else {
            self.problem = Some(format!("no `{name}`"));
            return None;
        };
        if *data.shape() != shape || !fits(data.dtype()) {
            let (dtype, found) = (data.dtype().name(), data.shape());
            self.problem = Some(format!("`{name}` of shape {found} and type {dtype}; the model has {shape}"));
            return None;
        }
        Some((id, data))
    }
}

impl ModuleMapper for Weights {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((id, data)) = self.take(param.lazy_shape(), |dtype| dtype.is_float()) else { return param };
        let dtype = data.dtype();
        // What holds no number has an address that suits none, and Flex refuses to look at it.
        let values = match data.num_elements() {
            0 => Tensor::zeros(data.shape().clone(), (&param.lazy_device(), dtype)),
            _ => Tensor::from_data(data, (&param.lazy_device(), dtype)),
        };
        param.transform_for_load(values, id.unwrap_or_default())
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let fits = |dtype: DType| dtype.is_int() || dtype.is_uint();
        let Some((id, data)) = self.take(param.lazy_shape(), fits) else { return param };
        let tensor = Tensor::from_data(data, &param.lazy_device());
        param.transform_for_load(tensor, id.unwrap_or_default())
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        let Some((id, data)) = self.take(param.lazy_shape(), |dtype| dtype.is_bool()) else { return param };
        let tensor = Tensor::from_data(data, &param.lazy_device());
        param.transform_for_load(tensor, id.unwrap_or_default())
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;
    use burn_pack::{Tensor as Packed, Writer};

    use super::*;
    use crate::layers::Linear;
    use crate::rng::Rng;

    fn linear(d: usize) -> Linear {
        Linear::new(d, 3, &mut Rng::new(1), &Device::flex())
    }

    /// The bytes of one tensor after another: name, type, shape and the number of a parameter.
    fn packed(tensors: &[(&str, DType, &[usize], Option<u64>)]) -> Vec<u8> {
        let tensor = |&(name, dtype, shape, id): &(&str, DType, &[usize], Option<u64>)| {
            let bytes = vec![0; shape.iter().product::<usize>() * dtype.size()];
            Packed::new(name.into(), dtype, Shape::from(shape.to_vec()), id, Bytes::from_bytes_vec(bytes))
        };
        Writer::new(tensors.iter().map(tensor).collect()).into_bytes().unwrap().to_vec()
    }

    #[test]
    fn what_does_not_fit_the_model_is_told_by_name() {
        let bytes = weights_to_bytes(linear(2)).unwrap().to_vec();
        assert!(weights_from_bytes(linear(2), bytes.clone()).is_ok());
        let told = |bytes: Vec<u8>| weights_from_bytes(linear(2), bytes).unwrap_err();
        assert_eq!(told(b"nonsense".to_vec()), NOT_WEIGHTS);
        assert_eq!(told(bytes[..bytes.len() - 1].to_vec()), NOT_WEIGHTS);
        let other = weights_to_bytes(linear(5)).unwrap().to_vec();
        assert_eq!(told(other), "`weight` of shape [5, 3] and type f32; the model has [2, 3]");
        let (weight, bias) =
            (("weight", DType::F32, &[2, 3][..], None), ("bias", DType::F32, &[3][..], None));
        assert!(weights_from_bytes(linear(2), packed(&[weight, bias])).is_ok());
        assert_eq!(told(packed(&[weight])), "no `bias`");
        let more = ("more", DType::F32, &[1][..], None);
        assert_eq!(told(packed(&[weight, bias, more])), "`more`, which the model has not");
        let ints = packed(&[weight, ("bias", DType::I64, &[3], None)]);
        assert_eq!(told(ints), "`bias` of shape [3] and type i64; the model has [3]");
    }

    #[test]
    fn moments_of_no_parameter_are_told_by_name() {
        let model = linear(2);
        let id = model.weight.id.val();
        let told = |tensor| optimizer_from_bytes(&model, packed(&[tensor])).map(|_| ());
        let moment = format!("{id}.moment_1");
        assert!(told((&moment, DType::F32, &[2, 3], Some(id))).is_ok());
        for forged in [
            (moment.as_str(), DType::F32, &[2, 3][..], None),
            (&moment, DType::F32, &[2, 3], Some(id ^ 1)),
            (&moment, DType::F32, &[3, 2], Some(id)),
            (&moment, DType::I32, &[2, 3], Some(id)),
            ("moment_1", DType::F32, &[2, 3], Some(id)),
        ] {
            let found = told(forged).unwrap_err();
            assert!(found.ends_with("which is not that of a parameter"), "{found}");
        }
        assert!(optimizer_from_bytes(&model, b"nonsense".to_vec()).is_err());
    }
}
