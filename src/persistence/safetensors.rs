use std::io;
use std::path::Path;

use burn::module::Module;
use burn::store::{
    ApplyError, ApplyResult, BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore,
};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::disk::{self, corrupt};
use crate::error::{ErrorKind, Result};
use crate::persistence::weights::finite_float32;

/// How weights lie in a safetensors file. Names are the paths of the fields either way, as the documentation
/// of each model lists them: `blocks.0.attention.input.weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightLayout {
    /// As here: the weight of a linear layer is `[d_input, d_output]`, a norm has `gamma` and `beta`.
    #[default]
    Burn,
    /// As in a `state_dict`: the weight of a linear layer is `[d_output, d_input]`, a norm has `weight` and
    /// `bias`.
    PyTorch,
}

/// Writes every weight of a model to a safetensors file, which appears whole or not at all and replaces one that stood there.
///
/// # Errors
/// A file that cannot be written, or a device that fails to give its numbers back.
pub fn save_safetensors<M: Module>(model: &M, path: impl AsRef<Path>, layout: WeightLayout) -> Result<()> {
    disk::write_file(path, |file| {
        let mut store = store(None);
        if layout == WeightLayout::PyTorch {
            store = store.with_to_adapter(BurnToPyTorchAdapter);
        }
        model.save_into(&mut store).map_err(io::Error::other)?;
        file.write_all(&store.get_bytes().map_err(io::Error::other)?)
    })
}

/// The model with the weights of a safetensors file in place of its own; name by name, with no weight left
/// over on either side. Numbers of another precision (F16, BF16, F64) become F32.
///
/// # Errors
/// A file that cannot be read or is damaged; one that lacks a weight of the model, holds one that it has not, or one of
/// another shape ([`ErrorKind::WrongKind`]); no floats, or a number that is not finite.
pub fn load_safetensors<M: Module>(model: M, path: impl AsRef<Path>, layout: WeightLayout) -> Result<M> {
    let path = path.as_ref();
    let bytes = disk::read_file(path)?;
    SafeTensors::deserialize(&bytes)
        .map_err(|error| corrupt(path, "a file in the safetensors format", error.to_string()))?;
    let mut store = store(Some(bytes));
    if layout == WeightLayout::PyTorch {
        store = store.with_from_adapter(PyTorchToBurnAdapter);
    }
    let model = replaced(model, &mut store).map_err(|found| {
        let (path, expected) = (path.to_path_buf(), "the weights of this model".into());
        ErrorKind::WrongKind { path, expected, found }
    })?;
    finite_float32(model).map_err(|found| corrupt(path, "weights", found))
}

/// The model with the weights of the store, or what does not belong to both.
fn replaced<M: Module>(mut model: M, store: &mut SafetensorsStore) -> std::result::Result<M, String> {
    let ApplyResult { missing, unused, errors, .. } =
        model.load_from(store).map_err(|_| "no weights of a model".to_owned())?;
    if let Some(error) = errors.first() {
        return Err(match error {
            ApplyError::ShapeMismatch { path, expected, found } => {
                format!("`{path}` of shape {found}, where the model has {expected}")
            }
            ApplyError::DTypeMismatch { path, .. }
            | ApplyError::AdapterError { path, .. }
            | ApplyError::LoadError { path, .. } => format!("`{path}` of a type that no weight has"),
        });
    }
    match (missing.first(), unused.first()) {
        (Some((name, _)), _) => Err(format!("no `{name}`")),
        (None, Some(name)) => Err(format!("`{name}`, which the model has not")),
        (None, None) => Ok(model),
    }
}

/// Weights in memory, with differences from the model told rather than refused.
fn store(bytes: Option<Vec<u8>>) -> SafetensorsStore {
    SafetensorsStore::from_bytes(bytes).skip_enum_variants(true).validate(false).allow_partial(true)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::store::HalfPrecisionAdapter;
    use burn::tensor::Device;

    use super::*;
    use crate::features::ItemFeatures;
    use crate::models::recall::{Sasrec, SasrecConfig, TwoTowerConfig};
    use crate::pipeline::{EmbeddingModel, Query};

    fn sasrec(d_model: usize, seed: u64) -> Sasrec {
        SasrecConfig { d_model, max_len: 6, ..SasrecConfig::default() }
            .init(9, seed, &Device::flex())
            .unwrap()
    }

    fn answers(model: &impl EmbeddingModel) -> [Vec<f32>; 2] {
        let history = [1, 5, 2].map(crate::ids::ItemId);
        [model.encode(&[&Query::new(&history)]).unwrap(), model.item_vectors().unwrap()]
    }

    #[test]
    fn what_was_saved_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        for layout in [WeightLayout::Burn, WeightLayout::PyTorch] {
            let model = sasrec(8, 1);
            save_safetensors(&model, &path, layout).unwrap();
            let loaded = load_safetensors(sasrec(8, 2), &path, layout).unwrap();
            assert_eq!(answers(&loaded), answers(&model));

            let init =
                |seed| TwoTowerConfig::default().init(4, &ItemFeatures::none(9), seed, &Device::flex());
            let model = init(1).unwrap();
            save_safetensors(&model, &path, layout).unwrap();
            let loaded = load_safetensors(init(2).unwrap(), &path, layout).unwrap();
            assert_eq!(answers(&loaded), answers(&model));
        }
    }

    #[test]
    fn half_precision_is_read_as_float32_and_nothing_that_is_not_finite() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let load = || load_safetensors(sasrec(8, 2), &path, WeightLayout::Burn);
        let model = sasrec(8, 1);
        let mut half = store(None).with_to_adapter(HalfPrecisionAdapter::new());
        model.save_into(&mut half).unwrap();
        std::fs::write(&path, half.get_bytes().unwrap()).unwrap();
        for (found, expected) in answers(&load().unwrap()).concat().iter().zip(answers(&model).concat()) {
            assert!((found - expected).abs() < 1e-2, "{found} {expected}");
        }
        save_safetensors(&model, &path, WeightLayout::Burn).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = load().unwrap_err();
        assert!(error.to_string().ends_with("that is not finite"), "{error}");
    }

    #[test]
    fn weights_of_another_model_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let load = |model| load_safetensors(model, &path, WeightLayout::Burn).map(|_| ()).unwrap_err();
        assert!(matches!(load(sasrec(8, 1)).kind(), ErrorKind::Io { .. }));
        save_safetensors(&sasrec(8, 1), &path, WeightLayout::Burn).unwrap();
        let fewer_blocks = SasrecConfig { d_model: 8, max_len: 6, n_blocks: 1, ..SasrecConfig::default() };
        let more_blocks = SasrecConfig { n_blocks: 3, ..fewer_blocks.clone() };
        for model in [
            sasrec(16, 1),
            fewer_blocks.init(9, 1, &Device::flex()).unwrap(),
            more_blocks.init(9, 1, &Device::flex()).unwrap(),
        ] {
            let error = load(model);
            assert!(matches!(error.kind(), ErrorKind::WrongKind { .. }), "{error}");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        save_safetensors(&sasrec(8, 1), &path, WeightLayout::Burn).unwrap();
        let good = std::fs::read(&path).unwrap();
        let damaged = [0, 4, 7, 8, 9, 60, good.len() / 2, good.len() - 1].map(|len| good[..len].to_vec());
        let header = (0..200).map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x15;
            bytes
        });
        for (i, bytes) in damaged.into_iter().chain(header).enumerate() {
            std::fs::write(&path, bytes).unwrap();
            // A change within the free text of the header may leave a file that can be read.
            let result = load_safetensors(sasrec(8, 1), &path, WeightLayout::Burn);
            assert!(i >= 8 || result.is_err(), "a file cut short was read");
        }
    }
}
