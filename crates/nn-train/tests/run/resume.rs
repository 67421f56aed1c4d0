//! A run that was stopped or killed, and resumed, ends in the same bytes as one that was left alone.

use std::cell::RefCell;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::toy::{BATCHES, EPOCHS, Toy, config, go_on, toy};
use nn_train::run::{self, CHECKPOINT, EMA, LOG, METRICS, MODEL, RECIPE, REPORT};
use nn_train::{Cadence, Decay, Ended, Event, OneCycle, Schedule, Summary, TrainError};
use serde_json::Value;

type Result<T> = std::result::Result<T, TrainError>;

const STEPS: u64 = BATCHES * EPOCHS;

/// The log's lines without what depends on the clock.
pub(crate) fn log(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path.join(LOG)).expect("a log");
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("a whole line");
        let fields = line.as_object_mut().expect("an object");
        for clock in ["seconds", "examples_per_second", "created"] {
            fields.remove(clock);
        }
        line
    };
    text.lines().map(line).collect()
}

pub(crate) fn left_alone(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("alone");
    let summary = toy(config()).create(&path)?.fit(go_on)?;
    assert_eq!((summary.ended, summary.epochs, summary.steps), (Ended::Finished, EPOCHS, STEPS));
    Ok(path)
}

/// Goes on with a run and compares everything it leaves with one that was left alone.
pub(crate) fn assert_ends_like(alone: &Path, path: &Path, mut resumed: Toy) -> Result<()> {
    assert_ne!(resumed.fit(go_on)?.ended, Ended::Interrupted);
    for name in [MODEL, EMA] {
        assert!(fs::read(path.join(name)).ok() == fs::read(alone.join(name)).ok(), "{name}");
    }
    assert_eq!(log(path), log(alone));
    let summary = |path: &Path| -> Summary {
        let json = fs::read(path.join(METRICS)).expect("figures");
        Summary {
            seconds: 0.0,
            examples_per_second: 0.0,
            ..serde_json::from_slice(&json).expect("a summary")
        }
    };
    assert_eq!(summary(path), summary(alone));
    assert!(path.join(REPORT).is_file());
    Ok(())
}

#[test]
fn a_run_stopped_after_any_step_ends_like_one_left_alone() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = left_alone(folder.path())?;
    for stop in 1..=STEPS {
        let path = folder.path().join(format!("stopped after {stop}"));
        let summary = toy(config()).create(&path)?.fit(|event| match event {
            Event::Step(step) if step.step == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })?;
        assert_eq!((summary.ended, summary.steps), (Ended::Interrupted, stop));
        assert_ends_like(&alone, &path, toy(config()).resume(&path)?)?;
    }
    Ok(())
}

#[test]
fn a_run_whose_momentum_moves_ends_like_one_left_alone() -> Result<()> {
    let schedule = Schedule { lr: 0.1, warmup: 0.0, decay: Decay::OneCycle(OneCycle::default()) };
    let cycling = || toy(nn_train::FitConfig { schedule, ..config() });
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    cycling().create(&alone)?.fit(go_on)?;
    for stop in [3, 9] {
        let path = folder.path().join(format!("stopped after {stop}"));
        cycling().create(&path)?.fit(|event| match event {
            Event::Step(step) if step.step == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })?;
        assert_ends_like(&alone, &path, cycling().resume(&path)?)?;
    }
    Ok(())
}

#[test]
fn a_run_stopped_while_it_evaluates_ends_like_one_left_alone() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = left_alone(folder.path())?;
    let path = folder.path().join("stopped");
    let stop_in_evaluation = |event: &Event| match event {
        Event::Evaluating { batch: 1, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert_eq!(toy(config()).create(&path)?.fit(stop_in_evaluation)?.ended, Ended::Interrupted);
    assert_eq!(toy(config()).resume(&path)?.fit(stop_in_evaluation)?.steps, BATCHES);
    assert_ends_like(&alone, &path, toy(config()).resume(&path)?)
}

#[test]
fn a_run_killed_at_any_event_ends_like_one_left_alone() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = left_alone(folder.path())?;
    for cadence in [Cadence::EpochEnd, Cadence::Steps(2), Cadence::Steps(3)] {
        let config = nn_train::FitConfig { checkpoint: cadence, ..config() };
        let path = folder.path().join(format!("{cadence:?}"));
        // What a killed process leaves is what was there at that moment.
        let snapshots = RefCell::new(Vec::new());
        toy(config).create(&path)?.fit(|_| {
            let copy = folder.path().join(format!("{cadence:?} {}", snapshots.borrow().len()));
            copy_folder(&path, &copy);
            snapshots.borrow_mut().push(copy);
            ControlFlow::Continue(())
        })?;
        assert!(snapshots.borrow().len() > STEPS as usize);
        for copy in snapshots.into_inner() {
            // Killed in the middle of a line, and while a checkpoint was being written.
            fs::write(
                copy.join(LOG),
                [&fs::read(copy.join(LOG)).expect("a log")[..], b"{\"event\":\"st"].concat(),
            )
            .expect("written");
            fs::write(copy.join(CHECKPOINT.to_owned() + ".partial"), b"half").expect("written");
            assert_ends_like(&alone, &copy, toy(config).resume(&copy)?)?;
        }
    }
    Ok(())
}

#[test]
fn a_finished_run_can_be_resumed_and_made_longer() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = left_alone(folder.path())?;
    let (before, lines) = (fs::read(path.join(MODEL)).expect("weights"), log(&path));
    // Looking at it changes nothing.
    drop(toy(config()).resume(&path)?);
    assert_eq!(lines, log(&path));
    assert_eq!(toy(config()).resume(&path)?.fit(go_on)?.steps, STEPS);
    assert!(before == fs::read(path.join(MODEL)).expect("weights"));
    assert_eq!(lines, log(&path));
    let longer = nn_train::FitConfig { epochs: EPOCHS + 1, ..config() };
    assert_eq!(toy(longer).resume(&path)?.fit(go_on)?.steps, STEPS + BATCHES);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_a_log_without_gaps() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (left_alone(folder.path())?, folder.path().join("two"));
    toy(config()).create(&two)?.fit(go_on)?;
    assert!(fs::read(one.join(MODEL)).expect("weights") == fs::read(two.join(MODEL)).expect("weights"));
    assert_eq!(run::recipe(&one)?, "model = \"toy\"\n");
    assert!(one.join(RECIPE).is_file());
    let events = run::events(&one)?;
    let steps: Vec<u64> =
        events.iter().filter_map(|e| if let Event::Step(s) = e { Some(s.step) } else { None }).collect();
    assert_eq!(steps, [1, 2, 4, 6, 8, 10, 12, 14]);
    let epochs: Vec<_> =
        events.iter().filter_map(|e| if let Event::Epoch(e) = e { Some(e) } else { None }).collect();
    assert_eq!(epochs.iter().map(|e| e.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    let confusion = epochs[0].confusion.as_ref().expect("the first epoch is the best so far");
    assert_eq!(confusion.counts.iter().flatten().sum::<u64>(), 7);
    assert!(
        matches!(events.first(), Some(Event::Created(_)))
            && matches!(events.last(), Some(Event::Finished { .. }))
    );
    Ok(())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("last")).expect("a folder");
    for name in [RECIPE, CHECKPOINT, MODEL, EMA, LOG, METRICS, REPORT] {
        if from.join(name).is_file() {
            fs::copy(from.join(name), to.join(name)).expect("copied");
        }
    }
}

/// Where the process that is to be killed trains.
const VICTIM: &str = "NN_TRAIN_TEST_VICTIM";

#[test]
fn a_run_killed_for_real_ends_like_one_left_alone() -> Result<()> {
    if let Some(path) = std::env::var_os(VICTIM) {
        return be_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let alone = left_alone(folder.path())?;
    let path = folder.path().join("killed");
    let mut killed = 0;
    for pause in (1..40).map(|n| std::time::Duration::from_micros(1500 * n)) {
        // This very test, in a process of its own.
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["resume::a_run_killed_for_real_ends_like_one_left_alone", "--exact"])
            .env(VICTIM, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a process");
        std::thread::sleep(pause);
        // The signal cannot be handled: nothing is tidied up.
        child.kill().expect("killed");
        killed += usize::from(!child.wait().expect("ended").success());
    }
    assert!(killed > 0);
    let run = if path.exists() { toy(config()).resume(&path)? } else { toy(config()).create(&path)? };
    assert_ends_like(&alone, &path, run)
}

/// Trains with as many checkpoints as possible, from where the last one who did was killed.
fn be_killed(path: &Path) -> Result<()> {
    let config = nn_train::FitConfig { checkpoint: Cadence::Steps(1), ..config() };
    let mut run = if path.exists() { toy(config).resume(path)? } else { toy(config).create(path)? };
    run.fit(go_on).map(|_| ())
}
