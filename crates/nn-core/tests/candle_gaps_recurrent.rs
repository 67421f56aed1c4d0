//! Where stock Candle 0.11.1 is wrong or lacking and these ops are not: recurrent layers.
//!
//! Each test shows both. One that fails on Candle's half after an upgrade is good news: the gap is closed.

use std::collections::HashMap;

use nn_core::candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::candle_nn::rnn as stock;
use nn_core::candle_nn::{RNN, VarBuilder, VarMap};
use nn_core::ops::{Direction, Nonlinearity, RecurrentOptions, RecurrentWeights, gru, lstm, rnn};
use nn_core::testing::{assert_close, randn};

/// Inputs, units.
const SIZES: [usize; 2] = [3, 4];

/// The weights of a layer, and the same under the names that Candle's layers look for.
fn weights(gates: usize, suffix: &str) -> Result<(RecurrentWeights, VarBuilder<'static>)> {
    let [inputs, units] = SIZES;
    let (w_ih, w_hh) = (randn(1, (gates * units, inputs))?, randn(2, (gates * units, units))?);
    let (b_ih, b_hh) = (randn(3, gates * units)?, randn(4, gates * units)?);
    let mut tensors = HashMap::new();
    for (name, tensor) in [("weight_ih", &w_ih), ("weight_hh", &w_hh), ("bias_ih", &b_ih), ("bias_hh", &b_hh)]
    {
        tensors.insert(format!("{name}_l0{suffix}"), tensor.clone());
    }
    let vb = VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu);
    Ok((RecurrentWeights { w_ih, w_hh, b_ih: Some(b_ih), b_hh: Some(b_hh) }, vb))
}

/// Batch 2, 5 steps.
fn input() -> Result<Tensor> {
    randn(5, (2, 5, SIZES[0]))
}

#[test]
fn states_of_a_gru_have_an_axis_of_time() -> Result<()> {
    let (w, vb) = weights(3, "")?;
    let layer = stock::gru(SIZES[0], SIZES[1], stock::GRUConfig::default(), vb)?;
    let states = layer.states_to_tensor(&layer.seq(&input()?)?)?;
    assert_eq!(states.dims(), [2, 20], "Candle's: 5 steps of 4 units");
    let (y, _) = gru(&input()?, &w, None, RecurrentOptions::default())?;
    assert_eq!(y.dims(), [2, 5, 4]);
    assert_close(&y.reshape((2, 20))?, &states, 1e-12, 1e-12)
}

#[test]
fn the_reverse_direction_reverses() -> Result<()> {
    let (w, vb) = weights(4, "_reverse")?;
    let config = stock::LSTMConfig { direction: stock::Direction::Backward, ..Default::default() };
    let layer = stock::lstm(SIZES[0], SIZES[1], config, vb)?;
    let states = layer.states_to_tensor(&layer.seq(&input()?)?)?;
    let (forward, _) = lstm(&input()?, &w, None, RecurrentOptions::default())?;
    assert_close(&states, &forward, 1e-12, 1e-12)?; // Candle's goes forward all the same.
    let options = RecurrentOptions { direction: Direction::Reverse, ..RecurrentOptions::default() };
    let (reverse, _) = lstm(&input()?, &w, None, options)?;
    let turned = input()?.flip(&[1])?;
    assert_close(&reverse, &lstm(&turned, &w, None, RecurrentOptions::default())?.0.flip(&[1])?, 1e-12, 1e-12)
}

#[test]
fn sequences_may_be_of_several_lengths() -> Result<()> {
    let (w, vb) = weights(4, "")?;
    let layer = stock::lstm(SIZES[0], SIZES[1], stock::LSTMConfig::default(), vb)?;
    let alone = input()?.narrow(0, 1, 1)?.narrow(1, 0, 2)?;
    let alone = layer.seq(&alone)?.pop().expect("two states");
    // Candle's only way is to pad, and then the last state is that of the padding.
    let padded = layer.seq(&input()?)?.pop().expect("five states");
    assert!(assert_close(&padded.h().narrow(0, 1, 1)?, alone.h(), 1e-3, 1e-3).is_err());
    let options = RecurrentOptions { lengths: Some(&[5, 2]), ..RecurrentOptions::default() };
    let (_, state) = lstm(&input()?, &w, None, options)?;
    assert_close(&state.h.narrow(0, 1, 1)?, alone.h(), 1e-12, 1e-12)?;
    assert_close(&state.c.narrow(0, 1, 1)?, alone.c(), 1e-12, 1e-12)
}

/// Runs `f` with a stack of 256 KiB, an eighth of what a thread has.
fn on_a_small_stack<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let small = std::thread::Builder::new().stack_size(1 << 18);
    std::thread::scope(|scope| small.spawn_scoped(scope, f).expect("a thread").join()).expect("no panic")
}

/// Set where a test runs as a process of its own.
const ALONE: &str = "NN_CANDLE_GAP_ALONE";

#[test]
fn a_long_sequence_is_one_node_of_the_graph() -> Result<()> {
    if std::env::var_os(ALONE).is_some() {
        return on_a_small_stack(|| {
            let x = Var::zeros(1, DType::F32, &Device::Cpu)?;
            (0..10_000).try_fold(x.as_tensor().clone(), |y, _| y.tanh())?.backward().map(drop)
        });
    }
    // Candle walks its graph by recursion. An overflow ends the process, so Candle's half is one of its own.
    let mut child = std::process::Command::new(std::env::current_exe()?);
    child.env(ALONE, "1").args(["--exact", "a_long_sequence_is_one_node_of_the_graph"]);
    let child = child.output()?;
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success() && said.contains("overflow"), "{said}");

    let (w, _) = weights(1, "")?;
    let x = Var::from_tensor(&randn(6, (1, 100_000, SIZES[0]))?)?;
    let run = || rnn(&x, &w, None, Nonlinearity::Tanh, RecurrentOptions::default())?.0.sum_all()?.backward();
    assert_eq!(on_a_small_stack(run)?.get(&x).expect("a gradient").dims(), [1, 100_000, 3]);
    Ok(())
}

#[test]
fn start_values_are_not_pytorchs() -> Result<()> {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    stock::lstm(64, 256, stock::LSTMConfig::default(), vb)?;
    let largest = |name: &str| {
        map.data().lock().expect("no panic")[name].abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()
    };
    // PyTorch draws all four from U(−1/√H, 1/√H) = U(−0.0625, 0.0625).
    assert!(largest("weight_ih_l0")? > 0.2);
    assert_eq!(largest("bias_ih_l0")?, 0.0);
    Ok(())
}
