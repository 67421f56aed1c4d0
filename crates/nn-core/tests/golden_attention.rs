//! Attention against PyTorch: outputs and gradients of `tests/golden/attention.py`.

use nn_core::Ctx;
use nn_core::candle_core::{Result, Tensor};
use nn_core::ops::{Attention, scaled_dot_product_attention};
use nn_core::testing::Golden;

fn attend(x: &[Tensor], attention: Attention<'_>) -> Result<Tensor> {
    scaled_dot_product_attention(&x[0], &x[1], &x[2], attention, &Ctx::eval())
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/attention.safetensors");
    let (mut golden, plain) = (Golden::open(path)?, Attention::default());
    for (case, attention) in [
        ("plain", plain),
        ("scale", Attention { scale: Some(0.3), ..plain }),
        ("causal", Attention { causal: true, ..plain }),
        ("causal.wide", Attention { causal: true, ..plain }),
        ("grouped", plain),
    ] {
        golden.check(case, &["q", "k", "v"], |x| attend(x, attention))?;
    }
    let with_mask = ["q", "k", "v", "mask"];
    for case in ["added", "seen"] {
        golden.check(case, &with_mask, |x| attend(x, Attention { mask: Some(&x[3]), ..plain }))?;
    }
    golden
        .check("keys", &["q", "k", "v", "keys"], |x| attend(x, Attention { keys: Some(&x[3]), ..plain }))?;
    golden.finish()
}
