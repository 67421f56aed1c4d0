//! Attention takes memory in proportion to the number of queries, not to its square.
#![cfg(target_os = "linux")]

use nn_core::Ctx;
use nn_core::candle_core::{DType, Result, Var};
use nn_core::ops::{Attention, scaled_dot_product_attention};
use nn_core::testing::randn;

/// The most memory this process has had, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let kib: usize = line.split_whitespace().nth(1).expect("a number").parse().expect("a whole one");
    kib / 1024
}

#[test]
fn weights_are_never_all_in_memory() -> Result<()> {
    let (t, d) = (8192, 16); // T × S weights would be 256 MiB, twice that with their gradient.
    let input = |seed| Var::from_tensor(&randn(seed, (1, 1, t, d))?.to_dtype(DType::F32)?);
    let (q, k, v) = (input(1)?, input(2)?, input(3)?);
    let before = peak();
    let attention = Attention { causal: true, dropout: 0.1, ..Attention::default() };
    let y = scaled_dot_product_attention(&q, &k, &v, attention, &Ctx::train(1))?;
    let grads = y.sum_all()?.backward()?;
    assert!([&q, &k, &v].iter().all(|x| grads.get(x).is_some()));
    let more = peak() - before;
    assert!(more < 32, "{more} MiB more for {t} queries");
    Ok(())
}
