//! The graph while it is written.

use std::collections::HashSet;

use candle_core::{DType, Result, Tensor};
use nn_core::graph::Operation;

use crate::export::{Both, equal};
use crate::proto::{self, Attribute, AttributeType, ElementType};
use crate::trace::{Step, Value};
use crate::{attention, convolution, elementwise, pooling, recurrent, shape};

/// What an operation takes.
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    /// A value of the graph.
    Value(String),
    /// The same in both passes.
    Constant(Tensor),
    /// The same for each example: one place of `axis`, which goes with the batch.
    Repeated { once: Tensor, axis: usize },
    /// Of another shape in each pass.
    PerBatch([Tensor; 2]),
}

/// An operation in both passes.
pub(crate) struct Call<'a> {
    pub(crate) operations: [&'a Operation; 2],
    pub(crate) arguments: &'a [Argument],
    /// The shapes of the arguments in the first pass, where the operation is the first of its step.
    pub(crate) shapes: &'a [Vec<usize>],
    /// What values and initialisers are called after.
    pub(crate) name: &'a str,
    pub(crate) batches: [usize; 2],
}

/// The nodes so far.
pub(crate) struct Builder {
    batches: [usize; 2],
    nodes: Vec<proto::Node>,
    initializers: Vec<proto::Tensor>,
    names: HashSet<String>,
    /// The value that each step gave; nothing for one that is part of the next.
    values: Vec<Option<String>>,
}

/// What the graph is given, and what it gives.
const RESERVED: [&str; 2] = ["input", "output"];

impl Builder {
    pub(crate) fn new(batches: [usize; 2]) -> Self {
        let names = RESERVED.map(str::to_owned).into();
        Self { batches, nodes: Vec::new(), initializers: Vec::new(), names, values: Vec::new() }
    }

    /// Nodes and initialisers.
    pub(crate) fn finish(self) -> (Vec<proto::Node>, Vec<proto::Tensor>) {
        (self.nodes, self.initializers)
    }

    /// Adds the step `at` of all the steps of both passes.
    pub(crate) fn step(&mut self, at: usize, passes: [&[Step]; 2]) -> Result<()> {
        let steps = passes[0];
        let both = passes.map(|steps| &steps[at]);
        let [step, other] = both;
        if convolution::is_folded(at, steps) {
            self.values.push(None);
            return Ok(());
        }
        if step.operations.is_empty() || step.operations.len() != other.operations.len() {
            candle_core::bail!("onnx: {} is not exported, at least not with its options", step.op)
        }
        let mut operations: Vec<[&Operation; 2]> =
            step.operations.iter().zip(&other.operations).map(|(a, b)| [a, b]).collect();
        // The step that the first operation is of: a convolution takes the line after it in.
        let (first, arguments) = match convolution::folded(at, steps) {
            Some(before) => {
                operations[0] = passes.map(|steps| &steps[before].operations[0]);
                let argument = |value: &Value| self.argument([value, value]);
                (&steps[before], convolution::fold(&steps[before], step, argument)?)
            }
            None => (step, self.arguments(both)?),
        };
        let name = first.layer.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| first.op.to_owned());
        let (mut arguments, mut shapes) = (arguments, &first.shapes[..]);
        for operations in operations {
            let call = Call { operations, arguments: &arguments, shapes, name: &name, batches: self.batches };
            arguments = vec![Argument::Value(self.call(&call)?)];
            shapes = &[];
        }
        let last = at + 1 == steps.len();
        let value = if last { "output".to_owned() } else { self.unique(&name) };
        let Some(node) = self.nodes.last_mut() else { unreachable!("a step has an operation") };
        node.output[0].clone_from(&value);
        node.name.clone_from(&value);
        self.values.push(Some(value));
        Ok(())
    }

    fn arguments(&self, [step, other]: Both<'_>) -> Result<Vec<Argument>> {
        step.arguments.iter().zip(&other.arguments).map(|(a, b)| self.argument([a, b])).collect()
    }

    fn argument(&self, values: [&Value; 2]) -> Result<Argument> {
        Ok(match values {
            [Value::Constant(x), Value::Constant(y)] if x.dims() == y.dims() => Argument::Constant(x.clone()),
            [Value::Constant(x), Value::Constant(y)] => match self.repeated([x, y])? {
                Some((once, axis)) => Argument::Repeated { once, axis },
                None => Argument::PerBatch([x.clone(), y.clone()]),
            },
            [Value::Step(step), _] => {
                let Some(value) = &self.values[*step] else { unreachable!("only the next step takes it") };
                Argument::Value(value.clone())
            }
            _ => Argument::Value("input".to_owned()),
        })
    }

    /// What is repeated along which axis, where the two are the same for each example of their batches.
    fn repeated(&self, both: [&Tensor; 2]) -> Result<Option<(Tensor, usize)>> {
        let [a, b] = both.map(Tensor::dims);
        let per_example = |axis: &usize| [a[*axis], b[*axis]] == self.batches;
        let Some(axis) = (0..a.len().min(b.len())).find(per_example) else { return Ok(None) };
        let once = both[0].narrow(axis, 0, 1)?;
        let same = |x: &Tensor| -> Result<bool> {
            let fits =
                x.rank() == once.rank() && (0..x.rank()).all(|i| i == axis || x.dims()[i] == once.dims()[i]);
            Ok(fits && equal(&once.broadcast_as(x.shape())?, x)?)
        };
        Ok((same(both[0])? && same(both[1])?).then_some((once, axis)))
    }

    /// The nodes of one operation, and the value that the last of them gives.
    fn call(&mut self, call: &Call<'_>) -> Result<String> {
        match call.operations[0] {
            Operation::Convolution(_) | Operation::TransposedConvolution { .. } => {
                convolution::convolution(self, call)
            }
            Operation::Linear => elementwise::linear(self, call),
            Operation::ScaleShift => elementwise::scale_shift(self, call),
            Operation::Activation(f) => elementwise::activation(self, call, *f),
            Operation::Add => elementwise::add(self, call),
            Operation::Scale(factor) => elementwise::scale(self, call, *factor),
            Operation::Reshape(_) => shape::reshape(self, call),
            Operation::Transpose(a, b) => shape::transpose(self, call, [*a, *b]),
            Operation::Narrow { axis, start, len } => shape::narrow(self, call, *axis, [*start, start + len]),
            Operation::Expand(_) => shape::expand(self, call),
            Operation::Concat(axis) => shape::concat(self, call, *axis),
            Operation::Pad { axis, before, after } => shape::pad(self, call, *axis, [*before, *after]),
            Operation::MaxPool(taps) => pooling::max(self, call, taps),
            Operation::AveragePool { taps, divisor } => pooling::average(self, call, taps, *divisor),
            Operation::Bins(bins) => pooling::bins(self, call, *bins),
            Operation::Interpolate { size, how } => pooling::interpolate(self, call, *size, *how),
            Operation::LocalResponseNorm(options) => elementwise::local_response_norm(self, call, *options),
            Operation::Softmax(axis) => elementwise::softmax(self, call, "Softmax", *axis),
            Operation::LogSoftmax(axis) => elementwise::softmax(self, call, "LogSoftmax", *axis),
            Operation::LayerNorm { axes, eps } => elementwise::layer_norm(self, call, *axes, *eps),
            Operation::Embedding => recurrent::embedding(self, call),
            Operation::OverTime(how) => recurrent::over_time(self, call, *how),
            Operation::Recurrent { unit, reversed, biases } => recurrent::layer(
                self,
                call,
                recurrent::Layer { unit: *unit, reversed: *reversed, biases: *biases },
            ),
            &Operation::Attention { heads, scale, causal } => {
                attention::attention(self, call, attention::Heads { heads, scale, causal })
            }
            &Operation::SelfAttention { heads, scale, causal } => {
                attention::self_attention(self, call, attention::Heads { heads, scale, causal })
            }
            other => candle_core::bail!("onnx: {other:?} is not exported"),
        }
    }

    /// Adds a node with one output.
    pub(crate) fn node(
        &mut self,
        call: &Call<'_>,
        op: &str,
        input: &[&str],
        attribute: Vec<Attribute>,
    ) -> String {
        let output = self.unique(&format!("{}/{op}", call.name));
        self.nodes.push(proto::Node {
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: op.to_owned(),
            attribute,
        });
        output
    }

    /// Adds an initialiser of floats, called after the call.
    pub(crate) fn constant(&mut self, call: &Call<'_>, what: &str, x: &Tensor) -> Result<String> {
        let numbers = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let raw_data = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(self.initializer(call, what, x.dims(), ElementType::Float, raw_data))
    }

    /// The same of integers.
    pub(crate) fn integers(&mut self, call: &Call<'_>, what: &str, numbers: &[i64]) -> String {
        let raw_data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.initializer(call, what, &[numbers.len()], ElementType::Int64, raw_data)
    }

    /// A number.
    pub(crate) fn number(&mut self, call: &Call<'_>, what: &str, number: f64) -> String {
        self.initializer(call, what, &[], ElementType::Float, (number as f32).to_le_bytes().to_vec())
    }

    fn initializer(
        &mut self,
        call: &Call<'_>,
        what: &str,
        dims: &[usize],
        element: ElementType,
        raw_data: Vec<u8>,
    ) -> String {
        let name = self.unique(&format!("{}.{what}", call.name));
        let dims = dims.iter().map(|&n| n as i64).collect();
        self.initializers.push(proto::Tensor {
            dims,
            data_type: element as i32,
            name: name.clone(),
            raw_data,
        });
        name
    }

    /// The `n`th argument as a value of the graph.
    pub(crate) fn value(&mut self, call: &Call<'_>, n: usize) -> Result<String> {
        match call.arguments.get(n) {
            Some(Argument::Value(name)) => Ok(name.clone()),
            Some(Argument::Constant(x)) => self.constant(call, "constant", x),
            Some(Argument::Repeated { once, axis }) => {
                let x = self.constant(call, "constant", once)?;
                let sizes = once.dims().iter().enumerate().map(|(i, &n)| (i != *axis).then_some(n));
                Ok(shape::expanded(self, call, &x, &sizes.collect::<Vec<_>>()))
            }
            _ => Err(call.refuse("a constant that depends on the batch")),
        }
    }

    fn unique(&mut self, name: &str) -> String {
        let more = (1..).map(|n| format!("{name}_{n}"));
        let mut names = std::iter::once(name.to_owned()).chain(more);
        let Some(free) = names.find(|name| !self.names.contains(name)) else {
            unreachable!("there are more numbers")
        };
        self.names.insert(free.clone());
        free
    }
}

impl Call<'_> {
    /// The `n`th argument, which must not depend on the input; `None` if there are fewer.
    pub(crate) fn constant(&self, n: usize) -> Result<Option<&Tensor>> {
        match self.arguments.get(n) {
            None => Ok(None),
            Some(Argument::Constant(x)) => Ok(Some(x)),
            Some(_) => Err(self.refuse("a parameter that depends on the input")),
        }
    }

    /// The same, where there must be one.
    pub(crate) fn parameter(&self, n: usize) -> Result<&Tensor> {
        self.constant(n)?.ok_or_else(|| self.refuse("too few arguments"))
    }

    /// The first argument's shape.
    pub(crate) fn shape(&self) -> Result<&[usize]> {
        self.shape_of(0)
    }

    /// The `n`th argument's.
    pub(crate) fn shape_of(&self, n: usize) -> Result<&[usize]> {
        let shape = self.shapes.get(n).map(Vec::as_slice);
        shape.ok_or_else(|| self.refuse("an argument of unknown shape"))
    }

    pub(crate) fn refuse(&self, why: &str) -> candle_core::Error {
        candle_core::Error::Msg(format!(
            "onnx: {}: {:?} with {why} is not exported",
            self.name, self.operations[0]
        ))
    }

    /// Demands that the operation is the same in both passes.
    pub(crate) fn check_same(&self) -> Result<()> {
        let [a, b] = self.operations;
        if a == b { Ok(()) } else { Err(self.refuse("options that depend on the batch")) }
    }
}

pub(crate) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, r#type: AttributeType::Int as i32, ..Attribute::default() }
}

pub(crate) fn ints(name: &str, ints: &[usize]) -> Attribute {
    let ints = ints.iter().map(|&n| n as i64).collect();
    Attribute { name: name.to_owned(), ints, r#type: AttributeType::Ints as i32, ..Attribute::default() }
}

pub(crate) fn float(name: &str, f: f64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        f: f as f32,
        r#type: AttributeType::Float as i32,
        ..Attribute::default()
    }
}

pub(crate) fn text(name: &str, s: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        s: s.into(),
        r#type: AttributeType::String as i32,
        ..Attribute::default()
    }
}

pub(crate) fn texts(name: &str, strings: &[&str]) -> Attribute {
    let strings = strings.iter().map(|&s| s.into()).collect();
    Attribute {
        name: name.to_owned(),
        strings,
        r#type: AttributeType::Strings as i32,
        ..Attribute::default()
    }
}
