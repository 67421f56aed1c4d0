//! Interpolation and rotary embeddings against PyTorch: outputs and gradients of `tests/golden/resample.py`.

use std::path::Path;

use nn_core::candle_core::Result;
use nn_core::ops::{Interpolation, RotaryPairs, Sampling, interpolate, rotary_embedding};
use nn_core::testing::Golden;

const HOW: [(&str, Interpolation); 8] = [
    ("nearest", Interpolation::Nearest),
    ("nearest_exact", Interpolation::NearestExact),
    ("bilinear", Interpolation::Bilinear(Sampling::Centers)),
    ("bilinear_corners", Interpolation::Bilinear(Sampling::Corners)),
    ("bilinear_antialiased", Interpolation::Bilinear(Sampling::Antialiased)),
    ("bicubic", Interpolation::Bicubic(Sampling::Centers)),
    ("bicubic_corners", Interpolation::Bicubic(Sampling::Corners)),
    ("bicubic_antialiased", Interpolation::Bicubic(Sampling::Antialiased)),
];

/// Sizes in the names of the cases, height and width before and after.
const SIZES: [(&str, [usize; 2]); 5] = [
    ("3x4.6x8", [6, 8]),
    ("5x3.7x10", [7, 10]),
    ("9x7.4x3", [4, 3]),
    ("4x9.7x2", [7, 2]),
    ("3x2.1x1", [1, 1]),
];

#[test]
fn values_and_gradients_are_those_of_pytorch() -> Result<()> {
    let mut golden =
        Golden::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/resample.safetensors"))?;
    for (name, how) in HOW {
        for (sizes, size) in SIZES {
            golden.check(&format!("{name}.{sizes}"), &["x"], |x| interpolate(&x[0], size, how))?;
        }
    }
    golden.check("nearest.1x2.1x82", &["x"], |x| interpolate(&x[0], [1, 82], Interpolation::Nearest))?;
    for (name, pairs) in [("halves", RotaryPairs::Halves), ("interleaved", RotaryPairs::Interleaved)] {
        for case in [format!("rotary.{name}"), format!("rotary.{name}.trained")] {
            golden.check(&case, &["x", "cos", "sin"], |x| rotary_embedding(&x[0], &x[1], &x[2], pairs))?;
        }
    }
    golden.finish()
}
