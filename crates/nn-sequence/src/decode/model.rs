//! What decoding asks of a model.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, ops};

use crate::{AnyState, LanguageModel, Past, State, TransformerLanguageModel};

/// A model that goes on from tokens.
pub trait Generator {
    /// What it remembers of the tokens so far, of every text of a batch.
    type State;

    /// Tokens `[B, T]` that follow those `state` has seen → scores `[B, V]` of the one after the last, as logits; `state` has
    /// seen them after it.
    ///
    /// # Errors
    /// If a token is outside the vocabulary, or a text becomes too long for the model.
    fn next(&self, tokens: &Tensor, state: &mut Self::State, ctx: &Ctx) -> Result<Tensor>;

    /// The state of these rows of the batch, in their order, some of them perhaps several times.
    ///
    /// # Errors
    /// If there is no such row.
    fn rows(&self, state: &Self::State, rows: &[u32]) -> Result<Self::State>;
}

/// Rows of a tensor whose first axis is the batch.
pub(crate) fn rows_of(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    x.contiguous()?.index_select(&Tensor::new(rows, x.device())?, 0)
}

/// The scores after the last of `[B, T, V]`.
fn last(logits: &Tensor) -> Result<Tensor> {
    ops::select(logits, 1, logits.dim(1)? - 1)
}

impl Generator for LanguageModel {
    /// `None` at the beginning.
    type State = Option<Vec<AnyState>>;

    fn next(&self, tokens: &Tensor, state: &mut Self::State, ctx: &Ctx) -> Result<Tensor> {
        let (logits, states) = self.run(tokens, state.as_deref(), ctx)?;
        *state = Some(states);
        last(&logits)
    }

    fn rows(&self, state: &Self::State, rows: &[u32]) -> Result<Self::State> {
        let Some(states) = state else { return Ok(None) };
        states.iter().map(|state| state.map(|x| rows_of(x, rows))).collect::<Result<_>>().map(Some)
    }
}

impl Generator for TransformerLanguageModel {
    type State = Past;

    fn next(&self, tokens: &Tensor, state: &mut Past, ctx: &Ctx) -> Result<Tensor> {
        last(&self.continue_after(tokens, state, ctx)?)
    }

    fn rows(&self, state: &Past, rows: &[u32]) -> Result<Past> {
        state.map(|x| rows_of(x, rows))
    }
}
