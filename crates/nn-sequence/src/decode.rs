//! Texts from a model that scores what comes next: the likeliest token each time, a search for the likeliest text, or draws.
//!
//! Everything is batched, and the same seed gives the same text.

mod beam;
mod choose;
pub(crate) mod model;

use candle_core::{DType, Result, Tensor};
use nn_core::{Ctx, Random, ensure};

pub use beam::{Beam, Hypothesis, beam};
pub use choose::Sampling;
pub use model::Generator;

/// When a text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The token that ends a text; it is not part of it. Without one all texts have `longest` tokens.
    pub end: Option<u32>,
    /// Tokens of a text at most, those given not counted.
    pub longest: usize,
}

/// The likeliest token each time: for each row of `given [B, T]`, which `state` has not seen, the tokens that follow.
///
/// # Errors
/// If there is nothing given, or the model refuses a token.
pub fn greedy<G: Generator>(
    model: &G,
    state: G::State,
    given: &Tensor,
    limits: Limits,
) -> Result<Vec<Vec<u32>>> {
    generate(model, state, given, limits, |scores, _| choose::likeliest(scores))
}

/// Tokens drawn by their probabilities: for each row of `given [B, T]`, which `state` has not seen, those that follow.
///
/// A draw depends on the seed, the row and the number of tokens before it.
///
/// # Errors
/// If an option is out of its range, there is nothing given, or the model refuses a token.
pub fn sample<G: Generator>(
    model: &G,
    state: G::State,
    given: &Tensor,
    limits: Limits,
    sampling: Sampling,
) -> Result<Vec<Vec<u32>>> {
    sampling.check()?;
    let random = Random::new(sampling.seed).at("sample");
    generate(model, state, given, limits, |scores, [row, step]| {
        sampling.draw(scores, random.nth(row as u64).nth(step as u64))
    })
}

/// One token after the other, as `choose` picks it from the scores of row and step.
fn generate<G: Generator>(
    model: &G,
    mut state: G::State,
    given: &Tensor,
    limits: Limits,
    choose: impl Fn(&[f32], [usize; 2]) -> u32,
) -> Result<Vec<Vec<u32>>> {
    let batch = check_given(given)?;
    let mut texts = vec![Vec::new(); batch];
    let mut ended = vec![false; batch];
    let mut next = given.clone();
    for step in 0..limits.longest {
        let scores = scores(model.next(&next, &mut state, &Ctx::eval())?)?;
        let tokens: Vec<u32> = scores.iter().enumerate().map(|(row, s)| choose(s, [row, step])).collect();
        for ((text, ended), &token) in texts.iter_mut().zip(&mut ended).zip(&tokens) {
            *ended |= limits.end == Some(token);
            if !*ended {
                text.push(token);
            }
        }
        if ended.iter().all(|&ended| ended) {
            break;
        }
        next = Tensor::from_vec(tokens, (batch, 1), given.device())?;
    }
    Ok(texts)
}

/// The rows of `given`, of which there must be tokens.
fn check_given(given: &Tensor) -> Result<usize> {
    ensure!(
        given.rank() == 2 && given.dims()[1] > 0,
        "decode: the tokens given must be [B, T] with at least one in each row, got {:?}",
        given.dims()
    );
    Ok(given.dims()[0])
}

/// Scores `[B, V]` in rows.
fn scores(scores: Tensor) -> Result<Vec<Vec<f32>>> {
    scores.to_dtype(DType::F32)?.to_vec2::<f32>()
}
