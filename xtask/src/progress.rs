//! What a person sees of a training run: a bar on a terminal, plain lines elsewhere; always on standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nn_train::event::{Epoch, Evaluated, Step};
use nn_train::{Event, Figures, Measure};

use crate::figures::{leading, percent as percent_of};
use crate::output::{duration, note, thousands};

/// Between two lines within an epoch where there is no bar.
const QUIET: Duration = Duration::from_secs(10);

/// Between two texts beside the bar; the eye reads no faster.
const BLINK: Duration = Duration::from_millis(100);

/// Shows the events of a run.
pub(crate) struct Progress {
    /// Where standard error is a terminal.
    bar: Option<ProgressBar>,
    epochs: u64,
    /// Examples in an epoch.
    examples: u64,
    /// What several of them are called.
    noun: &'static str,
    /// The part that is evaluated on.
    part: &'static str,
    batches: u64,
    spoke: Instant,
}

impl Progress {
    /// For a run of `epochs` passes over so many examples, which are called `noun`, judged by the part called `part`.
    pub(crate) fn new(epochs: u64, examples: usize, noun: &'static str, part: &'static str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {prefix}  {bar:24.cyan/black.bright}  {wide_msg}");
            let Ok(style) = style else { unreachable!("a template that is right") };
            ProgressBar::new(0).with_style(style.progress_chars("━╸─"))
        });
        Self { bar, epochs, examples: examples as u64, noun, part, batches: 0, spoke: Instant::now() }
    }

    /// Shows what happened.
    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::EpochStarted { epoch, batches_done, batches } => {
                self.batches = *batches;
                if let Some(bar) = &self.bar {
                    bar.set_length(*batches);
                    bar.set_position(*batches_done);
                    bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
                }
            }
            Event::Step(step) => self.step(step),
            Event::Evaluating { batch, batches } => {
                if let Some(bar) = self.bar.as_ref().filter(|_| self.spoke.elapsed() >= BLINK) {
                    self.spoke = Instant::now();
                    bar.set_message(format!("{}, {:.0} %", self.part, percent(*batch, *batches)));
                }
            }
            Event::Evaluated(evaluated) => self.line(&between(evaluated, self.batches, self.noun)),
            Event::Epoch(epoch) => self.line(&row(epoch, self.noun)),
            Event::Finished { .. } | Event::Diverged { .. } => self.end(),
            _ => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    fn step(&mut self, step: &Step) {
        if let Some(bar) = &self.bar {
            bar.set_position(step.batch);
            if self.spoke.elapsed() >= BLINK {
                self.spoke = Instant::now();
                bar.set_message(self.message(step));
            }
        } else if self.spoke.elapsed() >= QUIET {
            self.spoke = Instant::now();
            let place = percent(step.batch, self.batches);
            note(format_args!(
                "  epoch {}/{}, {place:.0} %: {}",
                step.epoch,
                self.epochs,
                self.message(step)
            ));
        }
    }

    fn message(&self, step: &Step) -> String {
        let accuracy = step
            .so_far
            .get(Measure::Accuracy)
            .map_or(String::new(), |a| format!("  accuracy {:.1} %", 100.0 * a));
        let speed = step.examples_per_second;
        let of_epoch = 1.0 - step.batch as f64 / self.batches.max(1) as f64;
        let examples = ((self.epochs - step.epoch) as f64 + of_epoch) * self.examples as f64;
        let left = clock(examples / speed.max(1e-9));
        let loss = step.so_far.loss;
        format!("loss {loss:.4}{accuracy}  {} {}/s  {left} left", thousands(speed as u64), self.noun)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// `1:05`, or `1 h 02 min`
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if whole < 3600 { format!("{}:{:02}", whole / 60, whole % 60) } else { duration(seconds) }
}

/// The head of the table that [`row`] continues; `part` is what is evaluated on.
pub(crate) fn head(noun: &str, part: &str) -> String {
    let (speed, loss) = (format!("{noun}/s"), format!("{} loss", &part[..part.len().min(5)]));
    format!("  epoch  train loss  accuracy  {loss:>10}  accuracy  {speed:>8}      time")
}

/// An epoch's line; `best` says that its weights are the ones kept so far.
fn row(epoch: &Epoch, noun: &str) -> String {
    let Epoch { eval, ema, best, seconds, .. } = epoch;
    let train = format!("{:.4}", epoch.train.loss);
    let accuracy = accuracy(&epoch.train);
    let speed = thousands(epoch.examples_per_second as u64);
    let width = (noun.len() + 2).max(8);
    let speed = format!("{speed:>width$}");
    columns(&epoch.epoch.to_string(), [&train, &accuracy, &speed], eval, *seconds)
        + &remarks(eval, ema.as_ref(), *best)
}

/// The line of an evaluation within an epoch of so many batches.
fn between(evaluated: &Evaluated, batches: u64, noun: &str) -> String {
    let Evaluated { eval, ema, best, seconds, .. } = evaluated;
    let epoch = evaluated.epoch.saturating_sub(1) as f64 + evaluated.batch as f64 / batches.max(1) as f64;
    let speed = " ".repeat((noun.len() + 2).max(8));
    columns(&format!("{epoch:.2}"), ["", "", &speed], eval, *seconds) + &remarks(eval, ema.as_ref(), *best)
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
        let line = row(&epoch, "images");
        assert_eq!(line.chars().count(), head("images", "test").chars().count());
        assert_eq!(line, "      3      0.4123   87.12 %      0.1000  100.00 %    12,345     8.0 s");
        assert!(row(&Epoch { best: true, ..epoch.clone() }, "images").ends_with("  best"));
        let long = row(&epoch, "sentences");
        assert_eq!(long.chars().count(), head("sentences", "validation").chars().count());
        assert!(head("images", "validation").contains("  valid loss  "));
        let ema = Some(figures(0.1, 0.995));
        assert!(row(&Epoch { ema, best: true, ..epoch }, "images").ends_with("  running mean 99.50 %  best"));
        let evaluated = Evaluated {
            epoch: 3,
            step: 7,
            batch: 5,
            eval: figures(0.1, 0.5),
            ema: None,
            best: false,
            seconds: 8.0,
        };
        let within = between(&evaluated, 10, "images");
        assert_eq!(within, "   2.50                            0.1000   50.00 %               8.0 s");
    }

    #[test]
    fn time_left_is_a_clock() {
        assert_eq!([0.4, 65.0, 3599.0, 3720.0].map(clock), ["0:00", "1:05", "59:59", "1 h 02 min"]);
    }
}
