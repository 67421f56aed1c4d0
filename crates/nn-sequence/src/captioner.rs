//! A sentence about a picture: an LSTM that looks at places of a network's feature map, word by word.
//!
//! Source: Xu, Ba, Kiros, Cho, Courville, Salakhutdinov, Zemel & Bengio 2015, "Show, attend and tell", arXiv:1502.03044, §3.1
//! and §4.2; names follow the usual PyTorch implementation, `DecoderWithAttention`.
//! Differs: as there, the first states are linear in the mean feature, and a word is scored from the state alone; the bias of
//! `full_att`, which softmax cancels, is left out.

mod generate;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::ops::{LstmState, OverTime, Reduction, additive_attention, over_time};
use nn_core::{Ctx, Layer, Through, ensure, ops};
use nn_layers::{Bias, Dropout, Embedding, Linear};

use crate::{CellConfig, LstmCell};

pub use generate::Captioning;

/// What a context is multiplied by before the LSTM sees it: `β = σ(f_beta(h))`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// One number, as in the paper, §4.2.1.
    #[default]
    Scalar,
    /// One for each feature, as in the usual implementation.
    Features,
}

/// Options of [`ImageCaptioner`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageCaptionerConfig {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// Numbers that a token is turned into.
    pub width: usize,
    /// Numbers of a place of the picture: channels of the feature map.
    pub features: usize,
    /// Units of the LSTM.
    pub hidden: usize,
    /// Units of the network that says where to look.
    pub attention: usize,
    /// Of the context.
    pub gate: Gate,
    /// Probability in [0, 1] of dropping a number of a state before it is read, in training.
    pub dropout: f64,
}

/// A picture's features, and the tokens so far → logits of the next token.
///
/// ```text
/// α = softmax(full_att(tanh(encoder_att(a) + decoder_att(h))))    over places
/// h, c = decode_step([embedding(y), β · Σ α a], (h, c))            from init_h and init_c of the mean of a
/// ```
///
/// Parameters: `attention.encoder_att.*`, `attention.decoder_att.*` and `attention.full_att.weight`; `embedding.weight`;
/// `init_h.*` and `init_c.*`; `f_beta.*`; `decode_step.*` of an [`LstmCell`]; `fc.*`.
///
/// ```
/// use nn_core::candle_core::{DType, Device, Result, Tensor};
/// use nn_core::{Ctx, ParamStore};
/// use nn_sequence::decode::{Limits, greedy};
/// use nn_sequence::{Gate, ImageCaptioner, ImageCaptionerConfig};
///
/// # fn main() -> Result<()> {
/// let (vocabulary, width, features, hidden) = (30, 8, 512, 16);
/// let cfg = ImageCaptionerConfig {
///     vocabulary, width, features, hidden, attention: 16, gate: Gate::Scalar, dropout: 0.5,
/// };
/// let store = ParamStore::new(0);
/// let model = ImageCaptioner::new(&cfg, store.vb(DType::F32, &Device::Cpu))?;
/// let map = Tensor::zeros((2, features, 7, 7), DType::F32, &Device::Cpu)?; // Of a ResNet, say.
/// // In training, the caption goes in; 1 begins a sentence here, and 2 ends it.
/// let caption = Tensor::new(&[[1u32, 29, 4], [1, 8, 2]], &Device::Cpu)?;
/// let (logits, looks) = model.run(&map, &caption, &Ctx::train(0))?;
/// assert_eq!((logits.dims(), looks.dims()), (&[2, 3, 30][..], &[2, 3, 49][..]));
/// // In use, it comes out.
/// let state = model.start(&map, &Ctx::eval())?;
/// let given = Tensor::new(&[[1u32], [1]], &Device::Cpu)?;
/// let sentences = greedy(&model, state, &given, Limits { end: Some(2), longest: 10 })?;
/// assert_eq!(sentences.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ImageCaptioner {
    keys: Linear,
    query: Linear,
    /// `[A]`
    score: Tensor,
    embedding: Embedding,
    first: [Linear; 2],
    gate: Linear,
    cell: LstmCell,
    output: Linear,
    dropout: Dropout,
    features: usize,
}

/// What the decoder looks at.
#[derive(Clone, Debug)]
struct Sight {
    /// `[B, L, A]`, what states are compared with.
    keys: Tensor,
    /// `[B, L, E]`; in training `[B, L, E + L]`, of place `l` its features and the unit vector `l`: a mean of these holds its
    /// own weights, with their gradient.
    values: Tensor,
}

impl ImageCaptioner {
    /// # Errors
    /// If a size is 0, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &ImageCaptionerConfig, vb: VarBuilder) -> Result<Self> {
        let &ImageCaptionerConfig { vocabulary, width, features, hidden, attention, gate, dropout } = cfg;
        let sizes = [vocabulary, width, features, hidden, attention];
        ensure!(!sizes.contains(&0), "ImageCaptioner: every size must be at least 1, got {cfg:?}");
        let inside = vb.pp("attention");
        let linear = |c_in, c_out, vb| Linear::new(c_in, c_out, Bias::Learned, vb);
        let score = Linear::new(attention, 1, Bias::None, inside.pp("full_att"))?;
        let gates = match gate {
            Gate::Scalar => 1,
            Gate::Features => features,
        };
        Ok(Self {
            keys: linear(features, attention, inside.pp("encoder_att"))?,
            query: linear(hidden, attention, inside.pp("decoder_att"))?,
            score: ops::reshape(score.weight(), attention)?,
            embedding: Embedding::new(vocabulary, width, None, vb.pp("embedding"))?,
            first: [linear(features, hidden, vb.pp("init_h"))?, linear(features, hidden, vb.pp("init_c"))?],
            gate: linear(hidden, gates, vb.pp("f_beta"))?,
            cell: LstmCell::new(width + features, hidden, CellConfig::default(), vb.pp("decode_step"))?,
            output: linear(hidden, vocabulary, vb.pp("fc"))?,
            dropout: Dropout::new(dropout)?,
            features,
        })
    }

    /// A feature map `[B, E, H, W]`, or its places `[B, L, E]`, and tokens `[B, T]` → logits `[B, T, V]` of the token after
    /// each, and how much each looks at each place, `[B, T, L]`, rows of which sum up to 1.
    ///
    /// # Errors
    /// If the features are of another shape, a token is outside the vocabulary (the message names it and its place), or
    /// there is not a row of tokens, one at least, for each picture.
    pub fn run(&self, features: &Tensor, tokens: &Tensor, ctx: &Ctx) -> Result<(Tensor, Tensor)> {
        let places = self.places(features)?;
        let (batch, count, width) = places.dims3()?;
        ensure!(
            tokens.rank() == 2 && tokens.dims()[0] == batch && tokens.dims()[1] > 0,
            "ImageCaptioner: tokens must be [{batch}, T] with at least one step, got {:?}",
            tokens.dims()
        );
        let own = Tensor::eye(count, places.dtype(), places.device())?.broadcast_left(batch)?.contiguous()?;
        let mut state = self.first_state(&places, ctx)?;
        let sight = Sight { values: ops::concat(&[&places, &own], 2)?, ..self.sight(places, ctx)? };
        let x = tokens.through("embedding", &self.embedding, ctx)?; // [B, T, D]
        let (mut states, mut looks) = (Vec::new(), Vec::new());
        for t in 0..x.dim(1)? {
            let seen;
            (state, seen) = self.step(&ops::select(&x, 1, t)?, &sight, &state, ctx)?;
            looks.push(ops::narrow(&seen, 2, width, count)?); // [B, 1, L]
            states.push(one_step(&state.h)?);
        }
        let joined = |parts: &[Tensor]| ops::concat(&parts.iter().collect::<Vec<_>>(), 1);
        Ok((self.read(&joined(&states)?, ctx)?, joined(&looks)?))
    }

    /// What a decoder that has seen no tokens knows of a feature map `[B, E, H, W]`, or of its places `[B, L, E]`.
    ///
    /// # Errors
    /// If the features are of another shape.
    pub fn start(&self, features: &Tensor, ctx: &Ctx) -> Result<Captioning> {
        let places = self.places(features)?;
        Ok(Captioning { state: self.first_state(&places, ctx)?, sight: self.sight(places, ctx)? })
    }

    /// `[B, L, E]`
    fn places(&self, features: &Tensor) -> Result<Tensor> {
        let places = match *features.dims() {
            [batch, channels, height, width] => {
                ops::transpose(&ops::reshape(features, (batch, channels, height * width))?, 1, 2)?
            }
            _ => features.clone(),
        };
        ensure!(
            matches!(*places.dims(), [_, count, width] if count > 0 && width == self.features),
            "ImageCaptioner: features must be [B, {0}, H, W] or [B, L, {0}] with at least one place, got {1:?}",
            self.features,
            features.dims()
        );
        Ok(places)
    }

    fn first_state(&self, places: &Tensor, ctx: &Ctx) -> Result<LstmState> {
        let mean = over_time(places, None, OverTime::Mean)?; // [B, E]
        let [h, c] = &self.first;
        Ok(LstmState { h: mean.through("init_h", h, ctx)?, c: mean.through("init_c", c, ctx)? })
    }

    fn sight(&self, places: Tensor, ctx: &Ctx) -> Result<Sight> {
        Ok(Sight { keys: self.keys.call(&places, ctx)?, values: places })
    }

    /// From tokens `x [B, D]`: the next state, and `[B, 1, …]`, the mean of the values that led to it.
    fn step(&self, x: &Tensor, sight: &Sight, state: &LstmState, ctx: &Ctx) -> Result<(LstmState, Tensor)> {
        let query = one_step(&self.query.call(&state.h, ctx)?)?; // [B, 1, A]
        let seen = additive_attention(&query, &sight.keys, &self.score, &sight.values, None)?;
        let context = ops::select(&ops::narrow(&seen, 2, 0, self.features)?, 1, 0)?; // [B, E]
        let context = gated(&context, &ops::sigmoid(&self.gate.call(&state.h, ctx)?)?)?;
        Ok((self.cell.step(&ops::concat(&[x, &context], 1)?, Some(state))?, seen))
    }

    /// States `[…, H]` → logits `[…, V]`.
    fn read(&self, states: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        states.through("dropout", &self.dropout, ctx)?.through("fc", &self.output, ctx)
    }
}

/// How far the looks at each place, of all steps of a caption, are from 1: the mean over captions and places of
/// `(1 − Σ_t α[t])²`. The paper's §4.2.1 adds it to the loss, times a factor.
///
/// `weights [B, T, L]` of [`ImageCaptioner::run`], of which caption `b` has `lengths[b]` steps, all of them if `None`.
///
/// # Errors
/// If `weights` are of another shape, there is not one length a caption, or one is not in `1..=T`.
pub fn doubly_stochastic(weights: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    let mean = over_time(weights, lengths, OverTime::Mean)?; // [B, L]
    let (batch, steps, _) = weights.dims3()?;
    let steps =
        lengths.map_or_else(|| vec![steps as f64; batch], |all| all.iter().map(|&n| n as f64).collect());
    let steps = Tensor::from_vec(steps, (batch, 1), weights.device())?.to_dtype(weights.dtype())?;
    let sum = gated(&mean, &steps)?;
    ops::mse(&sum, &sum.ones_like()?, Reduction::Mean)
}

/// `[B, n]` times one number a row, `[B, 1]`, or one for each, `[B, n]`.
fn gated(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let ((batch, width), gates) = (x.dims2()?, gate.elem_count());
    // To `scale_shift`, what has a gate of its own is a channel.
    let channels = ops::reshape(x, (1, gates, batch * width / gates))?;
    let (gate, zeros) = (ops::reshape(gate, gates)?, Tensor::zeros(gates, x.dtype(), x.device())?);
    ops::reshape(&ops::scale_shift(&channels, [&gate, &zeros], None)?, (batch, width))
}

/// `[B, n]` → `[B, 1, n]`
fn one_step(x: &Tensor) -> Result<Tensor> {
    let (batch, width) = x.dims2()?;
    ops::reshape(x, (batch, 1, width))
}
