use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, FloatDType, Tensor};

use crate::disk::corrupt;
use crate::error::Result;
use crate::layers::without_weights;
use crate::persistence::{Bundle, BundleWriter};
use crate::training::{weights_from_bytes, weights_to_bytes};

const WEIGHTS: &str = "weights.bpk";

/// Writes the weights of a model.
pub(super) fn write_weights(model: &impl Module, writer: &BundleWriter) -> Result<()> {
    writer.write(WEIGHTS, |file| file.write_all(&weights_to_bytes(model.clone())?))
}

/// The model that `init` makes, with the bundle's weights in place of its own, which are never made.
pub(super) fn read_weights<M: Module>(init: impl FnOnce() -> Result<M>, bundle: &Bundle) -> Result<M> {
    let fresh = without_weights(init)?;
    let loaded = weights_from_bytes(fresh, bundle.read(WEIGHTS)?).and_then(finite_float32);
    loaded.map_err(|found| corrupt(&bundle.path(WEIGHTS), "weights that fit the configuration", found))
}

/// The model with every weight as float32, which the fused kernels take alone, or which weight is not finite.
pub(super) fn finite_float32<M: Module>(model: M) -> std::result::Result<M, String> {
    let mut weights = FiniteFloat32::default();
    let model = model.map(&mut weights);
    match weights.not_finite {
        Some(name) => Err(format!("a number in `{name}` that is not finite")),
        None => Ok(model),
    }
}

/// Makes every weight float32, and finds the first that is not finite.
#[derive(Default)]
struct FiniteFloat32 {
    path: Vec<String>,
    not_finite: Option<String>,
}

impl ModuleMapper for FiniteFloat32 {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        weight.map(|values| {
            // Read from a file, what holds no number has an address that suits none, and Flex refuses to look at it.
            if values.shape().num_elements() == 0 {
                return values;
            }
            if self.not_finite.is_none() && !values.clone().is_finite().all().into_scalar::<bool>() {
                self.not_finite = Some(self.path.join("."));
            }
            if values.dtype() == DType::F32 { values } else { values.cast(FloatDType::F32) }
        })
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::features::FeatureSpace;
    use crate::ids::ItemId;
    use crate::models::ranking::LogisticConfig;
    use crate::models::recall::{Sasrec, SasrecConfig};
    use crate::pipeline::{Query, QueryEncoder};
    use crate::training::RankingConfig;

    /// Every weight as a number of 16 bits, or as one that is none.
    struct Altered(Option<f32>);

    impl ModuleMapper for Altered {
        fn map_float<const D: usize>(&mut self, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
            weight.map(|values| match self.0 {
                None => values.cast(FloatDType::F16),
                Some(factor) => values.mul_scalar(factor),
            })
        }
    }

    fn reread<M: Module>(saved: &M, fresh: M) -> Result<M> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let writer = BundleWriter::create(&path)?;
        write_weights(saved, &writer)?;
        writer.finish("weights")?;
        read_weights(|| Ok(fresh), &Bundle::open(&path, "weights")?)
    }

    #[test]
    fn weights_of_half_precision_are_read_as_float32_and_nothing_that_is_not_finite() {
        let model = |seed| {
            let config = SasrecConfig { d_model: 8, d_hidden: 8, max_len: 6, ..SasrecConfig::default() };
            config.init(9, seed, &Device::flex()).unwrap()
        };
        let altered = |mut altered: Altered| reread(&model(1).map(&mut altered), model(2));
        let answer = |model: &Sasrec| {
            let history = [ItemId(1), ItemId(5)];
            model.encode(&[&Query::new(&history)]).unwrap()
        };
        for (half, whole) in answer(&altered(Altered(None)).unwrap()).iter().zip(answer(&model(1))) {
            assert!((half - whole).abs() < 2e-2, "{half} {whole}");
        }
        let error = altered(Altered(Some(f32::NAN))).unwrap_err().to_string();
        assert!(error.contains("a number in `") && error.contains("that is not finite"), "{error}");
    }

    #[test]
    fn a_model_without_vectors_is_read() {
        let space = FeatureSpace::default().with_field("item", 3).unwrap();
        let model = |seed| LogisticConfig::default().init(&space, seed, &Device::flex()).unwrap();
        assert!(reread(&model(1), model(2)).is_ok());
    }
}
