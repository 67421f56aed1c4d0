//! A plain Candle model made trainable: a few functions are swapped, and nothing else of this workspace is used.
//!
//! `cargo run --release -p nn-core --example swap_ops`
//!
//! The network is a small stem: convolution, 3×3 maximum with stride 2, layer norm, one linear layer. With Candle's own
//! functions nothing before the linear layer is trained, without a word: the norm drops the graph. Without the norm, the
//! backward pass would fail at the maximum.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Conv2dConfig, Init, Module, Optimizer, SGD, VarBuilder, VarMap};
use nn_core::ops;

struct Net {
    conv: candle_nn::Conv2d,
    norm: [Tensor; 2],
    head: candle_nn::Linear,
}

const SIDE: usize = 16;
const CHANNELS: usize = 8;
/// Pixels of a channel after the maximum.
const POOLED: usize = SIDE / 2 * SIDE / 2;

impl Net {
    fn new(vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let norm = vb.pp("norm");
        Ok(Self {
            conv: candle_nn::conv2d(1, CHANNELS, 3, config, vb.pp("conv"))?,
            norm: [
                norm.get_with_hints(POOLED, "weight", Init::Const(1.0))?,
                norm.get_with_hints(POOLED, "bias", Init::Const(0.0))?,
            ],
            head: candle_nn::linear(CHANNELS * POOLED, 2, vb.pp("head"))?,
        })
    }

    /// As one would write it with stock Candle.
    fn stock(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv.forward(x)?.relu()?;
        let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2)?;
        let [weight, bias] = &self.norm;
        let x = candle_nn::ops::layer_norm(&x.flatten_from(2)?.contiguous()?, weight, bias, 1e-5)?;
        self.head.forward(&x.flatten_from(1)?)
    }

    /// The same with this crate's functions on the same parameters.
    fn swapped(&self, x: &Tensor) -> Result<Tensor> {
        let padded = ops::Convolution { padding: ops::Padding::Symmetric([1, 1]), ..Default::default() };
        let x = ops::relu(&ops::conv2d(x, self.conv.weight(), self.conv.bias(), padded)?)?;
        let pool = ops::MaxPool2d { stride: [2, 2], padding: [1, 1], ..ops::MaxPool2d::new([3, 3]) };
        let x = ops::max_pool2d(&x, pool)?;
        let [weight, bias] = &self.norm;
        let x = ops::layer_norm(&x.flatten_from(2)?, 1, Some(weight), Some(bias), 1e-5)?;
        ops::linear(&x.flatten_from(1)?, self.head.weight(), self.head.bias())
    }
}

/// Pictures of one bright line, lying (class 0) or standing (class 1), under noise.
fn lines(count: usize) -> Result<(Tensor, Tensor)> {
    let mut draws = nn_core::Random::new(1).draws();
    let mut pixels: Vec<f32> = (0..count * SIDE * SIDE).map(|_| 0.3 * draws.normal() as f32).collect();
    let labels: Vec<u32> = (0..count).map(|_| draws.below(2)).collect();
    for (picture, &label) in pixels.chunks_exact_mut(SIDE * SIDE).zip(&labels) {
        let at = draws.below(SIDE as u32) as usize;
        for i in 0..SIDE {
            picture[if label == 0 { at * SIDE + i } else { i * SIDE + at }] += 1.0;
        }
    }
    let pictures = Tensor::from_vec(pixels, (count, 1, SIDE, SIDE), &Device::Cpu)?;
    Ok((pictures, Tensor::from_vec(labels, count, &Device::Cpu)?))
}

/// Which parameters a backward pass from `loss` does not reach.
fn unreached(parameters: &VarMap, loss: &Tensor) -> Result<String> {
    let grads = loss.backward()?;
    let named = parameters.data().lock().expect("nobody panicked with it");
    let mut missing: Vec<&str> =
        named.iter().filter(|(_, var)| grads.get(var).is_none()).map(|(name, _)| name.as_str()).collect();
    missing.sort_unstable();
    Ok(if missing.is_empty() {
        "every parameter has a gradient".to_owned()
    } else {
        format!("no gradient for {}", missing.join(", "))
    })
}

fn main() -> Result<()> {
    let parameters = VarMap::new();
    let net = Net::new(VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu))?;
    let (x, labels) = lines(128)?;

    let loss = candle_nn::loss::cross_entropy(&net.stock(&x)?, &labels)?;
    println!("stock Candle: {}", unreached(&parameters, &loss)?);
    let loss = ops::cross_entropy(&net.swapped(&x)?, &labels, ops::Reduction::Mean)?;
    println!("swapped:      {}", unreached(&parameters, &loss)?);

    let mut sgd = SGD::new(parameters.all_vars(), 0.05)?;
    for step in 0..=60 {
        let loss = ops::cross_entropy(&net.swapped(&x)?, &labels, ops::Reduction::Mean)?;
        if step % 20 == 0 {
            println!("swapped:      step {step:2}, loss {:.4}", loss.to_scalar::<f32>()?);
        }
        sgd.backward_step(&loss)?;
    }
    Ok(())
}
