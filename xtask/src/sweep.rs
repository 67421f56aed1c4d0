//! `sweep`: a recipe trained with every combination of settings, one run after the other, and a table of what came out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use nn_train::{Figures, Measure, Summary, run};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::failure::{Advise, failed};
use crate::options::Options;
use crate::output::{self, Align, Table, duration, note};
use crate::recipe::{self, Setting};
use crate::train::INTERRUPTED;

const EXAMPLES: &str = "Examples:
  cargo xtask sweep lenet5 --set lr=0.1,0.03 --set seed=1,2,3
  cargo xtask sweep cnn --epochs 2 --set optimizer.momentum=0,0.9 --set train.ema=0.99,0.999

Values stand between commas; those in brackets or quotes are one. The same command goes on with a sweep.";

/// More runs than this are a slip of the keyboard.
const MOST: usize = 1000;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recipe's name, see `cargo xtask list recipes`, or the path of a TOML file
    recipe: String,
    #[command(flatten)]
    options: Options,
    /// Folder of the runs [default: runs/RECIPE-sweep]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What all runs of a sweep have in common, kept beside them: a folder goes on with nothing else.
#[derive(PartialEq, Serialize, Deserialize)]
struct Base {
    recipe: String,
    settings: Vec<String>,
}

const BASE: &str = "sweep.json";

/// A combination: a value of each setting that varies, and what came of it.
struct Cell {
    values: Vec<Setting>,
    path: PathBuf,
    /// None of a run that failed.
    summary: Option<Summary>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (name, text) = recipe::find(&args.recipe)?;
    let (fixed, axes) = axes(args.options.settings())?;
    let folder = args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{name}-sweep")));
    let settings = fixed.iter().map(|s| format!("{}={}", s.key, s.value)).collect();
    prepare(&folder, &Base { recipe: text, settings })?;
    let mut cells = grid(&axes, &folder)?;
    let count = cells.len();
    for (n, cell) in (1..).zip(&mut cells) {
        note(format_args!("\n[{n}/{count}] {}", words(&cell.values)));
        cell.summary = finished(&cell.path)?;
        if cell.summary.is_some() {
            note("is finished");
            continue;
        }
        let status = command(args, &fixed, cell)?.status().context("cannot start a run")?;
        if status.code() == Some(i32::from(INTERRUPTED)) || status.code().is_none() {
            note("the same command goes on with the sweep");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        cell.summary = finished(&cell.path)?;
    }
    show(args, &axes, &cells)?;
    let all = cells.iter().all(|cell| cell.summary.is_some());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Settings with one value, and those with several.
fn axes(settings: Vec<Setting>) -> Result<(Vec<Setting>, Vec<Vec<Setting>>)> {
    let (mut fixed, mut axes) = (Vec::new(), Vec::new());
    for setting in settings {
        let values = setting.alternatives();
        if values.len() == 1 { fixed.extend(values) } else { axes.push(values) }
    }
    if axes.is_empty() {
        return Err(failed("nothing varies"))
            .advise("give a setting several values, for example --set seed=1,2,3");
    }
    Ok((fixed, axes))
}

/// Makes the folder, or finds in it a sweep of the same.
fn prepare(folder: &Path, base: &Base) -> Result<()> {
    let file = folder.join(BASE);
    if file.is_file() {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let before: Base =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
        if before != *base {
            let message = format!("{} is a sweep of another recipe or with other settings", folder.display());
            return Err(failed(message)).advise("give another folder with --out");
        }
        return Ok(());
    }
    if folder.exists() && fs::read_dir(folder)?.next().is_some() {
        let message = format!("{} is there and no sweep's", folder.display());
        return Err(failed(message)).advise("give another folder with --out");
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let text = serde_json::to_string_pretty(base)?;
    nn_core::atomic_file::write(&file, |w| w.write_all(text.as_bytes()))?;
    Ok(())
}

/// Every combination, the last setting varying fastest.
fn grid(axes: &[Vec<Setting>], folder: &Path) -> Result<Vec<Cell>> {
    let count = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.len())).unwrap_or(usize::MAX);
    if count > MOST {
        return Err(failed(format!("a sweep has at most {MOST} runs, got {count}")));
    }
    let mut all: Vec<Vec<Setting>> = vec![Vec::new()];
    for axis in axes {
        let with = |begun: &Vec<Setting>| -> Vec<_> {
            axis.iter().map(|value| [begun.as_slice(), std::slice::from_ref(value)].concat()).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    let mut cells: Vec<Cell> = Vec::with_capacity(count);
    for values in all {
        let name: String = words(&values).replace(", ", " ").chars().map(plain).take(150).collect();
        let path = folder.join(name);
        if cells.iter().any(|cell| cell.path == path) {
            return Err(failed(format!("there are two runs with {}", words(&values))));
        }
        cells.push(Cell { values, path, summary: None });
    }
    Ok(cells)
}

/// What may stand in the name of a folder.
fn plain(c: char) -> char {
    if c.is_alphanumeric() || "=.-_ ".contains(c) { c } else { '_' }
}

fn words(values: &[Setting]) -> String {
    let words = values.iter().map(|value| format!("{}={}", short(&value.key), value.value));
    words.collect::<Vec<_>>().join(", ")
}

/// `schedule.lr` → `lr`
fn short(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// What a run came to, if nothing is left to do.
fn finished(path: &Path) -> Result<Option<Summary>> {
    Ok(run::summary(path)?.filter(|summary| summary.test.is_some()))
}

/// The command that trains a cell, or goes on with it.
fn command(args: &Args, fixed: &[Setting], cell: &Cell) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.arg("train").stdout(Stdio::null());
    if cell.path.exists() {
        command.arg("--resume").arg(&cell.path);
    } else {
        command.arg(&args.recipe).arg("--out").arg(&cell.path);
        for Setting { key, value, .. } in fixed.iter().chain(&cell.values) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
    }
    if let Some(dir) = &args.options.data_dir {
        command.arg("--data-dir").arg(dir);
    }
    Ok(command)
}

fn show(args: &Args, axes: &[Vec<Setting>], cells: &[Cell]) -> Result<()> {
    if args.json {
        let row = |cell: &Cell| {
            let values = cell.values.iter().map(|v| (v.key.clone(), json!(v.value)));
            json!({
                "settings": values.collect::<serde_json::Map<_, _>>(), "run": cell.path, "summary": cell.summary,
            })
        };
        return output::json(&cells.iter().map(row).collect::<Vec<_>>());
    }
    output::line(table(axes, cells))?;
    let seeds = axes.iter().position(|axis| axis.first().is_some_and(|value| value.key == "train.seed"));
    seeds.map_or(Ok(()), |seeds| output::line(format_args!("\n{}", over_seeds(seeds, axes, cells))))
}

/// A row a run.
fn table(axes: &[Vec<Setting>], cells: &[Cell]) -> String {
    let mut head: Vec<String> = axes.iter().map(|axis| short(&axis[0].key).to_owned()).collect();
    let measure = cells.iter().filter_map(|cell| cell.summary).find_map(|s| s.best?.eval.measures().next());
    let title = measure.map_or("loss", |(measure, _)| measure.title());
    head.extend(["chosen by".to_owned(), format!("test {title}"), "epoch".to_owned(), "time".to_owned()]);
    let best = best(cells);
    let row = |(n, cell): (usize, &Cell)| -> Vec<String> {
        let values = cell.values.iter().map(|value| value.value.clone());
        let rest = match &cell.summary {
            Some(Summary { best: Some(score), test: Some(test), seconds, .. }) => [
                text(&score.eval),
                text(test) + if best == Some(n) { " ★" } else { "  " },
                score.epoch.to_string(),
                duration(*seconds),
            ],
            _ => ["failed", "", "", ""].map(str::to_owned),
        };
        values.chain(rest).collect()
    };
    aligned(head, cells.iter().enumerate().map(row))
}

/// Mean and deviation over the seeds, a row for each combination of the other settings.
fn over_seeds(seeds: usize, axes: &[Vec<Setting>], cells: &[Cell]) -> String {
    let others = |cell: &Cell| -> Vec<String> {
        let values = cell.values.iter().enumerate().filter(|(axis, _)| *axis != seeds);
        values.map(|(_, value)| value.value.clone()).collect()
    };
    let names = axes.iter().enumerate().filter(|(axis, _)| *axis != seeds);
    let mut head: Vec<String> = names.map(|(_, axis)| short(&axis[0].key).to_owned()).collect();
    head.extend(["seeds", "test, mean", "deviation"].map(str::to_owned));
    let mut groups: Vec<(Vec<String>, Vec<f64>, Option<Measure>)> = Vec::new();
    for cell in cells {
        let Some(test) = cell.summary.and_then(|summary| summary.test) else { continue };
        let (measure, value) =
            test.measures().next().map_or((None, test.loss), |(m, value)| (Some(m), value));
        match groups.iter_mut().find(|(values, ..)| *values == others(cell)) {
            Some((_, found, _)) => found.push(value),
            None => groups.push((others(cell), vec![value], measure)),
        }
    }
    let row = |(values, found, measure): (Vec<String>, Vec<f64>, Option<Measure>)| -> Vec<String> {
        let [mean, deviation] = spread(&found);
        let text = |value: f64| measure.map_or(format!("{value:.4}"), |measure| measure.text(value));
        let deviation = if found.len() > 1 { text(deviation) } else { "–".to_owned() };
        values.into_iter().chain([found.len().to_string(), text(mean), deviation]).collect()
    };
    aligned(head, groups.into_iter().map(row))
}

fn aligned(head: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::headed(head.into_iter().map(|name| (name, Align::Right)).collect());
    rows.for_each(|row| table.row(row));
    table.to_string()
}

/// Mean and standard deviation (of a sample, with n − 1).
fn spread(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (squares / (n - 1.0).max(1.0)).sqrt()]
}

/// The run that is best by what its epochs are chosen by: the test part has no say here either.
fn best(cells: &[Cell]) -> Option<usize> {
    let scores = cells.iter().enumerate().filter_map(|(n, cell)| Some((n, cell.summary?.best?.eval)));
    let better = |best: (usize, Figures), next: (usize, Figures)| {
        if next.1.better_than(&best.1) { next } else { best }
    };
    scores.reduce(better).map(|(n, _)| n)
}

/// The figure that decides.
fn text(figures: &Figures) -> String {
    match figures.measures().next() {
        Some((measure, value)) => measure.text(value),
        None => format!("{:.4}", figures.loss),
    }
}

#[cfg(test)]
mod tests {
    use nn_train::{Ended, Score};

    use super::*;

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| Setting::parse(text).expect("key=value")).collect()
    }

    #[test]
    fn settings_with_several_values_vary() -> Result<()> {
        let texts =
            ["lr=0.1, 0.03", "train.epochs=3", "seed=1,2", "model.hidden=[1,2]", "optimizer.kind=sgd"];
        let (fixed, axes) = axes(settings(&texts))?;
        assert_eq!(
            fixed.iter().map(|s| s.key.as_str()).collect::<Vec<_>>(),
            ["train.epochs", "model.hidden", "optimizer.kind"]
        );
        let cells = grid(&axes, Path::new("s"))?;
        let names: Vec<_> = cells.iter().map(|cell| cell.path.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["s/lr=0.1 seed=1", "s/lr=0.1 seed=2", "s/lr=0.03 seed=1", "s/lr=0.03 seed=2"]);
        assert_eq!(cells[2].values[0].key, "schedule.lr");
        let error = super::axes(settings(&["lr=1"])).expect_err("nothing varies");
        assert!(error.to_string().contains("nothing varies"));
        let many: Vec<Vec<Setting>> = vec![settings(&["seed=1,2"]).remove(0).alternatives(); 11];
        assert!(
            grid(&many, Path::new("s")).err().expect("too many").to_string().contains("1000 runs, got 2048")
        );
        let twice = vec![settings(&["seed=1,1"]).remove(0).alternatives()];
        assert!(
            grid(&twice, Path::new("s"))
                .err()
                .expect("the same")
                .to_string()
                .contains("two runs with seed=1")
        );
        Ok(())
    }

    fn cell(values: &[&str], eval: f64, test: f64) -> Cell {
        let figures = |accuracy| Figures::new(0.1).with(Measure::Accuracy, accuracy);
        let score = Score { epoch: 2, step: 9, train: figures(0.5), eval: figures(eval) };
        let summary = Summary {
            ended: Ended::Finished,
            epochs: 3,
            steps: 9,
            best: Some(score),
            best_ema: None,
            last: Some(score),
            test: Some(figures(test)),
            test_ema: None,
            parameters: 1,
            seed: 1,
            seconds: 8.0,
            examples_per_second: 1.0,
        };
        Cell { values: settings(values), path: PathBuf::new(), summary: Some(summary) }
    }

    #[test]
    fn tables_name_the_best_by_validation_and_means_over_seeds() -> Result<()> {
        let (_, axes) = axes(settings(&["lr=1,2", "seed=1,2"]))?;
        let mut cells = vec![
            cell(&["lr=1", "seed=1"], 0.90, 0.80),
            cell(&["lr=1", "seed=2"], 0.92, 0.84),
            cell(&["lr=2", "seed=1"], 0.91, 0.99),
        ];
        cells.push(Cell { summary: None, ..cell(&["lr=2", "seed=2"], 0.0, 0.0) });
        let runs = table(&axes, &cells);
        let lines: Vec<&str> = runs.lines().collect();
        assert!(
            lines[0].contains("test accuracy") && lines[2].contains('★') && lines[4].contains("failed"),
            "{runs}"
        );
        let means = over_seeds(1, &axes, &cells);
        let lines: Vec<&str> = means.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["1", "2", "82.00", "%", "2.83", "%"],
            "{means}"
        );
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["2", "1", "99.00", "%", "–"], "{means}");
        Ok(())
    }
}
