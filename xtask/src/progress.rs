//! What a person sees of a training run: the dashboard or a bar on a terminal, plain lines elsewhere; always on standard
//! error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use nn_train::event::{Epoch, Evaluated, Step};
use nn_train::{Event, Figures, Measure};

use crate::dashboard::{self, Board, Dashboard};
use crate::figures::{leading, percent as percent_of};
use crate::output::{duration, note, thousands};
use crate::train::interrupt;

/// Between two lines within an epoch where there is no bar.
const QUIET: Duration = Duration::from_secs(10);

/// Between two texts beside the bar; the eye reads no faster.
const BLINK: Duration = Duration::from_millis(100);

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Display {
    /// The dashboard on a terminal, else plain
    #[default]
    Auto,
    /// Bars, curves and figures on the whole terminal
    Dashboard,
    /// A line an epoch, and on a terminal a bar
    Plain,
    /// Nothing while it trains
    None,
}

/// How much there is to do in a run, and what its parts are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) epochs: u64,
    /// Examples in an epoch.
    pub(crate) examples: u64,
    /// Batches in an epoch, once that is known.
    pub(crate) batches: u64,
    /// What several examples are called.
    pub(crate) noun: &'static str,
    /// The part that is evaluated on.
    pub(crate) part: &'static str,
}

impl Scope {
    /// Epochs trained after so many batches of an epoch.
    pub(crate) fn place(&self, epoch: u64, batch: u64) -> f64 {
        epoch.saturating_sub(1) as f64 + batch as f64 / self.batches.max(1) as f64
    }

    /// Until all epochs are over, at the speed of now.
    pub(crate) fn seconds_left(&self, step: &Step) -> f64 {
        let epochs = self.epochs as f64 - self.place(step.epoch, step.batch);
        epochs * self.examples as f64 / step.examples_per_second.max(1e-9)
    }
}

/// Shows the events of a run.
pub(crate) struct Progress {
    screen: Screen,
    scope: Scope,
    /// Lines that were not shown because the dashboard had the screen.
    record: Vec<String>,
    spoke: Instant,
}

enum Screen {
    Dashboard(Dashboard),
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// For a run of such a scope; `board` is what the dashboard begins with.
    pub(crate) fn new(scope: Scope, display: Display, board: impl FnOnce() -> Board) -> Self {
        let wanted = match display {
            Display::Auto => dashboard::is_possible(),
            Display::Dashboard => true,
            Display::Plain | Display::None => false,
        };
        let opened = wanted.then(|| Dashboard::open(board(), interrupt));
        let screen = match (opened, display) {
            (Some(Ok(dashboard)), _) => Screen::Dashboard(dashboard),
            (_, Display::None) => Screen::Nothing,
            (failed, _) => {
                failed.and_then(Result::err).iter().for_each(|error| note(format_args!("{error:#}")));
                if stderr().is_terminal() { Screen::Bar(bar()) } else { Screen::Lines }
            }
        };
        let mut progress = Self { screen, scope, record: Vec::new(), spoke: Instant::now() };
        progress.line(format!("\n{}", head(&scope)));
        progress
    }

    /// Shows what happened.
    pub(crate) fn hear(&mut self, event: &Event) {
        if let Screen::Dashboard(dashboard) = &self.screen {
            dashboard.hear(event);
        }
        match event {
            Event::EpochStarted { epoch, batches_done, batches } => {
                self.scope.batches = *batches;
                if let Screen::Bar(bar) = &self.screen {
                    bar.set_length(*batches);
                    bar.set_position(*batches_done);
                    bar.set_prefix(format!("epoch {epoch}/{}", self.scope.epochs));
                }
            }
            Event::Step(step) => self.step(step),
            Event::Evaluating { batch, batches } => {
                if let (Screen::Bar(bar), true) = (&self.screen, self.spoke.elapsed() >= BLINK) {
                    self.spoke = Instant::now();
                    bar.set_message(format!("{}, {:.0} %", self.scope.part, percent(*batch, *batches)));
                }
            }
            Event::Evaluated(evaluated) => self.line(between(evaluated, &self.scope)),
            Event::Epoch(epoch) => self.line(row(epoch, &self.scope)),
            Event::Finished { .. } | Event::Diverged { .. } => self.end(),
            _ => {}
        }
    }

    /// Takes dashboard or bar away; the lines of the run stay.
    pub(crate) fn end(&mut self) {
        if let Screen::Bar(bar) = &self.screen {
            bar.finish_and_clear();
        }
        if !matches!(self.screen, Screen::Nothing) {
            self.screen = Screen::Lines;
        }
        self.record.drain(..).for_each(note);
    }

    /// A line that stays.
    fn line(&mut self, text: String) {
        match &self.screen {
            Screen::Dashboard(_) => self.record.push(text),
            Screen::Bar(bar) => bar.suspend(|| note(text)),
            Screen::Lines => note(text),
            Screen::Nothing => {}
        }
    }

    fn step(&mut self, step: &Step) {
        match &self.screen {
            Screen::Bar(bar) => {
                bar.set_position(step.batch);
                if self.spoke.elapsed() >= BLINK {
                    self.spoke = Instant::now();
                    bar.set_message(self.message(step));
                }
            }
            Screen::Lines if self.spoke.elapsed() >= QUIET => {
                self.spoke = Instant::now();
                let Scope { epochs, batches, .. } = self.scope;
                let place = percent(step.batch, batches);
                let message = self.message(step);
                note(format_args!("  epoch {}/{epochs}, {place:.0} %: {message}", step.epoch));
            }
            _ => {}
        }
    }

    fn message(&self, step: &Step) -> String {
        let accuracy = step
            .so_far
            .get(Measure::Accuracy)
            .map_or(String::new(), |a| format!("  accuracy {:.1} %", 100.0 * a));
        let speed = thousands(step.examples_per_second as u64);
        let (loss, left) = (step.so_far.loss, clock(self.scope.seconds_left(step)));
        format!("loss {loss:.4}{accuracy}  {speed} {}/s  {left} left", self.scope.noun)
    }
}

impl Drop for Progress {
    /// Whatever happened is readable afterwards.
    fn drop(&mut self) {
        self.end();
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix}  {bar:24.cyan/black.bright}  {wide_msg}");
    let Ok(style) = style else { unreachable!("a template that is right") };
    ProgressBar::new(0).with_style(style.progress_chars("━╸─"))
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// `1:05`, or `1 h 02 min`
pub(crate) fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if whole < 3600 { format!("{}:{:02}", whole / 60, whole % 60) } else { duration(seconds) }
}

/// The head of the table that [`row`] continues.
pub(crate) fn head(scope: &Scope) -> String {
    let Scope { noun, part, .. } = scope;
    let (speed, loss) = (format!("{noun}/s"), format!("{} loss", &part[..part.len().min(5)]));
    format!("  epoch  train loss  accuracy  {loss:>10}  accuracy  {speed:>8}      time")
}

/// An epoch's line; `best` says that its weights are the ones kept so far.
pub(crate) fn row(epoch: &Epoch, scope: &Scope) -> String {
    let Epoch { eval, ema, best, seconds, .. } = epoch;
    let train = format!("{:.4}", epoch.train.loss);
    let accuracy = accuracy(&epoch.train);
    let speed = thousands(epoch.examples_per_second as u64);
    let width = speed_width(scope);
    let speed = format!("{speed:>width$}");
    columns(&epoch.epoch.to_string(), [&train, &accuracy, &speed], eval, *seconds)
        + &remarks(eval, ema.as_ref(), *best)
}

/// The line of an evaluation within an epoch.
pub(crate) fn between(evaluated: &Evaluated, scope: &Scope) -> String {
    let Evaluated { eval, ema, best, seconds, .. } = evaluated;
    let epoch = scope.place(evaluated.epoch, evaluated.batch);
    let speed = " ".repeat(speed_width(scope));
    columns(&format!("{epoch:.2}"), ["", "", &speed], eval, *seconds) + &remarks(eval, ema.as_ref(), *best)
}

/// As wide as the column's head, `images/s`.
fn speed_width(scope: &Scope) -> usize {
    (scope.noun.len() + 2).max(8)
}

fn columns(epoch: &str, [train, train_accuracy, speed]: [&str; 3], eval: &Figures, seconds: f64) -> String {
    format!(
        "  {epoch:>5}  {train:>10}  {train_accuracy:>8}  {:>10.4}  {:>8}  {speed}  {:>8}",
        eval.loss,
        accuracy(eval),
        duration(seconds),
    )
}

fn accuracy(figures: &Figures) -> String {
    figures.get(Measure::Accuracy).map_or(String::new(), percent_of)
}

/// What stands behind the columns: what decides, the running mean's figure, whether it is the best.
fn remarks(eval: &Figures, ema: Option<&Figures>, best: bool) -> String {
    let decides = leading(eval).map_or(String::new(), |(name, value)| format!("  {name} {value}"));
    let of_mean = |figures: &Figures| match figures.measures().next() {
        Some((measure, value)) => measure.text(value),
        None => format!("{:.4}", figures.loss),
    };
    let ema = ema.map_or(String::new(), |figures| format!("  running mean {}", of_mean(figures)));
    format!("{decides}{ema}{}", if best { "  best" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_heads() {
        let images = Scope { epochs: 3, examples: 100, batches: 10, noun: "images", part: "test" };
        let sentences = Scope { noun: "sentences", part: "validation", ..images };
        let figures = |loss, accuracy| Figures::new(loss).with(Measure::Accuracy, accuracy);
        let epoch = Epoch {
            epoch: 3,
            step: 100,
            lr: 0.1,
            train: figures(0.4123, 0.8712),
            eval: figures(0.1, 1.0),
            ema: None,
            best: false,
            seconds: 8.0,
            examples_per_second: 12_345.6,
            confusion: None,
        };
        let line = row(&epoch, &images);
        assert_eq!(line.chars().count(), head(&images).chars().count());
        assert_eq!(line, "      3      0.4123   87.12 %      0.1000  100.00 %    12,345     8.0 s");
        assert!(row(&Epoch { best: true, ..epoch.clone() }, &images).ends_with("  best"));
        let long = row(&epoch, &sentences);
        assert_eq!(long.chars().count(), head(&sentences).chars().count());
        assert!(head(&Scope { part: "validation", ..images }).contains("  valid loss  "));
        let ema = Some(figures(0.1, 0.995));
        assert!(row(&Epoch { ema, best: true, ..epoch }, &images).ends_with("  running mean 99.50 %  best"));
        let evaluated = Evaluated {
            epoch: 3,
            step: 7,
            batch: 5,
            eval: figures(0.1, 0.5),
            ema: None,
            best: false,
            seconds: 8.0,
        };
        let within = between(&evaluated, &images);
        assert_eq!(within, "   2.50                            0.1000   50.00 %               8.0 s");
    }

    #[test]
    fn time_left_is_a_clock() {
        assert_eq!([0.4, 65.0, 3599.0, 3720.0].map(clock), ["0:00", "1:05", "59:59", "1 h 02 min"]);
    }
}
