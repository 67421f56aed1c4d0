//! Moments of a run.

use candle_core::{Error, Result};
use nn_core::ensure;
use serde::{Deserialize, Serialize};

/// As many as settings that are copied can hold.
const MOST: usize = 16;

/// Up to sixteen moments, in epochs, each later than the one before; a list in recipes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Milestones {
    /// Those behind the last never come.
    moments: [f64; MOST],
}

impl Milestones {
    /// # Errors
    /// If there are none or too many, one is not above 0, or one is not later than the one before.
    pub fn new(moments: &[f64]) -> Result<Self> {
        ensure!(
            (1..=MOST).contains(&moments.len()),
            "Schedule: at must hold 1 to {MOST} moments, got {}",
            moments.len()
        );
        let wrong = moments.iter().find(|moment| !(moment.is_finite() && **moment > 0.0));
        ensure!(wrong.is_none(), "Schedule: at must be above 0 epochs, got {}", wrong.unwrap_or(&0.0));
        let rises = moments.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(rises, "Schedule: at must rise, got {moments:?}");
        let mut all = [f64::INFINITY; MOST];
        all[..moments.len()].copy_from_slice(moments);
        Ok(Self { moments: all })
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.moments.iter().copied().take_while(|moment| moment.is_finite())
    }
}

impl TryFrom<Vec<f64>> for Milestones {
    type Error = Error;

    fn try_from(moments: Vec<f64>) -> Result<Self> {
        Self::new(&moments)
    }
}

impl From<Milestones> for Vec<f64> {
    fn from(milestones: Milestones) -> Self {
        milestones.iter().collect()
    }
}
