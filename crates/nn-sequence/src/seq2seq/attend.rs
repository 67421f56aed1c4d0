//! What of the encoder a decoder's state looks at.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use nn_core::ops::{Attention, additive_attention, additive_attention_weights, scaled_dot_product_attention};
use nn_core::{Ctx, Layer, ensure, ops};
use nn_layers::{Bias, Linear};

use crate::decode::model::rows_of;

/// How well a state `s` of the decoder goes with an output `h` of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// Bahdanau's: `w · tanh(W s + U h)` of the state before a step, which the context is an input of.
    #[default]
    Additive,
    /// Luong's `s · h` of the state after a step, for states and outputs of one width.
    Dot,
    /// Luong's `s · W h`, of the state after a step.
    General,
    /// Luong's `w · tanh(W s + U h)` of the state after a step.
    Concat,
}

/// Parameters: `query.weight [H, P]` and `key.weight [H, E]` and `score [H]` where a network scores, and `key.weight [P, E]` of
/// [`Score::General`]; without biases.
#[derive(Clone, Debug)]
pub(super) struct Attend {
    query: Option<Linear>,
    key: Option<Linear>,
    score: Option<Tensor>,
}

/// What the encoder offers.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// `[B, S, …]`, what states are compared with.
    keys: Tensor,
    /// `[B, S, E]`
    values: Tensor,
    lengths: Vec<usize>,
    /// `[B, S]` of `u8`.
    seen: Tensor,
}

impl Memory {
    /// Of these rows of the batch.
    pub(super) fn rows(&self, rows: &[u32]) -> Result<Self> {
        Ok(Self {
            keys: rows_of(&self.keys, rows)?,
            values: rows_of(&self.values, rows)?,
            lengths: rows.iter().map(|&row| self.lengths[row as usize]).collect(),
            seen: rows_of(&self.seen, rows)?,
        })
    }
}

impl Attend {
    /// For states and outputs of so many numbers, and a network of `hidden` units.
    pub(super) fn new(
        score: Score,
        [outputs, seen]: [usize; 2],
        hidden: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let linear = |name, c_in, c_out| Linear::new(c_in, c_out, Bias::None, vb.pp(name)).map(Some);
        match score {
            Score::Additive | Score::Concat => {
                let bound = (hidden as f64).powf(-0.5);
                let init = Init::Uniform { lo: -bound, up: bound };
                Ok(Self {
                    query: linear("query", outputs, hidden)?,
                    key: linear("key", seen, hidden)?,
                    score: Some(vb.get_with_hints(hidden, "score", init)?),
                })
            }
            Score::General => Ok(Self { query: None, key: linear("key", seen, outputs)?, score: None }),
            Score::Dot => {
                ensure!(
                    outputs == seen,
                    "Seq2Seq: the dot product needs states as wide as the encoder's outputs, got {outputs} and {seen}"
                );
                Ok(Self { query: None, key: None, score: None })
            }
        }
    }

    pub(super) fn memory(&self, outputs: &Tensor, lengths: &[usize]) -> Result<Memory> {
        let (batch, steps, _) = outputs.dims3()?;
        let keys = apply(self.key.as_ref(), outputs)?;
        let seen = lengths.iter().flat_map(|&length| (0..steps).map(move |s| u8::from(s < length)));
        let seen = Tensor::from_vec(seen.collect(), (batch, steps), outputs.device())?;
        Ok(Memory { keys, values: outputs.clone(), lengths: lengths.to_vec(), seen })
    }

    /// Of states `[B, T, P]`, a mean of the outputs each: `[B, T, E]`.
    pub(super) fn context(&self, states: &Tensor, memory: &Memory) -> Result<Tensor> {
        let q = apply(self.query.as_ref(), states)?;
        if let Some(w) = &self.score {
            return additive_attention(&q, &memory.keys, w, &memory.values, Some(&memory.lengths));
        }
        let one_head = |x: &Tensor| {
            let (batch, steps, width) = x.dims3()?;
            ops::reshape(x, (batch, 1, steps, width))
        };
        let attention = Attention { scale: Some(1.0), keys: Some(&memory.seen), ..Attention::default() };
        let (q, k, v) = (one_head(&q)?, one_head(&memory.keys)?, one_head(&memory.values)?);
        let y = scaled_dot_product_attention(&q, &k, &v, attention, &Ctx::eval())?; // [B, 1, T, E]
        let (batch, _, steps, width) = y.dims4()?;
        ops::reshape(&y, (batch, steps, width))
    }

    /// The weights of that mean, `[B, T, S]`.
    pub(super) fn weights(&self, states: &Tensor, memory: &Memory) -> Result<Tensor> {
        let q = apply(self.query.as_ref(), states)?;
        if let Some(w) = &self.score {
            return additive_attention_weights(&q, &memory.keys, w, Some(&memory.lengths));
        }
        let scores = q.contiguous()?.matmul(&memory.keys.transpose(1, 2)?.contiguous()?)?; // [B, T, S]
        // 0 for what is seen, −∞ for what is not.
        let unseen = memory.seen.to_dtype(DType::F64)?.log()?.to_dtype(scores.dtype())?.unsqueeze(1)?;
        ops::softmax(&scores.broadcast_add(&unseen)?, 2)
    }
}

fn apply(linear: Option<&Linear>, x: &Tensor) -> Result<Tensor> {
    linear.map_or_else(|| Ok(x.clone()), |linear| linear.call(x, &Ctx::eval()))
}
