//! What ends a run before its last epoch, and what is said of one that diverges.

use std::ops::ControlFlow;

use candle_core::{Device, Result, Tensor};
use nn_core::Through;
use nn_train::run::{self, METRICS};
use nn_train::{Anomaly, Ended, Event, FitConfig, Outcome, Schedule, Stop, TrainError};

use crate::resume::assert_ends_like;
use crate::toy::{BATCHES, EPOCHS, Toy, config, go_on, toy};

fn stopping(stop: Stop) -> FitConfig {
    FitConfig { stop, ..config() }
}

/// At a rate of 0 nothing gets better.
#[test]
fn patience_ends_after_as_many_evaluations_without_improvement() -> std::result::Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let patient = |patience| FitConfig {
        epochs: 20,
        schedule: Schedule { lr: 0.0, ..Schedule::default() },
        ..stopping(Stop { patience: Some(patience), ..Stop::default() })
    };
    let summary = toy(patient(3)).create(&path)?.fit(go_on)?;
    assert_eq!((summary.ended, summary.epochs), (Ended::Patience, 4));
    assert_eq!(summary.best.map(|best| best.epoch), Some(1));
    assert_eq!(run::summary(&path)?, Some(summary));
    assert!(matches!(run::events(&path)?.last(), Some(Event::Finished { ended: Ended::Patience, .. })));
    // Nothing is left to do, and with more patience there is.
    assert_eq!(toy(patient(3)).resume(&path)?.fit(go_on)?.epochs, 4);
    assert_eq!(toy(patient(5)).resume(&path)?.fit(go_on)?.epochs, 6);
    Ok(())
}

#[test]
fn a_limit_of_steps_ends_with_an_evaluation_and_can_be_raised() -> std::result::Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    let limited = |steps| stopping(Stop { steps: Some(steps), ..Stop::default() });
    toy(limited(8)).create(&alone)?.fit(go_on)?;
    for steps in 1..8 {
        let path = folder.path().join(steps.to_string());
        let summary = toy(limited(steps)).create(&path)?.fit(go_on)?;
        assert_eq!((summary.ended, summary.steps, summary.epochs), (Ended::Steps, steps, steps / BATCHES));
        assert_eq!(summary.last.map(|last| last.step), Some(steps));
        assert!(path.join(METRICS).is_file());
        assert_eq!(toy(limited(8)).resume(&path)?.fit(go_on)?.steps, 8);
    }
    for stop in 1..8 {
        let path = folder.path().join(format!("stopped after {stop}"));
        toy(limited(8)).create(&path)?.fit(|event| match event {
            Event::Step(step) if step.step == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })?;
        assert_ends_like(&alone, &path, toy(limited(8)).resume(&path)?)?;
    }
    let all = toy(limited(1000)).fit(go_on)?;
    assert_eq!((all.ended, all.epochs), (Ended::Finished, EPOCHS));
    Ok(())
}

#[test]
fn a_limit_of_time_ends_after_the_step_that_reaches_it() -> std::result::Result<(), TrainError> {
    let summary = toy(stopping(Stop { seconds: Some(1e-9), ..Stop::default() })).fit(go_on)?;
    assert_eq!((summary.ended, summary.steps), (Ended::Seconds, 1));
    assert!(summary.best.is_some());
    let summary = toy(stopping(Stop { seconds: Some(1e9), ..Stop::default() })).fit(go_on)?;
    assert_eq!(summary.ended, Ended::Finished);
    Ok(())
}

/// Trains with a last layer that the caller chooses.
fn anomaly(last: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync, data: f64) -> Option<Anomaly> {
    let mut toy: Toy = toy(config());
    let result = toy.fit_with(go_on, |model, batch, ctx| {
        let inputs = (&batch.inputs * data)?;
        let x = inputs.through("body", &|x: &Tensor| model.call(x, ctx), ctx)?;
        Outcome::classification(&x.through("last", &last, ctx)?, &batch.targets)
    });
    match result {
        Err(TrainError::Diverged { step: 1, anomaly, .. }) => anomaly,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_layer_that_spoils_a_step_is_named() {
    let divided = |x: &Tensor| x.broadcast_div(&Tensor::new(0f32, &Device::Cpu)?);
    assert!(matches!(anomaly(divided, 1.0), Some(Anomaly::Output { layer, .. }) if layer == "last"));
    assert_eq!(anomaly(|x| Ok(x.clone()), f64::NAN), Some(Anomaly::Input("body".to_owned())));
    // A step that spoils the weights: the next loss is no number, or the checkpoint is refused.
    let schedule = Schedule { lr: 1e300, ..Schedule::default() };
    let mut toy = toy(FitConfig { schedule, clip_norm: None, ..config() });
    let error = toy.fit(go_on).expect_err("diverged");
    assert!(
        matches!(&error, TrainError::Diverged { step: 2, anomaly: Some(Anomaly::Parameter(name)), .. } if name == "first.bias"),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("at step 2; first.bias is no longer finite; a lower learning rate"),
        "{error}"
    );
}
