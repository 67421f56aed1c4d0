//! What is another in each step of a run.

use candle_core::Result;
use nn_core::ensure;

use super::{Adam, AdamW, Lamb, Lion, NAdam, RAdam, RmsProp, Rule, Sgd};

/// What [`Optimizer::step`](super::Optimizer::step) is told for a step; a number is a learning rate alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The learning rate.
    pub lr: f64,
    /// Momentum in place of the rule's own: of SGD and RMSprop `momentum`, of Adam and its like `beta1`.
    pub momentum: Option<f64>,
}

impl From<f64> for Pace {
    fn from(lr: f64) -> Self {
        Self { lr, momentum: None }
    }
}

impl Rule {
    /// The same rule with another momentum: of SGD and RMSprop `momentum`, of Adam and its like `beta1`.
    ///
    /// # Errors
    /// If the rule has none, its own is 0, so that it keeps none, or `momentum` is not in [0, 1).
    pub fn with_momentum(self, momentum: f64) -> Result<Self> {
        ensure!((0.0..1.0).contains(&momentum), "Rule: momentum must be in [0, 1), got {momentum}");
        let beta1 = momentum;
        Ok(match self {
            Self::Sgd(rule) if rule.momentum > 0.0 => Self::Sgd(Sgd { momentum, ..rule }),
            Self::RmsProp(rule) if rule.momentum > 0.0 => Self::RmsProp(RmsProp { momentum, ..rule }),
            Self::Adam(rule) => Self::Adam(Adam { beta1, ..rule }),
            Self::AdamW(rule) => Self::AdamW(AdamW { beta1, ..rule }),
            Self::NAdam(rule) => Self::NAdam(NAdam { beta1, ..rule }),
            Self::RAdam(rule) => Self::RAdam(RAdam { beta1, ..rule }),
            Self::Lamb(rule) => Self::Lamb(Lamb { beta1, ..rule }),
            Self::Lion(rule) => Self::Lion(Lion { beta1, ..rule }),
            Self::Sgd(_) | Self::RmsProp(_) => {
                candle_core::bail!(
                    "Rule: a momentum that moves needs one above 0 to begin with, got {self:?}"
                )
            }
            Self::Adagrad(_) | Self::Adadelta(_) => {
                candle_core::bail!("Rule: {self:?} has no momentum that could be another")
            }
        })
    }
}
