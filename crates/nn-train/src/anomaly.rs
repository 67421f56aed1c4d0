//! Where a forward pass ceased to be finite.

use std::fmt;
use std::sync::OnceLock;

use candle_core::{DType, Result, Tensor};
use nn_core::ctx::{Event, Observer};
use nn_core::{Ctx, ParamStore};

/// The first thing in a forward pass that is no finite number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// A parameter or buffer, by its name: the step before, or the weights it started from, spoiled it.
    Parameter(String),
    /// What a layer is given, by the layer's path: the data, or what is computed outside of layers.
    Input(String),
    /// What a layer with finite parameters makes of a finite input.
    Output {
        /// The layer's path.
        layer: String,
        /// The type's name.
        kind: &'static str,
    },
    /// The loss, of layers all of whose outputs are finite.
    Loss,
}

impl Anomaly {
    /// Looks for it: first among the tensors of `store`, then in the layers of a forward pass that is repeated. `pass`
    /// is the pass in the context it gets; layers that are not called through [`nn_core::Through`] are not heard.
    ///
    /// # Errors
    /// What `pass` says.
    pub fn find(
        store: &ParamStore,
        ctx: &Ctx<'_>,
        pass: impl FnOnce(&Ctx<'_>) -> Result<()>,
    ) -> Result<Self> {
        if let Some(parameter) = Self::parameter(store)? {
            return Ok(parameter);
        }
        let finder = Finder::default();
        pass(&ctx.observed(&finder))?;
        Ok(finder.0.into_inner().unwrap_or(Self::Loss))
    }

    /// The first tensor of `store` that is not finite, if one is.
    pub(crate) fn parameter(store: &ParamStore) -> Result<Option<Self>> {
        for (name, tensor) in store.tensors() {
            if !is_finite(&tensor)? {
                return Ok(Some(Self::Parameter(name)));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "{name} is no longer finite"),
            Self::Input(layer) => write!(f, "what layer {layer} is given is not finite"),
            Self::Output { layer, kind } => {
                write!(f, "the first output that is not finite is that of layer {layer} ({kind})")
            }
            Self::Loss => f.write_str("the output of every layer is finite"),
        }
    }
}

/// Keeps the first anomaly it hears of.
#[derive(Default)]
struct Finder(OnceLock<Anomaly>);

impl Observer for Finder {
    /// Inner layers come before those that hold them, so the first is the innermost.
    fn observe(&self, event: &Event<'_>) {
        // A tensor that cannot be read fails the pass itself.
        if self.0.get().is_some() || is_finite(event.output).unwrap_or(true) {
            return;
        }
        let (layer, kind) = (event.path(), event.layer.kind());
        let given = is_finite(event.input).unwrap_or(true);
        let _ = self.0.set(if given { Anomaly::Output { layer, kind } } else { Anomaly::Input(layer) });
    }
}

/// Whether all of a tensor's numbers are finite; integers always are.
pub(crate) fn is_finite(t: &Tensor) -> Result<bool> {
    let t = t.flatten_all()?;
    Ok(match t.dtype() {
        dtype if dtype.is_int() => true,
        DType::F32 => t.to_vec1::<f32>()?.iter().all(|v| v.is_finite()),
        _ => t.to_dtype(DType::F64)?.to_vec1::<f64>()?.iter().all(|v| v.is_finite()),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use nn_core::Through;

    use super::*;

    fn scale(by: f64) -> impl Fn(&Tensor) -> Result<Tensor> + Send + Sync {
        move |x: &Tensor| x * by
    }

    fn found(input: f32, parameter: f64, factors: [f64; 2]) -> Result<Anomaly> {
        let store = ParamStore::new(0);
        let vb = store.vb(DType::F32, &Device::Cpu);
        let weight = vb.pp("first").get_with_hints(1, "weight", candle_nn::Init::Const(parameter))?;
        Anomaly::find(&store, &Ctx::train(0), |ctx| {
            let x = Tensor::new(&[input], &Device::Cpu)?.broadcast_mul(&weight)?;
            let block = ctx.at("block");
            x.through("first", &scale(factors[0]), &block)?.through("second", &scale(factors[1]), &block)?;
            Ok(())
        })
    }

    #[test]
    fn the_first_culprit_is_named() -> Result<()> {
        let told = |anomaly: Anomaly| anomaly.to_string();
        assert_eq!(found(1.0, 1.0, [2.0, 3.0])?, Anomaly::Loss);
        assert_eq!(told(found(1.0, f64::NAN, [2.0, 3.0])?), "first.weight is no longer finite");
        assert_eq!(
            told(found(f32::INFINITY, 1.0, [2.0, 3.0])?),
            "what layer block.first is given is not finite"
        );
        let second = told(found(1.0, 1.0, [2.0, f64::NAN])?);
        assert!(second.contains("not finite is that of layer block.second ("), "{second}");
        let first = told(found(1.0, 1.0, [f64::INFINITY, 1.0])?);
        assert!(first.contains("that of layer block.first ("), "{first}");
        Ok(())
    }
}
