//! The devices by name, as programs offer them.

use clap::ValueEnum;
use recsys::prelude::Device;

/// Where the tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// All CPU cores.
    Cpu,
    /// A GPU through Vulkan, Metal or DirectX 12.
    Wgpu,
    /// An NVIDIA GPU through CUDA.
    Cuda,
    /// Burn's older CPU backend.
    Ndarray,
}

impl DeviceName {
    /// The device, if its Cargo feature is compiled in; call it once.
    #[allow(deprecated, reason = "upstream keeps `ndarray` for now, and so do we")]
    pub fn device(self) -> Result<Device, String> {
        match self {
            #[cfg(feature = "flex")]
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::wgpu_options().init().map_err(|error| error.to_string()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(feature = "ndarray")]
            Self::Ndarray => Ok(Device::ndarray()),
            #[allow(unreachable_patterns)]
            absent => {
                let feature =
                    if absent == Self::Cpu { "flex".into() } else { format!("{absent:?}").to_lowercase() };
                Err(format!(
                    "this program was built without the Cargo feature `{feature}`: add `--features {feature}`"
                ))
            }
        }
    }
}
