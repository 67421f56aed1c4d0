//! `schedule`: the learning rate over a run that is still to come.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nn_train::schedule::{Length, Watched};
use nn_train::{Decay, Figures, FitConfig, Schedule, report};
use serde_json::json;

use crate::failure::{Advise, failed};
use crate::options::Options;
use crate::output::{self, Align, Table, note};
use crate::plot::{self, Canvas};
use crate::task::Task;
use crate::{recipe, session};

const EXAMPLES: &str = "Examples:
  cargo xtask schedule lenet5
  cargo xtask schedule lenet5 --set 'schedule.decay={kind=\"cosine_restarts\",every=1,mult=2}'
  cargo xtask schedule lenet5 --set schedule.warmup=0 --set schedule.decay.kind=one_cycle --output rate.svg";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recipe's name, see `cargo xtask list recipes`, or the path of a TOML file
    recipe: String,
    /// Steps in an epoch; the data are not read to count them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps_per_epoch: u64,
    /// Where to draw the curve as well
    #[arg(long, value_name = "FILE.svg")]
    output: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Points of a curve: about as many as a picture has pixels.
const POINTS: u64 = 480;

/// Evaluations that a plateau can be drawn with.
const MOST_EPOCHS: u64 = 1_000_000;

pub(crate) fn run(args: &Args) -> Result<()> {
    let (name, text) = recipe::find(&args.recipe)?;
    (recipe::task_of(&text, &name)?.schedule)(args, &name, &text)
}

pub(crate) fn run_task<T: Task>(args: &Args, name: &str, text: &str) -> Result<()> {
    let config = session::resolve::<T>(name, text, &args.options)?.fit_config();
    let FitConfig { epochs, schedule, .. } = config;
    if epochs > MOST_EPOCHS {
        return Err(failed(format!("train.epochs must be at most {MOST_EPOCHS} to be drawn, got {epochs}")));
    }
    let length = Length { steps_per_epoch: args.steps_per_epoch, epochs };
    let points = points(&schedule, length);
    if let Some(file) = &args.output {
        // A headline has no room for all that a schedule is told.
        let [head, _] = told(&schedule);
        let title = format!("Learning rate of {name}: {head}");
        draw(file, &title, &points)?;
    }
    show(args, &schedule, length, &points)
}

fn draw(file: &Path, title: &str, points: &[(f64, f64)]) -> Result<()> {
    if file.extension().is_none_or(|ending| ending != "svg") {
        return Err(failed(format!(
            "--output draws an SVG picture, and {} is none by its name",
            file.display()
        )))
        .advise("give it a name that ends in .svg");
    }
    report::write_rate_curve(file, title, points).context("cannot draw the curve")
}

/// Moments, in epochs, and the rates of their steps: of all steps, if they are few, else of some in between and of both
/// ends. Evaluations, one an epoch, are taken never to get better.
fn points(schedule: &Schedule, length: Length) -> Vec<(f64, f64)> {
    let (last, count) = (length.total() - 1, length.total().min(POINTS));
    let mut watched = Watched::default();
    let mut evaluated = 0;
    let rate = |i: u64| {
        let step = (u128::from(last) * u128::from(i) / u128::from(count.max(2) - 1)) as u64;
        while evaluated < step / length.steps_per_epoch {
            evaluated += 1;
            schedule.watch(&mut watched, &Figures::new(1.0), evaluated * length.steps_per_epoch, length);
        }
        (step as f64 / length.steps_per_epoch as f64, schedule.after(&watched, step, length))
    };
    (0..count).map(rate).collect()
}

/// The schedule as a recipe has it: up to the decay's kind, and the keys of that.
fn told(schedule: &Schedule) -> [String; 2] {
    let Schedule { lr, warmup, decay } = schedule;
    let decay = toml::to_string(decay).unwrap_or_default().replace('"', "");
    let (kind, keys) = decay.split_once('\n').unwrap_or_default();
    let kind = kind.trim_start_matches("kind = ");
    let warmup = if *warmup == 0.0 { String::new() } else { format!("warmup = {warmup}, ") };
    let keys = keys.lines().map(|key| format!(", {key}")).collect();
    [format!("lr = {lr}, {warmup}{kind}"), keys]
}

fn show(args: &Args, schedule: &Schedule, length: Length, points: &[(f64, f64)]) -> Result<()> {
    let highest = points.iter().copied().fold((0.0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
    let (first, last) = (points[0], points[points.len() - 1]);
    if args.json {
        let points = points.iter().map(|(epoch, lr)| json!({"epoch": epoch, "lr": lr}));
        return output::json(&json!({
            "schedule": schedule,
            "epochs": length.epochs,
            "steps_per_epoch": length.steps_per_epoch,
            "points": points.collect::<Vec<_>>(),
            "output": args.output,
        }));
    }
    output::line(plot(points, highest.1, length.epochs))?;
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("schedule", told(schedule).concat());
    row("first step", format!("{:.3e}", first.1));
    row("highest", format!("{:.3e}, {:.2} epochs from the beginning", highest.1, highest.0));
    row("last step", format!("{:.3e}", last.1));
    row("steps", format!("{} an epoch, {} in all", length.steps_per_epoch, length.total()));
    args.output.iter().for_each(|file| row("curve", file.display().to_string()));
    output::line(table)?;
    if matches!(schedule.decay, Decay::Plateau(_)) {
        note("as if no evaluation, one an epoch, were better than the first");
    }
    Ok(())
}

/// The rates over epochs, in dots, from 0 up.
fn plot(points: &[(f64, f64)], highest: f64, epochs: u64) -> String {
    let top = if highest > 0.0 { highest } else { 1.0 };
    let place =
        |&(epoch, lr): &(f64, f64)| [epoch / epochs as f64 * plot::RIGHT, (1.0 - lr / top) * plot::DOWN];
    let mut canvas = Canvas::new();
    points.first().iter().for_each(|point| canvas.line(place(point), place(point)));
    points.windows(2).for_each(|pair| canvas.line(place(&pair[0]), place(&pair[1])));
    let label = |row: usize| {
        let rate = top * (1.0 - (4 * row) as f64 / plot::DOWN);
        match row {
            row if row == plot::ROWS - 1 => "0".to_owned(),
            row if row.is_multiple_of(3) => format!("{rate:.2e}"),
            _ => String::new(),
        }
    };
    let unit = if epochs == 1 { "epoch" } else { "epochs" };
    canvas.rows(label) + &plot::axis("0", &format!("{epochs} {unit}"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_holds_both_ends_and_its_highest_place() {
        let schedule = Schedule { lr: 0.4, warmup: 1.0, decay: Decay::Cosine { min_lr: 0.0 } };
        for (steps_per_epoch, epochs, count) in
            [(10, 4, 40), (1000, 4, 480), (1, 1, 1), (1_000_000, 1000, 480)]
        {
            let length = Length { steps_per_epoch, epochs };
            let points = points(&schedule, length);
            assert_eq!(points.len(), count);
            assert_eq!(points[0], (0.0, schedule.at(0, length)));
            let last = length.total() - 1;
            let end = (last as f64 / steps_per_epoch as f64, schedule.at(last, length));
            assert_eq!(points[count - 1], end);
        }
        let points = points(&schedule, Length { steps_per_epoch: 10, epochs: 4 });
        assert_eq!(points[10], (1.0, 0.4));
        let text = plot(&points, 0.4, 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), plot::ROWS + 2);
        assert!(lines[0].contains("4.00e-1 │"), "{text}");
        let top = lines[0].chars().skip(11).position(|c| c != '\u{2800}').expect("the highest place");
        assert!((13..=15).contains(&top), "{text}");
        assert!(lines[plot::ROWS + 1].ends_with("4 epochs"), "{text}");
    }

    #[test]
    fn a_plateau_is_drawn_as_if_nothing_got_better() {
        let plateau = nn_train::Plateau { patience: 1, factor: 0.5, ..nn_train::Plateau::default() };
        let schedule = Schedule { lr: 1.0, warmup: 0.0, decay: Decay::Plateau(plateau) };
        let points = points(&schedule, Length { steps_per_epoch: 2, epochs: 6 });
        let rates: Vec<f64> = points.iter().map(|(_, lr)| *lr).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]);
        let [head, keys] = told(&schedule);
        assert_eq!(head, "lr = 1, plateau");
        assert!(keys.starts_with(", factor = 0.5, patience = 1, "), "{keys}");
    }
}
