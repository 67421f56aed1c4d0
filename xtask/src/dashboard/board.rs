//! What is known of a run while it goes on: all that the dashboard shows.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use nn_train::event::{Epoch, Evaluated, Step};
use nn_train::{Event, Figures, Measure, run};

use super::curve::Curve;
use crate::progress::{Scope, between, row};

/// What the dashboard shows.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    pub(super) scope: Scope,
    /// `lenet5 on digits`
    pub(super) title: String,
    /// Where the run is kept.
    pub(super) place: String,
    begin: Instant,
    pub(super) epoch: u64,
    pub(super) step: Option<Step>,
    /// What goes on, and how far it is.
    pub(super) phase: Phase,
    /// Loss of the steps, by epochs trained.
    pub(super) loss: Curve,
    pub(super) eval_loss: Curve,
    /// The measure that decides, if there is one.
    pub(super) measure: Option<Measure>,
    pub(super) value: Curve,
    pub(super) eval_value: Curve,
    pub(super) rate: Curve,
    /// A line for each of the last evaluations; whether it was the best.
    pub(super) rows: VecDeque<(String, bool)>,
    pub(super) messages: VecDeque<String>,
    /// Resident bytes of the process, where the system tells.
    pub(super) memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    Training,
    /// Batches done, and all.
    Evaluating(u64, u64),
}

/// Messages that are kept.
const MESSAGES: usize = 16;

/// Evaluations that are kept: more than a terminal has lines. All of this is copied for each drawing, lest a slow
/// terminal hold up the training.
const ROWS: usize = 256;

impl Board {
    pub(super) fn new(scope: Scope, title: String, place: String) -> Self {
        Self {
            scope,
            title,
            place,
            begin: Instant::now(),
            epoch: 0,
            step: None,
            phase: Phase::Training,
            loss: Curve::default(),
            eval_loss: Curve::default(),
            measure: None,
            value: Curve::default(),
            eval_value: Curve::default(),
            rate: Curve::default(),
            rows: VecDeque::new(),
            messages: VecDeque::new(),
            memory: None,
        }
    }

    /// Of the run in a folder, with what happened in it before.
    pub(crate) fn of(scope: Scope, title: String, run: &Path) -> Self {
        let mut board = Self::new(scope, title, run.display().to_string());
        // A log that cannot be read is no reason not to train.
        run::events(run).unwrap_or_default().iter().for_each(|event| board.hear(event));
        board
    }

    /// Takes in what happened, now or, from a log, before.
    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::EpochStarted { epoch, batches, .. } => {
                self.epoch = *epoch;
                self.scope.batches = *batches;
            }
            Event::Started(setting) => self.scope.batches = setting.batches,
            Event::Step(step) => self.step(step),
            Event::Evaluating { batch, batches } => self.phase = Phase::Evaluating(*batch, *batches),
            Event::Evaluated(evaluated) => {
                let Evaluated { epoch, batch, eval, best, .. } = evaluated;
                self.evaluated(self.scope.place(*epoch, *batch), eval, None);
                self.line(between(evaluated, &self.scope), *best);
            }
            Event::Epoch(epoch) => {
                let Epoch { train, eval, best, .. } = epoch;
                self.evaluated(epoch.epoch as f64, eval, Some(train));
                self.line(row(epoch, &self.scope), *best);
            }
            Event::Checkpointed { step } => {
                self.phase = Phase::Training;
                self.say(format!("saved after step {}", crate::output::thousands(*step)));
            }
            Event::Diverged { .. } | Event::Created(_) | Event::Finished { .. } | Event::Tested { .. } => {}
        }
    }

    /// Adds a message.
    pub(crate) fn say(&mut self, message: String) {
        // Savings come by the dozen; the last one is the one that counts.
        let same = |last: &String| last.starts_with("saved ") && message.starts_with("saved ");
        if self.messages.back().is_some_and(same) || self.messages.len() == MESSAGES {
            let at = if self.messages.back().is_some_and(same) { self.messages.len() - 1 } else { 0 };
            self.messages.remove(at);
        }
        self.messages.push_back(message);
    }

    fn line(&mut self, row: String, best: bool) {
        if self.rows.len() == ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back((row, best));
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    fn step(&mut self, step: &Step) {
        let place = self.scope.place(step.epoch, step.batch);
        self.loss.add(place, step.loss);
        self.rate.add(place, step.lr);
        if let Some(value) = self.measure(&step.so_far) {
            self.value.add(place, value);
        }
        self.phase = Phase::Training;
        self.step = Some(*step);
    }

    fn evaluated(&mut self, place: f64, eval: &Figures, train: Option<&Figures>) {
        self.eval_loss.add(place, eval.loss);
        // An evaluation may know more than a step: what decides is what it says first.
        let first = eval.measures().next().map(|(measure, _)| measure);
        if self.measure != first {
            (self.measure, self.value) = (first, Curve::default());
        }
        if let Some(value) = train.and_then(|train| self.measure(train)) {
            self.value.add(place, value);
        }
        if let Some(value) = self.measure(eval) {
            self.eval_value.add(place, value);
        }
    }

    /// The value of the measure that is drawn; the first there is becomes that.
    fn measure(&mut self, figures: &Figures) -> Option<f64> {
        self.measure = self.measure.or(figures.measures().next().map(|(measure, _)| measure));
        figures.get(self.measure?)
    }
}
