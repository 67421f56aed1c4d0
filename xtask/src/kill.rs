//! `kill`: runs killed at random moments (`kill -9`) end in the bytes of one left alone, and damaged checkpoints are
//! refused.
//!
//! A minute's work or more, so no test: `cargo xtask check` kills a few runs, this kills as many as it is asked to. What is
//! trained is small, and all that a run can remember is in it: gradients of several batches, a running mean of the weights,
//! evaluations within epochs, a checkpoint after every step, of which three are kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nn_core::Random;
use nn_core::random::Draws;
use nn_train::run::{self, CHECKPOINT, EMA, LOG, MODEL};

use crate::output::{self, Align, Table, duration, note};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many processes to kill
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// How many checkpoints to damage
    #[arg(long, value_name = "N", default_value_t = 20)]
    damages: u32,
    /// What the moments and damages are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// A training call of about a hundred steps.
const TRAIN: &str = "train lenet5 --epochs 3 --batch-size 16 --set data.train_examples=960 --set data.test_examples=64 \
    --set train.validation=0.1 --set train.accumulate=2 --set train.ema=0.9 --set train.evaluate_every=7 \
    --set train.keep=3 --set train.checkpoint={steps=1}";

/// What was going on when processes were killed, how often.
type Moments = BTreeMap<&'static str, u32>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder to train in")?;
    let stage = Stage { folder: folder.path().to_owned(), program: std::env::current_exe()? };
    let begin = Instant::now();
    stage.finish(&format!("{TRAIN} --out alone"))?;
    let whole = begin.elapsed();
    let alone = Remains::of(&stage.folder.join("alone"))?;
    note(format_args!(
        "a run left alone takes {}; now {} are killed",
        duration(whole.as_secs_f64()),
        args.times
    ));

    let mut draws = Random::new(args.seed).at("kill").draws();
    let (moments, runs) = stage.kill(args.times, whole, &alone, &mut draws)?;
    let damaged = stage.damage(args.damages, whole, &alone, &mut draws)?;

    let mut table = Table::new(&[("killed", Align::Left), ("times", Align::Right)]);
    moments.iter().for_each(|(moment, times)| table.row([(*moment).to_owned(), times.to_string()]));
    let time = duration(begin.elapsed().as_secs_f64());
    output::line(format_args!(
        "{table}\n{} processes killed in {runs} runs, {damaged} checkpoints damaged and refused; every run ended in the \
         bytes of the one left alone ({time})",
        args.times
    ))
}

/// Where runs lie, and the program that trains them.
struct Stage {
    folder: PathBuf,
    program: PathBuf,
}

/// What must not depend on interruptions.
#[derive(PartialEq)]
struct Remains {
    model: Vec<u8>,
    ema: Vec<u8>,
    /// The log without what the clock says.
    log: Vec<serde_json::Value>,
}

impl Remains {
    fn of(run: &Path) -> Result<Self> {
        let read = |name| fs::read(run.join(name)).with_context(|| format!("{} lacks {name}", run.display()));
        let text = String::from_utf8(read(LOG)?)?;
        let line = |line: &str| -> Result<serde_json::Value> {
            let mut line: serde_json::Value = serde_json::from_str(line)?;
            let fields = line.as_object_mut().context("a line of the log is no object")?;
            for clock in ["seconds", "examples_per_second", "created", "command"] {
                fields.remove(clock);
            }
            Ok(line)
        };
        let log = text.lines().map(line).collect::<Result<_>>()?;
        Ok(Self { model: read(MODEL)?, ema: read(EMA)?, log })
    }

    fn must_be(&self, alone: &Self, run: &Path) -> Result<()> {
        let same = [self.model == alone.model, self.ema == alone.ema, self.log == alone.log];
        for (name, same) in [MODEL, EMA, LOG].into_iter().zip(same) {
            ensure!(same, "{name} of {} is not that of a run left alone", run.display());
        }
        Ok(())
    }
}

impl Stage {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).args(words.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn finish(&self, words: &str) -> Result<()> {
        let output = self.command(words).output()?;
        ensure!(output.status.success(), "`{words}` failed:\n{}", told(&output));
        Ok(())
    }

    /// Kills so many processes at moments drawn from as long a time as a run takes. A run that is over is compared, and
    /// the next one begins; how many there were.
    fn kill(
        &self,
        times: u32,
        mut whole: Duration,
        alone: &Remains,
        draws: &mut Draws,
    ) -> Result<(Moments, u32)> {
        let (mut moments, mut killed, mut runs) = (Moments::new(), 0, 0);
        while killed < times {
            runs += 1;
            let name = format!("run-{runs}");
            let run = self.folder.join(&name);
            let mut over = false;
            while killed < times && !over {
                let (fresh, begin) = (!run.exists(), Instant::now());
                over = !self.kill_once(&name, whole.mul_f64(draws.unit()))?;
                if fresh && over {
                    // Runs have become faster: the machine has less to do.
                    whole = whole.min(begin.elapsed());
                }
                if !over {
                    killed += 1;
                    *moments.entry(moment(&run)?).or_default() += 1;
                    if killed % 10 == 0 {
                        note(format_args!("{killed} killed"));
                    }
                }
            }
            if !over {
                self.finish(&self.words(&name))?;
            }
            Remains::of(&run)?.must_be(alone, &run)?;
            if runs > 1 {
                fs::remove_dir_all(&run)?;
            }
        }
        Ok((moments, runs))
    }

    /// Starts or resumes the run and kills the process after so much time, if it is still there.
    fn kill_once(&self, name: &str, after: Duration) -> Result<bool> {
        let words = self.words(name);
        let mut child = self.command(&words).spawn()?;
        let begin = Instant::now();
        while begin.elapsed() < after {
            if child.try_wait()?.is_some() {
                break;
            }
            sleep(after.saturating_sub(begin.elapsed()).min(Duration::from_millis(1)));
        }
        // The signal that cannot be handled: nothing is tidied up.
        let _ = child.kill();
        let output = child.wait_with_output()?;
        match output.status.code() {
            None => Ok(true),
            Some(0) => Ok(false),
            Some(code) => bail!("`{words}` failed with code {code}:\n{}", told(&output)),
        }
    }

    fn words(&self, name: &str) -> String {
        if self.folder.join(name).exists() {
            format!("train --resume {name}")
        } else {
            format!("{TRAIN} --out {name}")
        }
    }

    /// Damages the newest checkpoint of a run in the middle: it must be refused, and the one before it offered, from which
    /// the run ends in the same bytes.
    fn damage(&self, times: u32, whole: Duration, alone: &Remains, draws: &mut Draws) -> Result<u32> {
        let run = self.folder.join("damaged");
        // Earlier and earlier, should runs have become faster.
        let mut moment = whole.mul_f64(0.6);
        while !run.join(CHECKPOINT).is_file() || kept(&run)? == 0 {
            if !self.kill_once("damaged", moment)? {
                fs::remove_dir_all(&run)?;
                moment = moment.mul_f64(0.8);
            }
        }
        let file = run.join(CHECKPOINT);
        let good = fs::read(&file)?;
        let mut before = PathBuf::new();
        for n in 0..times {
            let at = draws.below(u32::try_from(good.len())?) as usize;
            let mut bytes = good.clone();
            if n % 2 == 0 {
                bytes[at] ^= 1 << draws.below(8);
            } else {
                bytes.truncate(at);
            }
            fs::write(&file, &bytes)?;
            let output = self.command("train --resume damaged").output()?;
            let told = told(&output);
            ensure!(
                output.status.code() == Some(1),
                "a checkpoint with damage at byte {at} was taken:\n{told}"
            );
            let offered = told.split("--from ").nth(1).map(|rest| rest.trim().to_owned());
            before =
                offered.with_context(|| format!("the checkpoint before it is not offered:\n{told}"))?.into();
        }
        if times > 0 {
            self.finish(&format!("train --resume damaged --from {}", before.display()))?;
            Remains::of(&run)?.must_be(alone, &run)?;
        }
        Ok(times)
    }
}

/// How many checkpoints there are before the newest.
fn kept(run: &Path) -> Result<usize> {
    let names = fs::read_dir(run.join("last"))?.collect::<std::io::Result<Vec<_>>>()?;
    Ok(names.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with("step-")).count())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// What was going on when the process that trained in `run` was killed.
fn moment(run: &Path) -> Result<&'static str> {
    if !run.exists() {
        return Ok("before the run's folder was there");
    }
    let mut names = Vec::new();
    for folder in [run.to_owned(), run.join("last")] {
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(if names.iter().any(|name| name.ends_with(".partial")) {
        "while a file was being written"
    } else if run::summary(run)?.is_some() {
        "while it was being tested"
    } else {
        "between two writes"
    })
}
