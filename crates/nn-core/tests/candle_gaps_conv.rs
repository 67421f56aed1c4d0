//! What stock Candle 0.11.1 gets wrong about convolutions and parameters, beside what replaces it.

use nn_core::candle_core::{DType, Device, Result, Var};
use nn_core::ops::{Convolution, conv2d};
use nn_core::testing::{gradcheck, randn};
use nn_core::{ParamStore, candle_nn};

/// A stride that leaves one pixel over along the height and none along the width.
#[test]
fn a_strided_gradient_with_uneven_remainders() -> Result<()> {
    let (x, w) = (Var::from_tensor(&randn(1, (1, 1, 6, 7))?)?, randn(2, (1, 1, 3, 3))?);
    let stock = x.conv2d(&w, 0, 2, 1, 1)?.sum_all()?.backward();
    assert!(stock.is_err(), "stock Candle can do it now: drop this gap");
    let p = Convolution { stride: [2, 2], ..Convolution::default() };
    gradcheck(|v| conv2d(&v[0], &v[1], None, p), &[x.as_detached_tensor(), w])
}

/// Start values cannot be seeded on the CPU; ours are a function of seed and name.
#[test]
fn start_values_that_can_be_repeated() -> Result<()> {
    assert!(Device::Cpu.set_seed(1).is_err(), "stock Candle can do it now: drop this gap");
    let start = || {
        let store = ParamStore::new(1);
        let vb = store.vb(DType::F32, &Device::Cpu);
        vb.get_with_hints(8, "w", candle_nn::Init::Randn { mean: 0.0, stdev: 1.0 })?.to_vec1::<f32>()
    };
    assert_eq!(start()?, start()?);
    Ok(())
}

/// A `VarMap` trains batch-norm statistics with everything else; here they are buffers.
#[test]
fn buffers_are_no_parameters() -> Result<()> {
    let stock = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&stock, DType::F32, &Device::Cpu);
    candle_nn::batch_norm(4, 1e-5, vb)?;
    assert_eq!(stock.all_vars().len(), 4, "stock Candle tells them apart now: drop this gap");

    let store = ParamStore::new(1);
    let vb = store.vb(DType::F32, &Device::Cpu);
    nn_core::store::buffer(&vb, 4, "running_mean", 0.0)?;
    vb.get(4, "weight")?;
    assert_eq!(store.parameters().len(), 1);
    assert_eq!(store.tensors().len(), 2);
    Ok(())
}

/// A file with names the model does not have loads without a word; ours reports them.
#[test]
fn unexpected_names_are_reported() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("w.safetensors");
    let other = ParamStore::new(1);
    let vb = other.vb(DType::F32, &Device::Cpu);
    vb.get(4, "weight")?;
    vb.get(4, "weird")?;
    other.save(&path)?;

    let mut stock = candle_nn::VarMap::new();
    candle_nn::VarBuilder::from_varmap(&stock, DType::F32, &Device::Cpu).get(4, "weight")?;
    assert!(stock.load(&path).is_ok(), "stock Candle reports it now: drop this gap");

    let store = ParamStore::new(1);
    store.vb(DType::F32, &Device::Cpu).get(4, "weight")?;
    assert!(store.load(&path).expect_err("one name too many").to_string().contains("weird"));
    Ok(())
}

/// Saved weights carry no `format: pt`, which Python's loaders ask for.
#[test]
fn saved_files_say_their_format() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (stock, ours) = (dir.path().join("stock"), dir.path().join("ours"));
    let map = candle_nn::VarMap::new();
    candle_nn::VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu).get(4, "weight")?;
    map.save(&stock)?;
    let store = ParamStore::new(1);
    store.vb(DType::F32, &Device::Cpu).get(4, "weight")?;
    store.save(&ours)?;
    let says = |path| -> Result<bool> {
        Ok(String::from_utf8_lossy(&std::fs::read(path)?).contains(r#""format":"pt""#))
    };
    assert!(!says(stock)?, "stock Candle says it now: drop this gap");
    assert!(says(ours)?);
    Ok(())
}

/// Height and width have options of their own; stock Candle takes one number for both.
#[test]
fn rectangular_options() -> Result<()> {
    let (x, w) = (randn(1, (1, 1, 5, 9))?, randn(2, (1, 1, 2, 3))?);
    let p = Convolution { stride: [1, 2], dilation: [2, 1], ..Convolution::default() };
    assert_eq!(conv2d(&x, &w, None, p)?.dims(), [1, 1, 3, 4]);
    gradcheck(|v| conv2d(&v[0], &v[1], None, p), &[x, w])
}
