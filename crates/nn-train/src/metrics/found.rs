//! What was found of what there was: precision, recall and F.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// How often something was claimed, was there, and was both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Claimed and there.
    pub hits: u64,
    /// Claimed.
    pub claimed: u64,
    /// There.
    pub there: u64,
}

impl Found {
    /// `hits / claimed`; 0 where nothing was claimed.
    pub fn precision(&self) -> f64 {
        share(self.hits as f64, self.claimed as f64)
    }

    /// `hits / there`; 0 where nothing was there.
    pub fn recall(&self) -> f64 {
        share(self.hits as f64, self.there as f64)
    }

    /// The mean of precision and recall in which recall counts `beta²` times as much:
    /// `(1 + β²) · hits / (claimed + β² · there)`; 0 where nothing was claimed or there.
    pub fn f(&self, beta: f64) -> f64 {
        let square = beta * beta;
        share((1.0 + square) * self.hits as f64, self.claimed as f64 + square * self.there as f64)
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.claimed += other.claimed;
        self.there += other.there;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_four_claimed_and_of_six_there() {
        let found = Found { hits: 3, claimed: 4, there: 6 };
        assert_eq!((found.precision(), found.recall(), found.f(1.0)), (0.75, 0.5, 0.6));
        // Recall counts four times as much: 5 / (1 / 0.75 + 4 / 0.5).
        assert!((found.f(2.0) - 5.0 / (1.0 / 0.75 + 4.0 / 0.5)).abs() < 1e-12);
        let nothing = Found::default();
        assert_eq!((nothing.precision(), nothing.recall(), nothing.f(1.0)), (0.0, 0.0, 0.0));
    }
}
