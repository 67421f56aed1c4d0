//! What a person reads when something goes wrong: one line, its causes, what to do. Never a backtrace.

use std::error::Error;
use std::fmt;

use anyhow::anyhow;
use nn_core::weights::LoadReport;
use nn_train::TrainError;

/// An error with a message of its own and no cause.
pub(crate) fn failed(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> anyhow::Error {
    anyhow!(message)
}

/// Adds what to do about an error.
pub(crate) trait Advise<T> {
    /// Shown last, after `help:`.
    fn advise(self, advice: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn advise(self, advice: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|e| Advised { error: e.into(), advice: advice.into() }.into())
    }
}

/// An error and what to do about it.
#[derive(Debug)]
struct Advised {
    error: anyhow::Error,
    advice: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.error.as_ref())
    }
}

/// The lines for standard error: `error: …`, causes indented, `help: …`.
pub(crate) fn report(error: &anyhow::Error) -> String {
    let mut story = Story::default();
    story.tell(error.as_ref());
    let mut causes = story.causes.into_iter();
    let mut text = format!("error: {}\n", causes.next().unwrap_or_default());
    causes.for_each(|cause| text += &format!("  {}\n", cause.replace('\n', "\n  ")));
    story.advice.iter().for_each(|advice| text += &format!("help: {advice}\n"));
    text
}

#[derive(Default)]
struct Story {
    causes: Vec<String>,
    advice: Vec<String>,
}

impl Story {
    fn tell(&mut self, error: &(dyn Error + 'static)) {
        if let Some(Advised { error, advice }) = error.downcast_ref() {
            self.tell(error.as_ref());
            self.advice.push(advice.clone());
        } else if let Some(error) = error.downcast_ref() {
            self.tell_candle(error);
        } else if let Some(TrainError::Candle(error)) = error.downcast_ref() {
            self.tell_candle(error);
        } else {
            self.add(&error.to_string());
            error.source().into_iter().for_each(|source| self.tell(source));
        }
    }

    /// Candle nests contexts and backtraces in one error, and shows them all at once.
    fn tell_candle(&mut self, error: &candle_core::Error) {
        use candle_core::Error as E;
        match error {
            E::WithBacktrace { inner, .. } => self.tell_candle(inner),
            E::Context { inner, context } => {
                self.add(&context.to_string());
                self.tell_candle(inner);
            }
            E::WithPath { inner, path } => {
                self.add(&path.display().to_string());
                self.tell_candle(inner);
            }
            E::WrappedContext { wrapped, context } => {
                self.add(context);
                self.tell(wrapped.as_ref());
            }
            other => self.add(&other.to_string()),
        }
    }

    /// Adds a cause, unless it repeats the one before, which happens where a message already quotes its source.
    fn add(&mut self, message: &str) {
        let message = without_backtrace(message);
        if !message.is_empty() && !self.causes.last().is_some_and(|last| last.contains(message)) {
            self.causes.push(message.to_owned());
        }
    }
}

/// The text before the first frame of a backtrace, which errors turned to strings on their way may carry.
pub(crate) fn without_backtrace(text: &str) -> &str {
    let frame = |line: &str| line.starts_with(' ') && line.trim_start().starts_with("0: ");
    let end = text.split_inclusive('\n').take_while(|line| !frame(line)).map(str::len).sum();
    text[..end].trim_end()
}

/// Names that are listed of each kind: another model's weights would fill the screen.
const LISTED: usize = 12;

/// What does not fit between weights and a model, a line each, for a person who must find out why.
pub(crate) fn mismatch_lines(report: &LoadReport) -> Vec<String> {
    let mut lines = vec![format!("matched     {}", report.matched.len())];
    let mut list = |what: &str, all: Vec<String>| {
        lines.extend(all.iter().take(LISTED).map(|it| format!("{what:<12}{it}")));
        let more = all.len().saturating_sub(LISTED);
        lines.extend((more > 0).then(|| format!("{what:<12}… and {more} more")));
    };
    list("missing", report.missing.clone());
    list("unexpected", report.unexpected.clone());
    let shapes = |m: &nn_core::weights::Mismatch| {
        format!("{}: {:?} in the model, {:?} in the file", m.name, m.model, m.file)
    };
    list("mismatched", report.mismatched.iter().map(shapes).collect());
    lines
}

/// The candidate closest to `name`, if it is close enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace(['_', '-', ' '], "");
    let wanted = plain(name);
    let score = |candidate: &str| {
        let candidate = plain(candidate);
        let prefix = !wanted.is_empty() && candidate.starts_with(&wanted);
        // Of several that begin so, the shortest.
        if prefix {
            1.0 - candidate.len() as f64 / 1000.0
        } else {
            strsim::normalized_damerau_levenshtein(&wanted, &candidate)
        }
    };
    let scored = candidates.into_iter().map(|candidate| (score(candidate), candidate));
    scored.filter(|(score, _)| *score >= 0.5).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The error for a name that is none of `known`: it names the nearest, or all.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let error = Err::<(), _>(failed(format!("there is no {what} `{name}`")));
    let all = known.join(", ");
    let advised = match nearest(name, known.iter().copied()) {
        Some(near) => error.advise(format!("did you mean `{near}`? There are {all}")),
        None => error.advise(format!("there are {all}")),
    };
    match advised {
        Ok(()) => unreachable!("an error stays one when it is advised"),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_story_is_one_line_causes_and_help() {
        let io = std::io::Error::other("disk on fire");
        let error = Err::<(), _>(io).context("cannot save").context("cannot train").advise("buy water");
        let error = error.expect_err("an error");
        assert_eq!(report(&error), "error: cannot train\n  cannot save\n  disk on fire\nhelp: buy water\n");
    }

    #[test]
    fn candle_errors_come_apart_and_lose_their_backtraces() {
        let inner = candle_core::Error::Msg("conv1: shapes differ".to_owned());
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let traced = candle_core::Error::WithBacktrace { inner: Box::new(inner), backtrace };
        let error = anyhow::Error::new(traced.context("w.safetensors does not fit")).context("cannot load");
        let text = "error: cannot load\n  w.safetensors does not fit\n  conv1: shapes differ\n";
        assert_eq!(report(&error), text);
        let printed = failed("bad\n   0: std::backtrace\n             at /rustc/x.rs:1:2\n");
        assert_eq!(report(&printed), "error: bad\n");
    }

    #[test]
    fn a_cause_the_message_quotes_is_not_repeated() {
        let error = failed("no such file").context("a.txt: no such file");
        assert_eq!(report(&error), "error: a.txt: no such file\n");
    }

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let names = ["lenet5", "lenet5-relu", "cnn", "mlp"];
        assert_eq!(nearest("lenet", names), Some("lenet5"));
        assert_eq!(nearest("LeNet_5", names), Some("lenet5"));
        assert_eq!(nearest("cmn", names), Some("cnn"));
        assert_eq!(nearest("transformer", names), None);
        let error = report(&unknown("recipe", "lenet-5-rleu", &names));
        assert!(error.contains("did you mean `lenet5-relu`?"), "{error}");
    }
}
