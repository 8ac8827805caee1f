use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result, check_depth};
use crate::layers::{FieldVectors, Mlp, MlpConfig};
use crate::rng::Rng;

/// A perceptron for each task, which makes the task's logit.
#[derive(Module, Debug)]
pub struct Towers {
    mlps: Vec<Mlp>,
}

impl Towers {
    /// Fresh weights of `n_tasks` perceptrons over inputs of width `d_input`.
    ///
    /// # Errors
    /// No task, or an `mlp` out of range or that does not end in width 1.
    pub fn new(
        n_tasks: usize,
        mlp: &MlpConfig,
        d_input: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self> {
        if n_tasks == 0 {
            return Err(Error::config("Towers::n_tasks", "at least 1", 0));
        }
        check_depth("Towers::n_tasks", n_tasks)?;
        if mlp.d_output != 1 {
            return Err(Error::config("Towers::mlp", "an output of width 1", mlp.d_output));
        }
        Ok(Self { mlps: (0..n_tasks).map(|_| mlp.init(d_input, rng, device)).collect::<Result<_>>()? })
    }

    /// The logit of each task, from an input of its own.
    ///
    /// # Shapes
    /// - inputs: `[n, d_input]` for each task
    /// - output: `[n, n_tasks]`
    pub fn forward(
        &self,
        inputs: impl IntoIterator<Item = impl Into<FieldVectors>>,
        mut rng: Option<&mut Rng>,
    ) -> Tensor<2> {
        let towers = self.mlps.iter().zip(inputs);
        Tensor::cat(towers.map(|(mlp, x)| mlp.forward(x, rng.as_deref_mut())).collect(), 1)
    }
}
