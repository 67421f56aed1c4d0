//! The plain recurrent network.
//!
//! Source: Elman 1990, "Finding structure in time"; `torch.nn.RNN`.

use candle_core::{Result, Tensor};
use nn_core::ops::{Nonlinearity, RecurrentOptions, RecurrentWeights, rnn};

use super::Unit;
use crate::{Cell, Recurrent, RecurrentConfig};

/// Elman's network: see [`rnn`].
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, ParamStore};
/// use nn_sequence::{Rnn, RnnConfig};
///
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let rnn = Rnn::new(3, 5, RnnConfig::default(), store.vb(DType::F32, &Device::Cpu))?;
/// let x = Tensor::zeros((2, 4, 3), DType::F32, &Device::Cpu)?;
/// let (y, last) = rnn.run(&x, None, None, &Ctx::eval())?;
/// assert_eq!((y.dims(), last[0].dims()), (&[2, 4, 5][..], &[2, 5][..]));
/// # Ok(())
/// # }
/// ```
pub type Rnn = Recurrent<Elman>;

/// Options of an [`Rnn`].
pub type RnnConfig = RecurrentConfig<Elman>;

/// One step of an [`Rnn`].
pub type RnnCell = Cell<Elman>;

/// A unit of an Elman network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elman {
    /// At the end of each step.
    pub nonlinearity: Nonlinearity,
}

impl Unit for Elman {
    type State = Tensor;

    fn gates(self) -> usize {
        1
    }

    fn run(
        self,
        x: &Tensor,
        weights: &RecurrentWeights,
        h: Option<&Tensor>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, Tensor)> {
        rnn(x, weights, h, self.nonlinearity, options)
    }
}
