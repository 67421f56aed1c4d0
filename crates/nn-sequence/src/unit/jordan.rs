//! The recurrent network whose output is fed back.
//!
//! Source: Jordan 1986, "Serial order: a parallel distributed processing approach", ICS report 8604, figure 3.
//! Differs: outputs are linear, as logits and forecasts are, and are fed back without a decaying memory of earlier ones.

use candle_core::{Result, Tensor};
use nn_core::ops::{Nonlinearity, RecurrentOptions, RecurrentWeights, rnn};

use super::{ProjectionNames, Unit};
use crate::{Recurrent, RecurrentConfig};

/// `hₜ = f(w_ih · xₜ + b_ih + w_hh · yₜ₋₁ + b_hh)`, `yₜ = w_ho · hₜ + b_ho`: outputs and states are the `y`.
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, Layer, ParamStore};
/// use nn_sequence::{Jordan, JordanConfig, JordanRnn};
///
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let unit = Jordan { outputs: Some(2), ..Jordan::default() };
/// let cfg = JordanConfig { unit, ..JordanConfig::default() };
/// let rnn = JordanRnn::new(3, 5, cfg, store.vb(DType::F32, &Device::Cpu))?;
/// let x = Tensor::zeros((1, 4, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(rnn.call(&x, &Ctx::eval())?.dims(), [1, 4, 2]);
/// # Ok(())
/// # }
/// ```
pub type JordanRnn = Recurrent<Jordan>;

/// Options of a [`JordanRnn`].
pub type JordanConfig = RecurrentConfig<Jordan>;

/// A unit of a Jordan network.
///
/// Parameters beside an [`Elman`](super::Elman)'s, whose `weight_hh_l{k}` is `[H, outputs]` here: `weight_ho_l{k} [outputs, H]`
/// and `bias_ho_l{k} [outputs]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jordan {
    /// At the end of each step, before the output is made.
    pub nonlinearity: Nonlinearity,
    /// Numbers of an output; as many as units if `None`.
    pub outputs: Option<usize>,
}

impl Unit for Jordan {
    type State = Tensor;

    fn gates(self) -> usize {
        1
    }

    fn projection(self, hidden: usize) -> Option<ProjectionNames> {
        let outputs = self.outputs.unwrap_or(hidden);
        Some(ProjectionNames { outputs, weight: "weight_ho", bias: Some("bias_ho") })
    }

    fn run(
        self,
        x: &Tensor,
        weights: &RecurrentWeights,
        y: Option<&Tensor>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, Tensor)> {
        rnn(x, weights, y, self.nonlinearity, options)
    }
}
