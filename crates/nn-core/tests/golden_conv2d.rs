//! Convolution and linear layers against PyTorch: outputs and gradients of `tests/golden/conv2d.py`.

use std::collections::BTreeMap;
use std::path::Path;

use nn_core::candle_core::{DType, Result, Tensor, Var};
use nn_core::ops::{Convolution, Padding, conv2d, linear};
use nn_core::testing::assert_close;
use nn_core::weights::safetensors;
use serde_json::Value;

fn golden() -> Result<(BTreeMap<String, Tensor>, Value)> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/conv2d.safetensors"));
    let about = safetensors::metadata(path)?.remove("about").expect("the maker writes it");
    Ok((safetensors::read(path)?, serde_json::from_str(&about).expect("JSON")))
}

fn pair(options: &Value, key: &str, default: usize) -> [usize; 2] {
    [0, 1].map(|axis| options[key][axis].as_u64().map_or(default, |n| n as usize))
}

/// `Σ y · dy`'s gradients are what PyTorch returned for `dy`; f64 to rounding, f32 as the kernels that run.
#[test]
fn values_and_gradients_are_those_of_pytorch() -> Result<()> {
    let (tensors, about) = golden()?;
    let mut seen = 0;
    for name in tensors.keys().filter_map(|key| key.strip_suffix(".y")) {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let get =
                |key: &str| tensors.get(&format!("{name}.{key}")).map(|t| t.to_dtype(dtype)).transpose();
            let leaf = |key| get(key)?.map(|t| Var::from_tensor(&t)).transpose();
            let (Some(x), Some(w), b) = (leaf("x")?, leaf("w")?, leaf("b")?) else {
                panic!("{name} lacks an input")
            };
            let bias = b.as_ref().map(Var::as_tensor);
            let options = &about["options"][name];
            let y = if name.starts_with("linear") {
                linear(&x, &w, bias)?
            } else {
                let padding = match options["padding"] {
                    Value::String(_) => Padding::Same,
                    _ => Padding::Symmetric(pair(options, "padding", 0)),
                };
                let groups = options["groups"].as_u64().unwrap_or(1) as usize;
                let (stride, dilation) = (pair(options, "stride", 1), pair(options, "dilation", 1));
                conv2d(&x, &w, bias, Convolution { stride, padding, dilation, groups })?
            };
            let [Some(expected), Some(dy)] = [get("y")?, get("dy")?] else {
                panic!("{name} lacks an output")
            };
            assert_close(&y, &expected, tolerance, tolerance)?;
            let grads = y.mul(&dy)?.sum_all()?.backward()?;
            for (key, var) in [("dx", Some(&x)), ("dw", Some(&w)), ("db", b.as_ref())] {
                let Some((var, expected)) = var.zip(get(key)?) else { continue };
                assert_close(grads.get(var).expect(key), &expected, tolerance, 4.0 * tolerance)?;
                seen += 1;
            }
        }
    }
    assert!(seen >= 60, "only {seen} gradients were compared");
    Ok(())
}
