//! What a forward pass knows besides its input: mode, random numbers and who is watching.
//!
//! A context is a value on the stack, passed down by reference; [`Ctx::at`] names the place a layer is called
//! from, so a draw belongs to (seed, step, path) and an observer hears paths such as `features.0`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use crate::Peers;
use crate::layer::Layer;
use crate::random::Random;

/// Whether the pass is part of training: dropout drops, batch norm uses and updates batch statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The model is being used.
    Eval,
    /// The model is being trained.
    Train,
}

/// Hears of every layer called through [`Through`](crate::Through), inner layers before the ones that hold them.
///
/// The model summary, feature taps and per-layer timing are observers.
pub trait Observer: Sync {
    /// Called when `event.layer` has returned.
    fn observe(&self, event: &Event<'_>);
}

/// One finished layer call.
pub struct Event<'a> {
    /// The layer that was called.
    pub layer: &'a dyn Layer,
    /// What it was given.
    pub input: &'a Tensor,
    /// What it returned.
    pub output: &'a Tensor,
    ctx: &'a Ctx<'a>,
}

impl Event<'_> {
    /// The dotted path of names the layer was called under, `features.0`.
    pub fn path(&self) -> String {
        self.ctx.path()
    }
}

/// Mode, random numbers and observer of one forward pass, at one place in the model.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    mode: Mode,
    random: Random,
    observer: Option<&'a dyn Observer>,
    frozen: Option<&'a BTreeSet<String>>,
    peers: Option<&'a Arc<dyn Peers>>,
    scope: Option<(&'a Ctx<'a>, &'a str)>,
}

impl<'a> Ctx<'a> {
    /// A pass that uses the model: nothing is random, nothing is updated.
    pub fn eval() -> Self {
        Self {
            mode: Mode::Eval,
            random: Random::new(0),
            observer: None,
            frozen: None,
            peers: None,
            scope: None,
        }
    }

    /// A training pass whose draws come from `seed`; give each step its number with [`Ctx::step`].
    pub fn train(seed: u64) -> Self {
        Self { mode: Mode::Train, random: Random::new(seed).at("ctx"), ..Self::eval() }
    }

    /// The same pass at optimisation step `step`: other draws, as repeatable.
    #[must_use]
    pub fn step(self, step: u64) -> Self {
        Self { random: self.random.nth(step), ..self }
    }

    /// The same pass, watched by `observer`.
    #[must_use]
    pub fn observed(self, observer: &'a dyn Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The same pass in which the layers with these paths, as [`ParamStore::frozen_layers`](crate::ParamStore) lists
    /// them, are used and not trained: their dropout is off, their batch norms keep to what they have learned.
    #[must_use]
    pub fn freezing(self, layers: &'a BTreeSet<String>) -> Self {
        Self { frozen: Some(layers).filter(|layers| !layers.is_empty()), ..self }
    }

    /// The same pass whose batch norms take the statistics of all processes' parts of the batch together, as if one had them
    /// all.
    ///
    /// Source: Peng et al. 2018, arXiv:1711.07240, §3.2, "Cross-GPU Batch Normalization".
    #[must_use]
    pub fn synchronised(self, peers: &'a Arc<dyn Peers>) -> Self {
        Self { peers: Some(peers), ..self }
    }

    /// The same pass with nothing random and nothing updated.
    #[must_use]
    pub fn evaluating(self) -> Self {
        Self { mode: Mode::Eval, ..self }
    }

    /// The context of the layer called `name` inside this one.
    pub fn at<'b>(&'b self, name: &'b str) -> Ctx<'b> {
        let inner = Ctx {
            mode: self.mode,
            random: self.random.at(name),
            observer: self.observer,
            frozen: self.frozen,
            peers: self.peers,
            scope: Some((self, name)),
        };
        match self.frozen {
            Some(layers) if self.mode == Mode::Train && layers.contains(&inner.path()) => inner.evaluating(),
            _ => inner,
        }
    }

    /// Whether this pass trains.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The random numbers that belong to this place at this step.
    pub fn random(&self) -> Random {
        self.random
    }

    /// Those with whom a batch norm shares its statistics.
    pub fn peers(&self) -> Option<&'a Arc<dyn Peers>> {
        self.peers
    }

    /// The dotted path of names from the root; empty there.
    pub fn path(&self) -> String {
        match self.scope {
            None => String::new(),
            Some((parent, name)) => {
                let path = parent.path();
                if path.is_empty() { name.to_owned() } else { path + "." + name }
            }
        }
    }

    /// Whether somebody listens to every layer: then layers must not be run as one.
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Tells the observer of a call in this context that did not go through [`Through`](crate::Through): of a layer that
    /// takes or returns more than one tensor.
    pub fn report(&self, layer: &dyn Layer, input: &Tensor, output: &Tensor) {
        if let Some(observer) = self.observer {
            observer.observe(&Event { layer, input, output, ctx: self });
        }
    }
}

impl fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("mode", &self.mode).field("path", &self.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use candle_core::{Device, Result};

    use super::*;
    use crate::layer::Through;

    #[derive(Default)]
    struct Paths(Mutex<Vec<String>>);

    impl Observer for Paths {
        fn observe(&self, event: &Event<'_>) {
            self.0.lock().expect("no thread panicked").push(format!(
                "{} {}",
                event.path(),
                event.layer.kind()
            ));
        }
    }

    struct Twice;

    impl Layer for Twice {
        fn call(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
            x.through("first", &Tensor::relu, ctx)?.through("second", &Tensor::relu, ctx)
        }
    }

    #[test]
    fn an_observer_hears_every_layer_by_its_path() -> Result<()> {
        let paths = Paths::default();
        let x = Tensor::new(&[-1f32, 2.0], &Device::Cpu)?;
        x.through("block", &Twice, &Ctx::eval().observed(&paths))?;
        let paths = paths.0.into_inner().expect("no thread panicked");
        assert_eq!(paths.len(), 3);
        assert!(paths[0].starts_with("block.first ") && paths[1].starts_with("block.second "), "{paths:?}");
        assert_eq!(paths[2], "block Twice");
        Ok(())
    }

    #[test]
    fn frozen_layers_evaluate_and_so_does_all_within_them() {
        let frozen = BTreeSet::from(["features.0".to_owned()]);
        let ctx = Ctx::train(0).freezing(&frozen);
        let features = ctx.at("features");
        let modes = ["0", "1"].map(|name| features.at(name).mode());
        assert_eq!(
            (ctx.mode(), features.mode(), modes),
            (Mode::Train, Mode::Train, [Mode::Eval, Mode::Train])
        );
        assert_eq!(features.at("0").at("norm").mode(), Mode::Eval);
        // Another layer of that name, elsewhere.
        assert_eq!(ctx.at("head").at("0").mode(), Mode::Train);
    }

    #[test]
    fn draws_depend_on_seed_step_and_path_only() {
        let draw = |seed, step, name: &str| Ctx::train(seed).step(step).at(name).random().block(0);
        assert_eq!(draw(1, 2, "a"), draw(1, 2, "a"));
        assert_ne!(draw(1, 2, "a"), draw(2, 2, "a"));
        assert_ne!(draw(1, 2, "a"), draw(1, 3, "a"));
        assert_ne!(draw(1, 2, "a"), draw(1, 2, "b"));
    }
}
