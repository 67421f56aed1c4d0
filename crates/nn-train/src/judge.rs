//! When a model is evaluated, what that changes, and when it was the last time.

use crate::anomaly::Anomaly;
use crate::error::TrainError;
use crate::event::{Epoch, Evaluated, Event};
use crate::metrics::{Confusion, Evaluation, Figures, Metrics};
use crate::run::{EMA, MODEL};
use crate::summary::{Ended, Score};
use crate::trainer::Trainer;

/// An evaluation of the weights and, if there is one, of their running mean.
pub(crate) struct Findings {
    pub(crate) weights: Evaluation,
    pub(crate) ema: Option<Evaluation>,
}

impl Trainer {
    /// Why the run is over; `None` while there is something left to do.
    pub fn ended(&self) -> Option<Ended> {
        let (state, config) = (&self.state, &self.config);
        if state.epoch >= config.epochs {
            return Some(Ended::Finished);
        }
        if config.stop.patience.is_some_and(|patience| state.stale >= patience) {
            return Some(Ended::Patience);
        }
        self.limit().filter(|_| state.evaluated == state.step)
    }

    /// The limit that is reached; the model is evaluated once more then.
    fn limit(&self) -> Option<Ended> {
        let (state, stop) = (&self.state, &self.config.stop);
        let steps = stop.steps.is_some_and(|steps| state.step >= steps).then_some(Ended::Steps);
        let seconds = stop.seconds.is_some_and(|seconds| state.seconds >= seconds);
        steps.or(seconds.then_some(Ended::Seconds))
    }

    /// Whether the model is to be evaluated before the next step.
    pub(crate) fn evaluation_is_due(&self) -> bool {
        let state = &self.state;
        let between = self.config.evaluate_every.is_some_and(|n| state.step.is_multiple_of(n));
        state.evaluated != state.step && (self.epoch_is_over() || between || self.limit().is_some())
    }

    fn epoch_is_over(&self) -> bool {
        self.state.batch == self.state.batches_per_epoch
    }

    /// Draws the conclusions from an evaluation: keeps what is the best so far, counts what is not, and moves on to the
    /// next epoch if this one is over.
    pub(crate) fn judge(&mut self, found: &Findings) -> Result<Event, TrainError> {
        let eval = found.weights.figures();
        let ema = found.ema.as_ref().map(Evaluation::figures);
        if let Some(loss) =
            [Some(eval.loss), ema.map(|e| e.loss)].into_iter().flatten().find(|l| !l.is_finite())
        {
            let anomaly = Anomaly::parameter(&self.store)?;
            return Err(self.diverged(loss, anomaly));
        }
        let train = self.state.train.figures();
        let state = &mut self.state;
        let score = |eval| Score { epoch: state.epoch + 1, step: state.step, train, eval };
        let (weights, mean) = (score(eval), ema.map(score));
        let best = surpasses(&weights, &mut state.best);
        let best_ema = mean.is_some_and(|mean| surpasses(&mean, &mut state.best_ema));
        let min_delta = self.config.stop.min_delta;
        let improved = [Some(eval), ema]
            .into_iter()
            .zip(&mut state.marks)
            .map(|(figures, mark)| figures.is_some_and(|figures| improves(figures, mark, min_delta)));
        // Each mark has to be looked at.
        let improved = improved.fold(false, |any, one| any | one);
        state.stale = if improved { 0 } else { state.stale + 1 };
        state.evaluated = state.step;
        state.last = Some(weights);
        let length = self.length();
        self.config.schedule.watch(&mut self.state.watched, &eval, self.state.step, length);
        self.keep(best.then_some(weights), mean.filter(|_| best_ema))?;
        let event = self.evaluated(weights, ema, best, found.weights.confusion().filter(|_| best));
        self.log(&event)?;
        Ok(event)
    }

    /// Writes the weights, or their running mean, if they are the best.
    fn keep(&self, weights: Option<Score>, mean: Option<Score>) -> Result<(), TrainError> {
        let Some(run) = &self.run else { return Ok(()) };
        if let Some(found) = weights {
            run.write_weights(MODEL, &self.store.tensors(), &found)?;
        }
        if let Some((means, found)) = self.ema.as_ref().zip(mean) {
            let mut tensors = self.store.tensors();
            tensors.extend(means.means());
            run.write_weights(EMA, &tensors, &found)?;
        }
        Ok(())
    }

    /// What happened, after which the state is that of the next epoch, or further on in this.
    fn evaluated(
        &mut self,
        score: Score,
        ema: Option<Figures>,
        best: bool,
        confusion: Option<&Confusion>,
    ) -> Event {
        let over = self.epoch_is_over();
        let state = &mut self.state;
        let Score { epoch, step, train, eval } = score;
        if !over {
            return Event::Evaluated(Evaluated {
                epoch,
                step,
                batch: state.batch,
                eval,
                ema,
                best,
                seconds: state.seconds,
            });
        }
        state.epoch += 1;
        state.batch = 0;
        state.train = Metrics::default();
        Event::Epoch(Epoch {
            epoch,
            step,
            lr: state.lr,
            train,
            eval,
            ema,
            best,
            seconds: state.seconds,
            examples_per_second: state.examples as f64 / state.train_seconds.max(1e-9),
            confusion: confusion.cloned(),
        })
    }
}

/// Whether the score is the best so far, which it then is.
fn surpasses(score: &Score, best: &mut Option<Score>) -> bool {
    let better = best.is_none_or(|best| score.eval.better_than(&best.eval));
    if better {
        *best = Some(*score);
    }
    better
}

/// Whether the figures are better than the last that were an improvement, by `min_delta` at least.
fn improves(figures: Figures, mark: &mut Option<Figures>, min_delta: f64) -> bool {
    let gain = mark.map_or(f64::INFINITY, |mark| figures.gain_over(&mark));
    let improved = gain > 0.0 && gain >= min_delta;
    if improved {
        *mark = Some(figures);
    }
    improved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_gains_add_up_until_they_are_an_improvement() {
        let mut mark = None;
        let improved =
            [1.0, 0.95, 0.9, 0.85, 0.8, 0.8].map(|loss| improves(Figures::new(loss), &mut mark, 0.09));
        assert_eq!(improved, [true, false, true, false, true, false]);
        let mut mark = None;
        let improved = [1.0, 1.0, 0.999, 2.0].map(|loss| improves(Figures::new(loss), &mut mark, 0.0));
        assert_eq!(improved, [true, false, true, false]);
    }
}
