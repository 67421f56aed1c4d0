//! What a model does, found out by letting it do it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor, TensorId, Var};
use nn_core::ctx::{Event, Observer};
use nn_core::graph::{Operation, origin};
use nn_core::{Ctx, Layer};

/// What a step takes.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// What the model is given.
    Input,
    /// What does not depend on that.
    Constant(Tensor),
    /// What the step of this number gave.
    Step(usize),
}

/// One op of the model.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The op's name.
    pub(crate) op: &'static str,
    /// What it does, one after the other.
    pub(crate) operations: Vec<Operation>,
    pub(crate) arguments: Vec<Value>,
    /// The shapes of the arguments.
    pub(crate) shapes: Vec<Vec<usize>>,
    /// The layer whose output it is.
    pub(crate) layer: Option<String>,
}

/// The steps of a model in their order, from one pass.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) steps: Vec<Step>,
    /// The shape of the output, which is the last step's.
    pub(crate) output: Vec<usize>,
}

impl Trace {
    /// Of one pass of `input` in evaluation.
    pub(crate) fn of(model: &dyn Layer, input: &Tensor) -> Result<Self> {
        let (input, paths) = (Var::from_tensor(input)?, Paths::default());
        let y = model.call(&input, &Ctx::eval().observed(&paths))?;
        let paths = paths.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut walk = Walk { input: input.id(), paths, values: HashMap::new(), steps: Vec::new() };
        walk.to(&y)?;
        match walk.values.get(&y.id()) {
            Some(Value::Step(last)) if last + 1 == walk.steps.len() => {
                Ok(Self { steps: walk.steps, output: y.dims().to_vec() })
            }
            _ => candle_core::bail!("onnx: the output does not depend on the input through ops of nn-core"),
        }
    }
}

/// The paths of layers by the ids of their outputs; of layers that hand on what an inner one gave, the inner one's.
#[derive(Default)]
struct Paths(Mutex<HashMap<TensorId, String>>);

impl Observer for Paths {
    fn observe(&self, event: &Event<'_>) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paths.entry(event.output.id()).or_insert_with(|| event.path());
    }
}

struct Walk {
    input: TensorId,
    paths: HashMap<TensorId, String>,
    values: HashMap<TensorId, Value>,
    steps: Vec<Step>,
}

impl Walk {
    /// Writes down `y` and all it was made from, deepest first; without recursion, since networks are deep.
    fn to(&mut self, y: &Tensor) -> Result<()> {
        let (mut open, mut entered) = (vec![y.clone()], HashSet::new());
        while let Some(x) = open.pop() {
            if self.values.contains_key(&x.id()) {
                continue;
            }
            let Some(origin) = origin(&x) else {
                self.values.insert(x.id(), self.leaf(&x)?);
                continue;
            };
            if entered.insert(x.id()) {
                open.push(x);
                open.extend(origin.arguments);
                continue;
            }
            let arguments: Vec<Value> =
                origin.arguments.iter().map(|argument| self.values[&argument.id()].clone()).collect();
            let constant = arguments.iter().all(|argument| matches!(argument, Value::Constant(_)));
            let value = if constant { Value::Constant(x.detach()) } else { Value::Step(self.steps.len()) };
            if !constant {
                let shapes = origin.arguments.iter().map(|argument| argument.dims().to_vec()).collect();
                let (op, operations, layer) =
                    (origin.op, origin.operations, self.paths.get(&x.id()).cloned());
                self.steps.push(Step { op, operations, arguments, shapes, layer });
            }
            self.values.insert(x.id(), value);
        }
        Ok(())
    }

    /// What nothing is written down of.
    fn leaf(&self, x: &Tensor) -> Result<Value> {
        if x.id() == self.input {
            return Ok(Value::Input);
        }
        if x.is_variable() || !x.track_op() {
            return Ok(Value::Constant(x.clone()));
        }
        candle_core::bail!(
            "onnx: a tensor {:?} was made by an operation of Candle's own, which leaves no trace: use that of nn_core::ops",
            x.dims()
        )
    }
}
