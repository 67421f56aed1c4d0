//! What batches, epochs and evaluations came to.
//!
//! | module's | is |
//! | --- | --- |
//! | [`Outcome`] | what a forward pass made of a batch: a loss, decisions, [`Counts`] of what its task is judged by |
//! | [`Metrics`] | sums over batches |
//! | [`Evaluation`] | those of a data set, its [`Confusion`] of classes and its worst and best [`Verdict`]s |
//! | [`Figures`] | means: the loss and a number for each [`Measure`] there is |
//! | [`Bleu`], [`Edits`], [`Found`], [`Likelihood`], [`Ranking`], [`Share`], [`ValueErrors`] | counts, and the measures made of them |
//! | [`entities`], [`tokens_13a`] | entities in tags, words in a text |
//!
//! All of it is streamed: sums of parts add up to those of the whole. The numbers are those of scikit-learn, seqeval,
//! sacreBLEU and JiWER.

mod bleu;
mod confusion;
mod edits;
mod entities;
mod evaluation;
mod figures;
mod found;
mod outcome;
mod ranking;
mod tokens_13a;
mod totals;
mod values;

pub use bleu::{Bleu, Case};
pub use confusion::{Average, Confusion, PrecisionRecall};
pub use edits::Edits;
pub use entities::{Entity, entities, entities_found, found_by_kind};
pub use evaluation::{Evaluation, Verdict};
pub use figures::{Direction, Figures, Measure, Style};
pub use found::Found;
pub use outcome::Outcome;
pub use ranking::Ranking;
pub use tokens_13a::tokens_13a;
pub use totals::{Counts, Likelihood, Metrics, Share};
pub use values::ValueErrors;
