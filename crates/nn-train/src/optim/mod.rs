//! Optimisers with PyTorch's update rules: one pass over memory on the CPU, two of LAMB.
//!
//! A rule is a file: its options, and its arithmetic as a formula, which serves single numbers and
//! whole tensors alike.

mod adadelta;
mod adagrad;
mod adam;
mod apply;
mod formula;
mod lamb;
mod lerp;
mod lion;
mod nadam;
mod pace;
mod radam;
mod rmsprop;
mod sgd;

use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use nn_core::ensure;
use serde::{Deserialize, Serialize};

use self::adam::Moments;
use self::apply::{Update, apply};
use self::formula::Turn;

pub(crate) use lerp::lerp;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use lamb::Lamb;
pub use lion::Lion;
pub use nadam::NAdam;
pub use pace::Pace;
pub use radam::RAdam;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

/// How gradients change parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adaptive moments.
    Adam(Adam),
    /// Adaptive moments with weight decay apart.
    AdamW(AdamW),
    /// Adam with Nesterov's momentum.
    NAdam(NAdam),
    /// Adam that waits until its mean square can be trusted.
    RAdam(RAdam),
    /// Steps scaled by a running mean square.
    RmsProp(RmsProp),
    /// Steps scaled by a sum of squares.
    Adagrad(Adagrad),
    /// Steps in the units of the parameter.
    Adadelta(Adadelta),
    /// Adam with steps in proportion to each parameter's norm, for large batches.
    Lamb(Lamb),
    /// Steps by a sign.
    Lion(Lion),
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
        let decay = self.weight_decay();
        ensure!(decay.is_finite() && decay >= 0.0, "{self:?}: weight_decay must be 0 or more, got {decay}");
        match self {
            Self::Sgd(rule) => rule.check(),
            Self::Adam(rule) => rule.moments().check(),
            Self::AdamW(rule) => rule.moments().check(),
            Self::NAdam(rule) => rule.moments().check(),
            Self::RAdam(rule) => rule.moments().check(),
            Self::RmsProp(rule) => rule.check(),
            Self::Adagrad(rule) => rule.check(),
            Self::Adadelta(rule) => rule.check(),
            Self::Lamb(rule) => rule.moments().check(),
            Self::Lion(rule) => rule.check(),
        }
    }

    fn weight_decay(&self) -> f64 {
        match self {
            Self::Sgd(rule) => rule.weight_decay,
            Self::Adam(rule) => rule.weight_decay,
            Self::AdamW(rule) => rule.weight_decay,
            Self::NAdam(rule) => rule.weight_decay,
            Self::RAdam(rule) => rule.weight_decay,
            Self::RmsProp(rule) => rule.weight_decay,
            Self::Adagrad(rule) => rule.weight_decay,
            Self::Adadelta(rule) => rule.weight_decay,
            Self::Lamb(rule) => rule.weight_decay,
            Self::Lion(rule) => rule.weight_decay,
        }
    }

    /// The names of the tensors it keeps for each parameter, as PyTorch calls them.
    fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(rule) => rule.slots(),
            Self::Adam(rule) => rule.moments().slots(),
            Self::AdamW(rule) => rule.moments().slots(),
            Self::NAdam(_) | Self::RAdam(_) | Self::Lamb(_) => adam::MEANS,
            Self::RmsProp(rule) => rule.slots(),
            Self::Adagrad(_) => &["sum"],
            Self::Adadelta(_) => &["square_avg", "acc_delta"],
            Self::Lion(_) => &["exp_avg"],
        }
    }

    /// What the tensors it keeps start from.
    fn start(&self) -> f64 {
        match self {
            Self::Adagrad(rule) => rule.initial_accumulator_value,
            _ => 0.0,
        }
    }

    /// The one number it keeps beside them, after an update: PyTorch's name for it, and its factor.
    fn memo(&self, number: u64) -> Option<(&'static str, f64)> {
        match self {
            Self::NAdam(rule) => Some(("mu_product", rule.momentum(number))),
            _ => None,
        }
    }

    /// Updates parameters, and what is kept for them, by their gradients.
    fn update(&self, updates: &[Update<'_>]) -> Result<()> {
        // What is kept, not what this rule would keep: its momentum may be 0 in a step of one that has momentum.
        let kept = updates.first().map_or(0, |update| update.kept.len());
        match self {
            Self::Sgd(rule) if kept == 0 => apply::<0, _>(rule, updates),
            Self::Sgd(rule) => apply::<1, _>(rule, updates),
            Self::Adam(rule) => moments(&rule.moments(), updates),
            Self::AdamW(rule) => moments(&rule.moments(), updates),
            Self::NAdam(rule) => apply(rule, updates),
            Self::RAdam(rule) => apply(rule, updates),
            Self::RmsProp(rule) => match kept {
                1 => apply::<1, _>(rule, updates),
                2 => apply::<2, _>(rule, updates),
                _ => apply::<3, _>(rule, updates),
            },
            Self::Adagrad(rule) => apply(rule, updates),
            Self::Adadelta(rule) => apply(rule, updates),
            Self::Lamb(rule) => rule.apply(updates),
            Self::Lion(rule) => apply(rule, updates),
        }
    }
}

/// Adam's family, with the largest mean square or without.
fn moments(rule: &Moments, updates: &[Update<'_>]) -> Result<()> {
    if rule.amsgrad { apply::<3, _>(rule, updates) } else { apply::<2, _>(rule, updates) }
}

/// By what a group of parameters differs from the rule and the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Multiplies the learning rate: below 1 for a pretrained backbone, say.
    pub lr: f64,
    /// Multiplies the weight decay: 0 for biases and norms, say.
    pub weight_decay: f64,
}

impl Default for Scale {
    /// No difference.
    fn default() -> Self {
        Self { lr: 1.0, weight_decay: 1.0 }
    }
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
    scale: Scale,
    /// Updates so far; those without a gradient do not count.
    updates: u64,
    state: Vec<Var>,
    /// The product of the factors of [`Rule::memo`] so far.
    memo: f64,
}

impl Optimizer {
    /// Will train `parameters`, as [`nn_core::ParamStore::parameters`] lists them.
    ///
    /// # Errors
    /// If a hyper-parameter of the rule is out of range, or a parameter is there twice.
    pub fn new(rule: Rule, mut parameters: Vec<(String, Var)>) -> Result<Self> {
        rule.check()?;
        parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut known = HashMap::new();
        for (name, var) in &parameters {
            if let Some(other) = known.insert(var.id(), name) {
                candle_core::bail!(
                    "Optimizer: {other} and {name} are one parameter, which is to be listed once"
                );
            }
        }
        let slots = parameters.iter().map(|(_, var)| {
            let start = || Var::from_tensor(&(var.zeros_like()? + rule.start())?);
            let state = rule.slots().iter().map(|_| start()).collect::<Result<_>>()?;
            Ok(Slot { scale: Scale::default(), updates: 0, state, memo: 1.0 })
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

    /// Lets a group of parameters differ: those of whose name and tensor `belongs` is true. What belongs to several
    /// groups differs by the product of their factors.
    ///
    /// Weight decay on matrices and kernels alone, as most recipes for Transformers have it:
    /// `optimizer.scale(Scale { weight_decay: 0.0, ..Scale::default() }, |_, var| var.rank() < 2)`.
    /// The scales are no part of [`Optimizer::state`]: set them again after making the optimiser anew.
    ///
    /// # Errors
    /// If a factor is negative or not finite.
    pub fn scale(&mut self, scale: Scale, belongs: impl Fn(&str, &Var) -> bool) -> Result<()> {
        let Scale { lr, weight_decay } = scale;
        for (what, factor) in [("lr", lr), ("weight_decay", weight_decay)] {
            ensure!(
                factor.is_finite() && factor >= 0.0,
                "Optimizer: a scale of {what} must be 0 or more, got {factor}"
            );
        }
        for ((name, var), slot) in self.parameters.iter().zip(&mut self.slots) {
            if belongs(name, var) {
                slot.scale.lr *= lr;
                slot.scale.weight_decay *= weight_decay;
            }
        }
        Ok(())
    }

    /// Updates every parameter that has a gradient, at a learning rate, or at a [`Pace`] that names a momentum as well.
    ///
    /// # Errors
    /// If the rate is negative or not finite, the rule cannot take the momentum, or a gradient has another shape than its
    /// parameter; nothing is then changed. If a gradient shares its memory with a parameter or what is kept for one.
    pub fn step(&mut self, grads: &GradStore, pace: impl Into<Pace>) -> Result<()> {
        let Pace { lr, momentum } = pace.into();
        ensure!(lr.is_finite() && lr >= 0.0, "Optimizer: lr must be 0 or more, got {lr}");
        let rule = momentum.map_or(Ok(self.rule), |momentum| self.rule.with_momentum(momentum))?;
        for (name, var) in &self.parameters {
            let (own, dims) = (var.dims(), grads.get(var).map_or(var.dims(), Tensor::dims));
            ensure!(dims == own, "Optimizer: {name} is {own:?}, got a gradient of {dims:?}");
        }
        let decay = rule.weight_decay();
        let mut updates = Vec::with_capacity(self.slots.len());
        for ((_, var), slot) in self.parameters.iter().zip(&mut self.slots) {
            let Some(grad) = grads.get(var) else { continue };
            slot.updates += 1;
            let number = slot.updates;
            slot.memo *= rule.memo(number).map_or(1.0, |(_, factor)| factor);
            let Scale { lr: of_lr, weight_decay: of_decay } = slot.scale;
            let turn = Turn { lr: lr * of_lr, decay: decay * of_decay, number, memo: slot.memo };
            updates.push(Update { turn, var, kept: &slot.state, grad });
        }
        rule.update(&updates)
    }

    /// What is kept between steps: `{parameter}.momentum_buffer`, `.exp_avg`, … and the number of
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
            if let Some((kept, _)) = self.rule.memo(1) {
                tensors.insert(format!("{name}.{kept}"), Tensor::new(slot.memo, &Device::Cpu)?);
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
            if let Some((kept, _)) = self.rule.memo(1) {
                slot.memo = tensors[&format!("{name}.{kept}")].to_scalar()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
