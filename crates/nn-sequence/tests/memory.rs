//! A long sequence takes memory in proportion to its length, there and back.
#![cfg(target_os = "linux")]

use candle_core::{DType, Device, Result, Var};
use nn_core::ops::{Reduction, mse};
use nn_core::testing::randn;
use nn_core::{Ctx, Layer, ParamStore};
use nn_sequence::{AnyUnit, Directions, Elman, Gated, Jordan, LongShortTerm, Recurrent, RecurrentConfig};

/// The most memory this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let kib: usize = line.split_whitespace().nth(1).expect("a number").parse().expect("a whole one");
    kib * 1024
}

fn there_and_back(unit: AnyUnit, steps: usize) -> Result<()> {
    let store = ParamStore::new(1);
    let cfg = RecurrentConfig { unit, directions: Directions::Both, ..RecurrentConfig::default() };
    let layer = Recurrent::new(4, 8, cfg, store.vb(DType::F32, &Device::Cpu))?;
    let x = Var::from_tensor(&randn(1, (1, steps, 4))?.to_dtype(DType::F32)?)?;
    let y = layer.call(&x, &Ctx::train(0))?;
    let grads = nn_core::backward(&mse(&y, &y.zeros_like()?, Reduction::Mean)?)?;
    assert!(grads.get(&x).is_some());
    Ok(())
}

#[test]
fn memory_is_linear_in_the_length() -> Result<()> {
    let units = [
        AnyUnit::Rnn(Elman::default()),
        AnyUnit::Jordan(Jordan::default()),
        AnyUnit::Gru(Gated),
        AnyUnit::Lstm(LongShortTerm::default()),
    ];
    let before = peak();
    units.iter().try_for_each(|&unit| there_and_back(unit, 25_000))?;
    let quarter = peak() - before;
    units.iter().try_for_each(|&unit| there_and_back(unit, 100_000))?;
    let whole = peak() - before;
    // Sixteen times as much if it were the square.
    assert!(whole < 6 * quarter, "{whole} bytes for 100000 steps, {quarter} for a quarter of them");
    Ok(())
}
