//! Pointwise functions, softmax and look-ups against PyTorch: outputs and gradients.
//!
//! The numbers are made by `tests/golden/activation.py`.

use nn_core::candle_core::{Module, Result};
use nn_core::ops::{self, Activation};
use nn_core::testing::Golden;

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/activation.safetensors");
    let mut golden = Golden::open(path)?;

    for activation in Activation::ALL {
        // The options the maker chose.
        let chosen = match activation {
            Activation::LeakyRelu { .. } => Activation::LeakyRelu { slope: 0.2 },
            Activation::Elu { .. } => Activation::Elu { alpha: 0.7 },
            Activation::Softplus { .. } => Activation::Softplus { beta: 1.5 },
            other => other,
        };
        golden.check(activation.name(), &["x"], |x| chosen.forward(&x[0]))?;
    }
    golden.check("prelu", &["x", "weight"], |x| ops::prelu(&x[0], &x[1]))?;

    for axis in 0..4 {
        golden.check(&format!("softmax.{axis}"), &["x"], |x| ops::softmax(&x[0], axis))?;
        golden.check(&format!("log_softmax.{axis}"), &["x"], |x| ops::log_softmax(&x[0], axis))?;
    }
    golden.check("softmax.row", &["x"], |x| ops::softmax(&x[0], 1))?;
    golden.check("log_softmax.row", &["x"], |x| ops::log_softmax(&x[0], 1))?;
    for axis in 0..3 {
        golden.check(&format!("log_sum_exp.{axis}"), &["x"], |x| ops::log_sum_exp(&x[0], axis))?;
    }

    golden.check("embedding", &["index", "table"], |x| ops::embedding(&x[0], &x[1], Some(2)))?;
    golden.check("gather", &["x", "index"], |x| ops::gather(&x[0], &x[1], 1))?;
    golden.check("scatter_add", &["x", "index", "source"], |x| ops::scatter_add(&x[0], &x[1], &x[2], 1))?;
    golden.finish()
}
