//! The portable path on an accelerator against the kernels on the CPU, values and gradients.
//!
//! `cargo test --release -p nn-core --features cuda --test device` on a machine with a GPU; without one it says so.

mod activation;
mod convolution;
mod loss;
mod norm;
mod pooling;
mod sequence;
mod shape;

use candle_core::{DType, Device, Result, Tensor, Var};
use nn_core::backward;
use nn_core::testing::{assert_close, randn};

/// A function of some tensors.
type Function = fn(&[Tensor]) -> Result<Tensor>;

/// An op: its name, the shapes of its arguments, itself.
type Case = (&'static str, &'static [&'static [usize]], Function);

/// The op's output, and the gradients of half the sum of its squares by every argument.
fn run(&(name, shapes, f): &Case, dtype: DType, device: &Device) -> Result<Vec<Tensor>> {
    let args = (1..).zip(shapes).map(|(seed, &shape)| {
        let values = randn(seed, shape)?.to_dtype(dtype)?;
        Var::from_tensor(&values.to_device(device)?)
    });
    let args = args.collect::<Result<Vec<_>>>()?;
    let tensors: Vec<_> = args.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let grads = backward(&(y.sqr()? * 0.5)?)?;
    let gradients = args.iter().enumerate().map(|(i, var)| {
        grads.get(var).cloned().ok_or_else(|| candle_core::Error::msg(format!("{name}: no gradient of {i}")))
    });
    let all = [Ok(y.clone())].into_iter().chain(gradients);
    all.map(|t| t?.to_dtype(DType::F32)?.to_device(&Device::Cpu)).collect()
}

fn accelerator() -> Result<Option<Device>> {
    let device =
        if cfg!(feature = "metal") { Device::metal_if_available(0)? } else { Device::cuda_if_available(0)? };
    Ok((!device.is_cpu()).then_some(device))
}

/// Whether `case` gives on the accelerator, where there is one, what it gives on the CPU; the tolerances are of an element and
/// of a typical one, or of 1.
fn compare(case: &Case, dtype: DType, device: Option<&Device>, tolerance: [f64; 2]) -> Result<()> {
    let ours = run(case, dtype, &Device::Cpu)?;
    for t in &ours {
        let finite = t.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite());
        if !finite {
            candle_core::bail!("not finite on the CPU");
        }
    }
    let Some(device) = device else { return Ok(()) };
    for (cpu, gpu) in ours.iter().zip(run(case, dtype, device)?) {
        // Where terms cancel, what is left is as inexact as they are.
        let typical = cpu.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt().max(1.0);
        assert_close(&gpu, cpu, tolerance[0], tolerance[1] * f64::from(typical))?;
    }
    Ok(())
}

fn compare_all(families: &[&[Case]], dtype: DType, tolerance: [f64; 2]) -> Result<()> {
    let device = accelerator()?;
    if device.is_none() {
        println!("skipped on the accelerator: there is none, or neither `cuda` nor `metal` is on");
    }
    let failed = |case: &Case| {
        let error = compare(case, dtype, device.as_ref(), tolerance).err()?;
        Some(format!("{} in {}: {error}", case.0, dtype.as_str()))
    };
    let failures: Vec<_> = families.iter().copied().flatten().filter_map(failed).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn an_accelerator_gives_what_the_cpu_gives() -> Result<()> {
    let families = [
        convolution::CASES,
        pooling::CASES,
        norm::CASES,
        activation::CASES,
        loss::CASES,
        sequence::CASES,
        shape::CASES,
    ];
    compare_all(&families, DType::F32, [1e-4, 1e-5])
}

/// Numbers of 8 bits: a place of the last differs where sums are added in another order.
#[test]
fn in_half_precision_too() -> Result<()> {
    let families = [convolution::CASES, norm::CASES, activation::CASES];
    compare_all(&families, DType::BF16, [2e-2, 2e-2])
}
