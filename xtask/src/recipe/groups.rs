//! Parameters by the patterns of their names.

use anyhow::Result;
use nn_train::{Scale, Trainer};
use serde::{Deserialize, Serialize};

use crate::failure::{Advise, failed};

/// A name in which `*` stands for any letters, dots too, and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Pattern(glob::Pattern);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = glob::Pattern::new(&text);
        // Between dots, as in names, two stars have no meaning of their own.
        match pattern {
            Ok(pattern) if !text.is_empty() && !text.contains("**") => Ok(Self(pattern)),
            _ => Err(format!("{text} is no pattern of names: `*` stands for any letters, `?` for one")),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.as_str().to_owned()
    }
}

/// Parameters that differ from the others in rate and decay; a row of `train.scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// What they are called.
    names: Pattern,
    /// Multiplies the schedule's rate.
    #[serde(default = "one")]
    lr: f64,
    /// Multiplies the optimiser's weight decay.
    #[serde(default = "one")]
    weight_decay: f64,
}

fn one() -> f64 {
    1.0
}

impl Group {
    /// # Errors
    /// If a factor is negative or not finite.
    pub(super) fn check(&self) -> Result<()> {
        let Self { names, lr, weight_decay } = self;
        for (key, factor) in [("lr", lr), ("weight_decay", weight_decay)] {
            if !(factor.is_finite() && *factor >= 0.0) {
                let names = names.0.as_str();
                return Err(failed(format!(
                    "train.scale: {key} of `{names}` must be 0 or more, got {factor}"
                )));
            }
        }
        Ok(())
    }
}

/// Tells the trainer what `train.scale` and `train.unused` say.
///
/// # Errors
/// If no parameter has such a name.
pub(crate) fn tell(trainer: &mut Trainer, scale: &[Group], unused: &[Pattern]) -> Result<()> {
    let names: Vec<String> = trainer.store().parameters().into_iter().map(|(name, _)| name).collect();
    let patterns =
        scale.iter().map(|group| ("scale", &group.names)).chain(unused.iter().map(|p| ("unused", p)));
    for (key, Pattern(pattern)) in patterns {
        if !names.iter().any(|name| pattern.matches(name)) {
            let message = format!("train.{key}: no parameter that is trained is called `{pattern}`");
            return Err(failed(message)).advise(format!("there are {}", names.join(", ")));
        }
    }
    for Group { names, lr, weight_decay } in scale {
        trainer.scale(Scale { lr: *lr, weight_decay: *weight_decay }, |name, _| names.0.matches(name))?;
    }
    trainer.allow_unused(|name, _| unused.iter().any(|pattern| pattern.0.matches(name)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_letters() -> Result<(), String> {
        let head = Pattern::try_from("head.*".to_owned())?;
        assert!(head.0.matches("head.0.weight") && !head.0.matches("heads.weight"));
        let bias = Pattern::try_from("*.bias".to_owned())?;
        assert!(bias.0.matches("a.b.bias") && !bias.0.matches("bias"));
        for text in ["", "a**", "a[", "***"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
        Ok(())
    }
}
