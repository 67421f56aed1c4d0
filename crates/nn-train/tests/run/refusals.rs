//! What a run does not do: write over another, go on from what it cannot trust, or keep what is broken.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use crate::toy::{BATCHES, Toy, classify, config, go_on, loader, toy};
use candle_core::{DType, Device};
use nn_core::ParamStore;
use nn_train::data::Order;
use nn_train::run::{self, Begin, CHECKPOINT};
use nn_train::{Adam, Ended, Event, FitConfig, Outcome, Rule, Schedule, TrainError, Trainer, fit};

type Result<T> = std::result::Result<T, TrainError>;

pub(crate) fn stop_after(steps: u64) -> impl FnMut(&Event) -> ControlFlow<()> {
    move |event| match event {
        Event::Step(step) if step.step == steps => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

pub(crate) fn refusal(result: Result<Toy>) -> TrainError {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(e) => e,
    }
}

/// A run that was stopped after step 7.
fn stopped(folder: &Path) -> Result<std::path::PathBuf> {
    let path = folder.join("run");
    toy(config()).create(&path)?.fit(stop_after(7))?;
    Ok(path)
}

#[test]
fn nothing_is_written_over() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (empty, file) = (folder.path().join("empty"), folder.path().join("file"));
    fs::create_dir(&empty).expect("a folder");
    fs::write(&file, "precious").expect("a file");
    let run = stopped(folder.path())?;
    let checkpoint = fs::read(run.join(CHECKPOINT)).expect("a checkpoint");
    for path in [&empty, &file, &run] {
        let error = refusal(toy(config()).create(path));
        assert!(matches!(&error, TrainError::Exists(p) if p == path), "{error}");
        assert!(error.to_string().contains("resume it or choose another name"), "{error}");
    }
    assert_eq!(fs::read(&file).expect("a file"), b"precious");
    assert_eq!(fs::read_dir(&empty).expect("a folder").count(), 0);
    assert!(fs::read(run.join(CHECKPOINT)).expect("a checkpoint") == checkpoint);
    // Nor is anything left behind.
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3);
    let error = refusal(toy(config()).create(&file.join("inside a file")));
    assert!(matches!(error, TrainError::Io { .. }), "{error}");
    Ok(())
}

#[test]
fn folders_without_a_run_and_runs_in_use_are_told_apart() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path(), Path::new("/nonexistent")] {
        assert!(matches!(refusal(toy(config()).resume(path)), TrainError::NoRun(p) if p == path));
        assert!(matches!(run::recipe(path), Err(TrainError::NoRun(p)) if p == path));
    }
    let path = folder.path().join("run");
    let running = toy(config()).create(&path)?;
    assert!(matches!(refusal(toy(config()).resume(&path)), TrainError::Busy(p) if p == path));
    drop(running);
    toy(config()).resume(&path)?;
    Ok(())
}

#[test]
fn a_damaged_checkpoint_is_refused_whichever_byte_it_is() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = stopped(folder.path())?;
    let file = path.join(CHECKPOINT);
    let whole = fs::read(&file).expect("a checkpoint");
    let refused = |bytes: &[u8], what: String| {
        fs::write(&file, bytes).expect("written");
        let error = refusal(toy(config()).resume(&path));
        let told = error.to_string();
        assert!(matches!(error, TrainError::Checkpoint { .. }), "{what}: {told}");
        assert!(
            told.contains("cannot resume from") && told.contains("checkpoint.safetensors"),
            "{what}: {told}"
        );
    };
    for length in (0..whole.len()).step_by(3) {
        refused(&whole[..length], format!("cut to {length}"));
    }
    for i in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[i] ^= 1 << (i % 7);
        refused(&bytes, format!("byte {i}"));
    }
    fs::write(&file, &whole).expect("written");
    assert_eq!(toy(config()).resume(&path)?.trainer.steps(), 7);
    Ok(())
}

#[test]
fn a_checkpoint_of_something_else_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = stopped(folder.path())?;
    let says = |result: Result<Toy>, words: &[&str]| {
        let told = refusal(result).to_string();
        assert!(words.iter().all(|w| told.contains(w)), "{words:?} not in {told}");
    };
    says(toy(FitConfig { seed: 6, ..config() }).resume(&path), &["seed 5", "not 6"]);
    let adam = FitConfig { optimizer: Rule::Adam(Adam::default()), ..config() };
    says(toy(adam).resume(&path), &["another optimiser", "first.bias.exp_avg"]);

    let store = ParamStore::new(0);
    store.vb(DType::F32, &Device::Cpu).get((2, 3), "first.weight")?;
    let before = store.tensors()["first.weight"].to_vec2::<f32>()?;
    let error = Trainer::new(&store, config())?.resume(&path).expect_err("another model").to_string();
    assert!(
        error.contains("another model") && error.contains("[6, 3]") && error.contains("[2, 3]"),
        "{error}"
    );
    assert_eq!(store.tensors()["first.weight"].to_vec2::<f32>()?, before);

    let Toy { model, mut trainer } = toy(config()).resume(&path)?;
    let other = fit(
        &mut trainer,
        &loader(30, Order::Shuffled),
        &loader(7, Order::Sequential),
        go_on,
        |batch, ctx| classify(&model, batch, ctx),
    );
    let error = other.expect_err("another data set").to_string();
    assert!(error.contains("18 examples in 5 batches, got 30 in 8"), "{error}");
    Ok(())
}

#[test]
fn a_diverged_run_keeps_its_last_good_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for bad in [f64::NAN, f64::INFINITY] {
        let path = folder.path().join(bad.to_string());
        let mut run = toy(config()).create(&path)?;
        let mut checkpoint = Vec::new();
        let seen = std::cell::Cell::new(0);
        let result = run.fit_with(
            |event| {
                match event {
                    Event::Checkpointed { .. } => {
                        checkpoint = fs::read(path.join(CHECKPOINT)).expect("a checkpoint")
                    }
                    Event::Step(step) => seen.set(step.step),
                    _ => {}
                }
                ControlFlow::Continue(())
            },
            |model, batch, ctx| {
                let outcome = classify(model, batch, ctx)?;
                if seen.get() == 7 {
                    Outcome::new((outcome.loss() * bad)?, outcome.examples())
                } else {
                    Ok(outcome)
                }
            },
        );
        let error = result.expect_err("diverged");
        assert!(matches!(error, TrainError::Diverged { step: 8, loss, .. } if !loss.is_finite()), "{error}");
        assert!(error.to_string().contains(&format!("the loss is {bad} at step 8")), "{error}");
        assert!(fs::read(path.join(CHECKPOINT)).expect("a checkpoint") == checkpoint);
        assert!(matches!(run::events(&path)?.last(), Some(Event::Diverged { step: 8, .. })));
        drop(run);
        let summary = toy(config()).resume(&path)?.fit(go_on)?;
        assert_eq!((summary.ended, summary.steps), (Ended::Finished, 3 * BATCHES));
    }
    Ok(())
}

#[test]
fn parameters_that_are_no_numbers_are_not_saved() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    // The loss of the first step is fine; what the step makes of the parameters is not.
    let schedule = Schedule { lr: 1e300, ..Schedule::default() };
    let mut run = toy(FitConfig { schedule, clip_norm: None, ..config() }).create(&path)?;
    let before = fs::read(path.join(CHECKPOINT)).expect("a checkpoint");
    let error = run.fit(stop_after(1)).expect_err("diverged");
    assert!(matches!(error, TrainError::Diverged { step: 1, .. }), "{error}");
    assert!(fs::read(path.join(CHECKPOINT)).expect("a checkpoint") == before);
    Ok(())
}

#[test]
fn settings_out_of_range_and_empty_data_are_refused() -> Result<()> {
    let store = ParamStore::new(0);
    let new = |config| Trainer::new(&store, config).expect_err("refused").to_string();
    assert!(new(config()).contains("no parameters to train"));
    store.vb(DType::F32, &Device::Cpu).get(1, "w")?;
    let negative = Schedule { lr: -0.1, ..Schedule::default() };
    assert!(new(FitConfig { schedule: negative, ..config() }).contains("lr must be 0 or more, got -0.1"));
    assert!(
        new(FitConfig { clip_norm: Some(0.0), ..config() })
            .contains("clip_norm must be above 0 and finite, got 0")
    );
    assert!(new(FitConfig { log_every: 0, ..config() }).contains("log_every must be 1 step or more"));
    for (train, eval, says) in [(0, 7, "to train on"), (18, 0, "to evaluate on")] {
        let Toy { model, mut trainer } = toy(config());
        let (train, eval) = (loader(train, Order::Shuffled), loader(eval, Order::Sequential));
        let error =
            fit(&mut trainer, &train, &eval, go_on, |b, ctx| classify(&model, b, ctx)).expect_err("empty");
        assert!(error.to_string().contains(says), "{error}");
    }
    let mut trainer = toy(config()).trainer;
    let error = trainer.create(Path::new("/"), Begin::default()).expect_err("the root");
    assert!(matches!(error, TrainError::Exists(_)));
    Ok(())
}
