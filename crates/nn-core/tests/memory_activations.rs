//! Activations that are kept small: less memory, the same forward pass, nearly the same gradients.
#![cfg(target_os = "linux")]

use nn_core::candle_core::backprop::GradStore;
use nn_core::candle_core::{DType, Result, Tensor, Var};
use nn_core::testing::{is_direct, randn};
use nn_core::{Activations, ops};

const LAYERS: usize = 24;
const WIDTH: usize = 256;

/// The most memory this process has had, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let kib: usize = line.split_whitespace().nth(1).expect("a number").parse().expect("a whole one");
    kib / 1024
}

/// Linear layers, a norm and an activation after each, and a residual: gradients from arguments, from results, and from nothing.
fn forward(mut x: Tensor, weights: &[Var]) -> Result<Tensor> {
    for w in weights {
        let z = ops::layer_norm(&ops::linear(&x, w, None)?, 1, None, None, 1e-5)?;
        x = ops::add(&ops::relu(&z)?, &x)?;
    }
    ops::mse(&x, &x.zeros_like()?.detach(), ops::Reduction::Mean)
}

/// The loss, its gradients, and how much memory they took at most.
fn train(x: &Tensor, weights: &[Var], activations: Activations) -> Result<(f32, GradStore, usize)> {
    let before = peak();
    let loss = activations.keep(|| forward(x.clone(), weights))?;
    assert!(is_direct(&loss));
    let grads = nn_core::backward(&loss)?;
    Ok((loss.to_scalar()?, grads, peak() - before))
}

#[test]
fn small_activations_take_about_half_the_memory() -> Result<()> {
    let x = randn(1, (4096, WIDTH))?.to_dtype(DType::F32)?; // 4 MiB
    let weight = |n| Var::from_tensor(&(randn(n, (WIDTH, WIDTH))? * 0.06)?.to_dtype(DType::F32)?);
    let weights: Vec<Var> = (0..LAYERS as u64).map(weight).collect::<Result<_>>()?;
    // The smaller first: a peak does not fall again.
    let (small_loss, small, less) = train(&x, &weights, Activations::Bf16)?;
    let (loss, whole, more) = train(&x, &weights, Activations::Whole)?;
    assert_eq!(small_loss.to_bits(), loss.to_bits(), "the forward pass is the same");
    for w in &weights {
        let [a, b] = [&small, &whole].map(|grads| grads.get(w).expect("trained"));
        let size = |t: &Tensor| t.sqr()?.sum_all()?.to_scalar::<f32>();
        let (apart, size) = (size(&(a - b)?)?, size(b)?);
        assert!(apart > 0.0 && apart < 1e-4 * size, "a hundredth of its length: {apart} of {size}");
    }
    // Second comes what the second pass took beyond the peak of the first.
    assert!(5 * less < 3 * (less + more), "{less} MiB beside {} MiB", less + more);
    Ok(())
}

/// An activation that an op of Candle's reads stays whole, and the gradients are right all the same.
#[test]
fn other_operations_may_be_among_them() -> Result<()> {
    let (x, w) = (randn(1, (5, 3))?, Var::from_tensor(&randn(2, (4, 3))?)?);
    let graph = || -> Result<Tensor> {
        let y = ops::tanh(&ops::linear(&x, &w, None)?)?;
        (ops::sigmoid(&y)?.t()?.matmul(&y)? * 2.0)?.sum_all()
    };
    let small = Activations::Bf16.keep(graph)?;
    assert!(!is_direct(&small));
    let [a, b] = [small, graph()?].map(|loss| nn_core::backward(&loss));
    nn_core::testing::assert_close(a?.get(&w).expect("trained"), b?.get(&w).expect("trained"), 1e-14, 0.0)
}
