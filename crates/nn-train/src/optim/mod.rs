//! Optimisers with PyTorch's update rules: one pass over memory per parameter on the CPU.

mod adam;
mod sgd;

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::{ensure, ops};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use adam::Adam;
pub use sgd::Sgd;

/// How gradients change parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adaptive moments.
    Adam(Adam),
}

impl Default for Rule {
    fn default() -> Self {
        Self::Sgd(Sgd::default())
    }
}

impl Rule {
    /// # Errors
    /// If a hyper-parameter is out of range; the message gives the range.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Sgd(rule) => rule.check(),
            Self::Adam(rule) => rule.check(),
        }
    }

    /// The names of the tensors it keeps for each parameter, as PyTorch calls them.
    fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(rule) => rule.slots(),
            Self::Adam(rule) => rule.slots(),
        }
    }
}

/// One parameter's update: the learning rate and which one it is.
#[derive(Clone, Copy)]
struct Turn {
    lr: f64,
    /// Counted from 1.
    number: u64,
}

/// An update rule on numbers and on tensors; both round alike.
trait Update: Sync {
    /// Changes a stretch of a parameter, `state[0]`, and of what is kept for it, the rest, by its gradient.
    fn stretch(&self, turn: Turn, state: &mut [&mut [f32]], grad: &[f32]);

    /// The same from Candle operations: the new parameter and what is kept for it.
    fn tensors(&self, turn: Turn, state: &[&Tensor], grad: &Tensor) -> Result<Vec<Tensor>>;
}

/// Parameters and what the rule keeps for each of them, sorted by name.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    parameters: Vec<(String, Var)>,
    slots: Vec<Slot>,
}

/// What is kept for a parameter.
#[derive(Debug)]
struct Slot {
    /// Updates so far; those without a gradient do not count.
    updates: u64,
    state: Vec<Var>,
}

/// Elements that a thread updates at a time: 64 KiB of each tensor.
const STRETCH: usize = 16_384;

impl Optimizer {
    /// Will train `parameters`, as [`nn_core::ParamStore::parameters`] lists them.
    ///
    /// # Errors
    /// If a hyper-parameter of the rule is out of range.
    pub fn new(rule: Rule, mut parameters: Vec<(String, Var)>) -> Result<Self> {
        rule.check()?;
        parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
        let slots = parameters.iter().map(|(_, var)| {
            let state = rule.slots().iter().map(|_| Var::zeros(var.shape(), var.dtype(), var.device()));
            Ok(Slot { updates: 0, state: state.collect::<Result<_>>()? })
        });
        let slots = slots.collect::<Result<_>>()?;
        Ok(Self { rule, parameters, slots })
    }

    /// The rule it follows.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// What it trains, sorted by name.
    pub fn parameters(&self) -> &[(String, Var)] {
        &self.parameters
    }

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    /// If `lr` is negative or not finite, or a gradient has another shape than its parameter.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        ensure!(lr.is_finite() && lr >= 0.0, "Optimizer: lr must be 0 or more, got {lr}");
        let rule: &dyn Update = match &self.rule {
            Rule::Sgd(rule) => rule,
            Rule::Adam(rule) => rule,
        };
        for ((name, var), slot) in self.parameters.iter().zip(&mut self.slots) {
            let Some(grad) = grads.get(var) else { continue };
            ensure!(
                grad.dims() == var.dims(),
                "Optimizer: {name} is {:?}, got a gradient of {:?}",
                var.dims(),
                grad.dims()
            );
            slot.updates += 1;
            update(rule, Turn { lr, number: slot.updates }, var, &slot.state, grad)?;
        }
        Ok(())
    }

    /// What is kept between steps: `{parameter}.momentum_buffer`, `.exp_avg`, `.exp_avg_sq` and the number of
    /// updates as `.step`; nothing for a rule without memory. The tensors are the optimiser's own, not copies.
    ///
    /// # Errors
    /// Never on the CPU.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let names = self.rule.slots();
        let mut tensors = BTreeMap::new();
        for ((name, _), slot) in self.parameters.iter().zip(&self.slots) {
            for (kept, var) in names.iter().zip(&slot.state) {
                tensors.insert(format!("{name}.{kept}"), var.as_tensor().clone());
            }
            if !names.is_empty() {
                tensors.insert(format!("{name}.step"), Tensor::new(slot.updates as i64, &Device::Cpu)?);
            }
        }
        Ok(tensors)
    }

    /// Takes over what [`Optimizer::state`] gave out.
    ///
    /// # Errors
    /// If names or shapes are not exactly this optimiser's; it is then left as it was.
    pub fn set_state(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let own = self.state()?;
        let missing = own.keys().find(|name| !tensors.contains_key(*name));
        ensure!(missing.is_none(), "Optimizer: the state lacks {}", missing.map_or("", |n| n));
        for (name, theirs) in tensors {
            let Some(ours) = own.get(name) else {
                candle_core::bail!("Optimizer: the state has {name}, which is not kept here")
            };
            ensure!(
                ours.dims() == theirs.dims() && ours.dtype() == theirs.dtype(),
                "Optimizer: {name} is {:?} {:?}, got {:?} {:?}",
                ours.dtype(),
                ours.dims(),
                theirs.dtype(),
                theirs.dims()
            );
        }
        let names = self.rule.slots();
        for ((name, _), slot) in self.parameters.iter().zip(&mut self.slots) {
            for (kept, var) in names.iter().zip(&slot.state) {
                var.set(&tensors[&format!("{name}.{kept}")].to_device(var.device())?)?;
            }
            if !names.is_empty() {
                slot.updates = tensors[&format!("{name}.step")].to_scalar::<i64>()?.max(0) as u64;
            }
        }
        Ok(())
    }
}

fn update(rule: &dyn Update, turn: Turn, var: &Var, kept: &[Var], grad: &Tensor) -> Result<()> {
    let state: Vec<&Tensor> = std::iter::once(var).chain(kept).map(Var::as_tensor).collect();
    let plain = |x: &Tensor| x.dtype() == DType::F32 && x.device().is_cpu();
    if plain(grad) && state.iter().all(|x| plain(x) && x.is_contiguous()) {
        return ops::update_in_place(&state, grad, |state, grad| whole(rule, turn, state, grad));
    }
    let new = rule.tensors(turn, &state, grad)?;
    std::iter::once(var).chain(kept).zip(&new).try_for_each(|(var, new)| var.set(new))
}

/// All stretches of a parameter, on several threads if there are several.
fn whole(rule: &dyn Update, turn: Turn, state: &mut [&mut [f32]], grad: &[f32]) {
    let one = |(mut state, grad): (Vec<&mut [f32]>, &[f32])| rule.stretch(turn, &mut state, grad);
    if grad.len() <= STRETCH {
        return rule.stretch(turn, state, grad);
    }
    let mut stretches: Vec<(Vec<&mut [f32]>, &[f32])> =
        grad.chunks(STRETCH).map(|grad| (Vec::with_capacity(state.len()), grad)).collect();
    for tensor in state {
        stretches.iter_mut().zip(tensor.chunks_mut(STRETCH)).for_each(|((state, _), part)| state.push(part));
    }
    stretches.into_par_iter().for_each(one);
}

#[cfg(test)]
mod tests;
