//! Convolution, batch norm and activation, the brick of most networks since 2015.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::BatchNorm;
use nn_core::{Ctx, Layer, Mode, Through};

use crate::batch_norm::BatchNorm2d;
use crate::conv2d::{Conv2d, Conv2dConfig};

/// Options of [`ConvNorm`].
#[derive(Clone, Copy, Debug)]
pub struct ConvNormConfig<'a> {
    /// What convolution and norm are called: the last parts of their parameters' names.
    pub names: [&'a str; 2],
    /// Of the convolution.
    pub conv: Conv2dConfig,
    /// Of the norm, and what follows it.
    pub norm: BatchNorm,
}

/// `activation(norm(conv(x)))`, two layers with parameters of their own.
///
/// In training the activation runs in the norm's pass; in evaluation all three are one pass over memory.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm2d,
    names: [Box<str>; 2],
}

impl ConvNorm {
    /// From `channels[0]` to `channels[1]` channels with a `[height, width]` kernel.
    ///
    /// The layers' parameters are found in `vb` under `cfg.names`, side by side.
    ///
    /// # Errors
    /// If `groups` does not divide both channel counts, or `vb` has the names with other shapes.
    pub fn new(
        channels: [usize; 2],
        kernel: [usize; 2],
        cfg: ConvNormConfig<'_>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let [conv, norm] = cfg.names;
        Ok(Self {
            conv: Conv2d::new(channels, kernel, cfg.conv, vb.pp(conv))?,
            norm: BatchNorm2d::new(channels[1], cfg.norm, vb.pp(norm))?,
            names: cfg.names.map(Box::from),
        })
    }
}

impl Layer for ConvNorm {
    /// `[B, c_in, H, W]` → `[B, c_out, H', W']`
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        if ctx.mode() == Mode::Eval && !ctx.is_observed() {
            let line = self.norm.line()?;
            return self.conv.scaled(x, line, self.norm.activation());
        }
        let [conv, norm] = &self.names;
        x.through(conv, &self.conv, ctx)?.through(norm, &self.norm, ctx)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use nn_core::ctx::{Event, Observer};
    use nn_core::ops::Activation;
    use nn_core::testing::{assert_close, randn};
    use nn_core::{Layer, ParamStore};

    use super::*;
    use crate::Bias;

    struct Listener;

    impl Observer for Listener {
        fn observe(&self, _: &Event<'_>) {}
    }

    /// One pass and two layers give the same numbers, after training has moved the statistics.
    #[test]
    fn one_pass_is_the_two_layers() -> Result<()> {
        for bias in [Bias::Learned, Bias::None] {
            let store = ParamStore::new(3);
            let cfg = ConvNormConfig {
                names: ["conv", "bn"],
                conv: Conv2dConfig { bias, ..Conv2dConfig::default() },
                norm: BatchNorm { activation: Some(Activation::Relu), ..BatchNorm::default() },
            };
            let layer = ConvNorm::new([2, 4], [3, 3], cfg, store.vb(DType::F64, &Device::Cpu))?;
            let x = randn(1, (3, 2, 6, 6))?;
            layer.call(&x, &Ctx::train(0))?;
            for (name, var) in store.parameters() {
                var.set(&(randn(name.len() as u64, var.dims())? + 0.5)?)?;
            }
            let two = layer.call(&x, &Ctx::eval().observed(&Listener))?;
            assert_close(&layer.call(&x, &Ctx::eval())?, &two, 1e-12, 1e-12)?;
        }
        Ok(())
    }
}
