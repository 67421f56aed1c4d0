//! What values of a recipe's tables must be, whichever table they stand in.

use anyhow::Result;

use crate::failure::failed;

/// # Errors
/// If one of the values, each with its key, is 0.
pub(crate) fn at_least_one(values: &[(&str, usize)]) -> Result<()> {
    match values.iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => Err(failed(format!("{key} must be at least 1, got 0"))),
        None => Ok(()),
    }
}

/// # Errors
/// If one of the values, each with its key, is not in [0, 1): a share that is dropped or smoothed away.
pub(crate) fn below_one(values: &[(&str, f64)]) -> Result<()> {
    match values.iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
        Some((key, value)) => Err(failed(format!("{key} must be in [0, 1), got {value}"))),
        None => Ok(()),
    }
}

/// # Errors
/// If the value is not in (0, 1): a share that leaves something on both sides.
pub(crate) fn inside(key: &str, value: f64) -> Result<()> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(failed(format!("{key} must be in (0, 1), got {value}")))
}
