//! `report.html`: a run at a glance, in one file that needs nothing else.

mod chart;
mod lr_curve;
mod matrix;
mod panel;
mod png;
mod rate_curve;
mod scene;
mod sheet;
mod text;

use std::fmt::Write;
use std::path::Path;

use candle_core::Tensor;

use self::chart::{Chart, Marks, NARROW, Scale, Series, Ticks};
use self::text::{count, date, duration, escape};
use crate::error::TrainError;
use crate::event::{Epoch, Event, Setting, Step};
use crate::metrics::{Confusion, Direction, Figures, Measure, Style};
use crate::run::{self, About, RECIPE, REPORT};

pub use self::lr_curve::write_lr_curve;
pub use self::panel::{Content, Panel};
pub use self::rate_curve::write_rate_curve;
pub use self::scene::Scene;
pub use self::sheet::{PictureRow, write_pictures};

/// A picture, and what the model took it for.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `[H, W]`, `[1, H, W]` or `[3, H, W]`; the smallest number is drawn black, the largest white.
    pub pixels: Tensor,
    /// What it is.
    pub target: usize,
    /// What it was taken for.
    pub predicted: usize,
    /// With which probability, in [0, 1].
    pub confidence: f64,
}

/// What a report shows besides curves and figures.
#[derive(Clone, Debug, Default)]
pub struct Illustrations {
    /// Which class was taken for which in the test; without it that of the best evaluation is shown.
    pub confusion: Option<Confusion>,
    /// What was taken for something else, the worst first.
    pub mistakes: Vec<Sample>,
    /// What was known for what it is, with the most confidence.
    pub best: Vec<Sample>,
    /// Scenes beside what was made of them.
    pub scenes: Vec<Scene>,
    /// Anything else, each under its own heading.
    pub panels: Vec<Panel>,
}

/// Writes `report.html` from `recipe.toml` and `log.jsonl` of the run at `path`, also of one that is not over.
///
/// # Errors
/// If a file cannot be read or written, or a picture is none.
pub fn write(path: &Path, shown: &Illustrations) -> Result<(), TrainError> {
    let recipe = path.join(RECIPE);
    let recipe = std::fs::read_to_string(&recipe).map_err(TrainError::io(&recipe))?;
    let html = History::of(run::events(path)?).html(&recipe, shown)?;
    let file = path.join(REPORT);
    nn_core::atomic_file::write(&file, |w| w.write_all(html.as_bytes())).map_err(TrainError::io(&file))
}

/// A run's log, sorted by kind.
#[derive(Default)]
struct History {
    about: About,
    setting: Option<Setting>,
    steps: Vec<Step>,
    epochs: Vec<Epoch>,
    evaluations: Vec<Judged>,
    tested: Option<(Figures, Option<Figures>)>,
    finished: bool,
    /// Step, loss, and where it came from.
    diverged: Option<(u64, String, String)>,
}

/// An evaluation, at the end of an epoch or within one.
struct Judged {
    /// 2.5 is in the middle of the third.
    epoch: f64,
    eval: Figures,
    ema: Option<Figures>,
    best: bool,
}

impl History {
    fn of(events: Vec<Event>) -> Self {
        let mut history = Self::default();
        for event in events {
            history.judged(&event);
            match event {
                Event::Created(about) => history.about = about,
                Event::Started(setting) => history.setting = Some(setting),
                Event::Step(step) => history.steps.push(step),
                Event::Epoch(epoch) => history.epochs.push(epoch),
                Event::Finished { .. } => history.finished = true,
                Event::Tested { test, ema } => history.tested = Some((test, ema)),
                Event::Diverged { step, loss, anomaly } => {
                    let told = anomaly.map_or(String::new(), |anomaly| format!("; {anomaly}"));
                    history.diverged = Some((step, loss, told));
                }
                Event::EpochStarted { .. }
                | Event::Evaluated(_)
                | Event::Evaluating { .. }
                | Event::Checkpointed { .. } => {}
            }
        }
        history
    }

    fn judged(&mut self, event: &Event) {
        let judged = match event {
            Event::Evaluated(e) => {
                let epoch = self.position(e.epoch, e.batch);
                Judged { epoch, eval: e.eval, ema: e.ema, best: e.best }
            }
            Event::Epoch(e) => Judged { epoch: e.epoch as f64, eval: e.eval, ema: e.ema, best: e.best },
            _ => return,
        };
        self.evaluations.push(judged);
    }

    /// Of the batches done of an epoch, counted from 1, in epochs.
    fn position(&self, epoch: u64, batch: u64) -> f64 {
        let batches = self.setting.map_or(1, |s| s.batches).max(1) as f64;
        epoch.saturating_sub(1) as f64 + batch as f64 / batches
    }

    fn best(&self) -> Option<&Judged> {
        self.evaluations.iter().rfind(|e| e.best)
    }

    /// Of the last epoch that was the best when it ended.
    fn confusion(&self) -> Option<&Confusion> {
        self.epochs.iter().rev().find_map(|e| e.confusion.as_ref())
    }

    /// Epochs the run is meant to have, or has if it was made longer.
    fn length(&self) -> u64 {
        let meant = self.setting.map_or(1, |s| s.epochs);
        self.epochs.last().map_or(meant, |e| e.epoch.max(meant)).max(1)
    }

    fn html(&self, recipe: &str, shown: &Illustrations) -> Result<String, TrainError> {
        let title = if self.about.title.is_empty() { "Training run" } else { &self.about.title };
        let mut html = page(title);
        let _ = writeln!(html, "<p class=\"sub\">{}</p>", escape(&self.state()));
        html.push_str(&self.cards());
        html.push_str(&self.charts());
        let (confusion, when) = match &shown.confusion {
            Some(tested) => (Some(tested), "in the test"),
            None => (self.confusion(), "in the best evaluation"),
        };
        if let Some(confusion) = confusion {
            html.push_str(&matrix::html(confusion, when, |class| self.class(class)));
        }
        html.push_str(&scene::html(&shown.scenes, confusion, |class| self.class(class))?);
        html.push_str(&self.samples("Worst mistakes", &shown.mistakes)?);
        html.push_str(&self.samples("Right, and the surest", &shown.best)?);
        shown.panels.iter().for_each(|panel| html.push_str(&panel.html()));
        html.push_str(&self.settings(recipe));
        html.push_str(&self.table());
        html.push_str(END);
        Ok(html)
    }

    /// Where the run stands, in a sentence.
    fn state(&self) -> String {
        let done = self.epochs.last().map_or(0, |e| e.epoch);
        let state = match &self.diverged {
            Some((step, loss, told)) => {
                format!("diverged: the loss was {loss} at step {}{told}", count(*step))
            }
            None if self.finished => "finished".to_owned(),
            None => format!("not finished: {done} of {} epochs", self.length()),
        };
        if self.about.created == 0 { state } else { format!("Started {}, {state}", date(self.about.created)) }
    }

    fn class(&self, index: usize) -> String {
        self.about.classes.get(index).cloned().unwrap_or_else(|| index.to_string())
    }

    fn cards(&self) -> String {
        let mut cards: Vec<(String, String)> = Vec::new();
        let leading = |figures: &Figures| match figures.measures().next() {
            Some((measure, value)) => (measure.text(value), measure.title()),
            None => (format!("{:.4}", figures.loss), "loss"),
        };
        if let Some((test, ema)) = &self.tested {
            let mut card = |figures: &Figures, what: &str| {
                let (value, title) = leading(figures);
                cards.push((value, format!("test {title}{what}")));
            };
            card(test, "");
            ema.iter().for_each(|ema| card(ema, ", running mean"));
        }
        if let Some(best) = self.best() {
            let (value, title) = leading(&best.eval);
            let up = best.eval.measures().next().is_some_and(|(m, _)| m.direction() == Direction::Up);
            let extreme = if up { "best" } else { "lowest" };
            let epoch = (best.epoch * 100.0).round() / 100.0;
            cards.push((value, format!("{extreme} {title} in evaluation, epoch {epoch}")));
        }
        if let Some(last) = self.epochs.last() {
            cards.push((format!("{:.4}", last.eval.loss), "last evaluation loss".to_owned()));
            cards.push((format!("{} / {}", last.epoch, self.length()), "epochs".to_owned()));
            cards.push((duration(last.seconds), "time".to_owned()));
            cards.push((count(last.examples_per_second.round() as u64), "examples per second".to_owned()));
        }
        if let Some(setting) = self.setting {
            cards.push((count(setting.parameters), "parameters".to_owned()));
        }
        let mut html = String::from("<div class=\"cards\">\n");
        for (i, (value, what)) in cards.iter().enumerate() {
            let first = if i == 0 && self.best().is_some() { " first" } else { "" };
            let _ = writeln!(html, "<div class=\"card{first}\"><b>{value}</b><span>{what}</span></div>");
        }
        html + "</div>\n"
    }

    fn charts(&self) -> String {
        let (across, begin, end, ticks, width) = ("epoch", 0.0, self.length() as f64, Ticks::Numbers, NARROW);
        let mut loss = self.lines(&|f| Some(f.loss));
        loss.insert(0, smooth(self.by_step("batches", "batches", |s| Some(s.loss))));
        let measured = |measure: Measure| {
            let scale = match measure.style() {
                Style::Percent => Scale::Percent,
                Style::Plain => Scale::MaybeLog,
                Style::Score => Scale::FromZero,
            };
            Chart {
                title: measure.title(),
                scale,
                across,
                begin,
                end,
                ticks,
                width,
                series: self.lines(&|f| f.get(measure)),
            }
        };
        // Where few steps are logged, it is to be seen which.
        let dotted = |series| Series { marks: Marks::Dots, ..series };
        let by_step = [
            Chart { title: "loss", scale: Scale::MaybeLog, across, begin, end, ticks, width, series: loss },
            Chart {
                title: "learning rate",
                scale: Scale::FromZero,
                across,
                begin,
                end,
                ticks,
                width,
                series: vec![dotted(self.by_step("learning rate", "rate", |s| Some(s.lr)))],
            },
            Chart {
                title: "momentum",
                scale: Scale::Close,
                across,
                begin,
                end,
                ticks,
                width,
                series: vec![dotted(self.by_step("momentum", "rate", |s| s.momentum))],
            },
        ];
        let charts = Measure::all().map(measured).chain(by_step);
        let html: String = charts.map(|chart| chart.html()).collect();
        if html.is_empty() {
            html
        } else {
            format!("<h2>Curves</h2>\n<div class=\"charts\">\n{html}</div>\n")
        }
    }

    /// A figure of both parts and, if there is one, of the running mean of the weights.
    fn lines(&self, of: &dyn Fn(&Figures) -> Option<f64>) -> Vec<Series> {
        let series = |name: &'static str, class, points| Series {
            name: name.into(),
            class,
            points,
            marks: Marks::Dots,
        };
        let trained = self.epochs.iter().filter_map(|e| Some((e.epoch as f64, of(&e.train)?)));
        let judged = self.evaluations.iter().filter_map(|e| Some((e.epoch, of(&e.eval)?)));
        let mean = self.evaluations.iter().filter_map(|e| Some((e.epoch, of(e.ema.as_ref()?)?)));
        let mut lines = vec![
            series("training", "train", trained.collect()),
            series("evaluation", "eval", judged.collect::<Vec<_>>()),
        ];
        if self.evaluations.iter().any(|e| e.ema.is_some()) {
            lines.push(series("running mean", "rate", mean.collect()));
        }
        lines
    }

    fn by_step(&self, name: &'static str, class: &'static str, of: fn(&Step) -> Option<f64>) -> Series {
        let points =
            self.steps.iter().filter_map(|s| Some((self.position(s.epoch, s.batch), of(s)?))).collect();
        Series { name: name.into(), class, points, marks: Marks::Line }
    }

    fn samples(&self, heading: &str, samples: &[Sample]) -> Result<String, TrainError> {
        if samples.is_empty() {
            return Ok(String::new());
        }
        let mut html = format!("<h2>{heading}</h2>\n<div class=\"samples\">\n");
        for sample in samples {
            let target = escape(&self.class(sample.target));
            let told = if sample.predicted == sample.target {
                format!("<b>{target}</b>")
            } else {
                format!("{target}, taken for <b>{}</b>", escape(&self.class(sample.predicted)))
            };
            let _ = writeln!(
                html,
                "<figure><img src=\"{}\" alt=\"{target}\"><figcaption>{told}<br>\
                 <small>{:.1} % sure</small></figcaption></figure>",
                png::data_uri(&sample.pixels)?,
                sample.confidence * 100.0
            );
        }
        Ok(html + "</div>\n")
    }

    fn settings(&self, recipe: &str) -> String {
        let mut facts = self.about.facts.clone();
        if let Some(setting) = self.setting {
            if facts.iter().all(|(name, _)| name != "seed") {
                facts.push(("seed".to_owned(), setting.seed.to_string()));
            }
            facts.push(("training examples".to_owned(), count(setting.train_examples)));
            facts.push(("evaluation examples".to_owned(), count(setting.eval_examples)));
            facts.push(("steps per epoch".to_owned(), count(setting.batches)));
        }
        let versions = VERSIONS.iter().filter(|(_, version)| !version.is_empty());
        facts.extend(versions.map(|(name, version)| ((*name).to_owned(), (*version).to_owned())));
        let mut html =
            String::from("<h2>How it was made</h2>\n<div class=\"pair\">\n<div class=\"stack\">\n");
        if !self.about.command.is_empty() {
            // Lines break between words only: browsers would break after hyphens, in front of an option's name.
            let words = self.about.command.split_whitespace().map(|w| format!("<span>{}</span>", escape(w)));
            let command = words.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                html,
                "<div class=\"panel\"><h3>Command to repeat it</h3><pre class=\"command\">{command}</pre></div>"
            );
        }
        html.push_str("<div class=\"panel\"><table class=\"facts\">\n");
        for (name, value) in facts {
            let _ = writeln!(html, "<tr><th>{}</th><td>{}</td></tr>", escape(&name), escape(&value));
        }
        html.push_str("</table></div></div>\n");
        let _ = writeln!(
            html,
            "<div class=\"panel\"><h3>{RECIPE}</h3><pre>{}</pre></div></div>",
            escape(recipe.trim_end())
        );
        html
    }

    /// The figures behind the curves.
    fn table(&self) -> String {
        if self.epochs.is_empty() {
            return String::new();
        }
        let of_part = |part: fn(&Epoch) -> &Figures| {
            let there = |measure: &Measure| self.epochs.iter().any(|e| part(e).get(*measure).is_some());
            (part, Measure::all().filter(there).collect::<Vec<_>>())
        };
        let parts = [("training", of_part(|e| &e.train)), ("evaluation", of_part(|e| &e.eval))];
        let mut html = String::from(
            "<h2>Epochs</h2>\n<div class=\"panel\"><details><summary>All figures</summary><table class=\"rows\"><thead><tr>\
             <th>epoch</th>",
        );
        for (part, (_, measures)) in &parts {
            let _ = write!(html, "<th>{part} loss</th>");
            for measure in measures {
                let _ = write!(html, "<th>{part} {}</th>", measure.title());
            }
        }
        html.push_str("<th>learning rate</th><th>time</th></tr></thead><tbody>\n");
        for e in &self.epochs {
            let _ = write!(html, "<tr><td>{}{}</td>", e.epoch, if e.best { " ★" } else { "" });
            for (_, (figures, measures)) in &parts {
                let figures = figures(e);
                let _ = write!(html, "<td>{:.4}</td>", figures.loss);
                for &measure in measures {
                    let text = figures.get(measure).map_or("–".to_owned(), |value| measure.text(value));
                    let _ = write!(html, "<td>{text}</td>");
                }
            }
            let _ = writeln!(html, "<td>{:.3e}</td><td>{}</td></tr>", e.lr, duration(e.seconds));
        }
        html + "</tbody></table></details></div>\n"
    }
}

/// Of what this was built with; the build script finds out what it can.
const VERSIONS: [(&str, &str); 3] = [
    ("nn-train", env!("CARGO_PKG_VERSION")),
    ("Candle", env!("NN_TRAIN_CANDLE")),
    ("Rust", env!("NN_TRAIN_RUST")),
];

/// A page up to its headline, and its end.
fn page(title: &str) -> String {
    let (title, style) = (escape(title), include_str!("style.css"));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{style}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    )
}

const END: &str = "</main></body></html>\n";

/// A running mean over as many points as leave about twenty independent ones.
fn smooth(series: Series) -> Series {
    let width = series.points.len().div_ceil(20).max(1);
    let mean = |end: usize| {
        let window = &series.points[(end + 1).saturating_sub(width)..=end];
        window.iter().map(|(_, y)| y).sum::<f64>() / window.len() as f64
    };
    let points = series.points.iter().enumerate().map(|(i, &(x, _))| (x, mean(i))).collect();
    Series { points, ..series }
}

#[cfg(test)]
mod tests;
