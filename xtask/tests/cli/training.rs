//! What stands around a run: a validation part, early ends, a learning rate to begin with, sweeps, damaged checkpoints.

use std::fs;

use crate::stage::{call, folder};

/// A run of `mlp` over a few hundred digits.
const SHORT: &str =
    "train mlp --epochs 2 --batch-size 32 --set data.train_examples=320 --set data.test_examples=64";

#[test]
fn the_best_epoch_is_chosen_on_a_part_of_its_own() {
    let dir = folder();
    let train = call(dir.path(), &format!("{SHORT} --set train.validation=0.2 --json --out run")).ok();
    assert!(train.stderr.contains("256 training, 64 validation and 64 test images"), "{}", train.stderr);
    assert!(train.stderr.contains("valid loss"), "{}", train.stderr);
    let eval = call(dir.path(), "eval run --json").ok().json();
    assert_eq!(train.json()["summary"]["test"]["accuracy"], eval["accuracy"]);
    let shown = call(dir.path(), "train --resume run").ok();
    for part in ["test accuracy", "best epoch", "by the validation part"] {
        assert!(shown.stdout.contains(part), "{part} is not in\n{}", shown.stdout);
    }
    call(dir.path(), &format!("{SHORT} --set train.validation=0.001"))
        .fails(&["train.validation = 0.001 leaves none to validate on", "choose another share"]);
}

#[test]
fn a_run_ends_early_keeps_a_running_mean_and_writes_for_tensorboard() {
    let dir = folder();
    let words = "--set train.stop.steps=7 --set train.ema=0.9 --set train.evaluate_every=3 --set train.viewer=tensorboard";
    let train = call(dir.path(), &format!("{SHORT} {words} --json --out run")).ok();
    let summary = train.json()["summary"].clone();
    assert_eq!((&summary["ended"], &summary["steps"]), (&"steps".into(), &7.into()));
    assert!(summary["test_ema"]["accuracy"].is_number(), "{summary}");
    assert!(
        train.stderr.contains("7 steps are taken") && train.stderr.contains("running mean"),
        "{}",
        train.stderr
    );
    for file in ["ema.safetensors", "events.out.tfevents"] {
        assert!(dir.path().join("run").join(file).is_file(), "{file}");
    }
    let eval = call(dir.path(), "eval run --weights run/ema.safetensors --json").ok().json();
    assert_eq!(eval["accuracy"], summary["test_ema"]["accuracy"]);
}

#[test]
fn a_damaged_checkpoint_names_the_one_before_it() {
    let dir = folder();
    call(dir.path(), &format!("{SHORT} --out alone")).ok();
    call(dir.path(), &format!("{SHORT} --out run")).ok();
    let (run, alone) = (dir.path().join("run"), dir.path().join("alone"));
    fs::remove_file(run.join("metrics.json")).expect("a finished run has figures");
    let checkpoint = run.join("last/checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).expect("a checkpoint");
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).expect("written");
    let ended = call(dir.path(), "train --resume run");
    let before = ended.stderr.split("--from ").nth(1).map(|rest| rest.trim().to_owned()).expect("an offer");
    ended.fails(&["cannot resume from", "is damaged", "is whole", "help: go on from that one"]);
    call(dir.path(), &format!("train --resume run --from {before}")).ok();
    let weights = |run: &std::path::Path| fs::read(run.join("model.safetensors")).expect("weights");
    assert!(weights(&run) == weights(&alone));
}

#[test]
fn a_schedule_is_drawn_without_data() {
    let dir = folder();
    let words = "schedule cat_cnn-hymenoptera --epochs 10";
    let drawn = call(dir.path(), &format!("{words} --out rate.svg")).ok().stdout;
    for part in ["cosine", "10 epochs", "1.00e-3 │", "highest", "rate.svg"] {
        assert!(drawn.contains(part), "{part} is not in\n{drawn}");
    }
    let svg = fs::read_to_string(dir.path().join("rate.svg")).expect("a picture");
    assert!(svg.starts_with("<svg xmlns") && svg.contains("cat_cnn-hymenoptera"));
    let kinds = "--set schedule.warmup=0 --set schedule.decay.kind=one_cycle --set schedule.decay.rise=0.5";
    let points = call(dir.path(), &format!("{words} {kinds} --json")).ok().json()["points"].clone();
    let rates: Vec<f64> =
        points.as_array().expect("points").iter().filter_map(|point| point["lr"].as_f64()).collect();
    assert!((rates[0] - 1e-3 / 25.0).abs() < 1e-9 && rates.iter().any(|rate| (rate - 1e-3).abs() < 1e-6));
    let momenta: Vec<f64> =
        points.as_array().expect("points").iter().filter_map(|p| p["momentum"].as_f64()).collect();
    assert!(
        momenta.len() == rates.len() && momenta[0] == 0.95 && momenta.iter().any(|m| (m - 0.85).abs() < 1e-4)
    );
    let shown = call(dir.path(), &format!("{words} {kinds} --out both.svg")).ok().stdout;
    assert!(shown.contains("from 0.950 down to 0.850") && shown.contains("    0.950 │"), "{shown}");
    let svg = fs::read_to_string(dir.path().join("both.svg")).expect("a picture");
    assert!(svg.contains("Learning rate and momentum of") && svg.contains(">momentum</text>"));
    call(dir.path(), "schedule lenet5 --set schedule.warmup=0 --set schedule.decay.kind=one_cycle --set optimizer.momentum=0")
        .fails(&["one_cycle moves the optimizer's momentum, and it has none", "cycle_momentum = false"]);
    call(dir.path(), &format!("{words} --set schedule.decay.kind=one_cycle")).fails(&["warmup must be 0"]);
    call(dir.path(), &format!("{words} --out rate.png")).fails(&["rate.png", "ends in .svg"]);
}

#[test]
fn a_learning_rate_is_found() {
    let dir = folder();
    let words = "lr-find mlp --set data.train_examples=640 --set data.test_examples=64 --steps 60";
    let found = call(dir.path(), &format!("{words} --json")).ok().json();
    let rate = found["suggestion"].as_f64().expect("a number");
    assert!((1e-4..10.0).contains(&rate), "{rate}");
    assert!(fs::read_to_string(dir.path().join("lr-find.html")).expect("a page").contains("<svg"));
    let shown = call(dir.path(), words).ok();
    assert!(shown.stdout.contains("suggestion  --lr ") && shown.stdout.contains('▲'), "{}", shown.stdout);
    call(dir.path(), "lr-find mlp --from 1 --to 0.1")
        .fails(&["the rates must be above 0 and rise, got 1 to 0.1"]);
}

#[test]
fn one_batch_is_learnt_by_heart_or_not() {
    let dir = folder();
    let words = "train mlp --batch-size 16 --set data.train_examples=64 --set data.test_examples=64 --overfit-one-batch";
    let learnt = call(dir.path(), words).ok();
    assert!(learnt.stdout.contains("learnt by heart in "), "{}", learnt.stdout);
    assert!(!dir.path().join("runs").exists());
    let not = call(dir.path(), &format!("{words} --lr 1e-9"));
    assert_eq!(not.code, Some(1));
    assert!(
        not.stdout.contains("not learnt in 500 steps") && not.stderr.contains("lr-find"),
        "{}",
        not.stderr
    );
}

#[test]
fn a_sweep_trains_every_combination_and_goes_on() {
    let dir = folder();
    let words = "sweep mlp --epochs 1 --set data.train_examples=96 --set data.test_examples=64 --set lr=0.1,0.01 --set seed=1,2 --out s";
    let first = call(dir.path(), words).ok();
    for part in ["test accuracy", "★", "deviation", "0.01"] {
        assert!(first.stdout.contains(part), "{part} is not in\n{}", first.stdout);
    }
    fs::remove_dir_all(dir.path().join("s/lr=0.1 seed=2")).expect("a run");
    let again = call(dir.path(), words).ok();
    assert_eq!(again.stderr.matches("is finished").count(), 3, "{}", again.stderr);
    assert_eq!(first.stdout.lines().count(), again.stdout.lines().count());
    call(dir.path(), &words.replace("--epochs 1", "--epochs 2")).fails(&["with other settings", "--out"]);
    call(dir.path(), "sweep mlp --set lr=0.1").fails(&["nothing varies", "--set seed=1,2,3"]);
}

#[test]
fn a_killed_process_and_a_damaged_checkpoint_are_survived() {
    let dir = folder();
    let killed = call(dir.path(), "kill --times 1 --damages 1").ok();
    assert!(killed.stdout.contains("1 processes killed"), "{}", killed.stdout);
}
