//! Beam search: several texts are followed at once, and the likeliest of them kept.
//!
//! Source: Graves 2012, "Sequence transduction with recurrent neural networks", arXiv:1211.3711, algorithm 1, without its
//! alignments; Wu et al. 2016, arXiv:1609.08144, §7, for scores of texts of different lengths.
//! Differs: a text's score is divided by its length to the power of the penalty, as in fairseq and transformers.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, ensure, ops};

use super::model::Generator;
use super::{Limits, check_given, scores};

/// Options of [`beam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// Texts that are followed at once.
    pub width: usize,
    /// To which power the length is that a score is divided by: 0 for the likeliest text, above 0 favours long ones.
    pub length_penalty: f64,
    /// How many texts to return, at most `width`.
    pub best: usize,
}

impl Default for Beam {
    fn default() -> Self {
        Self { width: 4, length_penalty: 1.0, best: 1 }
    }
}

/// A text that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Without the token that ends it.
    pub tokens: Vec<u32>,
    /// `ln p / length^penalty`, where both count the token that ends it.
    pub score: f64,
}

/// The likeliest texts that are found after each row of `given [B, T]`, which `state` has not seen; the best one first.
///
/// A search is over when none of the texts it follows can become better than the worst of the `width` it has found.
///
/// # Errors
/// If the options are out of their ranges, there is nothing given, or the model refuses a token.
pub fn beam<G: Generator>(
    model: &G,
    state: G::State,
    given: &Tensor,
    limits: Limits,
    options: Beam,
) -> Result<Vec<Vec<Hypothesis>>> {
    let Beam { width, length_penalty, best } = options;
    ensure!(
        (1..=width).contains(&best),
        "beam: from 1 to as many texts as are followed can be returned, got {best} of {width}"
    );
    ensure!(length_penalty >= 0.0, "beam: the length penalty must be at least 0, got {length_penalty}");
    let batch = check_given(given)?;
    let mut searches: Vec<Search> = (0..batch).map(|_| Search::new(limits, options)).collect();
    let mut state = state;
    let mut next = given.clone();
    // Of each row that the model sees, whose search it belongs to.
    let mut owners: Vec<usize> = (0..batch).collect();
    for step in 1..=limits.longest {
        let logits = model.next(&next, &mut state, &Ctx::eval())?;
        let log_p = scores(ops::log_softmax(&logits, 1)?)?;
        let (mut rows, mut tokens, mut next_owners) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (b, search) in searches.iter_mut().enumerate() {
            let own = owners[first..].iter().take_while(|&&owner| owner == b).count();
            for (parent, token) in search.step(&log_p[first..first + own], step) {
                rows.push((first + parent) as u32);
                tokens.push(token);
                next_owners.push(b);
            }
            first += own;
        }
        if rows.is_empty() {
            break;
        }
        state = model.rows(&state, &rows)?;
        next = Tensor::from_vec(tokens, (rows.len(), 1), given.device())?;
        owners = next_owners;
    }
    Ok(searches.into_iter().map(|search| search.found.into_iter().take(best).collect()).collect())
}

/// One row's search.
struct Search {
    limits: Limits,
    options: Beam,
    /// Tokens and `ln p` of the texts that are followed.
    open: Vec<(Vec<u32>, f64)>,
    /// The best texts that ended, the best one first, `width` at most.
    found: Vec<Hypothesis>,
}

impl Search {
    fn new(limits: Limits, options: Beam) -> Self {
        Self { limits, options, open: vec![(Vec::new(), 0.0)], found: Vec::new() }
    }

    /// Goes on from the `ln p` of all tokens after each open text; the new texts have `length` tokens. Of each that stays
    /// open: which it came from, and its last token.
    fn step(&mut self, log_p: &[Vec<f32>], length: usize) -> Vec<(usize, u32)> {
        let mut ways: Vec<(f64, usize, u32)> = Vec::new();
        for (parent, ((_, so_far), log_p)) in self.open.iter().zip(log_p).enumerate() {
            ways.extend((0..).zip(log_p).map(|(token, &log_p)| (so_far + f64::from(log_p), parent, token)));
        }
        // An end for each text that is followed, and still as many that go on.
        let kept = (2 * self.options.width).min(ways.len());
        let better = |a: &(f64, usize, u32), b: &(f64, usize, u32)| {
            b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2))
        };
        if kept < ways.len() {
            ways.select_nth_unstable_by(kept, better);
            ways.truncate(kept);
        }
        ways.sort_unstable_by(better);
        let mut open = Vec::with_capacity(self.options.width);
        let mut from = Vec::with_capacity(self.options.width);
        for (rank, (log_p, parent, token)) in ways.into_iter().enumerate() {
            let mut tokens = self.open[parent].0.clone();
            if self.limits.end == Some(token) {
                // An end beyond the width would not be followed if it were another token.
                if rank < self.options.width {
                    self.find(tokens, log_p, length);
                }
                continue;
            }
            tokens.push(token);
            if open.len() == self.options.width || log_p == f64::NEG_INFINITY {
                continue;
            }
            if length == self.limits.longest {
                self.find(tokens, log_p, length);
                continue;
            }
            open.push((tokens, log_p));
            from.push((parent, token));
        }
        self.open = open;
        if self.is_over() {
            self.open.clear();
            from.clear();
        }
        from
    }

    fn find(&mut self, tokens: Vec<u32>, log_p: f64, length: usize) {
        let score = self.score(log_p, length);
        let place = self.found.partition_point(|found| found.score >= score);
        self.found.insert(place, Hypothesis { tokens, score });
        self.found.truncate(self.options.width);
    }

    fn score(&self, log_p: f64, length: usize) -> f64 {
        log_p / (length as f64).powf(self.options.length_penalty)
    }

    /// Whether the best open text, if it became as long as it may for nothing, would still be no better than all found.
    fn is_over(&self) -> bool {
        let Some((_, log_p)) = self.open.first() else { return true };
        let worst = self.found.last().filter(|_| self.found.len() == self.options.width);
        worst.is_some_and(|worst| worst.score >= self.score(*log_p, self.limits.longest))
    }
}
