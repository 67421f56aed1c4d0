//! `schedule`: the learning rate, and momentum where it moves, over a run that is still to come.

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
  cargo xtask schedule lenet5 --set schedule.warmup=0 --set schedule.decay.kind=one_cycle --out rate.svg";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recipe's name, see `cargo xtask list recipes`, or the path of a TOML file
    recipe: String,
    /// Steps in an epoch; the data are not read to count them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps_per_epoch: u64,
    /// Where to draw the curve as well
    #[arg(long, alias = "output", value_name = "FILE.svg")]
    out: Option<PathBuf>,
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
    let curves = Curves::of(&schedule, length);
    if let Some(file) = &args.out {
        // A headline has no room for all that a schedule is told.
        let [head, _] = told(&schedule);
        let what = if curves.momenta.is_empty() { "Learning rate" } else { "Learning rate and momentum" };
        let title = format!("{what} of {name}: {head}");
        draw(file, &title, &curves)?;
    }
    show(args, &schedule, length, &curves)
}

/// Moments, in epochs, and what is then.
struct Curves {
    rates: Vec<(f64, f64)>,
    /// None where the optimiser's stays.
    momenta: Vec<(f64, f64)>,
}

fn draw(file: &Path, title: &str, curves: &Curves) -> Result<()> {
    if file.extension().is_none_or(|ending| ending != "svg") {
        return Err(failed(format!(
            "--output draws an SVG picture, and {} is none by its name",
            file.display()
        )))
        .advise("give it a name that ends in .svg");
    }
    report::write_rate_curve(file, title, &curves.rates, &curves.momenta).context("cannot draw the curve")
}

impl Curves {
    /// Of all steps, if they are few, else of some in between and of both ends. Evaluations, one an epoch, are taken never to
    /// get better.
    fn of(schedule: &Schedule, length: Length) -> Self {
        let (last, count) = (length.total() - 1, length.total().min(POINTS));
        let (mut watched, mut evaluated) = (Watched::default(), 0);
        let mut curves = Self { rates: Vec::new(), momenta: Vec::new() };
        for i in 0..count {
            let step = (u128::from(last) * u128::from(i) / u128::from(count.max(2) - 1)) as u64;
            while evaluated < step / length.steps_per_epoch {
                evaluated += 1;
                schedule.watch(&mut watched, &Figures::new(1.0), evaluated * length.steps_per_epoch, length);
            }
            let epoch = step as f64 / length.steps_per_epoch as f64;
            curves.rates.push((epoch, schedule.after(&watched, step, length)));
            curves.momenta.extend(schedule.momentum(step, length).map(|momentum| (epoch, momentum)));
        }
        curves
    }
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

fn show(args: &Args, schedule: &Schedule, length: Length, curves: &Curves) -> Result<()> {
    let points = &curves.rates;
    let highest = points.iter().copied().fold((0.0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
    let (first, last) = (points[0], points[points.len() - 1]);
    if args.json {
        let mut momenta = curves.momenta.iter().map(|(_, momentum)| momentum);
        let points = points.iter().map(|(epoch, lr)| match momenta.next() {
            Some(momentum) => json!({"epoch": epoch, "lr": lr, "momentum": momentum}),
            None => json!({"epoch": epoch, "lr": lr}),
        });
        return output::json(&json!({
            "schedule": schedule,
            "epochs": length.epochs,
            "steps_per_epoch": length.steps_per_epoch,
            "points": points.collect::<Vec<_>>(),
            "output": args.out,
        }));
    }
    let top = if highest.1 > 0.0 { highest.1 } else { 1.0 };
    let momentum = ends(&curves.momenta);
    if momentum.is_some() {
        output::line("learning rate")?;
    }
    output::line(plot(points, [0.0, top], length.epochs))?;
    if let Some(ends) = momentum {
        output::line("momentum")?;
        output::line(plot(&curves.momenta, ends, length.epochs))?;
    }
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("schedule", told(schedule).concat());
    row("first step", format!("{:.3e}", first.1));
    row("highest", format!("{:.3e}, {:.2} epochs from the beginning", highest.1, highest.0));
    row("last step", format!("{:.3e}", last.1));
    if let Some([low, high]) = momentum {
        row("momentum", format!("from {high:.3} down to {low:.3}, and up again"));
    }
    row("steps", format!("{} an epoch, {} in all", length.steps_per_epoch, length.total()));
    args.out.iter().for_each(|file| row("curve", file.display().to_string()));
    output::line(table)?;
    if matches!(schedule.decay, Decay::Plateau(_)) {
        note("as if no evaluation, one an epoch, were better than the first");
    }
    Ok(())
}

/// The least and the largest value, if there are any that differ.
fn ends(points: &[(f64, f64)]) -> Option<[f64; 2]> {
    let values = || points.iter().map(|&(_, value)| value);
    let ends = [values().reduce(f64::min)?, values().reduce(f64::max)?];
    Some(ends).filter(|[low, high]| low < high)
}

/// Values over epochs, in dots, from the lower end to the upper.
fn plot(points: &[(f64, f64)], [low, high]: [f64; 2], epochs: u64) -> String {
    let place = |&(epoch, value): &(f64, f64)| {
        [epoch / epochs as f64 * plot::RIGHT, (high - value) / (high - low) * plot::DOWN]
    };
    let mut canvas = Canvas::new();
    points.first().iter().for_each(|point| canvas.line(place(point), place(point)));
    points.windows(2).for_each(|pair| canvas.line(place(&pair[0]), place(&pair[1])));
    let label = |row: usize| {
        let value = high - (high - low) * (4 * row) as f64 / plot::DOWN;
        match row {
            row if row == plot::ROWS - 1 && low == 0.0 => "0".to_owned(),
            row if row == plot::ROWS - 1 => format!("{low:.3}"),
            row if !row.is_multiple_of(3) => String::new(),
            _ if low == 0.0 => format!("{value:.2e}"),
            _ => format!("{value:.3}"),
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
            let points = Curves::of(&schedule, length).rates;
            assert_eq!(points.len(), count);
            assert_eq!(points[0], (0.0, schedule.at(0, length)));
            let last = length.total() - 1;
            let end = (last as f64 / steps_per_epoch as f64, schedule.at(last, length));
            assert_eq!(points[count - 1], end);
        }
        let Curves { rates: points, momenta } =
            Curves::of(&schedule, Length { steps_per_epoch: 10, epochs: 4 });
        assert!(momenta.is_empty());
        assert_eq!(points[10], (1.0, 0.4));
        let text = plot(&points, [0.0, 0.4], 4);
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
        let points = Curves::of(&schedule, Length { steps_per_epoch: 2, epochs: 6 }).rates;
        let rates: Vec<f64> = points.iter().map(|(_, lr)| *lr).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]);
        let [head, keys] = told(&schedule);
        assert_eq!(head, "lr = 1, plateau");
        assert!(keys.starts_with(", factor = 0.5, patience = 1, "), "{keys}");
    }
}
