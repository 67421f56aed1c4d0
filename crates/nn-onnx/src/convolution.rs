//! Convolutions, with the batch norm after them in their weights.

use candle_core::{Result, Tensor};
use nn_core::graph::{Operation, Taps};

use crate::graph::{Argument, Builder, Call, int, ints};
use crate::proto::Attribute;
use crate::trace::{Step, Value};

/// The convolution that step `at`, a scale and a shift for each channel, is folded into.
pub(crate) fn folded(at: usize, steps: &[Step]) -> Option<usize> {
    let line = &steps[at];
    let constant = |value: &Value| matches!(value, Value::Constant(_));
    let [Value::Step(before), rest @ ..] = &line.arguments[..] else { return None };
    let one = matches!(steps[*before].operations[..], [Operation::Convolution(_)]);
    let fits = line.operations.first() == Some(&Operation::ScaleShift)
        && one
        && rest.iter().all(constant)
        && steps[*before].arguments[1..].iter().all(constant);
    let uses = || {
        steps
            .iter()
            .flat_map(|step| &step.arguments)
            .filter(|value| matches!(value, Value::Step(n) if n == before))
            .count()
    };
    (fits && uses() == 1).then_some(*before)
}

/// Whether step `at` is a convolution that a later step is folded into.
pub(crate) fn is_folded(at: usize, steps: &[Step]) -> bool {
    (at + 1..steps.len()).find(|&next| takes(&steps[next], at)).and_then(|next| folded(next, steps))
        == Some(at)
}

fn takes(step: &Step, at: usize) -> bool {
    step.arguments.iter().any(|value| matches!(value, Value::Step(n) if *n == at))
}

/// Input, weight and bias of a convolution with the line after it: `(w ⋆ x + b) · scale + shift`.
pub(crate) fn fold(
    convolution: &Step,
    line: &Step,
    argument: impl Fn(&Value) -> Result<Argument>,
) -> Result<Vec<Argument>> {
    let [_, Value::Constant(scale), Value::Constant(shift)] = &line.arguments[..] else {
        unreachable!("checked by folded")
    };
    let [x, Value::Constant(w), rest @ ..] = &convolution.arguments[..] else {
        unreachable!("checked by folded")
    };
    let per_row: Vec<usize> = std::iter::once(scale.elem_count()).chain(vec![1; w.rank() - 1]).collect();
    let weight = w.detach().broadcast_mul(&scale.reshape(per_row)?)?;
    let bias = match rest {
        [Value::Constant(b), ..] => (b.mul(scale)? + shift)?,
        _ => shift.clone(),
    };
    Ok(vec![argument(x)?, Argument::Constant(weight), Argument::Constant(bias)])
}

pub(crate) fn convolution(builder: &mut Builder, call: &Call<'_>) -> Result<String> {
    call.check_same()?;
    let (op, taps, mut attributes) = match call.operations[0] {
        Operation::Convolution(taps) => ("Conv", taps, Vec::new()),
        Operation::TransposedConvolution { taps, output_padding } => {
            ("ConvTranspose", taps, vec![ints("output_padding", output_padding)])
        }
        _ => unreachable!("the caller has looked"),
    };
    attributes.extend([int("group", taps.groups as i64), ints("dilations", &taps.dilation)]);
    attributes.extend(windows(taps));
    let (x, w) = (builder.value(call, 0)?, call.parameter(1)?);
    let w = builder.constant(call, "weight", w)?;
    let b: Option<&Tensor> = call.constant(2)?;
    match b.map(|b| builder.constant(call, "bias", b)).transpose()? {
        Some(b) => Ok(builder.node(call, op, &[&x, &w, &b], attributes)),
        None => Ok(builder.node(call, op, &[&x, &w], attributes)),
    }
}

/// How windows slide.
pub(crate) fn windows(taps: &Taps) -> [Attribute; 3] {
    let [[top, bottom], [left, right]] = taps.padding;
    [
        ints("kernel_shape", &taps.kernel),
        ints("strides", &taps.stride),
        ints("pads", &[top, left, bottom, right]),
    ]
}
