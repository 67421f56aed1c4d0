//! The contract every layer and model keeps, and the bridges to and from Candle's `Module` and `ModuleT`.

use std::any::type_name;

use candle_core::{Module, Result, Tensor};
use candle_nn::ModuleT;

use crate::ctx::{Ctx, Mode};

/// A function of a tensor with parameters of its own.
///
/// Every stateless [`Module`] is a layer, closures `Fn(&Tensor) -> Result<Tensor>` included; layers that
/// behave differently in training look at the context.
pub trait Layer: Send + Sync {
    /// The layer's output for `x` in the pass described by `ctx`.
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor>;

    /// The type's name without its path: `Conv2d`.
    fn kind(&self) -> &'static str {
        short_name(type_name::<Self>())
    }

    /// Multiply-adds of the call that made `y` from `x`, without those of layers called inside.
    fn multiply_adds(&self, _x: &Tensor, _y: &Tensor) -> u64 {
        0
    }
}

/// `a::b::Conv2d` → `Conv2d`, also in front of type arguments.
fn short_name(full: &'static str) -> &'static str {
    let end = full.find(['<', '{']).unwrap_or(full.len());
    let start = full[..end].rfind("::").map_or(0, |i| i + 2);
    if start >= end { "Closure" } else { &full[start..end] }
}

impl<M: Module + Send + Sync> Layer for M {
    fn call(&self, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        self.forward(x)
    }
}

impl Layer for Box<dyn Layer> {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.as_ref().call(x, ctx)
    }

    fn kind(&self) -> &'static str {
        self.as_ref().kind()
    }

    fn multiply_adds(&self, x: &Tensor, y: &Tensor) -> u64 {
        self.as_ref().multiply_adds(x, y)
    }
}

/// Calls layers in the order they read: `x.through("conv1", &self.conv1, ctx)?.through("act", …)`.
pub trait Through {
    /// Sends the tensor through `layer`, called `name` inside the layer whose context is `ctx`.
    fn through<L: Layer>(&self, name: &str, layer: &L, ctx: &Ctx) -> Result<Tensor>;
}

impl Through for Tensor {
    fn through<L: Layer>(&self, name: &str, layer: &L, ctx: &Ctx) -> Result<Tensor> {
        let ctx = ctx.at(name);
        let y = layer.call(self, &ctx)?;
        ctx.report(layer, self, &y);
        Ok(y)
    }
}

/// A layer in a fixed context as Candle's [`Module`], which has no mode.
pub struct AsModule<'a, L>(pub &'a L, pub Ctx<'a>);

impl<L: Layer> Module for AsModule<'_, L> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.call(x, &self.1)
    }
}

/// A layer as Candle's [`ModuleT`]: trains in the context given, or evaluates.
pub struct AsModuleT<'a, L>(pub &'a L, pub Ctx<'a>);

impl<L: Layer> ModuleT for AsModuleT<'_, L> {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let ctx = if train { self.1 } else { self.1.evaluating() };
        self.0.call(x, &ctx)
    }
}

/// Any of Candle's mode-dependent modules as a [`Layer`]: it trains when the context trains.
pub struct FromModuleT<M>(pub M);

impl<M: ModuleT + Send + Sync> Layer for FromModuleT<M> {
    fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.0.forward_t(x, ctx.mode() == Mode::Train)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Adds one in training, nothing in evaluation.
    struct Moody;

    impl Layer for Moody {
        fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
            match ctx.mode() {
                Mode::Eval => Ok(x.clone()),
                Mode::Train => x + 1.0,
            }
        }
    }

    #[test]
    fn adapters_carry_the_mode_both_ways() -> Result<()> {
        let x = Tensor::new(&[1f32], &Device::Cpu)?;
        let value = |t: Tensor| t.to_vec1::<f32>().map(|v| v[0]);
        let train = Ctx::train(0);
        assert_eq!(value(AsModule(&Moody, train).forward(&x)?)?, 2.0);
        assert_eq!(value(AsModuleT(&Moody, train).forward_t(&x, true)?)?, 2.0);
        assert_eq!(value(AsModuleT(&Moody, train).forward_t(&x, false)?)?, 1.0);
        let back = FromModuleT(candle_nn::Dropout::new(0.5));
        assert_eq!(value(back.call(&x, &Ctx::eval())?)?, 1.0);
        assert!([0.0, 2.0].contains(&value(back.call(&x, &train)?)?));
        Ok(())
    }

    #[test]
    fn kinds_are_short() {
        assert_eq!(Moody.kind(), "Moody");
        assert_eq!(FromModuleT(candle_nn::Dropout::new(0.1)).kind(), "FromModuleT");
        let boxed: Box<dyn Layer> = Box::new(Moody);
        assert_eq!(boxed.kind(), "Moody");
    }
}
