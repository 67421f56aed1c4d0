//! From one sequence to another: a recurrent encoder, a recurrent decoder, and attention between them.
//!
//! Source: Sutskever, Vinyals & Le 2014, arXiv:1409.3215; Cho et al. 2014, arXiv:1406.1078; Bahdanau, Cho & Bengio 2015,
//! arXiv:1409.0473; Luong, Pham & Manning 2015, arXiv:1508.04025, without input feeding.
//! Differs: the output after Bahdanau's attention is Luong's, `tanh(W [context; state])`, and has no maxout.

mod attend;
mod generate;

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::Activation;
use nn_core::{Ctx, Layer, Mode, Through, ensure, ops};
use nn_layers::{Bias, Dropout, Embedding, Linear};

use self::attend::Attend;
use crate::input::{Input, Reader, SequenceConfig};
use crate::unit::Unit;
use crate::{AnyState, AnyUnit, Directions, Recurrent, RecurrentConfig, State};

pub use attend::Score;
pub use generate::Decoding;

/// Options of [`Seq2Seq`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seq2SeqConfig {
    /// How many tokens the source language has, and the target language.
    pub vocabularies: [usize; 2],
    /// Numbers that a token is turned into.
    pub width: usize,
    /// Units of a layer and direction.
    pub hidden: usize,
    /// Kind of unit.
    pub unit: AnyUnit,
    /// Layers of the encoder, and of the decoder.
    pub layers: usize,
    /// Of the encoder; the decoder goes forward.
    pub directions: Directions,
    /// Probability in [0, 1] of dropping a number of an embedding, between layers, and before the scores, in training.
    pub dropout: f64,
    /// How well a state of the decoder goes with an output of the encoder.
    pub score: Score,
}

/// source tokens → encoder → states and outputs → decoder, which sees them → logits of target tokens.
///
/// Parameters: `encoder.*` with `embedding.weight` and `rnn.*`; `bridge.h.{layer}.*`, and of an LSTM `bridge.c.{layer}.*`, which
/// make the decoder's first states of both directions' last ones; `embedding.weight` and `rnn.*` of the decoder;
/// `attention.*`; `combine.*`, which joins context and state; `output.*`.
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, ParamStore};
/// use nn_sequence::decode::{Limits, greedy};
/// use nn_sequence::{AnyUnit, Directions, Gated, Score, Seq2Seq, Seq2SeqConfig};
///
/// # fn main() -> Result<()> {
/// let cfg = Seq2SeqConfig {
///     vocabularies: [20, 30],
///     width: 8,
///     hidden: 16,
///     unit: AnyUnit::Gru(Gated),
///     layers: 1,
///     directions: Directions::Both,
///     dropout: 0.2,
///     score: Score::Additive,
/// };
/// let store = ParamStore::new(0);
/// let model = Seq2Seq::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
/// let source = Tensor::new(&[[5u32, 19, 4], [7, 0, 0]], &Device::Cpu)?;
/// // In training, the target goes in; 1 begins a sentence here, and 2 ends it.
/// let target = Tensor::new(&[[1u32, 29], [1, 8]], &Device::Cpu)?;
/// let logits = model.logits(&source, &[3, 1], &target, 1.0, &Ctx::train(0))?;
/// assert_eq!(logits.dims(), [2, 2, 30]);
/// // In use, it comes out.
/// let state = model.start(&source, &[3, 1], &Ctx::eval())?;
/// let given = Tensor::new(&[[1u32], [1]], &Device::Cpu)?;
/// let sentences = greedy(&model, state, &given, Limits { end: Some(2), longest: 10 })?;
/// assert_eq!(sentences.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Seq2Seq {
    encoder: Reader,
    bridge: Bridge,
    embedding: Embedding,
    rnn: Recurrent<AnyUnit>,
    attend: Attend,
    combine: Linear,
    output: Linear,
    dropout: Dropout,
    score: Score,
}

impl Seq2Seq {
    /// # Errors
    /// If [`Score::Dot`] is asked for and the encoder's outputs are not as wide as the decoder's states, or those of
    /// [`Recurrent::new`].
    pub fn new(cfg: &Seq2SeqConfig, vb: VarBuilder) -> Result<Self> {
        let &Seq2SeqConfig { vocabularies, width, hidden, unit, layers, directions, dropout, score } = cfg;
        let recurrent = RecurrentConfig { unit, layers, directions, dropout, ..RecurrentConfig::default() };
        let input = Input::Tokens { vocabulary: vocabularies[0], width, padding: None };
        let encoder = SequenceConfig { input, hidden, recurrent, dropout };
        let encoder = Reader::new(&encoder, &vb.pp("encoder"))?;
        let seen = encoder.rnn().width();
        let outputs = unit.projection(hidden).map_or(hidden, |p| p.outputs);
        let fed = if score == Score::Additive { width + seen } else { width };
        let forward = RecurrentConfig { directions: Directions::Forward, ..recurrent };
        Ok(Self {
            bridge: Bridge::new(cfg, [outputs, hidden], &vb)?,
            embedding: Embedding::new(vocabularies[1], width, None, vb.pp("embedding"))?,
            rnn: Recurrent::new(fed, hidden, forward, vb.pp("rnn"))?,
            attend: Attend::new(score, [outputs, seen], hidden, vb.pp("attention"))?,
            combine: Linear::new(seen + outputs, hidden, Bias::Learned, vb.pp("combine"))?,
            output: Linear::new(hidden, vocabularies[1], Bias::Learned, vb.pp("output"))?,
            dropout: Dropout::new(dropout)?,
            encoder,
            score,
        })
    }

    /// Source tokens `[B, S]` of which each sentence has so many, and target tokens `[B, T]` → logits `[B, T, V]` of the
    /// target token after each.
    ///
    /// In training, a target token goes in with the probability `teacher`, and otherwise the likeliest of the logits before
    /// it; in evaluation target tokens go in.
    ///
    /// # Errors
    /// If a token is outside its vocabulary (the message names it and its place), there is not one length a sentence, one is
    /// not in `1..=S`, there are no target tokens, or `teacher` is no probability.
    pub fn logits(
        &self,
        source: &Tensor,
        lengths: &[usize],
        target: &Tensor,
        teacher: f64,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        ensure!((0.0..=1.0).contains(&teacher), "Seq2Seq: teacher must be in [0, 1], got {teacher}");
        ensure!(
            target.rank() == 2 && target.dims()[1] > 0,
            "Seq2Seq: target tokens must be [B, T] with at least one step, got {:?}",
            target.dims()
        );
        let mut decoding = self.start(source, lengths, ctx)?;
        if ctx.mode() == Mode::Eval || teacher == 1.0 {
            let (states, contexts) = self.all_steps(target, &mut decoding, ctx)?;
            return self.read(&states, &contexts, ctx);
        }
        let mut draws = ctx.at("teacher").random().draws();
        let mut all: Vec<Tensor> = Vec::with_capacity(target.dims()[1]);
        for t in 0..target.dims()[1] {
            let tokens = match all.last() {
                Some(last) if draws.unit() >= teacher => last.detach().argmax(D::Minus1)?,
                _ => target.narrow(1, t, 1)?,
            };
            let ctx = ctx.at("steps");
            let name = t.to_string();
            let ctx = ctx.at(&name);
            let (state, context) = self.all_steps(&tokens, &mut decoding, &ctx)?;
            all.push(self.read(&state, &context, &ctx)?);
        }
        ops::concat(&all.iter().collect::<Vec<_>>(), 1)
    }

    /// How much each target token `[B, T]` looks at each source token: `[B, T, S]`, rows of which sum up to 1. To look at;
    /// it has no gradient.
    ///
    /// # Errors
    /// Those of [`Seq2Seq::logits`].
    pub fn attention(
        &self,
        source: &Tensor,
        lengths: &[usize],
        target: &Tensor,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let ctx = ctx.evaluating();
        let mut decoding = self.start(source, lengths, &ctx)?;
        let mut all = Vec::with_capacity(target.dims().last().copied().unwrap_or(0));
        for t in 0..target.dim(1)? {
            let before = self.query(&decoding)?;
            self.all_steps(&target.narrow(1, t, 1)?, &mut decoding, &ctx)?;
            let query = if self.score == Score::Additive { before } else { self.query(&decoding)? };
            all.push(self.attend.weights(&query, &decoding.memory)?);
        }
        Ok(Tensor::cat(&all, 1)?.detach())
    }

    /// What a decoder that has seen no target tokens knows of source tokens `[B, S]`, of which each sentence has so many.
    ///
    /// # Errors
    /// If a token is outside its vocabulary, there is not one length a sentence, or one is not in `1..=S`.
    pub fn start(&self, source: &Tensor, lengths: &[usize], ctx: &Ctx) -> Result<Decoding> {
        let (outputs, states) = self.encoder.run(source, None, Some(lengths), &ctx.at("encoder"))?;
        let memory = self.attend.memory(&outputs, lengths)?;
        Ok(Decoding { memory, states: self.bridge.cross(states, ctx)? })
    }

    /// The decoder's last layer's state, `[B, 1, P]`.
    fn query(&self, decoding: &Decoding) -> Result<Tensor> {
        let Some(state) = decoding.states.last() else { unreachable!("there is a layer") };
        let (batch, width) = state.output().dims2()?;
        ops::reshape(state.output(), (batch, 1, width))
    }

    /// States `[B, T, P]` and contexts `[B, T, E]` of tokens `[B, T]`.
    fn all_steps(&self, tokens: &Tensor, decoding: &mut Decoding, ctx: &Ctx) -> Result<(Tensor, Tensor)> {
        let x = tokens.through("embedding", &self.embedding, ctx)?; // [B, T, D]
        let x = x.through("embedding_dropout", &self.dropout, ctx)?;
        if self.score != Score::Additive {
            let y = self.go_on("rnn", &x, decoding, ctx)?;
            let contexts = self.attend.context(&y, &decoding.memory)?;
            return Ok((y, contexts));
        }
        let (mut outputs, mut contexts) = (Vec::new(), Vec::new());
        for t in 0..x.dim(1)? {
            let context = self.attend.context(&self.query(decoding)?, &decoding.memory)?; // [B, 1, E]
            let x = ops::concat(&[&ops::narrow(&x, 1, t, 1)?, &context], 2)?;
            let name = format!("rnn.{t}");
            outputs.push(self.go_on(&name, &x, decoding, ctx)?);
            contexts.push(context);
        }
        let joined = |parts: &[Tensor]| ops::concat(&parts.iter().collect::<Vec<_>>(), 1);
        Ok((joined(&outputs)?, joined(&contexts)?))
    }

    /// The recurrent layers' outputs, their states kept.
    fn go_on(&self, name: &str, x: &Tensor, decoding: &mut Decoding, ctx: &Ctx) -> Result<Tensor> {
        let ctx = ctx.at(name);
        let (y, states) = self.rnn.run(x, Some(&decoding.states), None, &ctx)?;
        ctx.report(&self.rnn, x, &y);
        decoding.states = states;
        Ok(y)
    }

    /// Logits `[B, T, V]`.
    fn read(&self, states: &Tensor, contexts: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let x = ops::concat(&[contexts, states], 2)?;
        let x = x.through("combine", &self.combine, ctx)?.through("tanh", &Activation::Tanh, ctx)?;
        x.through("dropout", &self.dropout, ctx)?.through("output", &self.output, ctx)
    }
}

/// From the encoder's last states to the decoder's first ones: `tanh(W [forward; reverse])`, or as they are if there is one
/// direction.
#[derive(Clone, Debug)]
struct Bridge {
    /// Of each layer `h`, and `c` of an LSTM; none if there is one direction.
    layers: Vec<[Option<Linear>; 2]>,
}

impl Bridge {
    /// For states `h` and `c` of so many numbers.
    fn new(cfg: &Seq2SeqConfig, widths: [usize; 2], vb: &VarBuilder) -> Result<Self> {
        let parts = match (cfg.directions, cfg.unit) {
            (Directions::Forward, _) => return Ok(Self { layers: Vec::new() }),
            (Directions::Both, AnyUnit::Lstm(_)) => 2,
            (Directions::Both, _) => 1,
        };
        let linear = |layer: usize, part: usize| {
            let (name, width) = (["h", "c"][part], widths[part]);
            let vb = vb.pp("bridge").pp(name).pp(layer);
            (part < parts).then(|| Linear::new(2 * width, width, Bias::Learned, vb)).transpose()
        };
        let layers = (0..cfg.layers).map(|layer| Ok([linear(layer, 0)?, linear(layer, 1)?]));
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }

    fn cross(&self, states: Vec<AnyState>, ctx: &Ctx) -> Result<Vec<AnyState>> {
        if self.layers.is_empty() {
            return Ok(states);
        }
        let joined = |linear: &Option<Linear>, a: &Tensor, b: &Tensor| {
            let Some(linear) = linear else { unreachable!("an LSTM has both") };
            ops::tanh(&linear.call(&ops::concat(&[a, b], 1)?, ctx)?)
        };
        let both = self.layers.iter().zip(states.chunks_exact(2));
        both.map(|([h, c], pair)| match pair {
            [AnyState::Lstm(a), AnyState::Lstm(b)] => {
                let (h, c) = (joined(h, &a.h, &b.h)?, joined(c, &a.c, &b.c)?);
                Ok(AnyState::Lstm(ops::LstmState { h, c }))
            }
            [a, b] => Ok(AnyState::Output(joined(h, a.output(), b.output())?)),
            _ => unreachable!("pairs"),
        })
        .collect()
    }
}
