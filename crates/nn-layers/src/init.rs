//! Start values as in PyTorch, and whether there is a bias to start.

use candle_core::{Result, Tensor};
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use candle_nn::{Init, VarBuilder};

/// Normal with variance `2/fan_in`: before a ReLU, activations keep their size on the way forward.
///
/// Source: He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852, equation 10. PyTorch's `kaiming_normal_`.
pub const HE_FAN_IN: Init = he(FanInOut::FanIn);

/// Normal with variance `2/fan_out`: gradients keep their size on the way back.
///
/// `fan_out` is `c_out · kh · kw`, groups or none, as PyTorch's `kaiming_normal_(mode="fan_out")` counts.
pub const HE_FAN_OUT: Init = he(FanInOut::FanOut);

const fn he(fan: FanInOut) -> Init {
    Init::Kaiming { dist: NormalOrUniform::Normal, fan, non_linearity: NonLinearity::ReLU }
}

/// Normal with mean 0 and the standard deviation given.
pub const fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}

/// Uniform in `±√(6 / (fan_in + fan_out))`: a compromise between the way forward and the way back.
///
/// Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.
/// PyTorch's `xavier_uniform_`.
pub fn xavier_uniform(fan_in: usize, fan_out: usize) -> Init {
    let bound = (6.0 / (fan_in + fan_out) as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// Whether a layer adds a learned number to each output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Bias {
    /// Parameter `bias`, which starts uniform in `±1/√fan_in`.
    #[default]
    Learned,
    /// Parameter `bias`, which starts at this number.
    StartsAt(f64),
    /// None: what follows has a shift of its own, a batch norm for example.
    None,
}

/// A weight and its bias; without an `init` the weight starts uniform in `±1/√fan_in`, PyTorch's default.
///
/// Its source calls the weight's part `kaiming_uniform_(a = √5)`, whose bound `√(6 / ((1 + 5) · fan_in))` is the same.
pub(crate) fn weight_and_bias(
    vb: &VarBuilder,
    weight: &[usize],
    bias: Bias,
    init: Option<Init>,
) -> Result<(Tensor, Option<Tensor>)> {
    let fan_in: usize = weight[1..].iter().product();
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    let uniform = Init::Uniform { lo: -bound, up: bound };
    let bias = match bias {
        Bias::Learned => Some(vb.get_with_hints(weight[0], "bias", uniform)?),
        Bias::StartsAt(value) => Some(vb.get_with_hints(weight[0], "bias", Init::Const(value))?),
        Bias::None => None,
    };
    Ok((vb.get_with_hints(weight, "weight", init.unwrap_or(uniform))?, bias))
}
