//! RNN, LSTM and GRU against PyTorch's over packed sequences: outputs, final states and all gradients.
//!
//! The numbers are made by `tests/golden/recurrent.py`.

use nn_core::candle_core::{Result, Tensor};
use nn_core::ops::{
    Direction, LstmState, Nonlinearity, Projection, RecurrentOptions, RecurrentWeights, gru, lstm, rnn,
};
use nn_core::testing::Golden;

/// Inputs of a case, in this order; without biases and state the first three.
const ARGS: [&str; 7] = ["x", "w_ih", "w_hh", "b_ih", "b_hh", "h", "c"];

/// With a projection in front of the others.
const PROJECTED: [&str; 8] = ["w_hr", "x", "w_ih", "w_hh", "b_ih", "b_hh", "h", "c"];

/// Outputs and final states end to end.
fn layer(kind: &str, args: &[Tensor], options: RecurrentOptions<'_>) -> Result<Tensor> {
    if kind == "projected" {
        let projection = Some(Projection { weight: &args[0], bias: None });
        return layer("lstm", &args[1..], RecurrentOptions { projection, ..options });
    }
    let [x, w_ih, w_hh, rest @ ..] = args else { panic!("{kind} needs three inputs") };
    let w = RecurrentWeights {
        w_ih: w_ih.clone(),
        w_hh: w_hh.clone(),
        b_ih: rest.first().cloned(),
        b_hh: rest.get(1).cloned(),
    };
    let h = rest.get(2);
    let parts = match kind {
        "lstm" => {
            let state = h.map(|h| LstmState { h: h.clone(), c: rest[3].clone() });
            let (y, state) = lstm(x, &w, state.as_ref(), options)?;
            vec![y, state.h, state.c]
        }
        "gru" => <[Tensor; 2]>::from(gru(x, &w, h, options)?).to_vec(),
        "tanh" => <[Tensor; 2]>::from(rnn(x, &w, h, Nonlinearity::Tanh, options)?).to_vec(),
        _ => <[Tensor; 2]>::from(rnn(x, &w, h, Nonlinearity::Relu, options)?).to_vec(),
    };
    Tensor::cat(&parts.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?, 0)
}

#[test]
fn layers_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/recurrent.safetensors");
    let mut golden = Golden::open(path)?;
    for kind in ["tanh", "relu", "lstm", "gru", "projected"] {
        let all = match kind {
            "lstm" => 7,
            "projected" => 8,
            _ => 6,
        };
        let (args, few) = if kind == "projected" { (&PROJECTED[..], 4) } else { (&ARGS[..], 3) };
        for (name, direction) in [("forward", Direction::Forward), ("reverse", Direction::Reverse)] {
            let whole = RecurrentOptions { direction, ..RecurrentOptions::default() };
            golden.check(&format!("{kind}.{name}.whole"), &args[..few], |args| layer(kind, args, whole))?;
            let mixed = RecurrentOptions { lengths: Some(&[2, 4, 1]), ..whole };
            golden.check(&format!("{kind}.{name}.mixed"), &args[..all], |args| layer(kind, args, mixed))?;
        }
    }
    golden.finish()
}
