//! Sequences: embeddings, recurrent layers, and what is read from their outputs.

use candle_core::{Result, Tensor};
use nn_core::graph::Unit;
use nn_core::ops::{Nonlinearity, OverTime};

use crate::graph::{Argument, Builder, Call, int, ints, text, texts};

/// A layer's kind and direction, and whether it has each bias.
pub(crate) struct Layer {
    pub(crate) unit: Unit,
    pub(crate) reversed: bool,
    pub(crate) biases: [bool; 2],
}

pub(crate) fn embedding(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    let (table, indices) = (call.parameter(0)?, builder.value(call, 1)?);
    let table = builder.constant(call, "weight", table)?;
    Ok(builder.node(call, "Gather", &[&table, &indices], vec![int("axis", 0)]))
}

pub(crate) fn over_time(builder: &mut Builder, call: &Call<'_>, how: OverTime) -> Result<String> {
    let (x, axis) = (builder.value(call, 0)?, builder.integers(call, "axis", &[1]));
    let op = match how {
        OverTime::Mean => "ReduceMean",
        OverTime::Max => "ReduceMax",
    };
    Ok(builder.node(call, op, &[&x, &axis], vec![int("keepdims", 0)]))
}

/// `[B, T, I]` → `[B, T, H]`; ONNX has time first.
pub(crate) fn layer(builder: &mut Builder, call: &Call<'_>, layer: Layer) -> Result<String> {
    call.check_same()?;
    let (w_ih, w_hh) = (call.parameter(1)?, call.parameter(2)?);
    let hidden = w_hh.dim(1)?;
    let biases = layer.biases(call, w_hh.dim(0)?)?;
    let (op, mut attributes) = match layer.unit {
        Unit::Rnn(Nonlinearity::Tanh) => ("RNN", vec![texts("activations", &["Tanh"])]),
        Unit::Rnn(Nonlinearity::Relu) => ("RNN", vec![texts("activations", &["Relu"])]),
        Unit::Lstm => ("LSTM", Vec::new()),
        Unit::Gru => ("GRU", vec![int("linear_before_reset", 1)]),
    };
    let direction = if layer.reversed { "reverse" } else { "forward" };
    attributes.extend([int("hidden_size", hidden as i64), text("direction", direction)]);
    let ordered = |t: &Tensor| layer.ordered(t, hidden)?.unsqueeze(0);
    let x = builder.value(call, 0)?;
    let x = builder.node(call, "Transpose", &[&x], vec![ints("perm", &[1, 0, 2])]);
    let w = builder.constant(call, "weight_ih", &ordered(w_ih)?)?;
    let r = builder.constant(call, "weight_hh", &ordered(w_hh)?)?;
    let [b_ih, b_hh] = biases;
    let b = Tensor::cat(&[layer.ordered(&b_ih, hidden)?, layer.ordered(&b_hh, hidden)?], 0)?.unsqueeze(0)?;
    let b = builder.constant(call, "bias", &b)?;
    let y = builder.node(call, op, &[&x, &w, &r, &b], attributes); // [T, 1, B, H]
    let direction = builder.integers(call, "direction", &[1]);
    let y = builder.node(call, "Squeeze", &[&y, &direction], Vec::new());
    Ok(builder.node(call, "Transpose", &[&y], vec![ints("perm", &[1, 0, 2])]))
}

impl Layer {
    /// What the gates of ours, in the order of PyTorch, are in the order of ONNX.
    fn order(&self) -> &'static [usize] {
        match self.unit {
            Unit::Rnn(_) => &[0],
            Unit::Lstm => &[0, 3, 1, 2], // i f g o → i o f g
            Unit::Gru => &[1, 0, 2],     // r z n → z r n
        }
    }

    fn ordered(&self, t: &Tensor, hidden: usize) -> Result<Tensor> {
        let parts =
            self.order().iter().map(|gate| t.narrow(0, gate * hidden, hidden)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }

    /// Both biases, zeros for one that is not there; what comes after them, the first states, must be zero.
    fn biases(&self, call: &Call<'_>, rows: usize) -> Result<[Tensor; 2]> {
        let rest = match call.arguments.get(3) {
            Some(Argument::PerBatch([once, twice])) => [once, twice],
            Some(Argument::Constant(rest)) => [rest, rest],
            _ => return Err(call.refuse("first states that depend on the input")),
        };
        let first = rest[0];
        let mut biases = Vec::with_capacity(2);
        let mut start = 0;
        for there in self.biases {
            biases.push(if there {
                first.narrow(0, start, rows)?
            } else {
                Tensor::zeros(rows, first.dtype(), first.device())?
            });
            start += if there { rows } else { 0 };
        }
        let [once, twice] = rest.map(|rest| -> Result<(Vec<f32>, f32)> {
            let states = rest.narrow(0, start, rest.elem_count() - start)?;
            Ok((rest.narrow(0, 0, start)?.to_vec1()?, states.abs()?.sum_all()?.to_scalar()?))
        });
        let (once, twice) = (once?, twice?);
        if once.0 != twice.0 || once.1 != 0.0 || twice.1 != 0.0 {
            return Err(call.refuse("first states other than zero"));
        }
        let Ok(biases) = biases.try_into() else { unreachable!("two were pushed") };
        Ok(biases)
    }
}
