//! `train` on several processes that `mpirun` started.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nn_train::Event;
use nn_train::event::Step;
use nn_train::run;

/// Calls the program on so many ranks, or without `mpirun` on one.
fn call(dir: &Path, ranks: usize, words: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_xtask");
    let mut command = match ranks {
        1 => Command::new(program),
        _ => {
            let mut command = Command::new("mpirun");
            command.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string(), program]);
            command
        }
    };
    command.current_dir(dir).env("RAYON_NUM_THREADS", "1").args(words.split_whitespace());
    command.output().expect("mpirun starts")
}

fn small(batch: usize, out: &str) -> String {
    format!(
        "train lenet5 --epochs 2 --batch-size {batch} --set data.train_examples=330 --set data.test_examples=70 \
         --set train.log_every=1 --set train.checkpoint={{steps=2}} --set train.accumulate=2 --set train.ema=0.9 \
         --out {out}"
    )
}

#[track_caller]
fn ok(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, notes) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{notes}");
    (out, notes)
}

fn steps(run: &Path) -> Vec<Step> {
    let events = run::events(run).expect("a log").into_iter();
    events.filter_map(|event| if let Event::Step(step) = event { Some(step) } else { None }).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * b.abs()
}

/// How many steps both took, of the same losses.
#[track_caller]
fn same_curves(ranks: &Path, alone: &Path) -> usize {
    let (one, two) = (steps(alone), steps(ranks));
    assert_eq!(one.len(), two.len());
    for (a, b) in two.iter().zip(&one) {
        assert_eq!((a.step, a.batch), (b.step, b.batch));
        assert!(near(a.loss, b.loss) && near(a.so_far.loss, b.so_far.loss), "{a:?} {b:?}");
    }
    one.len()
}

/// Their loss is a mean over tokens, of which no two parts of a batch have as many.
#[test]
fn two_ranks_with_sentences_of_unlike_lengths_have_the_loss_curve_of_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let words = |batch: usize, out: &str| {
        format!(
            "train toy-reverse --epochs 2 --batch-size {batch} --set data.train_examples=330 --set train.log_every=1 \
             --set data.test_examples=70 --set train.accumulate=2 --out {out}"
        )
    };
    ok(&call(dir.path(), 1, &words(32, "alone")));
    ok(&call(dir.path(), 2, &words(16, "ranks")));
    assert_eq!(same_curves(&dir.path().join("ranks"), &dir.path().join("alone")), 12);
}

#[test]
fn two_ranks_have_the_loss_curve_of_one_with_twice_the_batch() {
    let dir = tempfile::tempdir().expect("a folder");
    ok(&call(dir.path(), 1, &small(32, "alone")));
    let (out, notes) = ok(&call(dir.path(), 2, &small(16, "ranks")));
    for (text, word) in [(&notes, "2 processes"), (&notes, "finished: "), (&out, "best epoch")] {
        assert_eq!(text.matches(word).count(), 1, "rank 0 speaks for all:\n{notes}\n{out}");
    }
    let (alone, ranks) = (dir.path().join("alone"), dir.path().join("ranks"));
    assert_eq!(same_curves(&ranks, &alone), 10);
    let summary = |path: &Path| run::summary(path).expect("readable").expect("finished");
    let (one, two) = (summary(&alone), summary(&ranks));
    let losses = |s: &nn_train::Summary| [s.test.expect("tested").loss, s.test_ema.expect("tested").loss];
    assert!(losses(&two).iter().zip(losses(&one)).all(|(&a, b)| near(a, b)), "{two:?}\n{one:?}");
    let report = fs::read_to_string(ranks.join(run::REPORT)).expect("a report");
    // Each word of a command is kept together.
    let report = report.replace("<span>", "").replace("</span>", "");
    assert!(report.contains("mpirun -n 2 cargo xtask train lenet5"), "{report}");
    let (_, notes) = ok(&call(dir.path(), 2, "train --resume ranks"));
    assert_eq!(notes.matches("is finished").count(), 1, "{notes}");
}

#[test]
fn a_rank_that_fails_or_dies_ends_the_job_and_the_run_can_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let failed = call(dir.path(), 2, "train no-such-recipe");
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && told.contains("there is no recipe `no-such-recipe`"), "{told}");
    // Rank 1 tells who it is, and is killed once there is a run.
    let (program, words) =
        (env!("CARGO_BIN_EXE_xtask"), small(16, "run").replace("--epochs 2", "--epochs 5000"));
    let script = format!("[ \"$OMPI_COMM_WORLD_RANK\" = 1 ] && echo $$ > pid\nexec {program} {words}\n");
    fs::write(dir.path().join("start.sh"), script).expect("a writable folder");
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", "2", "sh", "start.sh"]);
    let job = command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let job = job.expect("mpirun starts");
    let begin = Instant::now();
    while !dir.path().join("run/model.safetensors").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the run does not begin");
        sleep(Duration::from_millis(10));
    }
    let pid = fs::read_to_string(dir.path().join("pid")).expect("rank 1 told");
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().expect("kill starts").success());
    let died = job.wait_with_output().expect("a child of ours");
    let told = String::from_utf8_lossy(&died.stderr).into_owned();
    assert!(!died.status.success() && told.contains("rank 1"), "the dead are named: {told}");
    let recipe = dir.path().join("run/recipe.toml");
    let text = fs::read_to_string(&recipe).expect("a recipe").replace("epochs = 5000", "epochs = 1");
    fs::write(&recipe, text).expect("a writable folder");
    let (_, notes) = ok(&call(dir.path(), 2, "train --resume run"));
    assert!(notes.contains("goes on after step"), "{notes}");
}
