//! A schedule with a memory: it is in the checkpoint.

use std::ops::ControlFlow;

use nn_train::run::{self, CHECKPOINT};
use nn_train::{Decay, Event, FitConfig, Plateau, Schedule, TrainError};

use crate::resume::assert_ends_like;
use crate::toy::{BATCHES, EPOCHS, config, go_on, toy};

/// Evaluations that are never good enough: the rate falls after each but the first.
fn falling() -> FitConfig {
    let plateau = Plateau { factor: 0.7, patience: 0, threshold: 0.9, ..Plateau::default() };
    let schedule = Schedule { lr: 0.1, warmup: 0.2, decay: Decay::Plateau(plateau) };
    FitConfig { schedule, evaluate_every: Some(2), ..config() }
}

#[test]
fn a_run_on_a_plateau_ends_like_one_left_alone() -> Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    toy(falling()).create(&alone)?.fit(go_on)?;
    let rates: Vec<f64> = run::events(&alone)?
        .iter()
        .filter_map(|event| if let Event::Step(step) = event { Some(step.lr) } else { None })
        .collect();
    let (first, last) = (rates[0], rates[rates.len() - 1]);
    assert!(first == 0.05 && last < 0.1 * 0.7f64.powi(4), "{rates:?}");
    for stop in 1..=BATCHES * EPOCHS {
        let path = folder.path().join(format!("stopped after {stop}"));
        toy(falling()).create(&path)?.fit(|event| match event {
            Event::Step(step) if step.step == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })?;
        assert!(path.join(CHECKPOINT).is_file());
        assert_ends_like(&alone, &path, toy(falling()).resume(&path)?)?;
    }
    Ok(())
}
