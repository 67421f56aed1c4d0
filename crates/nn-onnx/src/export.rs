//! The way from a model to a file.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use nn_core::{Layer, Random, atomic_file, ensure};
use prost::Message;

use crate::graph::Builder;
use crate::proto;
use crate::trace::{Step, Trace, Value};

/// What a model is given, without the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Numbers of this shape.
    Numbers(&'a [usize]),
    /// So many integers below `vocabulary`. The embedding that reads them must not be frozen: only what is trained is
    /// written down.
    Tokens {
        /// How many.
        steps: usize,
        /// How many there are to choose from.
        vocabulary: usize,
    },
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Nodes of the graph.
    pub nodes: usize,
    /// Numbers in its initialisers.
    pub numbers: usize,
    /// The shape of the output without the batch.
    pub output: Vec<usize>,
}

/// Operators are those of this version of ONNX's set, the first that has all that are used.
const OPERATORS: i64 = 20;
/// The version of the format that belongs to it.
const FORMAT: i64 = 9;
/// Of the two passes: any two that are in no ratio to sizes of a network.
const BATCHES: [usize; 2] = [2, 3];

/// A message of protobuf has 2 GiB at most.
const MOST_BYTES: usize = i32::MAX as usize;

/// Writes what `model` does in evaluation as an ONNX model with the input `input` and the output `output`, for batches of
/// any size; batch norms become part of the convolutions before them.
///
/// `model` is of `f32` on the CPU, its parameters frozen unless all of its ops are of `nn-core`. `notes` go into the file's
/// metadata.
///
/// # Errors
/// If the model does something that is not exported (the op is named), or what it does depends on its input or the batch;
/// if it takes another input; if the file cannot be written.
pub fn export(
    model: &dyn Layer,
    input: Input<'_>,
    notes: &BTreeMap<String, String>,
    path: &Path,
) -> Result<Export> {
    let [once, twice] = BATCHES.map(|batch| Trace::of(model, &input.example(batch)?));
    let (once, twice) = (once?, twice?);
    let mut builder = Builder::new(BATCHES);
    check_same(&once, &twice)?;
    for at in 0..once.steps.len() {
        builder.step(at, [&once.steps, &twice.steps])?;
    }
    let output = &once.output[1..];
    ensure!(
        once.output[0] == BATCHES[0] && twice.output[0] == BATCHES[1] && &twice.output[1..] == output,
        "onnx: the output must have the batch as its first axis, and only there, got {:?}",
        once.output
    );
    let (node, initializer) = builder.finish();
    let done = Export {
        nodes: node.len(),
        numbers: initializer.iter().map(|t| t.dims.iter().product::<i64>() as usize).sum(),
        output: output.to_vec(),
    };
    let graph = proto::Graph {
        node,
        name: "model".to_owned(),
        initializer,
        input: vec![info("input", input.element(), &input.shape())],
        output: vec![info("output", proto::ElementType::Float, output)],
    };
    let model = proto::Model {
        ir_version: FORMAT,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPERATORS }],
        metadata_props: notes
            .iter()
            .map(|(key, value)| proto::Entry { key: key.clone(), value: value.clone() })
            .collect(),
    };
    let size = model.encoded_len();
    ensure!(
        size <= MOST_BYTES,
        "an ONNX model is one message of at most {MOST_BYTES} bytes; this one would have {size}"
    );
    atomic_file::write(path, |w| w.write_all(&model.encode_to_vec()))?;
    Ok(done)
}

impl Input<'_> {
    fn shape(self) -> Vec<usize> {
        match self {
            Self::Numbers(shape) => shape.to_vec(),
            Self::Tokens { steps, .. } => vec![steps],
        }
    }

    fn element(self) -> proto::ElementType {
        match self {
            Self::Numbers(_) => proto::ElementType::Float,
            Self::Tokens { .. } => proto::ElementType::Int64,
        }
    }

    /// A batch of so many examples: other numbers for each size.
    fn example(self, batch: usize) -> Result<Tensor> {
        let shape = [&[batch], &self.shape()[..]].concat();
        let count = shape.iter().product::<usize>();
        let random = Random::new(batch as u64).at("onnx");
        let words = (0..count).map(|i| random.block(i as u64)[0]);
        match self {
            Self::Numbers(_) => {
                let numbers = words.map(|word| (word as f32 / u32::MAX as f32).mul_add(2.0, -1.0));
                Tensor::from_iter(numbers, &Device::Cpu)?.reshape(shape)
            }
            Self::Tokens { vocabulary, .. } => {
                let most = u32::try_from(vocabulary.max(1)).unwrap_or(u32::MAX);
                Tensor::from_iter(words.map(|word| word % most), &Device::Cpu)?.reshape(shape)
            }
        }
    }
}

fn info(name: &str, element: proto::ElementType, shape: &[usize]) -> proto::ValueInfo {
    let batch = proto::Size::Param("batch".to_owned());
    let sizes = std::iter::once(batch).chain(shape.iter().map(|&n| proto::Size::Value(n as i64)));
    let dim = sizes.map(|size| proto::Dimension { value: Some(size) }).collect();
    let shape = Some(proto::Shape { dim });
    let tensor_type = Some(proto::TensorType { elem_type: element as i32, shape });
    proto::ValueInfo { name: name.to_owned(), r#type: Some(proto::Type { tensor_type }) }
}

/// A step of both passes.
pub(crate) type Both<'a> = [&'a Step; 2];

/// Demands that both passes took the same steps on the same.
fn check_same(once: &Trace, twice: &Trace) -> Result<()> {
    let both: Vec<Both<'_>> = once.steps.iter().zip(&twice.steps).map(|(a, b)| [a, b]).collect();
    let same = once.steps.len() == twice.steps.len() && both.iter().all(|[a, b]| a.op == b.op);
    if !same {
        candle_core::bail!("onnx: what the model does depends on its input or on the batch")
    }
    for [a, b] in &both {
        for (a_value, b_value) in a.arguments.iter().zip(&b.arguments) {
            let same = match (a_value, b_value) {
                (Value::Input, Value::Input) => true,
                (Value::Step(a), Value::Step(b)) => a == b,
                // First states of a recurrent layer have a row a sequence; see `recurrent.rs`.
                (Value::Constant(x), Value::Constant(y)) => x.dims() != y.dims() || equal(x, y)?,
                _ => false,
            };
            if !same {
                candle_core::bail!("onnx: {} takes something that depends on the input without a trace", a.op)
            }
        }
    }
    Ok(())
}

/// Whether two tensors hold the same numbers.
pub(crate) fn equal(x: &Tensor, y: &Tensor) -> Result<bool> {
    let numbers = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    Ok(x.id() == y.id() || x.dtype() == y.dtype() && numbers(x)? == numbers(y)?)
}
