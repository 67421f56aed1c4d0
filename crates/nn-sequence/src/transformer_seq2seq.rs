//! From one sequence to another by a Transformer.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, §3 and figure 1.
//! Differs: the two embeddings and the output share no weights.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Through, ensure, ops};
use nn_layers::{Bias, Linear, Masks};

use crate::decode::Generator;
use crate::decode::model::rows_of;
use crate::positions::Positions;
use crate::transformer::{DecoderCache, Transformer, TransformerConfig, TransformerMasks};
use crate::transformer_model::{Tokens, TransformerModelConfig, padding_mask};

/// Options of [`TransformerSeq2Seq`].
#[derive(Clone, Copy, Debug)]
pub struct TransformerSeq2SeqConfig {
    /// How many tokens the source language has, and the target language.
    pub vocabularies: [usize; 2],
    /// Numbers a token is turned into.
    pub width: usize,
    /// Layers of the encoder, and of the decoder.
    pub layers: [usize; 2],
    /// Tokens of the longest sentence.
    pub longest: usize,
    /// What tells positions apart.
    pub positions: Positions,
    /// Of the layers; its dropout is also that of the tokens.
    pub transformer: TransformerConfig,
}

/// source tokens → encoder → decoder, which sees them → logits of target tokens.
///
/// Parameters: `source.*` and `target.*` with `embedding.weight` and, if they are learned, `positions.weight`;
/// `transformer.*` of a [`Transformer`]; `output.weight` and `output.bias`.
#[derive(Clone, Debug)]
pub struct TransformerSeq2Seq {
    source: Tokens,
    target: Tokens,
    transformer: Transformer,
    output: Linear,
}

impl TransformerSeq2Seq {
    /// # Errors
    /// If the heads do not divide the width, `dropout` is no probability, or `vb` has the names with other shapes.
    pub fn new(cfg: &TransformerSeq2SeqConfig, vb: VarBuilder) -> Result<Self> {
        let &TransformerSeq2SeqConfig { vocabularies, width, layers, longest, positions, transformer } = cfg;
        let tokens = |vocabulary, name: &str| {
            let cfg =
                TransformerModelConfig { vocabulary, width, layers: 0, longest, positions, transformer };
            Tokens::new(&cfg, &vb.pp(name))
        };
        Ok(Self {
            source: tokens(vocabularies[0], "source")?,
            target: tokens(vocabularies[1], "target")?,
            transformer: Transformer::new(width, layers, &transformer, vb.pp("transformer"))?,
            output: Linear::new(width, vocabularies[1], Bias::Learned, vb.pp("output"))?,
        })
    }

    /// Source tokens `[B, S]` of which each sentence has so many, and target tokens `[B, T]` → logits `[B, T, V]` of the
    /// target token after each.
    ///
    /// # Errors
    /// If a token is outside its vocabulary (the message names it and its place), a sentence is longer than the longest,
    /// there is not one length a sentence, or one is not in `1..=S`.
    pub fn logits(&self, source: &Tensor, lengths: &[usize], target: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        let seen = own_tokens(lengths, source)?;
        let padded = Masks { keys: Some(&seen), ..Masks::default() };
        let causal = Masks { causal: true, ..Masks::default() };
        let masks = TransformerMasks { source: padded, target: causal, memory: padded };
        let source = self.source.read(source, 0, &ctx.at("source"))?; // [B, S, D]
        let target = self.target.read(target, 0, &ctx.at("target"))?; // [B, T, D]
        let x = self.transformer.run(&source, &target, masks, &ctx.at("transformer"))?;
        x.through("output", &self.output, ctx)
    }

    /// What a decoder that has seen no target tokens knows of source tokens `[B, S]`, of which each sentence has so many.
    ///
    /// # Errors
    /// Those of [`TransformerSeq2Seq::logits`] that concern the source.
    pub fn start(&self, source: &Tensor, lengths: &[usize], ctx: &Ctx) -> Result<Translation> {
        let seen = own_tokens(lengths, source)?;
        let source = self.source.read(source, 0, &ctx.at("source"))?;
        let masks = Masks { keys: Some(&seen), ..Masks::default() };
        let memory = self.transformer.encode(&source, masks, &ctx.at("transformer"))?;
        Ok(Translation { cache: self.transformer.decoder().cache(&memory)?, seen, tokens: 0 })
    }
}

/// [`padding_mask`] of lengths that are checked.
fn own_tokens(lengths: &[usize], source: &Tensor) -> Result<Tensor> {
    let steps = source.dims2()?.1;
    for (b, length) in lengths.iter().enumerate() {
        ensure!(
            (1..=steps).contains(length),
            "TransformerSeq2Seq: the length of sentence {b} must be in 1..={steps}, got {length}"
        );
    }
    padding_mask(lengths, source)
}

/// Where a [`TransformerSeq2Seq`] stands in its sentences.
#[derive(Clone, Debug)]
pub struct Translation {
    cache: DecoderCache,
    /// `[B, S]` of `u8`: each sentence's own source tokens.
    seen: Tensor,
    /// Target tokens so far.
    tokens: usize,
}

impl Generator for TransformerSeq2Seq {
    /// From [`TransformerSeq2Seq::start`].
    type State = Translation;

    fn next(&self, tokens: &Tensor, state: &mut Translation, ctx: &Ctx) -> Result<Tensor> {
        let x = self.target.read(tokens, state.tokens, &ctx.at("target"))?; // [B, T, D]
        let masks = Masks { keys: Some(&state.seen), ..Masks::default() };
        let inside = ctx.at("transformer");
        let decoder = self.transformer.decoder();
        let x = decoder.continue_after(&x, &mut state.cache, masks, &inside.at("decoder"))?;
        let new = x.dim(1)?;
        state.tokens += new;
        ops::select(&x, 1, new - 1)?.through("output", &self.output, ctx)
    }

    fn rows(&self, state: &Translation, rows: &[u32]) -> Result<Translation> {
        Ok(Translation {
            cache: state.cache.map(|x| rows_of(x, rows))?,
            seen: rows_of(&state.seen, rows)?,
            tokens: state.tokens,
        })
    }
}
