//! Recurrent networks, sequence to sequence, Transformers, and the tasks they are for, equal to PyTorch's.
//!
//! | module | holds |
//! | --- | --- |
//! | [`recurrent`] | [`Rnn`], [`JordanRnn`], [`Lstm`] and [`Gru`]: layers one above the other, in one direction or both |
//! | [`cell`] | [`RnnCell`], [`LstmCell`] and [`GruCell`]: one step |
//! | [`mod@unit`] | what tells one kind of them from another |
//! | [`classifier`] | [`SequenceClassifier`] and [`Forecaster`]: one answer a sequence |
//! | [`tagger`], [`crf`] | [`SequenceTagger`]: a label a step, chosen apart or together |
//! | [`word_tagger`] | [`WordTagger`]: a label a word, read from its letters too |
//! | [`language_model`] | [`LanguageModel`]: what comes next |
//! | [`transformer`] | [`Transformer`], [`TransformerEncoder`], [`TransformerDecoder`] and their layers |
//! | [`transformer_model`] | [`TransformerLanguageModel`] and [`TransformerClassifier`] |
//! | [`positions`] | where a token is |
//! | [`seq2seq`], [`transformer_seq2seq`] | [`Seq2Seq`] and [`TransformerSeq2Seq`]: from one sequence to another |
//! | [`captioner`] | [`ImageCaptioner`]: a sentence about a picture |
//! | [`text`] | texts as numbers: vocabularies of characters and words, trained tokenizers |
//! | [`decode`] | texts from a model: greedy, beam search, sampling |
//!
//! A batch of sequences is padded to its longest one, and the lengths go with it: nothing beyond a sequence's end has an
//! effect.
//!
//! ```
//! use nn_core::candle_core::{DType, Device, Result, Tensor};
//! use nn_core::{Ctx, ParamStore};
//! use nn_sequence::{Gru, GruConfig};
//!
//! # fn main() -> Result<()> {
//! let store = ParamStore::new(0);
//! let gru = Gru::new(1, 4, GruConfig::default(), store.vb(DType::F32, &Device::Cpu))?;
//! // Two sequences, of three steps and of one.
//! let x = Tensor::new(&[[[1f32], [2.0], [3.0]], [[4.0], [9.0], [9.0]]], &Device::Cpu)?;
//! let (y, last) = gru.run(&x, None, Some(&[3, 1]), &Ctx::eval())?;
//! assert_eq!(y.get(1)?.get(2)?.to_vec1::<f32>()?, [0.0; 4]);
//! assert_eq!(y.get(1)?.get(0)?.to_vec1::<f32>()?, last[0].get(1)?.to_vec1::<f32>()?);
//! # Ok(())
//! # }
//! ```

pub mod captioner;
pub mod cell;
pub mod classifier;
pub mod crf;
pub mod decode;
mod input;
pub mod language_model;
mod parameters;
pub mod positions;
pub mod recurrent;
pub mod seq2seq;
pub mod tagger;
pub mod text;
pub mod transformer;
pub mod transformer_model;
pub mod transformer_seq2seq;
pub mod unit;
pub mod word_tagger;

pub use captioner::{Captioning, Gate, ImageCaptioner, ImageCaptionerConfig, doubly_stochastic};
pub use cell::{Cell, CellConfig};
pub use classifier::{Forecaster, ForecasterConfig, Pooling, SequenceClassifier, SequenceClassifierConfig};
pub use crf::Crf;
pub use input::{Input, SequenceConfig};
pub use language_model::{DecoderWeights, LanguageModel, LanguageModelConfig};
pub use positions::{PositionalEncoding, Positions};
pub use recurrent::{Axes, Directions, Recurrent, RecurrentConfig};
pub use seq2seq::{Decoding, Score, Seq2Seq, Seq2SeqConfig};
pub use tagger::{Labelling, SequenceTagger, SequenceTaggerConfig};
pub use transformer::{
    DecoderCache, Ending, NormPlace, Start, Transformer, TransformerConfig, TransformerDecoder,
    TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer, TransformerMasks,
};
pub use transformer_model::{
    Past, TransformerClassifier, TransformerLanguageModel, TransformerModelConfig, padding_mask,
};
pub use transformer_seq2seq::{TransformerSeq2Seq, TransformerSeq2SeqConfig, Translation};
pub use unit::{
    AnyState, AnyUnit, Elman, Gated, Gru, GruCell, GruConfig, Jordan, JordanConfig, JordanRnn, LongShortTerm,
    Lstm, LstmCell, LstmConfig, Rnn, RnnCell, RnnConfig, State, Unit,
};
pub use word_tagger::{WordTagger, WordTaggerConfig, Words};
