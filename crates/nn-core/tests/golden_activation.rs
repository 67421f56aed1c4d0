//! Pointwise functions, softmax and losses against PyTorch: outputs and gradients.
//!
//! The numbers are made by `tests/golden/activation.py`.

use std::collections::{BTreeSet, HashMap};

use nn_core::candle_core::{Device, Result, Tensor, Var};
use nn_core::ops::{self, Reduction};
use nn_core::testing::assert_close;

/// The golden numbers, and which of them have been looked at.
struct Golden {
    tensors: HashMap<String, Tensor>,
    seen: BTreeSet<String>,
}

impl Golden {
    fn get(&mut self, case: &str, part: &str) -> Option<Tensor> {
        let name = format!("{case}.{part}");
        let found = self.tensors.get(&name).cloned();
        self.seen.insert(name);
        found
    }

    fn demand(&mut self, case: &str, part: &str) -> Tensor {
        self.get(case, part).unwrap_or_else(|| panic!("activation.safetensors has no {case}.{part}"))
    }

    /// Compares `f(x)` or `f(x, target)` and the gradients of its weighted sum.
    fn check(&mut self, case: &str, f: impl Fn(&Tensor, Option<&Tensor>) -> Result<Tensor>) -> Result<()> {
        let x = Var::from_tensor(&self.demand(case, "x"))?;
        let mut target = self.get(case, "target");
        let mut trained = vec![(x.clone(), self.demand(case, "dx"))];
        if let Some(gradient) = self.get(case, "dtarget") {
            let var = Var::from_tensor(target.as_ref().expect("a gradient of a target needs one"))?;
            target = Some(var.as_tensor().clone());
            trained.push((var, gradient));
        }
        // Absolute, since a softmax's gradient is a difference of numbers around 1, rounded in PyTorch too.
        let close = |a: &Tensor, b: &Tensor, what: &str| {
            assert_close(a, b, 1e-5, 1e-6).unwrap_or_else(|e| panic!("{case}, {what}: {e}"));
        };
        let y = f(&x, target.as_ref())?;
        close(&y, &self.demand(case, "y"), "output");
        let grads = y.mul(&self.demand(case, "weight"))?.sum_all()?.backward()?;
        for (i, (var, truth)) in trained.iter().enumerate() {
            close(grads.get(var).expect("a variable"), truth, ["gradient", "gradient of the target"][i]);
        }
        Ok(())
    }
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/activation.safetensors");
    let tensors = nn_core::candle_core::safetensors::load(path, &Device::Cpu)?;
    let mut golden = Golden { tensors, seen: BTreeSet::new() };

    golden.check("relu", |x, _| ops::relu(x))?;
    golden.check("leaky_relu", |x, _| ops::leaky_relu(x, 0.2))?;
    golden.check("relu6", |x, _| ops::relu6(x))?;
    golden.check("sigmoid", |x, _| ops::sigmoid(x))?;
    golden.check("tanh", |x, _| ops::tanh(x))?;
    for axis in 0..4 {
        golden.check(&format!("softmax.{axis}"), |x, _| ops::softmax(x, axis))?;
        golden.check(&format!("log_softmax.{axis}"), |x, _| ops::log_softmax(x, axis))?;
    }
    golden.check("softmax.row", |x, _| ops::softmax(x, 1))?;
    golden.check("log_softmax.row", |x, _| ops::log_softmax(x, 1))?;

    let target = |t: Option<&Tensor>| t.expect("a loss has a target").clone();
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)] {
        for rank in 2..=4 {
            let case = format!("cross_entropy.{name}.rank{rank}");
            golden.check(&case, |x, t| ops::cross_entropy(x, &target(t), reduction))?;
        }
        golden.check(&format!("mse.{name}"), |x, t| ops::mse(x, &target(t), reduction))?;
        golden.check(&format!("bce_with_logits.{name}"), |x, t| {
            ops::bce_with_logits(x, &target(t), reduction)
        })?;
    }

    let unseen: Vec<_> = golden.tensors.keys().filter(|name| !golden.seen.contains(*name)).collect();
    assert!(unseen.is_empty(), "never compared: {unseen:?}");
    Ok(())
}
