//! The way back through a graph of this crate's ops, without a detour.
//!
//! Candle's own way gives every tensor a gradient of zeros first and adds to it, which costs each edge of the graph
//! four passes over memory. Here a gradient that comes from one place is handed on as it is.
//!
//! Candle does not tell what a tensor was made from, so the ops write it down themselves (`ops/kernel.rs`): under the
//! result's id, for as long as the result's node lives. A graph with an operation of Candle's own in it, a reshape or a
//! sum, takes Candle's way.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId};

use crate::activations::Left;
use crate::ensure;
use crate::graph::Origin;
use crate::ops::{Link, sum_of};

/// The gradients of `y`, of the sum of its elements if they are several, by every variable it was made from.
///
/// The same as `y.backward()`, from fewer passes over memory where the whole graph is made of this crate's ops on the
/// CPU; any other graph takes Candle's way. Each gradient is a tensor without a graph of its own.
///
/// ```
/// # use nn_core::candle_core::{Device, Result, Tensor, Var};
/// # use nn_core::ops;
/// # fn main() -> Result<()> {
/// let w = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
/// let x = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
/// let grads = nn_core::backward(&ops::linear(&x, &w, None)?)?;
/// assert_eq!(grads.get(&w).map(Tensor::to_vec2::<f32>).transpose()?, Some(vec![vec![3.0, 4.0]]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If an op in the graph has no gradient, or it is called within [`no_grad`](crate::no_grad).
pub fn backward(y: &Tensor) -> Result<GradStore> {
    ensure!(Left::now() != Left::Nothing, "backward: there are no gradients within no_grad");
    let nodes = y.sorted_nodes();
    match written_down(&nodes) {
        Some(steps) => walk(y, steps),
        None => y.backward(),
    }
}

/// Whether [`backward`] takes its own way from `y`.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_direct(y: &Tensor) -> bool {
    written_down(&y.sorted_nodes()).is_some()
}

/// A tensor of the graph, and what it was made from; `None` for a variable.
type Place<'a> = (&'a Tensor, Option<Arc<Step>>);

/// The graph with its steps, if all of them are known.
fn written_down<'a>(nodes: &[&'a Tensor]) -> Option<Vec<Place<'a>>> {
    let steps = steps();
    nodes
        .iter()
        .map(|&node| {
            if node.is_variable() {
                return Some((node, None));
            }
            steps.get(&node.id()).map(|step| (node, Some(step.clone())))
        })
        .collect()
}

fn walk(y: &Tensor, places: Vec<Place<'_>>) -> Result<GradStore> {
    let mut grads = GradStore::default();
    grads.insert(y, y.ones_like()?);
    for (node, step) in places {
        let Some(step) = step else { continue };
        let Some(dy) = grads.remove(node) else { continue };
        let gradients = step.derivative.gradients(&step.args, node, &dy)?;
        for (arg, gradient) in step.args.iter().zip(gradients) {
            let Some(gradient) = gradient.filter(|_| arg.track_op()) else { continue };
            debug_assert_eq!(arg.dims(), gradient.dims(), "a gradient has the shape of its argument");
            let gradient = match grads.remove(arg) {
                Some(other) => sum_of(&other, &gradient)?,
                None => gradient.detach(),
            };
            grads.insert(arg, gradient);
        }
    }
    Ok(grads)
}

/// What was written down of how `x` was made; see [`crate::graph`].
pub(crate) fn origin(x: &Tensor) -> Option<Origin> {
    let step = steps().get(&x.id())?.clone();
    Some(step.derivative.origin(&step.args))
}

/// Where `x` stands in a graph whose activations are kept small, and what is kept of it there.
pub(crate) fn link(x: &Tensor) -> Option<(Tensor, Arc<Link>)> {
    let step = steps().get(&x.id())?.clone();
    Some((step.args.first()?.clone(), step.derivative.link()?))
}

/// What an op does on the way back, and what it did on the way there.
pub(crate) trait Derivative: Send + Sync {
    /// In words.
    fn origin(&self, args: &[Tensor]) -> Origin;

    /// The gradient of each argument, where it takes one.
    fn gradients(&self, args: &[Tensor], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>>;

    /// If the result is the activation that a link of the graph stands for, that link.
    fn link(&self) -> Option<Arc<Link>>;
}

/// How a tensor was made.
struct Step {
    derivative: Box<dyn Derivative>,
    args: Vec<Tensor>,
}

/// All that are alive, by the id of their result.
static STEPS: LazyLock<Mutex<HashMap<TensorId, Arc<Step>>>> = LazyLock::new(Mutex::default);

/// A panic while the lock is held cannot leave the map half-changed, so a poisoned lock is still good.
fn steps() -> MutexGuard<'static, HashMap<TensorId, Arc<Step>>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Part of a node of Candle's graph; when the node goes, so does what was written down of it.
#[derive(Clone, Default)]
pub(crate) struct Mark(Arc<Forget>);

#[derive(Default)]
struct Forget(OnceLock<TensorId>);

impl Mark {
    /// Writes down that `y`, whose node holds this mark, was made from `args`.
    pub(crate) fn record(self, y: &Tensor, args: &[&Tensor], derivative: impl Derivative + 'static) {
        if y.track_op() && self.0.0.set(y.id()).is_ok() {
            let args = args.iter().map(|&arg| arg.clone()).collect();
            steps().insert(y.id(), Arc::new(Step { derivative: Box::new(derivative), args }));
        }
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        let Some(id) = self.0.get() else { return };
        // Not dropped while the map is locked: its arguments' nodes may go with it, and come here.
        let step = steps().remove(id);
        drop(step);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::{self, Activation, Convolution, MaxPool2d, Padding};
    use crate::testing::{assert_close, randn};

    fn var(seed: u64, shape: &[usize]) -> Result<Var> {
        Var::from_tensor(&randn(seed, shape)?)
    }

    /// A residual block, its input used twice, a pooling and a loss.
    fn graph(x: &Tensor, w: &[Var; 2], b: &Var) -> Result<Tensor> {
        let same = Convolution { padding: Padding::Symmetric([1, 1]), ..Convolution::default() };
        let first = ops::relu(&ops::conv2d(x, &w[0], None, same)?)?;
        let second = ops::conv2d(&first, &w[1], Some(b), same)?;
        let sum = ops::add_activate(&first, &second, Activation::Tanh)?;
        let pooled = ops::max_pool2d(&sum, MaxPool2d::new([2, 2]))?;
        ops::mse(&pooled, &Tensor::zeros(pooled.dims(), DType::F64, &Device::Cpu)?, ops::Reduction::Mean)
    }

    #[test]
    fn gradients_are_those_of_candles_way() -> Result<()> {
        let (x, w) = (randn(1, (2, 3, 6, 6))?, [var(2, &[4, 3, 3, 3])?, var(3, &[4, 4, 3, 3])?]);
        let b = var(4, &[4])?;
        let y = graph(&x, &w, &b)?;
        assert!(is_direct(&y), "every op of the graph is one of ours");
        let (ours, candles) = (backward(&y)?, y.backward()?);
        for var in [&w[0], &w[1], &b] {
            let (Some(ours), Some(candles)) = (ours.get(var), candles.get(var)) else {
                panic!("no gradient")
            };
            assert!(!ours.track_op());
            assert_close(ours, candles, 1e-14, 1e-14)?;
        }
        assert!(ours.get(&y).is_none() && ours.get(&x).is_none());
        // The graph is whole after one way back.
        assert_close(backward(&y)?.get(&b).expect("trained"), ours.get(&b).expect("trained"), 0.0, 0.0)
    }

    #[test]
    fn a_graph_with_other_operations_takes_candles_way() -> Result<()> {
        let w = var(1, &[2, 3])?;
        let y = ops::tanh(&(w.as_tensor() * 2.0)?)?.sum_all()?;
        assert!(!is_direct(&y));
        assert_close(
            backward(&y)?.get(&w).expect("trained"),
            y.backward()?.get(&w).expect("trained"),
            0.0,
            0.0,
        )
    }

    #[test]
    fn a_variable_alone_has_the_gradient_one() -> Result<()> {
        let w = var(1, &[2])?;
        assert_eq!(backward(&w)?.get(&w).expect("itself").to_vec1::<f64>()?, [1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn what_was_written_down_goes_with_the_graph() -> Result<()> {
        let w = var(1, &[2, 2])?;
        let x = ops::tanh(&w)?;
        let y = ops::relu(&x)?;
        let ids = [x.id(), y.id()];
        let known = || ids.map(|id| steps().contains_key(&id));
        drop(x);
        assert_eq!(known(), [true, true]);
        let alone = y.detach();
        drop(y);
        assert_eq!(known(), [false, false]);
        drop(alone);
        let untracked = ops::tanh(&w.as_tensor().detach())?;
        assert!(!steps().contains_key(&untracked.id()));
        Ok(())
    }
}
