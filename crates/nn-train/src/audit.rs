//! Which parameters the loss of the first step does not depend on: a layer that is not called, a graph that is cut.

use candle_core::Var;
use candle_core::backprop::GradStore;

use crate::error::TrainError;
use crate::trainer::Trainer;

/// The names of those of `parameters` that have no gradient in `grads`: a step leaves them as they are.
pub fn without_gradient(grads: &GradStore, parameters: &[(String, Var)]) -> Vec<String> {
    parameters.iter().filter(|(_, var)| grads.get(var).is_none()).map(|(name, _)| name.clone()).collect()
}

impl Trainer {
    /// Lets parameters be without a gradient in the first step: those of whose name and tensor `belongs` is true. Heads
    /// that the loss does not always look at, say. By default that is [`TrainError::Unused`].
    pub fn allow_unused(&mut self, belongs: impl Fn(&str, &Var) -> bool) {
        let parameters = self.optimizer.parameters().iter();
        self.unused.extend(parameters.filter(|(name, var)| belongs(name, var)).map(|(name, _)| name.clone()));
    }

    /// # Errors
    /// [`TrainError::Unused`] if a parameter that must have a gradient has none.
    pub(crate) fn audit(&self, grads: &GradStore) -> Result<(), TrainError> {
        let mut parameters = without_gradient(grads, self.optimizer.parameters());
        parameters.retain(|name| !self.unused.contains(name));
        if parameters.is_empty() { Ok(()) } else { Err(TrainError::Unused { parameters }) }
    }
}
