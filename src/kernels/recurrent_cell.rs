use serde::{Deserialize, Serialize};

/// What a recurrent layer does at each item, with the gates of PyTorch: x̂ and ĥ are the linear maps of the
/// input and of the state before, cut into as many parts as there are gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecurrentCell {
    /// Gated recurrent unit (Cho et al. 2014, eqs. 5–8): r = σ(x̂_r + ĥ_r), z = σ(x̂_z + ĥ_z),
    /// n = tanh(x̂_n + r ĥ_n), h' = (1 − z) n + z h.
    Gru,
    /// Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000):
    /// i = σ(x̂_i + ĥ_i), f = σ(x̂_f + ĥ_f), g = tanh(x̂_g + ĥ_g), o = σ(x̂_o + ĥ_o),
    /// c' = f c + i g, h' = o tanh(c').
    Lstm,
}

impl RecurrentCell {
    /// The number of gates.
    pub fn n_gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}
