//! Gradients of several batches, running means of the weights, and evaluations within an epoch.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use nn_train::data::Order;
use nn_train::run::{EMA, MODEL};
use nn_train::{Ema, Event, FitConfig, TrainError, Viewer, evaluate, run, test};

use crate::resume::assert_ends_like;
use crate::toy::{
    BATCHES, EPOCHS, Forward, Toy, batches_of, classify, config, go_on, loader, quiet, steps_of, toy,
    weighed, weights,
};

/// In halves of a batch, and in one of twice the size, with what each says its loss is the mean of.
#[test]
fn batches_taken_together_are_one_large_batch() -> std::result::Result<(), TrainError> {
    for forward in [quiet as Forward, weighed] {
        // 4, 4 | 4, 4 | 2 of 18 examples are 8 | 8 | 2.
        let (mut small, mut large) = (toy(FitConfig { accumulate: 2, ..config() }), toy(config()));
        let steps = |toy: &mut Toy, size| {
            let (train, eval) = (batches_of(size, 18, Order::Shuffled), loader(7, Order::Sequential));
            steps_of(toy, &train, &eval, forward)
        };
        let (in_parts, whole) = (steps(&mut small, 4)?, steps(&mut large, 8)?);
        assert_eq!((in_parts.len() as u64, whole.len() as u64), (3 * EPOCHS, 3 * EPOCHS));
        for (a, b) in in_parts.iter().zip(&whole) {
            assert_eq!((a.step, a.epoch, a.lr), (b.step, b.epoch, b.lr));
            assert!(
                (a.loss - b.loss).abs() < 1e-6 && (a.so_far.loss - b.so_far.loss).abs() < 1e-6,
                "{a:?} {b:?}"
            );
        }
        let (a, b) = (weights(&small)?, weights(&large)?);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?}\n{b:?}");
    }
    Ok(())
}

fn averaged() -> FitConfig {
    FitConfig { ema: Some(0.8), accumulate: 2, evaluate_every: Some(2), ..config() }
}

#[test]
fn the_running_mean_is_evaluated_saved_and_tested_beside_the_weights() -> std::result::Result<(), TrainError>
{
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut averaged = toy(averaged()).create(&path)?;
    let summary = averaged.fit(go_on)?;
    let (best, best_ema) = (summary.best.expect("evaluated"), summary.best_ema.expect("evaluated"));
    assert_eq!(summary.test, None);

    let Toy { model, mut trainer } = averaged;
    let eval = loader(7, Order::Sequential);
    let figures = test(&mut trainer, &eval, go_on, |batch, ctx| classify(&model, batch, ctx))?;
    assert_eq!(figures.expect("not stopped").figures(), best.eval);
    let summary = run::summary(&path)?.expect("finished");
    assert_eq!((summary.test, summary.test_ema), (Some(best.eval), Some(best_ema.eval)));
    assert!(matches!(run::events(&path)?.last(), Some(Event::Tested { .. })));
    assert!(!path.join(run::EVENTS).exists());
    for (file, score) in [(MODEL, best), (EMA, best_ema)] {
        trainer.store().load(path.join(file))?;
        let evaluation = evaluate(&eval, go_on, |batch, ctx| classify(&model, batch, ctx))?;
        assert_eq!(evaluation.expect("not stopped").figures(), score.eval, "{file}");
    }
    Ok(())
}

#[test]
fn the_mean_is_that_of_the_weights_after_each_step() -> std::result::Result<(), TrainError> {
    let mut toy = toy(averaged());
    let store = toy.trainer.store().clone();
    let mut ema = Ema::new(&store, 0.8)?;
    toy.fit(|event| {
        if let Event::Step(_) = event {
            ema.update().expect("parameters");
        }
        ControlFlow::Continue(())
    })?;
    let own = toy.trainer.ema().expect("there is one").means();
    for (name, mean) in ema.means() {
        assert_eq!(own[&name].flatten_all()?.to_vec1::<f32>()?, mean.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
}

#[test]
fn evaluations_within_epochs_come_where_they_should() -> std::result::Result<(), TrainError> {
    let mut places = Vec::new();
    toy(FitConfig { evaluate_every: Some(2), ..config() }).fit(|event| {
        match event {
            Event::Evaluated(evaluated) => places.push((evaluated.step, evaluated.epoch, evaluated.batch)),
            Event::Epoch(epoch) => places.push((epoch.step, epoch.epoch, BATCHES)),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    let expected = [
        (2, 1, 2),
        (4, 1, 4),
        (5, 1, 5),
        (6, 2, 1),
        (8, 2, 3),
        (10, 2, 5),
        (12, 3, 2),
        (14, 3, 4),
        (15, 3, 5),
    ];
    assert_eq!(places, expected);
    Ok(())
}

#[test]
fn with_all_of_it_a_run_stopped_anywhere_ends_like_one_left_alone() -> std::result::Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    let mut events = 0;
    toy(averaged()).create(&alone)?.fit(|event| {
        events += usize::from(asked(event));
        ControlFlow::Continue(())
    })?;
    for stop in 0..events {
        let path = folder.path().join(stop.to_string());
        let mut heard = 0;
        toy(averaged()).create(&path)?.fit(|event| {
            heard += usize::from(asked(event));
            if asked(event) && heard == stop + 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        assert_ends_like(&alone, &path, toy(averaged()).resume(&path)?)?;
    }
    Ok(())
}

/// Whether the loop asks whether to go on.
fn asked(event: &Event) -> bool {
    matches!(event, Event::Step(_) | Event::Evaluating { .. } | Event::Evaluated(_) | Event::Epoch(_))
}

#[test]
fn runs_with_and_without_a_mean_are_told_apart() -> std::result::Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to, says) in
        [(averaged(), config(), "started with a running mean"), (config(), averaged(), "no mean of")]
    {
        let path = folder.path().join(says);
        drop(toy(from).create(&path)?);
        let error = match toy(to).resume(&path) {
            Ok(_) => panic!("it was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(says), "{error}");
    }
    Ok(())
}

/// Bytes but for the clock: of a resumed run, as many.
#[test]
fn an_event_file_for_tensorboard_goes_on_with_the_run() -> std::result::Result<(), TrainError> {
    let folder = tempfile::tempdir().expect("a folder");
    let shown = || toy(FitConfig { viewer: Viewer::Tensorboard, ..averaged() });
    let length = |path: &Path| std::fs::metadata(path.join(run::EVENTS)).expect("an event file").len();
    let (alone, path) = (folder.path().join("alone"), folder.path().join("stopped"));
    shown().create(&alone)?.fit(go_on)?;
    shown().create(&path)?.fit(|event| match event {
        Event::Step(step) if step.step == 5 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })?;
    assert!(length(&path) < length(&alone));
    std::fs::OpenOptions::new()
        .append(true)
        .open(path.join(run::EVENTS))
        .and_then(|mut file| file.write_all(b"half a record"))
        .expect("written");
    shown().resume(&path)?.fit(go_on)?;
    assert_eq!(length(&path), length(&alone));
    Ok(())
}
