//! Long short-term memory.
//!
//! Source: Hochreiter & Schmidhuber 1997, "Long short-term memory"; Sak, Senior & Beaufays 2014, arXiv:1402.1128, for the
//! projection; `torch.nn.LSTM`.

use candle_core::{Result, Tensor};
use nn_core::ops::{LstmState, RecurrentOptions, RecurrentWeights, lstm};

use super::{ProjectionNames, State, Unit};
use crate::{Cell, Recurrent, RecurrentConfig};

/// Long short-term memory: see [`lstm`].
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, ParamStore};
/// use nn_sequence::{Directions, Lstm, LstmConfig};
///
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let cfg = LstmConfig { layers: 2, directions: Directions::Both, ..LstmConfig::default() };
/// let lstm = Lstm::new(3, 5, cfg, store.vb(DType::F32, &Device::Cpu))?;
/// let x = Tensor::zeros((2, 4, 3), DType::F32, &Device::Cpu)?;
/// let (y, last) = lstm.run(&x, None, Some(&[4, 1]), &Ctx::eval())?;
/// assert_eq!(y.dims(), [2, 4, 2 * 5]);
/// assert_eq!((last.len(), last[3].c.dims()), (4, &[2, 5][..]));
/// # Ok(())
/// # }
/// ```
pub type Lstm = Recurrent<LongShortTerm>;

/// Options of an [`Lstm`].
pub type LstmConfig = RecurrentConfig<LongShortTerm>;

/// One step of an [`Lstm`].
pub type LstmCell = Cell<LongShortTerm>;

/// A unit with long short-term memory. Its gates lie in the order i, f, g, o.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongShortTerm {
    /// Numbers of an output, fewer than units, made by `weight_hr_l{k}`; `None` for all of them. PyTorch's `proj_size`.
    pub projection: Option<usize>,
}

impl Unit for LongShortTerm {
    type State = LstmState;

    fn gates(self) -> usize {
        4
    }

    fn projection(self, _hidden: usize) -> Option<ProjectionNames> {
        self.projection.map(|outputs| ProjectionNames { outputs, weight: "weight_hr", bias: None })
    }

    fn run(
        self,
        x: &Tensor,
        weights: &RecurrentWeights,
        state: Option<&LstmState>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, LstmState)> {
        lstm(x, weights, state, options)
    }
}

impl State for LstmState {
    fn output(&self) -> &Tensor {
        &self.h
    }

    fn map(&self, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { h: f(&self.h)?, c: f(&self.c)? })
    }
}
