//! Pooling against PyTorch: outputs and gradients of `tests/golden/pool.py`.

use std::path::Path;

use nn_core::candle_core::{DType, Result, Tensor, Var};
use nn_core::ops::{
    AdaptiveAvgPool2d, AvgPool2d, Divisor, MaxPool2d, Rounding, adaptive_avg_pool2d, avg_pool2d, max_pool2d,
};
use nn_core::testing::assert_close;
use nn_core::weights::safetensors;
use serde_json::Value;

/// The op a case is named after, with the case's options in PyTorch's words.
fn pooled(name: &str, x: &Tensor, options: &Value) -> Result<Tensor> {
    let pair = |key: &str, default: [usize; 2]| {
        [0, 1].map(|axis| options[key][axis].as_u64().map_or(default[axis], |n| n as usize))
    };
    let kernel = pair("kernel_size", [0, 0]);
    let (stride, padding) = (pair("stride", kernel), pair("padding", [0, 0]));
    let rounding = if options["ceil_mode"] == true { Rounding::Ceil } else { Rounding::Floor };
    let divisor = match (options["divisor_override"].as_u64(), &options["count_include_pad"]) {
        (Some(n), _) => Divisor::Fixed(n as usize),
        (None, Value::Bool(false)) => Divisor::Inside,
        (None, _) => Divisor::Window,
    };
    match name.split_once('.').map(|(op, _)| op) {
        Some("max_pool2d") => {
            max_pool2d(x, MaxPool2d { kernel, stride, padding, dilation: pair("dilation", [1, 1]), rounding })
        }
        Some("avg_pool2d") => avg_pool2d(x, AvgPool2d { kernel, stride, padding, rounding, divisor }),
        Some("adaptive_avg_pool2d") => {
            adaptive_avg_pool2d(x, AdaptiveAvgPool2d { output: pair("output_size", [0, 0]) })
        }
        _ => panic!("{name} names no op"),
    }
}

/// NaN as a number, for comparing.
fn shown(x: &Tensor) -> Result<Tensor> {
    x.ne(x)?.where_cond(&Tensor::full(1e9, x.dims(), x.device())?.to_dtype(x.dtype())?, x)
}

/// `Σ y · dy`'s gradients are what PyTorch returned for `dy`; f64 to rounding, f32 as the kernels that run.
#[test]
fn values_and_gradients_are_those_of_pytorch() -> Result<()> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pool.safetensors"));
    let about = safetensors::metadata(path)?.remove("about").expect("the maker writes it");
    let (tensors, about): (_, Value) =
        (safetensors::read(path)?, serde_json::from_str(&about).expect("JSON"));
    let cases: Vec<&str> = tensors.keys().filter_map(|key| key.strip_suffix(".y")).collect();
    assert_eq!(cases.len(), 28);
    for name in cases {
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
            let get = |key: &str| tensors[&format!("{name}.{key}")].to_dtype(dtype);
            let x = Var::from_tensor(&get("x")?)?;
            let y = pooled(name, &x, &about["options"][name])?;
            let context = |e: nn_core::candle_core::Error| e.context(format!("{name} in {dtype:?}"));
            assert_close(&shown(&y)?, &shown(&get("y")?)?, tolerance, tolerance).map_err(context)?;
            let grads = y.mul(&get("dy")?)?.sum_all()?.backward()?;
            assert_close(grads.get(&x).expect(name), &get("dx")?, tolerance, tolerance).map_err(context)?;
        }
    }
    Ok(())
}
