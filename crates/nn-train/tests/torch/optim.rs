//! Optimisers and clipping against what PyTorch did, kept in `tests/golden/optim.safetensors`.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use nn_train::clip::{clip_grad_norm, clip_grad_value};
use nn_train::schedule::Length;
use nn_train::{Decay, OneCycle, Optimizer, Pace, Rule, Scale, Schedule};
use serde::Deserialize;

use super::Golden;

const NAMES: [&str; 3] = ["conv.weight", "fc.bias", "fc.weight"];
/// Gets a gradient in every third step only.
const RARE: &str = "fc.bias";
const STEPS: usize = 200;
const EVERY: usize = 20;

#[derive(Deserialize)]
struct About {
    optimisers: BTreeMap<String, Optimiser>,
    groups: BTreeMap<String, Optimiser>,
    factors: BTreeMap<String, BTreeMap<String, f64>>,
    cycled: BTreeMap<String, Optimiser>,
}

#[derive(Deserialize)]
struct Optimiser {
    lr: f64,
    rule: Rule,
    /// The rate stays where there is none.
    #[serde(default)]
    cycle: Option<OneCycle>,
}

impl Optimiser {
    fn pace(&self, step: usize) -> Pace {
        let Some(cycle) = self.cycle else { return self.lr.into() };
        let schedule = Schedule { lr: self.lr, warmup: 0.0, decay: Decay::OneCycle(cycle) };
        let (step, length) = (step as u64, Length { steps_per_epoch: STEPS as u64, epochs: 1 });
        Pace { lr: schedule.at(step, length), momentum: schedule.momentum(step, length) }
    }
}

fn golden() -> (Golden, About) {
    super::golden("optim")
}

/// A store with these gradients: Candle makes one only by differentiating.
fn grads_of(grads: &[(&Var, Tensor)]) -> Result<GradStore> {
    let mut store = Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?;
    for (var, grad) in grads {
        store.insert(var, grad.clone());
    }
    Ok(store)
}

/// The largest difference, relative to the largest number of `theirs`.
fn difference(ours: &Tensor, theirs: &Tensor) -> Result<f64> {
    let theirs = theirs.to_dtype(DType::F64)?;
    let max = |t: Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
    Ok(max((ours.to_dtype(DType::F64)? - &theirs)?)? / max(theirs)?)
}

/// Follows one case in `dtype`; the largest difference from PyTorch after any twenty steps.
fn follow(
    golden: &Golden,
    case: &str,
    optimiser: &Optimiser,
    dtype: DType,
    scales: &[(String, Scale)],
) -> Result<f64> {
    let start = |name: &str| Var::from_tensor(&golden[&format!("start.{name}")].to_dtype(dtype)?);
    let vars = NAMES.iter().map(|name| Ok((name.to_string(), start(name)?))).collect::<Result<Vec<_>>>()?;
    let mut optimizer = Optimizer::new(optimiser.rule, vars.clone())?;
    for (name, scale) in scales {
        optimizer.scale(*scale, |of, _| of == name)?;
    }
    let mut worst = 0f64;
    for step in 0..STEPS {
        let mut grads = Vec::new();
        for (name, var) in &vars {
            let of = |field: &str| golden[&format!("{field}.{name}")].to_dtype(dtype);
            let grad =
                ((of("curvature")? * (var.as_tensor() - of("centre")?)?)? + of("noise")?.get(step % 8)?)?;
            if name != RARE || step % 3 == 0 {
                grads.push((var, grad));
            }
        }
        optimizer.step(&grads_of(&grads)?, optimiser.pace(step))?;
        if (step + 1) % EVERY == 0 {
            for (name, var) in &vars {
                let theirs = golden[&format!("{case}.{name}")].get(step / EVERY)?;
                worst = worst.max(difference(var, &theirs)?);
            }
        }
    }
    Ok(worst)
}

#[test]
fn optimisers_follow_pytorch() -> Result<()> {
    let (golden, about) = golden();
    assert_eq!(about.optimisers.len(), 28);
    for (case, optimiser) in &about.optimisers {
        let fused = follow(&golden, case, optimiser, DType::F32, &[])?;
        assert!(fused <= 1e-6, "{case}: {fused:e} away");
        // The same trajectory in f64 is the portable path; PyTorch's own rounding is what separates them.
        let portable = follow(&golden, case, optimiser, DType::F64, &[])?;
        assert!(portable <= 5e-6, "{case} from tensor operations: {portable:e} away");
    }
    Ok(())
}

/// Rate and momentum go through a cycle of as many steps.
#[test]
fn cycles_are_followed_like_pytorch() -> Result<()> {
    let (golden, about) = golden();
    assert_eq!(about.cycled.len(), 3);
    for (case, Optimiser { lr, rule, .. }) in about.cycled {
        let cycled = |cycle| Optimiser { lr, rule, cycle: Some(cycle) };
        let (moving, still) =
            (OneCycle::default(), OneCycle { cycle_momentum: false, ..OneCycle::default() });
        for dtype in [DType::F32, DType::F64] {
            let away = follow(&golden, &case, &cycled(moving), dtype, &[])?;
            assert!(away <= 5e-6, "{case} in {dtype:?}: {away:e} away");
        }
        let alike = follow(&golden, &case, &cycled(still), DType::F32, &[])?;
        assert!(alike > 1e-3, "{case}: it is the same where momentum stays");
    }
    Ok(())
}

#[test]
fn groups_are_pytorchs() -> Result<()> {
    let (golden, about) = golden();
    assert_eq!(about.groups.len(), 2);
    let factor = |of: &BTreeMap<String, f64>, key: &str| of.get(key).copied().unwrap_or(1.0);
    let scales = about.factors.iter().map(|(name, of)| {
        (name.clone(), Scale { lr: factor(of, "lr"), weight_decay: factor(of, "weight_decay") })
    });
    let scales: Vec<_> = scales.collect();
    for (case, optimiser) in &about.groups {
        for dtype in [DType::F32, DType::F64] {
            let away = follow(&golden, case, optimiser, dtype, &scales)?;
            assert!(away <= 5e-6, "{case} in {dtype:?}: {away:e} away");
        }
        let alike = follow(&golden, case, optimiser, DType::F32, &[])?;
        assert!(alike > 1e-3, "{case}: without groups it is the same");
    }
    Ok(())
}

#[test]
fn clipping_is_pytorchs() -> Result<()> {
    let (golden, _) = golden();
    let given = |name: &str| golden[&format!("clip.grad.{name}")].clone();
    let vars = NAMES.iter().map(|name| Ok((name.to_string(), Var::from_tensor(&given(name))?)));
    let vars = vars.collect::<Result<Vec<_>>>()?;
    let grads: Vec<_> = vars.iter().map(|(name, var)| (var, given(name))).collect();
    let mut store = grads_of(&grads)?;
    let norm = clip_grad_norm(&mut store, &vars, 0.5)?;
    let theirs: f32 = golden["clip.norm"].get(0)?.to_scalar()?;
    assert!((norm - f64::from(theirs)).abs() <= 1e-6 * norm, "{norm} is not {theirs}");
    for (name, var) in &vars {
        let away = difference(store.get(var).expect("kept"), &golden[&format!("clip.clipped.{name}")])?;
        assert!(away <= 1e-6, "{name}: {away:e} away");
    }
    // A norm within bounds leaves every bit as it was.
    let mut store = grads_of(&grads)?;
    clip_grad_norm(&mut store, &vars, norm * 1.01)?;
    for (name, var) in &vars {
        assert_eq!(difference(store.get(var).expect("kept"), &given(name))?, 0.0);
    }
    // One by one.
    let mut store = grads_of(&grads)?;
    clip_grad_value(&mut store, &vars, 0.7)?;
    for (name, var) in &vars {
        assert_eq!(
            difference(store.get(var).expect("kept"), &golden[&format!("clip.by_value.{name}")])?,
            0.0
        );
    }
    let error = clip_grad_value(&mut store, &vars, 0.0).expect_err("no bound").to_string();
    assert!(error.contains("max_value must be above 0, got 0"), "{error}");
    Ok(())
}
