//! Learning rates and momenta against PyTorch's, step by step and evaluation by evaluation.

use std::collections::BTreeMap;

use candle_core::Result;
use nn_train::schedule::{Length, Watch, Watched};
use nn_train::{Decay, Figures, Measure, Plateau, Schedule};
use serde::Deserialize;

use super::golden;

#[derive(Deserialize)]
struct About {
    schedules: BTreeMap<String, Plan>,
    plateaus: BTreeMap<String, Reduction>,
}

#[derive(Deserialize)]
struct Plan {
    steps_per_epoch: u64,
    epochs: u64,
    schedule: Schedule,
}

#[derive(Deserialize)]
struct Reduction {
    lr: f64,
    plateau: Plateau,
    mode: String,
    figures: Vec<f64>,
}

/// PyTorch multiplies from step to step where we have the formula: the last bits differ.
fn is_close(ours: f64, theirs: f64, lr: f64) -> bool {
    (ours - theirs).abs() <= 1e-14 * lr
}

#[test]
fn schedules_are_pytorchs() -> Result<()> {
    let (golden, about) = golden::<About>("schedule");
    assert_eq!(about.schedules.len(), 22);
    let mut moving = 0;
    for (case, Plan { steps_per_epoch, epochs, schedule }) in about.schedules {
        schedule.check()?;
        let theirs: Vec<f64> = golden[&case].to_vec1()?;
        let length = Length { steps_per_epoch, epochs };
        assert_eq!(theirs.len() as u64, length.total());
        for (step, theirs) in (0..).zip(theirs) {
            let ours = schedule.at(step, length);
            assert!(is_close(ours, theirs, schedule.lr), "{case} at {step}: {ours} is not {theirs}");
        }
        let Some(theirs) = golden.get(&format!("{case}.momentum")) else {
            assert!((0..length.total()).all(|step| schedule.momentum(step, length).is_none()), "{case}");
            continue;
        };
        moving += 1;
        for (step, theirs) in (0..).zip(theirs.to_vec1()?) {
            let ours = schedule.momentum(step, length).expect("a momentum");
            assert!(is_close(ours, theirs, 1.0), "momentum of {case} at {step}: {ours} is not {theirs}");
        }
    }
    assert_eq!(moving, 4);
    Ok(())
}

#[test]
fn plateaus_are_pytorchs() -> Result<()> {
    let (golden, about) = golden::<About>("schedule");
    assert_eq!(about.plateaus.len(), 7);
    let length = Length { steps_per_epoch: 1, epochs: 100 };
    for (case, Reduction { lr, plateau, mode, figures }) in about.plateaus {
        let up = mode == "max";
        let watch = if up { Watch::Best } else { Watch::Loss };
        let decay = Decay::Plateau(Plateau { watch, ..plateau });
        let schedule = Schedule { lr, warmup: 0.0, decay };
        schedule.check()?;
        let mut watched = Watched::default();
        let theirs: Vec<f64> = golden[&case].to_vec1()?;
        assert_eq!(theirs.len(), figures.len());
        for (step, (figure, theirs)) in (1..).zip(figures.into_iter().zip(theirs)) {
            let figures = match up {
                true => Figures::new(f64::MAX).with(Measure::Accuracy, figure),
                false => Figures::new(figure).with(Measure::Accuracy, 0.5),
            };
            schedule.watch(&mut watched, &figures, step, length);
            let ours = schedule.after(&watched, step, length);
            assert!(is_close(ours, theirs, lr), "{case} at {step}: {ours} is not {theirs}");
        }
    }
    Ok(())
}
