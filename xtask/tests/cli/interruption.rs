//! A run that is interrupted, by hand or by force, and resumed ends in the bytes of one that was left alone.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::stage::{call, ended, folder, small, weights, xtask};

const EPOCHS: u32 = 3;

/// The weights of the small run, left alone on two threads.
fn undisturbed() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let dir = folder();
        let mut command = xtask(dir.path());
        command.args(small(EPOCHS).split_whitespace()).args(["--out", "run"]).env("RAYON_NUM_THREADS", "2");
        ended(command.output().expect("the program starts")).ok();
        weights(&dir.path().join("run"))
    })
}

fn start(dir: &Path, words: &str) -> Child {
    let mut command = xtask(dir);
    command.args(words.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Waits until there is something at `path`, or the program ended.
fn wait_for(path: &Path, child: &mut Child) {
    let begin = Instant::now();
    while !path.exists() && child.try_wait().expect("a child of ours").is_none() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} does not appear", path.display());
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let dir = folder();
    let mut command = xtask(dir.path());
    command.args(small(EPOCHS).split_whitespace()).args(["--out", "run"]).env("RAYON_NUM_THREADS", "1");
    let ended = ended(command.output().expect("the program starts")).ok();
    assert!(ended.stderr.contains("1 thread"), "{}", ended.stderr);
    assert!(weights(&dir.path().join("run")) == undisturbed(), "one thread gives other bytes than two");
}

#[test]
fn another_seed_changes_the_bytes() {
    let dir = folder();
    call(dir.path(), &format!("{} --out run --seed 1", small(EPOCHS))).ok();
    assert!(weights(&dir.path().join("run")) != undisturbed(), "the seed has no effect");
}

#[test]
fn killed_at_any_moment_a_run_resumes_to_the_same_bytes() {
    let dir = folder();
    let run = dir.path().join("run");
    let mut words = format!("{} --out run", small(EPOCHS));
    let mut kills = 0;
    // Moments from the folder's first appearance on, spread without order by a multiplier; later attempts get longer.
    let finished = (0u64..60).any(|attempt| {
        let mut child = start(dir.path(), &words);
        wait_for(&run, &mut child);
        sleep(Duration::from_millis(attempt * 7919 % 97 + attempt * 5));
        let _ = child.kill();
        let output = ended(child.wait_with_output().expect("a child of ours"));
        if run.exists() {
            words = "train --resume run".to_owned();
            assert_no_halves(&run);
        }
        kills += u32::from(output.code.is_none());
        assert!(output.code.is_none() || output.code == Some(0), "{}", output.stderr);
        output.code == Some(0)
    });
    if !finished {
        call(dir.path(), "train --resume run").ok();
    }
    assert!(kills >= 3, "only {kills} processes were killed: the run is too short for this test");
    assert!(weights(&run) == undisturbed(), "after {kills} kills the bytes differ");
    let again = call(dir.path(), "train --resume run").ok();
    assert!(again.stderr.contains("run is finished"), "{}", again.stderr);
}

/// Files under their final names are whole whenever the process dies.
fn assert_no_halves(run: &Path) {
    for name in ["last/checkpoint.safetensors", "model.safetensors"] {
        let Ok(bytes) = fs::read(run.join(name)) else { continue };
        let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: serde_json::Value =
            serde_json::from_slice(&bytes[8..8 + header]).expect("a whole header");
        assert!(header.is_object(), "{name}");
    }
    for name in ["metrics.json"] {
        let Ok(text) = fs::read_to_string(run.join(name)) else { continue };
        serde_json::from_str::<serde_json::Value>(&text).expect("a whole document");
    }
    fs::read_to_string(run.join("recipe.toml")).expect("a run has its recipe");
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    let dir = folder();
    let run = dir.path().join("run");
    let mut child = start(dir.path(), &format!("{} --out run", small(EPOCHS)));
    wait_for(&run, &mut child);
    sleep(Duration::from_millis(30));
    interrupt(&child);
    let output = ended(child.wait_with_output().expect("a child of ours"));
    assert_eq!(output.code, Some(130), "{}", output.stderr);
    assert!(output.stderr.contains("cargo xtask train --resume run"), "{}", output.stderr);
    assert!(!run.join("metrics.json").exists(), "it was to stop in the middle");
    call(dir.path(), "train --resume run").ok();
    assert!(weights(&run) == undisturbed(), "stopped and resumed the bytes differ");
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_train_in_one_folder() {
    let dir = folder();
    let run = dir.path().join("run");
    // Long enough to be still at it when the second one comes.
    let mut child = start(dir.path(), &format!("{} --out run", small(10_000)));
    wait_for(&run, &mut child);
    call(dir.path(), "train --resume run").fails(&["another process is training"]);
    interrupt(&child);
    let output = ended(child.wait_with_output().expect("a child of ours"));
    assert_eq!(output.code, Some(130), "{}", output.stderr);
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.expect("kill starts").success());
}
