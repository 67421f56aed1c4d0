//! What a forward pass keeps for the backward pass, and how small.
//!
//! Activations are most of what training takes in memory: the output of every op stays until its gradient has been worked
//! out. Kept in `bf16`, or not at all where no gradient reads them, they take about half of it.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// How a forward pass on the CPU keeps its activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activations {
    /// As they were computed. The graph keeps every one of them, whether a gradient reads it or not.
    #[default]
    Whole,
    /// `f32` rounded to the nearest `bf16`, eight significant bits in half the room, and only what a gradient reads.
    ///
    /// The forward pass itself is the same to the bit; gradients are computed in `f32`, from rounded activations. What is
    /// small or delicate (weights, a norm's mean and deviation, the results of sigmoids, tanh and softmax, a loss's logits) stays
    /// whole, and so do the gates of recurrent layers. A norm's input whose mean is many times its deviation loses more than
    /// others: of 50 times, a tenth of a deviation.
    Bf16,
}

/// What a forward pass leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// A graph, for a backward pass.
    Graph(Activations),
    /// Its result.
    Nothing,
}

thread_local! {
    static NOW: Cell<Left> = const { Cell::new(Left::Graph(Activations::Whole)) };
}

impl Left {
    /// By this thread at the moment.
    pub(crate) fn now() -> Self {
        NOW.get()
    }

    fn by<R>(self, forward: impl FnOnce() -> R) -> R {
        /// Puts back what was, also if the forward pass panics.
        struct Before(Left);
        impl Drop for Before {
            fn drop(&mut self) {
                NOW.set(self.0);
            }
        }
        let _before = Before(NOW.replace(self));
        forward()
    }
}

impl Activations {
    /// Runs a forward pass whose activations are kept this way. It holds for this crate's ops on the CPU, called by this
    /// thread; a result read by an operation of Candle's own is kept whole. Gradients wait beside the graph: a backward pass
    /// that ended in an error has spent it, and two threads must not go back through one graph at once.
    ///
    /// ```
    /// # use nn_core::candle_core::{Device, Result, Tensor, Var};
    /// # use nn_core::{Activations, ops};
    /// # fn main() -> Result<()> {
    /// let w = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
    /// let x = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
    /// let y = Activations::Bf16.keep(|| ops::tanh(&ops::linear(&x, &w, None)?))?;
    /// assert!(nn_core::backward(&y)?.get(&w).is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep<R>(self, forward: impl FnOnce() -> R) -> R {
        Left::Graph(self).by(forward)
    }
}

/// Runs a forward pass that nobody will differentiate, of parameters that are trained elsewhere: an evaluation within training.
/// Each activation goes as soon as the next op has read it. A backward pass within is an error. It holds for this crate's ops on
/// the CPU, called by this thread.
///
/// ```
/// # use nn_core::candle_core::{Device, Result, Tensor, Var};
/// # use nn_core::{no_grad, ops};
/// # fn main() -> Result<()> {
/// let w = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let x = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
/// let y = no_grad(|| ops::linear(&x, &w, None))?;
/// assert!(!y.track_op());
/// # Ok(())
/// # }
/// ```
pub fn no_grad<R>(forward: impl FnOnce() -> R) -> R {
    Left::Nothing.by(forward)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Var};

    use super::*;
    use crate::ops;

    #[test]
    fn it_holds_for_the_pass_alone() {
        let small = Left::Graph(Activations::Bf16);
        assert_eq!(Activations::Bf16.keep(|| (Left::now(), no_grad(Left::now))), (small, Left::Nothing));
        let panicked = std::panic::catch_unwind(|| no_grad(|| panic!("for the test")));
        assert!(panicked.is_err());
        assert_eq!(Left::now(), Left::Graph(Activations::Whole));
    }

    #[test]
    fn without_gradients_the_numbers_are_the_same() -> Result<()> {
        let w = Var::new(&[[1f32, -2.0], [0.5, 3.0]], &Device::Cpu)?;
        let forward = || ops::tanh(&ops::transpose(&ops::linear(&w, &w, None)?, 0, 1)?);
        let (y, z) = (forward()?, no_grad(forward)?);
        assert_eq!((y.track_op(), z.track_op()), (true, false));
        assert_eq!(y.to_vec2::<f32>()?, z.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn no_gradient_is_asked_for_where_there_is_none() -> Result<()> {
        let w = Var::new(&[1f32], &Device::Cpu)?;
        let y = ops::tanh(&w)?;
        let error = no_grad(|| crate::backward(&y)).expect_err("no gradients").to_string();
        assert!(error.contains("no_grad"), "{error}");
        Ok(())
    }
}
