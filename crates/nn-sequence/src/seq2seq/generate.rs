//! Target tokens one after the other.

use candle_core::{Result, Tensor};
use nn_core::{Ctx, ops};

use super::Seq2Seq;
use super::attend::Memory;
use crate::decode::Generator;
use crate::decode::model::rows_of;
use crate::{AnyState, State};

/// Where a decoder stands in its sentences: what the encoder offers, and the states.
#[derive(Clone, Debug)]
pub struct Decoding {
    pub(super) memory: Memory,
    pub(super) states: Vec<AnyState>,
}

impl Generator for Seq2Seq {
    /// From [`Seq2Seq::start`].
    type State = Decoding;

    fn next(&self, tokens: &Tensor, state: &mut Decoding, ctx: &Ctx) -> Result<Tensor> {
        let (states, contexts) = self.all_steps(tokens, state, ctx)?;
        let last = states.dim(1)? - 1;
        let [states, contexts] = [states, contexts].map(|x| ops::narrow(&x, 1, last, 1));
        ops::select(&self.read(&states?, &contexts?, ctx)?, 1, 0)
    }

    fn rows(&self, state: &Decoding, rows: &[u32]) -> Result<Decoding> {
        let states = state.states.iter().map(|state| state.map(|x| rows_of(x, rows)));
        Ok(Decoding { memory: state.memory.rows(rows)?, states: states.collect::<Result<_>>()? })
    }
}
