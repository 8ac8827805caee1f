use burn::module::ParamGroup;
use burn::optim::{DynOptimizer, DynState, ModuleOptimizer, StateSink, StateSource};
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;
use serde::{Deserialize, Serialize};

use super::adam::Adam;
use crate::error::{Error, Result};

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2015, algorithm 1). The weight decay is an L2 penalty: it is added to the
    /// gradient, and so divided by the second moment too.
    Adam(AdamConfig),
    /// AdamW (Loshchilov & Hutter 2019, algorithm 2): the weights shrink by the learning rate times
    /// the weight decay, whatever the gradient.
    AdamW(AdamConfig),
}

/// The settings of Adam and AdamW.
///
/// | field | default | purpose | range |
/// |---|---|---|---|
/// | `beta_1` | 0.9 | decay of the mean of the gradients | [0, 1) |
/// | `beta_2` | 0.999 | decay of the mean of their squares | [0, 1) |
/// | `epsilon` | 10⁻⁸ | added to the root of that mean | > 0 |
/// | `weight_decay` | 0 | pull of the weights towards 0 | ≥ 0 |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Decay of the mean of the gradients.
    pub beta_1: f32,
    /// Decay of the mean of their squares.
    pub beta_2: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
    /// Pull of the weights towards 0.
    pub weight_decay: f32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl Optimizer {
    /// Adam with the settings of its paper.
    pub fn adam() -> Self {
        Self::Adam(AdamConfig::default())
    }

    /// AdamW with this weight decay.
    pub fn adamw(weight_decay: f32) -> Self {
        Self::AdamW(AdamConfig { weight_decay, ..AdamConfig::default() })
    }

    pub(super) fn validate(&self) -> Result<()> {
        let (Self::Adam(adam) | Self::AdamW(adam)) = self;
        for (field, beta) in [("AdamConfig::beta_1", adam.beta_1), ("AdamConfig::beta_2", adam.beta_2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::config(field, "a number in [0, 1)", beta));
            }
        }
        if !(adam.epsilon.is_finite() && adam.epsilon > 0.0) {
            return Err(Error::config("AdamConfig::epsilon", "a finite number above 0", adam.epsilon));
        }
        if !(adam.weight_decay.is_finite() && adam.weight_decay >= 0.0) {
            let expected = "a finite number of at least 0";
            return Err(Error::config("AdamConfig::weight_decay", expected, adam.weight_decay));
        }
        Ok(())
    }

    /// The rule of one parameter.
    pub(super) fn rule(&self) -> Adam {
        match *self {
            Self::Adam(config) => Adam::new(config, false),
            Self::AdamW(config) => Adam::new(config, true),
        }
    }

    /// The optimizer, without state, for a module on this device.
    pub(super) fn init(&self, device: &Device) -> ModuleOptimizer {
        let optimizer = OnDevice { optimizer: self.rule(), device: device.clone().inner() };
        ModuleOptimizer::from(self.rule()).with_group(ParamGroup::all(), optimizer, None)
    }
}

/// An optimizer whose saved state is loaded on the model's device.
///
/// Burn loads it on the default device, which with several backends compiled in may be one that this
/// machine does not have.
struct OnDevice {
    optimizer: Adam,
    device: Device,
}

impl DynOptimizer for OnDevice {
    fn step_dyn(
        &self,
        rank: usize,
        learning_rate: f64,
        tensor: BridgeTensor,
        grad: BridgeTensor,
        state: Option<DynState>,
    ) -> (BridgeTensor, Option<DynState>) {
        self.optimizer.step_dyn(rank, learning_rate, tensor, grad, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.optimizer.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, out: &mut StateSink) {
        self.optimizer.state_flatten(prefix, state, out);
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        source: &mut StateSource,
        _default: &Device,
    ) -> Option<DynState> {
        self.optimizer.state_unflatten(rank, prefix, source, &self.device)
    }
}
