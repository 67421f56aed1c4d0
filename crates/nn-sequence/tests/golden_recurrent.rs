//! Recurrent layers and cells against PyTorch's: outputs, all final states and all gradients, of every option.
//!
//! The numbers are made by `tests/golden/recurrent_layers.py`.

use std::collections::HashMap;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::Ctx;
use nn_core::ops::{LstmState, Nonlinearity};
use nn_core::testing::Golden;
use nn_layers::Bias;
use nn_sequence::{
    AnyState, AnyUnit, Axes, Cell, CellConfig, Directions, Elman, Gated, LongShortTerm, Recurrent,
    RecurrentConfig, State,
};

const INPUTS: usize = 2;
const UNITS: usize = 2;
const UNITS_OF: [(&str, AnyUnit); 5] = [
    ("tanh", AnyUnit::Rnn(Elman { nonlinearity: Nonlinearity::Tanh })),
    ("relu", AnyUnit::Rnn(Elman { nonlinearity: Nonlinearity::Relu })),
    ("lstm", AnyUnit::Lstm(LongShortTerm { projection: None })),
    ("gru", AnyUnit::Gru(Gated)),
    ("projected", AnyUnit::Lstm(LongShortTerm { projection: Some(1) })),
];

fn end_to_end(parts: &[Tensor]) -> Result<Tensor> {
    Tensor::cat(&parts.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?, 0)
}

/// The tensors of all states, all outputs before all cells.
fn tensors(states: &[AnyState]) -> Vec<Tensor> {
    let cells = states.iter().filter_map(|state| match state {
        AnyState::Output(_) => None,
        AnyState::Lstm(state) => Some(state.c.clone()),
    });
    states.iter().map(|state| state.output().clone()).chain(cells).collect()
}

/// Row `i` of the states as PyTorch has them.
fn state(unit: AnyUnit, given: &HashMap<String, Tensor>, i: usize) -> Result<AnyState> {
    let h = given["h"].get(i)?;
    Ok(match unit {
        AnyUnit::Lstm(_) => AnyState::Lstm(LstmState { h, c: given["c"].get(i)? }),
        _ => AnyState::Output(h),
    })
}

fn named(names: &[String], args: &[Tensor]) -> HashMap<String, Tensor> {
    names.iter().cloned().zip(args.iter().cloned()).collect()
}

fn builder(given: &HashMap<String, Tensor>) -> VarBuilder<'static> {
    VarBuilder::from_tensors(given.clone(), given["x"].dtype(), given["x"].device())
}

/// The arguments of a case: the input, the states, and the parameters of layers ending with `ends`.
fn names(unit: AnyUnit, with_state: bool, biases: bool, ends: &[&str]) -> Vec<String> {
    let mut parameters = vec!["weight_ih", "weight_hh"];
    parameters.extend(biases.then_some(["bias_ih", "bias_hh"]).into_iter().flatten());
    let (lstm, projected) = match unit {
        AnyUnit::Lstm(LongShortTerm { projection }) => (true, projection.is_some()),
        _ => (false, false),
    };
    parameters.extend(projected.then_some("weight_hr"));
    let states = ["h", "c"].into_iter().take(if !with_state { 0 } else { 1 + usize::from(lstm) });
    let all = ends.iter().flat_map(|end| parameters.iter().map(move |name| format!("{name}{end}")));
    ["x"].into_iter().chain(states).map(str::to_owned).chain(all).collect()
}

#[test]
fn layers_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/recurrent_layers.safetensors");
    let mut golden = Golden::open(path)?;
    for (kind, unit) in UNITS_OF {
        let stack = names(unit, true, true, &["_l0", "_l0_reverse", "_l1", "_l1_reverse"]);
        golden.check(&format!("{kind}.stack"), &refs(&stack), |args| {
            let given = named(&stack, args);
            let cfg = RecurrentConfig { unit, layers: 2, directions: Directions::Both, ..Default::default() };
            let layer = Recurrent::new(INPUTS, UNITS, cfg, builder(&given))?;
            let states = (0..4).map(|i| state(unit, &given, i)).collect::<Result<Vec<_>>>()?;
            let (y, last) = layer.run(&given["x"], Some(&states), Some(&[2, 3]), &Ctx::eval())?;
            end_to_end(&[vec![y], tensors(&last)].concat())
        })?;
        let plain = names(unit, false, false, &["_l0"]);
        golden.check(&format!("{kind}.time_first"), &refs(&plain), |args| {
            let given = named(&plain, args);
            let cfg = RecurrentConfig { unit, bias: Bias::None, axes: Axes::TimeFirst, ..Default::default() };
            let layer = Recurrent::new(INPUTS, UNITS, cfg, builder(&given))?;
            let (y, last) = layer.run(&given["x"], None, None, &Ctx::eval())?;
            end_to_end(&[vec![y], tensors(&last)].concat())
        })?;
        if kind == "projected" {
            continue; // PyTorch has no such cell.
        }
        for with_state in [true, false] {
            let cell = names(unit, with_state, true, &[""]);
            let case = format!("{kind}.cell.{}", if with_state { "state" } else { "zeros" });
            golden.check(&case, &refs(&cell), |args| {
                let given = named(&cell, args);
                let cfg = CellConfig { unit, ..CellConfig::default() };
                let layer = Cell::new(INPUTS, UNITS, cfg, builder(&given))?;
                let before = match (with_state, unit) {
                    (false, _) => None,
                    (true, AnyUnit::Lstm(_)) => {
                        Some(AnyState::Lstm(LstmState { h: given["h"].clone(), c: given["c"].clone() }))
                    }
                    (true, _) => Some(AnyState::Output(given["h"].clone())),
                };
                end_to_end(&tensors(&[layer.step(&given["x"], before.as_ref())?]))
            })?;
        }
    }
    golden.finish()
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
