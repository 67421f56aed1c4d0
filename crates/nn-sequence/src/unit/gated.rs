//! Gated recurrent units.
//!
//! Source: Cho et al. 2014, arXiv:1406.1078, §2.3; `torch.nn.GRU`, whose reset gate acts after the product with `w_hh`.

use candle_core::{Result, Tensor};
use nn_core::ops::{RecurrentOptions, RecurrentWeights, gru};

use super::Unit;
use crate::{Cell, Recurrent, RecurrentConfig};

/// Gated recurrent units: see [`gru`].
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, Layer, ParamStore};
/// use nn_sequence::{Gru, GruConfig};
///
/// # fn main() -> Result<()> {
/// let store = ParamStore::new(0);
/// let gru = Gru::new(3, 5, GruConfig::default(), store.vb(DType::F32, &Device::Cpu))?;
/// let x = Tensor::zeros((2, 4, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(gru.call(&x, &Ctx::eval())?.dims(), [2, 4, 5]);
/// # Ok(())
/// # }
/// ```
pub type Gru = Recurrent<Gated>;

/// Options of a [`Gru`].
pub type GruConfig = RecurrentConfig<Gated>;

/// One step of a [`Gru`].
pub type GruCell = Cell<Gated>;

/// A gated recurrent unit. Its gates lie in the order r, z, n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gated;

impl Unit for Gated {
    type State = Tensor;

    fn gates(self) -> usize {
        3
    }

    fn run(
        self,
        x: &Tensor,
        weights: &RecurrentWeights,
        h: Option<&Tensor>,
        options: RecurrentOptions<'_>,
    ) -> Result<(Tensor, Tensor)> {
        gru(x, weights, h, options)
    }
}
