//! A label for each word of a sentence, read from the words and from their letters.
//!
//! Source: Lample, Ballesteros, Subramanian, Kawakami & Dyer 2016, "Neural architectures for named entity recognition",
//! arXiv:1603.01360, §2 and §4.1.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use nn_core::{Ctx, Through, ensure, ops};
use nn_layers::{Dropout, Embedding};

use crate::{
    AnyUnit, Axes, Directions, Input, LongShortTerm, Recurrent, RecurrentConfig, SequenceTagger,
    SequenceTaggerConfig, State,
};

/// Options of [`WordTagger`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordTaggerConfig {
    /// Words of the vocabulary, and numbers that each is turned into.
    pub words: [usize; 2],
    /// Letters there are, and numbers that each is turned into.
    pub letters: [usize; 2],
    /// Units of the LSTM that reads a word's letters, in each direction.
    pub letter_hidden: usize,
    /// What reads the sentence and labels it; its input is what a word and its letters come to, whatever it says.
    pub tagger: SequenceTaggerConfig,
}

/// A batch of sentences, padded to the longest, whose words are padded to the longest.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// `[B, T]`
    pub words: &'a Tensor,
    /// `[B · T, L]`, the letters of each word in turn.
    pub letters: &'a Tensor,
    /// How many letters each of the `B · T` words has; 1 where there is none.
    pub letter_lengths: &'a [usize],
    /// How many words each sentence has.
    pub lengths: &'a [usize],
}

/// words and their letters → vectors → [`SequenceTagger`].
///
/// Parameters: `words.weight`; `letters.embedding.weight` and `letters.rnn.*`; `tagger.*`.
#[derive(Clone, Debug)]
pub struct WordTagger {
    words: Embedding,
    letters: Embedding,
    spelling: Recurrent<AnyUnit>,
    dropout: Dropout,
    tagger: SequenceTagger,
}

impl WordTagger {
    /// # Errors
    /// Those of [`SequenceTagger::new`], [`Recurrent::new`] and [`Embedding::new`].
    pub fn new(cfg: &WordTaggerConfig, vb: VarBuilder) -> Result<Self> {
        let WordTaggerConfig { words, letters, letter_hidden, mut tagger } = *cfg;
        let both = RecurrentConfig {
            unit: AnyUnit::Lstm(LongShortTerm::default()),
            directions: Directions::Both,
            axes: Axes::BatchFirst,
            ..RecurrentConfig::default()
        };
        let inside = vb.pp("letters");
        let spelling = Recurrent::new(letters[1], letter_hidden, both, inside.pp("rnn"))?;
        tagger.sequence.input = Input::Features(words[1] + spelling.width());
        Ok(Self {
            words: Embedding::new(words[0], words[1], None, vb.pp("words"))?,
            letters: Embedding::new(letters[0], letters[1], None, inside.pp("embedding"))?,
            spelling,
            dropout: Dropout::new(tagger.sequence.dropout)?,
            tagger: SequenceTagger::new(&tagger, vb.pp("tagger"))?,
        })
    }

    /// What labels the words once they are vectors.
    pub fn tagger(&self) -> &SequenceTagger {
        &self.tagger
    }

    /// The score of each label of each word: `[B, T, classes]`.
    ///
    /// # Errors
    /// If a word or letter is outside its vocabulary, letters are not those of the words, there is not one length each, or
    /// one is not within its row.
    pub fn emissions(&self, x: Words<'_>, ctx: &Ctx) -> Result<Tensor> {
        let vectors = self.vectors(x, ctx)?;
        self.tagger.emissions(&vectors, Some(x.lengths), &ctx.at("tagger"))
    }

    /// The labels of each sentence, as many as it has words.
    ///
    /// # Errors
    /// Those of [`WordTagger::emissions`].
    pub fn labels(&self, x: Words<'_>, ctx: &Ctx) -> Result<Vec<Vec<u32>>> {
        let vectors = self.vectors(x, ctx)?;
        self.tagger.labels(&vectors, Some(x.lengths), &ctx.at("tagger"))
    }

    /// `[B, T, word's numbers + 2 · letter_hidden]`
    fn vectors(&self, x: Words<'_>, ctx: &Ctx) -> Result<Tensor> {
        let (batch, steps) = x.words.dims2()?;
        ensure!(
            x.letters.dims2()?.0 == batch * steps,
            "WordTagger: the letters of {} words are asked for, got those of {}",
            batch * steps,
            x.letters.dims2()?.0
        );
        let inside = ctx.at("letters");
        let letters = x.letters.through("embedding", &self.letters, &inside)?; // [B · T, L, D]
        let (_, states) = self.spelling.run(&letters, None, Some(x.letter_lengths), &inside.at("rnn"))?;
        let last: Vec<_> = states.iter().map(State::output).collect();
        let spelling = ops::concat(&last, 1)?; // [B · T, 2H]
        let spelling = ops::reshape(&spelling, (batch, steps, self.spelling.width()))?;
        let words = x.words.through("words", &self.words, ctx)?;
        ops::concat(&[&words, &spelling], 2)?.through("dropout", &self.dropout, ctx)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use nn_core::ParamStore;

    use super::*;
    use crate::{Labelling, SequenceConfig};

    fn tagger() -> Result<WordTagger> {
        let sequence = SequenceConfig {
            input: Input::Features(1),
            hidden: 4,
            recurrent: RecurrentConfig { directions: Directions::Both, ..RecurrentConfig::default() },
            dropout: 0.0,
        };
        let cfg = WordTaggerConfig {
            words: [9, 3],
            letters: [5, 2],
            letter_hidden: 2,
            tagger: SequenceTaggerConfig { sequence, labelling: Labelling::Chain, classes: 3 },
        };
        WordTagger::new(&cfg, ParamStore::new(1).vb(DType::F32, &Device::Cpu))
    }

    #[test]
    fn a_sentence_is_labelled_as_it_is_alone() -> Result<()> {
        let (tagger, device) = (tagger()?, Device::Cpu);
        let words = Tensor::new(&[[1u32, 2, 3], [4, 0, 0]], &device)?;
        let letters = Tensor::new(&[[1u32, 2], [3, 0], [4, 4], [2, 1], [0, 0], [0, 0]], &device)?;
        let letter_lengths = [2, 1, 2, 2, 1, 1];
        let both =
            Words { words: &words, letters: &letters, letter_lengths: &letter_lengths, lengths: &[3, 1] };
        let (emissions, labels) = (tagger.emissions(both, &Ctx::eval())?, tagger.labels(both, &Ctx::eval())?);
        assert_eq!((emissions.dims(), labels[0].len(), labels[1].len()), (&[2, 3, 3][..], 3, 1));
        let (words, letters) = (Tensor::new(&[[4u32]], &device)?, Tensor::new(&[[2u32, 1]], &device)?);
        let alone = Words { words: &words, letters: &letters, letter_lengths: &[2], lengths: &[1] };
        let alone = tagger.emissions(alone, &Ctx::eval())?.flatten_all()?.to_vec1::<f32>()?;
        for (a, b) in alone.iter().zip(emissions.get(1)?.get(0)?.to_vec1::<f32>()?) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        Ok(())
    }

    #[test]
    fn letters_change_what_a_word_is() -> Result<()> {
        let (tagger, device) = (tagger()?, Device::Cpu);
        let of = |letters: &[[u32; 2]; 1]| {
            let (words, letters) = (Tensor::new(&[[4u32]], &device)?, Tensor::new(letters, &device)?);
            let x = Words { words: &words, letters: &letters, letter_lengths: &[2], lengths: &[1] };
            tagger.emissions(x, &Ctx::eval())?.flatten_all()?.to_vec1::<f32>()
        };
        assert_ne!(of(&[[1, 2]])?, of(&[[2, 1]])?);
        let words = Tensor::new(&[[4u32, 3]], &device)?;
        let letters = Tensor::new(&[[1u32, 2]], &device)?;
        let x = Words { words: &words, letters: &letters, letter_lengths: &[2], lengths: &[2] };
        let error = tagger.emissions(x, &Ctx::eval()).expect_err("too few").to_string();
        assert!(error.contains("the letters of 2 words are asked for, got those of 1"), "{error}");
        Ok(())
    }
}
