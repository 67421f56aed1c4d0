//! `lr-find`: which learning rate to begin with.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use nn_train::{Alone, LrCurve, LrPoint, LrRange, Ranks, lr_find, report};
use serde_json::json;

use crate::options::Options;
use crate::output::{self, Align, Table, note};
use crate::plot::{self, Canvas};
use crate::recipe;
use crate::session::{self, Session};
use crate::task::Task;
use crate::train::{INTERRUPTED, go_on, stop_on_interrupt};

const EXAMPLES: &str = "Examples:
  cargo xtask lr-find lenet5
  cargo xtask lr-find cnn --set optimizer.kind=adam --from 1e-6 --to 1
  cargo xtask lr-find sentiment-lstm --data-dir data --steps 300";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recipe's name, see `cargo xtask list recipes`, or the path of a TOML file
    recipe: String,
    /// Learning rate of the first step
    #[arg(long, value_name = "X", default_value_t = LrRange::default().from)]
    from: f64,
    /// Learning rate of the last step
    #[arg(long, value_name = "X", default_value_t = LrRange::default().to)]
    to: f64,
    /// Steps from one to the other
    #[arg(long, value_name = "N", default_value_t = LrRange::default().steps)]
    steps: u64,
    /// Where to write the curve
    #[arg(long, value_name = "FILE.html", default_value = "lr-find.html")]
    out: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (name, text) = recipe::find(&args.recipe)?;
    (recipe::task_of(&text, &name)?.lr_find)(args, &name, &text)
}

pub(crate) fn run_task<T: Task>(args: &Args, name: &str, text: &str) -> Result<ExitCode> {
    let range = LrRange { from: args.from, to: args.to, steps: args.steps, ..LrRange::default() };
    range.check().context("the rates cannot be tried")?;
    let ranks: Arc<dyn Ranks> = Arc::new(Alone);
    let mut session = Session::<T>::start(session::resolve(name, text, &args.options)?, &ranks)?;
    let title = session.title();
    note(format_args!("{title}: {} steps from {:e} to {:e}", range.steps, range.from, range.to));
    let stop = stop_on_interrupt()?;
    let Session { trainer, parts, model, .. } = &mut session;
    let curve =
        lr_find(trainer, &parts.train, range, |_| go_on(stop), |batch, ctx| model.outcome(batch, ctx))?;
    if go_on(stop) == ControlFlow::Break(()) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    report::write_lr_curve(&args.out, &title, &curve)?;
    show(args, &curve)?;
    Ok(if curve.suggestion().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(args: &Args, curve: &LrCurve) -> Result<()> {
    let found = curve.suggestion();
    if args.json {
        let points = curve.points.iter().map(|p| json!({"lr": p.lr, "loss": p.loss, "smooth": p.smooth}));
        return output::json(&json!({
            "suggestion": found.map(|s| s.steepest),
            "lowest": found.map(|s| s.lowest),
            "points": points.collect::<Vec<_>>(),
            "curve": args.out,
        }));
    }
    output::line(plot(curve))?;
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    match found {
        Some(found) => {
            table.row([
                "suggestion".to_owned(),
                format!("--lr {:.2e}, where the loss falls fastest", found.steepest),
            ]);
            table.row([
                "too large".to_owned(),
                format!("{:.2e} and above, where it no longer falls", found.lowest),
            ]);
        }
        None => table.row(["suggestion".to_owned(), "none: the loss did not fall at any rate".to_owned()]),
    }
    table.row(["curve".to_owned(), args.out.display().to_string()]);
    output::line(table)
}

/// The smoothed loss over the rate, in dots, the steepest place marked.
fn plot(curve: &LrCurve) -> String {
    let points = &curve.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    // What is lost at the end is not worth the height.
    let top = points[0].smooth.max(first.loss) * 1.1;
    let low = points.iter().map(|p| p.smooth).fold(f64::INFINITY, f64::min);
    let decades = (last.lr / first.lr).log10().max(1e-9);
    let across = |lr: f64| (lr / first.lr).log10() / decades * plot::RIGHT;
    let place = |p: &LrPoint| [across(p.lr), (top - p.smooth) / (top - low).max(1e-12) * plot::DOWN];
    let mut canvas = Canvas::new();
    points.windows(2).for_each(|pair| canvas.line(place(&pair[0]), place(&pair[1])));
    let label = |row: usize| {
        let loss = top - (top - low) * (4 * row) as f64 / plot::DOWN;
        if row.is_multiple_of(3) || row == plot::ROWS - 1 { format!("{loss:.3}") } else { String::new() }
    };
    let (left, right) = (format!("{:.1e}", first.lr), format!("{:.1e}", last.lr));
    let mark = curve.suggestion().map(|found| across(found.steepest));
    canvas.rows(label) + &plot::axis(&left, &right, mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{COLUMNS, ROWS};

    #[test]
    fn the_curve_is_drawn_and_its_steepest_place_marked() {
        let losses = [2.3, 2.3, 2.2, 1.6, 0.9, 0.7, 9.0];
        let point =
            |(i, &smooth): (usize, &f64)| LrPoint { lr: 10f64.powi(i as i32 - 4), loss: smooth, smooth };
        let curve = LrCurve { points: losses.iter().enumerate().map(point).collect() };
        let text = plot(&curve);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 2);
        assert!(lines.iter().all(|line| line.chars().count() <= 11 + COLUMNS), "{text}");
        let mark = lines[ROWS].chars().position(|c| c == '▲').expect("a mark");
        assert_eq!(mark, 11 + 119 / 2 / 2, "{text}");
        assert!(lines[ROWS + 1].contains("1.0e-4") && lines[ROWS + 1].ends_with("1.0e2"), "{text}");
        assert_eq!(plot(&LrCurve::default()), "");
    }
}
