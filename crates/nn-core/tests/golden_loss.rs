//! Losses against PyTorch: outputs and gradients of `tests/golden/cross_entropy.py`, `loss.py` and `vector_loss.py`.

use nn_core::candle_core::{Result, Tensor};
use nn_core::ops::{
    self, BceWithLogits, CosineEmbeddingLoss, CrossEntropy, CtcLoss, Huber, KlDiv, KlTarget, NllLoss,
    Reduction, SmoothL1, TripletMarginLoss,
};
use nn_core::testing::Golden;

const REDUCTIONS: [(&str, Reduction); 3] =
    [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)];

fn golden(name: &str) -> Result<Golden> {
    Golden::open(format!("{}/../../tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn cross_entropy_in_every_combination() -> Result<()> {
    let mut golden = golden("cross_entropy")?;
    for (name, reduction) in REDUCTIONS {
        for rank in [2, 3] {
            for (weighted, args) in [("w", &["x", "target", "weight"] as &[_]), ("-", &["x", "target"])] {
                for (smoothed, label_smoothing) in [("s", 0.2), ("-", 0.0)] {
                    let case = format!("{name}.{rank}.{weighted}.{smoothed}");
                    let options = |x: &[Tensor], ignore_index| {
                        let options =
                            CrossEntropy { weight: x.get(2), ignore_index, label_smoothing, reduction };
                        ops::cross_entropy(&x[0], &x[1], options)
                    };
                    golden.check(&format!("cross_entropy.{case}"), args, |x| options(x, 1))?;
                    golden.check(&format!("cross_entropy.soft.{case}"), args, |x| options(x, -100))?;
                }
                golden.check(&format!("nll_loss.{name}.{rank}.{weighted}"), args, |x| {
                    ops::nll_loss(&x[0], &x[1], NllLoss { weight: x.get(2), ignore_index: 1, reduction })
                })?;
            }
        }
    }
    golden.finish()
}

#[test]
fn losses_of_elements() -> Result<()> {
    let mut golden = golden("loss")?;
    for (name, reduction) in REDUCTIONS {
        let mut check = |op: &str, f: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| {
            golden.check(&format!("{op}.{name}"), &["x", "target"], |x| f(&x[0], &x[1]))
        };
        check("mse", &|x, target| ops::mse(x, target, reduction))?;
        check("l1", &|x, target| ops::l1(x, target, reduction))?;
        check("huber", &|x, target| ops::huber(x, target, Huber { delta: 0.7, reduction }))?;
        check("smooth_l1", &|x, target| ops::smooth_l1(x, target, SmoothL1 { beta: 0.7, reduction }))?;
        check("bce", &|x, target| ops::bce(x, target, reduction))?;
        check("bce.inside", &|x, target| ops::bce(x, target, reduction))?;
        check("bce_with_logits", &|x, target| ops::bce_with_logits(x, target, reduction))?;
        let args = ["x", "target", "weight"];
        golden.check(&format!("bce_with_logits.weight.{name}"), &args, |x| {
            let options = BceWithLogits { weight: Some(&x[2]), ..reduction.into() };
            ops::bce_with_logits(&x[0], &x[1], options)
        })?;
        let args = ["x", "target", "pos_weight"];
        golden.check(&format!("bce_with_logits.pos_weight.{name}"), &args, |x| {
            let options = BceWithLogits { pos_weight: Some(&x[2]), ..reduction.into() };
            ops::bce_with_logits(&x[0], &x[1], options)
        })?;
        let args = ["x", "target", "weight", "pos_weight"];
        golden.check(&format!("bce_with_logits.both.{name}"), &args, |x| {
            let options = BceWithLogits { weight: Some(&x[2]), pos_weight: Some(&x[3]), reduction };
            ops::bce_with_logits(&x[0], &x[1], options)
        })?;
    }
    for (name, reduction) in REDUCTIONS.into_iter().chain([("batchmean", Reduction::BatchMean)]) {
        for (kind, target) in [("kl_div", KlTarget::Probabilities), ("kl_div.log", KlTarget::Logarithms)] {
            let options = KlDiv { target, reduction };
            let op = |x: &[Tensor]| ops::kl_div(&x[0], &x[1], options);
            golden.check(&format!("{kind}.{name}"), &["x", "target"], op)?;
        }
    }
    golden.finish()
}

#[test]
fn losses_of_vectors_and_sequences() -> Result<()> {
    let mut golden = golden("vector_loss")?;
    for dim in 0..3 {
        let op = |x: &[Tensor]| ops::cosine_similarity(&x[0], &x[1], dim);
        golden.check(&format!("cosine_similarity.{dim}"), &["a", "b"], op)?;
    }
    golden.check("cosine_similarity.zeros", &["a", "b"], |x| ops::cosine_similarity(&x[0], &x[1], 1))?;
    for (name, reduction) in REDUCTIONS {
        golden.check(&format!("cosine_embedding_loss.{name}"), &["a", "b", "target"], |x| {
            let options = CosineEmbeddingLoss { margin: 0.1, reduction };
            ops::cosine_embedding_loss(&x[0], &x[1], &x[2], options)
        })?;
        for (order, p) in [("1.0", 1.0), ("2.0", 2.0), ("3.5", 3.5), ("inf", f64::INFINITY)] {
            for (swapped, swap) in [("swap", true), ("-", false)] {
                if name != "none" && order != "2.0" {
                    continue;
                }
                let options =
                    TripletMarginLoss { margin: 1.5, p, swap, reduction, ..TripletMarginLoss::default() };
                let case = format!("triplet_margin_loss.{name}.{order}.{swapped}");
                let op = |x: &[Tensor]| ops::triplet_margin_loss(&x[0], &x[1], &x[2], options);
                golden.check(&case, &["a", "p_", "n"], op)?;
            }
        }
        for (kind, zero_infinity) in [("", false), (".joined", false), (".impossible", true)] {
            let options = CtcLoss { zero_infinity, reduction, ..CtcLoss::default() };
            let case = format!("ctc_loss{kind}.{name}");
            golden.check(&case, &["x", "targets", "frames", "lengths"], |x| {
                ops::ctc_loss(&ops::log_softmax(&x[0], 2)?, &x[1], &x[2], &x[3], options)
            })?;
        }
    }
    golden.finish()
}
