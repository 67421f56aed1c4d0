//! Start values as in PyTorch, and whether there is a bias to start.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// Whether a layer adds a learned number to each output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// Parameter `bias`.
    #[default]
    Learned,
    /// None: what follows has a shift of its own, a batch norm for example.
    None,
}

/// PyTorch's start of a weight and its bias: uniform in `±1/√fan_in`.
///
/// Its source calls the weight's part `kaiming_uniform_(a = √5)`, whose bound `√(6 / ((1 + 5) · fan_in))` is the same.
pub(crate) fn fan_in_uniform(
    vb: &VarBuilder,
    weight: &[usize],
    bias: Bias,
) -> Result<(Tensor, Option<Tensor>)> {
    let fan_in: usize = weight[1..].iter().product();
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    let init = Init::Uniform { lo: -bound, up: bound };
    let bias = match bias {
        Bias::Learned => Some(vb.get_with_hints(weight[0], "bias", init)?),
        Bias::None => None,
    };
    Ok((vb.get_with_hints(weight, "weight", init)?, bias))
}
