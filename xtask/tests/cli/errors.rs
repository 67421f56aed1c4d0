//! What goes wrong is one line and exit code 1, wrong usage exit code 2, and nothing is written over.

use std::fs;
use std::path::Path;

use crate::stage::{call, ended, folder, idx, mnist, trained, xtask};

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let dir = folder();
    for words in [
        "",
        "trian",
        "train",
        "train lenet5 --epochs many",
        "train lenet5 --data minst",
        "train lenet5 --set epochs",
        "train lenet5 --resume runs/x",
        "predict runs/x",
        "predict runs/x a.png --top 0",
        "forward lenet5",
        "list everything",
    ] {
        let ended = call(dir.path(), words);
        assert_eq!(ended.code, Some(2), "{words}: {}", ended.stderr);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{words}");
    }
    for words in ["--help", "train --help", "help predict", "--version"] {
        assert!(!call(dir.path(), words).ok().stdout.is_empty(), "{words}");
    }
}

#[test]
fn unknown_names_suggest_the_nearest() {
    let dir = folder();
    call(dir.path(), "train lenet").fails(&["there is no recipe `lenet`", "did you mean `lenet5`?"]);
    call(dir.path(), "train my/own.toml").fails(&["there is no recipe file my/own.toml"]);
    call(dir.path(), "summary lenet_5").fails(&["did you mean `lenet5`?"]);
    call(dir.path(), "eval perceiver").fails(&["no run folder or model `perceiver`", "lenet5"]);
    call(dir.path(), "train lenet5 --set train.epoch=3")
        .fails(&["--set train.epoch=3", "did you mean `epochs`?"]);
    fs::write(dir.path().join("mine.toml"), "[model]\nname = \"lenet5\"\n\n[train]\nbatchsize = 3\n")
        .expect("writable");
    call(dir.path(), "train mine.toml").fails(&["mine:5:1", "`batchsize`", "did you mean `batch_size`?"]);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn impossible_values_are_named_before_anything_is_written() {
    let dir = folder();
    for (words, part) in [
        ("--epochs 0", "train.epochs must be at least 1"),
        ("--batch-size 0", "train.batch_size must be at least 1"),
        ("--lr -1", "schedule.lr must be above 0, got -1"),
        ("--set optimizer.momentum=2", "momentum must be in [0, 1)"),
        ("--set optimizer.momentum=fast", "expected a number"),
        ("--set model.hidden=[3]", "model.hidden"),
    ] {
        call(dir.path(), &format!("train lenet5 {words}")).fails(&[part]);
    }
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
}

#[test]
fn what_exists_is_not_written_over() {
    let dir = folder();
    fs::write(dir.path().join("taken"), "precious").expect("writable");
    call(dir.path(), "train mlp --out taken").fails(&["taken exists", "--resume"]);
    fs::write(dir.path().join("dog.png"), "a picture").expect("writable");
    call(dir.path(), "explain resnet18 dog.png --out dog.png").fails(&["dog.png is the picture itself"]);
    call(dir.path(), "explain resnet18 dog.png --out dog.jpg")
        .fails(&["dog.jpg is not called as a PNG file"]);
    assert_eq!(fs::read(dir.path().join("dog.png")).expect("still there"), b"a picture");
    call(dir.path(), "export lenet5 --onnx a.onnx --example a.onnx").fails(&["name the same file"]);
    assert_eq!(fs::read_to_string(dir.path().join("taken")).expect("still there"), "precious");
}

#[test]
fn folders_that_cannot_be_made_are_named() {
    let dir = folder();
    fs::write(dir.path().join("file"), "").expect("writable");
    let tiny = "train mlp --epochs 1 --set data.train_examples=64 --set data.test_examples=64";
    call(dir.path(), &format!("{tiny} --out file/run"))
        .fails(&["cannot make the run's folder file/run", "--out"]);
}

/// A file-size limit fails writes as a full disk does.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_run() {
    let dir = folder();
    let program = env!("CARGO_BIN_EXE_xtask");
    let words = "train mlp --epochs 1 --set data.train_examples=64 --set data.test_examples=64 --out run";
    let script = format!("trap '' XFSZ; ulimit -f 100; exec {program} {words}");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output();
    ended(output.expect("sh starts")).fails(&["cannot make the run's folder run"]);
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
}

#[test]
fn missing_data_say_what_was_looked_for_and_where() {
    let dir = folder();
    call(dir.path(), "train lenet5 --data mnist").fails(&["mnist", "--data-dir", "NN_DATA_DIR"]);
    call(dir.path(), "train lenet5 --data mnist --data-dir nowhere").fails(&["nowhere"]);
    fs::create_dir(dir.path().join("empty")).expect("writable");
    let absent = call(dir.path(), "train lenet5 --data mnist --data-dir empty");
    absent.fails(&["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "empty"]);
    let output =
        xtask(dir.path()).args(["train", "lenet5", "--data", "mnist"]).env("NN_DATA_DIR", "empty").output();
    ended(output.expect("the program starts")).fails(&["train-images-idx3-ubyte", "empty"]);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn damaged_data_are_named() {
    let dir = folder();
    let data = dir.path().join("data");
    let labels = "train-labels-idx1-ubyte";
    let images = "train-images-idx3-ubyte";
    let whole = vec![0u8; 28 * 28];
    let cases: [(&str, Vec<u8>, &[&str]); 7] = [
        (images, idx(0x803, &[40, 28, 28], &whole), &[images]),
        (images, idx(0x803, &[1, 28, 28], &[whole.as_slice(), b"more"].concat()), &[images]),
        (images, idx(0x801, &[40, 28, 28], &whole), &[images, "magic"]),
        (images, idx(0x803, &[u32::MAX, u32::MAX, u32::MAX], &whole), &[images]),
        (labels, idx(0x801, &[39], &[0; 39]), &["40", "39"]),
        (labels, idx(0x801, &[40], &[10; 40]), &["10"]),
        (labels, b"\0\0".to_vec(), &[labels]),
    ];
    for (name, bytes, parts) in cases {
        fs::create_dir_all(&data).expect("writable");
        mnist(&data);
        fs::write(data.join(name), bytes).expect("writable");
        call(dir.path(), "train lenet5 --data mnist --data-dir data").fails(parts);
    }
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn foreign_and_broken_weights_are_reported() {
    let dir = folder();
    let run = trained().display().to_string();
    let foreign = call(dir.path(), &format!("eval lenet5 --weights {run}/model.safetensors"));
    foreign.fails(&["does not fit the model", "missing     conv1.weight", "unexpected  layers.0.weight"]);
    fs::write(dir.path().join("bad.safetensors"), b"\x10\0\0\0\0\0\0\0{\"a\":").expect("writable");
    call(dir.path(), "eval lenet5 --weights bad.safetensors").fails(&["bad.safetensors"]);
    call(dir.path(), "eval lenet5 --weights absent.safetensors").fails(&["absent.safetensors"]);
    call(dir.path(), "eval lenet5").fails(&["--weights"]);
    let start = call(dir.path(), &format!("train lenet5 --weights {run}/model.safetensors"));
    start.fails(&["cannot start from these weights"]);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn broken_runs_are_refused() {
    let dir = folder();
    call(dir.path(), "train --resume absent").fails(&["absent holds no run"]);
    call(dir.path(), "eval .").fails(&["holds no run"]);
    let copy = dir.path().join("run");
    copy_folder(trained(), &copy);
    let checkpoint = copy.join("last/checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).expect("a run has one");
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).expect("writable");
    call(dir.path(), "train --resume run").fails(&["checkpoint.safetensors"]);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("readable")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(from, to).expect("writable");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = folder();
    let program = env!("CARGO_BIN_EXE_xtask");
    let script = format!("(sleep 0.2; {program} list; echo code $? >&2) | true");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output();
    let ended = ended(output.expect("sh starts"));
    assert_eq!(ended.stderr, "code 0\n");
}
